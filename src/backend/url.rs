//! The URL of a store, taken apart: scheme, place and options, with errors that name what is wrong and no secret.
//! The cache floor parses it and hands it to the backend that the scheme names, which takes the options it knows.

use std::fmt::Display;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::str::FromStr;
use std::time::Duration;

use crate::error::Error;
use crate::percent::decoded;

/// What follows is text of a URL that is percent-encoded, such as the `%40` of a password.
const ENCODED: &str = "percent-encoded UTF-8";

/// The options of every URL: the cache's own, which mean nothing to its store.
pub(crate) const OF_THE_CACHE: [&str; 4] = ["timeout", "key_prefix", "prefix", "version"];

/// The URL of a store: `scheme://place?options`.
///
/// A backend takes the options it knows by [`StoreUrl::take`] and the like; that their names are known at all was checked
/// before. What [`StoreUrl::place`] gives may hold a password, which is why there is no `Debug` and why errors are made by
/// [`StoreUrl::refuse`].
pub(crate) struct StoreUrl {
    scheme: String,
    place: String,
    /// In the order given; the values as they were written.
    options: Vec<(String, String)>,
}

// What the backends of one feature take, others may not need.
#[allow(dead_code)]
impl StoreUrl {
    /// Takes a URL apart. Scheme and names of options are the same in capitals, as in django-environ.
    ///
    /// # Errors
    /// [`Error::Config`] where an option is given twice, or where what should be a name is none. That is not repeated: a
    /// password with a `?` that is not encoded ends up there.
    pub(crate) fn parse(url: &str) -> Result<Self, Error> {
        let (scheme, rest) = url.split_once(':').unwrap_or((url, ""));
        if !is_name(scheme) {
            return Err(Error::Config(
                "the URL of a cache begins with a scheme and a colon, as in memory://".to_owned(),
            ));
        }
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut url = StoreUrl { scheme: scheme.to_ascii_lowercase(), place: place.to_owned(), options: Vec::new() };
        for option in query.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            if !is_name(name) {
                return Err(url.refuse("the name of an option is no word: write ? as %3F and & as %26 in a password"));
            }
            let name = name.to_ascii_lowercase();
            if url.options.iter().any(|(other, _)| *other == name) {
                return Err(url.refuse(format_args!("the option {name:?} is given twice")));
            }
            url.options.push((name, value.to_owned()));
        }
        Ok(url)
    }

    /// What stands before the colon, in small letters.
    pub(crate) fn scheme(&self) -> &str {
        &self.scheme
    }

    /// What stands between the scheme's colon and the options, as it was written: `//user:password@host:11211/0`.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// User, password, host and port as they were written; empty where there are none.
    pub(crate) fn authority(&self) -> &str {
        self.place.strip_prefix("//").map_or("", |place| &place[..place.find('/').unwrap_or(place.len())])
    }

    /// What stands behind the host, decoded: `/var/tmp/x`; or all of a place that does not begin with `//`.
    ///
    /// # Errors
    /// [`Error::Config`] where it is not well encoded.
    pub(crate) fn path(&self) -> Result<String, Error> {
        let path = match self.place.strip_prefix("//") {
            Some(place) => &place[place.find('/').unwrap_or(place.len())..],
            None => &self.place,
        };
        decoded(path).ok_or_else(|| self.refuse(format_args!("its path is not {ENCODED}")))
    }

    /// The URL for a library that reads URLs itself: scheme and place, with those of these options that were given.
    pub(crate) fn for_library(&mut self, options: &[&str]) -> String {
        let mut url = format!("{}:{}", self.scheme, self.place);
        let (given, others): (Vec<_>, Vec<_>) =
            self.options.drain(..).partition(|(name, _)| options.contains(&name.as_str()));
        self.options = others;
        for (position, (name, value)) in given.iter().enumerate() {
            let before = if position == 0 { '?' } else { '&' };
            url.push_str(&format!("{before}{name}={value}"));
        }
        url
    }

    /// What two URLs of one store have in common: scheme, place, and the options but for these, in whatever order. Hashed,
    /// as it may hold a password.
    pub(crate) fn store(&self, but_for: &[&str]) -> u64 {
        let mut options: Vec<_> = self.options.iter().filter(|(name, _)| !but_for.contains(&name.as_str())).collect();
        options.sort();
        let mut hasher = DefaultHasher::new();
        (&self.scheme, &self.place, options).hash(&mut hasher);
        hasher.finish()
    }

    /// The names of the options that were not taken yet.
    pub(crate) fn options(&self) -> impl Iterator<Item = &str> {
        self.options.iter().map(|(name, _)| name.as_str())
    }

    /// Takes an option, decoded.
    ///
    /// # Errors
    /// [`Error::Config`] where it is not well encoded.
    pub(crate) fn take(&mut self, name: &str) -> Result<Option<String>, Error> {
        self.take_as(name, ENCODED, |text| Some(text.to_owned()))
    }

    /// Takes an option that is a number.
    ///
    /// # Errors
    /// [`Error::Config`] where it is none, or too large.
    pub(crate) fn take_number<N: FromStr>(&mut self, name: &str) -> Result<Option<N>, Error> {
        self.take_as(name, "a whole number", |text| text.parse().ok())
    }

    /// Takes an option that says yes or no; alone, without a value, it says yes.
    ///
    /// # Errors
    /// [`Error::Config`] where it says neither.
    pub(crate) fn take_switch(&mut self, name: &str) -> Result<Option<bool>, Error> {
        self.take_as(name, "yes or no", |text| match text {
            "" | "yes" | "true" | "on" | "1" => Some(true),
            "no" | "false" | "off" | "0" => Some(false),
            _ => None,
        })
    }

    /// Takes an option that is a time: `250ms` or `2s`. A number alone is none but for 0: elsewhere in a URL and in Django it
    /// is seconds, in other clients' URLs milliseconds.
    ///
    /// # Errors
    /// [`Error::Config`] where it is none.
    pub(crate) fn take_time(&mut self, name: &str) -> Result<Option<Duration>, Error> {
        self.take_as(name, "a time with its unit, such as 250ms or 2s", |text| {
            if let Some(milliseconds) = text.strip_suffix("ms") {
                return milliseconds.parse().ok().map(Duration::from_millis);
            }
            match text.strip_suffix('s') {
                Some(seconds) => seconds.parse().ok().map(Duration::from_secs),
                None => (text == "0").then_some(Duration::ZERO),
            }
        })
    }

    /// Takes an option that [`Self::take`]'s relatives do not know; `wanted` says what it should have been.
    ///
    /// # Errors
    /// [`Error::Config`] where it is not well encoded, or `read` cannot read it.
    pub(crate) fn take_as<T>(
        &mut self,
        name: &str,
        wanted: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let Some(position) = self.options.iter().position(|(given, _)| given == name) else { return Ok(None) };
        let (_, written) = self.options.remove(position);
        let value = decoded(&written).ok_or_else(|| self.unreadable(name, &written, ENCODED))?;
        read(&value).map(Some).ok_or_else(|| self.unreadable(name, &value, wanted))
    }

    /// The error of a URL that cannot be used. `why` must hold nothing of [`StoreUrl::place`].
    pub(crate) fn refuse(&self, why: impl Display) -> Error {
        Error::Config(format!("the URL of a {} cache cannot be used: {why}", self.scheme))
    }

    fn unreadable(&self, name: &str, value: &str, wanted: &str) -> Error {
        const SECRETS: [&str; 4] = ["password", "secret", "token", "user"];
        if SECRETS.iter().any(|secret| name.contains(secret)) {
            return self.refuse(format_args!("the option {name:?} is not {wanted}"));
        }
        self.refuse(format_args!("the option {name:?} is {value:?}, which is not {wanted}"))
    }
}

/// Whether text can name a scheme or an option.
fn is_name(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-._".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(url: &str) -> StoreUrl {
        StoreUrl::parse(url).unwrap()
    }

    #[test]
    fn a_url_is_taken_apart() {
        let parsed = url("Redis+TLS://user:p%40ss@[::1]:6379/0?Timeout=5&x");
        assert_eq!((parsed.scheme(), parsed.place()), ("redis+tls", "//user:p%40ss@[::1]:6379/0"));
        assert_eq!((parsed.authority(), parsed.path().unwrap().as_str()), ("user:p%40ss@[::1]:6379", "/0"));
        assert_eq!(parsed.options().collect::<Vec<_>>(), ["timeout", "x"]);

        let paths = ["file:///var/tmp/a%20b", "file:/var/tmp/a%20b"].map(|text| url(text).path().unwrap());
        assert_eq!(paths, ["/var/tmp/a b", "/var/tmp/a b"]);
        assert_eq!(url("sqlite::memory:?x=1").path().unwrap(), ":memory:");
        assert_eq!((url("memory").authority(), url("memory").path().unwrap().as_str()), ("", ""));
    }

    #[test]
    fn options_are_taken_once_and_as_what_they_are() {
        let mut parsed = url("x://?time=250ms&long=2s&bare=0&on&off=no&number=12&text=a%26b&left=1");
        assert_eq!(parsed.take_time("time").unwrap(), Some(Duration::from_millis(250)));
        assert_eq!(parsed.take_time("long").unwrap(), Some(Duration::from_secs(2)));
        assert_eq!(parsed.take_time("bare").unwrap(), Some(Duration::ZERO));
        assert_eq!(parsed.take_switch("on").unwrap(), Some(true));
        assert_eq!(parsed.take_switch("off").unwrap(), Some(false));
        assert_eq!(parsed.take_switch("none").unwrap(), None);
        assert_eq!(parsed.take_number::<u8>("number").unwrap(), Some(12));
        assert_eq!(parsed.take_number::<u8>("number").unwrap(), None);
        assert_eq!(parsed.take("text").unwrap().as_deref(), Some("a&b"));
        assert_eq!(parsed.options().collect::<Vec<_>>(), ["left"]);
    }

    #[test]
    fn a_library_gets_the_url_with_its_own_options() {
        let mut parsed = url("postgres://u:p@h/db?sslmode=require&timeout=5&application_name=a%20b");
        assert_eq!(
            parsed.for_library(&["sslmode", "application_name"]),
            "postgres://u:p@h/db?sslmode=require&application_name=a%20b"
        );
        assert_eq!(parsed.options().collect::<Vec<_>>(), ["timeout"]);
        assert_eq!(url("redis://h").for_library(&["db"]), "redis://h");
    }

    #[test]
    fn urls_of_one_store_are_known() {
        let store = |text| url(text).store(&["timeout"]);
        assert_eq!(store("redis://:p@h/0?db=1&timeout=5&x=y"), store("REDIS://:p@h/0?x=y&DB=1"));
        for other in ["redis://:p@h/1?db=1&x=y", "redis://:p@h/0?db=2&x=y", "rediss://:p@h/0?db=1&x=y"] {
            assert_ne!(store("redis://:p@h/0?db=1&x=y"), store(other), "{other}");
        }
    }

    #[test]
    fn what_may_be_part_of_a_password_is_not_told() {
        for url in ["redis://:pa?s5@ssw0rd@host/0", "redis://:pa?a=1&s5@ssw0rd@host", "s5@ssw0rd@host", "s5/ssw0rd?x=1"]
        {
            let said = StoreUrl::parse(url).err().unwrap().to_string();
            assert!(!said.contains("s5") && !said.contains("ssw0rd"), "{said}");
        }
    }

    #[test]
    fn errors_tell_no_secret() {
        let mut parsed = url("x://me:secret@host?password=%zz&time=soon&number=-1");
        let said = [
            parsed.take("password").unwrap_err(),
            parsed.take_time("time").unwrap_err(),
            parsed.take_number::<u8>("number").unwrap_err(),
        ];
        assert_eq!(
            said.map(|error| error.to_string()),
            [
                "the URL of a x cache cannot be used: the option \"password\" is not percent-encoded UTF-8",
                "the URL of a x cache cannot be used: the option \"time\" is \"soon\", which is not a time with its unit, such as 250ms or 2s",
                "the URL of a x cache cannot be used: the option \"number\" is \"-1\", which is not a whole number",
            ]
        );
    }
}

//! A cache out of one line of configuration: what `CACHE_URL` and `Cache::connect` understand.
//! A setting that is not understood is an error that names it and lists the known ones.

use super::{Cache, Timeout, Version};
use crate::backend::{Backend, Dummy, Memory};
use crate::error::Error;

/// The options that every URL takes.
const OPTIONS: [&str; 3] = ["timeout", "key_prefix", "version"];

/// Schemes of stores that this build does not have.
const LATER: [&str; 6] = ["memcached", "redis", "rediss", "file", "postgres", "sqlite"];

impl Cache {
    /// The cache that a URL names.
    ///
    /// | URL | store |
    /// |---|---|
    /// | `memory://` | this process's memory: a new, empty [`Memory`] |
    /// | `dummy://` | none ([`Dummy`]) |
    ///
    /// | option | meaning | default |
    /// |---|---|---|
    /// | `timeout` | default timeout in whole seconds, or `never` (CFG-3) | 300 |
    /// | `key_prefix` | what every final key begins with (KEY-3) | empty |
    /// | `version` | the version where none is named (KEY-2) | 1 |
    /// | `max_bytes` | memory only: the budget in bytes | 104857600 |
    ///
    /// Values are percent-encoded. Where Django falls back to 300 for a `TIMEOUT` it cannot read, this is an error.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), larder::Error> {
    /// let cache = larder::Cache::connect("memory://?key_prefix=blog&timeout=600&max_bytes=8388608").await?;
    /// assert_eq!(cache.make_key("front"), "blog:1:front");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Config`] for an unknown scheme or option, or a value that cannot be read.
    pub async fn connect(url: &str) -> Result<Cache, Error> {
        open(url)
    }
}

/// The cache that a URL names, for the stores that need no connection.
pub(super) fn open(url: &str) -> Result<Cache, Error> {
    let (scheme, rest) = url.split_once(':').unwrap_or((url, ""));
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    match scheme {
        "memory" => {
            let mut options = Options::parse(scheme, place, query, &["max_bytes"])?;
            let mut memory = Memory::builder();
            if let Some(max_bytes) = options.take("max_bytes") {
                memory = memory.max_bytes(number(scheme, "max_bytes", &max_bytes)?);
            }
            options.cache(memory.build())
        }
        "dummy" => Options::parse(scheme, place, query, &[])?.cache(Dummy::default()),
        later if LATER.contains(&later) => Err(Error::Config(format!(
            "the cache scheme {later:?} comes with a later release or with a feature that this build does not have: \
             it knows memory, dummy"
        ))),
        unknown => Err(Error::Config(format!("unknown cache scheme {unknown:?}: this build knows memory, dummy"))),
    }
}

struct Options<'a> {
    scheme: &'a str,
    given: Vec<(&'a str, String)>,
}

impl<'a> Options<'a> {
    fn parse(scheme: &'a str, place: &str, query: &'a str, own: &[&str]) -> Result<Self, Error> {
        if !place.is_empty() && place != "//" {
            return Err(Error::Config(format!("a {scheme} cache URL has neither host nor path: write {scheme}://")));
        }
        let mut given = Vec::new();
        for option in query.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            if !OPTIONS.contains(&name) && !own.contains(&name) {
                let known = [&OPTIONS[..], own].concat().join(", ");
                return Err(Error::Config(format!("unknown option {name:?} of a {scheme} cache: known are {known}")));
            }
            if given.iter().any(|(other, _)| *other == name) {
                return Err(Error::Config(format!("the option {name:?} of a {scheme} cache is given twice")));
            }
            let value =
                percent_decoded(value).ok_or_else(|| unreadable(scheme, name, value, "percent-encoded UTF-8"))?;
            given.push((name, value));
        }
        Ok(Options { scheme, given })
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let position = self.given.iter().position(|(given, _)| *given == name)?;
        Some(self.given.swap_remove(position).1)
    }

    fn cache(mut self, backend: impl Backend) -> Result<Cache, Error> {
        let mut cache = Cache::builder(backend);
        if let Some(timeout) = self.take("timeout") {
            cache = cache.default_timeout(match timeout.as_str() {
                "never" => Timeout::Never,
                seconds => Timeout::from(number::<i64>(self.scheme, "timeout", seconds)?),
            });
        }
        if let Some(prefix) = self.take("key_prefix") {
            cache = cache.key_prefix(prefix);
        }
        if let Some(version) = self.take("version") {
            cache = cache.version(Version::from(version));
        }
        Ok(cache.build())
    }
}

fn number<N: std::str::FromStr>(scheme: &str, name: &str, value: &str) -> Result<N, Error> {
    value.parse().map_err(|_| unreadable(scheme, name, value, "a whole number"))
}

fn unreadable(scheme: &str, name: &str, value: &str, wanted: &str) -> Error {
    Error::Config(format!("the option {name:?} of a {scheme} cache is {value:?}, which is not {wanted}"))
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let mut decoded = [0];
        hex::decode_to_slice(digits, &mut decoded).ok()?;
        bytes.push(decoded[0]);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

//! `Cache-Control` as a type: directives in order, parsed from every field line, built by name, written back.
//! The patch functions merge it, the layers carry it, the page floor asks it.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use http::header::{CACHE_CONTROL, HeaderMap, HeaderValue};

use super::syntax::{self, RawDirective};

/// The directives of a `Cache-Control` header, in their order.
///
/// Names are compared and written in lower case, and values are kept as they came, quotes included. Of a directive that
/// is repeated the first position and the last value count (HDR-3). `no-cache` alone may stand several times, once for
/// each list of field names, and without a list it takes the place of them all (HDR-7). Unknown directives are kept.
///
/// ```
/// use larder::CacheControl;
///
/// let news = CacheControl::new().public().max_age(60).stale_while_revalidate(30);
/// assert_eq!(news.to_string(), "public, max-age=60, stale-while-revalidate=30");
///
/// let parsed: CacheControl = r#"Private="Set-Cookie, Link", community="UCI""#.parse()?;
/// assert!(parsed.is_private());
/// assert_eq!(parsed.value("community"), Some("\"UCI\""));
/// # Ok::<(), larder::headers::InvalidDirective>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CacheControl {
    directives: Vec<Directive>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Directive {
    name: Cow<'static, str>,
    value: Option<String>,
}

/// A directive that no `Cache-Control` header can hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidDirective {
    text: String,
}

impl fmt::Display for InvalidDirective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is no Cache-Control directive: a name is a token, a value has neither control characters nor any \
             outside Latin-1",
            self.text
        )
    }
}

impl std::error::Error for InvalidDirective {}

/// What is built: each method adds one directive, or gives one that is there a new value.
impl CacheControl {
    /// No directives.
    pub fn new() -> Self {
        CacheControl::default()
    }

    /// `public`: any cache may store the response (RFC 9111 section 5.2.2.9).
    pub fn public(self) -> Self {
        self.with("public", None)
    }

    /// `private`: only the visitor's own cache may store the response (RFC 9111 section 5.2.2.7).
    pub fn private(self) -> Self {
        self.with("private", None)
    }

    /// `private="…"`: shared caches must leave these header fields out.
    ///
    /// # Panics
    /// If a name is no token.
    pub fn private_fields<N: AsRef<str>>(self, names: impl IntoIterator<Item = N>) -> Self {
        self.with("private", Some(field_names(names)))
    }

    /// `no-cache`: nobody answers from a stored response without asking the origin (RFC 9111 section 5.2.2.4).
    pub fn no_cache(self) -> Self {
        self.with("no-cache", None)
    }

    /// `no-cache="…"`: a stored response may be sent without asking, but not with these header fields.
    ///
    /// # Panics
    /// If a name is no token.
    pub fn no_cache_fields<N: AsRef<str>>(self, names: impl IntoIterator<Item = N>) -> Self {
        self.with("no-cache", Some(field_names(names)))
    }

    /// `no-store`: nobody stores anything of it (RFC 9111 section 5.2.2.5).
    pub fn no_store(self) -> Self {
        self.with("no-store", None)
    }

    /// `no-transform`: proxies leave the content as it is (RFC 9111 section 5.2.2.6).
    pub fn no_transform(self) -> Self {
        self.with("no-transform", None)
    }

    /// `must-revalidate`: never used stale (RFC 9111 section 5.2.2.2).
    pub fn must_revalidate(self) -> Self {
        self.with("must-revalidate", None)
    }

    /// `proxy-revalidate`: never used stale by shared caches (RFC 9111 section 5.2.2.8).
    pub fn proxy_revalidate(self) -> Self {
        self.with("proxy-revalidate", None)
    }

    /// `must-understand`: stored only by caches that know the status code (RFC 9111 section 5.2.2.3).
    pub fn must_understand(self) -> Self {
        self.with("must-understand", None)
    }

    /// `immutable`: does not change while it is fresh (RFC 8246).
    pub fn immutable(self) -> Self {
        self.with("immutable", None)
    }

    /// `only-if-cached`: answered from a cache or not at all; for requests (RFC 9111 section 5.2.1.7).
    pub fn only_if_cached(self) -> Self {
        self.with("only-if-cached", None)
    }

    /// `max-age`: fresh for that many seconds (RFC 9111 section 5.2.2.1).
    pub fn max_age(self, seconds: u64) -> Self {
        self.with("max-age", Some(seconds.to_string()))
    }

    /// `s-maxage`: fresh in shared caches for that many seconds (RFC 9111 section 5.2.2.10).
    pub fn s_maxage(self, seconds: u64) -> Self {
        self.with("s-maxage", Some(seconds.to_string()))
    }

    /// `stale-while-revalidate`: usable for that many more seconds while a fresh one is fetched (RFC 5861).
    pub fn stale_while_revalidate(self, seconds: u64) -> Self {
        self.with("stale-while-revalidate", Some(seconds.to_string()))
    }

    /// `stale-if-error`: usable for that many more seconds while the origin fails (RFC 5861).
    pub fn stale_if_error(self, seconds: u64) -> Self {
        self.with("stale-if-error", Some(seconds.to_string()))
    }

    /// Any directive without a value.
    ///
    /// # Panics
    /// If the name is no token; [`CacheControl::try_directive`] says so instead.
    #[track_caller]
    pub fn directive(self, name: &str) -> Self {
        self.try_directive(name, None).unwrap_or_else(|invalid| panic!("{invalid}"))
    }

    /// Any directive with a value, which is written as it is given (HDR-4). Only one that would come apart, because it
    /// has a comma outside of quotes or blanks at an end, is put into quotes.
    ///
    /// ```
    /// use larder::CacheControl;
    ///
    /// let control = CacheControl::new().directive_value("private", "Set-Cookie, Link").directive_value("community", "UCI");
    /// assert_eq!(control.to_string(), r#"private="Set-Cookie, Link", community=UCI"#);
    /// ```
    ///
    /// # Panics
    /// If the name is no token or the value has a character that no header can carry;
    /// [`CacheControl::try_directive`] says so instead.
    #[track_caller]
    pub fn directive_value(self, name: &str, value: impl fmt::Display) -> Self {
        self.try_directive(name, Some(&value.to_string())).unwrap_or_else(|invalid| panic!("{invalid}"))
    }

    /// [`directive`](Self::directive) or [`directive_value`](Self::directive_value), for text that comes from outside.
    ///
    /// # Errors
    /// [`InvalidDirective`] if the name is no token, or the value has a control character or one outside Latin-1.
    pub fn try_directive(self, name: &str, value: Option<&str>) -> Result<Self, InvalidDirective> {
        if !syntax::is_token(name) {
            return Err(InvalidDirective { text: name.to_owned() });
        }
        let name = name.to_ascii_lowercase();
        let value = match value.map(|text| (text, syntax::to_latin1(text))) {
            None => None,
            Some((text, None)) => return Err(InvalidDirective { text: format!("{name}={text}") }),
            Some((text, Some(bytes))) => Some(if stands_alone(&bytes) { text.to_owned() } else { syntax::quote(text) }),
        };
        let mut built = self;
        built.set(Cow::Owned(name), value);
        built.close_quotes();
        Ok(built)
    }

    pub(super) fn with(mut self, name: &'static str, value: Option<String>) -> Self {
        self.set(Cow::Borrowed(name), value);
        self
    }
}

/// What is asked. Names are exact: `x-not-private`, or `private` inside a quoted string, are not `private`.
impl CacheControl {
    /// The directives of all `Cache-Control` lines together; none if there is no such header. Nothing is malformed
    /// enough to fail: what is not understood is kept as an unknown directive.
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let mut control = CacheControl::new();
        for line in headers.get_all(CACHE_CONTROL) {
            control.read(line.as_bytes());
        }
        control
    }

    /// Whether there are no directives at all.
    pub fn is_empty(&self) -> bool {
        self.directives.is_empty()
    }

    /// Whether `public` is there.
    pub fn is_public(&self) -> bool {
        self.has("public")
    }

    /// Whether `private` is there, with or without field names.
    pub fn is_private(&self) -> bool {
        self.has("private")
    }

    /// Whether `no-cache` is there, with or without field names.
    pub fn is_no_cache(&self) -> bool {
        self.has("no-cache")
    }

    /// Whether `no-store` is there.
    pub fn is_no_store(&self) -> bool {
        self.has("no-store")
    }

    /// Whether `no-transform` is there.
    pub fn is_no_transform(&self) -> bool {
        self.has("no-transform")
    }

    /// Whether `must-revalidate` is there.
    pub fn is_must_revalidate(&self) -> bool {
        self.has("must-revalidate")
    }

    /// Whether `proxy-revalidate` is there.
    pub fn is_proxy_revalidate(&self) -> bool {
        self.has("proxy-revalidate")
    }

    /// Whether `must-understand` is there.
    pub fn is_must_understand(&self) -> bool {
        self.has("must-understand")
    }

    /// Whether `immutable` is there.
    pub fn is_immutable(&self) -> bool {
        self.has("immutable")
    }

    /// Whether `only-if-cached` is there.
    pub fn is_only_if_cached(&self) -> bool {
        self.has("only-if-cached")
    }

    /// The seconds of `max-age`: digits, plain or quoted (RFC 9111 section 1.2.2), the largest `u64` where there are more
    /// than it holds. `None` if it is not there or anything else. For Django's reading see [`get_max_age`].
    pub fn max_age_seconds(&self) -> Option<u64> {
        self.seconds("max-age")
    }

    /// The seconds of `s-maxage`, read as [`CacheControl::max_age_seconds`] are.
    pub fn s_maxage_seconds(&self) -> Option<u64> {
        self.seconds("s-maxage")
    }

    /// The seconds of `stale-while-revalidate`, read as [`CacheControl::max_age_seconds`] are.
    pub fn stale_while_revalidate_seconds(&self) -> Option<u64> {
        self.seconds("stale-while-revalidate")
    }

    /// The seconds of `stale-if-error`, read as [`CacheControl::max_age_seconds`] are.
    pub fn stale_if_error_seconds(&self) -> Option<u64> {
        self.seconds("stale-if-error")
    }

    /// Whether a directive of that name is there, with or without a value.
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// The value of a directive as it stands in the header, quotes included; `None` if it is not there or has none.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.find(name).and_then(|position| self.directives[position].value.as_deref())
    }

    /// Every directive in its order: its name in lower case, and its value as it stands in the header.
    pub fn directives(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.directives.iter().map(|directive| (&*directive.name, directive.value.as_deref()))
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.directives.iter().position(|directive| directive.name.eq_ignore_ascii_case(name))
    }

    pub(super) fn seconds(&self, name: &str) -> Option<u64> {
        let text = syntax::unquote(self.value(name)?);
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        Some(text.parse().unwrap_or(u64::MAX))
    }
}

/// What is changed: parsing and Django's merge.
impl CacheControl {
    fn read(&mut self, line: &[u8]) {
        for RawDirective { name, value } in syntax::directives(line) {
            let name = syntax::from_latin1(syntax::trim(name)).to_lowercase();
            self.set(Cow::Owned(name), value.map(syntax::from_latin1));
        }
        self.close_quotes();
    }

    /// Adds a directive, or changes the value of the one that is there (HDR-3, HDR-7).
    pub(super) fn set(&mut self, name: Cow<'static, str>, value: Option<String>) {
        let Some(first) = self.directives.iter().position(|directive| directive.name == name) else {
            return self.directives.push(Directive { name, value });
        };
        if name != "no-cache" {
            self.directives[first].value = value;
        } else if value.is_none() {
            self.directives[first].value = None;
            let mut position = 0;
            self.directives.retain(|directive| {
                position += 1;
                position <= first + 1 || directive.name != name
            });
        } else if self.directives[first].value.is_some() {
            let same = |directive: &Directive| directive.name == name && directive.value == value;
            if !self.directives.iter().any(same) {
                let run = self.directives[first..].iter().take_while(|directive| directive.name == name).count();
                self.directives.insert(first + run, Directive { name, value });
            }
        }
    }

    /// Merges `changes` in, as Django's `patch_cache_control` does (HDR-2 to HDR-7).
    pub(crate) fn patch(&mut self, changes: &CacheControl) {
        let max_age = self.smaller_max_age(changes);
        if self.is_private() && changes.is_public() {
            self.remove("private");
        } else if self.is_public() && changes.is_private() {
            self.remove("public");
        }
        for directive in &changes.directives {
            let value = if directive.name == "max-age" { max_age.clone() } else { directive.value.clone() };
            self.set(directive.name.clone(), value);
        }
        self.close_quotes();
    }

    /// Puts a value that begins with a quote and never ends it into quotes of its own, if there is another quote behind it
    /// that would end it now: what stands between them, a `private` perhaps, must not disappear in a quoted string.
    fn close_quotes(&mut self) {
        let mut has_quote_behind = false;
        for Directive { name, value } in self.directives.iter_mut().rev() {
            let Some(text) = value else {
                has_quote_behind |= name.contains('"');
                continue;
            };
            let has_quote = name.contains('"') || text.contains('"');
            if has_quote_behind && text.starts_with('"') && syntax::quoted_string(text.as_bytes()).is_none() {
                *text = syntax::quote(text);
            }
            has_quote_behind |= has_quote;
        }
    }

    /// The value of `max-age` after the merge: the smaller of both wins, and one that is no integer is ignored (HDR-5).
    fn smaller_max_age(&self, changes: &CacheControl) -> Option<String> {
        let new = changes.value("max-age");
        let Some(present) = self.find("max-age").and_then(|at| integer(self.directives[at].value.as_deref())) else {
            return new.map(str::to_owned);
        };
        match integer(new) {
            Some(wanted) if wanted < present => new.map(str::to_owned),
            _ => Some(present.to_string()),
        }
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.directives.retain(|directive| directive.name != name);
    }
}

/// The integer that Django takes a directive's value for; none at all counts as 1 (AGE-4).
fn integer(value: Option<&str>) -> Option<i64> {
    value.map_or(Some(1), |value| syntax::lenient_integer(&syntax::to_latin1(value)?))
}

/// Whether a value can be written without quotes and still be read back as the same single value.
fn stands_alone(value: &[u8]) -> bool {
    let line = [b"x=", value].concat();
    let mut parts = syntax::directives(&line);
    let first = parts.next().and_then(|part| part.value);
    first == Some(value) && parts.next().is_none() && syntax::trim(value) == value
}

fn field_names<N: AsRef<str>>(names: impl IntoIterator<Item = N>) -> String {
    let mut list = String::new();
    for name in names {
        let name = name.as_ref();
        assert!(syntax::is_token(name), "{name:?} is no header name");
        if !list.is_empty() {
            list.push_str(", ");
        }
        list.push_str(name);
    }
    syntax::quote(&list)
}

impl fmt::Display for CacheControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, (name, value)) in self.directives().enumerate() {
            if position > 0 {
                f.write_str(", ")?;
            }
            f.write_str(name)?;
            if let Some(value) = value {
                write!(f, "={value}")?;
            }
        }
        Ok(())
    }
}

impl FromStr for CacheControl {
    type Err = InvalidDirective;

    /// Parses one header value; fails only on characters that no header can carry.
    fn from_str(text: &str) -> Result<Self, InvalidDirective> {
        let bytes = syntax::to_latin1(text).ok_or_else(|| InvalidDirective { text: text.to_owned() })?;
        let mut control = CacheControl::new();
        control.read(&bytes);
        Ok(control)
    }
}

impl From<&HeaderValue> for CacheControl {
    fn from(value: &HeaderValue) -> Self {
        let mut control = CacheControl::new();
        control.read(value.as_bytes());
        control
    }
}

impl From<&CacheControl> for HeaderValue {
    fn from(control: &CacheControl) -> Self {
        syntax::header_value(&control.to_string())
    }
}

impl From<CacheControl> for HeaderValue {
    fn from(control: CacheControl) -> Self {
        HeaderValue::from(&control)
    }
}

/// Whether a directive of that name is in the `Cache-Control` header, any line of it; allocates nothing.
pub fn has_directive(headers: &HeaderMap, name: &str) -> bool {
    let lines = headers.get_all(CACHE_CONTROL).into_iter();
    let mut directives = lines.flat_map(|line| syntax::directives(line.as_bytes()));
    directives.any(|directive| syntax::trim(directive.name).eq_ignore_ascii_case(name.as_bytes()))
}

/// The `max-age` of a response as Django reads it, in seconds (AGE-1 to AGE-6).
///
/// `None` without one, or where it is no integer. Negative ones and Python's way of writing integers are understood, a
/// bare `max-age` is 1, of several the last one counts, and what does not fit becomes the nearest number that does.
///
/// ```
/// # use http::{HeaderMap, header::CACHE_CONTROL};
/// let mut headers = HeaderMap::new();
/// headers.insert(CACHE_CONTROL, "public, Max-Age=30".parse()?);
/// assert_eq!(larder::headers::get_max_age(&headers), Some(30));
/// # Ok::<(), http::header::InvalidHeaderValue>(())
/// ```
pub fn get_max_age(headers: &HeaderMap) -> Option<i64> {
    let lines = headers.get_all(CACHE_CONTROL).into_iter();
    // The name is not trimmed: with a blank before the `=` it is no `max-age` (AGE-6).
    let directives = lines.flat_map(|line| syntax::directives(line.as_bytes()));
    let last = directives.filter(|directive| directive.name.eq_ignore_ascii_case(b"max-age")).last()?;
    last.value.map_or(Some(1), syntax::lenient_integer)
}

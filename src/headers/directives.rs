//! The rarer directives of `Cache-Control`: those of requests, and the field names that `private` and `no-cache` carry.
//! Applications and caches that read a visitor's wishes call it; [`CacheControl`] itself has the others.

use super::cache_control::CacheControl;
use super::syntax;

/// What a request can ask for besides the directives it shares with responses (RFC 9111 section 5.2.1).
impl CacheControl {
    /// `max-stale`: a response that has been stale for that many seconds will do (RFC 9111 section 5.2.1.2).
    pub fn max_stale(self, seconds: u64) -> Self {
        self.with("max-stale", Some(seconds.to_string()))
    }

    /// `max-stale` without a value: a stale response of any age will do (RFC 9111 section 5.2.1.2).
    pub fn max_stale_of_any_age(self) -> Self {
        self.with("max-stale", None)
    }

    /// `min-fresh`: the response must stay fresh for that many more seconds (RFC 9111 section 5.2.1.3).
    pub fn min_fresh(self, seconds: u64) -> Self {
        self.with("min-fresh", Some(seconds.to_string()))
    }

    /// The seconds of `max-stale`, the largest `u64` where it has no value. `None` if it is not there, or its value is no
    /// number.
    pub fn max_stale_seconds(&self) -> Option<u64> {
        if self.has("max-stale") && self.value("max-stale").is_none() {
            Some(u64::MAX)
        } else {
            self.seconds("max-stale")
        }
    }

    /// The seconds of `min-fresh`, read as [`CacheControl::max_age_seconds`] are.
    pub fn min_fresh_seconds(&self) -> Option<u64> {
        self.seconds("min-fresh")
    }
}

/// The field names that `private` and `no-cache` are limited to.
impl CacheControl {
    /// The header fields that shared caches must leave out; `None` where there is no `private` or where it means the
    /// whole response (RFC 9111 section 5.2.2.7). A cache that does not go by single fields takes the first for the
    /// second, as this crate's does.
    ///
    /// ```
    /// # use larder::CacheControl;
    /// let control = CacheControl::new().private_fields(["Set-Cookie", "Link"]);
    /// assert_eq!(control.private_names().unwrap(), ["Set-Cookie", "Link"]);
    /// assert_eq!(CacheControl::new().private().private_names(), None);
    /// ```
    pub fn private_names(&self) -> Option<Vec<String>> {
        self.names_of("private")
    }

    /// The header fields that must not be sent again without asking the origin; `None` where there is no `no-cache` or
    /// where it means the whole response (RFC 9111 section 5.2.2.4).
    pub fn no_cache_names(&self) -> Option<Vec<String>> {
        self.names_of("no-cache")
    }

    fn names_of(&self, directive: &str) -> Option<Vec<String>> {
        let mut names = Vec::new();
        for (_, value) in self.directives().filter(|(name, _)| *name == directive) {
            names.extend(syntax::unquote(value?).split(',').map(|name| name.trim().to_owned()));
        }
        names.retain(|name| !name.is_empty());
        (!names.is_empty()).then_some(names)
    }
}

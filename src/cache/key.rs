//! Final keys: how a caller's key becomes the name an entry is stored under, and whether that name travels (KEY-1 to KEY-16).
//! The cache calls it before every call of a backend.

use std::fmt;
use std::sync::Arc;

use crate::backend::{KeyRule, LONGEST_KEY};
use crate::error::{Error, KeyProblem};

/// Makes a final key of the caller's key, the cache's prefix and the version, in that order, as Django's `KEY_FUNCTION` (KEY-5).
pub(super) type KeyFunction = dyn Fn(&str, &str, &str) -> String + Send + Sync;

/// A version: the middle part of a final key. A number, or any text (KEY-2).
///
/// ```
/// # use larder::cache::Version;
/// assert_eq!(Version::from(2).to_string(), "2");
/// assert_eq!(Version::from("draft").to_string(), "draft");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Version(Arc<str>);

impl Version {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The version `delta` further on.
    ///
    /// # Errors
    /// [`Error::Config`] where it is not a number that can be counted.
    pub(super) fn moved(&self, delta: i64) -> Result<i64, Error> {
        let number = self.0.parse::<i64>().ok().and_then(|number| number.checked_add(delta));
        number.ok_or_else(|| Error::Config(format!("the version {:?} cannot be counted by {delta}", &*self.0)))
    }
}

impl Default for Version {
    /// Version 1 (KEY-2).
    fn default() -> Self {
        Version::from(1)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for Version {
    fn from(text: &str) -> Self {
        Version(text.into())
    }
}

impl From<String> for Version {
    fn from(text: String) -> Self {
        Version(text.into())
    }
}

macro_rules! from_number {
    ($($number:ty),*) => {$(
        impl From<$number> for Version {
            fn from(number: $number) -> Self {
                Version(number.to_string().into())
            }
        }
    )*};
}

from_number!(i32, u32, i64, u64, i128, u128, usize);

/// What is wrong with a final key, length first; nothing if every backend can take it (KEY-7 to KEY-9).
///
/// ```
/// use larder::KeyProblem;
/// use larder::cache::key_problems;
///
/// assert_eq!(key_problems(":1:café"), []);
/// assert_eq!(key_problems(":1:two words"), [KeyProblem::BadCharacters]);
/// assert_eq!(key_problems(&" ".repeat(251)), [KeyProblem::TooLong, KeyProblem::BadCharacters]);
/// ```
pub fn key_problems(final_key: &str) -> Vec<KeyProblem> {
    let mut problems = Vec::new();
    // Characters are never more than bytes, so that the usual short key is not decoded.
    if final_key.len() > LONGEST_KEY && final_key.chars().count() > LONGEST_KEY {
        problems.push(KeyProblem::TooLong);
    }
    if has_bad_characters(final_key) {
        problems.push(KeyProblem::BadCharacters);
    }
    problems
}

/// Without a way out at the first one, so that it takes many bytes at a time: keys with any are seldom.
fn has_bad_characters(key: &str) -> bool {
    key.bytes().fold(false, |has_any, byte| has_any | (byte <= b' ') | (byte == 0x7F))
}

/// Holds a final key against a backend's rule (KEY-10): a key that does not travel is refused with its first problem, or
/// each problem is logged as a warning.
pub(super) fn check(final_key: String, rule: KeyRule) -> Result<String, Error> {
    for problem in key_problems(&final_key) {
        match rule {
            KeyRule::Refuse => return Err(Error::Key { key: final_key, problem }),
            // Keys may hold what is nobody else's business, so their text is told at debug level only (safety rule 13).
            KeyRule::Warn => {
                tracing::warn!(
                    target: "larder::key",
                    problem = %problem,
                    bytes = final_key.len(),
                    "a cache key that memcached would refuse"
                );
                tracing::debug!(target: "larder::key", key = %final_key.escape_debug(), "the key of the last warning");
            }
        }
    }
    Ok(final_key)
}

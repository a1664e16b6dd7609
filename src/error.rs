//! What can go wrong, said once for the whole crate: which key, what happened, what to do.
//! Every fallible call of the cache and of the backends returns this [`Error`].

use std::fmt;
use std::time::Duration;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// What a cache or backend call failed with. No error ever holds another key's data.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The final key is one the backend cannot take (KEY-10); nothing was sent to it.
    Key {
        /// The final key.
        key: String,
        /// What is wrong with it.
        problem: KeyProblem,
    },
    /// `incr`, `decr` or `incr_version` of a key that is not there (LOW-13).
    Missing {
        /// The caller's key.
        key: String,
    },
    /// `incr` or `decr` of something that is not an integer (LOW-20).
    NotANumber {
        /// The caller's key.
        key: String,
    },
    /// The number would leave the range of a signed 64-bit integer; it was left as it was.
    Overflow {
        /// The caller's key.
        key: String,
    },
    /// The value could not be turned into bytes; nothing was stored (LOW-22).
    Encode {
        /// The caller's key.
        key: String,
        /// What the codec said.
        source: Source,
    },
    /// What is stored is not the type that was asked for; it was left as it was.
    Decode {
        /// The caller's key.
        key: String,
        /// What the codec said.
        source: Source,
    },
    /// The value is larger than the backend takes; nothing was stored.
    TooLarge {
        /// The final key.
        key: String,
        /// Its size, in bytes.
        size: usize,
        /// The largest that is taken, in bytes.
        limit: usize,
    },
    /// The backend failed.
    Backend {
        /// The backend's name.
        backend: &'static str,
        /// What it said.
        source: Source,
    },
    /// The backend did not answer in time. What was to be written may have been, or not.
    Timeout {
        /// The backend's name.
        backend: &'static str,
        /// Which of its servers, where there are several.
        server: Option<String>,
        /// What it was asked to do.
        operation: &'static str,
        /// How long it had.
        after: Duration,
    },
    /// The backend has failed before and is left alone for a while: it was not asked.
    Unavailable {
        /// The backend's name.
        backend: &'static str,
        /// Which of its servers, where there are several.
        server: Option<String>,
        /// What it failed with.
        cause: String,
    },
    /// A URL that names no page.
    Url {
        /// The URL.
        url: String,
        /// What is wrong with it.
        source: Source,
    },
    /// A setting that cannot be used: an unknown scheme, alias or option.
    Config(String),
}

/// Why a final key is not portable to every backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyProblem {
    /// Longer than 250 characters (KEY-7).
    TooLong,
    /// A control character or a blank in it (KEY-8).
    BadCharacters,
}

impl fmt::Display for KeyProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            KeyProblem::TooLong => "is longer than 250 characters",
            KeyProblem::BadCharacters => "holds a blank or a control character",
        })
    }
}

impl Error {
    /// The same error for another one who waited for the same call. What the backend said is left as its words.
    pub(crate) fn told_again(&self) -> Self {
        match self {
            Error::Key { key, problem } => Error::Key { key: key.clone(), problem: *problem },
            Error::Timeout { backend, server, operation, after } => {
                Error::Timeout { backend, server: server.clone(), operation, after: *after }
            }
            Error::Unavailable { backend, server, cause } => {
                Error::Unavailable { backend, server: server.clone(), cause: cause.clone() }
            }
            Error::Backend { backend, source } => Error::Backend { backend, source: source.to_string().into() },
            other => Error::Backend { backend: "cache", source: other.to_string().into() },
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Key { key, problem } => {
                write!(f, "the cache key {key:?} {problem}: shorten it, or hash it with a key function")
            }
            Error::Missing { key } => write!(f, "no value under the key {key:?}: set or add it first"),
            Error::NotANumber { key } => {
                write!(f, "the value under the key {key:?} is not an integer: only integers can be counted up or down")
            }
            Error::Overflow { key } => {
                write!(f, "counting would take the value under the key {key:?} out of 64 bits: it was left as it was")
            }
            Error::Encode { key, source } => write!(f, "the value for the key {key:?} cannot be stored: {source}"),
            Error::Decode { key, source } => {
                write!(f, "the value under the key {key:?} is not of the type asked for: {source}")
            }
            Error::TooLarge { key, size, limit } => {
                write!(f, "the value for the key {key:?} has {size} bytes, more than the {limit} the backend takes")
            }
            Error::Backend { backend, source } => write!(f, "the {backend} backend failed: {source}"),
            Error::Timeout { backend, server, operation, after } => {
                let (at, server) = at_server(server);
                write!(
                    f,
                    "the {backend} backend{at}{server} did not answer {operation} within {after:?}: look whether it is down or slow"
                )
            }
            Error::Unavailable { backend, server, cause } => {
                let (at, server) = at_server(server);
                write!(f, "the {backend} backend{at}{server} is down and was not asked: it failed with: {cause}")
            }
            Error::Url { url, source } => write!(f, "{url:?} names no page: {source}"),
            Error::Config(message) => f.write_str(message),
        }
    }
}

fn at_server(server: &Option<String>) -> (&'static str, &str) {
    server.as_deref().map_or(("", ""), |server| (" at ", server))
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Encode { source, .. }
            | Error::Decode { source, .. }
            | Error::Backend { source, .. }
            | Error::Url { source, .. } => Some(source.as_ref()),
            _ => None,
        }
    }
}

//! What can go wrong between a caller and a memcached server: which key, which server, what to do.
//! Every fallible call of the memcached client returns this [`Error`].

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// What a memcached call failed with. It never holds a password, nor another key's data.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// memcached cannot take this key; nothing was sent.
    Key {
        /// The key; bytes that are not UTF-8 are replaced.
        key: String,
        /// What is wrong with it.
        problem: KeyProblem,
    },
    /// The value is larger than the server takes. What lay under the key before may be gone.
    TooLarge {
        /// The key.
        key: String,
        /// The size of the value as sent, in bytes.
        size: usize,
        /// The largest item, in bytes, its key and the server's own notes included.
        limit: usize,
    },
    /// `incr` or `decr` of something that is not a decimal number below 2^64; it was left as it was.
    NotANumber {
        /// The key.
        key: String,
    },
    /// The server did not answer in time. What was asked may still happen.
    Timeout {
        /// The server.
        server: String,
        /// What was asked: `get`, `set`, `connect` ...
        operation: &'static str,
        /// How long the caller waited.
        after: Duration,
    },
    /// The server failed several times in a row and is left alone for a moment; nothing was sent.
    Down {
        /// The server.
        server: String,
        /// For how long it has been down.
        since: Duration,
        /// What it failed with last.
        cause: Arc<Error>,
    },
    /// The connection could not be opened, or broke before the answer was there. What was asked may have happened.
    Connection {
        /// The server.
        server: String,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The server sent what no memcached sends, or an answer to another question. The connection was closed; nothing of
    /// what it sent reached a caller.
    Protocol {
        /// The server.
        server: String,
        /// What was wrong.
        what: String,
    },
    /// The server refused the user name or the password.
    Auth {
        /// The server.
        server: String,
        /// What it said.
        said: String,
    },
    /// The server refused the request: out of memory, for example.
    Server {
        /// The server.
        server: String,
        /// What it said.
        said: String,
    },
    /// What lies under the key cannot be read: its flags say compressed, and it is not, or is too large.
    Unreadable {
        /// The key.
        key: String,
        /// What is wrong with it.
        what: String,
    },
    /// A setting that cannot be used: an unknown option, a server that is none.
    Config(String),
}

/// Why memcached cannot take a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyProblem {
    /// No bytes at all.
    Empty,
    /// Longer than 250 bytes.
    TooLong {
        /// How long it is, in bytes.
        length: usize,
    },
    /// A blank or a control character in it.
    BadByte,
}

impl fmt::Display for KeyProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyProblem::Empty => f.write_str("is empty"),
            KeyProblem::TooLong { length } => write!(f, "has {length} bytes, and memcached takes 250 at most"),
            KeyProblem::BadByte => f.write_str("holds a blank or a control character, which memcached cannot take"),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Key { key, problem } => write!(f, "the key {key:?} {problem}: shorten it, or hash it"),
            Error::TooLarge { key, size, limit } => write!(
                f,
                "the value for the key {key:?} has {size} bytes, and the server takes items of {limit} bytes at most, \
                 key included: store less, or start memcached with a larger -I"
            ),
            Error::NotANumber { key } => {
                write!(f, "the value under the key {key:?} is not a number: only numbers can be counted up or down")
            }
            Error::Timeout { server, operation, after } => {
                write!(f, "memcached at {server} did not answer a {operation} within {after:?}")
            }
            Error::Down { server, since, cause } => {
                write!(f, "memcached at {server} has been down for {since:.1?}: {cause}")
            }
            Error::Connection { server, source } => {
                write!(f, "the connection to memcached at {server} failed: {source}")
            }
            Error::Protocol { server, what } => {
                write!(f, "memcached at {server} broke the protocol, and its connection was closed: {what}")
            }
            Error::Auth { server, said } => {
                write!(f, "memcached at {server} refused the user name or the password: {said}")
            }
            Error::Server { server, said } => write!(f, "memcached at {server} refused the request: {said}"),
            Error::Unreadable { key, what } => write!(f, "the value under the key {key:?} cannot be read: {what}"),
            Error::Config(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Connection { source, .. } => Some(source.as_ref()),
            Error::Down { cause, .. } => Some(cause.as_ref()),
            _ => None,
        }
    }
}

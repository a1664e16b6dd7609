//! The contract of a store, and one room for each store: bytes under a key for a while.
//! The cache floor calls it; to add a store, copy [`dummy`], implement [`Backend`], run the conformance suite.

mod counter;
#[cfg(feature = "database")]
pub mod database;
pub mod dummy;
pub mod envelope;
#[cfg(feature = "file")]
pub mod file;
pub(crate) mod guard;
#[cfg(feature = "memcached")]
pub mod memcached;
pub mod memory;
#[cfg(feature = "redis")]
pub mod redis;
mod reply;
pub(crate) mod url;

#[cfg(feature = "conformance")]
pub mod conformance;

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::clock::{Clock, Timestamp};
use crate::error::Error;

#[cfg(feature = "file")]
pub use self::file::{Files, FilesBuilder};
#[cfg(feature = "redis")]
pub use self::redis::{Redis, RedisBuilder};
pub use counter::counted;
#[cfg(feature = "database")]
pub use database::{Database, DatabaseBuilder, DatabaseError, DatabaseProblem};
pub use dummy::Dummy;
pub use guard::Patience;
#[cfg(feature = "memcached")]
pub use memcached::Memcached;
pub use memory::{Look, Memory, MemoryBuilder};
pub use reply::Reply;

/// What lies under a key: bytes, and a number that says how to read them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The bytes.
    pub data: Bytes,
    /// How to read them; see [`flags`].
    pub flags: u32,
}

/// The numbers in [`Stored::flags`]. Those below 32 are the ones of Django's default memcached client (MEM-12).
pub mod flags {
    /// Raw bytes.
    pub const BYTES: u32 = 0;
    /// An integer as decimal text: the only kind that `incr` takes.
    pub const INTEGER: u32 = 2;
    /// UTF-8 text.
    pub const TEXT: u32 = 16;
    /// A value of any other type, as MessagePack with named fields.
    pub const SERDE: u32 = 32;
    /// A page frame. It has the bit of Django's pickles, and begins with the pickle of `None`: a miss to every Django.
    pub const PAGE: u32 = 64 + 1;
    /// What is known of a URL: the header lists its pages vary on. As a [`PAGE`], a miss to every Django.
    pub const HEADER_LISTS: u32 = 128 + 1;
    /// A stamp: what holds as long as it stays where it is. As a [`PAGE`], a miss to every Django.
    pub const STAMP: u32 = 256 + 1;
}

/// The longest final key that every backend can take, in characters (KEY-7).
pub const LONGEST_KEY: usize = 250;

/// How strict a backend is about keys (KEY-10).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyRule {
    /// It can take any key; one that would not fit everywhere is logged as a warning.
    #[default]
    Warn,
    /// It cannot take keys over [`LONGEST_KEY`] characters, blanks or control characters; such a key is an error before any I/O.
    Refuse,
}

/// A store of bytes under keys. See the [module](self) for how to write one.
///
/// - `ttl` is how long an entry lives; `None` is for ever. It is never zero: what is to be gone at once is deleted.
///   An entry is dead from the very instant `now >= set + ttl` on, on every backend.
/// - Keys are final (prefix and version included), checked by the caller against [`Backend::key_rule`], valid UTF-8.
/// - A call answers at once or later ([`Reply`]). Dropping a pending call is safe: the change happened or did not, and
///   no later call ever gets its answer.
/// - Errors are typed and never carry another key's data.
pub trait Backend: Send + Sync + 'static {
    /// The backend's name in logs, errors and metrics.
    fn name(&self) -> &'static str;

    /// The clock that its entries expire by.
    fn clock(&self) -> Clock {
        Clock::system()
    }

    /// Which keys it can take.
    fn key_rule(&self) -> KeyRule {
        KeyRule::Warn
    }

    /// The largest value it takes, in bytes; a larger one is [`Error::TooLarge`].
    fn largest_value(&self) -> usize {
        usize::MAX
    }

    /// How long its calls may take, and when it is left alone, if it can be slow or down; a [`Cache`](crate::Cache) keeps
    /// to it. `None` is for a store that answers at once.
    fn patience(&self) -> Option<Patience> {
        None
    }

    /// The value, if one is there and alive.
    fn get<'a>(&'a self, key: &'a str) -> Reply<'a, Option<Stored>>;

    /// Stores, over whatever was there. A refused value leaves nothing behind (MEM-4).
    fn set<'a>(&'a self, key: &'a str, value: Stored, ttl: Option<Duration>) -> Reply<'a, ()>;

    /// Stores only where nothing alive is; says whether it did. Of concurrent callers one wins.
    fn add<'a>(&'a self, key: &'a str, value: Stored, ttl: Option<Duration>) -> Reply<'a, bool>;

    /// Gives a live entry a new lifetime; says whether there was one.
    fn touch<'a>(&'a self, key: &'a str, ttl: Option<Duration>) -> Reply<'a, bool>;

    /// Removes; says whether something alive was there.
    fn delete<'a>(&'a self, key: &'a str) -> Reply<'a, bool>;

    /// Adds to an integer ([`flags::INTEGER`]) atomically and keeps its lifetime; the new number, or `None` where nothing
    /// alive is. [`Error::NotANumber`] and [`Error::Overflow`] leave it as it was.
    fn incr<'a>(&'a self, key: &'a str, delta: i64) -> Reply<'a, Option<i64>>;

    /// Removes every entry whose key begins with `prefix`, or everything where it is empty.
    /// A backend that cannot tell keys apart removes everything, and says so in its documentation.
    fn clear<'a>(&'a self, prefix: &'a str) -> Reply<'a, ()>;

    /// Whether something alive is there.
    fn contains<'a>(&'a self, key: &'a str) -> Reply<'a, bool> {
        self.get(key).map(|stored| stored.is_some())
    }

    /// The values of several keys, in the order of `keys`. Override it where one round trip can do.
    fn get_many<'a>(&'a self, keys: &'a [String]) -> Reply<'a, Vec<Option<Stored>>> {
        Reply::each(keys, move |key| self.get(key))
    }

    /// Stores several entries; answers the positions of those that could not be stored. Where the backend failed and none
    /// was stored, that is the error: a list would hide from the guard that the backend is down.
    /// Override it where one round trip can do.
    fn set_many<'a>(&'a self, entries: &'a [(String, Stored)], ttl: Option<Duration>) -> Reply<'a, Vec<usize>> {
        Reply::each_outcome(entries, move |(key, value)| self.set(key, value.clone(), ttl)).and_then(refused)
    }

    /// Removes several keys. Override it where one round trip can do.
    fn delete_many<'a>(&'a self, keys: &'a [String]) -> Reply<'a, ()> {
        Reply::each(keys, move |key| self.delete(key)).map(|_| ())
    }

    /// Lets go of connections; the next call opens them again (LOW-18).
    fn close(&self) -> Reply<'_, ()> {
        Reply::ready(Ok(()))
    }

    /// The ready-made values it can keep, if it lives in this process; most backends cannot.
    fn objects(&self) -> Option<&dyn Objects> {
        None
    }
}

/// What [`Backend::set_many`] answers where the entries were stored one by one, with these outcomes.
fn refused(outcomes: Vec<Result<(), Error>>) -> Result<Vec<usize>, Error> {
    let is_none_stored = outcomes.iter().all(Result::is_err);
    let mut refused = Vec::new();
    for (position, outcome) in outcomes.into_iter().enumerate() {
        match outcome {
            Ok(()) => {}
            Err(error) if is_none_stored && guard::is_failure(&error) => return Err(error),
            Err(_) => refused.push(position),
        }
    }
    Ok(refused)
}

/// A ready-made value in this process's memory, kept by a backend that need not know what it is.
pub trait Object: Any + Send + Sync {
    /// Bytes it takes, all told.
    fn weight(&self) -> usize;

    /// When it is of no more use to anybody.
    fn expires_at(&self) -> Timestamp;
}

/// What becomes of the object under a key: of the present one, if there is one, the one to keep, if any.
pub type Change<'a> = dyn FnMut(Option<Arc<dyn Object>>) -> Option<Arc<dyn Object>> + 'a;

/// The part of an in-process backend that keeps ready-made [`Object`]s beside the bytes, in the same budget, so that
/// reading one neither parses nor copies. Keys are bytes of the caller's making; their first part is the same text that
/// [`Backend::clear`] takes as prefix.
pub trait Objects: Send + Sync {
    /// The object, alive or not: the caller looks at what is in it.
    fn get(&self, key: &[u8]) -> Option<Arc<dyn Object>>;

    /// The same where it lies, without one more user to be counted: that is a tenth of what a page from memory costs.
    fn look(&self, key: &[u8]) -> Look {
        Look::from(self.get(key))
    }

    /// Replaces the object by what `change` makes of the present one (`None`: nothing is kept), atomically among writers.
    /// Says whether an object is kept: one that alone exceeds the budget is not, and neither is the one it was to replace.
    fn update(&self, key: &[u8], change: &mut Change<'_>) -> bool;

    /// Puts `better`, another form of the same value, in the place of `present` if that is still there and `better` fits;
    /// otherwise leaves everything as it is.
    fn refine(&self, key: &[u8], present: &Arc<dyn Object>, better: Arc<dyn Object>);

    /// Removes; says whether something was there. Whatever is under way for the key at that time is gone, too
    /// ([`Objects::is_gone_since`]).
    fn remove(&self, key: &[u8]) -> bool;

    /// How many purges there were so far: removals, clearances, and those by name. Whoever is about to make a value takes it
    /// down before; with it the store can tell what came before what.
    fn purges(&self) -> u64;

    /// Purges a name: a text of the caller's that objects can have in common, and that no object lies under.
    fn purge(&self, name: &[u8]);

    /// Whether the name was purged when there had been so many purges already. It may say so of a name that was not, as it
    /// need not remember every name; what was purged it never says otherwise of.
    fn is_purged_since(&self, name: &[u8], purges: u64) -> bool;

    /// Whether the key was removed, or the store cleared, when there had been so many purges already: then a value that was
    /// begun at that time must not be kept under it. To be asked within [`Objects::update`]; else a removal may come in between.
    fn is_gone_since(&self, key: &[u8], purges: u64) -> bool;
}

/// An error of a backend, with what it said.
pub fn backend_error(backend: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Backend { backend, source: source.into() }
}

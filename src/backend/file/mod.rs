//! Values in files: one for each entry, in a directory that several processes may share. The cache floor calls it;
//! feature `file`.
//!
//! # What lies there
//!
//! `ab/ab….larder`: the SHA-256 digest of the final key in hexadecimal digits, in one of 256 directories by its first byte.
//! In it: a mark with a version, the moment it expires, flags, the whole key, the data, and checksums of both. A file that
//! is cut, changed, foreign, of another key, of a newer version, or that may not be read, is a miss and is left alone;
//! Django's `.djcache` files in the same directory are foreign and are never touched. Django's pickles are not read.
//! Directories that are made are `0700` and files `0600`, whatever the umask (FIL-2, FIL-3).
//!
//! # What is promised
//!
//! - An entry is written beside its place and then moved there: a reader finds the old one or the new one, whole. After a
//!   crash of the process likewise; what it left unfinished is removed an hour later. Nothing waits for the disk (`fsync`):
//!   after a loss of power, an entry that did not come to the disk is a miss.
//! - Whatever changes an entry holds the lock of its directory, among threads and processes of one machine: of
//!   concurrent `add`s one wins, `incr` loses nothing (FIL-6, FIL-11). Readers wait for nobody, and `contains`
//!   reads no data. On network file systems it is
//!   as good as their locks are.
//! - Entries are dead at the very moment, by the clock that was given (Django: a moment later, FIL-5).
//! - There are never more entries and bytes than allowed, but for what other processes have stored of late: each looks at
//!   what the others did every 1,024 changes of its own. Each of the 256 directories counts what is in it; the sum is known
//!   without listing one. Where it is too much, as many directories are listed as hold 512 entries: the dead ones go, then
//!   the oldest third (Django lists everything before each set, and removes at random: FIL-8). Entries that died stay until
//!   then.
//! - `clear` of a prefix opens every file, since only they know their keys; without a prefix it removes all entries, and
//!   nothing that is not one.
//! - All of it runs on the threads of tokio that may block. A call that is dropped stores nothing from then on, so that
//!   a slow one never undoes what came after it; a deletion that was begun is carried out.
//! - A few of these threads do the reading for all callers: to wake one for each read takes longer than the read. Where
//!   reads turn out to be slow, up to 64 of them read at once.
//!
//! # Why not another crate
//!
//! `cacache` is a content-addressable store: an index of append-only logs beside contents under their hash, which survives
//! crashes and shares equal contents, but expires nothing, bounds nothing, and cannot add or count atomically. Embedded
//! databases (`sled`, `redb`, `fjall`) lock out other processes. The file system itself has names, atomic moves and locks,
//! and an operator can look at it with `ls`.

mod builder;
mod culling;
mod folder;
mod readers;
mod record;
mod store;
mod tally;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use self::readers::Readers;
use self::store::{Caller, NAME, Store};
use super::{Backend, Patience, Reply, Stored, backend_error};
use crate::clock::Clock;
use crate::error::Error;

pub use self::builder::FilesBuilder;
pub(crate) use self::builder::OPTIONS;

/// Keeps values in files. See the [module](self) for what lies there and what it promises.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use larder::Cache;
/// use larder::backend::Files;
///
/// # let folder = tempfile::tempdir()?;
/// # let folder = folder.path().join("pages");
/// // let folder = "/var/tmp/pages";
/// let files = Files::builder(&folder).max_entries(10_000).max_bytes(64 << 20).build()?;
/// let cache = Cache::builder(files).key_prefix("blog").build();
/// cache.set("front", "hello, world!", 60).await?;
/// assert_eq!(cache.get::<String>("front").await?.as_deref(), Some("hello, world!"));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Files {
    store: Arc<Store>,
    readers: Arc<Readers>,
}

impl Files {
    /// A store in this directory, which is made when something is first stored: 100,000 entries and 1 GiB at most.
    ///
    /// # Errors
    /// [`Error::Config`] for a path that is not absolute (CFG-8) or names no directory.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self, Error> {
        Files::builder(folder).build()
    }

    /// A store with other limits.
    pub fn builder(folder: impl AsRef<Path>) -> FilesBuilder {
        FilesBuilder::new(folder.as_ref())
    }

    /// Works on a thread that may block.
    fn on_a_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store, &Caller) -> Result<T, Error> + Send + 'static,
    ) -> Reply<'_, T> {
        let (store, caller) = (Arc::clone(&self.store), Arc::new(Caller::default()));
        Reply::pending(async move {
            let _waiting = Waiting(Arc::clone(&caller));
            let done = tokio::task::spawn_blocking(move || work(&store, &caller)).await;
            done.unwrap_or_else(|error| Err(backend_error(NAME, error)))
        })
    }
}

/// Lives as long as somebody waits for a call.
struct Waiting(Arc<Caller>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files").field("folder", &self.store.folder.root()).finish_non_exhaustive()
    }
}

impl Backend for Files {
    fn name(&self) -> &'static str {
        NAME
    }

    fn clock(&self) -> Clock {
        self.store.clock.clone()
    }

    fn largest_value(&self) -> usize {
        self.store.largest_value(0)
    }

    /// A disk is slower than memory, and one that is busy much slower.
    fn patience(&self) -> Option<Patience> {
        Some(Patience::default().get(Duration::from_millis(250)).set(Duration::from_secs(1)))
    }

    fn get<'a>(&'a self, key: &'a str) -> Reply<'a, Option<Stored>> {
        let key = key.to_owned();
        Reply::pending(self.readers.read(move |store| store.get(&key)))
    }

    fn set<'a>(&'a self, key: &'a str, value: Stored, ttl: Option<Duration>) -> Reply<'a, ()> {
        let (key, expires_at) = (key.to_owned(), self.store.clock.now().after_ttl(ttl));
        self.on_a_thread(move |store, caller| store.set(&key, &value, expires_at, caller))
    }

    fn add<'a>(&'a self, key: &'a str, value: Stored, ttl: Option<Duration>) -> Reply<'a, bool> {
        let (key, expires_at) = (key.to_owned(), self.store.clock.now().after_ttl(ttl));
        self.on_a_thread(move |store, caller| store.add(&key, &value, expires_at, caller))
    }

    fn touch<'a>(&'a self, key: &'a str, ttl: Option<Duration>) -> Reply<'a, bool> {
        let (key, expires_at) = (key.to_owned(), self.store.clock.now().after_ttl(ttl));
        self.on_a_thread(move |store, caller| store.touch(&key, expires_at, caller))
    }

    fn delete<'a>(&'a self, key: &'a str) -> Reply<'a, bool> {
        let key = key.to_owned();
        self.on_a_thread(move |store, _| store.delete(&key))
    }

    fn incr<'a>(&'a self, key: &'a str, delta: i64) -> Reply<'a, Option<i64>> {
        let key = key.to_owned();
        self.on_a_thread(move |store, caller| store.incr(&key, delta, caller))
    }

    fn clear<'a>(&'a self, prefix: &'a str) -> Reply<'a, ()> {
        let prefix = prefix.to_owned();
        self.on_a_thread(move |store, _| store.clear(&prefix))
    }

    fn contains<'a>(&'a self, key: &'a str) -> Reply<'a, bool> {
        let key = key.to_owned();
        Reply::pending(self.readers.read(move |store| store.contains(&key)))
    }

    fn get_many<'a>(&'a self, keys: &'a [String]) -> Reply<'a, Vec<Option<Stored>>> {
        let keys = keys.to_vec();
        Reply::pending(self.readers.read(move |store| keys.iter().map(|key| store.get(key)).collect()))
    }

    fn set_many<'a>(&'a self, entries: &'a [(String, Stored)], ttl: Option<Duration>) -> Reply<'a, Vec<usize>> {
        let (entries, expires_at) = (entries.to_vec(), self.store.clock.now().after_ttl(ttl));
        self.on_a_thread(move |store, caller| {
            super::refused(entries.iter().map(|(key, value)| store.set(key, value, expires_at, caller)).collect())
        })
    }

    fn delete_many<'a>(&'a self, keys: &'a [String]) -> Reply<'a, ()> {
        let keys = keys.to_vec();
        self.on_a_thread(move |store, _| keys.iter().try_for_each(|key| store.delete(key).map(|_| ())))
    }
}

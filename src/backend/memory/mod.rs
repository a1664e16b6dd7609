//! The store in this process's memory: bounded by bytes, exact under concurrency, shared by its clones.
//! `Cache::memory()` and the process-wide default sit on it, and the page floor keeps its ready-made pages in it.

mod builder;
mod entry;
mod hot;
mod objects;
mod stamps;

use std::fmt;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Backend, Objects, Reply, Stored, counted};
use crate::clock::{Clock, Timestamp};
use crate::error::Error;
use entry::{Entry, OVERHEAD};
use hot::{Held, HotSet, LONGEST_HOT_KEY, is_sampled};
use stamps::Stamps;

pub use builder::MemoryBuilder;
pub use objects::Look;

/// What the stamps are built on; their exploration by shuttle has others.
mod sync {
    pub(super) use std::sync::atomic::AtomicU64;
}

/// The first byte of an object's key. No UTF-8 text holds it, so no object ever lies under a text key.
const OBJECT: u8 = 0xFF;

/// Locks for writers; two keys share one only by chance.
const STRIPES: usize = 64;

/// The part of the budget that may be written before the maintenance is run: what a flood of large values can be over.
const UNSETTLED: usize = 64;

type Key = Box<[u8]>;
type Table = moka::sync::Cache<Key, Entry, foldhash::quality::RandomState>;

/// Values in this process's memory, at most so many bytes of them.
///
/// - **Bound.** Keys, values and the bookkeeping of each entry count towards one budget in bytes (100 MiB unless
///   [`MemoryBuilder::max_bytes`] says otherwise). Under pressure entries go by how often and how lately they were used
///   (TinyLFU), so that a flood of keys asked for once does not drive out those asked for often; a new entry may itself
///   be the one to go. Django's `MAX_ENTRIES` and culling (LOC-5 to LOC-8) have no counterpart.
/// - **Expiry.** An entry is dead from the very instant its time is up, by the injected [`Clock`]. Nothing runs in the
///   background: the bytes of the dead come back when a `get`, `contains` or `incr` meets them, or under pressure.
/// - **Concurrency.** Reads take no lock of the store's. Writers of one key take turns, so `add` has one winner and
///   `incr` loses neither a count nor a concurrent `set`.
/// - **Size.** A value that alone exceeds the budget is [`Error::TooLarge`], and what was there is gone (MEM-4).
///
/// A clone is another handle on the same store.
///
/// ```
/// use larder::backend::Memory;
/// use larder::{Cache, ManualClock, Timestamp};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), larder::Error> {
/// let hands = ManualClock::at(Timestamp::from_secs(1_700_000_000));
/// let memory = Memory::builder().max_bytes(8 << 20).clock(hands.clock()).build();
/// let cache = Cache::new(memory.clone());
///
/// cache.set("my_key", "hello, world!", 30).await?;
/// assert_eq!(memory.entries(), 1);
/// hands.advance(Duration::from_secs(30));
/// assert_eq!(cache.get::<String>("my_key").await?, None);
/// assert_eq!(memory.entries(), 0);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Memory(Arc<Store>);

struct Store {
    table: Table,
    hot: Arc<HotSet>,
    writers: [Mutex<()>; STRIPES],
    /// Whether the table may still have to weigh what the writers of a stripe have put; for those in their turn.
    is_unweighed: [AtomicBool; STRIPES],
    stamps: Stamps<foldhash::quality::RandomState>,
    hasher: foldhash::quality::RandomState,
    clock: Clock,
    max_bytes: usize,
    unsettled: AtomicUsize,
}

impl Memory {
    /// The budget of a store that was not given one, in bytes: 100 MiB.
    pub const DEFAULT_MAX_BYTES: usize = 100 << 20;

    /// A store of 100 MiB on the system's clock.
    pub fn new() -> Self {
        Memory::builder().build()
    }

    /// A store of 100 MiB that tells the time by `clock`.
    pub fn with_clock(clock: Clock) -> Self {
        Memory::builder().clock(clock).build()
    }

    /// A store made to measure.
    pub fn builder() -> MemoryBuilder {
        MemoryBuilder::default()
    }

    /// The budget, in bytes.
    pub fn max_bytes(&self) -> usize {
        self.0.max_bytes
    }

    /// Bytes taken, keys and bookkeeping included, the dead that nobody met included; never above the budget.
    /// It settles outstanding maintenance first, so it is for metrics and tests, not for every request.
    pub fn usage(&self) -> u64 {
        self.0.settle_all();
        self.0.table.weighted_size()
    }

    /// Number of entries, the dead that nobody met included. Settles like [`Memory::usage`].
    pub fn entries(&self) -> u64 {
        self.0.settle_all();
        self.0.table.entry_count()
    }

    /// The final keys of the live values and when each expires, in no particular order: what `memcdump` is to memcached.
    /// Ready-made objects are not in it. It walks the whole store.
    pub fn dump(&self) -> Vec<(String, Timestamp)> {
        let now = self.0.clock.now();
        let live = self.0.table.iter().filter(|(_, entry)| !entry.is_dead(now));
        live.filter_map(|(key, entry)| Some((std::str::from_utf8(&key).ok()?.to_owned(), entry.expires_at()))).collect()
    }
}

impl Default for Memory {
    fn default() -> Self {
        Memory::new()
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("max_bytes", &self.0.max_bytes).field("clock", &self.0.clock).finish()
    }
}

/// An entry that was found.
enum Found {
    /// Where it lies in the hot set.
    Hot(Held),
    /// A clone of what the table has.
    InTable(Entry),
}

impl Found {
    fn entry(&self) -> Option<&Entry> {
        match self {
            Found::Hot(held) => held.entry(),
            Found::InTable(entry) => Some(entry),
        }
    }
}

impl Store {
    /// The turn of a writer of `key`. A writer that panicked left no half-made entry, so its turn is simply over.
    fn turn(&self, key: &[u8]) -> MutexGuard<'_, ()> {
        let stripe = self.hasher.hash_one(key) as usize % STRIPES;
        self.writers[stripe].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The entry, dead or alive: from the hot set if it is there, else from the table.
    fn look_up(&self, key: &[u8]) -> Option<Found> {
        let hash = self.hasher.hash_one(key);
        let is_sampled = is_sampled();
        if !is_sampled && let Some(held) = self.hot.get(key, hash) {
            return Some(Found::Hot(held));
        }
        let entry = self.table.get(key)?;
        if is_sampled && key.len() <= LONGEST_HOT_KEY && self.hot.get(key, hash).is_none() {
            self.make_hot(key, hash);
        }
        Some(Found::InTable(entry))
    }

    /// Takes an entry into the hot set, unless a writer is at work.
    fn make_hot(&self, key: &[u8], hash: u64) {
        let Ok(_turn) = self.writers[hash as usize % STRIPES].try_lock() else { return };
        let Some(entry) = self.table.get(key) else { return };
        self.hot.put(key, hash, entry);
        // An eviction between the two lines above has told the hot set too early.
        if !self.table.contains_key(key) {
            self.hot.forget(key, hash);
        }
    }

    /// Puts an entry, in a writer's turn. The hot set forgets first: one that forgot later would answer with the old
    /// entry when somebody has seen the new one in the table already.
    fn insert(&self, key: &[u8], entry: Entry) {
        let hash = self.hasher.hash_one(key);
        self.hot.forget(key, hash);
        self.is_unweighed[hash as usize % STRIPES].store(true, Ordering::Relaxed);
        self.table.insert(key.into(), entry);
        self.tell_what_is_hot();
    }

    /// Tells the table of one of the entries that are read from the hot set, so that it knows them to be popular. The
    /// writers do it, since it is they who drive entries out: a flood of new keys, each looked for twice before it is
    /// stored, else passes for more popular than pages of which the table hears one read in sixteen.
    fn tell_what_is_hot(&self) {
        if let Some(hot) = self.hot.next_read() {
            self.table.get(&*hot.key);
        }
    }

    /// Removes an entry, in a writer's turn; the hot set forgets first, as in [`Store::insert`].
    ///
    /// The table weighs in batches, and takes off the last weight of a removed entry even if it has only added the one
    /// before: what grew and was removed at once would free more than it took, and the budget would be exceeded for good.
    /// So it weighs first where it may have to.
    fn remove(&self, key: &[u8]) -> Option<Entry> {
        let hash = self.hasher.hash_one(key);
        self.hot.forget(key, hash);
        if self.is_unweighed[hash as usize % STRIPES].swap(false, Ordering::Relaxed) {
            self.table.run_pending_tasks();
        }
        self.table.remove(key)
    }

    /// The live value, as a reader sees it. A dead one that is met is removed.
    fn read(&self, key: &[u8]) -> Option<Arc<entry::Item>> {
        let Entry::Bytes(item) = self.look_up(key)?.entry()?.clone() else { return None };
        if item.expires_at > self.clock.now() {
            return Some(item);
        }
        let _turn = self.turn(key);
        // Only the very entry that was seen dead: a writer may have put a live one there meanwhile.
        if let Some(Entry::Bytes(present)) = self.table.get(key)
            && Arc::ptr_eq(&present, &item)
        {
            self.remove(key);
        }
        None
    }

    /// The live value, in a writer's turn.
    fn present(&self, key: &[u8]) -> Option<Arc<entry::Item>> {
        match self.table.get(key)? {
            Entry::Bytes(item) if item.expires_at > self.clock.now() => Some(item),
            _ => None,
        }
    }

    /// The most that one entry may weigh, in bytes: the table has weights as `u32`.
    fn heaviest(&self) -> usize {
        self.max_bytes.min(u32::MAX as usize)
    }

    /// The largest value that fits under `key`, in bytes.
    fn room(&self, key: &[u8]) -> usize {
        self.heaviest().saturating_sub(OVERHEAD).saturating_sub(key.len())
    }

    /// Puts an entry in a writer's turn, or removes what is there if it can never fit: `false`.
    #[must_use]
    fn put(&self, key: &[u8], entry: Entry) -> bool {
        if entry.weight(key) > self.heaviest() {
            self.remove(key);
            return false;
        }
        self.insert(key, entry);
        true
    }

    /// Puts a value in a writer's turn.
    fn put_value(&self, key: &str, stored: Stored, expires_at: Timestamp) -> Result<(), Error> {
        let size = stored.data.len();
        if self.put(key.as_bytes(), Entry::bytes(stored, expires_at)) {
            return Ok(());
        }
        Err(Error::TooLarge { key: key.to_owned(), size, limit: self.room(key.as_bytes()) })
    }

    /// After a write of so many bytes under `key`, outside any writer's turn. The table evicts in batches of 64 writes,
    /// which may be many times the budget where entries are large; so it is also told to after a certain number of bytes.
    fn settle(&self, key: &[u8], size: usize) {
        let bytes = size.saturating_add(key.len()).saturating_add(OVERHEAD);
        let unsettled = self.unsettled.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        if unsettled > self.max_bytes / UNSETTLED {
            self.unsettled.store(0, Ordering::Relaxed);
            self.table.run_pending_tasks();
        }
    }

    /// Runs all of the maintenance. One run of it gives up after 100 ms since there is a listener for what is evicted;
    /// on a busy machine that may be before the budget is kept.
    fn settle_all(&self) {
        self.table.run_pending_tasks();
        for _ in 0..100 {
            if self.table.weighted_size() <= self.max_bytes as u64 {
                return;
            }
            self.table.run_pending_tasks();
        }
    }

    fn set(&self, key: &str, value: Stored, ttl: Option<Duration>) -> Result<(), Error> {
        let size = value.data.len();
        {
            let _turn = self.turn(key.as_bytes());
            self.put_value(key, value, self.clock.now().after_ttl(ttl))?;
        }
        self.settle(key.as_bytes(), size);
        Ok(())
    }

    fn add(&self, key: &str, value: Stored, ttl: Option<Duration>) -> Result<bool, Error> {
        let size = value.data.len();
        {
            let _turn = self.turn(key.as_bytes());
            if self.present(key.as_bytes()).is_some() {
                return Ok(false);
            }
            self.put_value(key, value, self.clock.now().after_ttl(ttl))?;
        }
        self.settle(key.as_bytes(), size);
        Ok(true)
    }

    fn touch(&self, key: &str, ttl: Option<Duration>) -> Result<bool, Error> {
        let _turn = self.turn(key.as_bytes());
        let Some(item) = self.present(key.as_bytes()) else { return Ok(false) };
        self.put_value(key, item.stored.clone(), self.clock.now().after_ttl(ttl))?;
        Ok(true)
    }

    fn delete(&self, key: &str) -> bool {
        let _turn = self.turn(key.as_bytes());
        self.remove(key.as_bytes()).is_some_and(|entry| !entry.is_dead(self.clock.now()))
    }

    fn incr(&self, key: &str, delta: i64) -> Result<Option<i64>, Error> {
        let _turn = self.turn(key.as_bytes());
        let Some(Entry::Bytes(item)) = self.table.get(key.as_bytes()) else { return Ok(None) };
        if item.expires_at <= self.clock.now() {
            self.remove(key.as_bytes());
            return Ok(None);
        }
        let (number, stored) = counted(key, &item.stored, delta)?;
        self.put_value(key, stored, item.expires_at)?;
        Ok(Some(number))
    }

    /// Removes the entries that are there now and lie under `prefix`, objects included; and what is on its way to the store
    /// under the name of an object does not come to it any more.
    fn clear(&self, prefix: &[u8]) {
        self.stamps.clear();
        self.wait_for_turns();
        for (key, _) in &self.table {
            if is_under(&key, prefix) {
                let _turn = self.turn(&key);
                self.remove(&key);
            }
        }
        // The table may have evicted what the hot set still has, or is about to get from a reader in his turn; whoever comes
        // later finds nothing in the table.
        self.wait_for_turns();
        self.hot.forget_all(|key| is_under(key, prefix));
        self.table.run_pending_tasks();
    }

    /// Waits until every writer who is in a turn now has ended it.
    fn wait_for_turns(&self) {
        for writer in &self.writers {
            drop(writer.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

fn is_under(key: &[u8], prefix: &[u8]) -> bool {
    key.strip_prefix(&[OBJECT]).unwrap_or(key).starts_with(prefix)
}

impl Backend for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn clock(&self) -> Clock {
        self.0.clock.clone()
    }

    /// The budget less the bookkeeping of one entry; the key takes its own length from it too.
    fn largest_value(&self) -> usize {
        self.0.room(&[])
    }

    fn get<'a>(&'a self, key: &'a str) -> Reply<'a, Option<Stored>> {
        Reply::ready(Ok(self.0.read(key.as_bytes()).map(|item| item.stored.clone())))
    }

    fn set<'a>(&'a self, key: &'a str, value: Stored, ttl: Option<Duration>) -> Reply<'a, ()> {
        Reply::ready(self.0.set(key, value, ttl))
    }

    fn add<'a>(&'a self, key: &'a str, value: Stored, ttl: Option<Duration>) -> Reply<'a, bool> {
        Reply::ready(self.0.add(key, value, ttl))
    }

    fn touch<'a>(&'a self, key: &'a str, ttl: Option<Duration>) -> Reply<'a, bool> {
        Reply::ready(self.0.touch(key, ttl))
    }

    fn delete<'a>(&'a self, key: &'a str) -> Reply<'a, bool> {
        Reply::ready(Ok(self.0.delete(key)))
    }

    fn incr<'a>(&'a self, key: &'a str, delta: i64) -> Reply<'a, Option<i64>> {
        Reply::ready(self.0.incr(key, delta))
    }

    /// Exact: what was there when it was called is gone when it returns, the objects whose keys lie under `prefix` too.
    /// It walks the whole store.
    fn clear<'a>(&'a self, prefix: &'a str) -> Reply<'a, ()> {
        self.0.clear(prefix.as_bytes());
        Reply::ready(Ok(()))
    }

    fn contains<'a>(&'a self, key: &'a str) -> Reply<'a, bool> {
        Reply::ready(Ok(self.0.read(key.as_bytes()).is_some()))
    }

    fn objects(&self) -> Option<&dyn Objects> {
        Some(&*self.0)
    }
}

//! The settings of a memory store: how many bytes, and whose clock.
//! Applications call it through `Memory::builder()`, `CACHE_URL` through its `max_bytes` option.

use std::array;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex};

use super::entry::Entry;
use super::hot::HotSet;
use super::stamps::Stamps;
use super::{Key, Memory, Store};
use crate::clock::Clock;

/// Builds a [`Memory`]; see [`Memory::builder`].
#[derive(Clone, Debug)]
pub struct MemoryBuilder {
    max_bytes: usize,
    clock: Clock,
}

impl Default for MemoryBuilder {
    fn default() -> Self {
        MemoryBuilder { max_bytes: Memory::DEFAULT_MAX_BYTES, clock: Clock::system() }
    }
}

impl MemoryBuilder {
    /// The budget, in bytes, for everything kept, keys and bookkeeping included; 100 MiB by default.
    /// At the limit the least useful entries go. With 0 nothing can be stored: every `set` is
    /// [`Error::TooLarge`](crate::Error::TooLarge).
    pub fn max_bytes(mut self, max_bytes: usize) -> Self {
        self.max_bytes = max_bytes;
        self
    }

    /// The clock its entries expire by; the system's by default.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// The store.
    pub fn build(self) -> Memory {
        let hasher = foldhash::quality::RandomState::default();
        let hot = Arc::new(HotSet::new());
        let (evicted_from, hash) = (Arc::clone(&hot), hasher.clone());
        let table = moka::sync::Cache::builder()
            .name("larder")
            .max_capacity(self.max_bytes as u64)
            // `put` refuses what would not fit in 32 bits.
            .weigher(|key: &Key, entry: &Entry| u32::try_from(entry.weight(key)).unwrap_or(u32::MAX))
            .eviction_listener(move |key: Arc<Key>, _, cause| {
                if cause.was_evicted() {
                    evicted_from.forget(&key, hash.hash_one(&**key));
                }
            })
            .build_with_hasher(hasher.clone());
        let writers = array::from_fn(|_| Mutex::new(()));
        let is_unweighed = array::from_fn(|_| AtomicBool::new(false));
        let (clock, max_bytes, unsettled) = (self.clock, self.max_bytes, AtomicUsize::new(0));
        let stamps = Stamps::new(hasher.clone(), self.max_bytes);
        Memory(Arc::new(Store { table, hot, writers, is_unweighed, stamps, hasher, clock, max_bytes, unsettled }))
    }
}

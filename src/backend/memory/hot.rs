//! The few entries that are asked for most, in front of the table: one pointer to load, nothing to record.
//! The store asks it first on every read; the table stays the truth, and every writer makes the store forget here too.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use arc_swap::{ArcSwapOption, Guard};

use super::entry::Entry;

/// Entries it can hold: enough for the pages that most requests are for, and few enough to walk on `clear`.
const PLACES: usize = 512;

/// The longest key, in bytes, of an entry that comes here. Keys are held a second time, outside the budget, and with URLs
/// of 64 KiB that would be 32 MiB.
pub(super) const LONGEST_HOT_KEY: usize = 512;

/// One read in so many goes to the table although the entry is here, so that the table knows what is popular and does
/// not evict it; and one read in so many that the table answered brings an entry here.
const SAMPLE: u32 = 16;

/// A small set of entries by their hash. An entry is put here only in a writer's turn of its key, as the table has it at
/// that moment, and the writers of a key forget it here before they change it in the table: so what is found here is what
/// the last writer left, and nobody who has seen a newer entry finds an older one.
pub(super) struct HotSet {
    places: Box<[ArcSwapOption<Hot>]>,
    /// The place that the next writer looks at.
    next: AtomicUsize,
}

pub(super) struct Hot {
    pub(super) key: Box<[u8]>,
    entry: Entry,
    /// Whether somebody found it here since a writer last told the table so. Written only when that changes, so that
    /// readers on other cores do not wait for each other.
    was_read: AtomicBool,
}

/// An entry that was found here. It stays what it is for as long as this is held, whatever the writers do meanwhile.
pub(super) struct Held(Guard<Option<Arc<Hot>>>);

impl Held {
    pub(super) fn entry(&self) -> Option<&Entry> {
        self.0.as_ref().map(|hot| &hot.entry)
    }
}

impl HotSet {
    pub(super) fn new() -> Self {
        HotSet { places: (0..PLACES).map(|_| ArcSwapOption::empty()).collect(), next: AtomicUsize::new(0) }
    }

    fn place(&self, hash: u64) -> &ArcSwapOption<Hot> {
        // The writers' stripes use the low bits.
        &self.places[(hash >> 32) as usize % PLACES]
    }

    pub(super) fn get(&self, key: &[u8], hash: u64) -> Option<Held> {
        let held = self.place(hash).load();
        let hot = held.as_ref().filter(|hot| *hot.key == *key)?;
        if !hot.was_read.load(Ordering::Relaxed) {
            hot.was_read.store(true, Ordering::Relaxed);
        }
        Some(Held(held))
    }

    /// In a writer's turn of `key` only.
    pub(super) fn put(&self, key: &[u8], hash: u64, entry: Entry) {
        self.place(hash).store(Some(Arc::new(Hot { key: key.into(), entry, was_read: AtomicBool::new(false) })));
    }

    pub(super) fn forget(&self, key: &[u8], hash: u64) {
        let place = self.place(hash);
        if place.load().as_ref().is_some_and(|hot| *hot.key == *key) {
            place.store(None);
        }
    }

    /// The next entry, round and round, if it was found here since it was last asked for so.
    pub(super) fn next_read(&self) -> Option<Arc<Hot>> {
        let place = &self.places[self.next.fetch_add(1, Ordering::Relaxed) % PLACES];
        let is_read = place.load().as_ref().is_some_and(|hot| hot.was_read.swap(false, Ordering::Relaxed));
        if is_read { place.load_full() } else { None }
    }

    /// Forgets every entry whose key `is_gone`.
    pub(super) fn forget_all(&self, is_gone: impl Fn(&[u8]) -> bool) {
        for place in &self.places {
            if place.load().as_ref().is_some_and(|hot| is_gone(&hot.key)) {
                place.store(None);
            }
        }
    }
}

/// Whether it is this thread's turn to do what one read in [`SAMPLE`] does.
pub(super) fn is_sampled() -> bool {
    thread_local!(static READS: Cell<u32> = const { Cell::new(0) });
    READS.with(|reads| {
        reads.set(reads.get().wrapping_add(1));
        reads.get() % SAMPLE == 0
    })
}

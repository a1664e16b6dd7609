//! When what was purged: a count of all purges, and for every name, in a table of fixed size, the number of its last one.
//! The memory store asks it what came before what; `tests/stamps_model.rs` explores its interleavings.

use std::hash::BuildHasher;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

use super::sync::AtomicU64;

/// The fewest and the most numbers that a table has.
const PLACES: (usize, usize) = (1 << 10, 1 << 18);

/// How many bytes of a store's budget there are to each number, so that the table is a 64th of it at most.
const BYTES_TO_A_PLACE: usize = 512;

/// The numbers of the last purges.
///
/// Each name has two places in the table, and was purged since a moment only where both say so. For other names that were
/// purged since then it passes by chance: in a table for 100 MiB by one in 16,000 where a thousand names were, by one in 200
/// where ten thousand were. A purge that took place is never overlooked.
pub(crate) struct Stamps<S> {
    hasher: S,
    purges: AtomicU64,
    cleared: AtomicU64,
    places: usize,
    /// Made by the first purge: many a store never sees one.
    table: OnceLock<Box<[AtomicU64]>>,
}

impl<S: BuildHasher> Stamps<S> {
    /// For a store of so many bytes.
    pub(crate) fn new(hasher: S, max_bytes: usize) -> Self {
        let (fewest, most) = PLACES;
        let places = (max_bytes / BYTES_TO_A_PLACE).clamp(fewest, most).next_power_of_two();
        Stamps { hasher, purges: AtomicU64::new(0), cleared: AtomicU64::new(0), places, table: OnceLock::new() }
    }

    /// How many purges there were. What begins now has seen all of them.
    pub(crate) fn purges(&self) -> u64 {
        self.purges.load(Ordering::SeqCst)
    }

    /// Purges a name: from now on it was purged since every moment before.
    pub(crate) fn purge(&self, name: &[u8]) {
        let number = self.next();
        let table = self.table.get_or_init(|| (0..self.places).map(|_| AtomicU64::new(0)).collect());
        for place in self.places_of(name) {
            table[place].fetch_max(number, Ordering::SeqCst);
        }
    }

    /// Whether a name was purged after so many purges.
    pub(crate) fn is_purged_since(&self, name: &[u8], purges: u64) -> bool {
        let Some(table) = self.table.get() else { return false };
        self.places_of(name).into_iter().all(|place| table[place].load(Ordering::SeqCst) > purges)
    }

    /// Purges whatever is under way, of any name.
    pub(crate) fn clear(&self) {
        let number = self.next();
        self.cleared.fetch_max(number, Ordering::SeqCst);
    }

    /// Whether there was a [`Stamps::clear`] after so many purges.
    pub(crate) fn is_cleared_since(&self, purges: u64) -> bool {
        self.cleared.load(Ordering::SeqCst) > purges
    }

    fn next(&self) -> u64 {
        self.purges.fetch_add(1, Ordering::SeqCst) + 1
    }

    fn places_of(&self, name: &[u8]) -> [usize; 2] {
        let hash = self.hasher.hash_one(name);
        [hash as usize % self.places, (hash >> 32) as usize % self.places]
    }
}

//! Notes of one bit for groups of keys, in memory that never grows. What the lanes remember of keys stands here.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::FixedState;

/// Words of 64 marks each.
const WORDS: usize = 128;

/// A key as [`Marks`] know it.
#[derive(Clone, Copy)]
pub(crate) struct Mark(u64);

/// One mark for each group of keys.
pub(crate) struct Marks(Box<[AtomicU64]>);

impl Mark {
    pub(crate) fn of(key: &[u8]) -> Mark {
        Mark(FixedState::default().hash_one(key))
    }

    /// One of so many, always the same one for a key.
    pub(crate) fn among(self, count: usize) -> usize {
        (self.0 >> 32) as usize % count.max(1)
    }

    /// Its group: keys of one group share their marks.
    pub(crate) fn group(self) -> usize {
        self.0 as usize % (WORDS * 64)
    }
}

impl Marks {
    pub(crate) fn new() -> Marks {
        Marks((0..WORDS).map(|_| AtomicU64::new(0)).collect())
    }

    pub(crate) fn has(&self, group: usize) -> bool {
        let (word, bit) = self.place(group);
        word.load(Ordering::Relaxed) & bit != 0
    }

    pub(crate) fn put(&self, group: usize, is_set: bool) {
        let (word, bit) = self.place(group);
        // Most notes say what is known, and leave the memory alone that other threads read.
        match (word.load(Ordering::Relaxed) & bit != 0, is_set) {
            (false, true) => drop(word.fetch_or(bit, Ordering::Relaxed)),
            (true, false) => drop(word.fetch_and(!bit, Ordering::Relaxed)),
            _ => {}
        }
    }

    fn place(&self, group: usize) -> (&AtomicU64, u64) {
        (&self.0[group / 64 % WORDS], 1 << (group % 64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_group_has_a_mark_of_its_own() {
        let marks = Marks::new();
        for group in 0..WORDS * 64 {
            assert!(!marks.has(group));
            marks.put(group, true);
        }
        marks.put(77, false);
        assert_eq!((0..WORDS * 64).filter(|group| !marks.has(*group)).collect::<Vec<_>>(), [77]);
    }
}

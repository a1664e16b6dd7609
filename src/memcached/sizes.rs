//! Which keys had a large value when they were last seen: a hint by which a server picks a lane, so that a large value does
//! not hold up small ones. A wrong hint costs a little time and nothing else.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::FixedState;

/// From this size on a value is large, in bytes.
pub(crate) const LARGE: usize = 16 * 1024;

/// Words of 64 marks each.
const WORDS: usize = 128;

/// Two marks for each group of keys.
pub(crate) struct Sizes {
    /// Whether the last value seen was large.
    large: Marks,
    /// Whether a write of a large value was ever left without its answer: it may still be on its way.
    unsettled: Marks,
}

struct Marks(Box<[AtomicU64]>);

/// A write of a large value that is under way.
pub(crate) struct Write<'a> {
    sizes: &'a Sizes,
    mark: Mark,
    is_settled: bool,
}

/// A key as [`Sizes`] knows it.
#[derive(Clone, Copy)]
pub(crate) struct Mark(u64);

impl Mark {
    pub(crate) fn of(key: &[u8]) -> Mark {
        Mark(FixedState::default().hash_one(key))
    }

    /// One of so many, always the same one for a key.
    pub(crate) fn among(self, count: usize) -> usize {
        (self.0 >> 32) as usize % count.max(1)
    }
}

impl Sizes {
    pub(crate) fn new() -> Sizes {
        Sizes { large: Marks::new(), unsettled: Marks::new() }
    }

    /// Whether the key's value was large.
    pub(crate) fn is_large(&self, mark: Mark) -> bool {
        self.large.has(mark)
    }

    /// Whether writes to the key go where large values go, lest they overtake one.
    pub(crate) fn is_written_large(&self, mark: Mark) -> bool {
        self.large.has(mark) || self.unsettled.has(mark)
    }

    /// Takes note of a size, in bytes.
    pub(crate) fn note(&self, mark: Mark, size: usize) {
        self.large.put(mark, size >= LARGE);
    }

    /// A write of a large value begins. Dropped before it is settled, its caller having gone away for example, it counts
    /// as being on its way from then on.
    pub(crate) fn write(&self, mark: Mark) -> Write<'_> {
        Write { sizes: self, mark, is_settled: false }
    }
}

impl Write<'_> {
    /// It was answered.
    pub(crate) fn settle(mut self) {
        self.is_settled = true;
    }
}

impl Drop for Write<'_> {
    fn drop(&mut self) {
        if !self.is_settled {
            self.sizes.unsettled.put(self.mark, true);
        }
    }
}

impl Marks {
    fn new() -> Marks {
        Marks((0..WORDS).map(|_| AtomicU64::new(0)).collect())
    }

    fn has(&self, mark: Mark) -> bool {
        let (word, bit) = self.place(mark);
        word.load(Ordering::Relaxed) & bit != 0
    }

    fn put(&self, mark: Mark, is_set: bool) {
        let (word, bit) = self.place(mark);
        // Most notes say what is known, and leave the memory alone that other threads read.
        match (word.load(Ordering::Relaxed) & bit != 0, is_set) {
            (false, true) => drop(word.fetch_or(bit, Ordering::Relaxed)),
            (true, false) => drop(word.fetch_and(!bit, Ordering::Relaxed)),
            _ => {}
        }
    }

    fn place(&self, Mark(hash): Mark) -> (&AtomicU64, u64) {
        (&self.0[(hash >> 6) as usize % WORDS], 1 << (hash & 63))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_write_without_an_answer_is_not_overtaken_by_later_writes() {
        let (sizes, mark) = (Sizes::new(), Mark::of(b"key"));
        sizes.write(mark).settle();
        assert!(!sizes.is_written_large(mark));
        drop(sizes.write(mark));
        sizes.note(mark, 1);
        assert!(sizes.is_written_large(mark) && !sizes.is_large(mark));
    }

    #[test]
    fn the_last_size_counts() {
        let (sizes, mark) = (Sizes::new(), Mark::of(b"key"));
        for (size, is_large) in [(0, false), (LARGE, true), (LARGE * 2, true), (LARGE - 1, false)] {
            sizes.note(mark, size);
            assert_eq!(sizes.is_large(mark), is_large, "{size}");
        }
    }
}

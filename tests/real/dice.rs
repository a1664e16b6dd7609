//! Random numbers that a seed repeats. The proxies and the load of the tests throw it.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// A splitmix64 generator that tasks share.
pub struct Dice(AtomicU64);

impl Dice {
    pub fn seeded(seed: u64) -> Self {
        Dice(AtomicU64::new(seed))
    }

    pub fn throw(&self) -> u64 {
        let state = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed).wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number of the range, which must not be empty.
    pub fn within(&self, range: Range<u64>) -> u64 {
        range.start + self.throw() % (range.end - range.start)
    }

    /// True so many times in a hundred.
    pub fn percent(&self, chance: u64) -> bool {
        self.within(0..100) < chance
    }
}

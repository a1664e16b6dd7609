//! What was told of a cache's trouble already, so that the log says it once: an outage when it begins and when it ends, keys
//! and sizes that the store does not take when the first one comes.
//! The page floor asks it before it warns, since one outage fails thousands of requests.

use std::sync::atomic::{AtomicU8, Ordering};

/// What can go wrong for every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The backend does not answer what it is asked for.
    Seeking,
    /// The backend does not take what it is given.
    Storing,
    /// Keys are such as the backend cannot take.
    Keys,
    /// Values are larger than the backend takes.
    Sizes,
}

impl Trouble {
    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// The troubles that were told and are not over.
#[derive(Debug, Default)]
pub(crate) struct Told(AtomicU8);

impl Told {
    /// Whether this trouble is news; from now on it is not.
    pub(crate) fn begins(&self, trouble: Trouble) -> bool {
        self.0.fetch_or(trouble.bit(), Ordering::Relaxed) & trouble.bit() == 0
    }

    /// Whether this trouble was there until now.
    pub(crate) fn ends(&self, trouble: Trouble) -> bool {
        // Almost always there is none: a look is cheaper than a change.
        self.0.load(Ordering::Relaxed) & trouble.bit() != 0
            && self.0.fetch_and(!trouble.bit(), Ordering::Relaxed) & trouble.bit() != 0
    }
}

//! Which flights brought nothing to store, for a while: hit-for-miss, as others call it.
//! A flight is not begun for them: their requests run side by side.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::clock::Timestamp;

/// How long an answer that was not to be stored is remembered.
const REMEMBERED: Duration = Duration::from_secs(120);

/// Hashes of flights: where two are alike, one page is for a while filled by several at once.
#[derive(Default)]
pub(super) struct Refused {
    until: HashMap<u64, Timestamp>,
    /// In the order they were remembered, which is the order they are forgotten in.
    order: VecDeque<(u64, Timestamp)>,
}

impl Refused {
    pub(super) fn remembers(&self, name: u64, now: Timestamp) -> bool {
        self.until.get(&name).is_some_and(|until| now < *until)
    }

    /// Remembers one; those whose time is over go, and beyond `most` the oldest.
    pub(super) fn remember(&mut self, name: u64, now: Timestamp, most: usize) {
        let until = now.after(REMEMBERED);
        if self.until.insert(name, until) == Some(until) {
            return;
        }
        self.order.push_back((name, until));
        while self.order.front().is_some_and(|(_, until)| *until <= now) || self.order.len() > most {
            let Some((oldest, until)) = self.order.pop_front() else { return };
            // Remembered anew since, it has another place in the order.
            if self.until.get(&oldest) == Some(&until) {
                self.until.remove(&oldest);
            }
        }
    }

    pub(super) fn forget(&mut self, name: u64) {
        self.until.remove(&name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_000);

    #[test]
    fn what_was_refused_is_remembered_for_two_minutes() {
        let mut refused = Refused::default();
        assert!(!refused.remembers(1, NOW));
        refused.remember(1, NOW, 10);
        assert!(refused.remembers(1, NOW.after(Duration::from_secs(119))));
        assert!(!refused.remembers(1, NOW.after(Duration::from_secs(120))));
        refused.remember(1, NOW.after(Duration::from_secs(60)), 10);
        refused.remember(2, NOW.after(Duration::from_secs(121)), 10);
        assert!(refused.remembers(1, NOW.after(Duration::from_secs(179))), "the second time counts");
        refused.forget(1);
        assert!(!refused.remembers(1, NOW) && refused.remembers(2, NOW));
    }

    #[test]
    fn beyond_the_most_the_oldest_is_forgotten() {
        let mut refused = Refused::default();
        for name in 0..10_000 {
            refused.remember(name, NOW.after(Duration::from_millis(name)), 100);
            refused.remember(name % 7, NOW.after(Duration::from_millis(name)), 100);
        }
        assert!(refused.until.len() <= 100 && refused.order.len() <= 100);
        let now = NOW.after(Duration::from_secs(10));
        assert!(refused.remembers(9_999, now) && !refused.remembers(5_000, now));
    }
}

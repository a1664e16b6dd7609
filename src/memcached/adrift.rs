//! Writes whose callers went away before the answer: they may still be on their way. Later writes to their keys keep to the
//! same lane, on which nothing overtakes, until the answer to one of them shows that the earlier ones are done. The lanes
//! ask before they give a write its place.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::marks::{Mark, Marks};

/// The writes without an answer, by the groups of their keys. `L` names a lane.
pub(crate) struct Adrift<L> {
    /// The groups that have any; so that all others cost no lock.
    groups: Marks,
    state: Mutex<State<L>>,
}

struct State<L> {
    left: HashMap<usize, Left<L>>,
    next_number: u64,
}

/// The last write of a group that was left without its answer.
#[derive(Clone, Copy)]
struct Left<L> {
    lane: L,
    /// Counts all that were ever left.
    number: u64,
}

/// A write that is under way. Dropped before it is settled, its caller having gone away for example, it is adrift from
/// then on.
pub(crate) struct Write<'a, L: Copy> {
    adrift: &'a Adrift<L>,
    group: usize,
    lane: L,
    /// The write without an answer that it follows.
    follows: Option<u64>,
    is_settled: bool,
}

impl<L: Copy> Adrift<L> {
    pub(crate) fn new() -> Adrift<L> {
        Adrift { groups: Marks::new(), state: Mutex::new(State { left: HashMap::new(), next_number: 0 }) }
    }

    /// A write begins: on the lane of one that is adrift, or else on this one.
    pub(crate) fn begin(&self, mark: Mark, lane: L) -> Write<'_, L> {
        let group = mark.group();
        let left = if self.groups.has(group) { self.lock().left.get(&group).copied() } else { None };
        let (lane, follows) = left.map_or((lane, None), |left| (left.lane, Some(left.number)));
        Write { adrift: self, group, lane, follows, is_settled: false }
    }

    fn lock(&self) -> MutexGuard<'_, State<L>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<L: Copy> Write<'_, L> {
    /// The lane on which it keeps its place.
    pub(crate) fn lane(&self) -> L {
        self.lane
    }

    /// It was answered: so is everything that went before it on its lane.
    pub(crate) fn answered(mut self) {
        self.is_settled = true;
        let Some(number) = self.follows else { return };
        let mut state = self.adrift.lock();
        // One that was left since may have gone after it.
        if state.left.get(&self.group).is_some_and(|left| left.number == number) {
            state.left.remove(&self.group);
            self.adrift.groups.put(self.group, false);
        }
    }

    /// No byte of it left this process, nor will.
    pub(crate) fn never_sent(mut self) {
        self.is_settled = true;
    }
}

impl<L: Copy> Drop for Write<'_, L> {
    fn drop(&mut self) {
        if !self.is_settled {
            let mut state = self.adrift.lock();
            let number = state.next_number;
            state.next_number += 1;
            state.left.insert(self.group, Left { lane: self.lane, number });
            self.adrift.groups.put(self.group, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane_of_next(adrift: &Adrift<char>, mark: Mark) -> char {
        let next = adrift.begin(mark, 'b');
        let lane = next.lane();
        next.never_sent();
        lane
    }

    #[test]
    fn a_write_without_an_answer_keeps_later_ones_to_its_lane_until_one_is_answered() {
        let (adrift, mark) = (Adrift::new(), Mark::of(b"key"));
        adrift.begin(mark, 'a').answered();
        assert_eq!(lane_of_next(&adrift, mark), 'b');
        drop(adrift.begin(mark, 'a'));
        assert_eq!(lane_of_next(&adrift, mark), 'a');
        drop(adrift.begin(mark, 'b'));
        let follower = adrift.begin(mark, 'b');
        assert_eq!(follower.lane(), 'a', "the second one kept to the lane of the first");
        follower.answered();
        assert_eq!(lane_of_next(&adrift, mark), 'b');
    }

    #[test]
    fn an_answer_says_nothing_of_a_write_that_was_left_after_it_was_asked() {
        let (adrift, mark) = (Adrift::new(), Mark::of(b"key"));
        let before = adrift.begin(mark, 'b');
        drop(adrift.begin(mark, 'a'));
        let between = adrift.begin(mark, 'b');
        drop(adrift.begin(mark, 'b'));
        before.answered();
        between.answered();
        assert_eq!(lane_of_next(&adrift, mark), 'a');
        adrift.begin(mark, 'b').answered();
        assert_eq!(lane_of_next(&adrift, mark), 'b');
    }

    #[test]
    fn what_was_never_sent_is_not_adrift() {
        let (adrift, mark) = (Adrift::new(), Mark::of(b"key"));
        adrift.begin(mark, 'a').never_sent();
        assert_eq!(lane_of_next(&adrift, mark), 'b');
    }
}

//! When a backend is left alone, and when it is asked again: decided from outcomes and times alone, without any I/O.
//! The guard asks before each call and tells what became of it.

use std::time::Duration;

use super::patience::Patience;
use crate::clock::Timestamp;

/// What is known of a backend's health.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Breaker {
    /// It answers; that many calls failed since the last one that did not.
    Closed { failures: u32 },
    /// It is left alone.
    Open { since: Timestamp, pause: Duration, openings: u32, is_probed: bool },
}

/// Whether a call may go to the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Admitted,
    /// It is the one that finds out whether the backend is back.
    Probe,
    Refused,
}

/// What changed by an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    None,
    Opened,
    Healed,
}

impl Breaker {
    pub(super) fn new() -> Self {
        Breaker::Closed { failures: 0 }
    }

    pub(super) fn admit(&mut self, now: Timestamp) -> Admission {
        match self {
            Breaker::Closed { .. } => Admission::Admitted,
            Breaker::Open { since, pause, is_probed, .. } => {
                // A clock that was set back must not make the pause longer.
                let is_over = now < *since || now.since(*since) >= *pause;
                if !is_over || *is_probed {
                    return Admission::Refused;
                }
                *is_probed = true;
                Admission::Probe
            }
        }
    }

    /// Whether the backend is left alone.
    pub(super) fn is_open(&self) -> bool {
        matches!(self, Breaker::Open { .. })
    }

    /// The backend answered a call. While it is left alone, only the probe's word counts: what was asked before the
    /// failures may have been answered before them.
    pub(super) fn succeed(&mut self, admission: Admission) -> Change {
        match self {
            Breaker::Closed { failures } => {
                *failures = 0;
                Change::None
            }
            Breaker::Open { .. } if admission == Admission::Probe => {
                *self = Breaker::new();
                Change::Healed
            }
            Breaker::Open { .. } => Change::None,
        }
    }

    /// The backend failed a call. `chance` lies between 0 and 1.
    pub(super) fn fail(&mut self, admission: Admission, patience: &Patience, now: Timestamp, chance: f64) -> Change {
        match self {
            Breaker::Closed { failures } => {
                *failures = failures.saturating_add(1);
                if patience.failures == 0 || *failures < patience.failures {
                    return Change::None;
                }
                *self = Breaker::open(1, patience, now, chance);
                Change::Opened
            }
            Breaker::Open { openings, .. } if admission == Admission::Probe => {
                *self = Breaker::open(openings.saturating_add(1), patience, now, chance);
                Change::None
            }
            Breaker::Open { .. } => Change::None,
        }
    }

    /// A call was dropped before its end: it says nothing, and another may probe in its place.
    pub(super) fn abandon(&mut self, admission: Admission) {
        if let (Breaker::Open { is_probed, .. }, Admission::Probe) = (self, admission) {
            *is_probed = false;
        }
    }

    fn open(openings: u32, patience: &Patience, now: Timestamp, chance: f64) -> Self {
        let doubled = 2_u32.saturating_pow(openings - 1);
        let pause = patience.pause.saturating_mul(doubled).min(patience.longest_pause);
        // A pause that is as good as for ever has no room to grow in.
        let seconds = pause.as_secs_f64() * (1.0 + chance * MOST_JITTER);
        let pause = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        Breaker::Open { since: now, pause, openings, is_probed: false }
    }
}

/// The most by which chance makes a pause longer.
const MOST_JITTER: f64 = 0.25;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Timestamp {
        Timestamp::from_secs(1_700_000_000).after(Duration::from_millis(milliseconds))
    }

    fn opened_at(milliseconds: u64, patience: &Patience) -> Breaker {
        let mut breaker = Breaker::new();
        for _ in 1..patience.failures {
            assert_eq!(breaker.fail(Admission::Admitted, patience, at(milliseconds), 0.0), Change::None);
            assert_eq!(breaker.admit(at(milliseconds)), Admission::Admitted);
        }
        assert_eq!(breaker.fail(Admission::Admitted, patience, at(milliseconds), 0.0), Change::Opened);
        breaker
    }

    #[test]
    fn failures_on_end_open_it_and_a_success_between_them_does_not() {
        let patience = Patience::default().failures(3);
        let mut breaker = Breaker::new();
        for _ in 0..10 {
            breaker.fail(Admission::Admitted, &patience, at(0), 0.0);
            breaker.fail(Admission::Admitted, &patience, at(0), 0.0);
            assert_eq!(breaker.succeed(Admission::Admitted), Change::None);
        }
        assert_eq!(breaker.admit(at(0)), Admission::Admitted);
        assert_eq!(opened_at(0, &patience).admit(at(0)), Admission::Refused);
    }

    #[test]
    fn after_the_pause_one_probe_goes_through_and_heals_it() {
        let mut breaker = opened_at(0, &Patience::default());
        assert_eq!(breaker.admit(at(1_999)), Admission::Refused);
        assert_eq!(breaker.admit(at(2_000)), Admission::Probe);
        assert_eq!(breaker.admit(at(2_000)), Admission::Refused);
        assert_eq!(breaker.succeed(Admission::Admitted), Change::None, "asked before the failures");
        assert_eq!(breaker.succeed(Admission::Probe), Change::Healed);
        assert_eq!(breaker, Breaker::new());
    }

    #[test]
    fn probes_in_vain_make_the_pause_longer_up_to_a_bound() {
        let patience = Patience::default();
        let mut breaker = opened_at(0, &patience);
        let mut now = 0;
        for pause in [2_000, 4_000, 8_000, 16_000, 30_000, 30_000] {
            assert_eq!(breaker.admit(at(now + pause - 1)), Admission::Refused, "{pause}");
            now += pause;
            assert_eq!(breaker.admit(at(now)), Admission::Probe, "{pause}");
            assert_eq!(breaker.fail(Admission::Probe, &patience, at(now), 0.0), Change::None, "told once");
        }
    }

    #[test]
    fn chance_makes_a_pause_longer_never_shorter() {
        let patience = Patience::default().failures(1);
        let mut breaker = Breaker::new();
        breaker.fail(Admission::Admitted, &patience, at(0), 1.0);
        assert_eq!(breaker.admit(at(2_499)), Admission::Refused);
        assert_eq!(breaker.admit(at(2_500)), Admission::Probe);
    }

    #[test]
    fn a_pause_may_be_without_end() {
        let patience = Patience::default().failures(1).pause(Duration::MAX);
        for chance in [0.0, 0.5, 1.0] {
            let mut breaker = Breaker::new();
            assert_eq!(breaker.fail(Admission::Admitted, &patience, at(0), chance), Change::Opened);
            assert_eq!(breaker.admit(at(u64::from(u32::MAX))), Admission::Refused);
        }
    }

    #[test]
    fn a_dropped_probe_lets_the_next_one_through() {
        let mut breaker = opened_at(0, &Patience::default());
        assert_eq!(breaker.admit(at(2_000)), Admission::Probe);
        breaker.abandon(Admission::Admitted);
        assert_eq!(breaker.admit(at(2_000)), Admission::Refused);
        breaker.abandon(Admission::Probe);
        assert_eq!(breaker.admit(at(2_000)), Admission::Probe);
    }

    #[test]
    fn late_failures_of_calls_let_in_before_change_nothing() {
        let patience = Patience::default();
        let mut breaker = opened_at(0, &patience);
        assert_eq!(breaker.fail(Admission::Admitted, &patience, at(1_900), 0.0), Change::None);
        assert_eq!(breaker.admit(at(2_000)), Admission::Probe);
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_keep_it_open() {
        let mut breaker = opened_at(3_600_000, &Patience::default());
        assert_eq!(breaker.admit(at(0)), Admission::Probe);
    }

    #[test]
    fn with_no_number_of_failures_it_never_opens() {
        let patience = Patience::default().failures(0);
        let mut breaker = Breaker::new();
        for _ in 0..1_000 {
            assert_eq!(breaker.fail(Admission::Admitted, &patience, at(0), 0.0), Change::None);
        }
    }
}

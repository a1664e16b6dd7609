//! The one source of "now": every expiry, `Age` and `Expires` in the crate is computed from a [`Clock`].
//! Backends hold it, the cache and the page floor ask the backend for it, tests turn it by hand.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A moment, in nanoseconds since the Unix epoch (good until the year 2554).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// A moment no clock reaches: the expiry of what never expires.
    pub const NEVER: Timestamp = Timestamp(u64::MAX);

    /// The moment that many whole seconds after the Unix epoch.
    pub const fn from_secs(seconds: u64) -> Self {
        Timestamp(seconds.saturating_mul(1_000_000_000))
    }

    /// The moment that many nanoseconds after the Unix epoch.
    pub const fn from_nanos(nanoseconds: u64) -> Self {
        Timestamp(nanoseconds)
    }

    /// Nanoseconds since the Unix epoch.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, the fraction cut off, as HTTP dates have it.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1_000_000_000
    }

    /// The moment `duration` later; [`Timestamp::NEVER`] where that is out of range.
    pub fn after(self, duration: Duration) -> Self {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Timestamp(self.0.saturating_add(nanoseconds))
    }

    /// The moment after `ttl`, or never.
    pub fn after_ttl(self, ttl: Option<Duration>) -> Self {
        ttl.map_or(Timestamp::NEVER, |ttl| self.after(ttl))
    }

    /// The time from `earlier` to this moment; zero if `earlier` is later.
    pub const fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Timestamp::NEVER {
            return f.write_str("never");
        }
        write!(f, "{}.{:09}", self.0 / 1_000_000_000, self.0 % 1_000_000_000)
    }
}

impl From<SystemTime> for Timestamp {
    /// Times before the epoch become the epoch.
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(0).after(since)
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        UNIX_EPOCH + Duration::from_nanos(time.0)
    }
}

/// Tells the time: the system's by default, a hand-turned one in tests.
#[derive(Clone, Default)]
pub struct Clock(Option<Arc<AtomicU64>>);

impl Clock {
    /// The system's wall clock.
    pub fn system() -> Self {
        Clock(None)
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            None => SystemTime::now().into(),
            Some(hands) => Timestamp(hands.load(Ordering::Acquire)),
        }
    }
}

/// For what is only looked at.
impl Clock {
    /// The time as it was a few milliseconds ago at most: to read it costs a fifth of [`Clock::now`], which would be a
    /// twentieth of a page from memory. What is written down is dated by `now`.
    pub(crate) fn lately(&self) -> Timestamp {
        match &self.0 {
            None => system_lately(),
            Some(_) => self.now(),
        }
    }
}

/// The system's clock as it stood at the last tick of its timer.
#[cfg(target_os = "linux")]
fn system_lately() -> Timestamp {
    use nix::time::{ClockId, clock_gettime};
    let lately = clock_gettime(ClockId::CLOCK_REALTIME_COARSE).ok();
    // Before the epoch there is no time to be told, as for `now`.
    let since =
        lately.and_then(|time| Some(Duration::new(time.tv_sec().try_into().ok()?, time.tv_nsec().try_into().ok()?)));
    since.map_or(Timestamp(0), |since| Timestamp(0).after(since))
}

#[cfg(not(target_os = "linux"))]
fn system_lately() -> Timestamp {
    SystemTime::now().into()
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_none() { "Clock::system" } else { "Clock::manual" })
    }
}

/// A clock that stands still until it is turned, for tests of anything that expires.
///
/// ```
/// use larder::{Clock, ManualClock, Timestamp};
/// use std::time::Duration;
///
/// let hands = ManualClock::at(Timestamp::from_secs(1_700_000_000));
/// let clock: Clock = hands.clock();
/// hands.advance(Duration::from_secs(30));
/// assert_eq!(clock.now().as_secs(), 1_700_000_030);
/// ```
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    /// A clock that stands at `time`.
    pub fn at(time: Timestamp) -> Self {
        ManualClock(Arc::new(AtomicU64::new(time.0)))
    }

    /// The clock to hand to a backend; all of them follow these hands.
    pub fn clock(&self) -> Clock {
        Clock(Some(Arc::clone(&self.0)))
    }

    /// Turns the hands forward.
    pub fn advance(&self, by: Duration) {
        let now = Timestamp(self.0.load(Ordering::Acquire));
        self.0.store(now.after(by).0, Ordering::Release);
    }

    /// Sets the hands to `time`, forward or back.
    pub fn set(&self, time: Timestamp) {
        self.0.store(time.0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lately_is_never_ahead_and_hardly_behind() {
        let clock = Clock::system();
        for _ in 0..1000 {
            let before = clock.now();
            let lately = clock.lately();
            // The tick may come between the two.
            assert!(lately <= clock.now());
            assert!(before.since(lately) < Duration::from_millis(100), "{before:?} {lately:?}");
        }
        let hands = ManualClock::at(Timestamp::from_secs(7));
        assert_eq!(hands.clock().lately(), Timestamp::from_secs(7));
    }
}

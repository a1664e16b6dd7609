//! Whether a server is up: how often it failed in a row, and when it may be tried again. Pure but for its lock; the
//! server's lanes ask before they open a connection and tell what became of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::error::Error;

/// A server that failed so often in a row is down.
const FAILURES_UNTIL_DOWN: u32 = 3;

/// For how long a server is left alone when it has just gone down.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest that a server is left alone.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// The health of one server.
#[derive(Debug)]
pub(crate) struct Health {
    server: Arc<str>,
    /// Whether it failed since it last answered; so that a healthy server costs no lock.
    is_troubled: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Failures since the last answer.
    failures: u32,
    /// The first and the last of them.
    trouble: Option<Trouble>,
    /// Until when it is left alone, if it is down.
    down_until: Option<Instant>,
    /// Whether somebody finds out just now.
    is_probed: bool,
}

#[derive(Debug)]
struct Trouble {
    since: Instant,
    last_at: Instant,
    last: Arc<Error>,
}

impl Health {
    pub(crate) fn new(server: Arc<str>) -> Health {
        Health { server, is_troubled: AtomicBool::new(false), state: Mutex::default() }
    }

    /// Whether a connection may be opened. To a server that is down only one caller may, when its time has come; that
    /// caller must tell by [`opened`](Self::opened) or [`failed`](Self::failed) what became of it.
    pub(crate) fn admit(&self, now: Instant) -> Result<(), Error> {
        let mut state = self.lock();
        let Some(until) = state.down_until else { return Ok(()) };
        if now >= until && !state.is_probed {
            state.is_probed = true;
            return Ok(());
        }
        Err(self.down(&state, now))
    }

    /// The error of a server that is down.
    pub(crate) fn is_down(&self, now: Instant) -> Option<Error> {
        if !self.is_troubled.load(Ordering::Relaxed) {
            return None;
        }
        let state = self.lock();
        state.down_until.is_some().then(|| self.down(&state, now))
    }

    /// Whether it is left alone just now: down, and its time has not come.
    pub(crate) fn is_left_alone(&self, now: Instant) -> bool {
        if !self.is_troubled.load(Ordering::Relaxed) {
            return false;
        }
        let state = self.lock();
        state.down_until.is_some_and(|until| now < until || state.is_probed)
    }

    /// It answered a greeting: it is up, but not above suspicion until it has answered a request.
    pub(crate) fn opened(&self) {
        if !self.is_troubled.load(Ordering::Relaxed) {
            return;
        }
        let mut state = self.lock();
        state.is_probed = false;
        if state.down_until.take().is_some() {
            tracing::info!(server = &*self.server, "memcached is up again");
        }
    }

    /// It answered a request.
    pub(crate) fn answered(&self) {
        if !self.is_troubled.load(Ordering::Relaxed) {
            return;
        }
        let mut state = self.lock();
        // A late answer from an old connection says nothing about new ones.
        if state.down_until.is_none() {
            *state = State::default();
            self.is_troubled.store(false, Ordering::Relaxed);
        }
    }

    /// A connection that was begun at `began` could not be opened, or did not answer. Those that were all under way when
    /// the trouble came are one failure. `chance` is any number.
    pub(crate) fn failed(&self, error: &Error, began: Instant, now: Instant, chance: u64) {
        let mut state = self.lock();
        let was_down = state.down_until.is_some();
        let is_same_failure = state.trouble.as_ref().is_some_and(|trouble| began < trouble.last_at);
        if is_same_failure && !state.is_probed {
            return;
        }
        if !is_same_failure {
            state.failures = state.failures.saturating_add(1);
        }
        state.is_probed = false;
        let since = state.trouble.as_ref().map_or(now, |trouble| trouble.since);
        state.trouble = Some(Trouble { since, last_at: now, last: Arc::new(error.clone()) });
        self.is_troubled.store(true, Ordering::Relaxed);
        if state.failures >= FAILURES_UNTIL_DOWN {
            state.down_until = Some(now + pause(state.failures - FAILURES_UNTIL_DOWN, chance));
            if !was_down {
                tracing::warn!(server = &*self.server, %error, "memcached is down");
            }
        }
    }

    /// Nobody finds out any more: the task that did was stopped.
    pub(crate) fn gave_up(&self) {
        self.lock().is_probed = false;
    }

    fn down(&self, state: &State, now: Instant) -> Error {
        let server = self.server.as_ref().to_owned();
        match &state.trouble {
            Some(trouble) => {
                let since = now.saturating_duration_since(trouble.since);
                Error::Down { server, since, cause: Arc::clone(&trouble.last) }
            }
            None => Error::Server { server, said: "it is down".to_owned() },
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For how long a server is left alone that failed so often more than it may: each time twice as long, and up to a quarter
/// more or less, so that the clients of many programs do not come back all at once.
fn pause(failures: u32, chance: u64) -> Duration {
    let pause = FIRST_PAUSE.saturating_mul(1 << failures.min(16)).min(LONGEST_PAUSE);
    // 75 % to 125 %.
    pause.mul_f64(0.75 + (chance % 1024) as f64 / 2048.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ill(times: u32, now: Instant) -> Health {
        let health = Health::new("a:1".into());
        for _ in 0..times {
            health.failed(&Error::Config("ill".to_owned()), now, now, 512);
        }
        health
    }

    #[tokio::test]
    async fn a_server_is_down_after_three_failures_in_a_row_and_then_asked_by_one() {
        let now = Instant::now();
        assert!(ill(2, now).admit(now).is_ok());
        let health = ill(3, now);
        assert!(matches!(health.admit(now), Err(Error::Down { .. })) && health.is_left_alone(now));
        let later = now + FIRST_PAUSE;
        assert!(!health.is_left_alone(later) && health.admit(later).is_ok());
        assert!(health.admit(later).is_err() && health.is_left_alone(later));
        health.opened();
        assert!(health.admit(later).is_ok() && health.is_down(later).is_none());
    }

    #[tokio::test]
    async fn an_answer_in_between_clears_its_name() {
        let now = Instant::now();
        let health = ill(2, now);
        health.answered();
        health.failed(&Error::Config("ill".to_owned()), now, now, 512);
        assert!(health.admit(now).is_ok());
    }

    #[tokio::test]
    async fn connections_that_break_together_are_one_failure() {
        let (began, now) = (Instant::now(), Instant::now() + FIRST_PAUSE);
        let health = Health::new("a:1".into());
        for later in 0..5 {
            let error = Error::Config("ill".to_owned());
            health.failed(&error, began, now + later * Duration::from_millis(1), 512);
        }
        assert!(health.admit(now).is_ok() && health.is_down(now).is_none());
    }

    #[tokio::test]
    async fn one_that_greets_and_answers_nothing_goes_down_again_at_once() {
        let now = Instant::now();
        let health = ill(3, now);
        health.opened();
        health.failed(&Error::Config("ill".to_owned()), now, now, 512);
        assert!(health.is_left_alone(now + FIRST_PAUSE));
        assert!(!health.is_left_alone(now + 2 * FIRST_PAUSE));
    }

    #[tokio::test]
    async fn a_probe_that_was_stopped_leaves_the_way_free() {
        let now = Instant::now();
        let health = ill(3, now);
        let later = now + FIRST_PAUSE;
        assert!(health.admit(later).is_ok() && health.admit(later).is_err());
        health.gave_up();
        assert!(health.admit(later).is_ok());
    }

    #[test]
    fn pauses_grow_to_a_limit_and_differ() {
        assert_eq!(pause(0, 512), FIRST_PAUSE);
        assert_eq!(pause(1, 512), 2 * FIRST_PAUSE);
        assert_eq!(pause(u32::MAX, 512), LONGEST_PAUSE);
        let (least, most) = (pause(0, 0), pause(0, 1023));
        assert!(least >= FIRST_PAUSE.mul_f64(0.75) && most <= FIRST_PAUSE.mul_f64(1.25) && least < most);
    }
}

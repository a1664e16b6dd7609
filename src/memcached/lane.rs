//! A lane: one connection that is opened when it is first needed, and again when it broke. A server has a few of them, see
//! [`lanes`](super::lanes).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::connection::{Connection, End};
use super::door::Door;
use super::error::Error;
use super::health::Health;

/// What is waited for beyond the door's own deadline, before a waiter takes the opening for stuck.
const BEYOND_THE_DEADLINE: Duration = Duration::from_millis(100);

/// One connection to a server, or the way to it.
pub(crate) struct Lane {
    /// How many requests go out ahead of their replies.
    most_ahead: usize,
    state: Mutex<State>,
}

#[derive(Clone)]
enum State {
    Closed,
    Opening(Opening),
    Open(Arc<Connection>),
}

/// What becomes of an opening; `None` until it is known.
type Opening = watch::Receiver<Option<Result<Arc<Connection>, Error>>>;

impl Lane {
    pub(crate) fn new(most_ahead: usize) -> Arc<Lane> {
        Arc::new(Lane { most_ahead, state: Mutex::new(State::Closed) })
    }

    /// The connection, which is opened if need be; its opening goes on if the caller goes away.
    ///
    /// # Errors
    /// What the opening failed with; at once if the server is down and this is not the caller who finds out.
    pub(crate) async fn connection(
        self: &Arc<Lane>,
        door: &Arc<Door>,
        health: &Arc<Health>,
    ) -> Result<Arc<Connection>, Error> {
        let mut opening = match self.enter(door, health)? {
            State::Open(connection) => return Ok(connection),
            State::Opening(opening) => opening,
            State::Closed => return Err(door.stuck()),
        };
        let opened = timeout(door.connect_timeout() + BEYOND_THE_DEADLINE, opening.wait_for(Option::is_some)).await;
        match opened.map(|waited| waited.ok().and_then(|outcome| outcome.clone())) {
            Ok(Some(outcome)) => outcome,
            // The task that opened it is gone or asleep, with the runtime it ran on.
            Ok(None) | Err(_) => {
                self.give_up(&opening);
                health.gave_up();
                Err(door.stuck())
            }
        }
    }

    /// The state, in which at least an opening is under way.
    fn enter(self: &Arc<Lane>, door: &Arc<Door>, health: &Arc<Health>) -> Result<State, Error> {
        let mut state = self.lock();
        match &*state {
            State::Open(connection) => Ok(State::Open(Arc::clone(connection))),
            State::Opening(opening) if opening.has_changed().is_ok() => match health.is_down(Instant::now()) {
                Some(down) => Err(down),
                None => Ok(State::Opening(opening.clone())),
            },
            State::Opening(_) | State::Closed => {
                health.admit(Instant::now())?;
                let (tell, opening) = watch::channel(None);
                *state = State::Opening(opening.clone());
                drop(state);
                let finding = Finding::new(health);
                tokio::spawn(serve(Arc::downgrade(self), self.most_ahead, Arc::clone(door), finding, tell));
                // The one who opens waits, even for a server that is down: it finds out whether it still is.
                Ok(State::Opening(opening))
            }
        }
    }

    /// Forgets a connection that is at its end; the next caller opens another.
    pub(crate) fn forget(&self, gone: &Arc<Connection>) {
        let mut state = self.lock();
        if matches!(&*state, State::Open(connection) if Arc::ptr_eq(connection, gone)) {
            *state = State::Closed;
        }
    }

    /// Closes the connection as soon as nothing is owed on it.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        if let State::Open(connection) = &*state {
            connection.finish();
        }
        // One that is just being opened serves those who wait for it, and is then let go.
        *state = State::Closed;
    }

    fn give_up(&self, stuck: &Opening) {
        let mut state = self.lock();
        if matches!(&*state, State::Opening(opening) if opening.same_channel(stuck)) {
            *state = State::Closed;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task that opens a connection owes the server's health word of it; stopped before that, as by the end of its
/// runtime, it says that it gave up, so that another may find out.
struct Finding {
    health: Arc<Health>,
    is_told: bool,
}

impl Finding {
    fn new(health: &Arc<Health>) -> Finding {
        Finding { health: Arc::clone(health), is_told: false }
    }

    fn tell(mut self, error: Option<&Error>, began: Instant) -> Arc<Health> {
        match error {
            None => self.health.opened(),
            Some(error) => self.health.failed(error, began, Instant::now(), chance()),
        }
        self.is_told = true;
        Arc::clone(&self.health)
    }
}

impl Drop for Finding {
    fn drop(&mut self) {
        if !self.is_told {
            self.health.gave_up();
        }
    }
}

/// Opens a connection for a lane, tells who waits for it, and serves it to its end.
async fn serve(
    lane: Weak<Lane>,
    most_ahead: usize,
    door: Arc<Door>,
    finding: Finding,
    tell: watch::Sender<Option<Result<Arc<Connection>, Error>>>,
) {
    let began = Instant::now();
    let outcome = door.open(most_ahead).await;
    let (outcome, pump) = match outcome {
        Ok((connection, pump)) => (Ok(Arc::new(connection)), Some(pump)),
        Err(error) => (Err(error), None),
    };
    let health = finding.tell(outcome.as_ref().err(), began);
    if let Some(lane) = lane.upgrade() {
        let mut state = lane.lock();
        if matches!(&*state, State::Opening(opening) if opening.same_channel(&tell.subscribe())) {
            *state = match &outcome {
                Ok(connection) => State::Open(Arc::clone(connection)),
                Err(_) => State::Closed,
            };
        }
    }
    let here = outcome.as_ref().map(Arc::downgrade).ok();
    tell.send_replace(Some(outcome));
    drop(tell);
    if let (Some(pump), Some(here)) = (pump, here) {
        let ended = pump.await;
        if let (Some(lane), Some(connection)) = (lane.upgrade(), here.upgrade()) {
            lane.forget(&connection);
        }
        match ended {
            End::InPeace => {}
            End::Closed(error) => tracing::debug!(%error, "a connection to memcached ended"),
            End::Failed(error) => {
                tracing::debug!(%error, "a connection to memcached was given up");
                health.failed(&error, began, Instant::now(), chance());
            }
        }
    }
}

/// Any number.
fn chance() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0)
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    #[test]
    fn a_runtime_that_ends_while_it_finds_out_leaves_the_way_free() {
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let door = Door::new("127.0.0.1:1".parse().unwrap(), None, None);
        let door = Arc::new(door.timeouts(Duration::from_secs(60), Duration::from_secs(60)));
        let health = Arc::new(Health::new("a:1".into()));
        let Some(earlier) = Instant::now().checked_sub(Duration::from_secs(60)) else { return };
        (0..3).for_each(|_| health.failed(&Error::Config("ill".to_owned()), earlier, earlier, 0));
        let lane = Lane::new(1);
        runtime().block_on(async {
            let asked = pin!(lane.connection(&door, &health));
            assert!(asked.poll(&mut Context::from_waker(Waker::noop())).is_pending());
            assert!(health.admit(Instant::now()).is_err(), "somebody finds out");
        });
        assert!(health.admit(Instant::now()).is_ok());
    }
}

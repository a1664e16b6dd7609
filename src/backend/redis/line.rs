//! One line to one server (or one cluster): opened by the first call, shared by all, opened anew when it breaks.
//! The servers of a store hold one for the leader and one for each replica.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ::redis::aio::SendError;
use ::redis::{ErrorKind, PushInfo, PushKind, RedisError, RedisResult, Value};
use tokio::sync::watch;

use super::target::Target;
use super::wire::{Request, Wire, is_demotion};

/// How many calls in a row may go unanswered, and for how long, until a line is taken for lost: the server's machine is
/// gone without a word, and nothing but silence will ever tell.
const UNANSWERED: u32 = 16;
const SILENCE: Duration = Duration::from_secs(5);
/// How long a replica that failed is left alone.
const REST: Duration = Duration::from_secs(2);

/// A line to a server, open or not.
pub(super) struct Line {
    shared: Arc<Shared>,
    rest: Rest,
}

struct Shared {
    target: Target,
    patience: Duration,
    state: Mutex<State>,
    attempts: AtomicU64,
}

enum State {
    Closed,
    /// An attempt is under way, in a task of its own: it goes on when the callers that wait for it give up.
    Opening(u64, watch::Receiver<Option<RedisResult<Open>>>),
    Open(Open),
}

#[derive(Clone)]
struct Open {
    wire: Wire,
    pulse: Arc<Pulse>,
}

impl Line {
    /// A line that is not open yet; an attempt to open it may take as long as `patience`.
    pub(super) fn new(target: Target, patience: Duration) -> Self {
        let shared = Shared { target, patience, state: Mutex::new(State::Closed), attempts: AtomicU64::new(0) };
        Line { shared: Arc::new(shared), rest: Rest::default() }
    }

    /// Sends a request and waits for its answer.
    ///
    /// Where the line turns out to be broken, the next call opens another. A request that does no harm when it happens
    /// twice is sent again at once, so that a server's restart is not even noticed.
    pub(super) async fn ask(&self, request: &Request, is_repeatable: bool) -> RedisResult<Value> {
        let mut is_repeated = false;
        loop {
            let Open { wire, pulse } = match self.shared.open_or_attempt() {
                Ok(open) => open,
                // A box of its own, for hardly any call has to wait for it.
                Err(_) => Box::pin(self.open()).await?,
            };
            let waiting = Waiting { pulse: &pulse, rest: &self.rest, is_answered: false };
            let answer = request.send(wire).await;
            waiting.answered();
            match answer {
                Err(error) if is_broken(&error) => {
                    self.give_up(&pulse);
                    let may_be_repeated = is_repeatable || is_demotion(&error);
                    if is_repeated || !may_be_repeated {
                        return Err(error);
                    }
                    is_repeated = true;
                }
                answer => return answer,
            }
        }
    }

    /// Whether it failed a moment ago.
    pub(super) fn rests(&self) -> bool {
        self.rest.is_on()
    }

    /// Leaves it alone for a moment.
    pub(super) fn take_a_rest(&self) {
        self.rest.begin();
    }

    /// Lets go of the connection.
    pub(super) fn close(&self) {
        *self.shared.state() = State::Closed;
    }

    /// The open connection, opened if need be.
    async fn open(&self) -> RedisResult<Open> {
        // An attempt ends without a word only where its runtime does; the second one is made on ours.
        for _ in 0..2 {
            let (attempt, mut outcome) = match self.shared.open_or_attempt() {
                Ok(open) => return Ok(open),
                Err(attempt) => attempt,
            };
            match outcome.wait_for(Option::is_some).await {
                Ok(outcome) => {
                    if let Some(outcome) = &*outcome {
                        return outcome.clone();
                    }
                }
                Err(_) => self.shared.settle(attempt, State::Closed),
            }
        }
        Err(RedisError::from((ErrorKind::Io, "the connection could not be opened")))
    }

    /// Closes this very connection, if another call has not done so already.
    fn give_up(&self, broken: &Arc<Pulse>) {
        let mut state = self.shared.state();
        if matches!(&*state, State::Open(open) if Arc::ptr_eq(&open.pulse, broken)) {
            *state = State::Closed;
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The open connection, or the attempt to wait for.
    #[expect(clippy::type_complexity, reason = "the parts of a state")]
    fn open_or_attempt(self: &Arc<Self>) -> Result<Open, (u64, watch::Receiver<Option<RedisResult<Open>>>)> {
        let mut state = self.state();
        match &*state {
            State::Open(open) if !open.pulse.is_lost() => Ok(open.clone()),
            State::Opening(attempt, outcome) => Err((*attempt, outcome.clone())),
            _ => {
                let attempt = self.attempts.fetch_add(1, Ordering::Relaxed);
                let (sender, outcome) = watch::channel(None);
                *state = State::Opening(attempt, outcome.clone());
                let shared = Arc::clone(self);
                tokio::spawn(async move {
                    let opened = shared.try_open().await;
                    shared.settle(attempt, opened.as_ref().map_or(State::Closed, |open| State::Open(open.clone())));
                    sender.send_replace(Some(opened));
                });
                Err((attempt, outcome))
            }
        }
    }

    async fn try_open(&self) -> RedisResult<Open> {
        let pulse = Arc::new(Pulse::new());
        let wire = tokio::time::timeout(self.patience, self.target.connect(&pulse)).await;
        let too_late = |_| {
            let (target, patience) = (&self.target, self.patience);
            RedisError::from((ErrorKind::Io, "no connection", format!("{target} did not answer within {patience:?}")))
        };
        Ok(Open { wire: wire.map_err(too_late)??, pulse })
    }

    /// Ends an attempt, unless the line was closed meanwhile.
    fn settle(&self, attempt: u64, end: State) {
        let mut state = self.state();
        if matches!(&*state, State::Opening(current, _) if *current == attempt) {
            *state = end;
        }
    }
}

/// Whether a connection is of no more use after this error.
fn is_broken(error: &RedisError) -> bool {
    error.is_unrecoverable_error() || is_demotion(error)
}

/// Whether there is life in a connection.
pub(super) struct Pulse {
    born: Instant,
    is_gone: AtomicBool,
    /// Calls that were given up since the last answer.
    unanswered: AtomicU32,
    /// When the first of them was, in milliseconds since its birth.
    silent_since: AtomicU64,
}

impl Pulse {
    fn new() -> Self {
        let (is_gone, unanswered, silent_since) = Default::default();
        Pulse { born: Instant::now(), is_gone, unanswered, silent_since }
    }

    /// There is no last word to wait for on a connection that is made another way.
    pub(super) fn revive(&self) {
        self.is_gone.store(false, Ordering::Release);
    }

    fn age(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Looked at before it is written: other threads read it for each call of theirs.
    fn answered(&self) {
        if self.unanswered.load(Ordering::Relaxed) != 0 {
            self.unanswered.store(0, Ordering::Relaxed);
        }
    }

    /// How many calls were given up since the last answer, with this one.
    fn given_up(&self) -> u32 {
        let before = self.unanswered.fetch_add(1, Ordering::Relaxed);
        if before == 0 {
            self.silent_since.store(self.age(), Ordering::Relaxed);
        }
        before.saturating_add(1)
    }

    fn is_lost(&self) -> bool {
        let silence = || Duration::from_millis(self.age().saturating_sub(self.silent_since.load(Ordering::Relaxed)));
        self.is_gone.load(Ordering::Acquire)
            || (self.unanswered.load(Ordering::Relaxed) >= UNANSWERED && silence() >= SILENCE)
    }
}

/// Tells a pulse when the connection is gone: the client says so where the server closes it, and lets go of this where
/// the runtime that drives the connection ends.
pub(super) struct LastWord(Arc<Pulse>);

impl LastWord {
    pub(super) fn to(pulse: &Arc<Pulse>) -> Self {
        LastWord(Arc::clone(pulse))
    }
}

impl ::redis::aio::AsyncPushSender for LastWord {
    fn send(&self, news: PushInfo) -> Result<(), SendError> {
        if news.kind == PushKind::Disconnection {
            self.0.is_gone.store(true, Ordering::Release);
        }
        Ok(())
    }
}

impl Drop for LastWord {
    fn drop(&mut self) {
        self.0.is_gone.store(true, Ordering::Release);
    }
}

/// A call that waits for its answer. Dropped before it has one, it counts as unanswered.
struct Waiting<'a> {
    pulse: &'a Pulse,
    rest: &'a Rest,
    is_answered: bool,
}

impl Waiting<'_> {
    fn answered(mut self) {
        self.is_answered = true;
        self.pulse.answered();
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.is_answered && self.pulse.given_up() >= 3 {
            self.rest.begin();
        }
    }
}

/// Until when a line is better left alone.
#[derive(Default)]
struct Rest(Mutex<Option<Instant>>);

impl Rest {
    fn begin(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now().checked_add(REST);
    }

    fn is_on(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|end| Instant::now() < end)
    }
}

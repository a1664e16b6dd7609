//! Who is owed which reply: callers enter a request and get a slip, the connection's task takes what was entered, in
//! order, and pays each slip once. It knows no protocol and no socket; `tests/memcached_ledger.rs` explores its interleavings.

use std::collections::VecDeque;
use std::mem;
use std::sync::PoisonError;
use std::task::Waker;

use tokio::sync::{Notify, oneshot};

use super::sync::{Mutex, MutexGuard};

/// What a ledger is about: the memcached connection has one answer, its exploration by shuttle another.
pub(crate) trait Trade {
    /// Requests as they go out.
    type Queue: Default;
    /// What is remembered of a request.
    type Asked;
    /// What is owed.
    type Reply;
    /// Why a connection ended.
    type Error: Clone;

    /// The most replies that may be owed; further callers wait for room.
    const MOST_OWED: usize;
    /// From this many bytes entered and not yet taken on, further callers wait for room.
    const MOST_QUEUED: usize;

    /// How many bytes are in a queue.
    fn length(queue: &Self::Queue) -> usize;
}

/// The ledger of one connection.
pub(crate) struct Ledger<T: Trade> {
    state: Mutex<State<T>>,
    room: Notify,
}

struct State<T: Trade> {
    /// Entered, and not yet taken.
    queue: T::Queue,
    entered: Vec<Owed<T>>,
    /// Entered and not yet paid, taken or not.
    owed: usize,
    /// All bytes that ever were in the queue.
    length: u64,
    next_token: u32,
    /// The connection's task, when it sleeps.
    task: Option<Waker>,
    /// Whether anybody waits for room.
    is_crowded: bool,
    end: End<T::Error>,
}

enum End<E> {
    /// Open.
    No,
    /// What was entered is still served.
    Finishing,
    /// The connection is gone; an error where it did not go in peace.
    Gone(Option<E>),
}

/// A reply that is owed to a caller, who may have gone away.
pub(crate) struct Owed<T: Trade> {
    pub(crate) asked: T::Asked,
    pub(crate) token: u32,
    /// Where the bytes of its request begin and end, counted from the first byte of the connection.
    pub(crate) begins_at: u64,
    pub(crate) ends_at: u64,
    caller: oneshot::Sender<Outcome<T>>,
}

/// What a caller gets for its slip.
pub(crate) type Outcome<T> = Result<<T as Trade>::Reply, Lost<<T as Trade>::Error>>;

/// The connection ended before the reply was there.
#[derive(Clone, Debug)]
pub(crate) struct Lost<E> {
    /// Why, unless it ended in peace.
    pub(crate) error: Option<E>,
    /// Whether any byte of the request may have reached the server.
    pub(crate) was_sent: bool,
}

/// Why nothing could be entered.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Too much is under way.
    Full,
    /// The connection is at its end; nothing was sent.
    Closed,
}

/// What a connection's task found to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Something was entered.
    Requests,
    /// Nothing; the task will be woken.
    Nothing,
    /// Nothing, and nothing will be any more.
    Finished,
}

impl<T: Trade> Ledger<T> {
    pub(crate) fn new() -> Ledger<T> {
        let state = State {
            queue: T::Queue::default(),
            entered: Vec::new(),
            owed: 0,
            length: 0,
            next_token: 0,
            task: None,
            is_crowded: false,
            end: End::No,
        };
        Ledger { state: Mutex::new(state), room: Notify::new() }
    }

    /// Enters a request, which `write` puts into the queue under the token it is given. The slip may be dropped: the reply
    /// is read all the same, and thrown away.
    pub(crate) fn enter(
        &self,
        write: impl FnOnce(u32, &mut T::Queue) -> T::Asked,
    ) -> Result<oneshot::Receiver<Outcome<T>>, Refused> {
        let mut state = self.lock();
        if !matches!(state.end, End::No) {
            return Err(Refused::Closed);
        }
        let queued = T::length(&state.queue);
        if state.owed >= T::MOST_OWED || queued >= T::MOST_QUEUED {
            state.is_crowded = true;
            return Err(Refused::Full);
        }
        let (caller, slip) = oneshot::channel();
        let token = state.next_token;
        state.next_token = token.wrapping_add(1);
        let asked = write(token, &mut state.queue);
        let begins_at = state.length;
        state.length += (T::length(&state.queue) - queued) as u64;
        let ends_at = state.length;
        state.entered.push(Owed { asked, token, begins_at, ends_at, caller });
        state.owed += 1;
        let task = state.task.take();
        drop(state);
        if let Some(task) = task {
            task.wake();
        }
        Ok(slip)
    }

    /// Enters a request as soon as there is room for it.
    pub(crate) async fn enter_in_time(
        &self,
        mut write: impl FnMut(u32, &mut T::Queue) -> T::Asked,
    ) -> Result<oneshot::Receiver<Outcome<T>>, Refused> {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            // From here on it hears of room, so that none is missed between looking and waiting.
            room.as_mut().enable();
            match self.enter(&mut write) {
                Err(Refused::Full) => room.await,
                entered => return entered,
            }
        }
    }

    /// For the connection's task: says how many replies it paid since the last time, and takes what was entered.
    /// `queue` must be empty.
    pub(crate) fn take(&self, paid: usize, queue: &mut T::Queue, owed: &mut VecDeque<Owed<T>>, task: &Waker) -> Taken {
        let mut state = self.lock();
        state.owed -= paid.min(state.owed);
        let taken = if state.entered.is_empty() {
            if matches!(state.end, End::No) {
                if !state.task.as_ref().is_some_and(|known| known.will_wake(task)) {
                    state.task = Some(task.clone());
                }
                Taken::Nothing
            } else {
                Taken::Finished
            }
        } else {
            mem::swap(&mut state.queue, queue);
            owed.extend(state.entered.drain(..));
            Taken::Requests
        };
        let has_news = paid > 0 || taken == Taken::Requests;
        let is_crowded = has_news && mem::take(&mut state.is_crowded);
        drop(state);
        if is_crowded {
            self.room.notify_waiters();
        }
        taken
    }

    /// Lets nobody enter any more; what was entered is still served.
    pub(crate) fn finish(&self) {
        let mut state = self.lock();
        if matches!(state.end, End::No) {
            state.end = End::Finishing;
        }
        let task = state.task.take();
        drop(state);
        self.room.notify_waiters();
        if let Some(task) = task {
            task.wake();
        }
    }

    /// For the connection's task: the connection is gone. What was entered and not taken was not sent.
    pub(crate) fn close(&self, error: Option<&T::Error>) {
        let mut state = self.lock();
        if !matches!(state.end, End::Gone(_)) {
            state.end = End::Gone(error.cloned());
        }
        let entered = mem::take(&mut state.entered);
        state.queue = T::Queue::default();
        drop(state);
        for owed in entered {
            owed.lose(error.cloned(), false);
        }
        self.room.notify_waiters();
    }

    /// Why the connection is gone, if it is and did not go in peace.
    pub(crate) fn error(&self) -> Option<T::Error> {
        match &self.lock().end {
            End::Gone(error) => error.clone(),
            End::No | End::Finishing => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Trade> Owed<T> {
    /// Gives the caller its reply, if it still waits.
    pub(crate) fn pay(self, reply: T::Reply) {
        let _caller_has_gone = self.caller.send(Ok(reply));
    }

    /// Tells the caller that there will be no reply.
    pub(crate) fn lose(self, error: Option<T::Error>, was_sent: bool) {
        let _caller_has_gone = self.caller.send(Err(Lost { error, was_sent }));
    }
}

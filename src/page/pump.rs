//! A body that has to be waited for, read by a task of its own: neither a slow visitor nor one who hangs up holds up those
//! who wait for the page. The visitor takes each frame as soon as it is there; a body that turns out not to be stored goes
//! on in his hands, at his speed.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::body::{Resumed, changed, into_bytes};
use super::fill::{Fill, Kept};
use super::reason::{Reason, Untold};
use crate::cache::Lookout;
use crate::race::unless;

/// What the pump and the visitor share.
struct Pipe<B: Body> {
    state: Mutex<State<B>>,
}

struct State<B: Body> {
    /// All that has come and may still be stored.
    pieces: Vec<Bytes>,
    /// How many of them the visitor has taken.
    taken: usize,
    /// The visitor waits for more.
    visitor: Option<Waker>,
    visitor_is_gone: bool,
    /// The pump waits for the visitor to go.
    pump: Option<Waker>,
    rest: Rest<B>,
}

/// What comes behind the pieces.
enum Rest<B: Body> {
    /// More may come.
    Coming,
    /// Nothing.
    Ended,
    /// Frames that are not stored, and then whatever the body gives to the visitor himself.
    HandedBack(VecDeque<Result<Frame<Bytes>, B::Error>>, Pin<Box<B>>),
    /// The body panicked; so shall who reads it.
    Panicked(Box<dyn Any + Send>),
}

impl<B: Body> Pipe<B> {
    /// Each change is a few assignments: whole whatever panicked.
    fn state(&self) -> MutexGuard<'_, State<B>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State<B>) -> T) -> T {
        let mut state = self.state();
        let changed = change(&mut state);
        let waker = state.visitor.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        changed
    }

    /// Waits until the visitor has gone, for good.
    async fn deserted(&self) {
        std::future::poll_fn(|context| {
            let mut state = self.state();
            if state.visitor_is_gone {
                return Poll::Ready(());
            }
            state.pump = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// A body under way to the store, with the visitor's end of it.
pub(super) struct Pump<B: Body> {
    source: Source<B>,
    size: u64,
    limit: u64,
    expected: Option<u64>,
    fill: Fill,
    untold: Untold,
}

/// The body; what is left of it goes to the visitor when the pump stops, for whatever reason.
struct Source<B: Body> {
    body: Option<Pin<Box<B>>>,
    pipe: Arc<Pipe<B>>,
}

/// The visitor's end.
pub(super) struct Pumped<B: Body> {
    pipe: Arc<Pipe<B>>,
    /// What the body said of its length, less what the visitor has had of it.
    hint: SizeHint,
    /// Once the body is in the visitor's own hands.
    resumed: Option<Resumed<B>>,
}

impl<B: Body> Pump<B> {
    /// A pump for what was read of a body so far, and the rest: the page is stored by `fill` when the body has ended well,
    /// within `limit` bytes, and with exactly `expected` bytes where that is known.
    pub(super) fn new(
        pieces: Vec<Bytes>,
        rest: Pin<Box<B>>,
        limit: u64,
        expected: Option<u64>,
        fill: Fill,
        untold: Untold,
    ) -> (Self, Pumped<B>) {
        let size = pieces.iter().map(|piece| piece.len() as u64).sum();
        let hint = changed(&rest.size_hint(), |length| length.saturating_add(size));
        let (visitor, pump) = (None, None);
        let state = State { pieces, taken: 0, visitor, visitor_is_gone: false, pump, rest: Rest::Coming };
        let pipe = Arc::new(Pipe { state: Mutex::new(state) });
        let source = Source { body: Some(rest), pipe: Arc::clone(&pipe) };
        (Pump { source, size, limit, expected, fill, untold }, Pumped { pipe, hint, resumed: None })
    }

    /// Reads the body to its end and stores the page, as long as there is the visitor, or anybody whom the lookout sees; for
    /// nobody if the page is to be `finished` in any case.
    pub(super) async fn run(self, lookout: Option<Lookout>, finished: bool) {
        let pipe = Arc::clone(&self.source.pipe);
        let deserted = async move {
            pipe.deserted().await;
            if finished {
                return std::future::pending().await;
            }
            if let Some(lookout) = lookout {
                lookout.deserted().await;
            }
        };
        let Some((kept, untold)) = unless(deserted, self.pump()).await else { return };
        // The visitor who has had everything need not wait for the store.
        untold.tell(match kept {
            Kept::Done(stored) => stored,
            Kept::Pending(storing) => storing.await,
        });
    }

    async fn pump(mut self) -> (Kept, Untold) {
        let mut frames = 0usize;
        loop {
            // A body that is always ready must not keep other tasks from running.
            frames += 1;
            if frames.is_multiple_of(64) {
                tokio::task::yield_now().await;
            }
            let Some(frame) = self.source.next().await else {
                self.fill.fail();
                return (Kept::Done(Err(Reason::Incomplete)), self.untold);
            };
            match frame.map(|frame| frame.map(Frame::into_data)) {
                None => return self.end(),
                Some(Ok(Ok(data))) => {
                    self.size = self.size.saturating_add(data.len() as u64);
                    if self.size > self.limit {
                        return self.stop(Some(Ok(Frame::data(data))), Reason::TooLarge);
                    }
                    self.source.pipe.change(|state| state.pieces.push(data));
                }
                Some(Ok(Err(trailers))) => return self.stop(Some(Ok(trailers)), Reason::Trailers),
                Some(Err(error)) => return self.stop(Some(Err(error)), Reason::Incomplete),
            }
            if self.source.is_at_end() {
                return self.end();
            }
        }
    }

    /// The page is not stored after all.
    fn stop(mut self, next: Option<Result<Frame<Bytes>, B::Error>>, why: Reason) -> (Kept, Untold) {
        self.fill.refuse();
        self.source.hand_back(next);
        (Kept::Done(Err(why)), self.untold)
    }

    /// It ended well.
    fn end(mut self) -> (Kept, Untold) {
        if self.expected.is_some_and(|expected| expected != self.size) {
            return self.stop(None, Reason::Incomplete);
        }
        self.source.body = None;
        let pipe = &self.source.pipe;
        // The pieces go one by one as the page is put together: a body is never there twice.
        let (pieces, unread) = pipe.change(|state| {
            let unread = state.pieces.iter().skip(state.taken).map(Bytes::len).sum();
            state.taken = 0;
            (std::mem::take(&mut state.pieces), if state.visitor_is_gone { 0 } else { unread })
        });
        let (kept, unread) = self.fill.keep(pieces, unread);
        pipe.change(|state| {
            state.pieces.extend(Some(unread).filter(|unread| !unread.is_empty()));
            state.rest = Rest::Ended;
        });
        (kept, self.untold)
    }
}

impl<B: Body> Source<B> {
    /// The next frame; `None` where the body panicked.
    async fn next(&mut self) -> Option<Option<Result<Frame<Bytes>, B::Error>>> {
        let Source { body, pipe } = self;
        let polled = std::future::poll_fn(|context| {
            let Some(body) = body else { return Poll::Ready(Ok(None)) };
            match catch_unwind(AssertUnwindSafe(|| body.as_mut().poll_frame(context))) {
                Ok(Poll::Pending) => Poll::Pending,
                Ok(Poll::Ready(frame)) => Poll::Ready(Ok(frame)),
                Err(panic) => Poll::Ready(Err(panic)),
            }
        });
        match polled.await {
            Ok(frame) => Some(frame.map(|frame| frame.map(into_bytes))),
            Err(panic) => {
                *body = None;
                pipe.change(|state| state.rest = Rest::Panicked(panic));
                None
            }
        }
    }

    fn is_at_end(&self) -> bool {
        self.body.as_ref().is_some_and(|body| body.is_end_stream())
    }

    /// Gives the visitor what is left.
    fn hand_back(&mut self, next: Option<Result<Frame<Bytes>, B::Error>>) {
        let Some(body) = self.body.take() else { return };
        // Whatever is dropped is dropped without the lock: it is not ours.
        let unwanted = self.pipe.change(|state| {
            if state.visitor_is_gone {
                return Some((next, body));
            }
            state.rest = Rest::HandedBack(next.into_iter().collect(), body);
            None
        });
        drop(unwanted);
    }
}

impl<B: Body> Drop for Source<B> {
    /// The runtime shuts down, or the pump panicked.
    fn drop(&mut self) {
        self.hand_back(None);
    }
}

impl<B: Body> Pumped<B> {
    pub(super) fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if let Some(resumed) = &mut self.resumed {
            return resumed.poll_frame(context);
        }
        let mut state = self.pipe.state();
        let taken = state.taken;
        if let Some(piece) = state.pieces.get(taken).cloned() {
            state.taken += 1;
            drop(state);
            self.hint = changed(&self.hint, |length| length.saturating_sub(piece.len() as u64));
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        match std::mem::replace(&mut state.rest, Rest::Ended) {
            Rest::Ended => Poll::Ready(None),
            Rest::Coming => {
                state.rest = Rest::Coming;
                state.visitor = Some(context.waker().clone());
                Poll::Pending
            }
            Rest::HandedBack(read, rest) => {
                // It may go on for long.
                let taken = std::mem::take(&mut state.pieces);
                drop(state);
                drop(taken);
                self.resumed.insert(Resumed::new(read, rest)).poll_frame(context)
            }
            Rest::Panicked(panic) => {
                drop(state);
                resume_unwind(panic)
            }
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        if let Some(resumed) = &self.resumed {
            return resumed.is_end_stream();
        }
        let state = self.pipe.state();
        state.pieces.len() == state.taken
            && match &state.rest {
                Rest::Ended => true,
                Rest::HandedBack(read, rest) => read.is_empty() && rest.is_end_stream(),
                Rest::Coming | Rest::Panicked(_) => false,
            }
    }

    /// Whether the page may still be stored.
    pub(super) fn is_being_stored(&self) -> bool {
        self.resumed.is_none()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        match &self.resumed {
            Some(resumed) => resumed.size_hint(),
            None => self.hint,
        }
    }
}

impl<B: Body> Drop for Pumped<B> {
    fn drop(&mut self) {
        let mut state = self.pipe.state();
        state.visitor_is_gone = true;
        let (pump, rest) = (state.pump.take(), std::mem::replace(&mut state.rest, Rest::Coming));
        drop(state);
        drop(rest);
        if let Some(pump) = pump {
            pump.wake();
        }
    }
}

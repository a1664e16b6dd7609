//! The body of a response that passed through a cache layer: whole, untouched, watched while it goes by, or pumped.
//! The response future makes it; whatever was read of a body is handed on in order, and its error after it.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::pump::Pumped;
use super::reason::Reason;

/// Gets the pieces of a body that has ended well, or why it is not stored; dropped without a call where nobody reads it to
/// its end.
pub(super) type OnEnd = Box<dyn FnOnce(Result<Vec<Bytes>, Reason>) + Send>;

pin_project! {
    /// The body of a response that passed through a [`CacheLayer`](super::CacheLayer): a stored page's bytes, or the
    /// inner service's body with every frame, trailer and error as it came.
    pub struct PageBody<B>
    where
        B: Body,
    {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProjection]
    enum Kind<B>
    where
        B: Body,
    {
        Whole { data: Bytes },
        Passed { #[pin] inner: B },
        Resumed { resumed: Box<Resumed<B>> },
        Pumped { pumped: Box<Pumped<B>> },
    }
}

/// A body of which something was read already.
pub(super) struct Resumed<B: Body> {
    read: VecDeque<Result<Frame<Bytes>, B::Error>>,
    rest: Pin<Box<B>>,
    watch: Option<Watch>,
}

/// The pieces of a body so far, for as long as it may still be stored.
struct Watch {
    pieces: Vec<Bytes>,
    size: u64,
    limit: u64,
    expected: Option<u64>,
    on_end: OnEnd,
}

impl<B: Body> PageBody<B> {
    /// A body that is there as a whole.
    pub(super) fn whole(data: Bytes) -> Self {
        PageBody { kind: Kind::Whole { data } }
    }

    /// A body that a task of its own reads.
    pub(super) fn pumped(pumped: Pumped<B>) -> Self {
        PageBody { kind: Kind::Pumped { pumped: Box::new(pumped) } }
    }

    /// The inner service's body, untouched.
    pub(super) fn passed(inner: B) -> Self {
        PageBody { kind: Kind::Passed { inner } }
    }
}

impl<B: Body> PageBody<B> {
    /// Reads the body to its end where it is stored by that; nobody else reads it.
    pub(super) async fn read_to_be_stored(self) {
        let mut body = std::pin::pin!(self);
        while body.is_being_stored() {
            let frame = std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await;
            if !matches!(frame, Some(Ok(_))) {
                return;
            }
        }
    }

    fn is_being_stored(&self) -> bool {
        match &self.kind {
            Kind::Whole { .. } | Kind::Passed { .. } => false,
            Kind::Pumped { pumped } => pumped.is_being_stored(),
            Kind::Resumed { resumed } => resumed.watch.is_some(),
        }
    }
}

/// A body as far as it came without waiting.
pub(super) enum Reading<B: Body> {
    /// It ended as it said it would; these are its pieces.
    Whole(Vec<Bytes>),
    /// It did not end, or not well.
    Unfinished(Unfinished<B>),
}

/// Why reading stopped before the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The rest is not there yet.
    Waiting,
    /// It is larger than the limit.
    TooLarge,
    /// It has trailers.
    Trailers,
    /// It failed.
    Failed,
}

/// What was read of a body, and the rest.
pub(super) struct Unfinished<B: Body> {
    read: VecDeque<Result<Frame<Bytes>, B::Error>>,
    rest: Pin<Box<B>>,
    pub(super) stop: Stop,
}

/// Reads a body as long as it does not make us wait, is at most `limit` bytes, and brings only data. One that ends with
/// other than `expected` bytes has failed: what was read is handed on with the length that it claims, so that the visitor
/// can tell as well as without us.
pub(super) fn read_ready<B: Body>(body: B, limit: u64, expected: Option<u64>, context: &mut Context<'_>) -> Reading<B> {
    let mut rest = Box::pin(body);
    let mut read = VecDeque::new();
    let mut size = 0u64;
    let stop = loop {
        match rest.as_mut().poll_frame(context) {
            Poll::Pending => break Stop::Waiting,
            Poll::Ready(None) if expected.is_some_and(|expected| expected != size) => break Stop::Failed,
            Poll::Ready(None) => {
                let frames = read.into_iter().filter_map(Result::ok);
                return Reading::Whole(frames.filter_map(|frame: Frame<Bytes>| frame.into_data().ok()).collect());
            }
            Poll::Ready(Some(Err(error))) => {
                read.push_back(Err(error));
                break Stop::Failed;
            }
            Poll::Ready(Some(Ok(frame))) => {
                let frame = into_bytes(frame);
                let more = frame.data_ref().map(|data| data.len() as u64);
                read.push_back(Ok(frame));
                match more {
                    None => break Stop::Trailers,
                    Some(more) => size = size.saturating_add(more),
                }
                if size > limit {
                    break Stop::TooLarge;
                }
            }
        }
    };
    Reading::Unfinished(Unfinished { read, rest, stop })
}

impl<B: Body> Unfinished<B> {
    /// The body: what was read, then the rest.
    pub(super) fn into_body(self) -> PageBody<B> {
        self.resumed(None)
    }

    /// The same; its pieces go to `on_end` when the rest has come and ended well, within `limit` bytes, and with exactly
    /// `expected` bytes where that is known; else the reason does.
    pub(super) fn into_watched_body(self, limit: u64, expected: Option<u64>, on_end: OnEnd) -> PageBody<B> {
        let mut watch = Watch { pieces: Vec::new(), size: 0, limit, expected, on_end };
        let frames = self.read.iter().filter_map(|frame| frame.as_ref().ok()?.data_ref());
        for data in frames {
            watch.size += data.len() as u64;
            watch.pieces.push(data.clone());
        }
        self.resumed(Some(watch))
    }

    /// The pieces that came, and the rest; for a body that has to be waited for, and so brought nothing but data.
    pub(super) fn into_pieces(self) -> (Vec<Bytes>, Pin<Box<B>>) {
        let pieces = self.read.into_iter().filter_map(|frame| frame.ok()?.into_data().ok());
        (pieces.collect(), self.rest)
    }

    fn resumed(self, watch: Option<Watch>) -> PageBody<B> {
        let resumed = Resumed { read: self.read, rest: self.rest, watch };
        PageBody { kind: Kind::Resumed { resumed: Box::new(resumed) } }
    }
}

impl<B: Body> Resumed<B> {
    /// What was read, then the rest.
    pub(super) fn new(read: VecDeque<Result<Frame<Bytes>, B::Error>>, rest: Pin<Box<B>>) -> Self {
        Resumed { read, rest, watch: None }
    }

    pub(super) fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = match self.read.pop_front() {
            Some(read) => Some(read),
            None => {
                let frame = ready!(self.rest.as_mut().poll_frame(context));
                let frame = frame.map(|frame| frame.map(into_bytes));
                self.look_at(frame.as_ref());
                frame
            }
        };
        // Servers stop asking once a body says that it has ended, so the end is looked for after every frame.
        if self.read.is_empty() && self.rest.is_end_stream() {
            self.look_at(None);
        }
        Poll::Ready(frame)
    }

    fn look_at(&mut self, frame: Option<&Result<Frame<Bytes>, B::Error>>) {
        let Some(mut watch) = self.watch.take() else { return };
        let ended = match frame {
            None if watch.expected.is_none_or(|expected| expected == watch.size) => Ok(watch.pieces),
            None | Some(Err(_)) => Err(Reason::Incomplete),
            Some(Ok(frame)) => match frame.data_ref() {
                None => Err(Reason::Trailers),
                Some(data) => {
                    watch.size = watch.size.saturating_add(data.len() as u64);
                    if watch.size <= watch.limit {
                        watch.pieces.push(data.clone());
                        self.watch = Some(watch);
                        return;
                    }
                    Err(Reason::TooLarge)
                }
            },
        };
        (watch.on_end)(ended);
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.read.is_empty() && self.rest.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let read: u64 = self.read.iter().filter_map(|frame| Some(frame.as_ref().ok()?.data_ref()?.len() as u64)).sum();
        changed(&self.rest.size_hint(), |length| length.saturating_add(read))
    }
}

/// The bounds of a body of which some bytes were added or taken.
pub(super) fn changed(hint: &SizeHint, change: impl Fn(u64) -> u64) -> SizeHint {
    let mut changed = SizeHint::new();
    if let Some(upper) = hint.upper() {
        changed.set_upper(change(upper));
    }
    changed.set_lower(change(hint.lower()));
    changed
}

pub(super) fn into_bytes<D: Buf>(frame: Frame<D>) -> Frame<Bytes> {
    frame.map_data(|mut data| data.copy_to_bytes(data.remaining()))
}

impl<B: Body> Body for PageBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.project().kind.project() {
            KindProjection::Whole { data } if data.is_empty() => Poll::Ready(None),
            KindProjection::Whole { data } => Poll::Ready(Some(Ok(Frame::data(std::mem::take(data))))),
            KindProjection::Passed { inner } => {
                inner.poll_frame(context).map(|frame| frame.map(|frame| frame.map(into_bytes)))
            }
            KindProjection::Resumed { resumed } => resumed.poll_frame(context),
            KindProjection::Pumped { pumped } => pumped.poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Whole { data } => data.is_empty(),
            Kind::Passed { inner } => inner.is_end_stream(),
            Kind::Resumed { resumed } => resumed.is_end_stream(),
            Kind::Pumped { pumped } => pumped.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Whole { data } => SizeHint::with_exact(data.len() as u64),
            Kind::Passed { inner } => inner.size_hint(),
            Kind::Resumed { resumed } => resumed.size_hint(),
            Kind::Pumped { pumped } => pumped.size_hint(),
        }
    }
}

impl<B: Body> fmt::Debug for PageBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.kind {
            Kind::Whole { .. } => "whole",
            Kind::Passed { .. } => "passed",
            Kind::Resumed { .. } => "resumed",
            Kind::Pumped { .. } => "pumped",
        };
        f.debug_tuple("PageBody").field(&kind).finish()
    }
}

//! A response body that was read ahead, in whole or in part, or not at all, and is sent on as it was.
//! `conditional_get()` reads bodies ahead to hash them; all layers of this folder answer with this type.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

pin_project! {
    /// The body of a response of [`ConditionalGet`](super::ConditionalGet) or [`Condition`](super::Condition): the inner one,
    /// read ahead or not, or nothing.
    pub struct ConditionalBody<B>
    where
        B: Body,
    {
        read: VecDeque<Result<Frame<Bytes>, B::Error>>,
        #[pin]
        rest: Rest<B>,
        // What is left of the size that a body which was read ahead had promised; it stays promised if it was not kept,
        // so that the server still notices.
        promised: Option<u64>,
    }
}

pin_project! {
    #[project = RestPinned]
    enum Rest<B> {
        Untouched { #[pin] body: B },
        Begun { body: Pin<Box<B>> },
        Nothing,
    }
}

impl<B: Body> ConditionalBody<B> {
    /// The body as it came.
    pub(super) fn untouched(body: B) -> Self {
        ConditionalBody { read: VecDeque::new(), rest: Rest::Untouched { body }, promised: None }
    }

    /// No body.
    pub(super) fn empty() -> Self {
        ConditionalBody { read: VecDeque::new(), rest: Rest::Nothing, promised: None }
    }

    /// The bytes that were read ahead, piece by piece.
    pub(super) fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.read.iter().flatten().filter_map(Frame::data_ref).map(|data| &data[..])
    }
}

impl<B: Body> Body for ConditionalBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.project();
        let frame = match this.read.pop_front() {
            Some(frame) => Some(frame),
            None => match this.rest.project() {
                RestPinned::Untouched { body } => ready!(body.poll_frame(context)).map(|frame| frame.map(in_bytes)),
                RestPinned::Begun { body } => {
                    ready!(body.as_mut().poll_frame(context)).map(|frame| frame.map(in_bytes))
                }
                RestPinned::Nothing => None,
            },
        };
        if let (Some(promised), Some(Ok(frame))) = (this.promised, &frame) {
            *promised = promised.saturating_sub(length(frame));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_empty()
            && match &self.rest {
                Rest::Untouched { body } => body.is_end_stream(),
                Rest::Begun { body } => body.is_end_stream(),
                Rest::Nothing => true,
            }
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.rest, self.promised) {
            (_, Some(left)) => SizeHint::with_exact(left),
            (Rest::Untouched { body }, None) => body.size_hint(),
            (Rest::Begun { body }, None) => body.size_hint(),
            (Rest::Nothing, None) => SizeHint::with_exact(0),
        }
    }
}

impl<B: Body> fmt::Debug for ConditionalBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let frames_read = self.read.len();
        f.debug_struct("ConditionalBody").field("frames_read", &frames_read).finish_non_exhaustive()
    }
}

fn in_bytes<D: Buf>(frame: Frame<D>) -> Frame<Bytes> {
    frame.map_data(|mut data| data.copy_to_bytes(data.remaining()))
}

fn length(frame: &Frame<Bytes>) -> u64 {
    frame.data_ref().map_or(0, |data| data.len() as u64)
}

/// A body that is being read to its end.
///
/// It is boxed because what is left of it, should it turn out longer than it promised, has to move on.
pub(super) struct Reading<B: Body> {
    body: Pin<Box<B>>,
    read: VecDeque<Result<Frame<Bytes>, B::Error>>,
    size: u64,
    promised: u64,
}

/// What reading came to.
pub(super) enum Read<B: Body> {
    /// The whole body, as long as it promised.
    Whole(ConditionalBody<B>),
    /// Something else: it failed, or has another size than it promised. It sends what was read, then the error or the rest.
    Partly(ConditionalBody<B>),
}

impl<B: Body> Reading<B> {
    /// Begins to read a body that promises exactly that many bytes.
    pub(super) fn new(body: B, promised: u64) -> Self {
        Reading { body: Box::pin(body), read: VecDeque::new(), size: 0, promised }
    }

    /// Reads on: what it came to, or itself where the body is not ready.
    pub(super) fn poll(mut self, context: &mut Context<'_>) -> Result<Read<B>, Self> {
        loop {
            match self.body.as_mut().poll_frame(context) {
                Poll::Pending => return Err(self),
                Poll::Ready(None) if self.size == self.promised => return Ok(Read::Whole(self.end(None))),
                Poll::Ready(None) => return Ok(Read::Partly(self.end(None))),
                Poll::Ready(Some(Err(error))) => return Ok(Read::Partly(self.end(Some(error)))),
                Poll::Ready(Some(Ok(frame))) => {
                    let frame = in_bytes(frame);
                    self.size += length(&frame);
                    self.read.push_back(Ok(frame));
                    if self.size > self.promised {
                        return Ok(Read::Partly(self.go_on()));
                    }
                }
            }
        }
    }

    fn end(mut self, error: Option<B::Error>) -> ConditionalBody<B> {
        self.read.extend(error.map(Err));
        ConditionalBody { read: self.read, rest: Rest::Nothing, promised: Some(self.promised) }
    }

    fn go_on(self) -> ConditionalBody<B> {
        ConditionalBody { read: self.read, rest: Rest::Begun { body: self.body }, promised: Some(self.promised) }
    }
}

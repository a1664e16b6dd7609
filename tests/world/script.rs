//! A response body that does what a script says: data, a wait, trailers, an error, a panic.
//! The tests of half pages and of streams write the scripts.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::oneshot;

/// One thing that a body does.
pub enum Step {
    Data(&'static str),
    /// Comes as soon as the other end says so or is dropped.
    Wait(oneshot::Receiver<()>),
    Trailers,
    Fail,
    Panic,
}

pub struct Script {
    steps: VecDeque<Step>,
    /// The length it claims for what is left; `None` is a stream.
    claims: Option<u64>,
    /// It knows when nothing comes after what it gave.
    tells_end: bool,
}

impl Script {
    /// A body whose length is not known beforehand.
    pub fn stream(steps: impl IntoIterator<Item = Step>) -> Self {
        Script { steps: steps.into_iter().collect(), claims: None, tells_end: false }
    }

    /// A body that claims to have so many bytes.
    pub fn of_length(length: u64, steps: impl IntoIterator<Item = Step>) -> Self {
        Script { steps: steps.into_iter().collect(), claims: Some(length), tells_end: false }
    }

    /// It says so when it has ended, so that servers do not ask once more.
    pub fn telling_end(mut self) -> Self {
        self.tells_end = true;
        self
    }
}

/// What a scripted body fails with.
#[derive(Debug, PartialEq, Eq)]
pub struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("broken off")
    }
}

impl std::error::Error for Broken {}

impl Body for Script {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        while let Some(Step::Wait(gate)) = self.steps.front_mut() {
            let _ = ready!(Pin::new(gate).poll(context));
            self.steps.pop_front();
        }
        Poll::Ready(match self.steps.pop_front() {
            None => None,
            Some(Step::Data(text)) => {
                self.claims = self.claims.map(|claims| claims.saturating_sub(text.len() as u64));
                Some(Ok(Frame::data(Bytes::from_static(text.as_bytes()))))
            }
            Some(Step::Trailers) => Some(Ok(Frame::trailers(HeaderMap::new()))),
            Some(Step::Fail) => Some(Err(Broken)),
            Some(Step::Panic) => panic!("the body panics"),
            Some(Step::Wait(_)) => unreachable!("the loop above takes it"),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.tells_end && self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.claims.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

//! A handler that can be held at a gate, that fails when it is told to, and that counts how often it was asked.
//! The tests of stale pages stand on it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use http_body_util::Full;
use tokio::sync::watch;
use tower::Service;

/// What the handler makes of a request, given the number of the call, counted from 1.
type Answers = dyn Fn(&Parts, usize) -> Result<Response<Full<Bytes>>, Failed> + Send + Sync;

/// The service failed, without an answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Failed;

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the service failed")
    }
}

impl std::error::Error for Failed {}

#[derive(Clone)]
pub struct Gated {
    calls: Arc<AtomicUsize>,
    is_open: Arc<watch::Sender<bool>>,
    answers: Arc<Answers>,
}

impl Gated {
    pub fn new(
        answers: impl Fn(&Parts, usize) -> Result<Response<Full<Bytes>>, Failed> + Send + Sync + 'static,
    ) -> Self {
        Gated { calls: Arc::default(), is_open: Arc::new(watch::Sender::new(true)), answers: Arc::new(answers) }
    }

    /// From now on the handler begins, and answers when the gate is opened.
    pub fn close(&self) {
        self.is_open.send_replace(false);
    }

    pub fn open(&self) {
        self.is_open.send_replace(true);
    }

    /// How often it was asked.
    pub fn calls(&self) -> usize {
        self.calls.load(SeqCst)
    }

    /// Waits until it has been asked so often.
    pub async fn reach(&self, calls: usize) {
        until(async || self.calls() >= calls, "the handler is asked").await;
        assert_eq!(self.calls(), calls, "asked too often");
    }
}

/// Waits for something to happen that is about to.
pub async fn until(mut has_happened: impl AsyncFnMut() -> bool, what: &str) {
    let begun = Instant::now();
    while !has_happened().await {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}: not within a minute");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

impl<B> Service<Request<B>> for Gated {
    type Response = Response<Full<Bytes>>;
    type Error = Failed;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Failed>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let call = self.calls.fetch_add(1, SeqCst) + 1;
        let (mut is_open, answers) = (self.is_open.subscribe(), Arc::clone(&self.answers));
        let head = request.into_parts().0;
        Box::pin(async move {
            let _ = is_open.wait_for(|is_open| *is_open).await;
            answers(&head, call)
        })
    }
}

//! A handler that is held at a gate, that fails when it is told to, and that counts how often it was asked.
//! The tests of stale pages and of crowds stand on it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use http_body_util::Full;
use tokio::sync::watch;
use tower::Service;

/// As long as a slow and busy machine may take.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// What the handler fails with.
#[derive(Debug, PartialEq, Eq)]
pub struct Failed;

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the handler failed")
    }
}

impl std::error::Error for Failed {}

type Answers = dyn Fn(&Parts, usize) -> Result<Response<Full<Bytes>>, Failed> + Send + Sync;

/// A handler that answers when its gate is open, and counts its calls.
#[derive(Clone)]
pub struct Gated {
    calls: Arc<AtomicUsize>,
    ended: Arc<AtomicUsize>,
    gate: Arc<watch::Sender<bool>>,
    answers: Arc<Answers>,
}

/// Counts the runs that ended, however they did.
struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Gated {
    /// Answers what the function makes of the request and of the number of the call, counted from 1.
    pub fn new(answers: impl Fn(&Parts, usize) -> Response<Full<Bytes>> + Send + Sync + 'static) -> Self {
        Gated::trying(move |parts, call| Ok(answers(parts, call)))
    }

    /// The same, where it may fail.
    pub fn trying(
        answers: impl Fn(&Parts, usize) -> Result<Response<Full<Bytes>>, Failed> + Send + Sync + 'static,
    ) -> Self {
        let (calls, ended) = Default::default();
        Gated { calls, ended, gate: Arc::new(watch::Sender::new(false)), answers: Arc::new(answers) }
    }

    /// The same with an open gate.
    pub fn opened(
        answers: impl Fn(&Parts, usize) -> Result<Response<Full<Bytes>>, Failed> + Send + Sync + 'static,
    ) -> Self {
        let gated = Gated::trying(answers);
        gated.open();
        gated
    }

    pub fn open(&self) {
        self.gate.send_replace(true);
    }

    /// From now on the handler begins, and answers when the gate is opened.
    pub fn close(&self) {
        self.gate.send_replace(false);
    }

    /// How often it was asked.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// Waits until it was asked so often.
    pub async fn is_asked(&self, calls: usize) {
        until(async || self.calls() >= calls, "the handler is asked").await;
    }

    /// Waits until it was asked so often, and not more.
    pub async fn reach(&self, calls: usize) {
        self.is_asked(calls).await;
        assert_eq!(self.calls(), calls, "asked too often");
    }

    /// Waits until so many runs are over, answered or dropped.
    pub async fn has_ended(&self, runs: usize) {
        until(async || self.ended.load(Ordering::SeqCst) >= runs, "the handler has ended").await;
    }
}

impl<B: Send + 'static> Service<Request<B>> for Gated {
    type Response = Response<Full<Bytes>>;
    type Error = Failed;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Failed>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        let running = Running(Arc::clone(&self.ended));
        let (mut gate, answers) = (self.gate.subscribe(), Arc::clone(&self.answers));
        Box::pin(async move {
            let _running = running;
            let _ = gate.wait_for(|is_open| *is_open).await;
            answers(&request.into_parts().0, call)
        })
    }
}

/// Waits for something to happen that is about to.
pub async fn until(mut has_happened: impl AsyncFnMut() -> bool, what: &str) {
    let begun = Instant::now();
    while !has_happened().await {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}: not within a minute");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

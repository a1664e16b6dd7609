//! Crowds that ask at once, and what they get.
//! Every test of this program stands on it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use http::Response;
use tokio::task::JoinHandle;
use tower::Service;

use crate::world::gated::{PATIENCE, until};
use crate::world::{Answer, Plain, ask, settle};

/// Waits for what must not hang.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("nobody hangs: {what}"))
}

/// Tasks that ask all at once. Returns when each has its answer, or waits for what nobody but the test will do.
pub async fn crowd<S, B>(service: &S, visitors: usize, request: impl Fn(usize) -> Plain) -> Vec<JoinHandle<Answer>>
where
    S: Service<Plain, Response = Response<B>, Error: fmt::Debug, Future: Send> + Clone + Send + Sync + 'static,
    B: http_body::Body<Data: Send, Error: fmt::Debug + Send> + Send + 'static,
{
    let (tasks, visitors): (Vec<_>, Vec<_>) = (0..visitors)
        .map(|visitor| {
            let (service, request, wakes) = (service.clone(), request(visitor), Arc::new(Wakes::new()));
            let asks = Box::pin(async move { ask(&service, request).await });
            (tokio::spawn(Visitor { asks, wakes: Arc::clone(&wakes) }), wakes)
        })
        .unzip();
    until(
        async || {
            let before: Vec<_> = visitors.iter().map(|wakes| wakes.waiting_since()).collect();
            settle().await;
            before.iter().zip(&visitors).all(|(before, wakes)| before.is_some() && *before == wakes.waiting_since())
        },
        "everybody has an answer or waits",
    )
    .await;
    tasks
}

/// A visitor of whom one can tell from outside whether it waits.
struct Visitor {
    asks: Pin<Box<dyn Future<Output = Answer> + Send>>,
    wakes: Arc<Wakes>,
}

/// How often a visitor was woken, and how many of these it has followed up; [`ANSWERED`] where it has its answer.
struct Wakes {
    woken: AtomicUsize,
    followed: AtomicUsize,
}

const ANSWERED: usize = usize::MAX;

impl Wakes {
    /// A task begins as if woken once.
    fn new() -> Self {
        Wakes { woken: AtomicUsize::new(1), followed: AtomicUsize::new(0) }
    }

    /// The wake after which it began to wait, unless another has come since.
    fn waiting_since(&self) -> Option<usize> {
        let followed = self.followed.load(Ordering::SeqCst);
        (followed == ANSWERED || followed == self.woken.load(Ordering::SeqCst)).then_some(followed)
    }
}

impl Future for Visitor {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answer> {
        let woken = self.wakes.woken.load(Ordering::SeqCst);
        let bell = Waker::from(Arc::new(Bell { wakes: Arc::clone(&self.wakes), task: context.waker().clone() }));
        let answer = self.asks.as_mut().poll(&mut Context::from_waker(&bell));
        self.wakes.followed.store(if answer.is_ready() { ANSWERED } else { woken }, Ordering::SeqCst);
        answer
    }
}

/// Counts a wake, and passes it on.
struct Bell {
    wakes: Arc<Wakes>,
    task: Waker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wakes.woken.fetch_add(1, Ordering::SeqCst);
        self.task.wake_by_ref();
    }
}

/// What a crowd got.
pub async fn answers(tasks: Vec<JoinHandle<Answer>>) -> Vec<Answer> {
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(soon("a visitor", task).await.unwrap());
    }
    answers
}

//! Crowds that ask at once, and what they get.
//! Every test of this program stands on it.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Response;
use tokio::task::JoinHandle;
use tower::Service;

use crate::world::gated::{PATIENCE, until};
use crate::world::{Answer, Plain, ask, settle};

/// Waits for what must not hang.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("nobody hangs: {what}"))
}

/// Tasks that ask all at once. Returns when each has asked, and all that was ready has run.
pub async fn crowd<S, B>(service: &S, visitors: usize, request: impl Fn(usize) -> Plain) -> Vec<JoinHandle<Answer>>
where
    S: Service<Plain, Response = Response<B>, Error: fmt::Debug, Future: Send> + Clone + Send + Sync + 'static,
    B: http_body::Body<Data: Send, Error: fmt::Debug + Send> + Send + 'static,
{
    let begun = Arc::new(AtomicUsize::new(0));
    let tasks = (0..visitors)
        .map(|visitor| {
            let (service, request, begun) = (service.clone(), request(visitor), Arc::clone(&begun));
            tokio::spawn(async move {
                begun.fetch_add(1, Ordering::SeqCst);
                ask(&service, request).await
            })
        })
        .collect();
    until(async || begun.load(Ordering::SeqCst) == visitors, "all have asked").await;
    settle().await;
    tasks
}

/// What a crowd got.
pub async fn answers(tasks: Vec<JoinHandle<Answer>>) -> Vec<Answer> {
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(soon("a visitor", task).await.unwrap());
    }
    answers
}

//! What a backend call returns: an answer that is ready, or one that comes later.
//! Memory and dummy answer at once without a boxed future; networked backends return a pending one.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::error::Error;

type Answer<T> = Result<T, Error>;

/// The answer to a backend call: ready now, or pending. Awaiting it gives the result either way.
pub struct Reply<'a, T>(State<'a, T>);

enum State<'a, T> {
    Ready(Option<Answer<T>>),
    Pending(Pin<Box<dyn Future<Output = Answer<T>> + Send + 'a>>),
}

impl<'a, T> Reply<'a, T> {
    /// An answer that is there already.
    pub fn ready(answer: Answer<T>) -> Self {
        Reply(State::Ready(Some(answer)))
    }

    /// An answer that comes later.
    pub fn pending(future: impl Future<Output = Answer<T>> + Send + 'a) -> Self {
        Reply(State::Pending(Box::pin(future)))
    }

    /// The answer if it is ready, else the reply back.
    pub fn try_ready(self) -> Result<Answer<T>, Self> {
        match self.0 {
            State::Ready(Some(answer)) => Ok(answer),
            pending => Err(Reply(pending)),
        }
    }
}

impl<'a, T: Send + 'a> Reply<'a, T> {
    /// Changes the value of a successful answer.
    pub fn map<U: Send + 'a>(self, change: impl FnOnce(T) -> U + Send + 'a) -> Reply<'a, U> {
        match self.try_ready() {
            Ok(answer) => Reply::ready(answer.map(change)),
            Err(pending) => Reply::pending(async move { pending.await.map(change) }),
        }
    }

    /// Asks for each item in turn and collects the answers; the first error ends it.
    pub fn each<I: Sync>(items: &'a [I], ask: impl Fn(&'a I) -> Reply<'a, T> + Send + 'a) -> Reply<'a, Vec<T>> {
        Reply::each_outcome(items, ask).and_then(|outcomes| outcomes.into_iter().collect())
    }

    /// Asks for each item in turn and collects the outcomes, errors included.
    pub fn each_outcome<I: Sync>(
        items: &'a [I],
        ask: impl Fn(&'a I) -> Reply<'a, T> + Send + 'a,
    ) -> Reply<'a, Vec<Answer<T>>> {
        let mut answers = Vec::with_capacity(items.len());
        let mut items = items.iter();
        while let Some(item) = items.next() {
            match ask(item).try_ready() {
                Ok(answer) => answers.push(answer),
                Err(pending) => {
                    return Reply::pending(async move {
                        answers.push(pending.await);
                        for item in items {
                            answers.push(ask(item).await);
                        }
                        Ok(answers)
                    });
                }
            }
        }
        Reply::ready(Ok(answers))
    }

    /// Makes an answer of the value of a successful one.
    pub(super) fn and_then<U: Send + 'a>(self, change: impl FnOnce(T) -> Answer<U> + Send + 'a) -> Reply<'a, U> {
        match self.try_ready() {
            Ok(answer) => Reply::ready(answer.and_then(change)),
            Err(pending) => Reply::pending(async move { pending.await.and_then(change) }),
        }
    }
}

// Nothing inside is pinned in place: the future is boxed, the answer is only moved out.
impl<T> Unpin for Reply<'_, T> {}

impl<T> Future for Reply<'_, T> {
    type Output = Answer<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Ready(answer) => Poll::Ready(answer.take().expect("a reply is polled once to its end")),
            State::Pending(future) => future.as_mut().poll(context),
        }
    }
}

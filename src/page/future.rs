//! The future of a [`CacheService`](super::CacheService): an answer, or a request that is sent on. It is written by hand so
//! that a hit allocates no future.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::boarding::seek_and_board;
use super::body::PageBody;
use super::reason::{Forward, Outcome};
use super::sent_on::{After, Answer, Going, POLLED_AGAIN, SentOn, Stage};
use super::service::Shared;
use super::settle::mark_hit;
use super::site::Site;
use super::visit::{Bared, Visit};

pin_project! {
    /// The response of a [`CacheService`](super::CacheService).
    ///
    /// A hit is small and lies in it; what is sent on lies behind a pointer. axum moves it to the heap for every request.
    ///
    /// It may be dropped at any time. Where others wait for the page that it was about to bring, the work goes on without
    /// it, as a task of the tokio runtime.
    pub struct ResponseFuture<S, B, B2>
    where
        S: Service<Request<B>>,
        B2: Body,
    {
        state: State<S, B, B2>,
    }
}

enum State<S, B, B2>
where
    S: Service<Request<B>>,
    B2: Body,
{
    Answered(Option<Response<PageBody<B2>>>),
    SentOn(Visitor<Answer<S, B, B2>>),
}

/// A visitor who is to be given an answer.
struct Visitor<A>(Option<Pin<Box<dyn Going<A>>>>);

impl<A> Drop for Visitor<A> {
    fn drop(&mut self) {
        if let Some(going) = self.0.take() {
            going.let_visitor_go();
        }
    }
}

impl<S, B, B2> ResponseFuture<S, B, B2>
where
    S: Service<Request<B>>,
    B2: Body,
{
    #[inline(always)]
    pub(super) fn answered(response: Response<PageBody<B2>>) -> Self {
        ResponseFuture { state: State::Answered(Some(response)) }
    }

    /// Says of the answer where it comes from.
    #[inline(always)]
    pub(super) fn mark_hit(&mut self, outcome: Outcome, site: &Site, is_nested: bool) {
        if let State::Answered(Some(response)) = &mut self.state {
            mark_hit(response, outcome, site, is_nested);
        }
    }
}

impl<S, B, B2> ResponseFuture<S, B, B2>
where
    S: Service<Request<B>, Response = Response<B2>, Future: Send + 'static> + Clone + Send + 'static,
    B: Send + 'static,
    B2: Body<Error: Send> + Send + 'static,
{
    /// Leads the flight of a page that is not in memory, or waits for it.
    pub(super) fn board(
        visit: Box<Visit>,
        why: Forward,
        landed: u64,
        request: Request<B>,
        shared: &Arc<Shared<S>>,
        is_nested: bool,
    ) -> Self {
        Self::at(Stage::Boarding { visit: Some(visit), why, landed, request: Some(request) }, shared, is_nested)
    }

    /// Seeks the page in a store that answers later. The request is marked for layers further in where it is sent on to
    /// them.
    pub(super) fn seek(visit: Box<Visit>, request: Bared<B>, shared: &Arc<Shared<S>>, is_nested: bool) -> Self {
        let seeking = Box::pin(seek_and_board(Arc::clone(&shared.site), visit));
        Self::at(Stage::Seeking { seeking, request: Some(request), is_marked: false }, shared, is_nested)
    }

    /// Sends a request on that no page can answer.
    pub(super) fn send_on(request: Request<B>, after: After, shared: &Arc<Shared<S>>) -> Self {
        let service = shared.inner();
        Self::at(Stage::Readying { service, request: Some(request), after: Some(after) }, shared, false)
    }

    fn at(stage: Stage<S, B, B2>, shared: &Arc<Shared<S>>, is_nested: bool) -> Self {
        ResponseFuture { state: State::SentOn(Visitor(Some(Box::pin(SentOn::at(stage, shared, is_nested))))) }
    }
}

impl<S, B, B2> Future for ResponseFuture<S, B, B2>
where
    S: Service<Request<B>>,
    B2: Body,
{
    type Output = Answer<S, B, B2>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state {
            State::Answered(response) => Poll::Ready(Ok(response.take().expect(POLLED_AGAIN))),
            State::SentOn(Visitor(going)) => {
                let answer = ready!(going.as_mut().expect(POLLED_AGAIN).as_mut().poll(context));
                if let Some(going) = going.take() {
                    going.go_on_behind();
                }
                Poll::Ready(answer)
            }
        }
    }
}

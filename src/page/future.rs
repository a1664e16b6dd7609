//! The future of a [`CacheService`](super::CacheService): answered at once, or board or seek, make an inner service ready,
//! run it, settle what becomes of its response. It is written by hand so that a hit allocates no future.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::runtime::Handle;
use tower_service::Service;
use tracing::Instrument;

use super::answer::answer;
use super::boarding::{Boarded, Seeking, board_at_once, seek_and_board};
use super::body::PageBody;
use super::fill::Storing;
use super::reason::{Forward, Outcome, Reason};
use super::service::Shared;
use super::settle::{Settled, mark_hit, settle};
use super::site::Site;
use super::text_store::Found;
use super::visit::Visit;
use crate::cache::{Lead, Lookout};

const POLLED_AGAIN: &str = "a response future is polled once to its end";

/// What is to be done with the inner service's response.
pub(super) enum After {
    /// Pass it on.
    Pass(Reason),
    /// Tell the layer further out, which keeps the page, for how long.
    LeaveToOuter,
    /// Store it if it may be.
    Store(Box<Visit>, Forward),
}

impl After {
    pub(super) fn why(&self) -> Forward {
        match self {
            After::Pass(reason) => Forward::Bypass(*reason),
            After::LeaveToOuter => Forward::Bypass(Reason::OuterLayer),
            After::Store(_, why) => *why,
        }
    }
}

type Answer<S, B, B2> = Result<Response<PageBody<B2>>, <S as Service<Request<B>>>::Error>;

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

/// Work for a visitor.
trait Going<A>: Future<Output = A> + Send {
    /// The visitor has gone: goes on for others, if there are any.
    fn let_visitor_go(self: Pin<Box<Self>>);
}

impl<A> Drop for Visitor<A> {
    fn drop(&mut self) {
        if let Some(going) = self.0.take() {
            going.let_visitor_go();
        }
    }
}

pin_project! {
    /// A request that is not answered at once.
    struct SentOn<S, B, B2>
    where
        S: Service<Request<B>>,
        B2: Body,
    {
        #[pin]
        stage: Stage<S, B, B2>,
        shared: Arc<Shared<S>>,
        is_nested: bool,
        // Sees those who wait for what this one brings.
        lookout: Option<Lookout>,
    }
}

pin_project! {
    #[project = StageProjection]
    enum Stage<S, B, B2>
    where
        S: Service<Request<B>>,
        B2: Body,
    {
        Boarding { visit: Option<Box<Visit>>, why: Forward, landed: u64, request: Option<Request<B>> },
        Seeking { seeking: Seeking, request: Option<Request<B>> },
        Readying { service: S, request: Option<Request<B>>, after: Option<After> },
        Running { #[pin] running: S::Future, after: Option<After> },
        Storing { storing: Storing, why: Forward, response: Option<Response<PageBody<B2>>> },
    }
}

impl<S, B, B2> ResponseFuture<S, B, B2>
where
    S: Service<Request<B>>,
    B2: Body,
{
    pub(super) fn answered(
        mut response: Response<PageBody<B2>>,
        outcome: Outcome,
        site: &Site,
        is_nested: bool,
    ) -> Self {
        mark_hit(&mut response, outcome, site, is_nested);
        ResponseFuture { state: State::Answered(Some(response)) }
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

    /// Seeks the page in a store that answers later.
    pub(super) fn seek(visit: Box<Visit>, request: Request<B>, shared: &Arc<Shared<S>>, is_nested: bool) -> Self {
        let seeking = Box::pin(seek_and_board(Arc::clone(&shared.site), visit));
        Self::at(Stage::Seeking { seeking, request: Some(request) }, shared, is_nested)
    }

    /// Sends a request on that no page can answer.
    pub(super) fn send_on(request: Request<B>, after: After, shared: &Arc<Shared<S>>) -> Self {
        let service = shared.inner();
        Self::at(Stage::Readying { service, request: Some(request), after: Some(after) }, shared, false)
    }

    fn at(stage: Stage<S, B, B2>, shared: &Arc<Shared<S>>, is_nested: bool) -> Self {
        let sent_on = SentOn { stage, shared: Arc::clone(shared), is_nested, lookout: None };
        ResponseFuture { state: State::SentOn(Visitor(Some(Box::pin(sent_on)))) }
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
                *going = None;
                Poll::Ready(answer)
            }
        }
    }
}

impl<S, B, B2> Going<Answer<S, B, B2>> for SentOn<S, B, B2>
where
    S: Service<Request<B>, Response = Response<B2>, Future: Send + 'static> + Clone + Send + 'static,
    B: Send + 'static,
    B2: Body<Error: Send> + Send + 'static,
{
    fn let_visitor_go(mut self: Pin<Box<Self>>) {
        let finishes = self.shared.site.settings.crowd.finishes_fills;
        let this = self.as_mut().project();
        let is_fill = match this.stage.project() {
            StageProjection::Readying { after, .. } | StageProjection::Running { after, .. } => {
                matches!(after, Some(After::Store(..)))
            }
            StageProjection::Storing { .. } => true,
            StageProjection::Boarding { .. } | StageProjection::Seeking { .. } => false,
        };
        let lookout = this.lookout.take().filter(|_| !finishes);
        let is_for_others = finishes || lookout.as_ref().is_some_and(Lookout::is_awaited);
        if is_fill
            && is_for_others
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(go_on(self, lookout).in_current_span());
        }
    }
}

/// Finishes the work, as long as anybody waits for it whom the lookout sees.
async fn go_on<S, B, B2>(mut sent_on: Pin<Box<SentOn<S, B, B2>>>, lookout: Option<Lookout>)
where
    S: Service<Request<B>, Response = Response<B2>, Future: Send + 'static> + Clone + Send + 'static,
    B: Send + 'static,
    B2: Body<Error: Send> + Send + 'static,
{
    let mut deserted = std::pin::pin!(async {
        match &lookout {
            Some(lookout) => lookout.deserted().await,
            None => std::future::pending().await,
        }
    });
    std::future::poll_fn(|context| match sent_on.as_mut().poll(context) {
        Poll::Ready(_) => Poll::Ready(()),
        Poll::Pending => deserted.as_mut().poll(context),
    })
    .await;
}

impl<S, B, B2> Future for SentOn<S, B, B2>
where
    S: Service<Request<B>, Response = Response<B2>, Future: Send + 'static> + Clone + Send + 'static,
    B: Send + 'static,
    B2: Body<Error: Send> + Send + 'static,
{
    type Output = Answer<S, B, B2>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let next = match this.stage.as_mut().project() {
                StageProjection::Boarding { visit, why, landed, request } => {
                    let visit = visit.take().expect(POLLED_AGAIN);
                    match board_at_once(&this.shared.site, visit, *why, *landed) {
                        Ok((visit, why)) => {
                            *this.lookout = visit.lead.as_ref().and_then(Lead::lookout);
                            let after = Some(After::Store(visit, why));
                            Stage::Readying { service: this.shared.inner(), request: request.take(), after }
                        }
                        Err(seeking) => Stage::Seeking { seeking, request: request.take() },
                    }
                }
                StageProjection::Seeking { seeking, request } => {
                    let after = match ready!(seeking.as_mut().poll(context)) {
                        Ok(Boarded::Found(found, waited)) => {
                            let Found { page, ready, is_head, is_known, now } = *found;
                            let mut response = answer(&page, &ready, is_head, is_known, now);
                            let outcome = waited.map_or(Outcome::hit(&page, now), |why| Outcome::Collapsed { why });
                            mark_hit(&mut response, outcome, &this.shared.site, *this.is_nested);
                            return Poll::Ready(Ok(response));
                        }
                        Ok(Boarded::Missing(visit, why)) => {
                            *this.lookout = visit.lead.as_ref().and_then(Lead::lookout);
                            After::Store(visit, why)
                        }
                        Err(reason) => After::Pass(reason),
                    };
                    Stage::Readying { service: this.shared.inner(), request: request.take(), after: Some(after) }
                }
                StageProjection::Readying { service, request, after } => {
                    let failure = Failure(after);
                    if let Err(error) = ready!(service.poll_ready(context)) {
                        failure.tell();
                        return Poll::Ready(Err(error));
                    }
                    let running = service.call(request.take().expect(POLLED_AGAIN));
                    drop(failure);
                    Stage::Running { running, after: after.take() }
                }
                StageProjection::Running { running, after } => {
                    let failure = Failure(after);
                    let response = match ready!(running.poll(context)) {
                        Ok(response) => response,
                        Err(error) => {
                            failure.tell();
                            return Poll::Ready(Err(error));
                        }
                    };
                    drop(failure);
                    match settle(response, after.take().expect(POLLED_AGAIN), &this.shared.site, context) {
                        Settled::Answered(response) => return Poll::Ready(Ok(response)),
                        Settled::Storing(storing, why, response) => {
                            Stage::Storing { storing, why, response: Some(response) }
                        }
                    }
                }
                StageProjection::Storing { storing, why, response } => {
                    let stored = ready!(storing.as_mut().poll(context));
                    let mut response = response.take().expect(POLLED_AGAIN);
                    Outcome::Forwarded { why: *why, stored }.report(&mut response, &this.shared.site);
                    return Poll::Ready(Ok(response));
                }
            };
            this.stage.set(next);
        }
    }
}

/// What those who wait are told where the inner service brings no response: that none comes.
struct Failure<'a>(&'a mut Option<After>);

impl Failure<'_> {
    fn tell(mut self) {
        if let Some(why) = self.wake() {
            Outcome::Forwarded { why, stored: Err(Reason::Handler) }.tell();
        }
    }

    fn wake(&mut self) -> Option<Forward> {
        let after = self.0.take()?;
        let why = after.why();
        if let After::Store(visit, _) = after
            && let Some(lead) = visit.lead
        {
            lead.fail();
        }
        Some(why)
    }
}

impl Drop for Failure<'_> {
    /// In a panic: whoever catches it may keep the future for as long as he likes.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.wake();
        }
    }
}

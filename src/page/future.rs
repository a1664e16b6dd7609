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
use tokio::time::Sleep;
use tower_service::Service;
use tracing::Instrument;

use super::behind::{alarm, go_on_behind};
use super::boarding::{Boarded, Seeking, board_at_once, board_to_refresh, seek_and_board};
use super::body::PageBody;
use super::fill::Storing;
use super::reason::{Forward, Outcome, Reason};
use super::service::{Shared, mark};
use super::settle::{Settled, mark_hit, settle};
use super::site::Site;
use super::staleness::ask_for_the_whole;
use super::stand_in::{StandIn, Taking, may_be_hidden, stand_in, take_away_if_gone};
use super::visit::{Bared, Visit};
use crate::cache::{Lead, Lookout};
use crate::race::unless;

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

impl After {
    /// Those who wait for a page that could not be made anew have to make do with what there is.
    fn report_failed_refresh(&mut self) {
        if let After::Store(visit, _) = self
            && visit.is_refresh
            && let Some(lead) = visit.lead.take()
        {
            lead.report_failure();
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

    /// The visitor has his answer: goes on if that was not the handler's.
    fn go_on_behind(self: Pin<Box<Self>>);
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
        // Stands in where the handler fails.
        stale: StandIn,
        // Says when the handler is late.
        alarm: Option<Pin<Box<Sleep>>>,
        // The visitor has an answer already.
        is_left: bool,
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
        Seeking { seeking: Seeking, request: Option<Bared<B>>, is_marked: bool },
        Readying { service: S, request: Option<Request<B>>, after: Option<After> },
        Running { #[pin] running: S::Future, after: Option<After> },
        Storing { storing: Storing, why: Forward, response: Option<Response<PageBody<B2>>> },
        TakingAway { taking: Taking, response: Option<Response<PageBody<B2>>> },
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

    /// Makes the page of a visit anew by its request, in a task of its own, unless somebody does so already.
    pub(super) fn refresh(
        mut visit: Box<Visit>,
        why: Forward,
        landed: Option<u64>,
        mut request: Request<B>,
        shared: &Arc<Shared<S>>,
    ) {
        let Ok(runtime) = Handle::try_current() else { return };
        visit.is_refresh = true;
        ask_for_the_whole(Arc::make_mut(&mut visit.headers));
        ask_for_the_whole(request.headers_mut());
        if let Some(seeking) = board_to_refresh(&shared.site, visit, why, landed) {
            let request = Some(Bared::of(request));
            let sent_on = SentOn::at(Stage::Seeking { seeking, request, is_marked: true }, shared, false);
            runtime.spawn(go_on_behind(Arc::clone(&shared.site), Box::pin(sent_on)).in_current_span());
        }
    }

    fn at(stage: Stage<S, B, B2>, shared: &Arc<Shared<S>>, is_nested: bool) -> Self {
        ResponseFuture { state: State::SentOn(Visitor(Some(Box::pin(SentOn::at(stage, shared, is_nested))))) }
    }
}

impl<S, B, B2> SentOn<S, B, B2>
where
    S: Service<Request<B>>,
    B2: Body,
{
    fn at(stage: Stage<S, B, B2>, shared: &Arc<Shared<S>>, is_nested: bool) -> Self {
        SentOn { stage, shared: Arc::clone(shared), is_nested, lookout: None, stale: None, alarm: None, is_left: false }
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

impl<S, B, B2> Going<Answer<S, B, B2>> for SentOn<S, B, B2>
where
    S: Service<Request<B>, Response = Response<B2>, Future: Send + 'static> + Clone + Send + 'static,
    B: Send + 'static,
    B2: Body<Error: Send> + Send + 'static,
{
    fn go_on_behind(self: Pin<Box<Self>>) {
        if self.is_left
            && let Ok(runtime) = Handle::try_current()
        {
            let site = Arc::clone(&self.shared.site);
            runtime.spawn(go_on_behind(site, self).in_current_span());
        }
    }

    fn let_visitor_go(mut self: Pin<Box<Self>>) {
        let finishes = self.shared.site.settings.crowd.finishes_fills;
        let this = self.as_mut().project();
        let is_fill = match this.stage.project() {
            StageProjection::Readying { after, .. } | StageProjection::Running { after, .. } => {
                matches!(after, Some(After::Store(..)))
            }
            StageProjection::Storing { .. } => true,
            StageProjection::Boarding { .. } | StageProjection::Seeking { .. } | StageProjection::TakingAway { .. } => {
                false
            }
        };
        // Those for whom it goes on have their own patience.
        *this.alarm = None;
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
async fn go_on<S, B, B2>(sent_on: Pin<Box<SentOn<S, B, B2>>>, lookout: Option<Lookout>)
where
    S: Service<Request<B>, Response = Response<B2>, Future: Send + 'static> + Clone + Send + 'static,
    B: Send + 'static,
    B2: Body<Error: Send> + Send + 'static,
{
    let deserted = async {
        match &lookout {
            Some(lookout) => lookout.deserted().await,
            None => std::future::pending().await,
        }
    };
    unless(deserted, sent_on).await;
}

impl<S, B, B2> Future for SentOn<S, B, B2>
where
    S: Service<Request<B>, Response = Response<B2>, Future: Send + 'static> + Clone + Send + 'static,
    B: Send + 'static,
    B2: Body<Error: Send> + Send + 'static,
{
    type Output = Answer<S, B, B2>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(answer) = self.as_mut().go_as_far_as_can_be(context) {
            return Poll::Ready(answer);
        }
        let this = self.project();
        let Some(alarm) = this.alarm else { return Poll::Pending };
        ready!(alarm.as_mut().poll(context));
        *this.alarm = None;
        let (StageProjection::Readying { after, .. } | StageProjection::Running { after, .. }) = this.stage.project()
        else {
            return Poll::Pending;
        };
        let why = after.as_ref().expect(POLLED_AGAIN).why();
        match stand_in(this.stale, why, None, &this.shared.site, *this.is_nested) {
            Some(response) => {
                *this.is_left = true;
                Poll::Ready(Ok(response))
            }
            None => Poll::Pending,
        }
    }
}

impl<S, B, B2> SentOn<S, B, B2>
where
    S: Service<Request<B>, Response = Response<B2>, Future: Send + 'static> + Clone + Send + 'static,
    B: Send + 'static,
    B2: Body<Error: Send> + Send + 'static,
{
    fn go_as_far_as_can_be(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answer<S, B, B2>> {
        let mut this = self.project();
        loop {
            let next = match this.stage.as_mut().project() {
                StageProjection::Boarding { visit, why, landed, request } => {
                    let visit = visit.take().expect(POLLED_AGAIN);
                    match board_at_once(&this.shared.site, visit, *why, *landed) {
                        Ok((mut visit, why)) => {
                            *this.alarm = alarm(&visit, &this.shared.site);
                            *this.stale = visit.stands_in();
                            *this.lookout = visit.lead.as_ref().and_then(Lead::lookout);
                            let after = Some(After::Store(visit, why));
                            Stage::Readying { service: this.shared.inner(), request: request.take(), after }
                        }
                        Err(seeking) => {
                            Stage::Seeking { seeking, request: request.take().map(Bared::of), is_marked: true }
                        }
                    }
                }
                StageProjection::Seeking { seeking, request, is_marked } => {
                    let after = match ready!(seeking.as_mut().poll(context)) {
                        Ok(Boarded::Found(found, waited)) => {
                            let outcome = waited.map_or(found.outcome(), |why| Outcome::Collapsed { why });
                            let mut response = found.into_response();
                            mark_hit(&mut response, outcome, &this.shared.site, *this.is_nested);
                            return Poll::Ready(Ok(response));
                        }
                        Ok(Boarded::ToRefresh(found, visit, why, landed)) => {
                            let mut request = request.take().expect(POLLED_AGAIN).with_headers();
                            if !*is_marked {
                                mark(&this.shared.site, &mut request);
                            }
                            ResponseFuture::refresh(visit, why, Some(landed), request, this.shared);
                            let mut response = found.response();
                            mark_hit(&mut response, found.outcome(), &this.shared.site, *this.is_nested);
                            return Poll::Ready(Ok(response));
                        }
                        Ok(Boarded::Failed(mut visit, why)) => {
                            *this.stale = visit.stands_in();
                            let stand_in = stand_in(this.stale, why, None, &this.shared.site, *this.is_nested);
                            if let Some(response) = stand_in {
                                return Poll::Ready(Ok(response));
                            }
                            After::Store(visit, why)
                        }
                        Ok(Boarded::Missing(mut visit, why)) => {
                            *this.alarm = alarm(&visit, &this.shared.site);
                            *this.stale = visit.stands_in();
                            *this.lookout = visit.lead.as_ref().and_then(Lead::lookout);
                            After::Store(visit, why)
                        }
                        Err(reason) => After::Pass(reason),
                    };
                    let mut request = request.take().map(Bared::with_headers);
                    if let (false, Some(request)) = (*is_marked, request.as_mut()) {
                        mark(&this.shared.site, request);
                    }
                    Stage::Readying { service: this.shared.inner(), request, after: Some(after) }
                }
                StageProjection::Readying { service, request, after } => {
                    if let Some(After::Store(visit, _)) = after {
                        visit.asked_at = Some(this.shared.site.cache().clock().now());
                    }
                    let failure = Failure(after);
                    if let Err(error) = ready!(service.poll_ready(context)) {
                        let stand_in = failure.stand_in(this.stale, &this.shared.site, *this.is_nested);
                        return Poll::Ready(stand_in.ok_or(error));
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
                            let stand_in = failure.stand_in(this.stale, &this.shared.site, *this.is_nested);
                            return Poll::Ready(stand_in.ok_or(error));
                        }
                    };
                    let status = response.status();
                    drop(failure);
                    let why = after.as_ref().expect(POLLED_AGAIN).why();
                    if may_be_hidden(status, &this.shared.site)
                        && let Some(stand_in) =
                            stand_in(this.stale, why, Some(status), &this.shared.site, *this.is_nested)
                    {
                        Failure(after).wake();
                        return Poll::Ready(Ok(stand_in));
                    }
                    let mut after = after.take().expect(POLLED_AGAIN);
                    if may_be_hidden(status, &this.shared.site) {
                        after.report_failed_refresh();
                    }
                    let taking = take_away_if_gone(this.stale, &after, status, &this.shared.site);
                    match settle(response, after, &this.shared.site, context) {
                        Settled::Answered(response) => match taking {
                            Some(taking) => Stage::TakingAway { taking, response: Some(response) },
                            None => return Poll::Ready(Ok(response)),
                        },
                        Settled::Broken(outcome, mut response) => {
                            let (site, is_nested) = (&this.shared.site, *this.is_nested);
                            if let Some(response) = stand_in(this.stale, why, Some(status), site, is_nested) {
                                return Poll::Ready(Ok(response));
                            }
                            outcome.report(&mut response, site);
                            return Poll::Ready(Ok(response));
                        }
                        Settled::Storing(storing, why, response) => {
                            Stage::Storing { storing, why, response: Some(response) }
                        }
                    }
                }
                StageProjection::TakingAway { taking, response } => {
                    ready!(taking.as_mut().poll(context));
                    return Poll::Ready(Ok(response.take().expect(POLLED_AGAIN)));
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
    /// The stale page in place of the service's error; `None` where none may stand in.
    fn stand_in<B: Body>(mut self, stale: &mut StandIn, site: &Site, is_nested: bool) -> Option<Response<PageBody<B>>> {
        let why = self.wake()?;
        let response = stand_in(stale, why, None, site, is_nested);
        if response.is_none() {
            Outcome::Forwarded { why, stored: Err(Reason::Handler) }.tell();
        }
        response
    }

    fn wake(&mut self) -> Option<Forward> {
        let after = self.0.take()?;
        let why = after.why();
        if let After::Store(visit, _) = after
            && let Some(lead) = visit.lead
        {
            lead.report_failure();
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

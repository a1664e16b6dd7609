//! A request that is not answered at once: board or seek, make an inner service ready, run it, settle what becomes of its
//! response. [`ResponseFuture`](super::future::ResponseFuture) polls it for a visitor, and lets it go on where others wait.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response, StatusCode};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::runtime::Handle;
use tokio::time::Sleep;
use tower_service::Service;
use tracing::Instrument;

use super::behind::{alarm, go_on_behind};
use super::boarding::{Boarded, Seeking, board_at_once, board_to_refresh};
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

pub(super) const POLLED_AGAIN: &str = "a response future is polled once to its end";

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

pub(super) type Answer<S, B, B2> = Result<Response<PageBody<B2>>, <S as Service<Request<B>>>::Error>;

/// Work for a visitor.
pub(super) trait Going<A>: Future<Output = A> + Send {
    /// The visitor has gone: goes on for others, if there are any.
    fn let_visitor_go(self: Pin<Box<Self>>);

    /// The visitor has his answer: goes on if that was not the handler's.
    fn go_on_behind(self: Pin<Box<Self>>);
}

pin_project! {
    /// A request that is not answered at once.
    pub(super) struct SentOn<S, B, B2>
    where
        S: Service<Request<B>>,
        B2: Body,
    {
        #[pin]
        stage: Stage<S, B, B2>,
        errand: Errand<S>,
    }
}

/// What a request that is sent on has with it, whatever stage it is at.
struct Errand<S> {
    shared: Arc<Shared<S>>,
    is_nested: bool,
    /// Sees those who wait for what this one brings.
    lookout: Option<Lookout>,
    /// Stands in where the handler fails.
    stale: StandIn,
    /// Says when the handler is late.
    alarm: Option<Pin<Box<Sleep>>>,
    /// The visitor has an answer already.
    is_left: bool,
}

pin_project! {
    #[project = StageProjection]
    pub(super) enum Stage<S, B, B2>
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

/// What follows a stage.
enum Next<S, B, B2>
where
    S: Service<Request<B>>,
    B2: Body,
{
    Stage(Stage<S, B, B2>),
    Answer(Answer<S, B, B2>),
}

impl<S, B, B2> SentOn<S, B, B2>
where
    S: Service<Request<B>>,
    B2: Body,
{
    pub(super) fn at(stage: Stage<S, B, B2>, shared: &Arc<Shared<S>>, is_nested: bool) -> Self {
        let shared = Arc::clone(shared);
        SentOn { stage, errand: Errand { shared, is_nested, lookout: None, stale: None, alarm: None, is_left: false } }
    }
}

impl<S, B, B2> SentOn<S, B, B2>
where
    S: Service<Request<B>, Response = Response<B2>, Future: Send + 'static> + Clone + Send + 'static,
    B: Send + 'static,
    B2: Body<Error: Send> + Send + 'static,
{
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
}

impl<S, B, B2> Going<Answer<S, B, B2>> for SentOn<S, B, B2>
where
    S: Service<Request<B>, Response = Response<B2>, Future: Send + 'static> + Clone + Send + 'static,
    B: Send + 'static,
    B2: Body<Error: Send> + Send + 'static,
{
    fn go_on_behind(self: Pin<Box<Self>>) {
        if self.errand.is_left
            && let Ok(runtime) = Handle::try_current()
        {
            let site = Arc::clone(&self.errand.shared.site);
            runtime.spawn(go_on_behind(site, self).in_current_span());
        }
    }

    fn let_visitor_go(mut self: Pin<Box<Self>>) {
        let finishes = self.errand.shared.site.settings.crowd.finishes_fills;
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
        this.errand.alarm = None;
        let lookout = this.errand.lookout.take().filter(|_| !finishes);
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
        let errand = this.errand;
        let Some(alarm) = &mut errand.alarm else { return Poll::Pending };
        ready!(alarm.as_mut().poll(context));
        errand.alarm = None;
        let (StageProjection::Readying { after, .. } | StageProjection::Running { after, .. }) = this.stage.project()
        else {
            return Poll::Pending;
        };
        let why = after.as_ref().expect(POLLED_AGAIN).why();
        match errand.stand_in(why, None) {
            Some(response) => {
                errand.is_left = true;
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
        let this = self.project();
        let (mut stage, errand) = (this.stage, this.errand);
        loop {
            let next = match stage.as_mut().project() {
                StageProjection::Boarding { visit, why, landed, request } => {
                    let visit = visit.take().expect(POLLED_AGAIN);
                    Next::Stage(errand.board(visit, *why, *landed, request))
                }
                StageProjection::Seeking { seeking, request, is_marked } => {
                    let boarded = ready!(seeking.as_mut().poll(context));
                    errand.go_on_from(boarded, request, *is_marked)
                }
                StageProjection::Readying { service, request, after } => {
                    if let Some(After::Store(visit, _)) = after {
                        visit.asked_at = Some(errand.shared.site.cache().clock().now());
                    }
                    let failure = Failure(after);
                    match ready!(service.poll_ready(context)) {
                        Ok(()) => {
                            let running = service.call(request.take().expect(POLLED_AGAIN));
                            drop(failure);
                            Next::Stage(Stage::Running { running, after: after.take() })
                        }
                        Err(error) => Next::Answer(errand.fail(failure, error)),
                    }
                }
                StageProjection::Running { running, after } => {
                    let failure = Failure(after);
                    match ready!(running.poll(context)) {
                        Ok(response) => {
                            drop(failure);
                            errand.settle(response, after, context)
                        }
                        Err(error) => Next::Answer(errand.fail(failure, error)),
                    }
                }
                StageProjection::TakingAway { taking, response } => {
                    ready!(taking.as_mut().poll(context));
                    Next::Answer(Ok(response.take().expect(POLLED_AGAIN)))
                }
                StageProjection::Storing { storing, why, response } => {
                    let stored = ready!(storing.as_mut().poll(context));
                    let mut response = response.take().expect(POLLED_AGAIN);
                    Outcome::Forwarded { why: *why, stored }.report(&mut response, &errand.shared.site);
                    Next::Answer(Ok(response))
                }
            };
            match next {
                Next::Stage(next) => stage.set(next),
                Next::Answer(answer) => return Poll::Ready(answer),
            }
        }
    }
}

impl<S> Errand<S> {
    /// Boards the flight of a page that is not in memory.
    fn board<B, B2>(
        &mut self,
        visit: Box<Visit>,
        why: Forward,
        landed: u64,
        request: &mut Option<Request<B>>,
    ) -> Stage<S, B, B2>
    where
        S: Service<Request<B>> + Clone,
        B2: Body,
    {
        match board_at_once(&self.shared.site, visit, why, landed) {
            Ok((visit, why)) => {
                let after = Some(self.lead(visit, why));
                Stage::Readying { service: self.shared.inner(), request: request.take(), after }
            }
            Err(seeking) => Stage::Seeking { seeking, request: request.take().map(Bared::of), is_marked: true },
        }
    }

    /// What is to be done with the response for which others may wait.
    fn lead(&mut self, mut visit: Box<Visit>, why: Forward) -> After {
        self.alarm = alarm(&visit, &self.shared.site);
        self.stale = visit.stands_in();
        self.lookout = visit.lead.as_ref().and_then(Lead::lookout);
        After::Store(visit, why)
    }

    /// Answers with what was found, or makes the inner service ready.
    fn go_on_from<B, B2>(
        &mut self,
        boarded: Result<Boarded, Reason>,
        request: &mut Option<Bared<B>>,
        is_marked: bool,
    ) -> Next<S, B, B2>
    where
        S: Service<Request<B>, Response = Response<B2>, Future: Send + 'static> + Clone + Send + 'static,
        B: Send + 'static,
        B2: Body<Error: Send> + Send + 'static,
    {
        let after = match boarded {
            Ok(Boarded::Found(found, waited)) => {
                let outcome = waited.map_or(found.outcome(), |why| Outcome::Collapsed { why });
                let mut response = found.into_response();
                mark_hit(&mut response, outcome, &self.shared.site, self.is_nested);
                return Next::Answer(Ok(response));
            }
            Ok(Boarded::ToRefresh(found, visit, why, landed)) => {
                let mut request = request.take().expect(POLLED_AGAIN).with_headers();
                if !is_marked {
                    mark(&self.shared.site, &mut request);
                }
                SentOn::refresh(visit, why, Some(landed), request, &self.shared);
                let mut response = found.response();
                mark_hit(&mut response, found.outcome(), &self.shared.site, self.is_nested);
                return Next::Answer(Ok(response));
            }
            Ok(Boarded::Failed(mut visit, why)) => {
                self.stale = visit.stands_in();
                if let Some(response) = self.stand_in(why, None) {
                    return Next::Answer(Ok(response));
                }
                After::Store(visit, why)
            }
            Ok(Boarded::Missing(visit, why)) => self.lead(visit, why),
            Err(reason) => After::Pass(reason),
        };
        let mut request = request.take().map(Bared::with_headers);
        if let (false, Some(request)) = (is_marked, request.as_mut()) {
            mark(&self.shared.site, request);
        }
        Next::Stage(Stage::Readying { service: self.shared.inner(), request, after: Some(after) })
    }

    /// Settles what becomes of the inner service's response.
    fn settle<B, B2>(
        &mut self,
        response: Response<B2>,
        after: &mut Option<After>,
        context: &mut Context<'_>,
    ) -> Next<S, B, B2>
    where
        S: Service<Request<B>>,
        B2: Body<Error: Send> + Send + 'static,
    {
        let status = response.status();
        let why = after.as_ref().expect(POLLED_AGAIN).why();
        let is_failure = may_be_hidden(status, &self.shared.site);
        if is_failure && let Some(stand_in) = self.stand_in(why, Some(status)) {
            Failure(after).wake();
            return Next::Answer(Ok(stand_in));
        }
        let mut after = after.take().expect(POLLED_AGAIN);
        if is_failure {
            after.report_failed_refresh();
        }
        let taking = take_away_if_gone(&self.stale, &after, status, &self.shared.site);
        let response = match settle(response, after, &self.shared.site, context) {
            Settled::Answered(response) => match taking {
                Some(taking) => return Next::Stage(Stage::TakingAway { taking, response: Some(response) }),
                None => response,
            },
            Settled::Broken(outcome, mut response) => self.stand_in(why, Some(status)).unwrap_or_else(|| {
                outcome.report(&mut response, &self.shared.site);
                response
            }),
            Settled::Storing(storing, why, response) => {
                return Next::Stage(Stage::Storing { storing, why, response: Some(response) });
            }
        };
        Next::Answer(Ok(response))
    }

    /// The stale page in place of the service's error, or the error.
    fn fail<B: Body, E>(&mut self, failure: Failure<'_>, error: E) -> Result<Response<PageBody<B>>, E> {
        failure.stand_in(&mut self.stale, &self.shared.site, self.is_nested).ok_or(error)
    }

    /// The stale page in place of a response; `None` where none may stand in.
    fn stand_in<B: Body>(&mut self, why: Forward, status: Option<StatusCode>) -> Option<Response<PageBody<B>>> {
        stand_in(&mut self.stale, why, status, &self.shared.site, self.is_nested)
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

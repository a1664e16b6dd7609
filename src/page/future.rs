//! The future of a [`CacheService`](super::CacheService): answered at once, or seek, make an inner service ready, run it,
//! read what is ready of its body, store. It is written by hand so that a hit allocates no future and an inner service
//! needs no `Send`.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::answer::answer;
use super::body::{PageBody, Reading, Stop, read_ready};
use super::fill::{Fill, Kept, Storing};
use super::frame::Page;
use super::policy::{self, Rules, Verdict};
use super::reason::{Forward, Outcome, Reason};
use super::service::Shared;
use super::site::Site;
use super::text_store::Sought;
use super::visit::Visit;
use crate::clock::Timestamp;
use crate::headers::patch_response_headers;

const POLLED_AGAIN: &str = "a response future is polled once to its end";

type Seeking = Pin<Box<dyn Future<Output = Result<Sought, Reason>> + Send>>;

/// What is to be done with the inner service's response.
pub(super) enum After {
    /// Pass it on.
    Pass(Reason),
    /// Tell the layer further out, which keeps the page, for how long.
    LeaveToOuter,
    /// Store it if it may be.
    Store(Box<Visit>, Forward),
}

/// Left on a response that came from a cache further in (MID-33).
#[derive(Clone, Copy)]
struct FromInnerCache;

/// Left on a response by a layer further in that leaves the page to this one: how long it is to live, by its page timeout
/// (MID-11) or else by its timeout for pages that say nothing themselves (MID-13).
#[derive(Clone, Copy)]
struct InnerTimeouts {
    page: Option<Duration>,
    site: Duration,
}

pin_project! {
    /// The response of a [`CacheService`](super::CacheService).
    ///
    /// A hit is small and lies in it; what is sent on lies behind a pointer. axum moves it to the heap for every request.
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
    SentOn(Pin<Box<SentOn<S, B, B2>>>),
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
    }
}

pin_project! {
    #[project = StageProjection]
    enum Stage<S, B, B2>
    where
        S: Service<Request<B>>,
        B2: Body,
    {
        Seeking { seeking: Seeking, request: Option<Request<B>>, is_nested: bool },
        Readying { service: S, request: Option<Request<B>>, after: Option<After> },
        Running { #[pin] running: S::Future, after: Option<After> },
        Storing { storing: Storing, why: Forward, response: Option<Response<PageBody<B2>>> },
    }
}

impl<S, B, B2> ResponseFuture<S, B, B2>
where
    S: Service<Request<B>, Response = Response<B2>> + Clone,
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

    pub(super) fn seek(seeking: Seeking, request: Request<B>, shared: Arc<Shared<S>>, is_nested: bool) -> Self {
        Self::at(Stage::Seeking { seeking, request: Some(request), is_nested }, shared)
    }

    pub(super) fn send_on(request: Request<B>, after: After, shared: Arc<Shared<S>>) -> Self {
        let service = shared.inner();
        Self::at(Stage::Readying { service, request: Some(request), after: Some(after) }, shared)
    }

    fn at(stage: Stage<S, B, B2>, shared: Arc<Shared<S>>) -> Self {
        ResponseFuture { state: State::SentOn(Box::pin(SentOn { stage, shared })) }
    }
}

impl<S, B, B2> Future for ResponseFuture<S, B, B2>
where
    S: Service<Request<B>, Response = Response<B2>> + Clone,
    B2: Body,
{
    type Output = Result<Response<PageBody<B2>>, S::Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state {
            State::Answered(response) => Poll::Ready(Ok(response.take().expect(POLLED_AGAIN))),
            State::SentOn(sent_on) => sent_on.as_mut().poll(context),
        }
    }
}

impl<S, B, B2> Future for SentOn<S, B, B2>
where
    S: Service<Request<B>, Response = Response<B2>> + Clone,
    B2: Body,
{
    type Output = Result<Response<PageBody<B2>>, S::Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let failed = |after: &mut Option<After>, error| {
            if let Some(after) = after.take() {
                Outcome::Forwarded { why: after.why(), stored: Err(Reason::Handler) }.tell();
            }
            Poll::Ready(Err(error))
        };
        loop {
            let next = match this.stage.as_mut().project() {
                StageProjection::Seeking { seeking, request, is_nested } => {
                    let after = match ready!(seeking.as_mut().poll(context)) {
                        Ok(Sought::Found { page, ready, is_head, is_known, now }) => {
                            let mut response = answer(&page, &ready, is_head, is_known, now);
                            mark_hit(&mut response, Outcome::hit(&page, now), &this.shared.site, *is_nested);
                            return Poll::Ready(Ok(response));
                        }
                        Ok(Sought::Missing(visit, why)) => After::Store(visit, why),
                        Err(reason) => After::Pass(reason),
                    };
                    Stage::Readying { service: this.shared.inner(), request: request.take(), after: Some(after) }
                }
                StageProjection::Readying { service, request, after } => {
                    if let Err(error) = ready!(service.poll_ready(context)) {
                        return failed(after, error);
                    }
                    let running = service.call(request.take().expect(POLLED_AGAIN));
                    Stage::Running { running, after: after.take() }
                }
                StageProjection::Running { running, after } => {
                    let response = match ready!(running.poll(context)) {
                        Ok(response) => response,
                        Err(error) => return failed(after, error),
                    };
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

/// What became of the inner service's response.
enum Settled<B: Body> {
    Answered(Response<PageBody<B>>),
    Storing(Storing, Forward, Response<PageBody<B>>),
}

/// Judges the response by its head, then reads what is ready of its body and stores it, or sends both on.
fn settle<B: Body>(response: Response<B>, after: After, site: &Arc<Site>, context: &mut Context<'_>) -> Settled<B> {
    let why = after.why();
    let (mut parts, body) = response.into_parts();
    let report = |parts, body, outcome: Outcome| {
        let mut response = Response::from_parts(parts, body);
        outcome.report(&mut response, site);
        Settled::Answered(response)
    };
    let pass = |parts, body, reason| report(parts, body, Outcome::Forwarded { why, stored: Err(reason) });
    let visit = match after {
        After::Store(visit, _) => visit,
        After::Pass(reason) => return pass(parts, PageBody::passed(body), reason),
        After::LeaveToOuter => {
            let Rules { page_timeout: page, site_timeout: site, .. } = site.settings.rules;
            parts.extensions.insert(InnerTimeouts { page, site });
            return pass(parts, PageBody::passed(body), Reason::OuterLayer);
        }
    };
    // The mark stays on the response: layers further out must not store the page either.
    if parts.extensions.get::<FromInnerCache>().is_some() {
        return pass(parts, PageBody::passed(body), Reason::InnerHit);
    }
    let rules = &site.settings.rules;
    let inner = parts.extensions.remove::<InnerTimeouts>();
    let page_timeout = rules.page_timeout.or(inner.and_then(|inner| inner.page));
    let site_timeout = inner.map_or(rules.site_timeout, |inner| inner.site);
    // A HEAD of what GET streams is a stream, too, or the two would differ in their headers; else it has no body to store.
    let size = body.size_hint().exact().map(|size| if visit.is_head { 0 } else { size });
    let now = site.cache().clock().now();
    let (lifetime, is_public, names) = match policy::judge(
        visit.has_authorization,
        parts.status,
        &parts.headers,
        size,
        (page_timeout, site_timeout),
        rules,
    ) {
        Verdict::Pass(reason) => return pass(parts, PageBody::passed(body), reason),
        Verdict::Patch(lifetime, reason) => {
            patch_response_headers(&mut parts.headers, lifetime, now);
            return pass(parts, PageBody::passed(body), reason);
        }
        Verdict::Store { lifetime, is_public, names } => (lifetime, is_public, names),
    };
    let is_head = visit.is_head;
    // The body that came with a HEAD, if there is one, is what a GET would have: servers strip it and keep its length.
    let said = if is_head { body.size_hint().exact().filter(|said| *said > 0) } else { size };
    let expected = match policy::expected_length(&parts.headers, said) {
        Ok(expected) => expected,
        Err(reason) => return pass(parts, PageBody::passed(body), reason),
    };
    if is_head && let Some(length) = expected {
        parts.headers.insert(CONTENT_LENGTH, length.into());
    }
    patch_response_headers(&mut parts.headers, lifetime, now);
    let fill = Fill::new(site, visit, &parts, (now, lifetime), is_public, &names);
    let stored = |kept: Kept, parts, body| match kept {
        Kept::Done(stored) => report(parts, body, Outcome::Forwarded { why, stored }),
        Kept::Pending(storing) => Settled::Storing(storing, why, Response::from_parts(parts, body)),
    };
    if is_head {
        let (kept, _) = fill.keep(&[]);
        return stored(kept, parts, PageBody::passed(body));
    }
    match read_ready(body, rules.largest_body, context) {
        Reading::Whole(pieces) if expected.is_none_or(|expected| expected == length(&pieces)) => {
            let (kept, body) = fill.keep(&pieces);
            stored(kept, parts, PageBody::whole(body))
        }
        Reading::Whole(pieces) => pass(parts, PageBody::whole(pieces.concat().into()), Reason::Incomplete),
        Reading::Unfinished(unfinished) => match unfinished.stop {
            Stop::Waiting => {
                let body = unfinished.into_watched_body(rules.largest_body, expected, fill.on_end());
                report(parts, body, Outcome::Storing { why })
            }
            Stop::TooLarge => pass(parts, unfinished.into_body(), Reason::TooLarge),
            Stop::Trailers => pass(parts, unfinished.into_body(), Reason::Trailers),
            Stop::Failed => pass(parts, unfinished.into_body(), Reason::Incomplete),
        },
    }
}

fn length(pieces: &[Bytes]) -> u64 {
    pieces.iter().map(|piece| piece.len() as u64).sum()
}

/// Tells a layer further out, if there is one, that this is a hit already.
fn mark_hit<B: Body>(response: &mut Response<PageBody<B>>, outcome: Outcome, site: &Site, is_nested: bool) {
    if is_nested {
        response.extensions_mut().insert(FromInnerCache);
    }
    outcome.report(response, site);
}

impl Outcome {
    pub(super) fn hit(page: &Page, now: Timestamp) -> Self {
        Outcome::Hit { ttl: page.expires_at.since(now).as_secs() }
    }

    /// Puts the outcome into `tracing` and, where the layer was told to, into `Cache-Status`.
    fn report<B>(self, response: &mut Response<B>, site: &Site) {
        self.tell();
        if let Some(name) = &site.settings.status_name
            && let Some(value) = self.cache_status(name)
        {
            response.headers_mut().append("cache-status", value);
        }
    }
}

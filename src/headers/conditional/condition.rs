//! `condition(..)`, `etag(..)` and `last_modified(..)`: ask functions for the validators of what is there, and answer 304
//! or 412 before the handler runs. Applications put them on routes; Django has them as decorators of views.

use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use http::header::{ETAG, HeaderMap, HeaderValue, IF_MATCH, IF_NONE_MATCH, IF_UNMODIFIED_SINCE, LAST_MODIFIED};
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::ask::{Ask, Asked, FromHead, NotAsked};
use super::body::ConditionalBody;
use super::evaluate::{
    Outcome, Validators, evaluate, has_no_preconditions, is_read, last_modified_value, precondition_failed_headers,
    preconditions,
};
use super::tag::EntityTag;
use crate::clock::Clock;

/// Answers conditional requests before the handler runs, by two functions that find the entity tag and the date of what
/// the request is about (Django's decorator of this name, CON-13 to CON-22).
///
/// - If the request's preconditions say that the client has it, a GET or HEAD is answered 304; if they do not hold, any
///   request is answered 412. Either way the handler does not run. See [`evaluate`](super::evaluate()) for the rules.
/// - Else the handler runs. GET and HEAD responses get `ETag` and `Last-Modified`, whatever their status, unless the
///   handler has set them. So do the 304 and 412 to GET and HEAD.
///
/// The functions may be async; see [`FromHead`] for their forms. Both are asked at the same time. They are not asked for
/// CONNECT, OPTIONS and TRACE, nor for a request that only changes something and has no preconditions: nothing would
/// come of it.
///
/// The time between the functions' answer and the end of the handler is not guarded: where two writers must not both win,
/// the handler has to compare again in its transaction.
///
/// What other layers add to responses, `cache_control(..)` and `vary_on_headers(..)` say, is on the 304 too if they stand
/// outside of this one, and is not if they stand inside.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use std::time::{Duration, SystemTime};
/// use axum::extract::Path;
/// use axum::{RequestPartsExt, Router, body::Body, routing::get};
/// use http::{Request, StatusCode, request::Parts};
/// use larder::condition;
/// use tower::ServiceExt;
///
/// // As the handler's arguments, asked of a database.
/// async fn version(mut head: Parts) -> Option<String> {
///     let Path(article) = head.extract::<Path<u64>>().await.ok()?;
///     Some(format!("article-{article}-v3"))
/// }
///
/// fn written(_: &Parts) -> Option<SystemTime> {
///     Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_193_008_907))
/// }
///
/// let article = get(|| async { "text" }).put(|| async { "changed" }).layer(condition(version, written));
/// let app: Router = Router::new().route("/articles/{id}", article);
///
/// let read = Request::get("/articles/7").body(Body::empty()).unwrap();
/// let response = app.clone().oneshot(read).await.unwrap();
/// assert_eq!(response.headers()["etag"], "\"article-7-v3\"");
/// assert_eq!(response.headers()["last-modified"], "Sun, 21 Oct 2007 23:21:47 GMT");
///
/// let stale = Request::put("/articles/7").header("if-match", "\"article-7-v2\"").body(Body::empty()).unwrap();
/// assert_eq!(app.oneshot(stale).await.unwrap().status(), StatusCode::PRECONDITION_FAILED);
/// # }
/// ```
pub fn condition<E, ME, L, ML>(etag: E, last_modified: L) -> ConditionLayer<Asked<E, ME>, Asked<L, ML>>
where
    E: FromHead<EntityTag, ME>,
    L: FromHead<SystemTime, ML>,
{
    ConditionLayer::new(Asked::new(etag), Asked::new(last_modified))
}

/// [`condition`] with a function for the entity tag alone.
///
/// ```
/// use axum::{Router, routing::get};
/// use http::request::Parts;
/// use larder::etag;
///
/// let app: Router = Router::new()
///     .route("/", get(|| async { "hello" }).layer(etag(|_: &Parts| Some("v42"))))
///     .route("/later", get(|| async { "hello" }).layer(etag(async |head: Parts| Some(head.uri.path().to_owned()))));
/// ```
pub fn etag<F, M>(function: F) -> ConditionLayer<Asked<F, M>, NotAsked>
where
    F: FromHead<EntityTag, M>,
{
    ConditionLayer::new(Asked::new(function), NotAsked)
}

/// [`condition`] with a function for the date of the last modification alone.
///
/// ```
/// use std::time::SystemTime;
/// use axum::{Router, routing::get};
/// use http::request::Parts;
/// use larder::last_modified;
///
/// let started = SystemTime::now();
/// let app: Router = Router::new()
///     .route("/", get(|| async { "hello" }).layer(last_modified(move |_: &Parts| Some(started))));
/// ```
pub fn last_modified<F, M>(function: F) -> ConditionLayer<NotAsked, Asked<F, M>>
where
    F: FromHead<SystemTime, M>,
{
    ConditionLayer::new(NotAsked, Asked::new(function))
}

/// The layer that [`condition`], [`etag`] and [`last_modified`] make.
pub struct ConditionLayer<E, L> {
    functions: Arc<(E, L)>,
    clock: Clock,
}

impl<E, L> ConditionLayer<E, L> {
    fn new(etag: E, last_modified: L) -> Self {
        ConditionLayer { functions: Arc::new((etag, last_modified)), clock: Clock::system() }
    }

    /// Takes the time from this clock; the default is the system's. It only decides the century of dates whose year has
    /// two digits.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }
}

impl<E, L> Clone for ConditionLayer<E, L> {
    fn clone(&self) -> Self {
        ConditionLayer { functions: Arc::clone(&self.functions), clock: self.clock.clone() }
    }
}

impl<E, L> fmt::Debug for ConditionLayer<E, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConditionLayer").field("clock", &self.clock).finish_non_exhaustive()
    }
}

impl<S, E, L> Layer<S> for ConditionLayer<E, L> {
    type Service = Condition<S, E, L>;

    fn layer(&self, inner: S) -> Self::Service {
        Condition { inner, settings: self.clone() }
    }
}

/// The service of a [`ConditionLayer`].
pub struct Condition<S, E, L> {
    inner: S,
    settings: ConditionLayer<E, L>,
}

impl<S: Clone, E, L> Clone for Condition<S, E, L> {
    fn clone(&self) -> Self {
        Condition { inner: self.inner.clone(), settings: self.settings.clone() }
    }
}

impl<S: fmt::Debug, E, L> fmt::Debug for Condition<S, E, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condition").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S, E, L, B, B2> Service<Request<B>> for Condition<S, E, L>
where
    S: Service<Request<B>, Response = Response<B2>> + Clone,
    E: Ask<EntityTag>,
    L: Ask<SystemTime>,
    B2: Body,
{
    type Response = Response<ConditionalBody<B2>>;
    type Error = S::Error;
    type Future = ConditionFuture<S, B, E::Future, L::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if !matters(request.method(), request.headers()) {
            return ConditionFuture {
                step: Step::Answering { inner: self.inner.call(request), added: Added::default() },
            };
        }
        let (head, body) = request.into_parts();
        let (etag, last_modified) = &*self.settings.functions;
        let (etag, last_modified) = (etag.ask(&head), last_modified.ask(&head));
        // The one that was polled ready goes into the future, its clone stays.
        let clone = self.inner.clone();
        let inner = mem::replace(&mut self.inner, clone);
        ConditionFuture {
            step: Step::Asking {
                etag,
                last_modified,
                found_etag: None,
                found_last_modified: None,
                waiting: Some(Waiting {
                    inner,
                    request: Request::from_parts(head, body),
                    clock: self.settings.clock.clone(),
                }),
            },
        }
    }
}

/// Whether the validators make a difference to the answer.
fn matters(method: &Method, headers: &HeaderMap) -> bool {
    let is_conditional =
        || [IF_MATCH, IF_NONE_MATCH, IF_UNMODIFIED_SINCE].iter().any(|name| headers.contains_key(name));
    is_read(method) || (!has_no_preconditions(method) && is_conditional())
}

/// A request whose handler has not run yet.
struct Waiting<S, B> {
    inner: S,
    request: Request<B>,
    clock: Clock,
}

/// The headers that GET and HEAD responses get, in this order.
#[derive(Default)]
struct Added {
    last_modified: Option<HeaderValue>,
    etag: Option<HeaderValue>,
}

impl Added {
    /// Puts them beside those that are there, which win (CON-21).
    fn add_to(self, headers: &mut HeaderMap) {
        for (name, value) in [(LAST_MODIFIED, self.last_modified), (ETAG, self.etag)] {
            if let Some(value) = value {
                headers.entry(name).or_insert(value);
            }
        }
    }
}

pin_project! {
    /// The future of a [`Condition`].
    pub struct ConditionFuture<S, B, EF, LF>
    where
        S: Service<Request<B>>,
        EF: Future,
        LF: Future,
    {
        #[pin]
        step: Step<S, B, EF, LF>,
    }
}

pin_project! {
    #[project = StepPinned]
    enum Step<S, B, EF, LF>
    where
        S: Service<Request<B>>,
        EF: Future,
        LF: Future,
    {
        Asking {
            #[pin]
            etag: EF,
            #[pin]
            last_modified: LF,
            found_etag: Option<EF::Output>,
            found_last_modified: Option<LF::Output>,
            waiting: Option<Waiting<S, B>>,
        },
        Answering {
            #[pin]
            inner: S::Future,
            added: Added,
        },
    }
}

impl<S, B, B2, EF, LF> Future for ConditionFuture<S, B, EF, LF>
where
    S: Service<Request<B>, Response = Response<B2>>,
    EF: Future<Output = Option<EntityTag>>,
    LF: Future<Output = Option<SystemTime>>,
    B2: Body,
{
    type Output = Result<Response<ConditionalBody<B2>>, S::Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut step = self.project().step;
        loop {
            match step.as_mut().project() {
                StepPinned::Asking { etag, last_modified, found_etag, found_last_modified, waiting } => {
                    poll_once(etag, found_etag, context);
                    poll_once(last_modified, found_last_modified, context);
                    let (Some(_), Some(_)) = (&found_etag, &found_last_modified) else { return Poll::Pending };
                    let waiting = waiting.take().expect("polled after it was ready");
                    match decide(&waiting, found_etag.take().flatten(), found_last_modified.take().flatten()) {
                        Decided::Answer(response) => return Poll::Ready(Ok(response)),
                        Decided::Run(added) => {
                            let Waiting { mut inner, request, .. } = waiting;
                            step.set(Step::Answering { inner: inner.call(request), added });
                        }
                    }
                }
                StepPinned::Answering { inner, added } => {
                    let mut response = ready!(inner.poll(context))?.map(ConditionalBody::untouched);
                    mem::take(added).add_to(response.headers_mut());
                    return Poll::Ready(Ok(response));
                }
            }
        }
    }
}

fn poll_once<F: Future>(future: Pin<&mut F>, found: &mut Option<F::Output>, context: &mut Context<'_>) {
    if found.is_none()
        && let Poll::Ready(output) = future.poll(context)
    {
        *found = Some(output);
    }
}

enum Decided<B: Body> {
    Answer(Response<ConditionalBody<B>>),
    Run(Added),
}

/// What comes of the validators that were found.
fn decide<S, B, B2: Body>(
    waiting: &Waiting<S, B>,
    etag: Option<EntityTag>,
    last_modified: Option<SystemTime>,
) -> Decided<B2> {
    let (method, headers) = (waiting.request.method(), waiting.request.headers());
    let there = Validators::new(etag.as_ref(), last_modified);
    let outcome = evaluate(method, headers, &there, waiting.clock.now());
    let added = if is_read(method) {
        Added { last_modified: last_modified.and_then(last_modified_value), etag: etag.map(HeaderValue::from) }
    } else {
        Added::default()
    };
    let (status, mut headers) = match outcome {
        Outcome::Proceed => return Decided::Run(added),
        Outcome::NotModified => (StatusCode::NOT_MODIFIED, HeaderMap::new()),
        Outcome::PreconditionFailed => {
            let path = waiting.request.uri().path();
            tracing::debug!(target: "larder", %method, path, asked = ?preconditions(headers), "precondition failed");
            (StatusCode::PRECONDITION_FAILED, precondition_failed_headers())
        }
    };
    added.add_to(&mut headers);
    let mut response = Response::new(ConditionalBody::empty());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Decided::Answer(response)
}

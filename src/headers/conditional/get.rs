//! `conditional_get()`: gives responses an entity tag and answers 304 where the client has the same already.
//! Applications put it around routes or around the cache; Django has it as `ConditionalGetMiddleware` (CON-1 to CON-12).

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::header::{ETAG, HeaderMap};
use http::response::Parts;
use http::{Extensions, Method, Request, Response, StatusCode};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::body::{ConditionalBody, Read, Reading};
use super::evaluate::{
    Outcome, evaluate_response, is_read, not_modified_headers, precondition_failed_headers, preconditions,
};
use super::tag::EntityTag;
use crate::clock::Clock;
use crate::headers::cache_control::has_directive;

/// The largest body that is hashed unless another limit is set: 8 MiB.
const LARGEST_HASHED: u64 = 8 * 1024 * 1024;

/// Answers conditional GET and HEAD requests by what the handler's response says of itself, and gives responses an entity
/// tag to say it with (Django's `ConditionalGetMiddleware` and `conditional_page`, CON-1 to CON-12).
///
/// - A complete success (2xx but 206) to GET without an `ETag` gets one: the hash of its body, [`EntityTag::of`]. Not if
///   it says `no-store`, and not if the body is empty, larger than 8 MiB ([`ConditionalGetLayer::limit`]), or of a size that
///   is not known beforehand. So bodies that stream are left alone.
/// - If the response is a success (2xx) with a tag or a date and the request's preconditions say that the client has it,
///   the answer is 304 without a body; if they do not hold, 412. See [`evaluate`](super::evaluate()) for the rules.
/// - HEAD is answered like GET where the response has validators of its own; it gets no tag, for it need not have the body.
/// - Requests with another method pass untouched: the handler has run already. For them there is
///   [`condition`](super::condition()).
///
/// Hashing reads the whole body before the first byte is sent. Put the layer inside of compression, which changes
/// the body behind the tag (the [page on layer order](crate::docs::layers) tells more).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use axum::{Router, body::Body, http::{Request, StatusCode}, routing::get};
/// use larder::conditional_get;
/// use tower::ServiceExt;
///
/// let app: Router = Router::new().route("/", get(|| async { "hello" })).layer(conditional_get());
/// let first = app.clone().oneshot(Request::get("/").body(Body::empty()).unwrap()).await.unwrap();
/// let tag = first.headers()["etag"].clone();
///
/// let again = Request::get("/").header("if-none-match", tag).body(Body::empty()).unwrap();
/// assert_eq!(app.oneshot(again).await.unwrap().status(), StatusCode::NOT_MODIFIED);
/// # }
/// ```
pub fn conditional_get() -> ConditionalGetLayer {
    ConditionalGetLayer { settings: Settings { clock: Clock::system(), limit: LARGEST_HASHED } }
}

/// The layer that [`conditional_get`] makes.
#[derive(Clone, Debug)]
pub struct ConditionalGetLayer {
    settings: Settings,
}

#[derive(Clone, Debug)]
struct Settings {
    clock: Clock,
    limit: u64,
}

impl ConditionalGetLayer {
    /// Hashes bodies of up to that many bytes; larger ones get no `ETag`. The default is 8 MiB, 0 hashes none.
    pub fn limit(mut self, bytes: u64) -> Self {
        self.settings.limit = bytes;
        self
    }

    /// Takes the time from this clock; the default is the system's. It only decides the century of dates whose year has
    /// two digits.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.settings.clock = clock;
        self
    }
}

impl<S> Layer<S> for ConditionalGetLayer {
    type Service = ConditionalGet<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ConditionalGet { inner, settings: self.settings.clone() }
    }
}

/// The service of [`conditional_get`].
#[derive(Clone, Debug)]
pub struct ConditionalGet<S> {
    inner: S,
    settings: Settings,
}

impl<S, B, B2> Service<Request<B>> for ConditionalGet<S>
where
    S: Service<Request<B>, Response = Response<B2>>,
    B2: Body,
{
    type Response = Response<ConditionalBody<B2>>;
    type Error = S::Error;
    type Future = ConditionalGetFuture<S::Future, B2>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let question = is_read(request.method()).then(|| Question {
            method: request.method().clone(),
            asked: preconditions(request.headers()),
            settings: self.settings.clone(),
        });
        if question.as_ref().is_some_and(Question::may_tag_and_answer) {
            request.extensions_mut().insert(TagsWhatHasNone);
        }
        ConditionalGetFuture { inner: self.inner.call(request), question, reading: None }
    }
}

/// Left on a request by a layer that gives a tag to what has none, and then answers 304 with it.
#[derive(Clone, Copy)]
struct TagsWhatHasNone;

/// Whether a page without a tag gets one further out, so that a cache has to leave the 304 to that layer: its own would
/// lack the tag (MID-36, RFC 9110 section 15.4.5).
pub(crate) fn is_tagged_further_out(request: &Extensions) -> bool {
    request.get::<TagsWhatHasNone>().is_some()
}

/// What a GET or HEAD request asked, and how to answer it.
struct Question {
    method: Method,
    asked: HeaderMap,
    settings: Settings,
}

pin_project! {
    /// The future of [`ConditionalGet`].
    pub struct ConditionalGetFuture<F, B>
    where
        B: Body,
    {
        #[pin]
        inner: F,
        question: Option<Question>,
        reading: Option<(Parts, Reading<B>)>,
    }
}

impl<F, B, E> Future for ConditionalGetFuture<F, B>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
{
    type Output = Result<Response<ConditionalBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let (mut parts, reading) = match this.reading.take() {
            Some(begun) => begun,
            None => {
                let (parts, body) = ready!(this.inner.poll(context))?.into_parts();
                let Some(question) = this.question else {
                    return Poll::Ready(Ok(Response::from_parts(parts, ConditionalBody::untouched(body))));
                };
                match question.size_to_hash(&parts, &body) {
                    None => return Poll::Ready(Ok(question.answer(parts, ConditionalBody::untouched(body)))),
                    Some(size) => (parts, Reading::new(body, size)),
                }
            }
        };
        let body = match reading.poll(context) {
            Err(reading) => {
                *this.reading = Some((parts, reading));
                return Poll::Pending;
            }
            Ok(Read::Whole(body)) => {
                parts.headers.insert(ETAG, EntityTag::of_pieces(body.pieces()).into());
                body
            }
            Ok(Read::Partly(body)) => body,
        };
        Poll::Ready(Ok(match this.question {
            Some(question) => question.answer(parts, body),
            None => Response::from_parts(parts, body),
        }))
    }
}

impl Question {
    /// Whether its answer may be a 304 with a tag that was made here. HEAD gets no tag, and most requests ask nothing.
    fn may_tag_and_answer(&self) -> bool {
        self.method == Method::GET && !self.asked.is_empty()
    }

    /// The size of the body if it is to be read and hashed (CON-1, CON-2).
    ///
    /// Only a complete success: a part has the tag of the whole (RFC 9110 section 15.3.7), and that of an error says nothing,
    /// because only a success is ever replaced (CON-3).
    fn size_to_hash<B: Body>(&self, parts: &Parts, body: &B) -> Option<u64> {
        let is_complete = parts.status.is_success() && parts.status != StatusCode::PARTIAL_CONTENT;
        if self.method != Method::GET || !is_complete || parts.headers.contains_key(ETAG) {
            return None;
        }
        let size = body.size_hint().exact().filter(|size| (1..=self.settings.limit).contains(size))?;
        (!has_directive(&parts.headers, "no-store")).then_some(size)
    }

    /// The response itself, or the 304 or 412 that takes its place.
    fn answer<B: Body>(&self, mut parts: Parts, body: ConditionalBody<B>) -> Response<ConditionalBody<B>> {
        let now = self.settings.clock.now();
        match evaluate_response(&self.method, &self.asked, parts.status, &parts.headers, now) {
            Outcome::Proceed => return Response::from_parts(parts, body),
            Outcome::NotModified => {
                parts.status = StatusCode::NOT_MODIFIED;
                parts.headers = not_modified_headers(&parts.headers);
            }
            Outcome::PreconditionFailed => {
                tracing::debug!(target: "larder", asked = ?self.asked, "precondition failed");
                parts.status = StatusCode::PRECONDITION_FAILED;
                parts.headers = precondition_failed_headers();
            }
        }
        Response::from_parts(parts, ConditionalBody::empty())
    }
}

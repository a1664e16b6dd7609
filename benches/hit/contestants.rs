//! Who answers the page in the hit bench: all get the same requests and give the same six headers and body.
//! The rounds in `benches/hit.rs` time them, `benches/hit/http.rs` puts them behind a socket.

use std::convert::Infallible;
use std::future::Future;
use std::task::{Context, Poll, Waker};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::get;
use http::header::{self, HeaderName, HeaderValue};
use http::{Request, Response, Uri};
use http_body::Body as _;
use http_body_util::{BodyExt, Full};
use larder::{Cache, CacheLayer};
use tower::{Layer, Service, service_fn};

/// The sizes of the page, in bytes.
pub const BODIES: [usize; 2] = [1024, 64 * 1024];

const PATH: &str = "/articles/2026/a-page";

/// One of those who answer.
pub struct Contestant {
    pub name: &'static str,
    answer: Box<dyn Fn(Vec<Request<Body>>) + Send + Sync>,
}

impl Contestant {
    fn new<S, B>(name: &'static str, body: usize, service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone + Send + Sync + 'static,
        B: http_body::Body<Data = Bytes, Error: std::fmt::Debug>,
    {
        let answer = move |requests: Vec<Request<Body>>| {
            at_once(async {
                for request in requests {
                    assert_eq!(ask(service.clone(), request).await, body);
                }
            });
        };
        let contestant = Contestant { name, answer: Box::new(answer) };
        contestant.answer(contestant.requests(10));
        contestant
    }

    /// Requests as a browser sends them, to be made before the clock runs.
    pub fn requests(&self, count: usize) -> Vec<Request<Body>> {
        (0..count).map(|_| request()).collect()
    }

    /// Answers each, one after the other.
    pub fn answer(&self, requests: Vec<Request<Body>>) {
        (self.answer)(requests);
    }

    /// Allocations that one more hit makes.
    pub fn allocations_of_a_hit(&self) -> u64 {
        let requests = self.requests(1);
        let before = super::counting::allocations();
        self.answer(requests);
        super::counting::allocations() - before
    }
}

/// Everybody; the bare axum route, which the others are compared with, first.
pub fn all(body: usize) -> Vec<Contestant> {
    let page = Bytes::from(vec![b'x'; body]);
    vec![
        Contestant::new("axum route", body, router(page.clone())),
        Contestant::new("tower service", body, bare(page.clone())),
        Contestant::new("larder outside", body, outside(page.clone())),
        Contestant::new("larder inside", body, inside(page)),
    ]
}

/// The bare axum route. `with_state` makes its handlers into services once, as `axum::serve` does for each connection;
/// without it axum makes them, and every layer on them, for each request.
pub fn router(page: Bytes) -> Router {
    route(page).with_state(())
}

fn route(page: Bytes) -> Router {
    Router::new().route(PATH, get(move || async move { (headers(), page) }))
}

/// A tower service without a router.
pub fn bare(
    page: Bytes,
) -> impl Service<Request<Body>, Response = Response<Full<Bytes>>, Error = Infallible, Future: Send> + Clone + Send + Sync
{
    service_fn(move |_request: Request<Body>| {
        let mut response = Response::new(Full::new(page.clone()));
        response.headers_mut().extend(headers());
        std::future::ready(Ok(response))
    })
}

/// The layer around the router: a hit does not reach it.
pub fn outside(page: Bytes) -> larder::CacheService<Router> {
    CacheLayer::per_site().cache(&Cache::memory()).layer(router(page))
}

/// The layer on the router's routes: a hit is routed first.
pub fn inside(page: Bytes) -> Router {
    route(page).layer(CacheLayer::per_site().cache(&Cache::memory())).with_state(())
}

fn headers() -> [(HeaderName, HeaderValue); 6] {
    let value = HeaderValue::from_static;
    [
        (header::CONTENT_TYPE, value("text/html; charset=utf-8")),
        (header::CACHE_CONTROL, value("max-age=3600")),
        (header::ETAG, value("\"5d8c72a5edda8d6a\"")),
        (header::LAST_MODIFIED, value("Wed, 21 Oct 2026 07:28:00 GMT")),
        (header::VARY, value("Accept-Encoding")),
        (header::X_FRAME_OPTIONS, value("DENY")),
    ]
}

/// The request as hyper makes it of a browser's: target and header values are slices of the buffer that was read into.
pub fn request() -> Request<Body> {
    let head = [
        (header::HOST, "www.example.com"),
        (header::USER_AGENT, "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
        (header::ACCEPT, "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
        (header::ACCEPT_ENCODING, "gzip, deflate, br, zstd"),
        (header::ACCEPT_LANGUAGE, "en-US,en;q=0.5"),
    ];
    let mut buffer: String = PATH.to_owned();
    buffer.extend(head.iter().map(|(_, value)| *value));
    let mut rest = Bytes::from(buffer);
    let target = Uri::from_maybe_shared(rest.split_to(PATH.len())).expect("the target is well-formed");
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = target;
    request.headers_mut().reserve(head.len());
    for (name, value) in head {
        let value = HeaderValue::from_maybe_shared(rest.split_to(value.len())).expect("the value is well-formed");
        request.headers_mut().insert(name, value);
    }
    request
}

async fn ask<S, B>(mut service: S, request: Request<Body>) -> usize
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
    B: http_body::Body<Data = Bytes, Error: std::fmt::Debug>,
{
    let Ok(()) = std::future::poll_fn(|context| service.poll_ready(context)).await;
    let Ok(response) = service.call(request).await;
    let mut body = std::pin::pin!(response.into_body());
    let mut size = 0;
    while let Some(frame) = body.frame().await {
        size += frame.expect("a body from memory does not fail").data_ref().map_or(0, Bytes::len);
    }
    debug_assert!(body.is_end_stream());
    size
}

/// Runs a future that never waits, without a runtime in the measurement.
fn at_once<F: Future>(future: F) -> F::Output {
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a page from memory is there at once"),
    }
}

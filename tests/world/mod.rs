//! What the tests of the page floor stand on: stores, a handler that counts, and answers that can be looked into.
//! Each program that includes it says which stores: a `mod chosen` with `worlds()`.
#![allow(dead_code, reason = "each test program uses a part of it")]

mod apart;
mod at_work;
mod cache_status;
mod forward;
pub mod gated;
mod script;
mod text;

use std::convert::Infallible;
use std::fmt;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Empty, Full};
use larder::backend::{Backend, Memory};
use larder::{Cache, CacheLayer, ManualClock, Timestamp};
use tower::{Service, ServiceExt};

#[allow(unused_imports, reason = "each test program uses a part of it")]
pub use apart::Apart;
pub use cache_status::CacheStatus;
#[allow(unused_imports, reason = "each test program uses a part of it")]
pub(crate) use forward::forward;
#[allow(unused_imports, reason = "each test program uses a part of it")]
pub use script::{Broken, Script, Step};
pub use text::Text;

#[allow(unused_imports, reason = "each test program uses a part of it")]
pub use crate::chosen::worlds;

/// A cache on a clock that stands still.
pub struct World {
    pub name: &'static str,
    pub cache: Cache,
    pub hands: ManualClock,
    /// The store with textual keys, where the cache is on one.
    pub text: Option<Text>,
}

/// Memory, which keeps pages as objects.
pub fn memory_world() -> World {
    let hands = ManualClock::at(Timestamp::from_secs(1_700_000_000));
    World { name: "memory", cache: Cache::new(Memory::with_clock(hands.clock())), hands, text: None }
}

/// A store that answers later under textual keys.
pub fn text_world() -> World {
    let hands = ManualClock::at(Timestamp::from_secs(1_700_000_000));
    let text = Text::new(hands.clock());
    World { name: "text", cache: Cache::new(text.clone()), hands, text: Some(text) }
}

pub fn world_on(backend: impl Backend, hands: ManualClock) -> World {
    World { name: "other", cache: Cache::new(backend), hands, text: None }
}

impl World {
    /// A layer on this cache that says what it does.
    pub fn site(&self) -> CacheLayer {
        CacheLayer::per_site().cache(&self.cache).cache_status("larder")
    }

    /// A handler behind such a layer.
    pub fn around(&self, handler: &Handler) -> larder::CacheService<Handler> {
        tower::Layer::layer(&self.site(), handler.clone())
    }

    /// Whether every variant has a place of its own, whatever the key scheme: Django's keys run some together, and those
    /// then push each other out of a store with textual keys.
    pub fn keeps_apart(&self, scheme: larder::KeyScheme) -> bool {
        scheme == larder::KeyScheme::Sha256 || self.name == "memory"
    }

    pub fn wait(&self, seconds: u64) {
        self.hands.advance(Duration::from_secs(seconds));
    }
}

type Answers = dyn Fn(&Parts, usize) -> Response<Full<Bytes>> + Send + Sync;

/// A plain service that counts how often it was asked.
#[derive(Clone)]
pub struct Handler {
    calls: Arc<AtomicUsize>,
    answers: Arc<Answers>,
}

impl Handler {
    /// Answers what the function makes of the request and of the number of the call, counted from 1.
    pub fn new(answers: impl Fn(&Parts, usize) -> Response<Full<Bytes>> + Send + Sync + 'static) -> Self {
        Handler { calls: Arc::default(), answers: Arc::new(answers) }
    }

    /// Answers `answer 1`, `answer 2` … with these header lines.
    pub fn saying(lines: &[(&str, &str)]) -> Self {
        let lines = header_map(lines);
        Handler::new(move |_, call| {
            let mut response = page(format!("answer {call}"));
            response.headers_mut().extend(lines.clone());
            response
        })
    }

    /// How often it was asked.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

impl<B> Service<Request<B>> for Handler {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        ready(Ok((self.answers)(&request.into_parts().0, call)))
    }
}

pub fn page(body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    Response::new(Full::new(body.into()))
}

pub fn header_map(lines: &[(&str, &str)]) -> HeaderMap {
    lines
        .iter()
        .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap()))
        .fold(HeaderMap::new(), |mut headers, (name, value)| {
            headers.append(name, value);
            headers
        })
}

/// Header lines as a test writes them down.
pub type Lines<'a> = &'a [(&'a str, &'a str)];

pub type Plain = Request<Empty<Bytes>>;

pub fn request(method: Method, url: &str, lines: &[(&str, &str)]) -> Plain {
    let mut request = Request::builder().method(method).uri(url).body(Empty::new()).unwrap();
    *request.headers_mut() = header_map(lines);
    request
}

pub fn get(url: &str) -> Plain {
    request(Method::GET, url, &[])
}

pub fn get_with(url: &str, lines: &[(&str, &str)]) -> Plain {
    request(Method::GET, url, lines)
}

pub fn head(url: &str) -> Plain {
    request(Method::HEAD, url, &[])
}

/// The URL where the tests are at home.
pub const HOME: &str = "http://example.com/home";

/// What came back, read to its end.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn lines(&self, name: &str) -> Vec<&str> {
        self.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
    }

    /// The value of a header that is there once, or empty.
    pub fn header(&self, name: &str) -> &str {
        let lines = self.lines(name);
        assert!(lines.len() < 2, "{name} comes {} times", lines.len());
        lines.first().copied().unwrap_or_default()
    }

    /// What the innermost cache says; `Cache-Status` must be well-formed.
    pub fn cache_status(&self) -> CacheStatus {
        CacheStatus::of(&self.headers).into_iter().next_back().expect("there is a Cache-Status")
    }

    pub fn is_hit(&self) -> bool {
        self.cache_status().is_hit
    }

    /// The reason in `Cache-Status`; empty if there is none.
    pub fn reason(&self) -> String {
        self.cache_status().detail.unwrap_or_default()
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} {:?}", self.status, self.headers, self.body)
    }
}

/// Asks, and reads the answer to its end.
pub async fn ask<S, B, B2>(service: &S, request: Request<B>) -> Answer
where
    S: Service<Request<B>, Response = Response<B2>> + Clone,
    S::Error: fmt::Debug,
    B2: Body,
    B2::Error: fmt::Debug,
{
    let (parts, body) = service.clone().oneshot(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer { status: parts.status, headers: parts.headers, body }
}

/// Lets everything that is ready run, such as a page being stored in the background, and waits for the stores that are
/// still at work.
pub async fn settle() {
    for _ in 0..64 {
        tokio::task::yield_now().await;
        at_work::idle().await;
    }
}

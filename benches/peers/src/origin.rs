//! What all contestants cache: an axum router with one page of six headers, and the request for it.
//! `contestants.rs` puts it behind each cache; the runs ask it how often its handler ran.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::get;
use http::header::{self, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::Full;
use tower::{Service, service_fn};

/// Where the quick page is.
pub const PATH: &str = "/articles/2026/a-page";

/// What the handler answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Answer {
    /// 200, fresh for an hour.
    Storable,
    /// 404 that forbids storing.
    NotStorable,
    /// 200 that forbids storing.
    NoStore,
}

#[derive(Clone)]
pub struct Origin {
    page: Bytes,
    answer: Answer,
    /// How long the handler takes.
    delay: Option<Duration>,
    /// Counting would slow the bare route where two tasks ask, and so flatter everybody else.
    is_counting: Arc<AtomicBool>,
    executions: Arc<AtomicUsize>,
}

impl Origin {
    /// A handler that has the page at hand.
    pub fn quick(size: usize) -> Self {
        Origin {
            page: Bytes::from(vec![b'x'; size]),
            answer: Answer::Storable,
            delay: None,
            is_counting: Arc::default(),
            executions: Arc::default(),
        }
    }

    pub fn slow(size: usize, delay: Duration, answer: Answer) -> Self {
        Origin { answer, delay: Some(delay), ..Origin::quick(size) }
    }

    pub fn size(&self) -> usize {
        self.page.len()
    }

    /// How often the handler runs from now on is asked with `executions`.
    pub fn start_counting(&self) {
        self.executions.store(0, Ordering::SeqCst);
        self.is_counting.store(true, Ordering::SeqCst);
    }

    /// How often the handler ran since `start_counting`; counting ends.
    pub fn executions(&self) -> usize {
        self.is_counting.store(false, Ordering::SeqCst);
        self.executions.load(Ordering::SeqCst)
    }

    /// A route, to put a layer on.
    pub fn routes(&self) -> Router {
        match self.delay {
            None => {
                let origin = self.clone();
                Router::new().route(
                    PATH,
                    get(move || async move {
                        origin.note();
                        (headers("max-age=3600"), origin.page)
                    }),
                )
            }
            Some(delay) => {
                let origin = self.clone();
                Router::new().route(
                    "/cold/{number}",
                    get(move || async move {
                        origin.note();
                        tokio::time::sleep(delay).await;
                        let (status, control) = match origin.answer {
                            Answer::Storable => (StatusCode::OK, "max-age=3600"),
                            Answer::NotStorable => (StatusCode::NOT_FOUND, "no-store"),
                            Answer::NoStore => (StatusCode::OK, "no-store"),
                        };
                        (status, headers(control), origin.page)
                    }),
                )
            }
        }
    }

    /// The route as a server has it. `with_state` makes its handlers into services once, as `axum::serve` does for each
    /// connection; without it axum makes them, and every layer on them, for each request.
    pub fn router(&self) -> Router {
        self.routes().with_state(())
    }

    /// The quick page without a router.
    pub fn bare(
        &self,
    ) -> impl Service<Request<Body>, Response = Response<Full<Bytes>>, Error = std::convert::Infallible, Future: Send>
    + Clone
    + Send
    + Sync
    + 'static {
        let page = self.page.clone();
        service_fn(move |_request: Request<Body>| {
            let mut response = Response::new(Full::new(page.clone()));
            response.headers_mut().extend(headers("max-age=3600"));
            std::future::ready(Ok(response))
        })
    }

    fn note(&self) {
        if self.is_counting.load(Ordering::Relaxed) {
            self.executions.fetch_add(1, Ordering::SeqCst);
        }
    }
}

fn headers(cache_control: &'static str) -> [(HeaderName, HeaderValue); 6] {
    let value = HeaderValue::from_static;
    [
        (header::CONTENT_TYPE, value("text/html; charset=utf-8")),
        (header::CACHE_CONTROL, value(cache_control)),
        (header::ETAG, value("\"5d8c72a5edda8d6a\"")),
        (header::LAST_MODIFIED, value("Wed, 21 Oct 2026 07:28:00 GMT")),
        (header::VARY, value("Accept-Encoding")),
        (header::X_FRAME_OPTIONS, value("DENY")),
    ]
}

/// The request as hyper makes it of a browser's: target and header values are slices of the buffer that was read into.
pub fn request(target: &str) -> Request<Body> {
    let head = [
        (header::HOST, "www.example.com"),
        (header::USER_AGENT, "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
        (header::ACCEPT, "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
        (header::ACCEPT_ENCODING, "gzip, deflate, br, zstd"),
        (header::ACCEPT_LANGUAGE, "en-US,en;q=0.5"),
    ];
    let mut buffer: String = target.to_owned();
    buffer.extend(head.iter().map(|(_, value)| *value));
    let mut rest = Bytes::from(buffer);
    let uri = Uri::from_maybe_shared(rest.split_to(target.len())).expect("the target is well-formed");
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = uri;
    request.headers_mut().reserve(head.len());
    for (name, value) in head {
        let value = HeaderValue::from_maybe_shared(rest.split_to(value.len())).expect("the value is well-formed");
        request.headers_mut().insert(name, value);
    }
    request
}

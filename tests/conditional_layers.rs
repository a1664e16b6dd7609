//! `condition(..)`, `etag(..)` and `last_modified(..)` over plain tower services and over axum: the forms of the
//! functions, when they are asked, what the handler sees and what the client gets.

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::Path;
use axum::handler::Handler;
use axum::routing::{any, get};
use axum::{RequestPartsExt, Router};
use bytes::Bytes;
use http::header::{ETAG, LAST_MODIFIED};
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use larder::headers::{ConditionalBody, EntityTag};
use larder::{Timestamp, condition, etag, last_modified};
use tokio::sync::Notify;
use tower::{Layer, Service, ServiceExt, service_fn};

const MODIFIED: &str = "Sun, 21 Oct 2007 23:21:47 GMT";

fn modified(_: &Parts) -> Option<SystemTime> {
    Some(UNIX_EPOCH + Duration::from_secs(1_193_008_907))
}

fn request(method: &str, headers: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::builder().method(method).uri("/articles/7");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

fn axum_request(method: &str, headers: &[(&str, &str)]) -> Request<axum::body::Body> {
    request(method, headers).map(|()| axum::body::Body::empty())
}

/// Counts how often it runs, and answers "hello" with the given headers.
fn handler(
    ran: &Arc<AtomicUsize>,
    headers: &'static [(&'static str, &'static str)],
) -> impl Service<Request<()>, Response = Response<Full<Bytes>>, Error = Infallible, Future: Send> + Clone + Send + use<>
{
    let ran = Arc::clone(ran);
    service_fn(move |_: Request<()>| {
        ran.fetch_add(1, Ordering::Relaxed);
        let mut response = Response::builder();
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        std::future::ready(Ok(response.body(Full::from("hello")).unwrap()))
    })
}

async fn body_of<B: Body<Error: std::fmt::Debug>>(response: Response<B>) -> Bytes {
    response.into_body().collect().await.unwrap().to_bytes()
}

async fn by_name(head: Parts) -> Option<String> {
    Some(head.uri.path().to_owned())
}

#[tokio::test]
async fn a_function_answers_at_once_or_later_from_a_borrowed_or_an_owned_head() {
    type Inner = tower::util::BoxCloneService<Request<()>, Response<Full<Bytes>>, Infallible>;
    async fn tag_of<L>(layer: L) -> String
    where
        L: Layer<Inner>,
        L::Service: Service<Request<()>, Response = Response<ConditionalBody<Full<Bytes>>>, Error = Infallible>,
    {
        let service = layer.layer(Inner::new(handler(&Arc::default(), &[])));
        let response = service.oneshot(request("GET", &[])).await.unwrap();
        response.headers()[ETAG].to_str().unwrap().to_owned()
    }
    fn named(head: &Parts) -> Option<String> {
        Some(head.uri.path().to_owned())
    }
    let path = "\"/articles/7\"";
    assert_eq!(tag_of(etag(named)).await, path);
    assert_eq!(tag_of(etag(|head: &Parts| Some(head.uri.path().to_owned()))).await, path);
    assert_eq!(tag_of(etag(|_: &Parts| Some("v42"))).await, "\"v42\"");
    assert_eq!(tag_of(etag(|_: &Parts| Some(EntityTag::from("W/\"v\"")))).await, "W/\"v\"");
    assert_eq!(tag_of(etag(by_name)).await, path);
    assert_eq!(tag_of(etag(async |head: Parts| Some(head.uri.path().to_owned()))).await, path);
    assert_eq!(tag_of(etag(|head: Parts| async move { Some(head.uri.path().to_owned()) })).await, path);
    let later = |head: &Parts| {
        let path = head.uri.path().to_owned();
        async move {
            tokio::task::yield_now().await;
            Some(path)
        }
    };
    assert_eq!(tag_of(etag(later)).await, path);
    assert_eq!(tag_of(condition(later, modified)).await, path);
}

#[tokio::test]
async fn last_modified_takes_any_time() {
    let ran = Arc::default();
    let service = last_modified(|_: &Parts| Some(Timestamp::from_nanos(1_193_008_907_999_999_999)));
    let response = service.layer(handler(&ran, &[])).oneshot(request("GET", &[])).await.unwrap();
    assert_eq!(response.headers()[LAST_MODIFIED], MODIFIED);
    assert!(!response.headers().contains_key(ETAG));

    let service = last_modified(modified).layer(handler(&ran, &[]));
    let known = request("GET", &[("if-modified-since", MODIFIED)]);
    assert_eq!(service.oneshot(known).await.unwrap().status(), StatusCode::NOT_MODIFIED);
    assert_eq!(ran.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn con_14_to_17_an_early_answer_is_empty_and_the_handler_does_not_run() {
    let ran = Arc::default();
    let service = condition(|_: &Parts| Some("v42"), modified).layer(handler(&ran, &[("x-other", "1")]));
    for (method, field, value, status, names) in [
        ("GET", "if-none-match", "\"v42\"", 304, &["last-modified", "etag"][..]),
        ("HEAD", "if-modified-since", MODIFIED, 304, &["last-modified", "etag"]),
        ("GET", "if-match", "\"v41\"", 412, &["content-type", "last-modified", "etag"]),
        ("PUT", "if-match", "\"v41\"", 412, &["content-type"]),
        ("PUT", "if-none-match", "*", 412, &["content-type"]),
        ("DELETE", "if-unmodified-since", "Sat, 20 Oct 2007 23:21:47 GMT", 412, &["content-type"]),
    ] {
        let response = service.clone().oneshot(request(method, &[(field, value)])).await.unwrap();
        assert_eq!(response.status(), status, "{method} {field}");
        let got: Vec<&str> = response.headers().keys().map(http::HeaderName::as_str).collect();
        assert_eq!(got, names, "{method} {field}");
        assert!(body_of(response).await.is_empty());
    }
    assert_eq!(ran.load(Ordering::Relaxed), 0);
    let response = service.oneshot(request("PUT", &[("if-match", "\"v42\"")])).await.unwrap();
    assert_eq!(body_of(response).await, "hello");
    assert_eq!(ran.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn con_21_the_handlers_own_validators_win() {
    let ran = Arc::default();
    let own = handler(&ran, &[("etag", "\"own\""), ("last-modified", "Sat, 20 Oct 2007 23:21:47 GMT")]);
    let response = condition(|_: &Parts| Some("v42"), modified).layer(own).oneshot(request("GET", &[])).await.unwrap();
    assert_eq!(response.headers()[ETAG], "\"own\"");
    assert_eq!(response.headers()[LAST_MODIFIED], "Sat, 20 Oct 2007 23:21:47 GMT");
}

#[tokio::test]
async fn functions_are_asked_only_where_something_comes_of_it() {
    let (ran, asked) = (Arc::default(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&asked);
    let service = etag(move |_: &Parts| {
        counted.fetch_add(1, Ordering::Relaxed);
        Some("v42")
    })
    .layer(handler(&ran, &[]));
    for (method, headers, times) in [
        ("GET", &[][..], 1),
        ("HEAD", &[], 1),
        ("PUT", &[], 0),
        ("PUT", &[("if-modified-since", MODIFIED)], 0),
        ("PUT", &[("if-none-match", "\"x\"")], 1),
        ("OPTIONS", &[("if-none-match", "\"v42\"")], 0),
    ] {
        asked.store(0, Ordering::Relaxed);
        let response = service.clone().oneshot(request(method, headers)).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(asked.load(Ordering::Relaxed), times, "{method} {headers:?}");
    }
    assert_eq!(ran.load(Ordering::Relaxed), 6);
}

#[test]
fn both_functions_are_asked_at_the_same_time_and_the_handler_waits() {
    let (ran, tag_gate, date_gate) = (Arc::default(), Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tag_waits, date_waits) = (Arc::clone(&tag_gate), Arc::clone(&date_gate));
    let layer = condition(
        move |_: &Parts| {
            let gate = Arc::clone(&tag_waits);
            async move {
                gate.notified().await;
                Some("v42")
            }
        },
        move |head: &Parts| {
            let (gate, found) = (Arc::clone(&date_waits), modified(head));
            async move {
                gate.notified().await;
                found
            }
        },
    );
    let mut service = layer.layer(handler(&ran, &[]));
    let mut future = pin!(service.call(request("GET", &[])));
    let mut context = Context::from_waker(Waker::noop());
    assert!(future.as_mut().poll(&mut context).is_pending());
    tag_gate.notify_one();
    date_gate.notify_one();
    assert_eq!(ran.load(Ordering::Relaxed), 0);
    let Poll::Ready(Ok(response)) = future.as_mut().poll(&mut context) else { panic!("both have answered") };
    assert_eq!(response.headers()[ETAG], "\"v42\"");
    assert_eq!(response.headers()[LAST_MODIFIED], MODIFIED);
    assert_eq!(ran.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn the_service_that_was_ready_is_the_one_that_is_called() {
    /// Must be polled ready before each call; a clone is not ready.
    struct Careful(bool);
    impl Clone for Careful {
        fn clone(&self) -> Self {
            Careful(false)
        }
    }
    impl Service<Request<()>> for Careful {
        type Response = Response<Full<Bytes>>;
        type Error = &'static str;
        type Future = std::future::Ready<Result<Self::Response, Self::Error>>;
        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            self.0 = true;
            Poll::Ready(Ok(()))
        }
        fn call(&mut self, _: Request<()>) -> Self::Future {
            assert!(std::mem::take(&mut self.0), "called without being ready");
            std::future::ready(Err("down"))
        }
    }
    let mut service = etag(|_: &Parts| Some("v42")).layer(Careful(false));
    for method in ["GET", "POST", "GET"] {
        let response = service.ready().await.unwrap().call(request(method, &[])).await;
        assert_eq!(response.unwrap_err(), "down");
    }
}

#[tokio::test]
async fn nothing_need_be_send() {
    let held = Rc::new(());
    let inside = Rc::clone(&held);
    let inner = service_fn(move |_: Request<()>| {
        let held = Rc::clone(&inside);
        async move {
            let _held = held;
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("hello")))
        }
    });
    let layer = etag(move |_: &Parts| {
        let held = Rc::clone(&held);
        async move { Some(format!("{}", Rc::strong_count(&held) > 0)) }
    });
    let response = layer.layer(inner).oneshot(request("GET", &[])).await.unwrap();
    assert_eq!(response.headers()[ETAG], "\"true\"");
}

#[tokio::test]
async fn the_layer_works_on_axums_router_method_router_and_handler() {
    async fn version(mut head: Parts) -> Option<String> {
        let Path(article) = head.extract::<Path<u64>>().await.ok()?;
        Some(format!("{article}-v1"))
    }
    static RAN: AtomicBool = AtomicBool::new(false);
    async fn article() -> &'static str {
        RAN.store(true, Ordering::Relaxed);
        "hello"
    }
    let layer = condition(version, modified);
    for app in [
        Router::new().route("/articles/{id}", get(article).put(article).layer(layer.clone())),
        Router::new().route("/articles/{id}", any(article.layer(layer.clone()))),
        Router::new().route("/articles/{id}", any(article)).route_layer(layer),
    ] {
        let first = app.clone().oneshot(axum_request("GET", &[])).await.unwrap();
        assert_eq!(
            (&first.headers()[ETAG], &first.headers()[LAST_MODIFIED]),
            (&"\"7-v1\"".parse().unwrap(), &MODIFIED.parse().unwrap())
        );
        assert_eq!(body_of(first).await, "hello");
        for (method, field, status) in
            [("GET", "if-none-match", 304), ("HEAD", "if-none-match", 304), ("PUT", "if-none-match", 412)]
        {
            RAN.store(false, Ordering::Relaxed);
            let response = app.clone().oneshot(axum_request(method, &[(field, "\"7-v1\"")])).await.unwrap();
            assert_eq!(response.status(), status, "{method}");
            assert!(!RAN.load(Ordering::Relaxed));
        }
        let stale = app.clone().oneshot(axum_request("PUT", &[("if-match", "\"7-v0\"")])).await.unwrap();
        assert_eq!(stale.status(), StatusCode::PRECONDITION_FAILED);
        let response = app.oneshot(axum_request("PUT", &[("if-match", "\"7-v1\"")])).await.unwrap();
        assert_eq!((response.status(), response.headers().contains_key(ETAG)), (StatusCode::OK, false));
        assert!(RAN.load(Ordering::Relaxed));
    }
}

#[tokio::test]
async fn around_a_whole_router_the_layer_answers_for_every_path() {
    let app: Router = Router::new().route("/articles/{id}", get(|| async { "hello" })).layer(etag(by_name));
    let response = app.clone().oneshot(axum_request("GET", &[("if-none-match", "\"/articles/7\"")])).await.unwrap();
    assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
    let elsewhere = Request::get("/none").body(axum::body::Body::empty()).unwrap();
    let response = app.oneshot(elsewhere).await.unwrap();
    assert_eq!((response.status(), &response.headers()[ETAG]), (StatusCode::NOT_FOUND, &"\"/none\"".parse().unwrap()));
}

#[tokio::test]
async fn what_streams_passes_untouched() {
    let inner = service_fn(|_: Request<()>| std::future::ready(Ok::<_, Infallible>(Response::new(Ticks(3)))));
    let response = etag(|_: &Parts| Some("v42")).layer(inner).oneshot(request("GET", &[])).await.unwrap();
    assert_eq!(response.headers()[ETAG], "\"v42\"");
    assert_eq!(response.body().size_hint().exact(), None);
    let mut body = response.into_body();
    for _ in 0..3 {
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "tick");
    }
    assert!(body.frame().await.is_none());
}

/// A body of so many pieces and of no known size.
struct Ticks(u8);

impl Body for Ticks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let left = self.0.checked_sub(1);
        self.0 = left.unwrap_or(0);
        Poll::Ready(left.map(|_| Ok(Frame::data(Bytes::from_static(b"tick")))))
    }
}

//! The layers that only change headers, and `conditional_get()`, over plain tower services and over axum.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, ETAG, EXPIRES, HeaderMap, HeaderValue, SET_COOKIE, VARY};
use http::{HeaderName, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use larder::headers::ConditionalBody;
use larder::{
    CacheControl, Clock, ManualClock, Timestamp, cache_control, conditional_get, never_cache, vary_on_cookie,
    vary_on_headers,
};
use tower::{Layer, Service, ServiceExt, service_fn};

/// The XXH3-128 of "hello".
const HELLO: &str = "\"b5e9c1ad071b3e7fc779cfaa5e523818\"";

fn clock() -> Clock {
    ManualClock::at(Timestamp::from_secs(1_468_749_600)).clock()
}

fn request(headers: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::get("/");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

async fn through<L>(layer: L, response: Response<&'static str>) -> HeaderMap
where
    L: Layer<tower::util::BoxCloneService<Request<()>, Response<&'static str>, Infallible>>,
    L::Service: Service<Request<()>, Response = Response<&'static str>, Error = Infallible>,
{
    let inner = service_fn(move |_: Request<()>| std::future::ready(Ok::<_, Infallible>(response.clone())));
    layer.layer(tower::util::BoxCloneService::new(inner)).oneshot(request(&[])).await.unwrap().headers().clone()
}

#[tokio::test]
async fn each_layer_patches_what_passes() {
    let own = || Response::builder().header(CACHE_CONTROL, "private").header(VARY, "Accept").body("").unwrap();
    let headers = through(cache_control(CacheControl::new().public().max_age(60)), own()).await;
    assert_eq!(headers[CACHE_CONTROL], "public, max-age=60");

    let headers = through(never_cache().clock(clock()), own()).await;
    assert_eq!(headers[CACHE_CONTROL], "private, max-age=0, no-cache, no-store, must-revalidate");
    assert_eq!(headers[EXPIRES], "Sun, 17 Jul 2016 10:00:00 GMT");

    assert_eq!(through(vary_on_cookie(), own()).await[VARY], "Accept, Cookie");
    assert_eq!(through(vary_on_headers(["accept", "X-A"]), own()).await[VARY], "Accept, X-A");
    assert_eq!(through(vary_on_headers(["*"]), own()).await[VARY], "*");
    assert_eq!(through(vary_on_headers([HeaderName::from_static("x-a")]), own()).await[VARY], "Accept, x-a");
    assert_eq!(through(vary_on_headers(Vec::<String>::new()), Response::new("")).await[VARY], "");
}

#[tokio::test]
async fn the_inner_service_need_be_neither_send_nor_clone_and_errors_pass() {
    let not_send = Rc::new(());
    let inner = service_fn(move |_: Request<()>| {
        let held = Rc::clone(&not_send);
        async move {
            let _held = held;
            Err::<Response<Full<Bytes>>, &str>("down")
        }
    });
    let service = vary_on_cookie().layer(conditional_get().layer(never_cache().layer(inner)));
    assert_eq!(service.oneshot(request(&[])).await.unwrap_err(), "down");
}

#[test]
#[should_panic(expected = "\"Accept Language\" is no header name")]
fn a_name_that_is_none_panics_where_it_is_written() {
    let _ = vary_on_headers(["Cookie", "Accept Language"]);
}

#[tokio::test]
async fn of_several_layers_on_a_route_the_innermost_patches_first() {
    let route = get(|| async { "hello" }).layer((
        cache_control(CacheControl::new().public().max_age(60)),
        vary_on_cookie(),
        vary_on_headers(["X-B"]),
        cache_control(CacheControl::new().private().max_age(600)),
    ));
    let app: Router = Router::new().route("/", route).layer(vary_on_headers(["Accept-Language"]));
    let response = app.oneshot(request(&[]).map(|()| axum::body::Body::empty())).await.unwrap();
    assert_eq!(response.headers()[CACHE_CONTROL], "max-age=60, public");
    assert_eq!(response.headers()[VARY], "X-B, Cookie, Accept-Language");
}

/// A body of given steps: a piece, a pause (`None`), or an error.
#[derive(Debug)]
struct Steps {
    steps: VecDeque<Option<Result<Frame<Bytes>, &'static str>>>,
    promised: Option<u64>,
}

impl Steps {
    fn new(promised: Option<u64>, steps: impl IntoIterator<Item = Option<Result<&'static str, &'static str>>>) -> Self {
        let frame = |piece: &'static str| Frame::data(Bytes::from_static(piece.as_bytes()));
        Steps { steps: steps.into_iter().map(|step| step.map(|step| step.map(frame))).collect(), promised }
    }
}

impl Body for Steps {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        match self.steps.pop_front() {
            None => Poll::Ready(None),
            Some(Some(step)) => Poll::Ready(Some(step)),
            Some(None) => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.promised.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

async fn conditional<B: Body>(response: Response<B>, asked: &[(&str, &str)]) -> Response<ConditionalBody<B>> {
    conditional_to(request(asked), response, 1024).await
}

async fn conditional_to<B: Body>(
    request: Request<()>,
    response: Response<B>,
    limit: u64,
) -> Response<ConditionalBody<B>> {
    let mut response = Some(response);
    let inner = service_fn(move |_: Request<()>| {
        let response = response.take();
        async move { response.ok_or("only once") }
    });
    conditional_get().limit(limit).clock(clock()).layer(inner).oneshot(request).await.unwrap()
}

fn hello() -> Response<Full<Bytes>> {
    Response::new(Full::from("hello"))
}

async fn text<B>(response: Response<B>) -> String
where
    B: Body,
    B::Error: std::fmt::Debug,
{
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn con_1_a_complete_success_gets_the_hash_of_its_body_as_tag() {
    for (status, tag) in [(200, Some(HELLO)), (201, Some(HELLO)), (206, None), (301, None), (404, None), (500, None)] {
        let mut response = hello();
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        let response = conditional(response, &[]).await;
        assert_eq!(response.headers().get(ETAG).map(|tag| tag.to_str().unwrap()), tag, "{status}");
        assert_eq!(response.status(), status);
        assert_eq!(response.body().size_hint().exact(), Some(5));
        assert_eq!(text(response).await, "hello");
    }
}

#[tokio::test]
async fn con_1_and_2_some_bodies_get_no_tag() {
    let with = |name: HeaderName, value: &'static str| {
        let mut response = hello();
        response.headers_mut().insert(name, HeaderValue::from_static(value));
        response
    };
    assert_eq!(conditional(with(ETAG, "eggs"), &[]).await.headers()[ETAG], "eggs");
    for no_store in ["No-Store", "private, no-store=1", "max-age=0,\tno-store "] {
        assert!(!conditional(with(CACHE_CONTROL, no_store), &[]).await.headers().contains_key(ETAG), "{no_store}");
    }
    assert!(conditional(with(CACHE_CONTROL, "x=\"no-store\", x-no-store"), &[]).await.headers().contains_key(ETAG));
    assert!(!conditional(Response::new(Full::<Bytes>::default()), &[]).await.headers().contains_key(ETAG));
    let streaming = Response::new(Steps::new(None, [Some(Ok("hello"))]));
    assert!(!conditional(streaming, &[]).await.headers().contains_key(ETAG));
    assert!(!conditional_to(request(&[]), hello(), 4).await.headers().contains_key(ETAG));
    assert!(conditional_to(request(&[]), hello(), 5).await.headers().contains_key(ETAG));
}

#[tokio::test]
async fn con_3_and_11_a_known_success_is_304_with_its_few_headers() {
    let mut response = hello();
    for (name, value) in [(CACHE_CONTROL, "public"), (SET_COOKIE, "a=1"), (http::header::CONTENT_TYPE, "text/plain")] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    let response = conditional(response, &[("if-none-match", HELLO)]).await;
    assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
    let names: Vec<&str> = response.headers().keys().map(HeaderName::as_str).collect();
    assert_eq!(names, ["cache-control", "etag", "set-cookie"]);
    assert!(response.body().is_end_stream());
    assert_eq!(text(response).await, "");

    let missing = Response::builder().status(404).header(ETAG, HELLO).body(Full::<Bytes>::from("hello")).unwrap();
    let response = conditional(missing, &[("if-none-match", HELLO)]).await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert_eq!(text(response).await, "hello");
}

#[tokio::test]
async fn con_4_other_methods_pass_untouched() {
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let asked = Request::builder().method(method).uri("/").header("if-none-match", "*").body(()).unwrap();
        let response = conditional_to(asked, hello(), 1024).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert!(response.headers().is_empty());
        assert_eq!(text(response).await, "hello");
    }
}

#[tokio::test]
async fn head_is_answered_by_the_validators_of_the_response_and_gets_no_tag() {
    let head = || Request::head("/").header("if-none-match", HELLO).body(()).unwrap();
    let tagged = Response::builder().header(ETAG, HELLO).header("x-other", "1").body(Full::<Bytes>::default()).unwrap();
    let response = conditional_to(head(), tagged, 1024).await;
    assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(response.headers().len(), 1);

    let response = conditional_to(head(), hello(), 1024).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert!(response.headers().is_empty());
}

#[tokio::test]
async fn con_7_a_streaming_response_with_validators_is_304_too() {
    let streaming = Response::builder()
        .header("last-modified", "Sun, 21 Oct 2007 23:21:47 GMT")
        .body(Steps::new(None, [Some(Err("never read"))]))
        .unwrap();
    let response = conditional(streaming, &[("if-modified-since", "Sunday, 21-Oct-07 23:21:47 GMT")]).await;
    assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(text(response).await, "");
}

#[tokio::test]
async fn con_9_what_was_not_asked_for_is_412() {
    let response = conditional(hello(), &[("if-match", "\"other\"")]).await;
    assert_eq!(response.status(), StatusCode::PRECONDITION_FAILED);
    assert!(!response.headers().contains_key(ETAG));
    assert_eq!(text(response).await, "");
}

#[tokio::test]
async fn a_body_that_comes_in_pieces_is_hashed_whole() {
    let pieces = [None, Some(Ok("he")), None, None, Some(Ok("llo")), None];
    let response = conditional(Response::new(Steps::new(Some(5), pieces)), &[]).await;
    assert_eq!(response.headers()[ETAG], HELLO);
    assert_eq!(text(response).await, "hello");
}

#[tokio::test]
async fn trailers_stay_with_a_body_that_was_read() {
    let mut body = Steps::new(Some(5), [Some(Ok("hello"))]);
    body.steps.push_back(Some(Ok(Frame::trailers(HeaderMap::from_iter([(ETAG, HeaderValue::from_static("t"))])))));
    let response = conditional(Response::new(body), &[]).await;
    let collected = response.into_body().collect().await.unwrap();
    assert_eq!(collected.trailers().unwrap()[ETAG], "t");
    assert_eq!(collected.to_bytes(), "hello");
}

#[tokio::test]
async fn a_body_that_fails_is_passed_on_with_its_error() {
    let failing = Steps::new(Some(5), [Some(Ok("he")), None, Some(Err("broken"))]);
    let response = conditional(Response::new(failing), &[]).await;
    assert!(!response.headers().contains_key(ETAG));
    let mut body = response.into_body();
    assert_eq!(body.size_hint().exact(), Some(5));
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "he");
    assert_eq!(body.frame().await.unwrap().unwrap_err(), "broken");
}

#[tokio::test]
async fn a_body_of_another_size_than_promised_is_passed_on_without_a_tag() {
    let short = conditional(Response::new(Steps::new(Some(9), [Some(Ok("hello"))])), &[]).await;
    assert!(!short.headers().contains_key(ETAG));
    assert_eq!(short.body().size_hint().exact(), Some(9));
    assert_eq!(text(short).await, "hello");

    let pieces = [Some(Ok("he")), Some(Ok("ll")), None, Some(Ok("o")), Some(Err("not read ahead"))];
    let long = conditional(Response::new(Steps::new(Some(3), pieces)), &[]).await;
    assert!(!long.headers().contains_key(ETAG));
    let mut body = long.into_body();
    for piece in ["he", "ll", "o"] {
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), piece);
    }
    assert_eq!(body.frame().await.unwrap().unwrap_err(), "not read ahead");
}

#[tokio::test]
async fn a_dropped_request_drops_its_body() {
    let polled = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&polled);
    let body = axum::body::Body::new(Steps::new(Some(5), [Some(Ok("he")), None, Some(Ok("llo"))]));
    let mut response = Some(Response::new(body));
    let inner = service_fn(move |_: Request<()>| {
        counted.fetch_add(1, Ordering::Relaxed);
        std::future::ready(Ok::<_, Infallible>(response.take().unwrap()))
    });
    let mut service = conditional_get().layer(inner);
    let mut future = Box::pin(service.call(request(&[])));
    let first = poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_pending())).await;
    assert!(first);
    drop(future);
    assert_eq!(polled.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn conditional_get_works_around_a_router_and_around_a_route() {
    let route = get(|| async { "hello" }).layer(conditional_get());
    for app in
        [Router::new().route("/", route), Router::new().route("/", get(|| async { "hello" })).layer(conditional_get())]
    {
        let ask = |asked: &[(&str, &str)]| app.clone().oneshot(request(asked).map(|()| axum::body::Body::empty()));
        let first = ask(&[]).await.unwrap();
        assert_eq!(first.headers()[ETAG], HELLO);
        assert_eq!(text(first).await, "hello");
        let again = ask(&[("if-none-match", HELLO)]).await.unwrap();
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        assert!(!again.headers().contains_key("content-type"));
    }
}

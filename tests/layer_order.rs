//! The order of layers, as `src/docs/layers.md` has it: each order that the page calls wrong, with what goes wrong, beside
//! the right one. In axum the layer that is added last stands outermost.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use axum::extract::Request;
use axum::handler::Handler;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use http::header::{
    ACCEPT_ENCODING, ACCEPT_LANGUAGE, CACHE_CONTROL, CONTENT_ENCODING, COOKIE, ETAG, HeaderMap, SET_COOKIE, VARY,
};
use http::{HeaderName, HeaderValue, StatusCode};
use http_body_util::BodyExt;
use larder::{
    Cache, CacheControl, CacheLayer, Language, LocaleLayer, TimeZone, TimeZoneLayer, cache_control, conditional_get,
    never_cache, vary_on_cookie, vary_on_headers,
};
use tower_http::compression::CompressionLayer;
use tower_http::trace::TraceLayer;

/// How often something ran.
#[derive(Clone, Default)]
struct Runs(Arc<AtomicUsize>);

impl Runs {
    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn one_more(&self) -> usize {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

async fn ask(app: &Router, headers: &[(HeaderName, &str)]) -> Answer {
    let mut request = Request::get("http://localhost/").body(Body::empty()).unwrap();
    for (name, value) in headers {
        request.headers_mut().append(name, value.parse().unwrap());
    }
    let (parts, body) = tower::ServiceExt::oneshot(app.clone(), request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes().to_vec();
    Answer { status: parts.status, headers: parts.headers, body }
}

/// A page at `/` that a closure makes of the request's head.
fn page<R: IntoResponse>(make: impl Fn(&Request) -> R + Clone + Send + Sync + 'static) -> (Router, Runs) {
    let runs = Runs::default();
    let counted = runs.clone();
    let handler = move |request: Request| {
        counted.one_more();
        std::future::ready(make(&request).into_response())
    };
    (Router::new().route("/", get(handler)), runs)
}

fn cache() -> CacheLayer {
    CacheLayer::per_site().cache(&Cache::memory())
}

fn cookie<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    let pairs = request.headers().get(COOKIE)?.to_str().ok()?.split("; ");
    pairs.filter_map(|pair| pair.split_once('=')).find(|(have, _)| *have == name).map(|(_, value)| value)
}

#[tokio::test]
async fn a_guard_inside_the_cache_guards_the_first_visitor_only() {
    async fn guard(request: Request, next: Next) -> Response {
        if cookie(&request, "user").is_none() {
            StatusCode::UNAUTHORIZED.into_response()
        } else {
            next.run(request).await
        }
    }
    let members_only = || page(|_| "for members");

    let wrong = members_only().0.layer(from_fn(guard)).layer(cache());
    assert_eq!(ask(&wrong, &[(COOKIE, "user=alice")]).await.status, StatusCode::OK);
    assert_eq!(ask(&wrong, &[]).await.text(), "for members");

    let (site, runs) = members_only();
    let right = site.layer(cache()).layer(from_fn(guard));
    for _ in 0..2 {
        assert_eq!(ask(&right, &[(COOKIE, "user=alice")]).await.text(), "for members");
    }
    assert_eq!(ask(&right, &[]).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(runs.count(), 1);
}

fn greeting() -> (Router, Runs) {
    page(|request| match request.extensions().get().map_or("en", Language::as_str) {
        "ja" => "こんにちは",
        _ => "hello",
    })
}

#[tokio::test]
async fn locale_inside_the_cache_splits_pages_by_spelling_and_misses_the_cookie() {
    let locale = || LocaleLayer::new(["en", "ja"]);

    let (site, runs) = greeting();
    let wrong = site.layer(locale()).layer(cache());
    for accepted in ["en", "en-GB,en;q=0.9"] {
        assert_eq!(ask(&wrong, &[(ACCEPT_LANGUAGE, accepted)]).await.text(), "hello");
    }
    assert_eq!(runs.count(), 2);
    assert_eq!(ask(&wrong, &[(ACCEPT_LANGUAGE, "en"), (COOKIE, "django_language=ja")]).await.text(), "hello");

    let (site, runs) = greeting();
    let right = site.layer(cache()).layer(locale());
    for accepted in ["en", "en-GB,en;q=0.9"] {
        assert_eq!(ask(&right, &[(ACCEPT_LANGUAGE, accepted)]).await.text(), "hello");
    }
    assert_eq!(runs.count(), 1);
    assert_eq!(ask(&right, &[(ACCEPT_LANGUAGE, "en"), (COOKIE, "django_language=ja")]).await.text(), "こんにちは");
}

#[tokio::test]
async fn the_time_zone_inside_the_cache_makes_a_page_for_each_visitor_or_mixes_zones_up() {
    let clock = || page(|request| request.extensions().get().map_or("UTC", TimeZone::as_str).to_owned());
    let by_cookie = || TimeZoneLayer::new().cookie("tz").default_zone("UTC");
    // What a layer further out knows of the visitor, without a header that says so.
    let by_account = || TimeZoneLayer::new().function(|request| Some(cookie_of(&request.headers)?.to_owned()));
    fn cookie_of(headers: &HeaderMap) -> Option<&str> {
        headers.get(COOKIE)?.to_str().ok()?.strip_prefix("tz=")?.split(';').next()
    }
    const VISITORS: [&str; 2] = ["tz=Asia/Tokyo; visitor=1", "tz=Asia/Tokyo; visitor=2"];

    let (site, runs) = clock();
    let wrong = site.layer(by_cookie()).layer(cache());
    for visitor in VISITORS {
        assert_eq!(ask(&wrong, &[(COOKIE, visitor)]).await.text(), "Asia/Tokyo");
    }
    assert_eq!(runs.count(), 2);

    let wrong = clock().0.layer(by_account()).layer(cache());
    assert_eq!(ask(&wrong, &[(COOKIE, "tz=Asia/Tokyo")]).await.text(), "Asia/Tokyo");
    assert_eq!(ask(&wrong, &[(COOKIE, "tz=Europe/Berlin")]).await.text(), "Asia/Tokyo");

    for layer in [by_cookie(), by_account()] {
        let (site, runs) = clock();
        let right = site.layer(cache()).layer(layer);
        for visitor in VISITORS {
            assert_eq!(ask(&right, &[(COOKIE, visitor)]).await.text(), "Asia/Tokyo");
        }
        assert_eq!(runs.count(), 1);
        assert_eq!(ask(&right, &[(COOKIE, "tz=Europe/Berlin")]).await.text(), "Europe/Berlin");
    }
}

#[tokio::test]
async fn compression_inside_the_cache_makes_streams_that_are_not_stored() {
    let long = || page(|_| "news ".repeat(100));
    let visit = async |app: &Router| {
        let packed = ask(app, &[(ACCEPT_ENCODING, "gzip")]).await;
        assert_eq!(packed.headers[CONTENT_ENCODING], "gzip");
        assert!(packed.body.len() < 100);
        assert_eq!(ask(app, &[]).await.text().len(), 500);
    };

    let (site, runs) = long();
    let wrong = site.layer(CompressionLayer::new()).layer(cache());
    visit(&wrong).await;
    visit(&wrong).await;
    assert_eq!(runs.count(), 3, "the plain page is stored, the packed one never");

    let (site, runs) = long();
    let wrong = site.layer(CompressionLayer::new()).layer(cache().store_streams(true));
    visit(&wrong).await;
    visit(&wrong).await;
    assert_eq!(runs.count(), 2, "stored once for each encoding");

    let (site, runs) = long();
    let right = site.layer(cache()).layer(CompressionLayer::new());
    visit(&right).await;
    visit(&right).await;
    assert_eq!(runs.count(), 1);
}

#[tokio::test]
async fn conditional_get_outside_of_compression_finds_nothing_to_hash() {
    let long = || page(|_| "news ".repeat(100)).0.layer(cache());
    let wrong = long().layer(CompressionLayer::new()).layer(conditional_get());
    assert!(!ask(&wrong, &[(ACCEPT_ENCODING, "gzip")]).await.headers.contains_key(ETAG));

    let right = long().layer(conditional_get()).layer(CompressionLayer::new());
    let first = ask(&right, &[(ACCEPT_ENCODING, "gzip")]).await;
    let tag = first.headers[ETAG].to_str().unwrap();
    let again = ask(&right, &[(ACCEPT_ENCODING, "gzip"), (http::header::IF_NONE_MATCH, tag)]).await;
    assert_eq!((again.status, again.body.len()), (StatusCode::NOT_MODIFIED, 0));
}

/// Gives each visitor without one a session, and says what the handler was told by it.
async fn session(runs: Runs, mut request: Request, next: Next) -> Response {
    let known = cookie(&request, "session").map(str::to_owned);
    let is_new = known.is_none();
    let id = known.unwrap_or_else(|| format!("s{}", runs.one_more()));
    request.extensions_mut().insert(Session(id.clone()));
    let mut response = next.run(request).await;
    if is_new {
        response.headers_mut().append(SET_COOKIE, HeaderValue::try_from(format!("session={id}")).unwrap());
    }
    response.headers_mut().append(VARY, HeaderValue::from_static("Cookie"));
    response
}

#[derive(Clone)]
struct Session(String);

macro_rules! sessions {
    () => {{
        let given = Runs::default();
        from_fn(move |request: Request, next: Next| session(given.clone(), request, next))
    }};
}

#[tokio::test]
async fn safety_7_a_layer_that_sets_a_cookie_inside_the_cache_keeps_pages_out_of_it() {
    let (site, runs) = page(|_| "the same for everybody");
    let wrong = site.layer(sessions!()).layer(cache());
    for _ in 0..3 {
        assert!(ask(&wrong, &[]).await.headers.contains_key(SET_COOKIE));
    }
    assert_eq!(runs.count(), 3);

    let (site, runs) = page(|_| "the same for everybody");
    let right = site.layer(cache()).layer(sessions!());
    for visitor in ["session=s1", "session=s2", "session=s3"] {
        assert_eq!(ask(&right, &[]).await.headers[SET_COOKIE], visitor, "each visitor gets a cookie of their own");
    }
    assert_eq!(runs.count(), 1);
}

#[tokio::test]
async fn a_vary_that_is_added_outside_of_the_cache_tells_nobody_apart_within() {
    async fn greet(Extension(Session(id)): Extension<Session>) -> String {
        format!("hello, {id}")
    }
    let wrong = Router::new().route("/", get(greet)).layer(cache()).layer(sessions!());
    assert_eq!(ask(&wrong, &[(COOKIE, "session=alice")]).await.text(), "hello, alice");
    let leaked = ask(&wrong, &[(COOKIE, "session=bob")]).await;
    assert_eq!((leaked.text(), &leaked.headers[VARY]), ("hello, alice", &HeaderValue::from_static("Cookie")));

    let private = || cache_control(CacheControl::new().private());
    let routes = [get(greet.layer(vary_on_cookie())), get(greet.layer(private())), get(greet.layer(never_cache()))];
    for route in routes {
        let right = Router::new().route("/", route).layer(cache()).layer(sessions!());
        for (visitor, hello) in [("session=alice", "hello, alice"), ("session=bob", "hello, bob")] {
            assert_eq!(ask(&right, &[(COOKIE, visitor)]).await.text(), hello);
        }
    }
}

#[tokio::test]
async fn a_form_with_a_token_is_shared_where_the_token_comes_from_outside() {
    /// A form whose token is the visitor's own, as a CSRF layer checks it against the cookie.
    async fn form(Extension(Session(token)): Extension<Session>) -> String {
        token
    }
    let newcomer = async |app: &Router| {
        let answer = ask(app, &[]).await;
        let cookie = answer.headers[SET_COOKIE].to_str().unwrap().strip_prefix("session=").unwrap().to_owned();
        (cookie, answer.text().to_owned())
    };
    // Varying on the cookie is not enough here: newcomers are alike, they have none.
    let wrong = Router::new().route("/", get(form.layer(vary_on_cookie()))).layer(cache()).layer(sessions!());
    let (cookie, token) = newcomer(&wrong).await;
    assert_eq!(cookie, token);
    let (cookie, token) = newcomer(&wrong).await;
    assert_ne!(cookie, token, "the second newcomer's form would be refused");

    let uncached = Router::new().route("/", get(form.layer(never_cache()))).layer(cache()).layer(sessions!());
    let inside = Router::new().route("/", get(form)).layer(sessions!()).layer(cache());
    for right in [uncached, inside] {
        for _ in 0..3 {
            let (cookie, token) = newcomer(&right).await;
            assert_eq!(cookie, token);
        }
    }
}

#[tokio::test]
async fn header_layers_outside_of_the_cache_change_what_is_sent_and_not_what_is_stored() {
    let price = || page(|request| request.headers().get("x-currency").map_or("10 USD", |_| "9 EUR"));
    const CURRENCY: HeaderName = HeaderName::from_static("x-currency");

    let wrong = price().0.layer(cache()).layer(vary_on_headers(["X-Currency"]));
    assert_eq!(ask(&wrong, &[]).await.text(), "10 USD");
    assert_eq!(ask(&wrong, &[(CURRENCY, "EUR")]).await.text(), "10 USD");

    let right = price().0.layer(vary_on_headers(["X-Currency"])).layer(cache());
    assert_eq!(ask(&right, &[]).await.text(), "10 USD");
    assert_eq!(ask(&right, &[(CURRENCY, "EUR")]).await.text(), "9 EUR");

    let (site, runs) = price();
    let wrong = site.layer(cache()).layer(never_cache());
    for _ in 0..2 {
        let answer = ask(&wrong, &[]).await;
        assert!(answer.headers[CACHE_CONTROL].to_str().unwrap().contains("no-store"));
    }
    assert_eq!(runs.count(), 1, "it says no-store, and is stored");

    let (site, runs) = price();
    let right = site.layer(never_cache()).layer(cache());
    for _ in 0..2 {
        ask(&right, &[]).await;
    }
    assert_eq!(runs.count(), 2);
}

#[tokio::test]
async fn trace_inside_the_cache_does_not_see_hits() {
    let seen = Runs::default();
    let trace = || {
        let seen = seen.clone();
        TraceLayer::new_for_http().on_request(move |_: &Request, _: &tracing::Span| {
            seen.one_more();
        })
    };
    let wrong = page(|_| "hello").0.layer(trace()).layer(cache());
    for _ in 0..3 {
        ask(&wrong, &[]).await;
    }
    assert_eq!(seen.count(), 1);

    let right = page(|_| "hello").0.layer(cache()).layer(trace());
    for _ in 0..3 {
        ask(&right, &[]).await;
    }
    assert_eq!(seen.count(), 1 + 3);
}

#[tokio::test]
async fn the_whole_onion_in_the_order_of_the_documentation() {
    let seen = Runs::default();
    let counted = seen.clone();
    let (site, runs) = greeting();
    let onion = site
        .layer(cache())
        .layer((LocaleLayer::new(["en", "ja"]), TimeZoneLayer::new().header("x-time-zone").default_zone("UTC")))
        .layer(sessions!())
        .layer(conditional_get())
        .layer(CompressionLayer::new())
        .layer(TraceLayer::new_for_http().on_request(move |_: &Request, _: &tracing::Span| {
            counted.one_more();
        }));
    for (accepted, hello) in
        [("en-GB", "hello"), ("en", "hello"), ("ja", "こんにちは"), ("ja-JP,en;q=0.5", "こんにちは")]
    {
        let answer = ask(&onion, &[(ACCEPT_LANGUAGE, accepted)]).await;
        assert_eq!(answer.text(), hello);
        assert!(answer.headers.contains_key(ETAG) && answer.headers.contains_key(SET_COOKIE));
        let varies = answer.headers.get_all(VARY).iter().map(|line| line.to_str().unwrap().to_lowercase());
        let varies = varies.collect::<Vec<_>>().join(", ");
        for name in ["accept-language", "x-time-zone", "cookie"] {
            assert!(varies.contains(name), "{name} in {varies}");
        }
    }
    assert_eq!((seen.count(), runs.count()), (4, 2));
}

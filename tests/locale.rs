//! `LocaleLayer` and `TimeZoneLayer`: what the real Django answered, plain tower services, axum, and a cache within.

use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::handler::Handler;
use axum::routing::{any, get};
use http::header::{ACCEPT_LANGUAGE, CONTENT_LANGUAGE, COOKIE, VARY};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::BodyExt;
use larder::{Cache, CacheLayer, Language, LocaleLayer, TimeZone, TimeZoneLayer};
use serde_json::Value;
use tower::{Layer, Service, ServiceExt, service_fn};

/// A service that is no axum: its body is the language and the zone it was given.
fn echo(request: Request<()>) -> std::future::Ready<Result<Response<String>, Infallible>> {
    let language = request.extensions().get().map_or("-", Language::as_str);
    let zone = request.extensions().get().map_or("-", TimeZone::as_str);
    std::future::ready(Ok(Response::new(format!("{language} {zone}"))))
}

type Echo = tower::util::ServiceFn<fn(Request<()>) -> std::future::Ready<Result<Response<String>, Infallible>>>;

async fn ask<L>(layer: &L, path: &str, headers: &[(&str, &str)]) -> (String, HeaderMap)
where
    L: Layer<Echo>,
    L::Service: Service<Request<()>, Response = Response<String>, Error = Infallible>,
{
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(*name, HeaderValue::from_bytes(&latin_1(value)).unwrap());
    }
    let inner: Echo = service_fn(echo);
    let response = layer.layer(inner).oneshot(request.body(()).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    (body, parts.headers)
}

fn latin_1(text: &str) -> Vec<u8> {
    text.chars().map(|char| u8::try_from(char).unwrap()).collect()
}

fn text(headers: &HeaderMap, name: http::HeaderName) -> Option<&str> {
    headers.get(name).map(|value| value.to_str().unwrap())
}

#[tokio::test]
async fn mid_31_the_language_is_the_one_that_django_finds() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("locale/django.json")).unwrap();
    assert!(cases.len() >= 600);
    for case in &cases {
        let languages = case["languages"].as_array().unwrap().iter().map(|code| code.as_str().unwrap());
        let layer = LocaleLayer::new(languages).default_language(case["default"].as_str().unwrap());
        let layer = match case["prefix"].as_str().unwrap() {
            "none" => layer,
            "all" => layer.path_prefix(),
            _ => layer.path_prefix_except_default(),
        };
        let mut headers = Vec::new();
        headers.extend(case["accept_language"].as_str().map(|value| ("accept-language", value)));
        headers.extend(case["cookie"].as_str().map(|value| ("cookie", value)));
        let (body, answered) = ask(&layer, case["path"].as_str().unwrap(), &headers).await;
        assert_eq!(body.split(' ').next(), case["language"].as_str(), "{case}");
        assert_eq!(text(&answered, CONTENT_LANGUAGE), case["content_language"].as_str(), "{case}");
        assert_eq!(text(&answered, VARY), case["vary"].as_str(), "{case}");
    }
}

#[tokio::test]
async fn case_never_counts() {
    let layer = LocaleLayer::new(["EN", "zh-Hans", "zh-Hant"]).path_prefix();
    for (path, cookie, language) in [
        ("/zh-TW/", "", "zh-hant"),
        ("/EN/", "", "en"),
        ("/", "django_language=zh-HK", "zh-hant"),
        ("/", "django_language=ZH", "zh-hans"),
    ] {
        let (body, headers) = ask(&layer, path, &[("cookie", cookie)]).await;
        assert_eq!(body, format!("{language} -"), "{path} {cookie}");
        assert_eq!(headers[CONTENT_LANGUAGE], language);
    }
}

#[tokio::test]
async fn a_path_without_a_language_is_not_redirected_to_the_one_with_it() {
    let app = Router::new().route("/en/news", get(|| async { "news" })).layer(LocaleLayer::new(["en"]).path_prefix());
    let request = |path| Request::get(path).body(Body::empty()).unwrap();
    assert_eq!(app.clone().oneshot(request("/en/news")).await.unwrap().status(), 200);
    assert_eq!(app.oneshot(request("/news")).await.unwrap().status(), 404);
}

#[tokio::test]
async fn a_language_that_the_handler_names_stays_and_vary_is_merged() {
    let inner = service_fn(|_: Request<()>| {
        let response = Response::builder().header(CONTENT_LANGUAGE, "xx").header(VARY, "Accept, accept-language");
        std::future::ready(Ok::<_, Infallible>(response.body(()).unwrap()))
    });
    let request = Request::get("/").body(()).unwrap();
    let response = LocaleLayer::new(["en"]).vary_on_cookie().layer(inner).oneshot(request).await.unwrap();
    assert_eq!(response.headers()[CONTENT_LANGUAGE], "xx");
    assert_eq!(response.headers()[VARY], "Accept, accept-language, Cookie");
}

#[tokio::test]
async fn several_lines_are_one_header_and_the_cookie_can_be_named_or_left_out() {
    let layer = LocaleLayer::new(["en", "ja", "fr"]);
    let lines = [("accept-language", "xx"), ("accept-language", "fr;q=0.2,ja;q=0.3")];
    assert_eq!(ask(&layer, "/", &lines).await.0, "ja -");
    let cookies = [("cookie", "lang=fr"), ("cookie", "django_language=ja")];
    assert_eq!(ask(&layer, "/", &cookies).await.0, "ja -");
    assert_eq!(ask(&layer.clone().cookie("lang"), "/", &cookies).await.0, "fr -");
    assert_eq!(ask(&layer.without_cookie(), "/", &cookies).await.0, "en -");
}

#[test]
#[should_panic(expected = "\"en us\" is no language code")]
fn what_is_no_language_code_panics_where_it_is_written() {
    let _ = LocaleLayer::new(["en us"]);
}

#[test]
#[should_panic(expected = "\"Mars/Phobos\" is no IANA time zone")]
fn a_default_that_is_no_zone_panics_where_it_is_written() {
    let _ = TimeZoneLayer::new().default_zone("Mars/Phobos");
}

#[tokio::test]
async fn the_first_source_that_names_a_zone_decides_and_anything_else_is_ignored() {
    let layer = TimeZoneLayer::new()
        .cookie("time_zone")
        .header("X-Time-Zone")
        .function(|request| Some(request.uri.query()?.to_owned()))
        .default_zone("Europe/Berlin");
    for (path, cookie, header, zone) in [
        ("/", "time_zone=Asia/Tokyo", "UTC", "Asia/Tokyo"),
        ("/", "time_zone=Asia%2FTokyo", "", "Asia/Tokyo"),
        ("/", "time_zone=\"etc/gmt%2B5\"", "", "Etc/GMT+5"),
        ("/", "time_zone=Mars/Phobos", "asia/kolkata", "Asia/Kolkata"),
        ("/?America/New_York", "zone=Asia/Tokyo", "../../etc/passwd", "America/New_York"),
        ("/?nowhere", "", "", "Europe/Berlin"),
        ("/", "time_zone=", "+09:00", "Europe/Berlin"),
    ] {
        let (body, headers) = ask(&layer, path, &[("cookie", cookie), ("x-time-zone", header)]).await;
        assert_eq!(body, format!("- {zone}"), "{path} {cookie} {header}");
        assert_eq!(headers[VARY], "Cookie, X-Time-Zone");
    }
}

#[tokio::test]
async fn without_a_source_or_a_default_nothing_is_inserted_or_said() {
    let (body, headers) = ask(&TimeZoneLayer::new(), "/", &[("cookie", "time_zone=UTC")]).await;
    assert_eq!((body.as_str(), headers.get(VARY)), ("- -", None));
    let asked = TimeZoneLayer::new().function(|_| None).vary_on(["X-Geo"]);
    let (body, headers) = ask(&asked, "/", &[]).await;
    assert_eq!((body.as_str(), text(&headers, VARY)), ("- -", Some("X-Geo")));
}

#[tokio::test]
async fn the_inner_service_need_not_be_send_and_its_errors_pass() {
    let not_send = Rc::new("down");
    let inner = service_fn(move |_: Request<()>| {
        let held = Rc::clone(&not_send);
        async move { Err::<Response<()>, _>(*held) }
    });
    let service = LocaleLayer::new(["en"]).layer(TimeZoneLayer::new().layer(inner));
    assert_eq!(service.oneshot(Request::new(())).await.unwrap_err(), "down");
}

async fn handler(request: axum::extract::Request) -> String {
    let language = request.extensions().get::<Language>().cloned().unwrap();
    format!("{language} {}", request.extensions().get::<TimeZone>().unwrap())
}

#[tokio::test]
async fn the_layers_work_on_a_router_a_route_and_a_handler() {
    let locale = || (LocaleLayer::new(["en", "ja"]), TimeZoneLayer::new().default_zone("Asia/Tokyo"));
    let app: Router = Router::new()
        .route("/route", get(handler).layer(locale()))
        .route("/handler", any(handler.layer(locale())))
        .merge(Router::new().route("/router", get(handler)).layer(locale()));
    for path in ["/route", "/handler", "/router"] {
        let request = Request::get(path).header(ACCEPT_LANGUAGE, "ja").body(Body::empty()).unwrap();
        let response = app.clone().oneshot(request).await.unwrap();
        assert_eq!(response.headers()[CONTENT_LANGUAGE], "ja", "{path}");
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "ja Asia/Tokyo", "{path}");
    }
}

#[tokio::test]
async fn inside_a_nested_router_the_prefix_is_of_the_path_that_is_left() {
    let inner = Router::new().route("/ja/", get(handler)).layer(LocaleLayer::new(["en", "ja"]).path_prefix());
    let app: Router = Router::new().nest("/shop", inner).layer(TimeZoneLayer::new().default_zone("UTC"));
    let response = app.oneshot(Request::get("/shop/ja/").body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.headers()[CONTENT_LANGUAGE], "ja");
    assert!(!response.headers().contains_key(VARY));
}

/// A site that counts its handler's runs.
fn site(layer: impl FnOnce(Router) -> Router) -> (Router, Arc<AtomicUsize>) {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let page = move |request: axum::extract::Request| {
        counted.fetch_add(1, Ordering::Relaxed);
        handler(request)
    };
    (layer(Router::new().fallback(page)), runs)
}

async fn visit(app: &Router, headers: &[(http::HeaderName, &str)]) -> (String, HeaderMap) {
    let mut request = Request::get("http://localhost/").body(Body::empty()).unwrap();
    for (name, value) in headers {
        request.headers_mut().append(name, value.parse().unwrap());
    }
    let (parts, body) = app.clone().oneshot(request).await.unwrap().into_parts();
    (String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap(), parts.headers)
}

#[tokio::test]
async fn pgk_12_two_headers_of_one_language_share_a_page_and_a_hit_says_so_too() {
    let (app, runs) = site(|router| {
        router
            .layer(larder::vary_on_headers(["Accept-Language"]))
            .layer(CacheLayer::per_site().cache(&Cache::memory()))
            .layer(LocaleLayer::new(["en", "ja"]))
            .layer(TimeZoneLayer::new().default_zone("UTC"))
    });
    for accepted in ["en-GB,en;q=0.9", "en", "de, en;q=0.1", ""] {
        let (body, headers) = visit(&app, &[(ACCEPT_LANGUAGE, accepted)]).await;
        assert_eq!(body, "en UTC");
        assert_eq!(
            (&headers[VARY], &headers[CONTENT_LANGUAGE]),
            (&"Accept-Language".parse().unwrap(), &"en".parse().unwrap())
        );
    }
    assert_eq!(runs.load(Ordering::Relaxed), 1);
    let (body, headers) = visit(&app, &[(ACCEPT_LANGUAGE, "en"), (COOKIE, "django_language=ja")]).await;
    assert_eq!((body.as_str(), &headers[CONTENT_LANGUAGE]), ("ja UTC", &HeaderValue::from_static("ja")));
    assert_eq!(visit(&app, &[(ACCEPT_LANGUAGE, "ja;q=0.9")]).await.0, "ja UTC");
    assert_eq!(runs.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn pgk_14_visitors_of_one_zone_share_a_page_whatever_else_their_cookies_hold() {
    let (app, runs) = site(|router| {
        router
            .layer(CacheLayer::per_site().cache(&Cache::memory()))
            .layer(LocaleLayer::new(["en"]))
            .layer(TimeZoneLayer::new().cookie("tz").default_zone("UTC"))
    });
    for (cookies, body) in [
        ("tz=Asia/Tokyo; visitor=1", "en Asia/Tokyo"),
        ("visitor=2; tz=asia/tokyo", "en Asia/Tokyo"),
        ("visitor=3", "en UTC"),
        ("tz=nowhere", "en UTC"),
    ] {
        let (answered, headers) = visit(&app, &[(COOKIE, cookies)]).await;
        assert_eq!(answered, body, "{cookies}");
        assert_eq!(headers[VARY], "Accept-Language, Cookie");
    }
    assert_eq!(runs.load(Ordering::Relaxed), 2);
}

//! Every layer of the crate on a plain tower service, and on axum's Router, MethodRouter and Handler: each compiles there
//! and does what it is for.
#![allow(missing_docs)]

use std::convert::Infallible;

use axum::Router;
use axum::body::Body;
use axum::handler::Handler;
use axum::routing::{any, get};
use bytes::Bytes;
use http::header::{ACCEPT_LANGUAGE, COOKIE, HOST, IF_NONE_MATCH};
use http::request::Parts;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use larder::{
    Cache, CacheControl, CacheLayer, Language, LocaleLayer, TimeZone, TimeZoneLayer, cache_control, cache_page,
    condition, conditional_get, etag, last_modified, never_cache, vary_on_cookie, vary_on_headers,
};
use tower::{Layer, ServiceExt, service_fn};

/// What came back: status, headers, and the body as text.
type Answer = (StatusCode, HeaderMap, String);

async fn read<B: http_body::Body<Error: std::fmt::Debug>>(response: Response<B>) -> Answer {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (parts.status, parts.headers, String::from_utf8(body.to_vec()).unwrap())
}

fn request<B>(body: B, lines: &[(http::HeaderName, &str)]) -> Request<B> {
    let mut request = Request::get("/page").header(HOST, "localhost");
    for (name, value) in lines {
        request = request.header(name, *value);
    }
    request.body(body).unwrap()
}

/// Language and zone of the request, for the layers that find them.
fn told(extensions: &http::Extensions) -> String {
    let language = extensions.get::<Language>().map(ToString::to_string).unwrap_or_default();
    let zone = extensions.get::<TimeZone>().map(ToString::to_string).unwrap_or_default();
    format!("page {language} {zone}")
}

async fn handler(request: axum::extract::Request) -> String {
    told(request.extensions())
}

/// Asks twice each of the four kinds of services with the layer on, and gives the second answers to `check`.
macro_rules! on_every_service {
    ($test:ident, $layer:expr, $lines:expr, $check:expr) => {
        #[tokio::test]
        async fn $test() {
            let check = |place: &str, answer: Answer| {
                let check: fn(Answer) -> bool = $check;
                assert!(check(answer.clone()), "{place}: {answer:?}");
            };
            let plain = $layer.layer(service_fn(|request: Request<Empty<Bytes>>| {
                let body = Full::new(Bytes::from(told(request.extensions())));
                std::future::ready(Ok::<_, Infallible>(Response::new(body)))
            }));
            plain.clone().oneshot(request(Empty::new(), $lines)).await.unwrap();
            check("plain", read(plain.oneshot(request(Empty::new(), $lines)).await.unwrap()).await);

            let places: [(&str, Router); 3] = [
                ("Router", Router::new().route("/page", get(handler)).layer($layer)),
                ("MethodRouter", Router::new().route("/page", get(handler).layer($layer))),
                ("Handler", Router::new().route("/page", any(handler.layer($layer)))),
            ];
            for (place, site) in places {
                site.clone().oneshot(request(Body::empty(), $lines)).await.unwrap();
                check(place, read(site.oneshot(request(Body::empty(), $lines)).await.unwrap()).await);
            }
        }
    };
}

on_every_service!(cache_layer, CacheLayer::per_site().cache(&Cache::memory()), &[], |(_, headers, body)| {
    headers.contains_key("age") && headers["cache-control"] == "max-age=600" && body == "page  "
});

on_every_service!(cache_page_, cache_page(30).cache(&Cache::memory()), &[], |(_, headers, _)| {
    headers.contains_key("age") && headers["cache-control"] == "max-age=30"
});

on_every_service!(cache_control_, cache_control(CacheControl::new().public().max_age(60)), &[], |(_, headers, _)| {
    headers["cache-control"] == "public, max-age=60"
});

on_every_service!(
    a_targeted_field,
    cache_control(CacheControl::new().max_age(60)).field("cdn-cache-control"),
    &[],
    |(_, headers, _)| headers["cdn-cache-control"] == "max-age=60" && !headers.contains_key("cache-control")
);

on_every_service!(never_cache_, never_cache(), &[], |(_, headers, _)| {
    headers["cache-control"] == "max-age=0, no-cache, no-store, must-revalidate, private"
});

on_every_service!(vary_on_headers_, vary_on_headers(["X-Currency"]), &[], |(_, headers, _)| {
    headers["vary"] == "X-Currency"
});

on_every_service!(vary_on_cookie_, vary_on_cookie(), &[], |(_, headers, _)| headers["vary"] == "Cookie");

on_every_service!(conditional_get_gives_tags, conditional_get(), &[], |(status, headers, body)| {
    status == StatusCode::OK && headers.contains_key("etag") && body == "page  "
});

on_every_service!(conditional_get_answers_304, conditional_get(), &[(IF_NONE_MATCH, "*")], |(status, _, body)| {
    status == StatusCode::NOT_MODIFIED && body.is_empty()
});

on_every_service!(
    condition_,
    condition(|_: &Parts| Some("v"), |_: &Parts| None::<std::time::SystemTime>),
    &[(IF_NONE_MATCH, "\"v\"")],
    |(status, headers, _)| status == StatusCode::NOT_MODIFIED && headers["etag"] == "\"v\""
);

on_every_service!(etag_, etag(|_: &Parts| Some("v")), &[], |(_, headers, _)| headers["etag"] == "\"v\"");

on_every_service!(
    last_modified_,
    last_modified(|_: &Parts| Some(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1))),
    &[],
    |(_, headers, _)| headers["last-modified"] == "Thu, 01 Jan 1970 00:00:01 GMT"
);

on_every_service!(locale_layer, LocaleLayer::new(["en", "ja"]), &[(ACCEPT_LANGUAGE, "ja-JP,en;q=0.5")], |(
    _,
    headers,
    body,
)| headers["content-language"]
    == "ja"
    && headers["vary"] == "Accept-Language"
    && body == "page ja ");

on_every_service!(
    time_zone_layer,
    TimeZoneLayer::new().cookie("time_zone"),
    &[(COOKIE, "time_zone=Asia/Tokyo")],
    |(_, _, body)| body == "page  Asia/Tokyo"
);

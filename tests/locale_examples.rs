//! The steps that `examples/locale.rs` and `examples/headers.rs` print, against the same sites.

#[allow(dead_code)]
#[path = "../examples/headers.rs"]
mod headers;
#[allow(dead_code)]
#[path = "../examples/locale.rs"]
mod locale;

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use tower::ServiceExt;

async fn curl(site: &Router, path: &str, headers: &[(&str, &str)]) -> (StatusCode, HeaderMap, String) {
    let mut request = Request::get(path).header("host", "127.0.0.1:3000");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = site.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    (parts.status, parts.headers, String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap())
}

#[tokio::test]
async fn locale_prints_the_keys_of_each_page_once() {
    let shown = Arc::new(Mutex::new(Vec::new()));
    let show = Arc::clone(&shown);
    let site = locale::site(move |key| show.lock().unwrap().push(key));
    const JA: (&str, &str) = ("accept-language", "ja");
    for (headers, page) in [
        (&[][..], "Opens at 1:00 (UTC)\n"),
        (&[("accept-language", "en-GB,en;q=0.9")], "Opens at 1:00 (UTC)\n"),
        (&[JA], "1時に開きます (UTC)\n"),
        (&[JA, ("cookie", "time_zone=Asia/Tokyo")], "10時に開きます (Asia/Tokyo)\n"),
        (&[("cookie", "django_language=ja; time_zone=Asia/Tokyo")], "10時に開きます (Asia/Tokyo)\n"),
    ] {
        let (status, answered, body) = curl(&site, "/", headers).await;
        assert_eq!((status, body.as_str()), (StatusCode::OK, page));
        assert_eq!(answered["vary"], "Accept-Language, Cookie");
    }
    let url = "678bab66984d62e58defbd891bb823be";
    let keys = |suffix: &str| {
        [
            format!(":1:views.decorators.cache.cache_header..{url}.{suffix}"),
            format!(":1:views.decorators.cache.cache_page..GET.{url}.d41d8cd98f00b204e9800998ecf8427e.{suffix}"),
        ]
    };
    let shown = shown.lock().unwrap();
    assert_eq!(*shown, [keys("en.UTC"), keys("ja.UTC"), keys("ja.Asia/Tokyo")].concat());

    let (_, block) =
        include_str!("../README.md").split_once("<!-- output of examples/locale.rs -->\n```text\n").unwrap();
    let (block, _) = block.split_once("\n```").unwrap();
    assert_eq!(block.lines().collect::<Vec<_>>(), *shown, "the README shows them");
}

#[tokio::test]
async fn headers_says_what_others_may_keep() {
    let site = headers::site();
    let (_, feed, _) = curl(&site, "/feed", &[]).await;
    assert_eq!(feed["cache-control"], "public, max-age=60, stale-while-revalidate=30");
    assert_eq!(feed["cdn-cache-control"], "max-age=3600, must-revalidate");
    let tag = feed["etag"].to_str().unwrap();
    let (status, _, body) = curl(&site, "/feed", &[("if-none-match", tag)]).await;
    assert_eq!((status, body.as_str()), (StatusCode::NOT_MODIFIED, ""));

    let (_, price, body) = curl(&site, "/price", &[("x-currency", "EUR")]).await;
    assert_eq!((&price["vary"], body.as_str()), (&"X-Currency".parse().unwrap(), "9 EUR\n"));
    let (_, me, _) = curl(&site, "/me", &[]).await;
    assert_eq!(me["cache-control"], "max-age=0, no-cache, no-store, must-revalidate, private");

    for (cookie, control) in [
        (None, "public, max-age=60"),
        (Some(("cookie", "user=alice")), "max-age=0, no-cache, no-store, must-revalidate, private"),
    ] {
        let (_, news, _) = curl(&site, "/news", cookie.as_slice()).await;
        assert_eq!((&news["vary"], &news["cache-control"]), (&"Cookie".parse().unwrap(), &control.parse().unwrap()));
    }
}

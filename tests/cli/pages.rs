//! Whole pages: what a site stored is found by its URL, and forgotten by it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::{Body, to_bytes};
use axum::{Router, routing::get};
use http::Request;
use larder::{Cache, CacheLayer, KeyScheme, LocaleLayer, vary_on_headers};
use tower::ServiceExt;

use super::command::{Store, larder, stores};

/// A site that numbers the pages it makes.
async fn site(store: &Store, layer: CacheLayer) -> Router {
    let cache = Cache::connect(&store.with("get_timeout=60s&set_timeout=60s&connect_timeout=60s")).await.unwrap();
    let made = Arc::new(AtomicU64::new(0));
    let page = move || async move { format!("page {}", made.fetch_add(1, Ordering::SeqCst) + 1) };
    // With nobody to wait for, a page is stored before its response, and the command finds it at once.
    let layer = layer.cache(&cache).coalesce(false);
    Router::new().route("/news", get(page).layer(vary_on_headers(["X-Currency"]))).layer(layer)
}

async fn ask(site: &Router, headers: &[(&str, &str)]) -> String {
    let mut request = Request::get("http://shop.example/news?page=2").body(Body::empty()).unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(http::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
    }
    let answer = site.clone().oneshot(request).await.unwrap();
    String::from_utf8(to_bytes(answer.into_body(), usize::MAX).await.unwrap().to_vec()).unwrap()
}

const URL: &str = "http://shop.example/news?page=2";

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_shown_and_forgotten() {
    for store in stores() {
        let site = site(&store, CacheLayer::per_site()).await;
        larder(&store.url, &["page", "get", URL]).ends_with(1);
        assert_eq!(ask(&site, &[]).await, "page 1");
        assert_eq!(ask(&site, &[]).await, "page 1", "{}", store.name);

        let shown = larder(&store.url, &["page", "get", URL]).done();
        for part in [
            "status     200 OK",
            "size       6 bytes",
            "time left  ",
            "age        ",
            "header     vary: X-Currency",
            "key        :1:views.decorators.cache.cache_page..GET.",
        ] {
            assert!(shown.text().contains(part), "{part}: {shown:?}");
        }
        assert_eq!(larder(&store.url, &["page", "get", URL, "--body"]).done().out, b"page 1");
        let json = &larder(&store.url, &["page", "get", URL, "--json"]).done().json()[0];
        assert_eq!((&json["status"], &json["bytes"]), (&200.into(), &6.into()));
        assert!(json["time_left"].as_u64().unwrap() <= 600);

        larder(&store.url, &["page", "delete", URL]).done();
        let gone = larder(&store.url, &["page", "delete", URL]).ends_with(1);
        assert!(gone.err.contains(URL), "{gone:?}");
        assert!(gone.err.contains(&URL.replace("http:", "https:")), "where else to look: {gone:?}");
        assert_eq!(ask(&site, &[]).await, "page 2");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variant_is_found_by_its_headers_and_its_language() {
    for store in stores() {
        let site = site(&store, CacheLayer::per_site()).await.layer(LocaleLayer::new(["en", "ja"]));
        ask(&site, &[("x-currency", "EUR"), ("accept-language", "ja")]).await;
        let japanese = &["page", "get", URL, "--language", "ja", "-H", "X-Currency: EUR"][..];
        larder(&store.url, japanese).done();
        larder(&store.url, &["page", "get", URL, "-H", "X-Currency: EUR"]).ends_with(1);
        larder(&store.url, &["page", "get", URL, "--language", "en", "-H", "X-Currency: EUR"]).ends_with(1);
        larder(&store.url, &["page", "get", URL, "--language", "ja", "-H", "X-Currency: USD"]).ends_with(1);
        larder(&store.url, &["page", "get", URL, "--language", "ja"]).ends_with(1);
        larder(&store.url, &["page", "delete", URL, "--language", "ja"]).done();
        larder(&store.url, japanese).ends_with(1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_settings_of_a_layer_can_be_said() {
    for store in stores() {
        let layer = CacheLayer::per_site().key_prefix("blog").key_scheme(KeyScheme::Django52).time_zone("Asia/Tokyo");
        let site = site(&store, layer).await;
        ask(&site, &[]).await;
        let named = ["--key-prefix", "blog", "--key-scheme", "django52", "--time-zone", "Asia/Tokyo"];
        larder(&store.url, &["page", "get", URL]).ends_with(1);
        let shown = larder(&store.url, &[&["page", "get", URL][..], &named].concat()).done();
        let keys = larder(&store.url, &[&["page", "keys", URL, "--vary", "X-Currency"][..], &named].concat()).done();
        assert_eq!(keys.lines().len(), 2);
        for key in keys.lines() {
            assert!(shown.text().contains(key), "{key}: {shown:?}");
            larder(&store.url, &["has", "--raw", key]).done();
        }
        // A path alone, on the layer's own host.
        let path = ["page", "get", "/news?page=2", "--host", "shop.example"];
        larder(&store.url, &[&path[..], &named].concat()).done();
        larder(&store.url, &[&path[..], &named, &["--scheme", "https"]].concat()).ends_with(1);
    }
}

#[test]
fn what_names_no_page_is_said() {
    for arguments in [
        &["page", "get", "http://"][..],
        &["page", "get", "http://a b/"],
        &["page", "get", "http://a/", "-H", "no header"],
        &["page", "get", "http://a/", "--key-scheme", "md4"],
        &["page", "delete", "::"],
    ] {
        larder("memory://", arguments).ends_with(2);
    }
}

#[test]
fn forgetting_several_pages_is_asked_for() {
    for store in stores() {
        let refused = larder(&store.url, &["page", "delete", "http://a/1", "http://a/2"]).ends_with(5);
        assert!(refused.err.contains("2 pages") && refused.err.contains("--yes"), "{refused:?}");
        larder(&store.url, &["page", "delete", "http://a/1", "http://a/2", "--yes"]).ends_with(1);
    }
}

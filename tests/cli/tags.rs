//! Tags: what a site names its pages by, an operator purges.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::{Body, to_bytes};
use axum::extract::Path;
use axum::{Router, routing::get};
use http::Request;
use larder::{Cache, CacheLayer, Tags};
use tower::ServiceExt;

use super::command::{Store, larder, stores};

/// A site whose pages are named by their paths.
async fn site(store: &Store, version: &str) -> Router {
    let cache = Cache::connect(&store.with("get_timeout=60s&set_timeout=60s&connect_timeout=60s")).await.unwrap();
    let made = Arc::new(AtomicU64::new(0));
    let page = move |Path(name): Path<String>| async move {
        (Tags::new([name]), format!("page {}", made.fetch_add(1, Ordering::SeqCst) + 1))
    };
    let layer = CacheLayer::per_site().coalesce(false).cache(&cache.version(version)).tags(["site"]);
    Router::new().route("/{name}", get(page)).layer(layer)
}

async fn ask(site: &Router, name: &str) -> String {
    let request = Request::get(format!("http://shop.example/{name}")).body(Body::empty()).unwrap();
    let answer = site.clone().oneshot(request).await.unwrap();
    String::from_utf8(to_bytes(answer.into_body(), usize::MAX).await.unwrap().to_vec()).unwrap()
}

/// As it is once it is stored: that may be a moment after it was answered.
async fn kept(site: &Router, name: &str) -> String {
    loop {
        let answer = ask(site, name).await;
        if ask(site, name).await == answer {
            return answer;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_with_a_tag_are_purged_and_others_stay() {
    for store in stores() {
        let site = site(&store, "1").await;
        let [first, second, third] = [kept(&site, "a").await, kept(&site, "b").await, kept(&site, "c").await];
        let purged = larder(&store.url, &["tag", "purge", "a", "b", "nobody's"]).done();
        assert!(purged.out.is_empty());
        assert_ne!(ask(&site, "a").await, first, "{}", store.name);
        assert_ne!(ask(&site, "b").await, second, "{}", store.name);
        assert_eq!(ask(&site, "c").await, third, "{}", store.name);
        larder(&store.url, &["tag", "purge", "site"]).done();
        assert_ne!(ask(&site, "c").await, third, "{}", store.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_version_of_the_cache_is_reached_by_its_name() {
    for store in stores() {
        let site = site(&store, "draft").await;
        let page = kept(&site, "a").await;
        larder(&store.url, &["tag", "purge", "a"]).done();
        assert_eq!(ask(&site, "a").await, page, "{}", store.name);
        larder(&store.url, &["tag", "purge", "a", "--key-version", "draft"]).done();
        assert_ne!(ask(&site, "a").await, page, "{}", store.name);
    }
}

#[test]
fn a_tag_must_be_named() {
    larder("memory://", &["tag", "purge"]).ends_with(2);
    larder("memory://", &["tag"]).ends_with(2);
}

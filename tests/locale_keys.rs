//! The keys of pages in a language and a time zone, as a store with textual keys holds them: the memcdump of a Django
//! site, reproduced.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::header::{ACCEPT_LANGUAGE, COOKIE, HeaderMap, HeaderValue, VARY};
use http::{HeaderName, Request};
use larder::backend::{Backend, Reply, Stored};
use larder::{Cache, CacheLayer, KeyScheme, Language, LocaleLayer, PageUrl, TimeZone, TimeZoneLayer, vary_on_headers};
use md5::{Digest, Md5};
use tower::ServiceExt;

/// Keeps everything under its textual key for ever; some of its answers come later.
#[derive(Clone, Default)]
struct Shelves(Arc<Mutex<BTreeMap<String, Stored>>>);

impl Shelves {
    fn with<T>(&self, act: impl FnOnce(&mut BTreeMap<String, Stored>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What `memcdump` shows but for the stamps and counters of purges, which Django has not.
    fn dump(&self) -> Vec<String> {
        self.with(|entries| entries.keys().filter(|key| !key.starts_with(":1:larder.")).cloned().collect())
    }
}

impl Backend for Shelves {
    fn name(&self) -> &'static str {
        "shelves"
    }

    fn get<'a>(&'a self, key: &'a str) -> Reply<'a, Option<Stored>> {
        Reply::pending(async move { Ok(self.with(|entries| entries.get(key).cloned())) })
    }

    fn set<'a>(&'a self, key: &'a str, value: Stored, _ttl: Option<Duration>) -> Reply<'a, ()> {
        Reply::pending(async move {
            self.with(|entries| entries.insert(key.to_owned(), value));
            Ok(())
        })
    }

    fn add<'a>(&'a self, key: &'a str, value: Stored, _ttl: Option<Duration>) -> Reply<'a, bool> {
        Reply::ready(Ok(self.with(|entries| match entries.contains_key(key) {
            true => false,
            false => entries.insert(key.to_owned(), value).is_none(),
        })))
    }

    fn touch<'a>(&'a self, key: &'a str, _ttl: Option<Duration>) -> Reply<'a, bool> {
        self.contains(key)
    }

    fn delete<'a>(&'a self, key: &'a str) -> Reply<'a, bool> {
        Reply::ready(Ok(self.with(|entries| entries.remove(key).is_some())))
    }

    fn incr<'a>(&'a self, key: &'a str, delta: i64) -> Reply<'a, Option<i64>> {
        Reply::ready(Ok(self.with(|entries| {
            let stored = entries.get_mut(key)?;
            let number = std::str::from_utf8(&stored.data).ok()?.parse::<i64>().ok()? + delta;
            stored.data = number.to_string().into();
            Some(number)
        })))
    }

    fn clear<'a>(&'a self, prefix: &'a str) -> Reply<'a, ()> {
        self.with(|entries| entries.retain(|key, _| !key.starts_with(prefix)));
        Reply::ready(Ok(()))
    }
}

const URL: &str = "http://localhost:8000/sample/";

/// The two lines that memcdump shows of the page at [`URL`].
fn dumped(suffix: &str) -> [String; 2] {
    let url = hex::encode(Md5::digest(URL));
    [
        format!(":1:views.decorators.cache.cache_header..{url}{suffix}"),
        format!(":1:views.decorators.cache.cache_page..GET.{url}.d41d8cd98f00b204e9800998ecf8427e{suffix}"),
    ]
}

async fn visit(app: &Router, headers: &[(HeaderName, &str)]) {
    let mut request = Request::get("/sample/").header("host", "localhost:8000").body(Body::empty()).unwrap();
    for (name, value) in headers {
        request.headers_mut().append(name, value.parse().unwrap());
    }
    assert!(app.clone().oneshot(request).await.unwrap().status().is_success());
}

fn layer(cache: &Cache) -> CacheLayer {
    // With nobody to wait for, a page is stored before its response.
    CacheLayer::per_site().coalesce(false).cache(cache).key_scheme(KeyScheme::Django52)
}

#[tokio::test]
async fn pgk_13_pgk_14_the_memcdump_of_a_site_in_japanese_and_tokyo() {
    let shelves = Shelves::default();
    let cache = Cache::new(shelves.clone());
    let site = |layer| Router::new().route("/sample/", get(|| async { "こんにちは" })).layer(layer);
    visit(&site(layer(&cache).language("ja").time_zone("Asia/Tokyo")), &[]).await;
    assert_eq!(shelves.dump(), dumped(".ja.Asia/Tokyo"));

    cache.clear().await.unwrap();
    visit(&site(layer(&cache)), &[]).await;
    assert_eq!(shelves.dump(), dumped(""));
}

#[tokio::test]
async fn pgk_12_the_same_keys_from_the_layers_and_no_raw_header_in_them() {
    for varies in [false, true] {
        let shelves = Shelves::default();
        let cache = Cache::new(shelves.clone());
        let mut site: Router = Router::new().route("/sample/", get(|| async { "hello" }));
        if varies {
            site = site.layer(vary_on_headers(["Accept-Language"]));
        }
        let site = site
            .layer(layer(&cache))
            .layer(LocaleLayer::new(["en", "ja"]))
            .layer(TimeZoneLayer::new().cookie("time_zone").default_zone("UTC"));
        visit(&site, &[(ACCEPT_LANGUAGE, "ja"), (COOKIE, "time_zone=Asia/Tokyo")]).await;
        visit(&site, &[(ACCEPT_LANGUAGE, "xx, ja-JP;q=0.9"), (COOKIE, "a=b; time_zone=asia/tokyo")]).await;
        visit(&site, &[(ACCEPT_LANGUAGE, "en"), (COOKIE, "django_language=ja; time_zone=Asia/Tokyo")]).await;
        assert_eq!(shelves.dump(), dumped(".ja.Asia/Tokyo"), "Vary: Accept-Language inside: {varies}");

        visit(&site, &[(ACCEPT_LANGUAGE, "en-GB,en;q=0.9")]).await;
        visit(&site, &[(ACCEPT_LANGUAGE, "en")]).await;
        let mut both = [dumped(".en.UTC"), dumped(".ja.Asia/Tokyo")].concat();
        both.sort();
        assert_eq!(shelves.dump(), both);
    }
}

#[tokio::test]
async fn pages_keys_says_what_memcdump_shows_and_delete_reaches_one_language() {
    let shelves = Shelves::default();
    let cache = Cache::new(shelves.clone());
    let layer = layer(&cache);
    let pages = layer.pages();

    let mut request = Request::get(URL).body(()).unwrap();
    request.extensions_mut().insert(Language::new("ja"));
    request.extensions_mut().insert(TimeZone::iana("Asia/Tokyo").unwrap());
    let mut response = HeaderMap::new();
    response.insert(VARY, HeaderValue::from_static("Accept-Language"));
    let keys = pages.keys(&request, &response).unwrap();
    assert_eq!([cache.make_key(&keys.header), cache.make_key(&keys.page)], dumped(".ja.Asia/Tokyo"));

    let site: Router = Router::new()
        .route("/sample/", get(|| async { "hello" }))
        .layer(layer)
        .layer((LocaleLayer::new(["en", "ja"]), TimeZoneLayer::new().default_zone("Asia/Tokyo")));
    visit(&site, &[(ACCEPT_LANGUAGE, "ja")]).await;
    visit(&site, &[(ACCEPT_LANGUAGE, "en")]).await;
    let page = |language| PageUrl::new(URL).language(language).time_zone("Asia/Tokyo");
    assert!(pages.delete(page("ja")).await.unwrap());
    assert!(pages.get(page("ja")).await.unwrap().is_none());
    assert!(pages.get(page("en")).await.unwrap().is_some());
}

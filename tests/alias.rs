//! Layers that keep their pages in a cache of the process by its alias.

#[path = "world/in_process.rs"]
mod chosen;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use larder::{Cache, CacheLayer, Caches};
use tower::Layer;
use world::{Handler, ask, get};

/// One test: the caches of a process are decided once.
#[tokio::test]
async fn a_layer_keeps_its_pages_in_the_cache_of_its_alias() {
    // Made before the caches are installed.
    let layer = CacheLayer::per_site().alias("pages");
    let (pages, default) = (Cache::memory(), Cache::memory());
    Caches::install(Caches::builder().with("pages", pages.clone()).with("default", default.clone()).build()).unwrap();

    let handler = Handler::saying(&[]);
    let site = layer.layer(handler.clone());
    ask(&site, get("/")).await;
    ask(&site, get("/")).await;
    assert_eq!(handler.calls(), 1);
    let is_in = async |cache: &Cache| {
        let layer = CacheLayer::per_site().cache(cache);
        layer.pages().get("/").await.unwrap().is_some()
    };
    assert!(is_in(&pages).await && !is_in(&default).await);
    // A layer of the same alias shares the pages, one that names none has the default.
    assert_eq!(ask(&larder::cache_page(30).alias("pages").layer(handler.clone()), get("/")).await.body, "answer 1");
    assert_eq!(ask(&CacheLayer::per_site().layer(handler.clone()), get("/")).await.body, "answer 2");
    assert!(is_in(&default).await);

    // The last one said counts.
    let other = Cache::memory();
    let of_alias = CacheLayer::per_site().cache(&other).alias("pages").layer(handler.clone());
    assert_eq!(ask(&of_alias, get("/")).await.body, "answer 1");
    let of_cache = CacheLayer::per_site().alias("pages").cache(&other).layer(handler.clone());
    assert_eq!(ask(&of_cache, get("/")).await.body, "answer 3");

    let unknown = CacheLayer::per_site().alias("pags");
    let panicked = catch_unwind(AssertUnwindSafe(|| drop(unknown.layer(handler.clone())))).unwrap_err();
    let said = panicked.downcast_ref::<String>().unwrap();
    assert!(said.contains("no cache has the alias \"pags\": there are default, pages"), "{said}");
}

//! The public surface as the design writes it down: names and shapes of arguments, unchanged.
#![allow(missing_docs)]

use std::collections::HashMap;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use larder::backend::Memory;
use larder::{
    Cache, CacheControl, CacheLayer, Caches, Error, KeyScheme, Language, TimeZone, Timeout, cache_control, cache_page,
    conditional_get, never_cache, vary_on_cookie, vary_on_headers,
};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
struct User {
    name: String,
}

async fn load_user(number: u32) -> User {
    User { name: format!("user {number}") }
}

async fn page() -> &'static str {
    "page"
}

#[tokio::test]
async fn layers_stand_where_the_design_puts_them() {
    let (home, news, me, feed) = (page, page, page, page);
    let _: Router = Router::new()
        .route("/", get(home))
        .route("/news", get(news).layer(cache_page(30)))
        .route("/me", get(me).layer(never_cache()))
        .route("/feed", get(feed).layer(cache_control(CacheControl::new().public().max_age(60))))
        .layer(CacheLayer::per_site());
    let cache = Cache::memory();
    let blog = CacheLayer::per_site().cache(&cache).timeout(600).key_prefix("blog").key_scheme(KeyScheme::Django52);
    let _: Router = Router::new()
        .route("/", get(page))
        .layer(blog.language(Language::new("ja")).time_zone(TimeZone::new("Asia/Tokyo")))
        .layer((vary_on_headers(["Accept"]), vary_on_cookie(), conditional_get()));
}

#[tokio::test]
async fn values_are_kept_as_the_design_says() -> Result<(), Error> {
    let cache = Cache::connect("memory://").await?;
    cache.set("my_key", "hello, world!", 30).await?;
    let hello: Option<String> = cache.get("my_key").await?;
    assert_eq!(hello.as_deref(), Some("hello, world!"));
    cache.set("num", 1, Timeout::Default).await?;
    assert_eq!((cache.incr("num", 1).await?, cache.decr("num", 1).await?), (2, 1));
    let user: User = cache.get_or_set("user:42", 60, || async { load_user(42).await }).await?;
    assert_eq!(user, load_user(42).await);

    assert!(cache.add("new", "value", Timeout::Never).await? && !cache.add("new", "other", 1).await?);
    assert!(cache.touch("new", Duration::from_secs(60)).await?);
    assert!(cache.delete("new").await? && !cache.contains("new").await?);
    cache.set_many([("a", 1), ("b", 2)], 60).await?;
    let many: HashMap<String, i64> = cache.get_many(["a", "b", "c"]).await?;
    assert_eq!(many, HashMap::from([("a".to_owned(), 1), ("b".to_owned(), 2)]));
    cache.delete_many(["a", "b"]).await?;
    cache.incr_version("my_key", 1).await?;
    assert!(cache.version(2).get::<String>("my_key").await?.is_some());
    cache.clear().await?;

    let builder = Cache::builder(Memory::builder().build()).key_prefix("p").version(2).default_timeout(60);
    let caches = Caches::builder().with("default", builder.build()).with("none", Cache::dummy()).build();
    assert_eq!(caches.get("default")?.make_key("k"), "p:2:k");
    cache.close().await
}

//! Whole pages in Redis: shared between processes, and a server that is away is a miss and never an error.

use std::time::Duration;

use larder::backend::Patience;
use larder::{Cache, CacheLayer, CacheService};
use tower::Layer;

use super::{PATIENCE, open, raw_bytes, real, until};
use crate::world::{HOME, Handler, ask, get};

fn site(url: &str, handler: &Handler) -> CacheService<Handler> {
    let patience = Patience::default().connect(PATIENCE).get(PATIENCE).set(PATIENCE).pause(Duration::from_millis(10));
    let cache = Cache::builder(open(url)).patience(patience).build();
    CacheLayer::per_site().cache(&cache).cache_status("larder").layer(handler.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_one_filled_is_a_hit_for_another_and_none_to_django() {
    let server = real::Redis::start();
    let handlers = [Handler::saying(&[("vary", "accept-language")]), Handler::saying(&[("vary", "accept-language")])];
    let [first, second] = [site(&server.url(), &handlers[0]), site(&server.url(), &handlers[1])];
    let filled = until("the page is stored", async || {
        let answer = ask(&first, get(HOME)).await;
        answer.is_hit().then_some(answer)
    })
    .await;
    let other = ask(&second, get(HOME)).await;
    assert!(other.is_hit() && other.body == filled.body, "{other:?}");
    assert_eq!(handlers[1].calls(), 0);
    let keys: Vec<String> = redis::from_redis_value(super::raw(&server, &["KEYS", "*"])).unwrap();
    // The counts of purges are integers to Django, too.
    let pages: Vec<String> = keys.into_iter().filter(|key| !key.starts_with(":1:larder.")).collect();
    assert!(pages.len() >= 2, "{pages:?}");
    for key in pages {
        assert!(raw_bytes(&server, &key).unwrap().starts_with(b"\x80\x04N."), "Django reads None, a miss");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_goes_away_and_comes_back_never_turns_a_page_into_an_error() {
    let server = real::Redis::start();
    let handler = Handler::saying(&[]);
    let site = site(&server.url(), &handler);
    until("the page is stored", async || ask(&site, get(HOME)).await.is_hit().then_some(())).await;
    server.stop();
    for _ in 0..20 {
        let answer = ask(&site, get(HOME)).await;
        assert!(answer.status.is_success() && !answer.is_hit(), "{answer:?}");
    }
    server.start_again();
    until("pages are hits again", async || ask(&site, get(HOME)).await.is_hit().then_some(())).await;
}

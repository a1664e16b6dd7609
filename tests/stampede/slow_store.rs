//! A store that is slow to write: the visitor who caused a page does not wait for it, and who comes next does not miss.

use std::sync::Arc;
use std::time::Duration;

use http::Response;
use larder::backend::{Backend, Reply, Stored};
use larder::{Cache, CacheLayer, ManualClock, Timestamp};
use tokio::sync::{oneshot, watch};
use tower::{Layer, service_fn};

use crate::crowd::{crowd, soon};
use crate::world::gated::until;
use crate::world::{HOME, Handler, Plain, Script, Step, Text, ask, forward, get, settle};

/// Writes when its gate is open.
struct Slow {
    text: Text,
    gate: Arc<watch::Sender<bool>>,
}

impl Backend for Slow {
    fn name(&self) -> &'static str {
        "slow"
    }

    forward!(text: clock, get, add, touch, delete, incr, clear);

    fn set<'a>(&'a self, key: &'a str, value: Stored, ttl: Option<Duration>) -> Reply<'a, ()> {
        let mut gate = self.gate.subscribe();
        Reply::pending(async move {
            let _ = gate.wait_for(|is_open| *is_open).await;
            self.text.set(key, value, ttl).await
        })
    }
}

fn slow() -> (Arc<watch::Sender<bool>>, Cache) {
    let hands = ManualClock::at(Timestamp::from_secs(1_700_000_000));
    let gate = Arc::new(watch::Sender::new(false));
    (Arc::clone(&gate), Cache::new(Slow { text: Text::new(hands.clock()), gate }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_visitor_is_answered_before_the_page_is_stored_and_the_next_one_waits_for_it() {
    let (gate, cache) = slow();
    let handler = Handler::saying(&[]);
    let site = CacheLayer::per_site().cache(&cache).longest_wait(Duration::from_secs(600)).layer(handler.clone());
    let first = soon("the first", ask(&site, get(HOME))).await;
    assert_eq!(first.text(), "answer 1");
    let tasks = crowd(&site, 5, |_| get(HOME)).await;
    settle().await;
    assert!(tasks.iter().all(|task| !task.is_finished()), "they wait for the very page");
    gate.send_replace(true);
    for task in tasks {
        let answer = soon("the next", task).await.unwrap();
        assert!(answer.text() == "answer 1" && answer.headers.contains_key("age"), "{answer:?}");
    }
    assert_eq!(handler.calls(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_who_is_told_what_was_stored_waits_for_the_store() {
    let (gate, cache) = slow();
    let site = CacheLayer::per_site().cache(&cache).cache_status("larder").layer(Handler::saying(&[]));
    let mut tasks = crowd(&site, 1, |_| get(HOME)).await;
    settle().await;
    assert!(!tasks[0].is_finished());
    gate.send_replace(true);
    let answer = soon("the visitor", tasks.remove(0)).await.unwrap();
    assert!(answer.cache_status().is_stored, "{answer:?}");
}

/// Each page that is still to be stored takes memory: a store that does not keep up slows its visitors down instead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_so_many_pages_are_stored_behind_their_responses_at_once() {
    let (gate, cache) = slow();
    let handler = Handler::saying(&[]);
    let site = CacheLayer::per_site().cache(&cache).longest_wait(Duration::from_secs(600)).layer(handler.clone());
    let tasks = crowd(&site, 200, |visitor| get(&format!("http://example.com/{visitor}"))).await;
    let answered = || tasks.iter().filter(|task| task.is_finished()).count();
    until(async || handler.calls() == 200, "the handler has run for all").await;
    until(async || answered() == 64, "all that are not held up are answered").await;
    settle().await;
    assert_eq!(answered(), 64);
    gate.send_replace(true);
    for task in tasks {
        assert_eq!(soon("each", task).await.unwrap().status, 200);
    }
    let again = crowd(&site, 200, |visitor| get(&format!("http://example.com/{visitor}"))).await;
    for task in again {
        assert!(soon("the next", task).await.unwrap().headers.contains_key("age"), "all are stored");
    }
    assert_eq!(handler.calls(), 200);
}

/// The bodies of half of them have to be waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_closes_the_cache_waits_until_the_pages_behind_their_responses_are_stored() {
    let (gate, cache) = slow();
    let site = CacheLayer::per_site().cache(&cache).layer(service_fn(|request: Plain| async move {
        let (is_there, wait) = oneshot::channel();
        let wait = request.uri().path().ends_with("late").then_some(Step::Wait(wait));
        tokio::spawn(async move { is_there.send(()) });
        Ok::<_, std::convert::Infallible>(Response::new(Script::of_length(
            4,
            wait.into_iter().chain([Step::Data("page")]),
        )))
    }));
    let urls: Vec<_> = (0..10).flat_map(|page| ["early", "late"].map(|body| format!("{HOME}/{page}/{body}"))).collect();
    for url in &urls {
        assert_eq!(soon("the visitor", ask(&site, get(url))).await.text(), "page");
    }
    let closing = tokio::spawn({
        let cache = cache.clone();
        async move { cache.close().await }
    });
    settle().await;
    assert!(!closing.is_finished(), "they are not there yet");
    gate.send_replace(true);
    soon("closing", closing).await.unwrap().unwrap();
    for url in &urls {
        let answer = soon("the next", ask(&site, get(url))).await;
        assert!(answer.headers.contains_key("age"), "{url}: {answer:?}");
    }
    soon("closing what has nothing to wait for", cache.close()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_closes_the_cache_waits_five_seconds_and_no_longer() {
    let (_gate, cache) = slow();
    let site = CacheLayer::per_site().cache(&cache).layer(Handler::saying(&[]));
    ask(&site, get(HOME)).await;
    let begun = tokio::time::Instant::now();
    cache.close().await.unwrap();
    assert_eq!(begun.elapsed(), Duration::from_secs(5));
}

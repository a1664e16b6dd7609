//! The lease: several caches on one store, as in several processes, and one run of the handler for all of them.
//! On a store with textual keys, and with the feature `full` on every store that processes share, each the real one.

use std::collections::HashSet;
use std::time::Duration;

use larder::{Cache, CacheLayer, ManualClock, Timestamp};
use tower::{Layer, ServiceExt};

use crate::crowd::{answers, crowd};
use crate::world::gated::{Gated, until};
use crate::world::{HOME, Text, ask, get, page, settle};

const LONG: Duration = Duration::from_secs(600);

/// Two caches on one store.
struct Pair {
    name: &'static str,
    caches: [Cache; 2],
    /// The clock of the store, where it is not the real one.
    hands: Option<ManualClock>,
}

impl Pair {
    fn layers(&self) -> [CacheLayer; 2] {
        self.caches.each_ref().map(|cache| CacheLayer::per_site().cache(cache).longest_wait(LONG).lease(true))
    }
}

fn text_pair() -> (Text, Pair) {
    let hands = ManualClock::at(Timestamp::from_secs(1_700_000_000));
    let text = Text::new(hands.clock());
    let caches = [(); 2].map(|()| Cache::new(text.clone()));
    (text, Pair { name: "text", caches, hands: Some(hands) })
}

fn pairs() -> Vec<Pair> {
    let pairs = vec![text_pair().1];
    #[cfg(feature = "full")]
    let pairs = pairs.into_iter().chain(shared::pairs()).collect();
    pairs
}

/// The stores that processes share.
#[cfg(feature = "full")]
mod shared {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use larder::Cache;
    use larder::backend::memcached::Memcached;
    use larder::backend::{Backend, Database, Files, Redis};
    use larder::memcached::Client;
    use tempfile::TempDir;

    use super::Pair;
    use crate::real;

    struct Servers {
        folder: TempDir,
        postgres: String,
        redis: real::Redis,
        memcached: real::Memcached,
    }

    pub fn pairs() -> Vec<Pair> {
        static SERVERS: OnceLock<Servers> = OnceLock::new();
        let servers = SERVERS.get_or_init(|| Servers {
            folder: tempfile::tempdir().unwrap(),
            postgres: real::Postgres::shared().new_database(),
            redis: real::Redis::start(),
            memcached: real::Memcached::start(),
        });
        let sqlite = format!("sqlite://{}", servers.folder.path().join("cache.db").display());
        let database = |url: &str| Database::builder(url).unwrap().create_table(true).pool_size(2).build().unwrap();
        // So that a busy machine is not taken for a slow server.
        let patience = Duration::from_secs(30);
        let memcached = || {
            let client = Client::builder().server(servers.memcached.address());
            Memcached::new(client.connect_timeout(patience).timeout(patience).build().unwrap())
        };
        vec![
            pair("redis", || Redis::builder(&servers.redis.url()).unwrap().build().unwrap()),
            pair("memcached", memcached),
            pair("file", || Files::builder(servers.folder.path().join("files")).build().unwrap()),
            pair("sqlite", || database(&sqlite)),
            pair("postgresql", || database(&servers.postgres)),
        ]
    }

    fn pair<B: Backend>(name: &'static str, open: impl Fn() -> B) -> Pair {
        static PAIRS: AtomicUsize = AtomicUsize::new(0);
        let prefix = format!("pair-{}", PAIRS.fetch_add(1, Ordering::SeqCst));
        let caches = [(); 2].map(|()| Cache::builder(open()).key_prefix(&prefix).patience(None).build());
        Pair { name, caches, hands: None }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_run_the_handler_once() {
    for pair in pairs() {
        let handler = Gated::new(|_, call| page(format!("answer {call}")));
        let mut tasks = Vec::new();
        for layer in pair.layers() {
            tasks.extend(crowd(&layer.layer(handler.clone()), 50, |_| get(HOME)).await);
        }
        handler.is_asked(1).await;
        settle().await;
        handler.open();
        assert!(answers(tasks).await.iter().all(|answer| answer.text() == "answer 1"), "{}", pair.name);
        assert_eq!(handler.calls(), 1, "{}", pair.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_stored_keeps_no_process_waiting() {
    for pair in pairs() {
        let handler = Gated::new(|_, call| {
            let mut response = page(format!("answer {call}"));
            response.headers_mut().insert("set-cookie", format!("session={call}").parse().unwrap());
            response
        });
        let mut tasks = Vec::new();
        for layer in pair.layers() {
            tasks.extend(crowd(&layer.layer(handler.clone()), 20, |_| get(HOME)).await);
        }
        handler.is_asked(1).await;
        handler.open();
        let bodies: HashSet<String> = answers(tasks).await.iter().map(|answer| answer.text().to_owned()).collect();
        assert_eq!((handler.calls(), bodies.len()), (40, 40), "{}", pair.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_whose_holder_crashed_ends_by_itself() {
    for pair in pairs() {
        let handler = Gated::new(|_, call| page(format!("answer {call}")));
        let [crashing, other] = pair.layers().map(|layer| layer.lease(Duration::from_secs(1)).layer(handler.clone()));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.spawn(crashing.oneshot(get(HOME)));
        handler.is_asked(1).await;
        // Nothing is given back: a runtime that goes down runs nothing any more.
        runtime.shutdown_background();
        handler.has_ended(1).await;
        let tasks = crowd(&other, 20, |_| get(HOME)).await;
        if let Some(hands) = &pair.hands {
            settle().await;
            assert_eq!(handler.calls(), 1, "the lease holds");
            hands.advance(Duration::from_secs(1));
        }
        handler.is_asked(2).await;
        handler.open();
        assert!(answers(tasks).await.iter().all(|answer| answer.text() == "answer 2"), "{}", pair.name);
        assert_eq!(handler.calls(), 2, "{}", pair.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_is_renewed_while_the_page_is_made_and_then_given_back() {
    let (text, pair) = text_pair();
    let hands = pair.hands.as_ref().unwrap();
    let handler = Gated::new(|_, call| page(format!("answer {call}")));
    let [first, other] = pair.layers().map(|layer| layer.lease(Duration::from_secs(3)).layer(handler.clone()));
    let mut tasks = crowd(&first, 1, |_| get(HOME)).await;
    handler.is_asked(1).await;
    let is_lease = |key: &&String| key.contains("larder.lease.");
    let calls = || text.seen().iter().filter(is_lease).count();
    for _ in 0..2 {
        // It would end now, had it not been renewed since.
        hands.advance(Duration::from_millis(1_700));
        let before = calls();
        until(async || calls() > before, "it is renewed").await;
        settle().await;
        assert_eq!(text.keys().iter().filter(is_lease).count(), 1);
    }
    tasks.extend(crowd(&other, 5, |_| get(HOME)).await);
    settle().await;
    handler.open();
    assert!(answers(tasks).await.iter().all(|answer| answer.text() == "answer 1"));
    until(async || text.keys().iter().filter(is_lease).count() == 0, "it is given back").await;
    assert_eq!(handler.calls(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_who_hangs_up_gives_the_lease_back() {
    for pair in pairs() {
        let handler = Gated::new(|_, call| page(format!("answer {call}")));
        let [first, other] = pair.layers().map(|layer| layer.lease(LONG).layer(handler.clone()));
        let leader = tokio::spawn(first.oneshot(get(HOME)));
        handler.is_asked(1).await;
        let tasks = crowd(&other, 5, |_| get(HOME)).await;
        leader.abort();
        handler.is_asked(2).await;
        handler.open();
        assert!(answers(tasks).await.iter().all(|answer| answer.text() == "answer 2"), "{}", pair.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_the_longest_wait_the_other_process_runs_the_handler() {
    for pair in pairs() {
        let handler = Gated::new(|_, call| page(format!("answer {call}")));
        let [first, other] = pair.layers();
        let mut tasks = crowd(&first.layer(handler.clone()), 1, |_| get(HOME)).await;
        handler.is_asked(1).await;
        let impatient = other.longest_wait(Duration::from_millis(50)).layer(handler.clone());
        tasks.extend(crowd(&impatient, 1, |_| get(HOME)).await);
        handler.is_asked(2).await;
        handler.open();
        answers(tasks).await;
        assert_eq!(handler.calls(), 2, "{}", pair.name);
        ask(&impatient, get(HOME)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_down_takes_no_visitor_down() {
    let (text, pair) = text_pair();
    let handler = Gated::new(|_, call| page(format!("answer {call}")));
    handler.open();
    let [site, _] = pair.layers().map(|layer| layer.layer(handler.clone()));
    text.take_down(true);
    let tasks = crowd(&site, 10, |_| get(HOME)).await;
    answers(tasks).await;
    assert_eq!(handler.calls(), 10);
}

#[tokio::test]
async fn no_wait_is_too_long_to_be_asked_for() {
    for world in crate::world::worlds() {
        let handler = Gated::opened(|_, call| Ok(page(format!("answer {call}"))));
        let layer = world.site().timeout(60).stale_if_error(600);
        let layer = layer.longest_wait(Duration::MAX).stale_after(Duration::MAX).lease(Duration::MAX);
        let site = layer.layer(handler.clone());
        for round in 1..4 {
            for answer in answers(crowd(&site, 10, |_| get(HOME)).await).await {
                assert_eq!(answer.text(), format!("answer {round}"), "{}", world.name);
            }
            settle().await;
            world.wait(65);
        }
    }
}

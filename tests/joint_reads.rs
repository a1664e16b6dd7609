//! Many who look for one page at one time: the store is asked twice for all of them, and nobody is answered by a read
//! that began before he asked. The store's answers are held back by the tests.
#![allow(missing_docs)]

#[path = "world/in_process.rs"]
mod chosen;
mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use larder::backend::{Backend, Reply, Stored, backend_error};
use larder::{Cache, CacheLayer, CacheService, ManualClock, Timestamp};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tower::Layer;
use world::{Answer, Handler, Text, ask, forward, get, page};

/// A store that looks at once, and tells what it saw when it may.
#[derive(Clone)]
struct Held {
    text: Text,
    reads: Arc<AtomicUsize>,
    may_tell: Arc<Semaphore>,
    is_down: Arc<AtomicBool>,
}

/// More than are ever asked.
const ALL: usize = 1_000_000;

impl Held {
    fn new() -> Self {
        let hands = ManualClock::at(Timestamp::from_secs(1_700_000_000));
        let (reads, is_down) = Default::default();
        Held { text: Text::new(hands.clock()), reads, may_tell: Arc::new(Semaphore::new(ALL)), is_down }
    }

    /// Its answers wait from now on.
    fn hold(&self) {
        self.may_tell.forget_permits(usize::MAX);
    }

    fn tell(&self, answers: usize) {
        self.may_tell.add_permits(answers);
    }

    /// How many reads have begun since this was asked last.
    fn reads(&self) -> usize {
        self.reads.swap(0, Ordering::SeqCst)
    }
}

impl Backend for Held {
    fn name(&self) -> &'static str {
        "held"
    }

    forward!(text: clock, get, set, add, touch, delete, incr, clear);

    fn get_many<'a>(&'a self, keys: &'a [String]) -> Reply<'a, Vec<Option<Stored>>> {
        Reply::pending(async move {
            self.reads.fetch_add(1, Ordering::SeqCst);
            let seen = Reply::each(keys, |key| self.text.get(key)).await;
            self.may_tell.acquire().await.unwrap().forget();
            if self.is_down.load(Ordering::SeqCst) { Err(backend_error("held", "is down")) } else { seen }
        })
    }
}

/// A site whose page is in the store, and whose look-ups are hits.
async fn site(store: &Held, handler: &Handler) -> (CacheLayer, CacheService<Handler>) {
    let layer = CacheLayer::per_site().cache(&Cache::new(store.clone())).cache_status("larder");
    let site = layer.clone().layer(handler.clone());
    for _ in 0..3 {
        ask(&site, get("http://example.com/hot")).await;
    }
    assert_eq!(handler.calls(), 1);
    store.reads();
    (layer, site)
}

fn counting() -> Handler {
    Handler::new(|_, call| page(format!("answer {call}")))
}

fn visit(site: &CacheService<Handler>, path: &str) -> JoinHandle<Answer> {
    let (site, url) = (site.clone(), format!("http://example.com{path}"));
    tokio::spawn(async move { ask(&site, get(&url)).await })
}

/// How many reads of one page run side by side.
const SIDE_BY_SIDE: usize = 1;

fn visits(site: &CacheService<Handler>, path: &str, count: usize) -> Vec<JoinHandle<Answer>> {
    (0..count).map(|_| visit(site, path)).collect()
}

/// Lets every task go on as far as it can. On a clock that stands still meanwhile.
async fn go_on() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

async fn answers(visits: Vec<JoinHandle<Answer>>) -> Vec<Answer> {
    let mut answers = Vec::new();
    for visit in visits {
        answers.push(visit.await.unwrap());
    }
    answers
}

#[tokio::test(start_paused = true)]
async fn a_hundred_visitors_of_one_page_are_two_reads() {
    let (store, handler) = (Held::new(), counting());
    let (_, site) = site(&store, &handler).await;
    store.hold();
    let visitors = visits(&site, "/hot", 100);
    go_on().await;
    assert_eq!(store.reads(), SIDE_BY_SIDE, "the others wait for the next");
    store.tell(1);
    go_on().await;
    assert_eq!(store.reads(), 1, "it begins as soon as that one has ended");
    store.tell(ALL);
    for answer in answers(visitors).await {
        assert!(answer.is_hit());
        assert_eq!(answer.text(), "answer 1");
    }
    assert_eq!((store.reads(), handler.calls()), (0, 1));
    // Nothing is left of it.
    ask(&site, get("http://example.com/hot")).await;
    assert_eq!(store.reads(), 1);
}

#[tokio::test(start_paused = true)]
async fn visitors_of_other_pages_wait_for_nobody() {
    let (store, handler) = (Held::new(), counting());
    let (_, site) = site(&store, &handler).await;
    store.hold();
    let hot = visits(&site, "/hot", 10);
    let cold: Vec<_> = (0..50).map(|number| visit(&site, &format!("/{number}"))).collect();
    go_on().await;
    assert_eq!(store.reads(), SIDE_BY_SIDE + 50);
    store.tell(ALL);
    answers(hot).await;
    answers(cold).await;
}

#[tokio::test(start_paused = true)]
async fn who_gathers_waits_a_moment_and_no_longer_for_a_slow_store() {
    let (store, handler) = (Held::new(), counting());
    let (_, site) = site(&store, &handler).await;
    store.hold();
    let visitors = visits(&site, "/hot", 50);
    go_on().await;
    assert_eq!(store.reads(), SIDE_BY_SIDE);
    tokio::time::sleep(Duration::from_millis(6)).await;
    assert_eq!(store.reads(), 1, "the first has not ended");
    store.tell(ALL);
    assert!(answers(visitors).await.iter().all(Answer::is_hit));
}

#[tokio::test(start_paused = true)]
async fn rule_20_who_comes_after_a_purge_gets_nothing_that_was_read_before_it() {
    let (store, handler) = (Held::new(), counting());
    let (layer, site) = site(&store, &handler).await;
    store.hold();
    let before = visits(&site, "/hot", 20);
    go_on().await;
    tokio::time::sleep(Duration::from_millis(6)).await;
    assert_eq!(store.reads(), SIDE_BY_SIDE + 1, "all of them have been read for, and the page was there");

    assert!(layer.pages().delete("http://example.com/hot").await.unwrap());
    let after = visits(&site, "/hot", 20);
    go_on().await;
    assert_eq!(store.reads(), 0, "they wait for the next read");
    store.tell(ALL);
    assert!(answers(before).await.iter().all(|answer| answer.text() == "answer 1"));
    assert!(answers(after).await.iter().all(|answer| answer.text() == "answer 2"));
    assert_eq!(handler.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn who_goes_away_takes_nobodys_answer_with_him() {
    let (store, handler) = (Held::new(), counting());
    let (_, site) = site(&store, &handler).await;
    for does_begin in [false, true] {
        store.hold();
        let first = visits(&site, "/hot", SIDE_BY_SIDE);
        go_on().await;
        // The first of those who gather would make the read for all.
        let mut gathered = visits(&site, "/hot", 10);
        go_on().await;
        if does_begin {
            tokio::time::sleep(Duration::from_millis(6)).await;
        }
        gathered.remove(0).abort();
        go_on().await;
        tokio::time::sleep(Duration::from_millis(6)).await;
        store.tell(ALL);
        assert!(answers(gathered).await.iter().all(Answer::is_hit), "{does_begin}");
        answers(first).await;
    }
    assert_eq!(handler.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn where_the_one_who_reads_goes_away_the_next_one_reads_at_once() {
    let (store, handler) = (Held::new(), counting());
    let (_, site) = site(&store, &handler).await;
    store.hold();
    let mut visitors = visits(&site, "/hot", SIDE_BY_SIDE + 10);
    go_on().await;
    store.tell(SIDE_BY_SIDE);
    go_on().await;
    assert_eq!(store.reads(), SIDE_BY_SIDE + 1, "the first of those who gathered reads");
    visitors.remove(SIDE_BY_SIDE).abort();
    go_on().await;
    assert_eq!(store.reads(), 1, "another one does");
    store.tell(ALL);
    assert!(answers(visitors).await.iter().all(Answer::is_hit));
}

#[tokio::test(start_paused = true)]
async fn where_all_go_away_nothing_is_left() {
    let (store, handler) = (Held::new(), counting());
    let (_, site) = site(&store, &handler).await;
    store.hold();
    let visitors = visits(&site, "/hot", 20);
    go_on().await;
    for visitor in &visitors {
        visitor.abort();
    }
    go_on().await;
    store.reads();
    let next = visits(&site, "/hot", SIDE_BY_SIDE);
    go_on().await;
    assert_eq!(store.reads(), SIDE_BY_SIDE, "nobody is under way any more");
    store.tell(ALL);
    assert!(answers(next).await.iter().all(Answer::is_hit));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_is_a_miss_for_all_who_gathered() {
    let (store, handler) = (Held::new(), counting());
    let (_, site) = site(&store, &handler).await;
    store.hold();
    let visitors = visits(&site, "/hot", 30);
    go_on().await;
    store.is_down.store(true, Ordering::SeqCst);
    store.tell(ALL);
    for answer in answers(visitors).await {
        assert_eq!(answer.reason(), "backend");
    }
    assert_eq!(store.reads(), SIDE_BY_SIDE + 1, "nobody asks a second time");
}

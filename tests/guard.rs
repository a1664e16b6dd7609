//! A backend that is slow or down: typed errors in time, left alone after failures, healed by one probe, told once.
//! Timers run on tokio's paused time, pauses on a clock that is turned by hand.

#[path = "world/in_process.rs"]
mod chosen;
mod log;
mod world;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use larder::backend::{Backend, Patience, Reply, Stored, backend_error};
use larder::{Cache, CacheLayer, Clock, Error, ManualClock, Timestamp};
use log::Log;
use tokio::time::Instant;
use tower::Layer;
use tracing::Level;
use world::{Handler, Text, ask, get};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mood {
    Well,
    /// Reads are answered, writes fail.
    ReadOnly,
    Failing,
    Hanging,
    Takes(Duration),
}

/// A store that answers as it is told to.
#[derive(Clone)]
struct Moody {
    text: Text,
    mood: Arc<Mutex<Mood>>,
    calls: Arc<AtomicUsize>,
    patience: Patience,
}

impl Moody {
    fn new(hands: &ManualClock, patience: Patience) -> Self {
        let (mood, calls) = (Arc::new(Mutex::new(Mood::Well)), Arc::default());
        Moody { text: Text::new(hands.clock()), mood, calls, patience }
    }

    fn is(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    fn in_mood<'a, T: Send + 'a>(&'a self, writes: bool, answer: Reply<'a, T>) -> Reply<'a, T> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let mood = *self.mood.lock().unwrap();
        Reply::pending(async move {
            match mood {
                Mood::Failing => return Err(backend_error("moody", "it burns")),
                Mood::ReadOnly if writes => return Err(backend_error("moody", "no space left")),
                Mood::Hanging => std::future::pending().await,
                Mood::Takes(time) => tokio::time::sleep(time).await,
                Mood::Well | Mood::ReadOnly => {}
            }
            answer.await
        })
    }
}

impl Backend for Moody {
    fn name(&self) -> &'static str {
        "moody"
    }

    fn clock(&self) -> Clock {
        self.text.clock()
    }

    fn patience(&self) -> Option<Patience> {
        Some(self.patience.clone())
    }

    fn get<'a>(&'a self, key: &'a str) -> Reply<'a, Option<Stored>> {
        self.in_mood(false, self.text.get(key))
    }

    fn set<'a>(&'a self, key: &'a str, value: Stored, ttl: Option<Duration>) -> Reply<'a, ()> {
        self.in_mood(true, self.text.set(key, value, ttl))
    }

    fn add<'a>(&'a self, key: &'a str, value: Stored, ttl: Option<Duration>) -> Reply<'a, bool> {
        self.in_mood(true, self.text.add(key, value, ttl))
    }

    fn touch<'a>(&'a self, key: &'a str, ttl: Option<Duration>) -> Reply<'a, bool> {
        self.in_mood(true, self.text.touch(key, ttl))
    }

    fn delete<'a>(&'a self, key: &'a str) -> Reply<'a, bool> {
        self.in_mood(true, self.text.delete(key))
    }

    fn incr<'a>(&'a self, key: &'a str, delta: i64) -> Reply<'a, Option<i64>> {
        self.in_mood(true, self.text.incr(key, delta))
    }

    fn clear<'a>(&'a self, prefix: &'a str) -> Reply<'a, ()> {
        self.in_mood(true, self.text.clear(prefix))
    }
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn moody(patience: Patience) -> (Moody, Cache, ManualClock) {
    let hands = ManualClock::at(Timestamp::from_secs(1_700_000_000));
    let moody = Moody::new(&hands, patience);
    (moody.clone(), Cache::new(moody), hands)
}

#[tokio::test(start_paused = true)]
async fn a_call_takes_no_longer_than_it_may() -> Result<(), Error> {
    let (moody, cache, _) = moody(Patience::default().failures(0));
    moody.is(Mood::Hanging);
    let began = Instant::now();
    let error = cache.get::<i32>("k").await.unwrap_err();
    assert_eq!(began.elapsed(), ms(300), "the first call may have to connect");
    assert!(matches!(error, Error::Timeout { backend: "moody", operation: "get", after, .. } if after == ms(300)));
    assert!(error.to_string().contains("did not answer get within 300ms"), "{error}");

    moody.is(Mood::Well);
    cache.set("k", 1, 30).await?;
    moody.is(Mood::Hanging);
    let began = Instant::now();
    cache.get::<i32>("k").await.unwrap_err();
    assert_eq!(began.elapsed(), ms(50));
    moody.is(Mood::Well);
    assert_eq!(cache.get::<i32>("k").await?, Some(1));
    moody.is(Mood::Hanging);
    let began = Instant::now();
    assert!(matches!(cache.set("k", 1, 30).await.unwrap_err(), Error::Timeout { operation: "set", .. }));
    assert_eq!(began.elapsed(), ms(250));

    moody.is(Mood::Takes(ms(49)));
    assert_eq!(cache.get::<i32>("k").await?, Some(1));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn many_keys_may_take_longer() -> Result<(), Error> {
    let (moody, cache, _) = moody(Patience::default().failures(0));
    cache.set("k", 1, 30).await?;
    moody.is(Mood::Hanging);
    let began = Instant::now();
    cache.get_many::<i32>((0..250).map(|number| number.to_string())).await.unwrap_err();
    assert_eq!(began.elapsed(), ms(150));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn after_failures_it_is_left_alone_until_one_probe_finds_it_well() -> Result<(), Error> {
    let (moody, cache, hands) = moody(Patience::default());
    cache.set("k", 1, 3_600).await?;
    moody.is(Mood::Failing);
    for _ in 0..5 {
        assert!(matches!(cache.get::<i32>("k").await, Err(Error::Backend { .. })));
    }
    let asked = moody.calls();
    for _ in 0..100 {
        let error = cache.get::<i32>("k").await.unwrap_err();
        assert!(matches!(&error, Error::Unavailable { backend: "moody", cause, .. } if cause == "it burns"), "{error}");
    }
    cache.delete("k").await.unwrap_err();
    assert_eq!(moody.calls(), asked, "it is not asked while it is left alone");

    // Still down: one probe finds out, and the next pause is longer.
    hands.advance(ms(2_500));
    assert!(matches!(cache.get::<i32>("k").await, Err(Error::Backend { .. })));
    assert!(matches!(cache.get::<i32>("k").await, Err(Error::Unavailable { .. })));
    hands.advance(ms(3_900));
    assert!(matches!(cache.get::<i32>("k").await, Err(Error::Unavailable { .. })));
    assert_eq!(moody.calls(), asked + 1);

    // One probe at a time, whoever asks meanwhile.
    hands.advance(ms(1_100));
    moody.is(Mood::Takes(ms(10)));
    let probe = tokio::spawn({
        let cache = cache.clone();
        async move { cache.get::<i32>("k").await }
    });
    tokio::task::yield_now().await;
    assert!(matches!(cache.get::<i32>("k").await, Err(Error::Unavailable { .. })));
    assert_eq!(probe.await.unwrap()?, Some(1));
    assert_eq!(cache.get::<i32>("k").await?, Some(1));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_dropped_probe_is_followed_by_another() -> Result<(), Error> {
    let (moody, cache, hands) = moody(Patience::default().failures(1));
    moody.is(Mood::Failing);
    cache.get::<i32>("k").await.unwrap_err();
    hands.advance(ms(2_500));
    moody.is(Mood::Hanging);
    tokio::time::timeout(ms(1), cache.get::<i32>("k")).await.unwrap_err();
    moody.is(Mood::Well);
    assert_eq!(cache.get::<i32>("k").await?, None);
    Ok(())
}

#[tokio::test]
async fn a_change_of_health_is_told_once() {
    let log = Log::default();
    let _reading = log.read_along();
    let (moody, cache, hands) = moody(Patience::default());
    let handler = Handler::saying(&[]);
    let site = CacheLayer::per_site().cache(&cache).layer(handler.clone());
    for outage in 1..=3 {
        moody.is(Mood::Failing);
        for _ in 0..50 {
            assert_eq!(ask(&site, get("/")).await.status, 200);
            cache.set("k", 1, 30).await.unwrap_err();
        }
        assert_eq!(log.at(Level::WARN).len(), outage, "{:#?}", log.above_debug());
        moody.is(Mood::Well);
        hands.advance(ms(2_500));
        for _ in 0..50 {
            assert_eq!(ask(&site, get("/")).await.status, 200);
        }
        assert_eq!(log.at(Level::INFO).len(), outage, "{:#?}", log.above_debug());
    }
    let lines = log.above_debug();
    assert!(lines[0].contains("backend=\"moody\"") && lines[0].contains("it burns"), "{lines:?}");
}

#[tokio::test]
async fn a_store_that_is_full_is_told_once_and_read_on() -> Result<(), Error> {
    let log = Log::default();
    let _reading = log.read_along();
    let (moody, cache, _) = moody(Patience::default());
    cache.set("k", 1, 30).await?;
    moody.is(Mood::ReadOnly);
    for _ in 0..50 {
        assert!(matches!(cache.set("k", 2, 30).await, Err(Error::Backend { .. })));
        assert_eq!(cache.get::<i32>("k").await?, Some(1));
    }
    assert_eq!(log.above_debug().len(), 1, "{:#?}", log.above_debug());
    assert!(log.above_debug()[0].contains("cannot be written to"));
    moody.is(Mood::Well);
    cache.set("k", 2, 30).await?;
    cache.set("k", 3, 30).await?;
    assert_eq!(log.at(Level::INFO).len(), 1);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn rule_24_a_page_comes_within_the_timeout_whatever_the_store_does() {
    for mood in [Mood::Failing, Mood::Hanging, Mood::Takes(Duration::from_secs(3_600)), Mood::ReadOnly] {
        let (moody, cache, hands) = moody(Patience::default());
        let handler = Handler::saying(&[]);
        let site = CacheLayer::per_site().cache(&cache).cache_status("larder").layer(handler.clone());
        assert_eq!(ask(&site, get("/")).await.body, "answer 1");
        assert_eq!(ask(&site, get("/")).await.body, "answer 1");

        moody.is(mood);
        for call in 0..20 {
            let began = Instant::now();
            let answer = ask(&site, get(&format!("/{call}"))).await;
            assert_eq!(answer.status, 200, "{mood:?}");
            // Seeking may time out, then nothing is stored; where it did not, storing may.
            assert!(began.elapsed() <= ms(550), "{mood:?}: {:?}", began.elapsed());
            if mood != Mood::ReadOnly && call > 5 {
                assert_eq!(began.elapsed(), ms(0), "it is left alone");
            }
        }
        moody.is(Mood::Well);
        hands.advance(Duration::from_secs(3));
        let calls = handler.calls();
        ask(&site, get("/new")).await;
        ask(&site, get("/new")).await;
        assert_eq!(handler.calls(), calls + 1, "{mood:?}: it heals");
    }
}

#[tokio::test]
async fn set_many_on_a_store_that_fails_is_a_failure_like_any_other() -> Result<(), Error> {
    let (moody, cache, _) = moody(Patience::default().failures(2));
    assert_eq!(cache.set_many([("a", 1), ("b", 1)], 30).await?, Vec::<String>::new());
    moody.is(Mood::Failing);
    for _ in 0..2 {
        assert!(matches!(cache.set_many([("a", 2), ("b", 2)], 30).await, Err(Error::Backend { .. })));
    }
    assert!(matches!(cache.set_many([("a", 2)], 30).await, Err(Error::Unavailable { .. })), "it is left alone");
    Ok(())
}

#[tokio::test]
async fn what_is_wrong_with_a_key_or_a_value_is_no_failure_of_the_store() -> Result<(), Error> {
    let (_, cache, _) = moody(Patience::default().failures(2));
    cache.set("text", "one", 30).await?;
    for _ in 0..10 {
        assert!(matches!(cache.incr("text", 1).await, Err(Error::NotANumber { .. })));
    }
    assert_eq!(cache.get::<String>("text").await?.as_deref(), Some("one"));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn patience_is_the_applications_choice() -> Result<(), Error> {
    let hands = ManualClock::at(Timestamp::from_secs(1_700_000_000));
    let slow = Moody::new(&hands, Patience::default());
    slow.is(Mood::Takes(ms(900)));
    let patient = Cache::builder(slow.clone()).patience(Patience::default().get(ms(1_000))).build();
    assert_eq!(patient.get::<i32>("k").await?, None);

    slow.is(Mood::Takes(Duration::from_secs(3_600)));
    let endless = Cache::builder(slow).patience(None).build();
    assert_eq!(endless.get::<i32>("k").await?, None);

    // A store of one's own that says nothing of patience is not guarded unless its cache is told to.
    let text = Text::new(hands.clock());
    text.take_down(true);
    let unguarded = Cache::new(text.clone());
    let guarded = Cache::builder(text).patience(Patience::default().failures(1)).build();
    for cache in [&unguarded, &guarded] {
        assert!(matches!(cache.get::<i32>("k").await, Err(Error::Backend { .. })));
    }
    assert!(matches!(unguarded.get::<i32>("k").await, Err(Error::Backend { .. })));
    assert!(matches!(guarded.get::<i32>("k").await, Err(Error::Unavailable { .. })));
    Ok(())
}

#[tokio::test]
async fn clear_takes_what_it_takes() -> Result<(), Error> {
    let (moody, cache, _) = moody(Patience::default().failures(1).set(ms(0)).connect(ms(0)));
    moody.is(Mood::Takes(ms(1)));
    cache.clear().await?;
    Ok(())
}

#[test]
fn values_go_through_as_they_are() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let (_, cache, _) = moody(Patience::default());
        let data = Stored { data: Bytes::from_static(b"\0\xff"), flags: 77 };
        let (backend, keys) = (cache.backend(), ["a".to_owned(), "b".to_owned()]);
        backend.set("a", data.clone(), None).await.unwrap();
        assert!(backend.contains("a").await.unwrap() && backend.touch("a", Some(ms(5))).await.unwrap());
        assert_eq!(backend.get_many(&keys).await.unwrap(), [Some(data.clone()), None]);
        assert!(!backend.add("a", data.clone(), None).await.unwrap());
        let entries = [("b".to_owned(), data.clone())];
        assert_eq!(backend.set_many(&entries, None).await.unwrap(), Vec::<usize>::new());
        backend.delete_many(&keys).await.unwrap();
        assert_eq!(backend.get_many(&keys).await.unwrap(), [None, None]);
        backend.close().await.unwrap();
        assert_eq!((backend.name(), backend.largest_value()), ("moody", usize::MAX));
    });
}

/// Without a guard the page floor tells of an outage itself, once, and of its end.
#[tokio::test]
async fn an_outage_of_an_unguarded_store_is_told_once() {
    let log = Log::default();
    let _reading = log.read_along();
    let world = world::text_world();
    let text = world.text.clone().unwrap();
    // With nobody to wait for, a page is stored before its response: no store is under way when the outage begins.
    let layers = [world.site(), larder::cache_page(30).cache(&world.cache)].map(|layer| layer.coalesce(false));
    for outage in 1..=2 {
        for is_down in [true, false] {
            text.take_down(is_down);
            for number in 0..20 {
                let site = layers[number % 2].layer(Handler::saying(&[]));
                assert_eq!(ask(&site, get(&format!("/{number}"))).await.status, 200);
            }
        }
        assert_eq!(log.at(Level::WARN).len(), outage, "{:#?}", log.above_debug());
        assert_eq!(log.at(Level::INFO).len(), outage, "{:#?}", log.above_debug());
    }
}

#[tokio::test]
async fn pages_that_are_too_large_are_told_of_once() {
    let log = Log::default();
    let _reading = log.read_along();
    let hands = ManualClock::at(Timestamp::from_secs(1_700_000_000));
    let cache = Cache::new(Text::with(hands.clock(), larder::backend::KeyRule::Warn, 50));
    let site = CacheLayer::per_site().cache(&cache).layer(Handler::saying(&[]));
    for number in 0..20 {
        ask(&site, get(&format!("/{number}"))).await;
    }
    assert_eq!(log.above_debug().len(), 1, "{:#?}", log.above_debug());
}

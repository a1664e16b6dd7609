//! How often the page floor asks a store with textual keys: a hit is one round trip, whatever the page varies on.
//! And what lies there: nothing that a Django which shares the store would stumble over.

#[path = "world/in_process.rs"]
mod chosen;
mod world;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use larder::backend::{Backend, Reply, Stored, flags};
use larder::{Cache, CacheLayer, CacheService, Clock, Error, ManualClock, Tags, Timestamp};
use tower::Layer;
use world::{Handler, Text, ask, get, get_with, head, page};

/// A store that counts how often it is asked.
#[derive(Clone)]
struct Counting {
    text: Text,
    trips: Arc<AtomicUsize>,
    /// The keys of the last question.
    asked: Arc<Mutex<Vec<String>>>,
    /// One of its servers is down: the one with the keys of pages.
    has_lost_pages: Arc<AtomicBool>,
}

impl Counting {
    fn new() -> Self {
        let hands = ManualClock::at(Timestamp::from_secs(1_700_000_000));
        let (trips, asked, has_lost_pages) = Default::default();
        Counting { text: Text::new(hands.clock()), trips, asked, has_lost_pages }
    }

    fn site(&self, handler: &Handler) -> CacheService<Handler> {
        CacheLayer::per_site().cache(&Cache::new(self.clone())).cache_status("larder").layer(handler.clone())
    }

    /// How often it was asked since this was asked last.
    fn trips(&self) -> usize {
        self.trips.swap(0, Ordering::SeqCst)
    }

    fn count<T>(&self, answer: T) -> T {
        self.trips.fetch_add(1, Ordering::SeqCst);
        answer
    }
}

impl Backend for Counting {
    fn name(&self) -> &'static str {
        "counting"
    }

    fn clock(&self) -> Clock {
        self.text.clock()
    }

    fn get<'a>(&'a self, key: &'a str) -> Reply<'a, Option<Stored>> {
        self.count(self.text.get(key))
    }

    fn get_many<'a>(&'a self, keys: &'a [String]) -> Reply<'a, Vec<Option<Stored>>> {
        *self.asked.lock().unwrap() = keys.to_vec();
        if self.has_lost_pages.load(Ordering::SeqCst) && keys.iter().any(|key| key.contains("cache_page.")) {
            let server = Some("10.0.0.2:11211".to_owned());
            return self.count(Reply::ready(Err(Error::Unavailable {
                backend: "counting",
                server,
                cause: "lost".into(),
            })));
        }
        self.count(Reply::each(keys, |key| self.text.get(key)))
    }

    fn set<'a>(&'a self, key: &'a str, value: Stored, ttl: Option<Duration>) -> Reply<'a, ()> {
        self.count(self.text.set(key, value, ttl))
    }

    fn add<'a>(&'a self, key: &'a str, value: Stored, ttl: Option<Duration>) -> Reply<'a, bool> {
        self.count(self.text.add(key, value, ttl))
    }

    fn touch<'a>(&'a self, key: &'a str, ttl: Option<Duration>) -> Reply<'a, bool> {
        self.count(self.text.touch(key, ttl))
    }

    fn delete<'a>(&'a self, key: &'a str) -> Reply<'a, bool> {
        self.count(self.text.delete(key))
    }

    fn incr<'a>(&'a self, key: &'a str, delta: i64) -> Reply<'a, Option<i64>> {
        self.count(self.text.incr(key, delta))
    }

    fn delete_many<'a>(&'a self, keys: &'a [String]) -> Reply<'a, ()> {
        self.count(Reply::each(keys, |key| self.text.delete(key)).map(drop))
    }

    fn clear<'a>(&'a self, prefix: &'a str) -> Reply<'a, ()> {
        self.count(self.text.clear(prefix))
    }
}

/// A page whose path says what it varies on: `/cookie/…`, `/accept/…`; `/plain/…` varies on nothing.
fn by_path() -> Handler {
    Handler::new(|request, call| {
        let mut response = page(format!("answer {call}"));
        let vary = request.uri.path().trim_start_matches('/').split('/').next().unwrap_or_default();
        if vary != "plain" {
            response.headers_mut().insert("vary", vary.parse().unwrap());
        }
        response
    })
}

#[tokio::test]
async fn a_hit_is_one_round_trip_whatever_the_page_varies_on() {
    let store = Counting::new();
    let site = store.site(&by_path());
    let urls = ["/plain/1", "/cookie/1", "/accept/1", "/plain/2", "/cookie/2"];
    for (call, url) in urls.iter().enumerate() {
        assert_eq!(ask(&site, get_with(url, &[("cookie", "a=1")])).await.body, format!("answer {}", call + 1));
    }
    store.trips();
    for _ in 0..3 {
        for (call, url) in urls.iter().enumerate() {
            let hit = ask(&site, get_with(url, &[("cookie", "a=1")])).await;
            assert_eq!((hit.body, store.trips()), (format!("answer {}", call + 1).into(), 1), "{url}");
            assert_eq!(ask(&site, head(url)).await.status, 200);
            store.trips();
        }
    }
}

#[tokio::test]
async fn a_head_and_a_miss_are_one_round_trip_too() {
    let store = Counting::new();
    let handler = by_path();
    let site = store.site(&handler);
    ask(&site, get("/plain/1")).await;
    store.trips();
    assert!(ask(&site, head("/plain/1")).await.headers["cache-status"].to_str().unwrap().contains("hit"));
    assert_eq!(store.trips(), 1);
    // The first miss after hits asks for the counters besides, and begins those that are not there.
    ask(&site, get("/plain/2")).await;
    assert!(store.trips() <= 8);
    for key in store.text.keys() {
        store.text.delete(&key).await.unwrap();
    }
    ask(&site, get("/plain/1")).await;
    store.trips();
    // The look-up. After the handler: the look before storing, a stamp and whether it holds, the page, the list.
    ask(&site, get("/plain/2")).await;
    assert_eq!(store.trips(), 6);
    // One that is made again has its stamp: it is only told to stay.
    for key in store.text.header_keys() {
        store.text.delete(&key).await.unwrap();
    }
    store.trips();
    ask(&site, get("/plain/2")).await;
    assert_eq!(store.trips(), 5);
}

#[tokio::test]
async fn a_process_that_was_started_anew_learns_by_the_first_hit() {
    let store = Counting::new();
    ask(&store.site(&by_path()), get("/cookie/1")).await;
    ask(&store.site(&by_path()), get("/cookie/2")).await;
    let site = store.site(&by_path());
    for (url, trips) in [("/cookie/1", 2), ("/cookie/1", 1), ("/cookie/2", 1)] {
        store.trips();
        assert_eq!(ask(&site, get(url)).await.body, "answer 1");
        assert_eq!(store.trips(), trips, "{url}");
    }
}

#[tokio::test]
async fn a_flood_of_vary_values_makes_no_question_longer() {
    let store = Counting::new();
    let site = store.site(&by_path());
    for number in 0..200 {
        ask(&site, get(&format!("/x-{number}/1"))).await;
    }
    for number in [0, 100, 199] {
        store.trips();
        assert_eq!(ask(&site, get(&format!("/x-{number}/1"))).await.body, format!("answer {}", number + 1));
        assert!(store.trips() <= 2);
        assert!(store.asked.lock().unwrap().len() <= 5, "{:?}", store.asked.lock().unwrap());
    }
}

/// What is guessed is read as what is known is: only what the list names, of its generation, for this request.
#[tokio::test]
async fn a_guess_gives_nobody_a_page_that_the_list_does_not_name() {
    let store = Counting::new();
    let handler = by_path();
    let site = store.site(&handler);
    ask(&site, get("/plain/1")).await;
    let lists = store.text.header_keys();
    let list = store.text.bytes(&lists[0]);
    store.text.delete(&lists[0]).await.unwrap();
    assert_eq!(ask(&site, get("/plain/1")).await.body, "answer 2", "the page was there, its list was not");
    store.text.forge(&lists[0], list);
    assert_eq!(ask(&site, get("/plain/1")).await.body, "answer 3", "the list is of another generation");
    assert_eq!(ask(&site, get_with("/cookie/1", &[("cookie", "a=1")])).await.body, "answer 4");
    assert_eq!(ask(&site, get_with("/cookie/1", &[("cookie", "a=2")])).await.body, "answer 5");
    assert_eq!(ask(&site, get_with("/cookie/1", &[("cookie", "a=1")])).await.body, "answer 4");
}

/// A page that is not there must not become an error, or be asked for twice, because the server of a guess is down.
#[tokio::test]
async fn a_server_that_is_down_takes_only_its_own_pages_away() {
    let store = Counting::new();
    let handler = by_path();
    let site = store.site(&handler);
    ask(&site, get("/plain/1")).await;
    store.has_lost_pages.store(true, Ordering::SeqCst);
    store.trips();
    let lost = ask(&site, get("/plain/1")).await;
    assert_eq!((lost.status.as_u16(), lost.body.as_ref()), (200, &b"answer 2"[..]));
    assert!(lost.headers["cache-status"].to_str().unwrap().contains("detail=backend"), "{lost:?}");
    let missing = ask(&site, get("/plain/2")).await;
    assert!(missing.headers["cache-status"].to_str().unwrap().contains("fwd=uri-miss; stored"), "{missing:?}");
    store.has_lost_pages.store(false, Ordering::SeqCst);
    assert_eq!(ask(&site, get("/plain/1")).await.body, "answer 1");
    assert_eq!(ask(&site, get("/plain/2")).await.body, "answer 3");
}

/// A page with tags, named by the path after `/tagged/`.
fn tagged() -> Handler {
    Handler::new(|request, call| {
        let mut response = page(format!("answer {call}"));
        let tags = request.uri.path().trim_start_matches("/tagged/").split('+').map(str::to_owned);
        response.extensions_mut().insert(Tags::new(tags));
        response
    })
}

#[tokio::test]
async fn a_hit_with_tags_is_two_round_trips_however_many_there_are() {
    let store = Counting::new();
    let site = store.site(&tagged());
    let many = (0..128).map(|tag| tag.to_string()).collect::<Vec<_>>().join("+");
    for url in ["/tagged/a".to_owned(), "/tagged/a+b+c".to_owned(), format!("/tagged/{many}")] {
        let first = ask(&site, get(&url)).await;
        for _ in 0..2 {
            store.trips();
            assert_eq!((ask(&site, get(&url)).await.body, store.trips()), (first.body.clone(), 2), "{url}");
            assert!(ask(&site, head(&url)).await.status == 200 && store.trips() == 2);
        }
    }
}

#[tokio::test]
async fn tags_that_are_known_cost_a_fill_nothing_and_purging_any_number_costs_two() {
    let store = Counting::new();
    let site = store.site(&tagged());
    ask(&site, get("/tagged/a+b")).await;
    store.text.delete(&store.text.header_keys()[0]).await.unwrap();
    ask(&site, get("/tagged/a+c")).await;
    store.trips();
    // As one without tags that is made again: the look-up, the look before storing, the stamp, the page, the list.
    ask(&site, get("/tagged/a+b")).await;
    assert_eq!(store.trips(), 5);
    let cache = Cache::new(store.clone());
    cache.purge_tags(["a", "b", "c", "d"]).await.unwrap();
    assert_eq!(store.trips(), 2);
    cache.purge_tags([""; 0]).await.unwrap();
    assert_eq!(store.trips(), 0);
}

/// Django's clients for memcached unpickle what has the flag 1, and `pickle.loads` stops at the first `.`: `None`.
#[tokio::test]
async fn django_takes_what_we_store_for_none() {
    let store = Counting::new();
    ask(&store.site(&by_path()), get("/cookie/1")).await;
    for key in store.text.keys() {
        let stored = store.text.bytes(&key);
        assert_eq!(stored.flags & 0b1_1111, 1, "{key}: a pickle and nothing else that Django knows");
        assert!(stored.data.starts_with(b"\x80\x04N."), "{key}");
    }
    assert_eq!((flags::PAGE, flags::HEADER_LISTS), (65, 129));
}

/// And what Django stores under the keys that we share is a miss, and makes way for ours.
#[tokio::test]
async fn what_django_stores_is_a_miss() {
    let store = Counting::new();
    let handler = by_path();
    let site = store.site(&handler);
    ask(&site, get("/plain/1")).await;
    let pickle = Stored { data: b"\x80\x05\x95\x0b\0\0\0\0\0\0\0]\x94\x8c\x06Cookie\x94a."[..].into(), flags: 1 };
    for key in store.text.keys() {
        store.text.forge(&key, pickle.clone());
        let calls = handler.calls();
        assert_eq!(ask(&site, get("/plain/1")).await.body, format!("answer {}", calls + 1), "{key}");
        assert_eq!(ask(&site, get("/plain/1")).await.body, format!("answer {}", calls + 1), "{key}");
    }
}

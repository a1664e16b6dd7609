//! The interleavings of fills, purges, deletions, visitors and a store that forgets, explored by shuttle: what was read
//! before a purge is never answered after it. Once with the very table that memory purges by, on atomics that shuttle
//! schedules, and once with the whole layer over a store with textual keys whose every call is a moment of its own.
#![allow(missing_docs)]

use std::collections::HashMap;
use std::convert::Infallible;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::sync::Mutex as PlainMutex;
use std::sync::atomic::{AtomicU64 as PlainU64, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use larder::backend::{Backend, Reply, Stored, counted};
use larder::{Cache, CacheLayer, Error, Pages, Tags};
use shuttle::future::{block_on, spawn, yield_now};
use shuttle::rand::{Rng, thread_rng};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::sync::Mutex;
use shuttle::{Config, Runner};
use stamps::Stamps;
use tower::util::BoxCloneSyncService;
use tower::{Layer, ServiceExt, service_fn};

#[allow(dead_code, reason = "the store uses all of it")]
#[path = "../src/backend/memory/stamps.rs"]
mod stamps;

/// What the table is built on here.
mod sync {
    pub(crate) use shuttle::sync::atomic::AtomicU64;
}

/// What pages are made of: a number that changes before every purge, and the last one whose purge is over.
#[derive(Clone, Default)]
struct Truth {
    current: Arc<PlainU64>,
    purged: Arc<PlainU64>,
}

impl Truth {
    fn change(&self) -> u64 {
        self.current.fetch_add(1, SeqCst) + 1
    }

    fn is_purged_up_to(&self, change: u64) {
        self.purged.fetch_max(change, SeqCst);
    }
}

/// Explores so many interleavings, or as many times more as `LARDER_MODEL_TIMES` says.
fn check(explore: impl Fn() + Send + Sync + 'static, runs: usize, depth: usize) {
    let times: usize = std::env::var("LARDER_MODEL_TIMES").map_or(1, |times| times.parse().expect("a number"));
    // The futures of a whole layer, unoptimized, need more than shuttle's 32 KiB.
    let mut config = Config::new();
    config.stack_size = 1 << 20;
    let explore = Arc::new(explore);
    let again = Arc::clone(&explore);
    Runner::new(RandomScheduler::new(runs * times), config.clone()).run(move || explore());
    Runner::new(PctScheduler::new(depth, runs * times / 2), config).run(move || again());
}

mod in_memory {
    use super::*;

    const KEY: &[u8] = b"\xFF:1:\xFFa page";
    const TAG: &[u8] = b"a tag";

    /// A store with one page, in miniature: the table, and the page with what had been purged when it was begun.
    #[derive(Clone)]
    struct Store {
        stamps: Arc<Stamps<BuildHasherDefault<DefaultHasher>>>,
        turn: Arc<Mutex<Option<(u64, u64)>>>,
    }

    impl Store {
        fn fill(&self, truth: &Truth) {
            let begun = self.stamps.purges();
            shuttle::thread::yield_now();
            let read = truth.current.load(SeqCst);
            shuttle::thread::yield_now();
            let mut page = self.turn.lock().unwrap();
            if !self.stamps.is_cleared_since(begun) && !self.stamps.is_purged_since(KEY, begun) {
                *page = Some((read, begun));
            }
        }

        fn purge(&self, truth: &Truth, way: u32) {
            let change = truth.change();
            match way {
                0 => self.stamps.purge(TAG),
                1 => {
                    let mut page = self.turn.lock().unwrap();
                    self.stamps.purge(KEY);
                    *page = None;
                }
                _ => {
                    self.stamps.clear();
                    drop(self.turn.lock().unwrap());
                    shuttle::thread::yield_now();
                    *self.turn.lock().unwrap() = None;
                }
            }
            truth.is_purged_up_to(change);
        }

        fn look(&self, truth: &Truth) -> bool {
            let purged = truth.purged.load(SeqCst);
            let Some((read, begun)) = *self.turn.lock().unwrap() else { return false };
            let is_purged = self.stamps.is_purged_since(TAG, begun);
            assert!(is_purged || read >= purged, "a page of {read} after the purge of {purged}");
            !is_purged
        }
    }

    fn explore() {
        let store = Store { stamps: Arc::new(Stamps::new(Default::default(), 0)), turn: Arc::default() };
        let truth = Truth::default();
        let mut threads = Vec::new();
        for thread in 0..5u32 {
            let (store, truth) = (store.clone(), truth.clone());
            threads.push(shuttle::thread::spawn(move || {
                for _ in 0..2 {
                    match thread {
                        0 | 1 => store.fill(&truth),
                        2 | 3 => store.purge(&truth, thread_rng().gen_range(0..3)),
                        _ => drop(store.look(&truth)),
                    }
                }
            }));
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        store.look(&truth);
        store.fill(&truth);
        assert!(store.look(&truth), "a page that was begun after all purges is there");
    }

    #[test]
    fn a_page_that_was_begun_before_a_purge_is_not_answered_after_it() {
        check(explore, 3_000, 3);
    }
}

mod in_a_text_store {
    use super::*;

    /// A store that answers every call at a moment of its own, each key of several included, and forgets what it is told to.
    #[derive(Clone, Default)]
    struct Store(Arc<PlainMutex<HashMap<String, Stored>>>);

    impl Store {
        fn later<'a, T: Send + 'a>(
            &'a self,
            work: impl FnOnce(&mut HashMap<String, Stored>) -> Result<T, Error> + Send + 'a,
        ) -> Reply<'a, T> {
            Reply::pending(async move {
                yield_now().await;
                work(&mut self.0.lock().unwrap())
            })
        }

        /// Forgets something: mostly of what is there to tell what was purged.
        fn forget(&self) {
            let mut entries = self.0.lock().unwrap();
            let mut keys: Vec<String> = entries.keys().cloned().collect();
            keys.sort();
            if thread_rng().gen_ratio(7, 8) {
                keys.retain(|key| key.contains(":larder."));
            }
            if !keys.is_empty() {
                entries.remove(&keys[thread_rng().gen_range(0..keys.len())]);
            }
        }
    }

    impl Backend for Store {
        fn name(&self) -> &'static str {
            "model"
        }

        fn get<'a>(&'a self, key: &'a str) -> Reply<'a, Option<Stored>> {
            self.later(move |entries| Ok(entries.get(key).cloned()))
        }

        fn set<'a>(&'a self, key: &'a str, value: Stored, _: Option<Duration>) -> Reply<'a, ()> {
            self.later(move |entries| {
                entries.insert(key.to_owned(), value);
                Ok(())
            })
        }

        fn add<'a>(&'a self, key: &'a str, value: Stored, _: Option<Duration>) -> Reply<'a, bool> {
            self.later(move |entries| {
                let is_new = !entries.contains_key(key);
                entries.entry(key.to_owned()).or_insert(value);
                Ok(is_new)
            })
        }

        fn touch<'a>(&'a self, key: &'a str, _: Option<Duration>) -> Reply<'a, bool> {
            self.later(move |entries| Ok(entries.contains_key(key)))
        }

        fn delete<'a>(&'a self, key: &'a str) -> Reply<'a, bool> {
            self.later(move |entries| Ok(entries.remove(key).is_some()))
        }

        fn incr<'a>(&'a self, key: &'a str, delta: i64) -> Reply<'a, Option<i64>> {
            self.later(move |entries| {
                let Some(stored) = entries.get_mut(key) else { return Ok(None) };
                let (number, next) = counted(key, stored, delta)?;
                *stored = next;
                Ok(Some(number))
            })
        }

        /// Key by key, and slowly, as a store does that has no other way.
        fn clear<'a>(&'a self, prefix: &'a str) -> Reply<'a, ()> {
            Reply::pending(async move {
                let keys: Vec<String> = self.0.lock().unwrap().keys().cloned().collect();
                for key in keys.iter().filter(|key| key.starts_with(prefix)) {
                    for _ in 0..8 {
                        yield_now().await;
                    }
                    self.0.lock().unwrap().remove(key);
                }
                Ok(())
            })
        }
    }

    type Site = BoxCloneSyncService<Request<Empty<Bytes>>, Response<Bytes>, Infallible>;

    /// A process: a layer of its own on the store, whose handler reads the truth.
    fn process(store: &Store, truth: &Truth) -> (Site, Cache, Pages) {
        let cache = Cache::new(store.clone());
        let layer = CacheLayer::per_site().cache(&cache).cache_status("larder");
        let truth = truth.clone();
        let handler = service_fn(move |_: Request<Empty<Bytes>>| {
            let truth = truth.clone();
            async move {
                yield_now().await;
                let read = truth.current.load(SeqCst);
                yield_now().await;
                let mut response = Response::new(Full::new(Bytes::from(read.to_string())));
                response.extensions_mut().insert(Tags::new(["even", "odd"]));
                Ok::<_, Infallible>(response)
            }
        });
        let pages = layer.pages();
        let site = layer.layer(handler).map_future(|answer| async move {
            let (parts, body) = answer.await?.into_parts();
            let body = body.collect().await.expect("it is there").to_bytes();
            Ok(Response::from_parts(parts, body))
        });
        (BoxCloneSyncService::new(site), cache, pages)
    }

    const URL: &str = "http://example.com/page";

    /// Asks for the page; whether it came from the cache.
    async fn ask(site: &Site, truth: &Truth) -> bool {
        let purged = truth.purged.load(SeqCst);
        let request = Request::get(URL).body(Empty::new()).unwrap();
        let answer = site.clone().oneshot(request).await.unwrap();
        let status = answer.headers()["cache-status"].to_str().unwrap().to_owned();
        let read: u64 = std::str::from_utf8(answer.body()).unwrap().parse().unwrap();
        assert!(read >= purged, "a page of {read} after the purge of {purged}: {status}");
        status.contains("; hit")
    }

    #[derive(Clone, Copy)]
    enum Way {
        Tag,
        Url,
        /// Everything. A store of many processes cannot do that at one moment.
        Clear,
    }

    /// So many visitors who ask so often, those who purge twice each in the ways given, and a store that forgets so often.
    fn explore(visitors: usize, ways: &'static [Way], forgets: usize) {
        block_on(async move {
            let (store, truth) = (Store::default(), Truth::default());
            let mut tasks = Vec::new();
            for _ in 0..visitors {
                let ((site, ..), truth) = (process(&store, &truth), truth.clone());
                tasks.push(spawn(async move {
                    for _ in 0..visitors {
                        ask(&site, &truth).await;
                    }
                }));
            }
            for (position, way) in ways.iter().enumerate() {
                let ((_, cache, pages), truth) = (process(&store, &truth), truth.clone());
                tasks.push(spawn(async move {
                    for _ in 0..visitors.min(2) {
                        yield_now().await;
                        let change = truth.change();
                        match way {
                            Way::Tag => cache.purge_tag(["even", "odd"][position % 2]).await.unwrap(),
                            Way::Url => drop(pages.delete(URL).await.unwrap()),
                            Way::Clear => cache.clear().await.unwrap(),
                        }
                        truth.is_purged_up_to(change);
                    }
                }));
            }
            let forgetful = store.clone();
            tasks.push(spawn(async move {
                for _ in 0..forgets {
                    for _ in 0..thread_rng().gen_range(0..12) {
                        yield_now().await;
                    }
                    forgetful.forget();
                }
            }));
            for task in tasks {
                task.await.unwrap();
            }
            let (site, ..) = process(&store, &truth);
            ask(&site, &truth).await;
            assert!(ask(&site, &truth).await, "a page that was begun after all purges is there");
        });
    }

    /// With so few at work nearly every order of their steps is met.
    #[test]
    fn one_fill_and_one_purge() {
        check(|| explore(1, &[Way::Tag], 0), 1_000, 3);
        check(|| explore(1, &[Way::Url], 0), 1_000, 3);
        check(|| explore(1, &[Way::Clear], 0), 1_000, 3);
    }

    #[test]
    fn purges_by_tag() {
        check(|| explore(3, &[Way::Tag, Way::Tag], 0), 400, 4);
    }

    #[test]
    fn purges_by_tag_in_a_store_that_forgets() {
        check(|| explore(3, &[Way::Tag, Way::Tag], 6), 400, 4);
    }

    #[test]
    fn deletions_by_url() {
        check(|| explore(3, &[Way::Url, Way::Url], 0), 400, 4);
    }

    #[test]
    fn deletions_by_url_in_a_store_that_forgets() {
        check(|| explore(3, &[Way::Url, Way::Url], 6), 400, 4);
    }

    #[test]
    fn all_of_it_at_once() {
        check(|| explore(3, &[Way::Tag, Way::Url, Way::Clear], 3), 400, 4);
    }
}

//! The pages of one address under threads: hits that make heads ready, fills, deletes and expiry at the same time.
//! What was deleted or has expired is not answered again, whatever a hit puts back in its place.

#[path = "world/in_process.rs"]
mod chosen;
mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use larder::backend::{Backend, Memory, Object};
use larder::{Cache, CacheLayer, ManualClock, Timestamp};
use tower::Layer;

use world::{HOME, Handler, ask, get, get_with, page};

const RACE: Duration = Duration::from_millis(1_500);
const VARIANTS: u64 = 6;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

fn race(max_bytes: usize, most_variants: usize) {
    let hands = ManualClock::at(Timestamp::from_secs(1_700_000_000));
    let memory = Memory::builder().max_bytes(max_bytes).clock(hands.clock()).build();
    let layer = CacheLayer::per_site().cache(&Cache::new(memory.clone())).timeout(10).most_variants(most_variants);
    let handler = Handler::new(|request, _| {
        let mut response = page(request.headers["x-a"].as_bytes().to_vec());
        response.headers_mut().insert("vary", "x-a".parse().unwrap());
        response
    });
    let site = layer.layer(handler.clone());
    let pages = layer.pages();
    let (is_over, end) = (AtomicBool::new(false), Instant::now() + RACE);
    let asked = AtomicU64::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            block_on(async {
                while Instant::now() < end && !is_over.load(SeqCst) {
                    pages.delete(HOME).await.unwrap();
                    thread::yield_now();
                    hands.advance(Duration::from_millis(1_700));
                }
                is_over.store(true, SeqCst);
            });
        });
        for visitor in 0..3u64 {
            let (site, asked, is_over) = (site.clone(), &asked, &is_over);
            scope.spawn(move || {
                block_on(async {
                    let mut turn = visitor;
                    while !is_over.load(SeqCst) {
                        turn += 1;
                        let variant = (turn % VARIANTS).to_string();
                        let answer = ask(&site, get_with(HOME, &[("x-a", &variant)])).await;
                        assert_eq!(answer.text(), variant, "another visitor's page");
                        let age: u64 = answer.header("age").parse().unwrap_or(0);
                        assert!(age < 10, "a page that had expired: {answer:?}");
                        asked.fetch_add(1, SeqCst);
                    }
                });
            });
        }
    });
    assert!(asked.load(SeqCst) > 100);
    // Nobody is there any more: what is left is what it says, and deleting leaves nothing.
    block_on(async {
        pages.delete(HOME).await.unwrap();
        assert!(pages.get(HOME).await.unwrap().is_none());
        assert_eq!((memory.entries(), memory.usage()), (0, 0), "weights are exact after all");
        let calls = handler.calls();
        ask(&site, get_with(HOME, &[("x-a", "0")])).await;
        assert_eq!(handler.calls(), calls + 1);
    });
}

#[test]
fn hits_fills_and_deletes_of_one_address() {
    race(1 << 20, 64);
}

#[test]
fn hits_fills_and_deletes_of_one_address_with_room_for_two_variants() {
    race(1 << 20, 2);
}

#[test]
fn hits_fills_and_deletes_of_one_address_with_hardly_any_room() {
    race(1_400, 64);
}

#[test]
fn a_page_that_is_deleted_while_its_head_is_made_ready_stays_deleted() {
    // One visitor fills, and has his answer before each delete. The others get what lies there, and what they are answered
    // otherwise is not stored: after the delete nothing may be there, whatever the hits put back.
    let layer = CacheLayer::per_site().cache(&Cache::memory());
    let handler = Handler::new(|request, _| {
        let mut response = page("a page");
        if request.headers.contains_key("x-only-hits") {
            response.headers_mut().insert("cache-control", "no-store".parse().unwrap());
        }
        response
    });
    let (site, pages) = (layer.layer(handler), layer.pages());
    let is_over = AtomicBool::new(false);
    let hits = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..3 {
            let (site, is_over, hits) = (site.clone(), &is_over, &hits);
            scope.spawn(move || {
                block_on(async {
                    while !is_over.load(SeqCst) {
                        let answer = ask(&site, get_with(HOME, &[("x-only-hits", "1")])).await;
                        hits.fetch_add(u64::from(answer.headers.contains_key("age")), SeqCst);
                    }
                });
            });
        }
        block_on(async {
            let end = Instant::now() + RACE;
            let mut came_back = 0;
            while Instant::now() < end {
                ask(&site, get(HOME)).await;
                thread::yield_now();
                pages.delete(HOME).await.unwrap();
                came_back += u32::from(pages.get(HOME).await.unwrap().is_some());
            }
            is_over.store(true, SeqCst);
            assert_eq!(came_back, 0);
        });
    });
    assert!(hits.load(SeqCst) > 100);
}

#[test]
fn a_refined_object_does_not_bring_back_what_is_gone() {
    struct Thing(Timestamp);
    impl Object for Thing {
        fn weight(&self) -> usize {
            10
        }
        fn expires_at(&self) -> Timestamp {
            self.0
        }
    }
    let thing = || Arc::new(Thing(Timestamp::NEVER)) as Arc<dyn Object>;
    let memory = Memory::new();
    let objects = memory.objects().unwrap();
    let key = b"\xFF:1:\xFFkey";
    let (first, second) = (thing(), thing());
    objects.update(key, &mut |_| Some(first.clone()));
    objects.remove(key);
    objects.refine(key, &first, thing());
    assert!(objects.get(key).is_none(), "removed");
    objects.update(key, &mut |_| Some(second.clone()));
    objects.refine(key, &first, thing());
    assert!(Arc::ptr_eq(&objects.get(key).unwrap(), &second), "replaced");
    block_on(async { memory.clear(":1:").await.unwrap() });
    objects.refine(key, &second, thing());
    assert!(objects.get(key).is_none(), "cleared");
}

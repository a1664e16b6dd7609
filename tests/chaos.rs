//! Chaos: 64 clients ask for two dozen URLs while visitors hang up, handlers fail, panic and break their bodies off, pages
//! are purged, and the store's server restarts. Each body says whose it is; not one visitor may see another's page, half a
//! page, or a page from before a purge that was complete when they asked.
//!
//! Ten seconds each; `LARDER_CHAOS_SECONDS=60 cargo test --release --features full --test chaos -- --nocapture` runs it for
//! longer, and `LARDER_CHAOS_SEED` throws the dice of an earlier run again (what happens at the same time still differs).
#![allow(missing_docs)]

#[path = "chaos/mod.rs"]
mod chaos;
mod real;

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use chaos::ledger::Ledger;
use chaos::{Beside, Chaos, seed, trouble};
use larder::backend::{Backend, Memory, Patience, Redis};
use larder::memcached::Client;
use larder::{Cache, ManualClock, Timestamp};

fn length() -> Duration {
    let seconds = std::env::var("LARDER_CHAOS_SECONDS").ok();
    Duration::from_secs(seconds.map_or(10, |seconds| seconds.parse().expect("LARDER_CHAOS_SECONDS is a number")))
}

/// A run in which nothing happened says nothing.
fn assert_that_things_happened(ledger: &Ledger, restarts: bool) {
    let count = &ledger.count;
    let happened = [
        ("asked", &count.asked, 500),
        ("hits", &count.hits, 50),
        ("not modified", &count.not_modified, 1),
        ("cancelled", &count.cancelled, 10),
        ("failed", &count.failed, 1),
        ("broken bodies", &count.broken_bodies, 1),
        ("handled", &count.handled, 50),
        ("deleted", &count.deleted, 20),
        ("restarts", &count.restarts, u64::from(restarts)),
    ];
    for (what, counted, least) in happened {
        assert!(counted.load(SeqCst) >= least, "{what}: {count:?}");
    }
}

const PATIENCE: Duration = Duration::from_secs(1);

/// A cache that does not take a busy machine for a store that is down, and tries again soon after a restart.
fn patient(store: impl Backend) -> Cache {
    let patience = Patience::default().get(PATIENCE).set(PATIENCE).pause(Duration::from_millis(200));
    Cache::builder(store).patience(patience).build()
}

async fn in_memory(name: &'static str, max_bytes: usize) {
    let hands = ManualClock::at(Timestamp::from_secs(1_700_000_000));
    let cache = Cache::new(Memory::builder().max_bytes(max_bytes).clock(hands.clock()).build());
    let chaos =
        Chaos { name, seed: seed(), length: length(), caches: vec![cache], hands: Some(hands), can_clear: true };
    assert_that_things_happened(&*chaos.run(None).await, false);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chaos_in_memory() {
    in_memory("memory", 64 << 20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chaos_in_memory_with_hardly_any_room() {
    in_memory("memory with hardly any room", 200_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chaos_on_a_memcached_that_restarts() {
    let server = Arc::new(real::Memcached::start());
    let client = || Client::builder().server(server.address()).timeout(PATIENCE).build().unwrap();
    let caches = (0..2).map(|_| patient(larder::backend::memcached::Memcached::new(client()))).collect();
    let stop_and_go = Arc::clone(&server);
    let beside: Beside = Box::new(move |ledger, dice, end| {
        let (stop, start) = (real::Memcached::stop, real::Memcached::start_again);
        tokio::spawn(trouble::restart(stop_and_go, stop, start, ledger, dice, end))
    });
    let chaos = Chaos { name: "memcached", seed: seed(), length: length(), caches, hands: None, can_clear: false };
    assert_that_things_happened(&*chaos.run(Some(beside)).await, true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chaos_on_a_redis_that_restarts() {
    let server = Arc::new(real::Redis::start());
    let caches = (0..2).map(|_| patient(Redis::builder(&server.url()).unwrap().build().unwrap())).collect();
    let stop_and_go = Arc::clone(&server);
    let beside: Beside = Box::new(move |ledger, dice, end| {
        let stop = |server: &real::Redis| server.kill();
        tokio::spawn(trouble::restart(stop_and_go, stop, real::Redis::start_again, ledger, dice, end))
    });
    let chaos = Chaos { name: "redis", seed: seed(), length: length(), caches, hands: None, can_clear: false };
    assert_that_things_happened(&*chaos.run(Some(beside)).await, true);
}

//! Rule 22: no number of distinct queries, `Vary` values or long keys takes more than the bytes that were granted.
//! Fewer requests in a debug build, as each is slower there.

use larder::backend::Memory;
use larder::{ManualClock, Timestamp};

use crate::world::{Handler, World, ask, get, get_with, page, world_on};

const BUDGET: usize = 4 << 20;
const REQUESTS: usize = if cfg!(debug_assertions) { 100_000 } else { 1_000_000 };

fn small_world() -> (Memory, World) {
    let hands = ManualClock::at(Timestamp::from_secs(1_700_000_000));
    let memory = Memory::builder().max_bytes(BUDGET).clock(hands.clock()).build();
    (memory.clone(), world_on(memory, hands))
}

fn varying() -> Handler {
    Handler::new(|_, _| {
        let mut response = page("x".repeat(100));
        response.headers_mut().insert("vary", "x-a".parse().unwrap());
        response
    })
}

#[tokio::test]
async fn rule_22_distinct_queries_stay_within_the_budget() {
    let (memory, world) = small_world();
    let site = world.around(&varying());
    for number in 0..REQUESTS {
        ask(&site, get(&format!("http://a/?{number}"))).await;
        if number % 5_000 == 0 {
            assert!(memory.usage() <= BUDGET as u64, "{} bytes after {number}", memory.usage());
        }
    }
    assert!(memory.usage() <= BUDGET as u64, "{} bytes", memory.usage());
    assert!(memory.entries() > 1_000, "and it is made use of: {} entries", memory.entries());
}

#[tokio::test]
async fn rule_22_distinct_vary_values_stay_within_the_budget() {
    let (memory, world) = small_world();
    let site = world.site();
    let site = tower::Layer::layer(&site.most_variants(usize::MAX), varying());
    // With no bound on the variants of a URL, storing one copies them all: fewer and larger ones will do.
    for number in 0..REQUESTS / 250 {
        let value = format!("{number}-{}", "v".repeat(20_000));
        ask(&site, get_with("http://a/", &[("x-a", &value)])).await;
        assert!(memory.usage() <= BUDGET as u64, "{} bytes after {number}", memory.usage());
    }
    let site = world.around(&varying());
    for number in 0..REQUESTS / 50 {
        let value = format!("{number}-{}", "v".repeat(200));
        ask(&site, get_with(&format!("http://b/{}", number / 100), &[("x-a", &value)])).await;
        if number % 500 == 0 {
            assert!(memory.usage() <= BUDGET as u64, "{} bytes after {number}", memory.usage());
        }
    }
}

#[tokio::test]
async fn rule_22_long_keys_and_large_pages_stay_within_the_budget() {
    let (memory, world) = small_world();
    let handler = Handler::new(|request, _| page("x".repeat(request.uri.path().len() * 10)));
    let site = world.around(&handler);
    for number in 0..REQUESTS / 50 {
        let path = "p".repeat(number * 37 % 8_000);
        ask(&site, get(&format!("http://a/{path}?{number}"))).await;
        if number % 100 == 0 {
            assert!(memory.usage() <= BUDGET as u64, "{} bytes after {number}", memory.usage());
        }
    }
}

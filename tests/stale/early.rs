//! Early refresh and jitter: pages that are made anew before they expire, and pages that do not expire together.
//! The formulas are held by tests of their own in `src/page/staleness.rs`; here chance is given no choice, or much room.

use std::time::Duration;

use http::{Method, StatusCode};
use larder::CacheLayer;
use tower::Layer;

use crate::world::gated::{Gated, until};
use crate::world::{HOME, World, ask, get, page, request, settle, worlds};

/// A handler that takes so many seconds.
fn taking(world: &World, seconds: u64, lines: &'static [(&'static str, &'static str)]) -> Gated {
    let hands = world.hands.clone();
    Gated::opened(move |_, call| {
        hands.advance(Duration::from_secs(seconds));
        let mut response = page(format!("answer {call}"));
        response.headers_mut().extend(crate::world::header_map(lines));
        Ok(response)
    })
}

/// A beta that leaves nothing to chance.
const CERTAIN: f64 = 1e12;

#[tokio::test]
async fn a_fresh_page_that_took_long_to_make_is_made_anew_behind() {
    for world in worlds() {
        let handler = taking(&world, 2, &[]);
        let site = world.site().timeout(60).early_refresh(CERTAIN).layer(handler.clone());
        ask(&site, get(HOME)).await;
        settle().await;
        handler.close();
        for _ in 0..10 {
            let answer = ask(&site, get(HOME)).await;
            assert_eq!((answer.text(), answer.is_hit(), &*answer.reason()), ("answer 1", true, ""), "{}", world.name);
        }
        handler.reach(2).await;
        settle().await;
        assert_eq!(handler.calls(), 2, "{}: once", world.name);
        handler.open();
        until(async || ask(&site, get(HOME)).await.text() != "answer 1", "the page is made anew").await;
        settle().await;
    }
}

#[tokio::test]
async fn unless_it_is_asked_for_or_the_page_costs_nothing_no_page_is_made_anew_early() {
    for world in worlds() {
        for (name, beta, seconds) in [("off", 0.0, 2), ("free", CERTAIN, 0), ("far", 1.0, 1)] {
            let handler = taking(&world, seconds, &[]);
            // One second of cost, and an expiry in a day: not once in the age of the universe.
            let layer = world.site().key_prefix(name).timeout(86_400).early_refresh(beta);
            let site = layer.layer(handler.clone());
            ask(&site, get(HOME)).await;
            settle().await;
            for method in [Method::GET, Method::HEAD] {
                assert!(ask(&site, request(method, HOME, &[])).await.is_hit(), "{}", world.name);
            }
            settle().await;
            assert_eq!(handler.calls(), 1, "{} {name}", world.name);
        }
    }
}

#[test]
#[should_panic = "the beta of an early refresh is 0 or more"]
fn a_negative_beta_is_refused() {
    let _ = CacheLayer::per_site().early_refresh(-1.0);
}

#[test]
#[should_panic = "jitter is a part between 0 and 1"]
fn jitter_is_a_part_of_the_lifetime() {
    let _ = CacheLayer::per_site().jitter(f64::NAN);
}

/// The lifetimes of so many pages, in nanoseconds.
async fn lifetimes(world: &World, layer: &CacheLayer, handler: &Gated, pages: u32) -> Vec<u128> {
    let site = layer.layer(handler.clone());
    let mut lifetimes = Vec::new();
    for number in 0..pages {
        let url = format!("{HOME}/{number}");
        let answer = ask(&site, get(&url)).await;
        assert_eq!(answer.header("cache-control").split(", ").next(), Some("max-age=60"), "as without jitter");
        settle().await;
        let stored = layer.pages().get(&*url).await.unwrap().unwrap();
        lifetimes.push(stored.expires_at.since(world.hands.clone().clock().now()).as_nanos());
    }
    lifetimes
}

#[tokio::test]
async fn pages_that_were_stored_together_do_not_expire_together() {
    const SECOND: u128 = 1_000_000_000;
    for world in worlds() {
        let layer = world.site().timeout(60).jitter(0.1);
        let mut seen = lifetimes(&world, &layer, &taking(&world, 0, &[]), 20).await;
        assert!(seen.iter().all(|lifetime| (60 * SECOND..66 * SECOND).contains(lifetime)), "{}: {seen:?}", world.name);
        seen.sort_unstable();
        seen.dedup();
        assert!(seen.len() > 10, "{}: {seen:?}", world.name);
        let exact = world.site().key_prefix("none").timeout(60);
        assert_eq!(lifetimes(&world, &exact, &taking(&world, 0, &[]), 2).await, [60 * SECOND; 2]);
        let strict = taking(&world, 0, &[("cache-control", "max-age=60, must-revalidate")]);
        let layer = world.site().key_prefix("strict").jitter(1.0);
        assert_eq!(lifetimes(&world, &layer, &strict, 2).await, [60 * SECOND; 2], "it says that it must not");
    }
}

#[tokio::test]
async fn a_page_that_turns_out_to_be_gone_ahead_of_time_is_not_answered_again() {
    for world in worlds() {
        let hands = world.hands.clone();
        let handler = Gated::opened(move |_, call| {
            hands.advance(Duration::from_secs(2));
            let mut response = page(format!("answer {call}"));
            if call > 1 {
                *response.status_mut() = StatusCode::NOT_FOUND;
            }
            Ok(response)
        });
        let site = world.site().timeout(600).early_refresh(CERTAIN).layer(handler);
        ask(&site, get(HOME)).await;
        settle().await;
        assert_eq!(ask(&site, get(HOME)).await.status, StatusCode::OK, "{}", world.name);
        until(async || ask(&site, get(HOME)).await.status == StatusCode::NOT_FOUND, "the page is gone").await;
    }
}

#[tokio::test]
async fn a_page_with_tags_is_made_anew_ahead_of_time_too() {
    for world in worlds() {
        let handler = taking(&world, 2, &[]);
        let site = world.site().timeout(600).tags(["a"]).early_refresh(CERTAIN).layer(handler);
        ask(&site, get(HOME)).await;
        settle().await;
        until(async || ask(&site, get(HOME)).await.text() != "answer 1", "the page is made anew").await;
        settle().await;
        world.cache.purge_tag("a").await.unwrap();
        assert!(!ask(&site, get(HOME)).await.is_hit(), "{}", world.name);
        settle().await;
    }
}

#[tokio::test]
async fn the_layer_of_a_route_says_how_long_its_page_may_live_longer() {
    for world in worlds() {
        let inside = larder::cache_page(60).cache(&world.cache).jitter(1.0).layer(taking(&world, 0, &[]));
        let layer = world.site();
        let site = layer.layer(inside);
        ask(&site, get(HOME)).await;
        settle().await;
        let stored = layer.pages().get(HOME).await.unwrap().unwrap();
        assert!(stored.expires_at.since(stored.stored_at) > Duration::from_secs(60), "{}", world.name);
    }
}

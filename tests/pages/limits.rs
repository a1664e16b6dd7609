//! What the builder's limits mean: the largest body, the most variants.
//! Beyond a limit a page is passed on, or the oldest goes.

use std::convert::Infallible;
use std::sync::Mutex;

use http::Response;
use tower::{Layer, service_fn};

use crate::world::{
    HOME, Handler, Plain, Script, Step, ask, get, get_with, memory_world, page, settle, text_world, worlds,
};

#[tokio::test]
async fn a_body_up_to_the_limit_is_stored_and_a_larger_one_passed_on() {
    for (size, is_stored) in [(0, true), (99, true), (100, true), (101, false), (10_000, false)] {
        for world in worlds() {
            let handler = Handler::new(move |_, _| page("x".repeat(size)));
            let site = world.site().largest_body(100).layer(handler.clone());
            for _ in 0..2 {
                assert_eq!(ask(&site, get(HOME)).await.body.len(), size);
            }
            assert_eq!(handler.calls() == 1, is_stored, "{} {size}", world.name);
        }
    }
}

#[tokio::test]
async fn a_stream_that_grows_beyond_the_limit_goes_by_unharmed() {
    const TEN: &str = "0123456789";
    for (pieces, is_stored) in [(3, true), (4, false), (50, false)] {
        for waits in [false, true] {
            for world in worlds() {
                let calls = std::sync::Arc::new(Mutex::new(0));
                let counted = calls.clone();
                let site = world.site().store_streams(true).largest_body(35).layer(service_fn(move |_: Plain| {
                    *counted.lock().unwrap() += 1;
                    let (open, gate) = tokio::sync::oneshot::channel();
                    tokio::spawn(async move { open.send(()) });
                    let first = if waits { vec![Step::Data(""), Step::Wait(gate)] } else { vec![] };
                    let steps = first.into_iter().chain((0..pieces).map(|_| Step::Data(TEN)));
                    let body = Script::stream(steps);
                    async move { Ok::<_, Infallible>(Response::new(body)) }
                }));
                for _ in 0..2 {
                    assert_eq!(ask(&site, get(HOME)).await.text(), TEN.repeat(pieces));
                    settle().await;
                }
                assert_eq!(*calls.lock().unwrap() == 1, is_stored, "{} {pieces} pieces", world.name);
            }
        }
    }
}

#[tokio::test]
async fn beyond_the_most_variants_the_oldest_goes() {
    let world = memory_world();
    let handler = Handler::saying(&[("vary", "x-a")]);
    let site = world.around(&handler);
    let visit = |number: usize| {
        let site = site.clone();
        async move { ask(&site, get_with(HOME, &[("x-a", &number.to_string())])).await }
    };
    for number in 0..64 {
        visit(number).await;
        world.wait(1);
    }
    for number in 0..64 {
        assert!(visit(number).await.is_hit(), "{number} of 64");
    }
    visit(64).await;
    for number in 1..=64 {
        assert!(visit(number).await.is_hit(), "{number} of 65");
    }
    assert!(!visit(0).await.is_hit(), "the oldest went");
}

#[tokio::test]
async fn one_variant_at_most_is_one() {
    let world = memory_world();
    for most in [0, 1] {
        let handler = Handler::saying(&[("vary", "x-a")]);
        let site = world.site().key_prefix(most.to_string()).most_variants(most).layer(handler.clone());
        for (value, is_hit) in [("a", false), ("a", true), ("b", false), ("b", true), ("a", false)] {
            assert_eq!(ask(&site, get_with(HOME, &[("x-a", value)])).await.is_hit(), is_hit, "{most} {value}");
        }
    }
}

#[tokio::test]
async fn a_text_store_gives_every_variant_its_own_page() {
    let world = text_world();
    let handler = Handler::saying(&[("vary", "x-a")]);
    let site = world.around(&handler);
    for _ in 0..2 {
        for number in 0..65 {
            ask(&site, get_with(HOME, &[("x-a", &number.to_string())])).await;
        }
    }
    assert_eq!(handler.calls(), 65);
}

#[tokio::test]
async fn variants_that_do_not_fit_together_push_out_the_oldest_and_not_all() {
    let hands = larder::ManualClock::at(larder::Timestamp::from_secs(1_700_000_000));
    let memory = larder::backend::Memory::builder().max_bytes(20_000).clock(hands.clock()).build();
    let world = crate::world::world_on(memory.clone(), hands);
    let handler = Handler::new(|_, _| {
        let mut response = page("x".repeat(5_000));
        response.headers_mut().insert("vary", "x-a".parse().unwrap());
        response
    });
    let site = world.around(&handler);
    let visit = |number: usize| {
        let site = site.clone();
        async move { ask(&site, get_with(HOME, &[("x-a", &number.to_string())])).await }
    };
    for number in 0..10 {
        assert!(visit(number).await.cache_status().is_stored);
        assert!(memory.usage() <= 20_000);
        for newer in number.saturating_sub(1)..=number {
            assert!(visit(newer).await.is_hit(), "{newer} after {number}");
        }
    }
    assert!(!visit(0).await.is_hit());
}

//! What depends on the tokio runtime: without one nothing can be made anew behind, a stale page is then a miss and no less a
//! help in need; and on a clock that is turned by hand a refresh that takes for ever is given up.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::Response;
use http_body_util::Full;
use larder::backend::Memory;
use larder::{Cache, CacheLayer, ManualClock, Timestamp};
use tower::{Layer, ServiceExt, service_fn};

use crate::log::Log;
use crate::world::gated::{Failed, Gated, until};
use crate::world::{HOME, Plain, Script, Step, Text, ask, get, memory_world, page, settle, worlds};

/// Polls until it is ready; nothing here waits for long.
fn drive<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
    }
}

#[test]
fn a_stale_page_is_a_miss_without_a_runtime_and_still_better_than_an_error() {
    let hands = ManualClock::at(Timestamp::from_secs(1_700_000_000));
    let cache = Cache::new(Memory::with_clock(hands.clock()));
    let handler = Gated::opened(|_, call| if call < 3 { Ok(page(format!("answer {call}"))) } else { Err(Failed) });
    let layer = CacheLayer::per_site().cache(&cache).cache_status("larder").timeout(60);
    let site = layer.stale_while_revalidate(30).stale_if_error(60).layer(handler.clone());
    let wait = |seconds| hands.advance(Duration::from_secs(seconds));
    assert_eq!(drive(ask(&site, get(HOME))).text(), "answer 1");
    wait(65);
    assert_eq!(drive(ask(&site, get(HOME))).text(), "answer 2", "made while the visitor waits");
    wait(65);
    let answer = drive(ask(&site, get(HOME)));
    assert_eq!((answer.text(), &*answer.reason()), ("answer 2", "stale-if-error"));
    wait(60);
    assert_eq!(drive(site.oneshot(get(HOME))).unwrap_err(), Failed);
    assert_eq!(handler.calls(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_takes_for_ever_is_given_up_and_the_next_visitor_tries_again() {
    let world = memory_world();
    let handler = Gated::opened(|_, call| Ok(page(format!("answer {call}"))));
    let site = world.site().timeout(60).stale_while_revalidate(30).layer(handler.clone());
    ask(&site, get(HOME)).await;
    world.wait(65);
    handler.close();
    ask(&site, get(HOME)).await;
    handler.reach(2).await;
    tokio::time::sleep(Duration::from_secs(59)).await;
    assert_eq!(ask(&site, get(HOME)).await.text(), "answer 1");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(handler.calls(), 2);
    assert_eq!(ask(&site, get(HOME)).await.text(), "answer 1");
    handler.reach(3).await;
    handler.open();
    until(async || ask(&site, get(HOME)).await.text() == "answer 3", "the page is made anew").await;
}

#[tokio::test]
async fn a_page_whose_body_comes_slowly_is_made_anew_to_its_end() {
    for world in worlds() {
        let (bodies, gates): (Vec<Script>, Vec<_>) = (0..2)
            .map(|call| {
                let (gate, wait) = tokio::sync::oneshot::channel();
                let text = if call == 0 { "first" } else { "other" };
                (Script::of_length(7, [Step::Data("a "), Step::Wait(wait), Step::Data(text)]), gate)
            })
            .unzip();
        let bodies = Arc::new(Mutex::new(VecDeque::from(bodies)));
        let mut gates = gates.into_iter();
        let site = world.site().timeout(60).stale_while_revalidate(30).layer(service_fn(move |_: Plain| {
            let body = bodies.lock().unwrap().pop_front().unwrap();
            async move { Ok::<_, Infallible>(Response::new(body)) }
        }));
        gates.next().unwrap().send(()).unwrap();
        assert_eq!(ask(&site, get(HOME)).await.text(), "a first");
        settle().await;
        world.wait(65);
        assert_eq!(ask(&site, get(HOME)).await.text(), "a first", "{}", world.name);
        settle().await;
        assert_eq!(ask(&site, get(HOME)).await.text(), "a first", "{}", world.name);
        gates.next().unwrap().send(()).unwrap();
        until(async || ask(&site, get(HOME)).await.text() == "a other", "the page is made anew").await;
    }
}

#[test]
fn what_is_stale_is_told_in_events() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let log = Log::default();
    let _reading = log.read_along();
    let world = memory_world();
    runtime.block_on(async {
        let handler = Gated::opened(|_, call| match call {
            1 => Ok(page("a page")),
            2 => Ok(Response::builder().status(503).body(Full::from("down")).unwrap()),
            _ => Err(Failed),
        });
        let layer =
            CacheLayer::per_site().cache(&world.cache).timeout(60).stale_while_revalidate(30).stale_if_error(90);
        let site = layer.layer(handler.clone());
        ask(&site, get(HOME)).await;
        world.wait(65);
        ask(&site, get(HOME)).await;
        handler.reach(2).await;
        settle().await;
        world.wait(40);
        assert_eq!(ask(&site, get(HOME)).await.text(), "a page");
    });
    let lines = log.lines();
    let is_told = |words: &[&str]| lines.iter().any(|line| words.iter().all(|word| line.contains(word)));
    assert!(is_told(&["hit, stale while it is made anew", "late=5"]), "{lines:?}");
    assert!(is_told(&["not stored", "status"]), "{lines:?}");
    assert!(is_told(&["answered with a stale page"]), "{lines:?}");
}

#[tokio::test]
async fn of_two_processes_one_makes_the_page_anew_where_they_take_leases() {
    for beta in [0.0, 1e12] {
        let hands = ManualClock::at(Timestamp::from_secs(1_700_000_000));
        let text = Text::new(hands.clock());
        let handler = Gated::opened({
            let hands = hands.clone();
            move |_, call| {
                hands.advance(Duration::from_secs(2));
                Ok(page(format!("answer {call}")))
            }
        });
        let sites = [(), ()].map(|()| {
            let layer = CacheLayer::per_site().cache(&Cache::new(text.clone())).cache_status("larder").timeout(60);
            layer.stale_while_revalidate(30).early_refresh(beta).lease(true).layer(handler.clone())
        });
        ask(&sites[0], get(HOME)).await;
        settle().await;
        handler.close();
        if beta == 0.0 {
            hands.advance(Duration::from_secs(63));
        }
        for site in sites.iter().chain(&sites) {
            assert_eq!(ask(site, get(HOME)).await.text(), "answer 1");
            handler.reach(2).await;
            settle().await;
        }
        assert_eq!(handler.calls(), 2, "{beta}");
        handler.open();
        for site in &sites {
            until(async || ask(site, get(HOME)).await.text() != "answer 1", "the page is made anew").await;
        }
        settle().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_handler_whose_visitor_has_hung_up_goes_on_for_those_who_wait() {
    let world = memory_world();
    let handler = Gated::opened(|_, call| Ok(page(format!("answer {call}"))));
    let (patience, seconds) = (Duration::from_secs(10), Duration::from_secs);
    let layer = world.site().timeout(60).stale_if_error(600).stale_after(patience).longest_wait(patience);
    let site = layer.layer(handler.clone());
    let visit = || {
        let site = site.clone();
        tokio::spawn(async move { ask(&site, get(HOME)).await.text().to_owned() })
    };
    ask(&site, get(HOME)).await;
    world.wait(65);
    handler.close();
    let first = visit();
    handler.reach(2).await;
    tokio::time::sleep(seconds(6)).await;
    let second = visit();
    tokio::time::sleep(seconds(1)).await;
    first.abort();
    // The first one's patience is over by then, that of the second is not.
    tokio::time::sleep(seconds(5)).await;
    handler.open();
    assert_eq!(second.await.unwrap(), "answer 2");
    assert_eq!(handler.calls(), 2);
}

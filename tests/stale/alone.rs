//! Without a tokio runtime nothing can be made anew behind: a stale page is then a miss, and no less a help in need.

use std::future::Future;
use std::task::{Context, Poll, Waker};

use larder::backend::Memory;
use larder::{Cache, CacheLayer, ManualClock, Timestamp};
use tower::{Layer, ServiceExt};

use crate::gate::{Failed, Gated};
use crate::world::{HOME, ask, get, page};

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
    let handler = Gated::new(|_, call| if call < 3 { Ok(page(format!("answer {call}"))) } else { Err(Failed) });
    let layer = CacheLayer::per_site().cache(&cache).cache_status("larder").timeout(60);
    let site = layer.stale_while_revalidate(30).stale_if_error(60).layer(handler.clone());
    let wait = |seconds| hands.advance(std::time::Duration::from_secs(seconds));
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

//! Runtimes in which nobody can wait: everybody runs the handler, and nothing fails.

use tower::Layer;

use crate::world::gated::Gated;
use crate::world::{HOME, World, ask, get, memory_world, page, text_world};

async fn two_at_once(world: &World, handler: &Gated) {
    let site = world.site().layer(handler.clone());
    let (first, second, ()) = tokio::join!(ask(&site, get(HOME)), ask(&site, get(HOME)), async {
        // Both are on their way before either is answered.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        handler.open();
    });
    assert!(first.text().starts_with("answer") && second.text().starts_with("answer"));
    assert!(ask(&site, get(HOME)).await.text().starts_with("answer"));
}

#[test]
fn a_runtime_without_timers_lets_nobody_wait() {
    for world in [memory_world(), text_world()] {
        let handler = Gated::new(|_, call| page(format!("answer {call}")));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(two_at_once(&world, &handler));
        assert!((1..=3).contains(&handler.calls()), "{}", world.name);
    }
}

#[test]
fn without_a_runtime_nobody_waits() {
    // A store that answers at once needs none.
    let world = memory_world();
    let handler = Gated::new(|_, call| page(format!("answer {call}")));
    block_on(two_at_once(&world, &handler));
    assert_eq!(handler.calls(), 2);
}

/// Runs a future with nothing around it.
fn block_on(future: impl Future<Output = ()>) {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    while future.as_mut().poll(&mut context).is_pending() {
        std::thread::yield_now();
    }
}

//! Waiting is bounded: by time, and by how many wait. Then a visitor runs the handler himself.

use std::time::Duration;

use tower::Layer;

use crate::crowd::{answers, crowd};
use crate::world::gated::Gated;
use crate::world::{HOME, ask, get, page, worlds};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_longest_wait_one_runs_the_handler() {
    for world in worlds() {
        let handler = Gated::new(|_, call| page(format!("answer {call}")));
        let site = world.site().longest_wait(Duration::from_millis(20)).layer(handler.clone());
        let tasks = crowd(&site, 10, |_| get(HOME)).await;
        handler.is_asked(10).await;
        handler.open();
        answers(tasks).await;
        assert_eq!(handler.calls(), 10, "{}", world.name);
        ask(&site, get(HOME)).await;
        assert!(ask(&site, get(HOME)).await.is_hit(), "{}", world.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_the_most_waiters_one_runs_the_handler() {
    for world in worlds() {
        let handler = Gated::new(|_, call| page(format!("answer {call}")));
        let site = world.site().longest_wait(Duration::from_secs(600)).most_waiters(7).layer(handler.clone());
        let tasks = crowd(&site, 20, |_| get(HOME)).await;
        handler.is_asked(13).await;
        crate::world::settle().await;
        assert_eq!(handler.calls(), 13, "{}: one leads, seven wait", world.name);
        handler.open();
        answers(tasks).await;
        assert_eq!(handler.calls(), 13, "{}", world.name);
    }
}

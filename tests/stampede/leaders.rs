//! The visitor who happens to be the first hangs up: before the head, in the body, with others waiting and without.
//! And pages that are deleted while they are made.

use std::time::Duration;

use larder::KeyScheme;
use tower::{Layer, ServiceExt};

use crate::crowd::{answers, crowd, soon};
use crate::world::gated::{Gated, until};
use crate::world::{HOME, ask, get, page, settle, worlds};

const LONG: Duration = Duration::from_secs(600);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_who_hangs_up_before_the_head_does_not_stop_the_fill() {
    for world in worlds() {
        let handler = Gated::new(|_, call| page(format!("answer {call}")));
        let site = world.site().longest_wait(LONG).layer(handler.clone());
        let leader = tokio::spawn(site.clone().oneshot(get(HOME)));
        handler.is_asked(1).await;
        let tasks = crowd(&site, 100, |_| get(HOME)).await;
        leader.abort();
        assert!(leader.await.unwrap_err().is_cancelled());
        settle().await;
        handler.open();
        assert!(answers(tasks).await.iter().all(|answer| answer.text() == "answer 1"), "{}", world.name);
        assert_eq!(handler.calls(), 1, "{}", world.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fill_that_nobody_waits_for_ends_with_its_visitor() {
    for world in worlds() {
        let handler = Gated::new(|_, call| page(format!("answer {call}")));
        let site = world.site().longest_wait(LONG).layer(handler.clone());
        let leader = tokio::spawn(site.clone().oneshot(get(HOME)));
        handler.is_asked(1).await;
        leader.abort();
        handler.has_ended(1).await;
        handler.open();
        settle().await;
        assert!(!ask(&site, get(HOME)).await.is_hit(), "{}", world.name);
        assert_eq!(handler.calls(), 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fill_that_everybody_left_ends_with_the_last() {
    for world in worlds() {
        let handler = Gated::new(|_, call| page(format!("answer {call}")));
        let site = world.site().longest_wait(LONG).layer(handler.clone());
        let leader = tokio::spawn(site.clone().oneshot(get(HOME)));
        handler.is_asked(1).await;
        let tasks = crowd(&site, 3, |_| get(HOME)).await;
        leader.abort();
        settle().await;
        tasks.iter().for_each(|task| task.abort());
        handler.has_ended(1).await;
        handler.open();
        assert_eq!(ask(&site, get(HOME)).await.text(), "answer 2", "{}", world.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_option_a_fill_goes_on_to_its_end_for_nobody() {
    for world in worlds() {
        for coalesces in [true, false] {
            let handler = Gated::new(|_, call| page(format!("answer {call}")));
            let layer = world.site().key_prefix(coalesces.to_string()).coalesce(coalesces).finish_fills(true);
            let (site, pages) = (layer.layer(handler.clone()), layer.pages());
            let leader = tokio::spawn(site.clone().oneshot(get(HOME)));
            handler.is_asked(1).await;
            leader.abort();
            assert!(leader.await.unwrap_err().is_cancelled());
            handler.open();
            let begun = std::time::Instant::now();
            while pages.get(HOME).await.unwrap().is_none() {
                assert!(begun.elapsed() < crate::world::gated::PATIENCE, "{} {coalesces}", world.name);
            }
            assert_eq!(ask(&site, get(HOME)).await.text(), "answer 1", "{}", world.name);
            assert_eq!(handler.calls(), 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_after_a_deletion_does_not_wait_for_the_fill_before_it() {
    for world in worlds() {
        let handler = Gated::new(|_, call| page(format!("answer {call}")));
        let layer = world.site().longest_wait(LONG);
        let site = layer.layer(handler.clone());
        let before = crowd(&site, 5, |_| get(HOME)).await;
        handler.is_asked(1).await;
        layer.pages().delete(HOME).await.unwrap();
        let after = crowd(&site, 5, |_| get(HOME)).await;
        handler.is_asked(2).await;
        settle().await;
        handler.is_asked(2).await;
        assert_eq!(handler.calls(), 2, "{}: those who waited wait with those who came after it", world.name);
        handler.open();
        for answer in answers(after).await {
            assert_ne!(answer.text(), "answer 1", "{}", world.name);
        }
        answers(before).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn layers_behind_each_other_on_one_cache_do_not_wait_for_each_other() {
    for world in worlds() {
        let handler = Gated::new(|_, call| page(format!("answer {call}")));
        handler.open();
        let inner = world.site().longest_wait(LONG).key_scheme(KeyScheme::Django52).layer(handler.clone());
        let site = world.site().longest_wait(LONG).layer(inner);
        let tasks = crowd(&site, 20, |_| get(HOME)).await;
        assert!(answers(tasks).await.iter().all(|answer| answer.text() == "answer 1"), "{}", world.name);
        let inner = world.site().longest_wait(LONG).key_prefix("same").layer(handler.clone());
        let site = world.site().longest_wait(LONG).key_prefix("same").layer(inner);
        let tasks = crowd(&site, 20, |_| get(HOME)).await;
        assert!(answers(tasks).await.iter().all(|answer| answer.text() == "answer 2"), "{}", world.name);
        assert_eq!(handler.calls(), 2, "{}", world.name);
    }
}

#[tokio::test]
async fn a_future_that_is_never_polled_keeps_nobody_waiting() {
    for world in worlds() {
        let handler = Gated::new(|_, call| page(format!("answer {call}")));
        handler.open();
        let site = world.site().longest_wait(LONG).layer(handler.clone());
        let idle = tower::Service::call(&mut site.clone(), get(HOME));
        assert_eq!(soon("the other", ask(&site, get(HOME))).await.text(), "answer 1", "{}", world.name);
        drop(idle);
        until(async || handler.calls() == 1, "it is called once").await;
    }
}

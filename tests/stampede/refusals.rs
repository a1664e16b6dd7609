//! What is not stored is nobody else's: those who waited for it run the handler themselves, and for a while nobody waits.
//! Rules 5, 18 and 19 for those who wait.

use std::collections::HashSet;
use std::time::Duration;

use http::StatusCode;
use tower::{Layer, ServiceExt};

use crate::crowd::{answers, crowd, soon};
use crate::world::gated::{Failed, Gated};
use crate::world::{HOME, ask, get, page, worlds};

const LONG: Duration = Duration::from_secs(600);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_5_a_cookie_is_never_handed_to_one_who_waits() {
    for world in worlds() {
        let handler = Gated::new(|_, call| {
            let mut response = page(format!("answer {call}"));
            response.headers_mut().insert("set-cookie", format!("session={call}").parse().unwrap());
            response
        });
        let site = world.site().longest_wait(LONG).layer(handler.clone());
        let tasks = crowd(&site, 100, |_| get(HOME)).await;
        handler.is_asked(1).await;
        assert_eq!(handler.calls(), 1, "{}", world.name);
        handler.open();
        let mut cookies = HashSet::new();
        for answer in answers(tasks).await {
            assert!(cookies.insert(answer.header("set-cookie").to_owned()), "{}: {answer:?}", world.name);
        }
        assert_eq!(handler.calls(), 100, "{}", world.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_stored_runs_side_by_side_for_two_minutes() {
    for world in worlds() {
        let handler = Gated::new(|_, call| {
            let mut response = page(format!("answer {call}"));
            let control = if call <= 12 { "private" } else { "max-age=30" };
            response.headers_mut().insert("cache-control", control.parse().unwrap());
            response
        });
        let site = world.site().longest_wait(LONG).layer(handler.clone());
        handler.open();
        ask(&site, get(HOME)).await;
        handler.close();
        let tasks = crowd(&site, 10, |_| get(HOME)).await;
        handler.is_asked(11).await;
        handler.open();
        answers(tasks).await;
        assert_eq!(handler.calls(), 11, "{}", world.name);

        // Remembered for two minutes after the last one that was not stored.
        world.wait(120);
        handler.close();
        let tasks = crowd(&site, 10, |_| get(HOME)).await;
        handler.is_asked(12).await;
        assert_eq!(handler.calls(), 12, "{}: one for all", world.name);
        handler.open();
        answers(tasks).await;
        assert!(handler.calls() > 12, "{}", world.name);

        // One that is stored ends it: from now on one leads again.
        ask(&site, get(HOME)).await;
        assert!(ask(&site, get(HOME)).await.is_hit(), "{}", world.name);
        world.wait(30);
        handler.close();
        let calls = handler.calls();
        let tasks = crowd(&site, 10, |_| get(HOME)).await;
        handler.is_asked(calls + 1).await;
        assert_eq!(handler.calls(), calls + 1, "{}", world.name);
        handler.open();
        answers(tasks).await;
        assert_eq!(handler.calls(), calls + 1, "{}", world.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_18_an_error_of_the_handler_is_everybodys_own() {
    for world in worlds() {
        let handler = Gated::new(|_, call| {
            let mut response = page(format!("failure {call}"));
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response
        });
        let site = world.site().longest_wait(LONG).layer(handler.clone());
        let tasks = crowd(&site, 100, |_| get(HOME)).await;
        handler.open();
        let answers = answers(tasks).await;
        let bodies: HashSet<_> = answers.iter().map(|answer| answer.text()).collect();
        assert!(answers.iter().all(|answer| answer.status == 500) && bodies.len() == 100, "{}", world.name);
        assert!(world.site().pages().get(HOME).await.unwrap().is_none(), "{}", world.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_18_a_service_that_fails_fails_for_each_and_nobody_hangs() {
    for world in worlds() {
        let handler = Gated::trying(|_, call| if call <= 100 { Err(Failed) } else { Ok(page("at last")) });
        let site = world.site().longest_wait(LONG).layer(handler.clone());
        let visits: Vec<_> = (0..100).map(|_| tokio::spawn(site.clone().oneshot(get(HOME)))).collect();
        crate::world::settle().await;
        handler.open();
        for visit in visits {
            assert_eq!(soon("a visitor", visit).await.unwrap().err(), Some(Failed), "{}", world.name);
        }
        assert_eq!(handler.calls(), 100, "{}", world.name);
        // An error is no answer: the next crowd is led again.
        handler.close();
        let tasks = crowd(&site, 10, |_| get(HOME)).await;
        handler.open();
        assert!(answers(tasks).await.iter().all(|answer| answer.text() == "at last"));
        assert_eq!(handler.calls(), 101, "{}", world.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_18_a_panic_of_the_handler_wakes_everybody() {
    for world in worlds() {
        let handler = Gated::new(|_, call| {
            assert!(call > 1, "the handler panics the first time");
            page("whole")
        });
        let site = world.site().longest_wait(LONG).layer(handler.clone());
        let tasks = crowd(&site, 20, |_| get(HOME)).await;
        handler.open();
        let mut panics = 0;
        for task in tasks {
            match soon("a visitor", task).await {
                Ok(answer) => assert_eq!(answer.text(), "whole", "{}", world.name),
                Err(error) => panics += usize::from(error.is_panic()),
            }
        }
        assert_eq!(panics, 1, "{}: the leader's alone", world.name);
        ask(&site, get(HOME)).await;
        assert!(ask(&site, get(HOME)).await.is_hit(), "{}", world.name);
    }
}

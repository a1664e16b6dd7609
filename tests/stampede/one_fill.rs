//! One execution for a crowd, whatever they ask for and wherever the page is kept.
//! What is not for everybody, everybody gets for himself.

use std::collections::HashSet;
use std::time::Duration;

use http::Method;
use larder::cache_page;
use tower::Layer;

use crate::crowd::{answers, crowd};
use crate::world::gated::Gated;
use crate::world::{HOME, ask, get, get_with, page, request, worlds};

const LONG: Duration = Duration::from_secs(600);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_visitors_of_a_cold_page_run_the_handler_once() {
    for world in worlds() {
        let handler = Gated::new(|_, call| page(format!("answer {call}")));
        let site = world.site().longest_wait(LONG).layer(handler.clone());
        let tasks = crowd(&site, 1_000, |_| get(HOME)).await;
        handler.open();
        let answers = answers(tasks).await;
        assert!(answers.iter().all(|answer| answer.text() == "answer 1"), "{}", world.name);
        assert_eq!(handler.calls(), 1, "{}", world.name);
        let stored = answers.iter().filter(|answer| answer.cache_status().is_stored).count();
        assert_eq!(stored, 1, "{}: one of them is told that it was stored", world.name);
        for answer in &answers {
            let told = answer.header("cache-status");
            let is_told = ["larder; fwd=uri-miss; stored", "larder; fwd=uri-miss; collapsed"].contains(&told);
            assert!(is_told || told.starts_with("larder; hit; "), "{}: {told}", world.name);
        }
        assert!(ask(&site, get(HOME)).await.is_hit());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_meets_on_layers_that_are_made_anew_for_each_request() {
    for world in worlds() {
        let handler = Gated::new(|_, call| page(format!("answer {call}")));
        let layer = world.site().longest_wait(LONG);
        let sites: Vec<_> = (0..20).map(|_| layer.clone().layer(handler.clone())).collect();
        let mut tasks = Vec::new();
        for site in &sites {
            tasks.extend(crowd(site, 1, |_| get(HOME)).await);
        }
        // Another layer on the same cache.
        let other = cache_page(30).longest_wait(LONG).cache(&world.cache).cache_status("larder").layer(handler.clone());
        tasks.extend(crowd(&other, 5, |_| get(HOME)).await);
        handler.open();
        assert!(answers(tasks).await.iter().all(|answer| answer.text() == "answer 1"), "{}", world.name);
        assert_eq!(handler.calls(), 1, "{}", world.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_19_every_variant_gets_its_own_page_from_one_run_each() {
    for world in worlds() {
        let handler = Gated::new(|request, call| {
            let mut response = page(format!("{} {call}", request.headers["x-a"].to_str().unwrap()));
            response.headers_mut().insert("vary", "x-a".parse().unwrap());
            response
        });
        let site = world.site().longest_wait(LONG).layer(handler.clone());
        let variant = |visitor: usize| (visitor % 5).to_string();
        let tasks = crowd(&site, 200, |visitor| get_with(HOME, &[("x-a", &variant(visitor))])).await;
        handler.is_asked(1).await;
        assert_eq!(handler.calls(), 1, "{}: nobody knows yet that it varies", world.name);
        handler.open();
        let mut runs = HashSet::new();
        for (visitor, answer) in answers(tasks).await.iter().enumerate() {
            let (given, run) = answer.text().split_once(' ').unwrap();
            assert_eq!(given, variant(visitor), "{}: another visitor's page", world.name);
            runs.insert(run.to_owned());
        }
        assert_eq!((handler.calls(), runs.len()), (5, 5), "{}", world.name);

        // Now that it is known, the variants do not wait for each other.
        handler.close();
        let tasks = crowd(&site, 20, |visitor| get_with(HOME, &[("x-a", &format!("new {}", visitor % 4))])).await;
        handler.is_asked(9).await;
        handler.open();
        answers(tasks).await;
        assert_eq!(handler.calls(), 9, "{}", world.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_never_fills_the_page_of_a_get_and_both_are_made_once() {
    for world in worlds() {
        let handler = Gated::new(|request, call| {
            page(if request.method == Method::HEAD { String::new() } else { format!("answer {call}") })
        });
        let site = world.site().longest_wait(LONG).layer(handler.clone());
        let method = |visitor: usize| if visitor.is_multiple_of(2) { Method::HEAD } else { Method::GET };
        let tasks = crowd(&site, 100, |visitor| request(method(visitor), HOME, &[])).await;
        handler.open();
        for (visitor, answer) in answers(tasks).await.iter().enumerate() {
            let is_empty = method(visitor) == Method::HEAD;
            assert_eq!(answer.body.is_empty(), is_empty, "{} {visitor} {answer:?}", world.name);
        }
        assert_eq!(handler.calls(), 2, "{}", world.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_6_credentials_wait_only_for_what_is_public() {
    let [public, private] = [true, false].map(|is_public| worlds().into_iter().map(move |world| (world, is_public)));
    for (world, is_public) in public.chain(private) {
        let handler = Gated::new(move |request, call| {
            let user = request.headers["authorization"].to_str().unwrap();
            let mut response = page(if is_public { "for all".to_owned() } else { format!("{user} {call}") });
            if is_public {
                response.headers_mut().insert("cache-control", "public".parse().unwrap());
            }
            response
        });
        let site = world.site().longest_wait(LONG).layer(handler.clone());
        let user = |visitor: usize| format!("user-{visitor}");
        let tasks = crowd(&site, 50, |visitor| get_with(HOME, &[("authorization", &user(visitor))])).await;
        handler.is_asked(1).await;
        assert_eq!(handler.calls(), 1, "{}", world.name);
        handler.open();
        for (visitor, answer) in answers(tasks).await.iter().enumerate() {
            let is_right =
                if is_public { answer.text() == "for all" } else { answer.text().starts_with(&(user(visitor) + " ")) };
            assert!(is_right, "{}: {answer:?} for {visitor}", world.name);
        }
        assert_eq!(handler.calls(), if is_public { 1 } else { 50 }, "{}", world.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_visitor_without_credentials_does_not_wait_for_one_who_has_some() {
    for world in worlds() {
        let handler = Gated::new(|_, call| page(format!("answer {call}")));
        let site = world.site().longest_wait(LONG).layer(handler.clone());
        let tasks =
            crowd(
                &site,
                10,
                |visitor| {
                    if visitor < 5 { get_with(HOME, &[("authorization", "Basic YTpi")]) } else { get(HOME) }
                },
            )
            .await;
        handler.is_asked(2).await;
        handler.open();
        answers(tasks).await;
        assert_eq!(handler.calls(), 6, "{}: one for all who have none, and each of the others", world.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_the_page_already_is_told_so_after_the_wait() {
    for world in worlds() {
        let handler = Gated::new(|_, _| {
            let mut response = page("tagged");
            response.headers_mut().insert("etag", "\"v1\"".parse().unwrap());
            response
        });
        let site = world.site().longest_wait(LONG).layer(handler.clone());
        let tasks = crowd(&site, 1, |_| get(HOME)).await;
        handler.is_asked(1).await;
        let knowing = crowd(&site, 5, |_| get_with(HOME, &[("if-none-match", "\"v1\"")])).await;
        handler.open();
        assert!(answers(knowing).await.iter().all(|answer| answer.status == 304), "{}", world.name);
        answers(tasks).await;
        assert_eq!(handler.calls(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_coalescing_everybody_runs_the_handler() {
    for world in worlds() {
        let handler = Gated::new(|_, call| page(format!("answer {call}")));
        let site = world.site().coalesce(false).layer(handler.clone());
        let tasks = crowd(&site, 50, |_| get(HOME)).await;
        handler.is_asked(50).await;
        handler.open();
        answers(tasks).await;
        assert_eq!(handler.calls(), 50, "{}", world.name);
    }
}

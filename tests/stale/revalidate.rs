//! stale-while-revalidate: a page whose time is up is answered at once for a while, and made anew behind, once.
//! Nobody waits for the handler who need not, and nobody gets a page for longer than it was granted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use http::{HeaderMap, Method, Response, StatusCode};
use http_body_util::Full;
use larder::{CacheService, cache_page};
use tower::{Layer, ServiceExt, service_fn};

use crate::world::gated::{Failed, Gated, until};
use crate::world::{
    Answer, CacheStatus, HOME, Lines, Plain, Script, Step, World, ask, get, get_with, head, header_map, page, request,
    settle, worlds,
};

/// Answers `answer 1`, `answer 2` … with these header lines.
fn saying(lines: Lines<'_>) -> Gated {
    let lines = header_map(lines);
    Gated::opened(move |_, call| {
        let mut response = page(format!("answer {call}"));
        response.headers_mut().extend(lines.clone());
        Ok(response)
    })
}

fn stale(seconds: i64) -> CacheStatus {
    CacheStatus {
        cache: "larder".into(),
        is_hit: true,
        ttl: Some(-seconds),
        detail: Some("stale-while-revalidate".into()),
        ..CacheStatus::default()
    }
}

/// Waits until the page for these requests is fresh again.
async fn refreshed(site: &CacheService<Gated>, method: Method, lines: Lines<'_>) -> Answer {
    let mut fresh = None;
    until(
        async || {
            let answer = ask(site, request(method.clone(), HOME, lines)).await;
            let is_fresh = answer.is_hit() && answer.reason().is_empty();
            fresh = Some(answer);
            is_fresh
        },
        "the page is made anew",
    )
    .await;
    settle().await;
    fresh.unwrap()
}

/// A layer of one minute, and half a minute of grace.
fn around(world: &World, handler: &Gated) -> CacheService<Gated> {
    world.site().timeout(60).stale_while_revalidate(30).layer(handler.clone())
}

#[tokio::test]
async fn a_hundred_get_the_stale_page_at_once_and_one_of_them_refreshes_it() {
    for world in worlds() {
        let handler = saying(&[]);
        let site = around(&world, &handler);
        assert_eq!(ask(&site, get(HOME)).await.text(), "answer 1");
        settle().await;
        world.wait(65);
        handler.close();
        for answer in join_all((0..100).map(|_| ask(&site, get(HOME)))).await {
            assert_eq!((answer.status, answer.text()), (StatusCode::OK, "answer 1"), "{}", world.name);
            assert_eq!(answer.header("age"), "65", "it counts on");
            assert_eq!(answer.header("cache-control"), "max-age=60", "who is further out sees that it is stale");
            assert_eq!(answer.cache_status(), stale(5), "{}", world.name);
        }
        handler.reach(2).await;
        // The refresh is under way; nobody starts another.
        ask(&site, get(HOME)).await;
        settle().await;
        assert_eq!(handler.calls(), 2, "{}", world.name);
        handler.open();
        let answer = refreshed(&site, Method::GET, &[]).await;
        assert_eq!((answer.text(), answer.header("age")), ("answer 2", "0"), "{}", world.name);
        assert_eq!(answer.cache_status().ttl, Some(60));
        assert_eq!(handler.calls(), 2);
    }
}

#[tokio::test]
async fn at_the_very_expiry_it_is_stale_and_at_the_very_end_it_is_gone() {
    for world in worlds() {
        let handler = saying(&[]);
        let site = around(&world, &handler);
        ask(&site, get(HOME)).await;
        settle().await;
        handler.close();
        world.wait(60);
        assert_eq!(ask(&site, get(HOME)).await.cache_status(), CacheStatus { ttl: Some(0), ..stale(0) });
        world.wait(29);
        assert_eq!(ask(&site, get(HOME)).await.cache_status(), stale(29), "{}", world.name);
        handler.reach(2).await;
        world.wait(1);
        handler.open();
        // Who comes now waits for the refresh that is under way, or finds what it has brought.
        let answer = ask(&site, get(HOME)).await;
        assert_eq!(answer.text(), "answer 2", "{}: {answer:?}", world.name);
    }
}

#[tokio::test]
async fn after_its_end_the_visitor_waits_for_the_handler() {
    for world in worlds() {
        let handler = saying(&[]);
        let site = around(&world, &handler);
        ask(&site, get(HOME)).await;
        settle().await;
        world.wait(90);
        let answer = ask(&site, get(HOME)).await;
        assert_eq!((answer.text(), answer.is_hit()), ("answer 2", false), "{}", world.name);
    }
}

#[tokio::test]
async fn unless_the_layer_or_the_response_says_so_nothing_stale_is_answered() {
    for world in worlds() {
        let handler = saying(&[]);
        let site = world.site().timeout(60).layer(handler.clone());
        ask(&site, get(HOME)).await;
        world.wait(60);
        let answer = ask(&site, get(HOME)).await;
        // A store that answers later may have dropped it already.
        assert_eq!((answer.text(), answer.is_hit()), ("answer 2", false), "{}", world.name);
    }
}

#[tokio::test]
async fn a_response_may_say_it_itself_and_has_the_last_word() {
    let refused = [
        "max-age=60, must-revalidate, stale-while-revalidate=30",
        "max-age=60, proxy-revalidate",
        "max-age=60, s-maxage=60",
        "max-age=60, stale-while-revalidate=0",
        "max-age=60, stale-while-revalidate=5",
    ];
    let granted = ["max-age=60, stale-while-revalidate=30", "s-maxage=9, max-age=60, stale-while-revalidate=30"];
    for world in worlds() {
        let cases =
            refused.iter().map(|control| (control, 30, false)).chain(granted.iter().map(|control| (control, 0, true)));
        for (position, (control, layer, is_granted)) in cases.enumerate() {
            let handler = saying(&[("cache-control", control)]);
            let site =
                world.site().key_prefix(position.to_string()).stale_while_revalidate(layer).layer(handler.clone());
            ask(&site, get(HOME)).await;
            settle().await;
            world.wait(70);
            let answer = ask(&site, get(HOME)).await;
            let seen = if is_granted { ("answer 1", true) } else { ("answer 2", false) };
            assert_eq!((answer.text(), answer.is_hit()), seen, "{} {control}", world.name);
            settle().await;
        }
    }
}

#[tokio::test]
async fn a_head_is_answered_stale_and_refreshes_no_get() {
    for world in worlds() {
        let handler = saying(&[]);
        let site = around(&world, &handler);
        ask(&site, get(HOME)).await;
        settle().await;
        world.wait(65);
        let answer = ask(&site, head(HOME)).await;
        assert_eq!(answer.cache_status(), stale(5), "{}", world.name);
        assert_eq!((answer.header("content-length"), &*answer.body), ("8", &b""[..]));
        refreshed(&site, Method::HEAD, &[]).await;
        assert_eq!(handler.calls(), 2, "{}", world.name);
        // A HEAD never fills the GET page (safety rule 9).
        let answer = ask(&site, get(HOME)).await;
        assert_eq!((answer.text(), answer.cache_status()), ("answer 1", stale(5)), "{}", world.name);
        assert_eq!(refreshed(&site, Method::GET, &[]).await.text(), "answer 3", "{}", world.name);
    }
}

#[tokio::test]
async fn a_visitor_who_has_the_stale_page_gets_304_and_the_refresh_brings_a_whole_one() {
    for world in worlds() {
        // Answers 304 where it is asked for, and a part where a part is asked for, as a handler with layers around it does.
        let handler = Gated::opened(|head, call| {
            let status = match (head.headers.contains_key("if-none-match"), head.headers.contains_key("range")) {
                (true, _) => StatusCode::NOT_MODIFIED,
                (_, true) => StatusCode::PARTIAL_CONTENT,
                _ => StatusCode::OK,
            };
            let body = if status == StatusCode::OK { format!("answer {call}") } else { String::new() };
            Ok(Response::builder().status(status).header("etag", "\"v\"").body(Full::from(body)).unwrap())
        });
        let site = around(&world, &handler);
        ask(&site, get(HOME)).await;
        settle().await;
        world.wait(65);
        let knows = [
            ("if-none-match", "\"v\""),
            ("if-modified-since", "Tue, 14 Nov 2023 23:00:00 GMT"),
            ("range", "bytes=0-1"),
        ];
        let answer = ask(&site, get_with(HOME, &knows)).await;
        assert_eq!((answer.status, answer.header("etag")), (StatusCode::NOT_MODIFIED, "\"v\""), "{}", world.name);
        assert_eq!(answer.cache_status(), stale(5));
        assert_eq!(refreshed(&site, Method::GET, &[]).await.text(), "answer 2", "{}", world.name);
    }
}

#[tokio::test]
async fn each_variant_is_stale_and_refreshed_for_itself() {
    for world in worlds() {
        let handler = Gated::opened(|head, call| {
            let value = head.headers.get("x-a").map_or("none", |value| value.to_str().unwrap());
            let mut response = page(format!("{value} {call}"));
            response.headers_mut().insert("vary", "x-a".parse().unwrap());
            Ok(response)
        });
        let site = around(&world, &handler);
        ask(&site, get_with(HOME, &[("x-a", "1")])).await;
        settle().await;
        world.wait(40);
        ask(&site, get_with(HOME, &[("x-a", "2")])).await;
        settle().await;
        world.wait(25);
        // The first is stale, the second fresh, a third one is not there.
        assert_eq!(ask(&site, get_with(HOME, &[("x-a", "2")])).await.text(), "2 2");
        let third = ask(&site, get_with(HOME, &[("x-a", "3")])).await;
        assert_eq!((third.text(), third.cache_status().fwd.as_deref()), ("3 3", Some("vary-miss")), "{}", world.name);
        settle().await;
        // A page that others were stored beside is still there when stale.
        let first = ask(&site, get_with(HOME, &[("x-a", "1")])).await;
        assert_eq!((first.text(), first.cache_status()), ("1 1", stale(5)), "{}", world.name);
        assert_eq!(refreshed(&site, Method::GET, &[("x-a", "1")]).await.text(), "1 4", "{}", world.name);
        assert_eq!(handler.calls(), 4);
    }
}

#[tokio::test]
async fn rule_6_a_stale_page_is_for_visitors_with_credentials_only_if_it_is_public() {
    for world in worlds() {
        for is_public in [false, true] {
            let control = if is_public { "public, max-age=60" } else { "max-age=60" };
            let handler = saying(&[("cache-control", control)]);
            let site = world.site().key_prefix(control.len().to_string()).stale_while_revalidate(30).stale_if_error(30);
            let site = site.layer(handler.clone());
            ask(&site, get(HOME)).await;
            settle().await;
            world.wait(65);
            let answer = ask(&site, get_with(HOME, &[("authorization", "Basic YTpi")])).await;
            let seen = (answer.text(), answer.is_hit());
            assert_eq!(seen, if is_public { ("answer 1", true) } else { ("answer 2", false) }, "{}", world.name);
            settle().await;
        }
    }
}

#[tokio::test]
async fn a_refresh_that_fails_leaves_the_page_and_the_next_visitor_tries_again() {
    for world in worlds() {
        let handler = Gated::opened(|_, call| match call {
            2 => panic!("the handler panics"),
            3 => Err(Failed),
            4 => Ok(Response::builder().status(503).body(Full::from("down")).unwrap()),
            5 => Ok(Response::builder().header("set-cookie", "a=1").body(Full::from("yours")).unwrap()),
            _ => Ok(page(format!("answer {call}"))),
        });
        let site = around(&world, &handler);
        ask(&site, get(HOME)).await;
        settle().await;
        world.wait(65);
        for call in 2..=6 {
            let answer = ask(&site, get(HOME)).await;
            assert_eq!((answer.text(), answer.cache_status()), ("answer 1", stale(5)), "{} {call}", world.name);
            handler.reach(call).await;
            settle().await;
        }
        assert_eq!(refreshed(&site, Method::GET, &[]).await.text(), "answer 6", "{}", world.name);
    }
}

#[tokio::test]
async fn a_page_that_turns_out_to_be_gone_is_not_answered_again() {
    for world in worlds() {
        for gone in [404, 410, 301, 308] {
            let handler = Gated::opened(move |_, call| {
                let status = if call == 1 { 200 } else { gone };
                Ok(Response::builder().status(status).body(Full::from(format!("answer {call}"))).unwrap())
            });
            let site =
                world.site().key_prefix(gone.to_string()).timeout(60).stale_while_revalidate(30).stale_if_error(30);
            let site = site.layer(handler.clone());
            ask(&site, get(HOME)).await;
            settle().await;
            world.wait(65);
            assert_eq!(ask(&site, get(HOME)).await.text(), "answer 1", "{} {gone}", world.name);
            let is_told = async || ask(&site, get(HOME)).await.status.as_u16() == gone;
            until(is_told, "the page is gone").await;
        }
    }
}

#[tokio::test]
async fn deleting_a_page_deletes_it_stale_as_well() {
    for world in worlds() {
        let handler = saying(&[]);
        let layer = world.site().timeout(60).stale_while_revalidate(30).stale_if_error(30);
        let (site, pages) = (layer.layer(handler.clone()), layer.pages());
        ask(&site, get(HOME)).await;
        settle().await;
        world.wait(65);
        assert!(pages.delete(HOME).await.unwrap(), "{}", world.name);
        assert!(pages.get(HOME).await.unwrap().is_none());
        let answer = ask(&site, get(HOME)).await;
        assert_eq!((answer.text(), answer.is_hit()), ("answer 2", false), "{}", world.name);
    }
}

#[tokio::test]
async fn a_stale_page_is_seen_by_tools_as_long_as_it_is_answered_at_once() {
    for world in worlds() {
        let layer = world.site().timeout(60).stale_while_revalidate(30).stale_if_error(90);
        let (site, pages) = (layer.layer(saying(&[])), layer.pages());
        ask(&site, get(HOME)).await;
        settle().await;
        let begun = world.cache.clock().now();
        world.wait(65);
        let stored = pages.get(HOME).await.unwrap().unwrap();
        assert_eq!((stored.stale_while_revalidate.as_secs(), stored.stale_if_error.as_secs()), (30, 90));
        assert_eq!(stored.expires_at.since(begun).as_secs(), 60, "{}", world.name);
        world.wait(30);
        assert!(pages.get(HOME).await.unwrap().is_none(), "{}: the next request waits for the handler", world.name);
    }
}

#[tokio::test]
async fn the_layer_of_a_route_says_it_for_its_page_that_the_site_keeps() {
    for world in worlds() {
        let handler = saying(&[]);
        let inside = cache_page(60).cache(&world.cache).stale_while_revalidate(30).layer(handler.clone());
        let site = world.site().layer(inside);
        ask(&site, get(HOME)).await;
        settle().await;
        world.wait(65);
        let answer = ask(&site, get(HOME)).await;
        assert_eq!((answer.text(), answer.cache_status()), ("answer 1", stale(5)), "{}", world.name);
        until(async || ask(&site, get(HOME)).await.text() == "answer 2", "the page is made anew").await;
    }
}

#[tokio::test]
async fn a_stale_answer_of_an_inner_cache_is_not_stored_as_a_fresh_one_outside() {
    for world in worlds() {
        let handler = saying(&[]);
        let inside = world.site().key_prefix("inner").timeout(60).stale_while_revalidate(30).layer(handler.clone());
        let site = world.site().timeout(10).layer(inside);
        ask(&site, get(HOME)).await;
        settle().await;
        world.wait(65);
        handler.close();
        for _ in 0..3 {
            let answer = ask(&site, get(HOME)).await;
            let told = CacheStatus::of(&answer.headers);
            assert_eq!((answer.text(), &told[0]), ("answer 1", &stale(5)), "{}", world.name);
            assert_eq!(told[1].detail.as_deref(), Some("inner-hit"));
        }
        handler.open();
        settle().await;
    }
}

#[tokio::test]
async fn a_page_is_refreshed_once_where_requests_do_not_wait_for_each_other() {
    for world in worlds() {
        let handler = saying(&[]);
        let site = world.site().timeout(60).stale_while_revalidate(30).coalesce(false).layer(handler.clone());
        ask(&site, get(HOME)).await;
        settle().await;
        world.wait(65);
        handler.close();
        for answer in join_all((0..20).map(|_| ask(&site, get(HOME)))).await {
            assert_eq!(answer.text(), "answer 1", "{}", world.name);
        }
        handler.reach(2).await;
        settle().await;
        assert_eq!(handler.calls(), 2);
        handler.open();
        assert_eq!(refreshed(&site, Method::GET, &[]).await.text(), "answer 2");
    }
}

#[tokio::test]
async fn a_refresh_goes_on_when_the_visitor_who_began_it_has_left() {
    for world in worlds() {
        let handler = saying(&[]);
        let site = around(&world, &handler);
        ask(&site, get(HOME)).await;
        settle().await;
        world.wait(65);
        handler.close();
        // Answered, read, and gone, before the handler has answered.
        drop(ask(&site, get(HOME)).await);
        handler.reach(2).await;
        handler.open();
        assert_eq!(refreshed(&site, Method::GET, &[]).await.text(), "answer 2", "{}", world.name);
        assert_eq!(handler.calls(), 2);
    }
}

/// What every answer of one page has in common.
fn without_age(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    headers.remove("age");
    headers.remove("cache-status");
    headers
}

#[tokio::test]
async fn a_stale_answer_has_the_headers_of_a_fresh_one() {
    for world in worlds() {
        let handler = saying(&[("content-language", "en"), ("x-own", "1"), ("x-own", "2")]);
        let site = around(&world, &handler);
        ask(&site, get(HOME)).await;
        settle().await;
        let fresh = ask(&site, get(HOME)).await;
        world.wait(65);
        let stale = ask(&site, get(HOME)).await;
        assert_eq!(without_age(&fresh.headers), without_age(&stale.headers), "{}", world.name);
        settle().await;
    }
}

#[tokio::test]
async fn purging_a_tag_purges_stale_pages_as_well() {
    for world in worlds() {
        let handler = Gated::opened(|_, call| if call < 3 { Ok(page(format!("answer {call}"))) } else { Err(Failed) });
        let site = world.site().tags(["a"]).timeout(60).stale_while_revalidate(30).stale_if_error(90);
        let site = site.layer(handler.clone());
        ask(&site, get(HOME)).await;
        settle().await;
        world.wait(65);
        world.cache.purge_tag("a").await.unwrap();
        let answer = ask(&site, get(HOME)).await;
        assert_eq!((answer.text(), answer.is_hit()), ("answer 2", false), "{}", world.name);
        settle().await;
        world.wait(100);
        world.cache.purge_tag("a").await.unwrap();
        assert_eq!(site.oneshot(get(HOME)).await.unwrap_err(), Failed, "{}", world.name);
    }
}

#[tokio::test]
async fn rule_20_a_refresh_begun_before_a_purge_is_not_visible_after_it() {
    for world in worlds() {
        for by_tag in [false, true] {
            let handler = saying(&[]);
            let layer = world.site().key_prefix(by_tag.to_string()).tags(["a"]).timeout(60).stale_while_revalidate(30);
            let layer = layer.longest_wait(std::time::Duration::from_millis(50));
            let site = layer.layer(handler.clone());
            ask(&site, get(HOME)).await;
            settle().await;
            world.wait(65);
            handler.close();
            assert_eq!(ask(&site, get(HOME)).await.text(), "answer 1", "{}", world.name);
            handler.reach(2).await;
            if by_tag {
                world.cache.purge_tag("a").await.unwrap();
            } else {
                layer.pages().delete(HOME).await.unwrap();
            }
            let after = tokio::spawn({
                let site = site.clone();
                async move { ask(&site, get(HOME)).await }
            });
            handler.reach(3).await;
            handler.open();
            assert_eq!(after.await.unwrap().text(), "answer 3", "{}", world.name);
            settle().await;
            for _ in 0..3 {
                assert_eq!(ask(&site, get(HOME)).await.text(), "answer 3", "{} {by_tag}", world.name);
            }
        }
    }
}

#[tokio::test]
async fn a_refresh_whose_body_breaks_off_is_tried_again_by_the_next_request() {
    for world in worlds() {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let handler = service_fn(move |_: Plain| {
            let script = match counted.fetch_add(1, Ordering::SeqCst) {
                0 => Script::of_length(8, [Step::Data("answer 1")]),
                1 => Script::of_length(8, [Step::Data("answ"), Step::Fail]),
                2 => Script::of_length(8, [Step::Data("answ")]),
                _ => Script::of_length(8, [Step::Data("answer 4")]),
            };
            async move { Ok::<_, Failed>(Response::new(script)) }
        });
        let site = world.site().timeout(60).stale_while_revalidate(30).layer(handler);
        ask(&site, get(HOME)).await;
        settle().await;
        world.wait(65);
        for call in 2..5 {
            assert_eq!(ask(&site, get(HOME)).await.text(), "answer 1", "{}", world.name);
            until(async || calls.load(Ordering::SeqCst) == call, "the handler is asked again").await;
            settle().await;
        }
        until(async || ask(&site, get(HOME)).await.text() == "answer 4", "the page is made anew").await;
    }
}

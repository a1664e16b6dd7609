//! Every reason is reached, and is the word in `Cache-Status`; one match keeps the list complete.
//! What no response can carry is looked for where it is told.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use larder::backend::{KeyRule, Memory};
use larder::{Cache, CacheLayer, ManualClock, Reason, Timestamp, cache_page};
use tokio::sync::oneshot;
use tower::{Layer, ServiceExt, service_fn};

use crate::log::Log;
use crate::world::{
    Answer, CacheStatus, HOME, Handler, Plain, Script, Step, Text, World, ask, get, get_with, page, request, settle,
    worlds,
};

/// All reasons. A new one does not compile here until it is in the list below as well.
fn all() -> Vec<Reason> {
    use Reason::*;
    let all = vec![
        Method,
        RequestBody,
        Upgrade,
        Host,
        Key,
        Authorization,
        Status,
        SetCookie,
        Private,
        NoStore,
        NoCache,
        Vary,
        MaxAge,
        Timeout,
        Streaming,
        TooLarge,
        Incomplete,
        Trailers,
        InnerHit,
        OuterLayer,
        Tags,
        Purged,
        Handler,
        Backend,
    ];
    let mut words: Vec<&str> = all.iter().map(|reason| reason.as_str()).collect();
    words.sort_unstable();
    words.dedup();
    assert_eq!(words.len(), all.len(), "every reason has a word of its own");
    all
}

async fn serve(layer: CacheLayer, handler: Handler, request: Plain) -> Answer {
    ask(&layer.layer(handler), request).await
}

async fn serve_body(layer: CacheLayer, body: Script) -> Answer {
    let body = Mutex::new(Some(body));
    let body = Arc::new(body);
    let site = layer.layer(service_fn(move |_: Plain| {
        let body = body.lock().unwrap().take().unwrap();
        async move { Ok::<_, Infallible>(Response::new(body)) }
    }));
    // The head tells; the body may fail.
    let (parts, _) = site.oneshot(get(HOME)).await.unwrap().into_parts();
    Answer { status: parts.status, headers: parts.headers, body: Bytes::new() }
}

async fn reach(reason: Reason, world: &World) -> Answer {
    let site = world.site();
    let saying = |lines: &[(&str, &str)]| Handler::saying(lines);
    let plain = saying(&[]);
    match reason {
        Reason::Method => serve(site, plain, request(Method::POST, HOME, &[])).await,
        Reason::RequestBody => serve(site, plain, get_with(HOME, &[("content-length", "1")])).await,
        Reason::Upgrade => {
            serve(site, plain, get_with(HOME, &[("connection", "upgrade"), ("upgrade", "websocket")])).await
        }
        Reason::Host => serve(site, plain, get_with(HOME, &[("host", "other.example")])).await,
        Reason::Key => {
            let text = Text::with(world.hands.clock(), KeyRule::Refuse, usize::MAX);
            serve(site.cache(&Cache::new(text)).key_prefix("a b"), plain, get(HOME)).await
        }
        Reason::Authorization => serve(site, plain, get_with(HOME, &[("authorization", "Basic YTpi")])).await,
        Reason::Status => {
            let handler = Handler::new(|_, _| {
                let mut response = page("gone");
                *response.status_mut() = StatusCode::GONE;
                response
            });
            serve(site, handler, get(HOME)).await
        }
        Reason::SetCookie => serve(site, saying(&[("set-cookie", "a=1")]), get(HOME)).await,
        Reason::Private => serve(site, saying(&[("cache-control", "private")]), get(HOME)).await,
        Reason::NoStore => serve(site, saying(&[("cache-control", "no-store")]), get(HOME)).await,
        Reason::NoCache => serve(site, saying(&[("cache-control", "no-cache")]), get(HOME)).await,
        Reason::Vary => serve(site, saying(&[("vary", "*")]), get(HOME)).await,
        Reason::MaxAge => serve(site, saying(&[("cache-control", "max-age=0")]), get(HOME)).await,
        Reason::Timeout => serve(site.timeout(0), plain, get(HOME)).await,
        Reason::Streaming => serve_body(site, Script::stream([Step::Data("a")])).await,
        Reason::TooLarge => serve(site.largest_body(7), plain, get(HOME)).await,
        Reason::Incomplete => serve_body(site, Script::of_length(5, [Step::Data("a")])).await,
        Reason::Trailers => serve_body(site, Script::of_length(1, [Step::Data("a"), Step::Trailers])).await,
        Reason::InnerHit => {
            let inside = cache_page(30).cache(&Cache::new(Memory::with_clock(world.hands.clock()))).layer(plain);
            let site = site.layer(inside);
            ask(&site, get(HOME)).await;
            world.cache.clear().await.unwrap();
            ask(&site, get(HOME)).await
        }
        Reason::OuterLayer => {
            let inside = cache_page(30).cache(&world.cache).cache_status("larder").layer(plain);
            ask(&CacheLayer::per_site().cache(&world.cache).layer(inside), get(HOME)).await
        }
        Reason::Tags => serve(site.tags((0..129).map(|tag| tag.to_string())), plain, get(HOME)).await,
        Reason::Purged => {
            let cache = world.cache.clone();
            let purging = service_fn(move |_: Plain| {
                let cache = cache.clone();
                async move {
                    cache.purge_tag("a").await.unwrap();
                    Ok::<_, Infallible>(page("as it was before"))
                }
            });
            ask(&site.tags(["a"]).layer(purging), get(HOME)).await
        }
        Reason::Backend => {
            let text = Text::new(world.hands.clock());
            text.take_down(true);
            serve(site.cache(&Cache::new(text)), plain, get(HOME)).await
        }
        Reason::Handler => {
            let log = Log::default();
            let _reading = log.read_along();
            let failing = service_fn(|_: Plain| async { Err::<Response<Full<Bytes>>, _>("the service failed") });
            site.layer(failing).oneshot(get(HOME)).await.unwrap_err();
            // There is no response to carry it: it is told in an event only.
            let lines = log.lines();
            assert!(lines.iter().any(|line| line.contains("reason=\"handler\"")), "{lines:?}");
            let mut answer = serve(world.site(), Handler::saying(&[]), get(HOME)).await;
            answer.headers.insert("cache-status", "larder; fwd=uri-miss; detail=handler".parse().unwrap());
            answer
        }
        other => panic!("a test that reaches {other}"),
    }
}

#[tokio::test]
async fn every_reason_is_reached_and_told() {
    for reason in all() {
        for world in worlds() {
            let answer = reach(reason, &world).await;
            let told = CacheStatus::of(&answer.headers).pop().unwrap_or_else(|| panic!("{reason} is not told"));
            assert!(!told.is_hit && !told.is_stored, "{} {reason}: {told:?}", world.name);
            match reason {
                Reason::Method => assert_eq!(told.fwd.as_deref(), Some("method")),
                _ => assert_eq!(told.detail.as_deref(), Some(reason.as_str()), "{}: {told:?}", world.name),
            }
        }
    }
}

#[tokio::test]
async fn hits_misses_and_what_is_stale_are_told() {
    for world in worlds() {
        let handler = Handler::saying(&[("vary", "x-a")]);
        let site = world.site().timeout(60).layer(handler);
        let told = |lines: &'static [(&'static str, &'static str)]| {
            let site = site.clone();
            async move { ask(&site, get_with(HOME, lines)).await.cache_status() }
        };
        let forwarded = |fwd: &str| CacheStatus {
            cache: "larder".into(),
            fwd: Some(fwd.into()),
            is_stored: true,
            ..CacheStatus::default()
        };
        let hit = |ttl| CacheStatus { cache: "larder".into(), is_hit: true, ttl: Some(ttl), ..CacheStatus::default() };
        assert_eq!(told(&[]).await, forwarded("uri-miss"), "{}", world.name);
        assert_eq!(told(&[]).await, hit(60));
        assert_eq!(told(&[("x-a", "1")]).await, forwarded("vary-miss"));
        world.wait(20);
        assert_eq!(told(&[("x-a", "1")]).await, hit(40));
    }
}

#[tokio::test]
async fn without_a_name_nothing_is_told() {
    for world in worlds() {
        let site = CacheLayer::per_site().cache(&world.cache).layer(Handler::saying(&[]));
        for _ in 0..2 {
            assert!(!ask(&site, get(HOME)).await.headers.contains_key("cache-status"));
        }
    }
}

#[tokio::test]
async fn what_is_told_is_never_part_of_the_page() {
    for world in worlds() {
        let site = world.around(&Handler::saying(&[]));
        ask(&site, get(HOME)).await;
        for _ in 0..2 {
            assert_eq!(CacheStatus::of(&ask(&site, get(HOME)).await.headers).len(), 1, "{}", world.name);
        }
        let stored = world.site().pages().get(HOME).await.unwrap().unwrap();
        assert!(!stored.headers.contains_key("cache-status"));
    }
}

#[tokio::test]
async fn a_page_that_the_store_has_no_room_for_is_not_told_to_be_stored() {
    let hands = ManualClock::at(Timestamp::from_secs(1_700_000_000));
    let memory = Memory::builder().max_bytes(4_000).clock(hands.clock()).build();
    let text = Text::with(hands.clock(), KeyRule::Warn, 4_000);
    for cache in [Cache::new(memory), Cache::new(text)] {
        let handler = Handler::new(|_, _| page("x".repeat(5_000)));
        let site = CacheLayer::per_site().cache(&cache).cache_status("larder").layer(handler);
        for _ in 0..2 {
            let answer = ask(&site, get(HOME)).await;
            assert_eq!((answer.reason().as_str(), answer.cache_status().is_stored), ("too-large", false), "{answer:?}");
        }
    }
}

/// A body that has to be waited for is on its way when its reason is found: it is told in an event, once.
#[tokio::test]
async fn what_becomes_of_a_body_that_is_waited_for_is_told_when_it_is_known() {
    let log = Log::default();
    let _reading = log.read_along();
    type Ending = fn() -> Step;
    let endings: [(&str, Ending); 5] = [
        ("miss, stored", || Step::Data("end")),
        ("reason=\"incomplete\"", || Step::Fail),
        ("reason=\"incomplete\"", || Step::Data("en")),
        ("reason=\"trailers\"", || Step::Trailers),
        ("reason=\"too-large\"", || Step::Data("end, and more")),
    ];
    // A task of its own reads the body for a crowd; without one the visitor does.
    for coalesce in [true, false] {
        for world in worlds() {
            for (told, ending) in endings {
                let (open, gate) = oneshot::channel();
                let steps = [Step::Data("a "), Step::Wait(gate), ending()];
                let body = Mutex::new(Some(if told.contains("large") {
                    Script::stream(steps)
                } else {
                    Script::of_length(5, steps)
                }));
                let body = Arc::new(body);
                let layer = world.site().cache_status("larder").coalesce(coalesce).store_streams(true).largest_body(9);
                let site = layer.layer(service_fn(move |_: Plain| {
                    let body = body.lock().unwrap().take().unwrap();
                    async move { Ok::<_, Infallible>(Response::new(body)) }
                }));
                let before = log.lines().len();
                let response = site.clone().oneshot(get(HOME)).await.unwrap();
                let status = CacheStatus::of(response.headers()).pop().unwrap();
                assert_eq!((status.fwd.as_deref(), status.detail), (Some("uri-miss"), None));
                assert_ends(&log, before, "storing as the body goes by");
                open.send(()).unwrap();
                let _ = response.into_body().collect().await;
                settle().await;
                assert_ends(&log, before, told);
                world.cache.clear().await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn a_visitor_who_hangs_up_in_the_middle_of_a_body_is_told_as_an_incomplete_page() {
    let log = Log::default();
    let _reading = log.read_along();
    for coalesce in [true, false] {
        for world in worlds() {
            let site = world.site().coalesce(coalesce).layer(service_fn(|_: Plain| async {
                let (open, gate) = oneshot::channel();
                // It never comes.
                std::mem::forget(open);
                Ok::<_, Infallible>(Response::new(Script::of_length(5, [Step::Data("a "), Step::Wait(gate)])))
            }));
            let before = log.lines().len();
            drop(site.oneshot(get(HOME)).await.unwrap());
            settle().await;
            assert_ends(&log, before, "reason=\"incomplete\"");
        }
    }
}

/// The last of the lines that came after so many says this, and no other after them says what became of a page.
#[track_caller]
fn assert_ends(log: &Log, before: usize, told: &str) {
    let lines = &log.lines()[before..];
    let ends: Vec<_> = lines.iter().filter(|line| line.contains("stored") || line.contains("storing")).collect();
    let (last, earlier) = ends.split_last().unwrap_or_else(|| panic!("{told}: {lines:?}"));
    assert!(last.contains(told), "{told}: {lines:?}");
    assert!(earlier.iter().all(|line| line.contains("storing as the body goes by")), "{told}: {lines:?}");
}

#[test]
fn the_readme_has_every_reason_in_its_table() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let (_, section) = readme.split_once("## What is not stored").expect("the section is there");
    let (section, _) = section.split_once("\n## ").expect("another section comes behind it");
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let cells = rows.filter_map(|row| row.split(" | ").next());
    let mut named: Vec<&str> = cells.flat_map(|cell| cell.split(", ")).map(|word| word.trim_matches('`')).collect();
    let mut words: Vec<&str> = all().iter().map(|reason| reason.as_str()).collect();
    named.sort_unstable();
    words.sort_unstable();
    assert_eq!(named, words);
}

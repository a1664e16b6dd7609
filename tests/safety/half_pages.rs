//! Rule 18: what did not come whole is passed on as it is and never stored.
//! Bodies follow a script; visitors go away in the middle.

use std::convert::Infallible;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use http::{HeaderMap, Response};
use http_body_util::BodyExt;
use larder::CacheLayer;
use tokio::sync::oneshot;
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::world::{HOME, Plain, Script, Step, World, ask, get, header_map, settle, worlds};

type Steps = fn() -> Script;

/// A site whose handler answers with the body that `script` writes, and these header lines; after the first time with a
/// whole one, so that a stored half page would show.
fn scripted(
    layer: CacheLayer,
    lines: &'static [(&'static str, &'static str)],
    script: impl Fn() -> Script + Clone + Send + Sync + 'static,
) -> (
    Arc<AtomicUsize>,
    impl Service<Plain, Response = Response<larder::page::PageBody<Script>>, Error = Infallible, Future: Send> + Clone,
) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let site = layer.layer(service_fn(move |_: Plain| {
        let call = counted.fetch_add(1, Ordering::SeqCst);
        let mut response =
            Response::new(if call == 0 { script() } else { Script::of_length(5, [Step::Data("whole")]) });
        if call == 0 {
            *response.headers_mut() = header_map(lines);
        }
        async move { Ok(response) }
    }));
    (calls, site)
}

/// What a body gave until it ended or failed.
async fn read(response: Response<larder::page::PageBody<Script>>) -> (String, Option<HeaderMap>, bool) {
    let mut body = std::pin::pin!(response.into_body());
    let (mut text, mut trailers, mut failed) = (String::new(), None, false);
    while let Some(frame) = body.as_mut().frame().await {
        match frame.map(|frame| frame.into_data()) {
            Ok(Ok(data)) => text.push_str(std::str::from_utf8(&data).unwrap()),
            Ok(Err(frame)) => trailers = frame.into_trailers().ok(),
            Err(_) => failed = true,
        }
    }
    (text, trailers, failed)
}

/// A body that is not whole must come through as it is, and the next visitor must get a whole one.
async fn is_passed_on_and_not_stored(
    what: &str,
    lines: &'static [(&'static str, &'static str)],
    (text, has_trailers, fails): (&str, bool, bool),
    script: Steps,
) {
    for stores_streams in [false, true] {
        for world in worlds() {
            let (calls, site) = scripted(world.site().store_streams(stores_streams), lines, script);
            let came = read(site.clone().oneshot(get(HOME)).await.unwrap()).await;
            assert_eq!(
                (came.0.as_str(), came.1.is_some(), came.2),
                (text, has_trailers, fails),
                "{} {what}",
                world.name
            );
            settle().await;
            let second = ask(&site, get(HOME)).await;
            assert_eq!(
                (second.text(), second.is_hit()),
                ("whole", false),
                "{} {what} streams {stores_streams}",
                world.name
            );
            assert_eq!(calls.load(Ordering::SeqCst), 2);
        }
    }
}

/// A wait that is over as soon as it begins, but not at once.
fn wait() -> Step {
    let (open, gate) = oneshot::channel();
    tokio::spawn(async move {
        settle().await;
        let _ = open.send(());
    });
    Step::Wait(gate)
}

#[tokio::test]
async fn rule_18_a_body_that_fails_is_not_stored() {
    let fails = |text| (text, false, true);
    is_passed_on_and_not_stored("at once", &[], fails(""), || Script::of_length(5, [Step::Fail])).await;
    is_passed_on_and_not_stored("after data", &[], fails("ab"), || {
        Script::of_length(5, [Step::Data("ab"), Step::Fail])
    })
    .await;
    is_passed_on_and_not_stored("after all data", &[], fails("abcde"), || {
        Script::of_length(5, [Step::Data("abcde"), Step::Fail])
    })
    .await;
    is_passed_on_and_not_stored("later", &[], fails("ab"), || {
        Script::of_length(5, [wait(), Step::Data("ab"), wait(), Step::Fail])
    })
    .await;
    is_passed_on_and_not_stored("later, after all", &[], fails("abcde"), || {
        Script::of_length(5, [Step::Data("abcde"), wait(), Step::Fail])
    })
    .await;
    is_passed_on_and_not_stored("a stream", &[], fails("ab"), || Script::stream([Step::Data("ab"), Step::Fail])).await;
    is_passed_on_and_not_stored("a slow stream", &[], fails("ab"), || {
        Script::stream([Step::Data("ab"), wait(), Step::Fail])
    })
    .await;
    is_passed_on_and_not_stored("and goes on", &[], fails("abcde"), || {
        Script::of_length(5, [Step::Data("ab"), wait(), Step::Fail, Step::Data("cde")])
    })
    .await;
}

#[tokio::test]
async fn rule_18_a_body_of_another_length_than_announced_is_not_stored() {
    let ends = |text| (text, false, false);
    is_passed_on_and_not_stored("short", &[], ends("ab"), || Script::of_length(5, [Step::Data("ab")])).await;
    is_passed_on_and_not_stored("empty", &[], ends(""), || Script::of_length(5, [])).await;
    is_passed_on_and_not_stored("later short", &[], ends("ab"), || Script::of_length(5, [wait(), Step::Data("ab")]))
        .await;
    is_passed_on_and_not_stored("short, telling", &[], ends("ab"), || {
        Script::of_length(5, [wait(), Step::Data("ab")]).telling_end()
    })
    .await;
    is_passed_on_and_not_stored("long", &[], ends("abcdef"), || {
        Script::of_length(5, [Step::Data("abc"), Step::Data("def")])
    })
    .await;
    is_passed_on_and_not_stored("later long", &[], ends("abcdef"), || {
        Script::of_length(5, [Step::Data("abc"), wait(), Step::Data("def")])
    })
    .await;
    const TEN: &[(&str, &str)] = &[("content-length", "10")];
    is_passed_on_and_not_stored("shorter than its head says", TEN, ends("abcde"), || {
        Script::of_length(5, [Step::Data("abcde")])
    })
    .await;
    is_passed_on_and_not_stored("a stream shorter than its head says", TEN, ends("abcde"), || {
        Script::stream([Step::Data("abcde")])
    })
    .await;
    is_passed_on_and_not_stored("a slow stream shorter than its head says", TEN, ends("abcde"), || {
        Script::stream([Step::Data("abc"), wait(), Step::Data("de")])
    })
    .await;
    const FOUR: &[(&str, &str)] = &[("content-length", "4")];
    is_passed_on_and_not_stored("a stream longer than its head says", FOUR, ends("abcde"), || {
        Script::stream([Step::Data("abcde")])
    })
    .await;
    const TWO: &[(&str, &str)] = &[("content-length", "5"), ("content-length", "6")];
    is_passed_on_and_not_stored("two lengths", TWO, ends("abcde"), || Script::of_length(5, [Step::Data("abcde")]))
        .await;
    is_passed_on_and_not_stored("a stream of two lengths", TWO, ends("abcde"), || {
        Script::stream([Step::Data("abcde")])
    })
    .await;
    is_passed_on_and_not_stored("a slow stream of two lengths", TWO, ends("abcde"), || {
        Script::stream([wait(), Step::Data("abcde")])
    })
    .await;
    const NONE: &[(&str, &str)] = &[("content-length", "five")];
    is_passed_on_and_not_stored("no length at all", NONE, ends("abcde"), || {
        Script::of_length(5, [Step::Data("abcde")])
    })
    .await;
    is_passed_on_and_not_stored("a stream of no length", NONE, ends("abcde"), || Script::stream([Step::Data("abcde")]))
        .await;
    is_passed_on_and_not_stored("a slow stream of no length", NONE, ends("abcde"), || {
        Script::stream([wait(), Step::Data("abcde")])
    })
    .await;
}

#[tokio::test]
async fn rule_18_a_body_with_trailers_is_not_stored() {
    let has_trailers = |text| (text, true, false);
    is_passed_on_and_not_stored("at once", &[], has_trailers("abcde"), || {
        Script::of_length(5, [Step::Data("abcde"), Step::Trailers])
    })
    .await;
    is_passed_on_and_not_stored("later", &[], has_trailers("abcde"), || {
        Script::of_length(5, [Step::Data("abcde"), wait(), Step::Trailers])
    })
    .await;
    is_passed_on_and_not_stored("alone", &[], has_trailers(""), || Script::of_length(0, [Step::Trailers])).await;
    is_passed_on_and_not_stored("a stream", &[], has_trailers("ab"), || {
        Script::stream([Step::Data("ab"), wait(), Step::Trailers])
    })
    .await;
}

/// The next visitor gets a whole page from the handler, and only then one from the cache.
async fn the_next_gets_a_whole_one(
    world: &World,
    site: impl Service<Plain, Response = Response<larder::page::PageBody<Script>>, Error = Infallible> + Clone,
) {
    settle().await;
    let next = ask(&site, get(HOME)).await;
    assert_eq!((next.text(), next.is_hit()), ("whole", false), "{}", world.name);
    let after = ask(&site, get(HOME)).await;
    assert_eq!((after.text(), after.is_hit()), ("whole", true), "{}", world.name);
}

#[tokio::test]
async fn rule_18_a_visitor_who_goes_away_leaves_nothing_behind() {
    for frames in 0..3 {
        for world in worlds() {
            // The rest comes when the visitor has gone.
            let (open, gate) = oneshot::channel();
            let gate = Arc::new(Mutex::new(Some(gate)));
            let (_, site) = scripted(world.site(), &[], move || {
                let last = Step::Wait(gate.lock().unwrap().take().unwrap());
                Script::of_length(
                    7,
                    [Step::Data("a"), wait(), Step::Data("b"), wait(), Step::Data("c"), last, Step::Data("half")],
                )
            });
            let response = site.clone().oneshot(get(HOME)).await.unwrap();
            let mut body = Box::pin(response.into_body());
            for _ in 0..frames {
                body.as_mut().frame().await.unwrap().unwrap();
            }
            drop(body);
            settle().await;
            let _ = open.send(());
            the_next_gets_a_whole_one(&world, site).await;
        }
    }
}

#[tokio::test]
async fn rule_18_a_request_that_is_cancelled_leaves_nothing_behind() {
    // Given up after so many polls, whatever it was waiting for: the store, the handler, the body, the store again.
    for polls in 0..12 {
        for world in worlds() {
            let calls = Arc::new(AtomicUsize::new(0));
            let counted = Arc::clone(&calls);
            let site = world.site().layer(service_fn(move |_: Plain| {
                let call = counted.fetch_add(1, Ordering::SeqCst);
                async move {
                    tokio::task::yield_now().await;
                    tokio::task::yield_now().await;
                    let body = if call == 0 { "first" } else { "other" };
                    Ok::<_, Infallible>(Response::new(Script::of_length(5, [Step::Data(body)])))
                }
            }));
            let mut visit = Box::pin(site.clone().oneshot(get(HOME)));
            let mut done = false;
            for _ in 0..polls {
                done = std::future::poll_fn(|context| Poll::Ready(visit.as_mut().poll(context).is_ready())).await;
                if done {
                    break;
                }
                // What it waits for goes on without it.
                tokio::task::yield_now().await;
            }
            drop(visit);
            settle().await;
            // Whole or not at all.
            let next = ask(&site, get(HOME)).await;
            let expected = if next.is_hit() || calls.load(Ordering::SeqCst) == 1 { "first" } else { "other" };
            assert_eq!(next.text(), expected, "{} after {polls} polls", world.name);
            assert!(!next.is_hit() || done || polls > 3, "{} after {polls} polls", world.name);
            assert!(ask(&site, get(HOME)).await.is_hit());
        }
    }
}

#[tokio::test]
async fn rule_18_a_handler_that_panics_leaves_nothing_behind() {
    for world in worlds() {
        let calls = Arc::new(AtomicUsize::new(0));
        let site = world.site().layer(service_fn(move |_: Plain| {
            let call = calls.fetch_add(1, Ordering::SeqCst);
            async move {
                assert!(call > 0, "the handler panics the first time");
                Ok::<_, Infallible>(Response::new(Script::of_length(5, [Step::Data("whole")])))
            }
        }));
        let visit = tokio::spawn(site.clone().oneshot(get(HOME)));
        assert!(visit.await.unwrap_err().is_panic());
        the_next_gets_a_whole_one(&world, site).await;
    }
}

#[tokio::test]
async fn rule_18_a_body_that_panics_leaves_nothing_behind() {
    let scripts: [Steps; 3] = [
        || Script::of_length(5, [Step::Panic]),
        || Script::of_length(5, [Step::Data("ab"), Step::Panic]),
        || Script::of_length(5, [Step::Data("ab"), wait(), Step::Panic]),
    ];
    for script in scripts {
        for world in worlds() {
            let (_, site) = scripted(world.site(), &[], script);
            let visitor = site.clone();
            let visit = tokio::spawn(async move { read(visitor.oneshot(get(HOME)).await.unwrap()).await });
            assert!(visit.await.unwrap_err().is_panic());
            the_next_gets_a_whole_one(&world, site).await;
        }
    }
}

#[tokio::test]
async fn rule_18_a_service_that_fails_leaves_nothing_behind() {
    for world in worlds() {
        let calls = Arc::new(AtomicUsize::new(0));
        let site = world.site().layer(service_fn(move |_: Plain| {
            let call = calls.fetch_add(1, Ordering::SeqCst);
            async move {
                match call {
                    0 => Err("the service failed"),
                    _ => Ok(Response::new(Script::of_length(5, [Step::Data("whole")]))),
                }
            }
        }));
        assert_eq!(site.clone().oneshot(get(HOME)).await.err(), Some("the service failed"));
        assert_eq!(ask(&site, get(HOME)).await.text(), "whole");
        assert!(ask(&site, get(HOME)).await.is_hit());
    }
}

#[tokio::test]
async fn rule_18_what_comes_whole_in_pieces_is_stored() {
    let scripts: [(bool, Steps); 6] = [
        (false, || Script::of_length(5, [Step::Data("fi"), Step::Data("rst")])),
        (false, || Script::of_length(5, [wait(), Step::Data("fi"), wait(), Step::Data("rst"), wait()])),
        (false, || Script::of_length(5, [Step::Data("fi"), wait(), Step::Data("rst")]).telling_end()),
        (false, || Script::of_length(5, [Step::Data("fi"), Step::Data(""), wait(), Step::Data(""), Step::Data("rst")])),
        (true, || Script::stream([Step::Data("fi"), Step::Data("rst")])),
        (true, || Script::stream([Step::Data("fi"), wait(), Step::Data("rst")])),
    ];
    for (position, (is_stream, script)) in scripts.into_iter().enumerate() {
        for world in worlds() {
            let (_, site) = scripted(world.site().store_streams(is_stream), &[], script);
            assert_eq!(read(site.clone().oneshot(get(HOME)).await.unwrap()).await.0, "first");
            settle().await;
            let hit = ask(&site, get(HOME)).await;
            assert_eq!((hit.text(), hit.is_hit()), ("first", true), "{} script {position}", world.name);
        }
    }
}

#[tokio::test]
async fn rule_18_a_body_that_came_slowly_does_not_replace_a_newer_page() {
    for world in worlds() {
        let (open, gate) = oneshot::channel();
        let gate = Arc::new(Mutex::new(Some(gate)));
        let site = world.site().layer(service_fn(move |_: Plain| {
            let body = match gate.lock().unwrap().take() {
                Some(gate) => Script::of_length(3, [Step::Wait(gate), Step::Data("old")]),
                None => Script::of_length(3, [Step::Data("new")]),
            };
            async move { Ok::<_, Infallible>(Response::new(body)) }
        }));
        let slow = site.clone();
        let slow = tokio::spawn(async move { ask(&slow, get(HOME)).await });
        settle().await;
        world.wait(10);
        assert_eq!(ask(&site, get(HOME)).await.text(), "new");
        open.send(()).unwrap();
        assert_eq!(slow.await.unwrap().text(), "old");
        settle().await;
        let hit = ask(&site, get(HOME)).await;
        assert_eq!((hit.is_hit(), hit.text(), hit.header("age")), (true, "new", "0"), "{}", world.name);
    }
}

//! Rules 3, 4 and 19: a page goes only to requests that its `Vary` does not tell apart from the one that made it.
//! The handler writes what it saw into the page, so that a wrong page shows itself.

use std::time::Duration;

use http::request::Parts;
use larder::KeyScheme;
use tokio::sync::oneshot;
use tower::{Layer, ServiceExt, service_fn};

use crate::world::{
    Answer, HOME, Handler, Lines, Plain, Script, Step, World, ask, get, get_with, page, settle, text_world, worlds,
};

const SCHEMES: [KeyScheme; 3] = [KeyScheme::Sha256, KeyScheme::Django52, KeyScheme::Django61];

/// What a request has for these headers, told apart as rule 3 does.
fn seen(request: &Parts, names: &[&str]) -> String {
    let lines = |name: &&str| request.headers.get_all(*name).iter().collect::<Vec<_>>();
    format!("{:?}", names.iter().map(lines).collect::<Vec<_>>())
}

fn echo(vary: &'static str, names: &'static [&'static str]) -> Handler {
    Handler::new(move |request, _| {
        let mut response = page(seen(request, names));
        response.headers_mut().insert("vary", vary.parse().unwrap());
        response
    })
}

fn request(lines: &[(&str, &str)]) -> Plain {
    get_with(HOME, lines)
}

/// Asks for each of the requests in turn, forwards and backwards, and wants everyone to get their own.
async fn everyone_gets_their_own(
    world: &World,
    scheme: KeyScheme,
    (vary, names): (&'static str, &'static [&'static str]),
    requests: &[&[(&str, &str)]],
) -> Handler {
    let handler = echo(vary, names);
    let site = world.site().key_scheme(scheme).layer(handler.clone());
    for lines in requests.iter().chain(requests.iter().rev()).chain(requests) {
        let answer = ask(&site, request(lines)).await;
        let own = seen(&request(lines).into_parts().0, names);
        assert_eq!(answer.text(), own, "{} {scheme:?} {vary:?} {lines:?}: {answer:?}", world.name);
    }
    handler
}

#[tokio::test]
async fn rule_03_absent_empty_one_line_and_two_lines_are_different_variants() {
    let requests: [&[(&str, &str)]; 12] = [
        &[],
        &[("x-a", "")],
        &[("x-a", "1")],
        &[("x-a", "1"), ("x-a", "2")],
        &[("x-a", "2"), ("x-a", "1")],
        &[("x-a", "1, 2")],
        &[("x-a", "1,2")],
        &[("x-a", "1"), ("x-a", "")],
        &[("x-a", ""), ("x-a", "1")],
        &[("x-a", ""), ("x-a", "")],
        &[("x-a", "-,")],
        &[("x-a", "\u{e9}")],
    ];
    for scheme in SCHEMES {
        for world in worlds() {
            let handler = everyone_gets_their_own(&world, scheme, ("X-A", &["x-a"]), &requests).await;
            // Django's keys run some of them together: those push each other out, but nobody gets another's page.
            if world.keeps_apart(scheme) {
                assert_eq!(handler.calls(), requests.len(), "{} {scheme:?}", world.name);
            }
        }
    }
}

#[tokio::test]
async fn rule_03_values_do_not_run_into_each_other_or_change_places() {
    let requests: [&[(&str, &str)]; 8] = [
        &[("x-a", "ab"), ("x-b", "c")],
        &[("x-a", "a"), ("x-b", "bc")],
        &[("x-a", "v")],
        &[("x-b", "v")],
        &[("x-a", "a"), ("x-b", "")],
        &[("x-a", ""), ("x-b", "a")],
        &[("x-a", "1:a,"), ("x-b", "")],
        &[("x-a", "-,-,")],
    ];
    for scheme in SCHEMES {
        for world in worlds() {
            everyone_gets_their_own(&world, scheme, ("X-B, x-a", &["x-a", "x-b"]), &requests).await;
        }
    }
}

#[tokio::test]
async fn rule_04_what_the_key_overlooks_the_page_does_not() {
    let cases: [(&str, &[&str], &[Lines<'_>]); 6] = [
        // Django 5.2 keys by a name that no request can have (PGK-11).
        ("Cookie ", &["cookie"], &[&[("cookie", "a")], &[("cookie", "b")], &[]]),
        (" Cookie", &["cookie"], &[&[("cookie", "a")], &[("cookie", "b")], &[]]),
        // These two are never found in META (PGK-22).
        ("Content-Type", &["content-type"], &[&[("content-type", "a")], &[("content-type", "b")], &[]]),
        // `-` and `_` are one in META (PGK-23).
        ("X-A", &["x-a"], &[&[("x-a", "1")], &[("x_a", "1")], &[("x-a", "2"), ("x_a", "1")]]),
        ("X_A", &["x_a"], &[&[("x-a", "1")], &[("x_a", "1")]]),
        ("Cookie, Cookie,,", &["cookie"], &[&[("cookie", "a"), ("cookie", "b")], &[("cookie", "a,b")], &[]]),
    ];
    for (vary, names, requests) in cases {
        for scheme in SCHEMES {
            for world in worlds() {
                everyone_gets_their_own(&world, scheme, (vary, names), requests).await;
            }
        }
    }
}

#[tokio::test]
async fn rule_04_several_vary_lines_count_together() {
    for world in worlds() {
        let names = &["cookie", "x-a"];
        let handler = Handler::new(|request, _| {
            let mut response = page(seen(request, names));
            response.headers_mut().append("vary", "cookie".parse().unwrap());
            response.headers_mut().append("vary", "X-A".parse().unwrap());
            response
        });
        let site = world.around(&handler);
        for lines in [&[("cookie", "a")][..], &[("x-a", "a")], &[("cookie", "a"), ("x-a", "a")], &[]] {
            assert!(!ask(&site, request(lines)).await.is_hit());
        }
        assert_eq!(handler.calls(), 4);
    }
}

#[tokio::test]
async fn rule_04_pages_that_vary_differently_keep_to_themselves() {
    // Visitors with a cookie get a page of their own, the others one by language: two Vary lists at one URL (MID-27).
    for scheme in SCHEMES {
        for world in worlds() {
            let handler = Handler::new(|request, _| {
                let by_cookie = request.headers.contains_key("cookie");
                let name = if by_cookie { "cookie" } else { "accept-language" };
                let mut response = page(seen(request, &[name]));
                let vary = if by_cookie { "cookie" } else { "cookie, accept-language" };
                response.headers_mut().insert("vary", vary.parse().unwrap());
                response
            });
            let site = world.site().key_scheme(scheme).layer(handler.clone());
            let requests: [&[(&str, &str)]; 4] = [
                &[("cookie", "a"), ("accept-language", "ja")],
                &[("accept-language", "ja")],
                &[("accept-language", "en")],
                &[("cookie", "b"), ("accept-language", "en")],
            ];
            for lines in requests.iter().chain(&requests) {
                let name = if lines[0].0 == "cookie" { "cookie" } else { "accept-language" };
                let own = seen(&request(lines).into_parts().0, &[name]);
                assert_eq!(ask(&site, request(lines)).await.text(), own, "{} {scheme:?}", world.name);
            }
            assert_eq!(handler.calls(), 4, "{} {scheme:?}: nobody hides anybody", world.name);
        }
    }
}

#[tokio::test]
async fn rule_04_a_page_moved_to_the_key_of_another_variant_is_a_miss() {
    for scheme in SCHEMES {
        let world = text_world();
        let text = world.text.clone().unwrap();
        let handler = echo("cookie", &["cookie"]);
        let site = world.site().key_scheme(scheme).layer(handler.clone());
        ask(&site, request(&[("cookie", "mine")])).await;
        let mine = text.page_keys();
        ask(&site, request(&[("cookie", "yours")])).await;
        let yours = text.page_keys().into_iter().find(|key| !mine.contains(key)).unwrap();
        text.forge(&yours, text.bytes(&mine[0]));
        let answer = ask(&site, request(&[("cookie", "yours")])).await;
        assert!(answer.text().contains("yours"), "{scheme:?}: {answer:?}");
        assert_eq!(handler.calls(), 3);
    }
}

/// A handler that waits for its gate, and answers what it saw.
async fn held(request: Plain, gate: oneshot::Receiver<()>) -> Result<http::Response<Script>, std::convert::Infallible> {
    let cookie = request.headers().get("cookie").map(|value| value.to_str().unwrap().to_owned());
    let _ = gate.await;
    let body = match cookie.as_deref() {
        Some("a") => "for a",
        Some("b") => "for b",
        _ => "for nobody",
    };
    let mut response = http::Response::new(Script::of_length(body.len() as u64, [Step::Data(body)]));
    response.headers_mut().insert("vary", "cookie".parse().unwrap());
    Ok(response)
}

#[tokio::test]
async fn rule_19_concurrent_visitors_of_different_variants_each_get_their_own() {
    for world in worlds() {
        // Both are in the handler at the same time; they finish in either order.
        for order in [[0, 1], [1, 0]] {
            world.cache.clear().await.unwrap();
            let gates: std::sync::Arc<std::sync::Mutex<Vec<oneshot::Receiver<()>>>> = Default::default();
            let (open_a, gate_a) = oneshot::channel();
            let (open_b, gate_b) = oneshot::channel();
            gates.lock().unwrap().extend([gate_b, gate_a]);
            let site = world.site().layer(service_fn(move |request: Plain| {
                let gate = gates.lock().unwrap().pop().expect("the handler runs twice");
                held(request, gate)
            }));
            let visit = |cookie: &'static str| {
                let site = site.clone();
                tokio::spawn(async move { ask(&site, request(&[("cookie", cookie)])).await })
            };
            let a = visit("a");
            settle().await;
            let b = visit("b");
            settle().await;
            let mut open = [Some(open_a), Some(open_b)];
            for which in order {
                open[which].take().unwrap().send(()).unwrap();
                settle().await;
            }
            assert_eq!(a.await.unwrap().text(), "for a", "{}", world.name);
            assert_eq!(b.await.unwrap().text(), "for b", "{}", world.name);
            // Both are kept, whichever came last: a third run of the handler would panic.
            assert_eq!(ask(&site, request(&[("cookie", "a")])).await.text(), "for a", "{} {order:?}", world.name);
            assert_eq!(ask(&site, request(&[("cookie", "b")])).await.text(), "for b", "{} {order:?}", world.name);
        }
    }
}

#[tokio::test]
async fn rule_19_a_waiter_never_shares_what_was_not_stored() {
    // Many at once, each with its own cookie set: everyone's Set-Cookie is their own.
    for world in worlds() {
        let handler = Handler::new(|_, call| {
            let mut response = page(format!("answer {call}"));
            response.headers_mut().insert("set-cookie", format!("session={call}").parse().unwrap());
            response
        });
        let site = world.around(&handler);
        let visits: Vec<_> = (0..50)
            .map(|_| {
                let site = site.clone();
                tokio::spawn(async move { ask(&site, get(HOME)).await })
            })
            .collect();
        let mut cookies = std::collections::HashSet::new();
        for visit in visits {
            let answer: Answer = visit.await.unwrap();
            assert!(cookies.insert(answer.header("set-cookie").to_owned()), "{}: {answer:?}", world.name);
        }
        assert_eq!(handler.calls(), 50);
    }
}

#[tokio::test]
async fn rule_19_a_slow_filler_of_one_variant_does_not_delay_another() {
    // As soon as it is known what the page varies on; before that, for the longest wait at most.
    for (is_known, world) in
        [true, false].into_iter().flat_map(|known| worlds().into_iter().map(move |world| (known, world)))
    {
        let (_never, gate) = oneshot::channel::<()>();
        let gate = std::sync::Arc::new(std::sync::Mutex::new(Some(gate)));
        let longest = if is_known { Duration::from_secs(600) } else { Duration::from_millis(50) };
        let site = world.site().longest_wait(longest).layer(service_fn(move |request: Plain| {
            let is_slow = request.headers().get("cookie").is_some_and(|cookie| cookie == "slow");
            let gate = if is_slow { gate.lock().unwrap().take() } else { None };
            async move {
                if let Some(gate) = gate {
                    let _ = gate.await;
                }
                let mut response = page("anonymous");
                response.headers_mut().insert("vary", "cookie".parse().unwrap());
                Ok::<_, std::convert::Infallible>(response)
            }
        }));
        if is_known {
            ask(&site, request(&[("cookie", "a")])).await;
        }
        let slow = tokio::spawn(site.clone().oneshot(request(&[("cookie", "slow")])));
        settle().await;
        let answer = tokio::time::timeout(Duration::from_secs(60), ask(&site, get(HOME))).await;
        assert_eq!(answer.expect("nobody waits for another's variant").text(), "anonymous", "{}", world.name);
        slow.abort();
    }
}

//! What a hit answers to a visitor who has the page already: 304 by itself, where the stored page has a validator.
//! `tests/conditional_rfc9110.rs` holds the evaluation itself against RFC 9110.

use http::{Method, StatusCode};
use larder::conditional_get;
use tower::{Layer, ServiceExt};

use crate::world::{
    Answer, HOME, Handler, Lines, World, ask, get, get_with, head, memory_world, page, request, worlds,
};

const DATED: &str = "Tue, 14 Nov 2023 22:00:00 GMT";
const LATER: &str = "Tue, 14 Nov 2023 23:00:00 GMT";
const EARLIER: &str = "Tue, 14 Nov 2023 21:00:00 GMT";

/// What a visitor with these headers gets five seconds after the page was stored.
async fn hit(world: &World, stored: Lines<'_>, method: Method, asked: Lines<'_>) -> Answer {
    let handler = Handler::saying(stored);
    let site = world.around(&handler);
    ask(&site, get(HOME)).await;
    world.wait(5);
    let answer = ask(&site, request(method, HOME, asked)).await;
    assert!(answer.is_hit(), "{} {asked:?}", world.name);
    assert_eq!(handler.calls(), 1, "{} {asked:?}", world.name);
    answer
}

#[tokio::test]
async fn a_visitor_who_has_the_page_gets_304() {
    let tagged = [("etag", "\"a,b\""), ("content-type", "text/plain")];
    let weak = [("etag", "W/\"v\"")];
    let dated = [("last-modified", DATED)];
    for (stored, asked) in [
        (&tagged[..], &[("if-none-match", "\"a,b\"")][..]),
        (&tagged, &[("if-none-match", "\"x\", W/\"a,b\"")]),
        (&tagged, &[("if-none-match", "\"x\""), ("if-none-match", "\"a,b\"")]),
        (&tagged, &[("if-none-match", "*")]),
        (&tagged, &[("if-none-match", "\"a,b\""), ("if-modified-since", EARLIER)]),
        (&tagged, &[("if-match", "\"a,b\""), ("if-none-match", "\"a,b\"")]),
        (&weak, &[("if-none-match", "\"v\"")]),
        (&dated, &[("if-modified-since", DATED)]),
        (&dated, &[("if-modified-since", LATER)]),
        (&dated, &[("if-none-match", "*")]),
    ] {
        for method in [Method::GET, Method::HEAD] {
            for world in worlds() {
                let answer = hit(&world, stored, method.clone(), asked).await;
                assert_eq!(answer.status, StatusCode::NOT_MODIFIED, "{} {method} {asked:?}", world.name);
                assert!(answer.body.is_empty());
            }
        }
    }
}

#[tokio::test]
async fn anybody_else_gets_the_page() {
    let tagged = [("etag", "\"v\"")];
    let both = [("etag", "\"v\""), ("last-modified", DATED)];
    let dated = [("last-modified", DATED)];
    for (stored, asked) in [
        (&tagged[..], &[][..]),
        (&tagged, &[("if-none-match", "\"x\"")]),
        (&tagged, &[("if-none-match", "v")]),
        (&tagged, &[("if-modified-since", LATER)]),
        (&both, &[("if-none-match", "\"x\""), ("if-modified-since", LATER)]),
        (&dated, &[("if-modified-since", EARLIER)]),
        (&dated, &[("if-modified-since", "yesterday")]),
        (&dated, &[("if-none-match", "\"v\"")]),
        (&[("etag", "")], &[("if-none-match", "*")]),
        (&[], &[("if-none-match", "*")]),
        (&[], &[("if-modified-since", LATER)]),
        // What guards a change is the origin's to judge: a stored copy may be older than what it is about.
        (&both, &[("if-match", "\"x\"")]),
        (&both, &[("if-match", "\"x\""), ("if-none-match", "\"v\"")]),
        (&both, &[("if-unmodified-since", EARLIER)]),
    ] {
        for world in worlds() {
            let answer = hit(&world, stored, Method::GET, asked).await;
            assert_eq!(answer.status, StatusCode::OK, "{} {stored:?} {asked:?}", world.name);
            assert_eq!(answer.text(), "answer 1");
        }
    }
}

#[tokio::test]
async fn a_304_has_the_headers_that_a_client_updates_its_copy_by_and_no_other() {
    let stored = [
        ("age", "10"),
        ("content-type", "text/plain"),
        ("content-location", "/home.en"),
        ("etag", "\"v\""),
        ("last-modified", DATED),
        ("vary", "Accept"),
        ("x-own", "1"),
    ];
    for world in worlds() {
        let answer = hit(&world, &stored, Method::GET, &[("if-none-match", "\"v\"")]).await;
        let mut names: Vec<&str> = answer.headers.keys().map(http::HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            ["age", "cache-control", "cache-status", "content-location", "etag", "expires", "last-modified", "vary"],
            "{}",
            world.name
        );
        assert_eq!(answer.header("age"), "15");
        assert_eq!(answer.header("cache-control"), "max-age=600");
    }
}

#[tokio::test]
async fn a_304_takes_nothing_from_the_page_and_the_page_is_never_copied() {
    let world = memory_world();
    let handler = Handler::new(|_, _| {
        let mut response = page(vec![b'x'; 1 << 20]);
        response.headers_mut().insert("etag", http::HeaderValue::from_static("\"v\""));
        response
    });
    let site = world.around(&handler);
    let first = ask(&site, get(HOME)).await;
    let before = ask(&site, get(HOME)).await;
    let known = site.clone().oneshot(get_with(HOME, &[("if-none-match", "\"v\"")])).await.unwrap();
    assert_eq!(known.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(http_body::Body::size_hint(known.body()).exact(), Some(0));
    let after = ask(&site, get(HOME)).await;
    assert_eq!((before.body.as_ptr(), after.body.len()), (after.body.as_ptr(), first.body.len()));
}

#[tokio::test]
async fn preconditions_neither_change_what_is_stored_nor_keep_a_miss_out_of_the_store() {
    for world in worlds() {
        let handler = Handler::saying(&[("etag", "\"v\"")]);
        let site = world.around(&handler);
        let miss = ask(&site, get_with(HOME, &[("if-none-match", "\"v\"")])).await;
        assert_eq!((miss.status, miss.text()), (StatusCode::OK, "answer 1"), "a miss is the handler's to judge");
        assert_eq!(ask(&site, get_with(HOME, &[("if-none-match", "\"v\"")])).await.status, StatusCode::NOT_MODIFIED);
        assert_eq!(ask(&site, get(HOME)).await.text(), "answer 1", "{}", world.name);
        assert_eq!(handler.calls(), 1);
    }
}

#[tokio::test]
async fn a_304_is_for_the_variant_that_the_visitor_would_get() {
    for world in worlds() {
        let handler = Handler::new(|parts, _| {
            let currency = parts.headers["x-currency"].clone();
            let mut response = page(currency.as_bytes().to_vec());
            response.headers_mut().insert("etag", format!("\"{}\"", currency.to_str().unwrap()).parse().unwrap());
            response.headers_mut().insert("vary", "x-currency".parse().unwrap());
            response
        });
        let site = world.around(&handler);
        for currency in ["EUR", "JPY"] {
            ask(&site, get_with(HOME, &[("x-currency", currency)])).await;
        }
        for (currency, status) in [("EUR", StatusCode::NOT_MODIFIED), ("JPY", StatusCode::OK)] {
            let asked = [("x-currency", currency), ("if-none-match", "\"EUR\"")];
            assert_eq!(ask(&site, get_with(HOME, &asked)).await.status, status, "{} {currency}", world.name);
        }
    }
}

#[tokio::test]
async fn mid_36_conditional_get_outside_gives_tags_to_hits_and_answers_304_to_who_sends_them() {
    for world in worlds() {
        let site = conditional_get().layer(world.around(&Handler::saying(&[])));
        let first = ask(&site, get(HOME)).await;
        world.wait(5);
        let hit = ask(&site, get(HOME)).await;
        assert_eq!((hit.is_hit(), hit.header("etag")), (true, first.header("etag")));
        let known = ask(&site, get_with(HOME, &[("if-none-match", first.header("etag"))])).await;
        assert_eq!((known.status, known.header("age")), (StatusCode::NOT_MODIFIED, "5"), "{}", world.name);
    }
}

#[tokio::test]
async fn mid_36_a_page_without_a_tag_gets_one_outside_and_the_304_has_it() {
    let dated = [("last-modified", DATED), ("content-type", "text/plain")];
    let since = [("if-modified-since", DATED)];
    let any = [("if-none-match", "*")];
    for asked in [&since[..], &any, &[since[0], any[0]]] {
        for world in worlds() {
            let handler = Handler::saying(&dated);
            let site = conditional_get().layer(world.around(&handler));
            let first = ask(&site, get(HOME)).await;
            assert_ne!(first.header("etag"), "");
            world.wait(5);
            let known = ask(&site, get_with(HOME, asked)).await;
            assert_eq!(known.status, StatusCode::NOT_MODIFIED, "{} {asked:?}", world.name);
            assert_eq!((known.header("etag"), known.header("age")), (first.header("etag"), "5"), "{}", world.name);
            assert_eq!((known.header("last-modified"), known.body.is_empty()), (DATED, true));
            // The layer outside tags no answer to HEAD, so the hit's own 304 is what it would be.
            let known = ask(&site, request(Method::HEAD, HOME, asked)).await;
            assert_eq!((known.status, known.is_hit()), (StatusCode::NOT_MODIFIED, true));
            assert_eq!(handler.calls(), 1, "{}", world.name);
        }
    }
}

#[tokio::test]
async fn a_page_with_a_tag_answers_304_by_itself_whatever_stands_outside() {
    let both = [("etag", "\"own\""), ("last-modified", DATED)];
    for asked in [("if-modified-since", DATED), ("if-none-match", "\"own\"")] {
        for world in worlds() {
            let handler = Handler::saying(&both);
            let site = conditional_get().layer(world.around(&handler));
            ask(&site, get(HOME)).await;
            let known = ask(&site, get_with(HOME, &[asked])).await;
            assert_eq!((known.status, known.is_hit()), (StatusCode::NOT_MODIFIED, true), "{} {asked:?}", world.name);
            assert_eq!(known.header("etag"), "\"own\"");
        }
    }
}

#[tokio::test]
async fn what_the_page_is_tagged_by_outside_judges_every_precondition() {
    for world in worlds() {
        let site = conditional_get().layer(world.around(&Handler::saying(&[("last-modified", DATED)])));
        let first = ask(&site, get(HOME)).await;
        let tag = first.header("etag");
        for (asked, status) in [
            (&[("if-none-match", tag)][..], StatusCode::NOT_MODIFIED),
            (&[("if-none-match", tag), ("if-modified-since", EARLIER)], StatusCode::NOT_MODIFIED),
            (&[("if-none-match", "\"x\""), ("if-modified-since", LATER)], StatusCode::OK),
            (&[("if-match", tag), ("if-modified-since", DATED)], StatusCode::NOT_MODIFIED),
            (&[("if-match", "\"x\""), ("if-modified-since", DATED)], StatusCode::PRECONDITION_FAILED),
            (&[("if-modified-since", EARLIER)], StatusCode::OK),
        ] {
            let answer = ask(&site, get_with(HOME, asked)).await;
            assert_eq!(answer.status, status, "{} {asked:?}", world.name);
        }
    }
}

#[tokio::test]
async fn mid_36_holds_with_layers_inside_each_other() {
    for world in worlds() {
        let handler = Handler::saying(&[("last-modified", DATED)]);
        let inner = world.site().key_prefix("inner");
        let outer = world.site().key_prefix("outer");
        let site = outer.layer(conditional_get().layer(inner.layer(handler.clone())));
        let first = ask(&site, get(HOME)).await;
        assert_ne!(first.header("etag"), "");
        let known = ask(&site, get_with(HOME, &[("if-modified-since", DATED)])).await;
        assert_eq!((known.status, known.header("etag")), (StatusCode::NOT_MODIFIED, first.header("etag")));
        assert_eq!(handler.calls(), 1, "{}", world.name);
    }
}

#[tokio::test]
async fn conditional_get_inside_is_run_on_misses_only_and_its_tag_is_stored() {
    for world in worlds() {
        let handler = Handler::saying(&[]);
        let site = world.site().layer(conditional_get().layer(handler.clone()));
        let first = ask(&site, get(HOME)).await;
        let tag = first.header("etag");
        assert_eq!(ask(&site, get_with(HOME, &[("if-none-match", tag)])).await.status, StatusCode::NOT_MODIFIED);
        assert_eq!(ask(&site, head(HOME)).await.header("etag"), tag, "{}", world.name);
        assert_eq!(handler.calls(), 1);
    }
}

//! The headers of pages that are stored and answered: `Expires`, `max-age`, `Age`, and those of a HEAD.
//! The rest of Django's arithmetic is held by `tests/django.rs`.

use http::{Method, StatusCode};
use larder::{Timeout, cache_page};
use tower::Layer;

use crate::world::{HOME, Handler, Lines, ask, get, head, header_map, page, request, worlds};

#[tokio::test]
async fn a_stored_page_is_answered_with_the_headers_it_was_stored_with() {
    for world in worlds() {
        let handler = Handler::saying(&[
            ("content-type", "text/html; charset=utf-8"),
            ("etag", "\"1\""),
            ("x-own", "1"),
            ("x-own", ""),
            ("x-own", "\u{e9}"),
            ("link", "</a.css>"),
            ("link", "</b.css>"),
        ]);
        let site = world.around(&handler);
        let mut miss = ask(&site, get(HOME)).await;
        world.wait(7);
        let mut hit = ask(&site, get(HOME)).await;
        assert_eq!(hit.headers.remove("age").unwrap(), "7");
        assert!(miss.headers.remove("cache-status") != hit.headers.remove("cache-status"));
        assert_eq!(hit.headers, miss.headers, "{}", world.name);
        assert_eq!(hit.header("expires"), "Tue, 14 Nov 2023 22:23:20 GMT");
        assert_eq!(hit.header("cache-control"), "max-age=600");
    }
}

#[tokio::test]
async fn a_handler_gets_every_header_of_its_request() {
    const LINES: Lines<'static> = &[
        ("host", "example.com"),
        ("accept-language", "de"),
        ("x-own", "1"),
        ("x-own", ""),
        ("cookie", "a=1"),
        ("if-none-match", "\"1\""),
        ("x-own", "2"),
    ];
    let handler = Handler::new(|parts, _| {
        let mut response = page(if parts.headers == header_map(LINES) { "all" } else { "others" });
        response.headers_mut().insert("vary", "x-own".parse().unwrap());
        response
    });
    for world in worlds() {
        let site = world.around(&handler);
        let asked = || request(Method::GET, HOME, LINES);
        assert_eq!(ask(&site, get(HOME)).await.text(), "others");
        let miss = ask(&site, asked()).await;
        assert_eq!((miss.text(), miss.cache_status().is_stored), ("all", true), "{}", world.name);
        assert!(ask(&site, asked()).await.is_hit(), "{}", world.name);
        if let Some(store) = &world.text {
            store.take_down(true);
            assert_eq!(ask(&site, asked()).await.text(), "all", "a store that is down");
        }
    }
}

#[tokio::test]
async fn age_counts_from_what_the_response_said_of_itself() {
    for (lines, age) in [
        (&[][..], "5"),
        (&[("age", "10")], "15"),
        (&[("age", "0")], "5"),
        (&[("age", "10"), ("age", "20")], "15"),
        (&[("age", "x")], "5"),
        (&[("age", "-10")], "5"),
        (&[("age", "")], "5"),
    ] {
        for world in worlds() {
            let site = world.around(&Handler::saying(lines));
            ask(&site, get(HOME)).await;
            world.wait(5);
            assert_eq!(ask(&site, get(HOME)).await.header("age"), age, "{} {lines:?}", world.name);
        }
    }
}

#[tokio::test]
async fn an_age_too_large_to_count_is_not_taken_for_a_young_one() {
    for age in ["4294967296", "99999999999999999999999999"] {
        for world in worlds() {
            let site = world.around(&Handler::saying(&[("age", age)]));
            ask(&site, get(HOME)).await;
            let hit = ask(&site, get(HOME)).await;
            let told: u64 = hit.header("age").parse().unwrap();
            assert!(told >= 1 << 31, "RFC 9111, section 1.2.2: {} {told}", world.name);
        }
    }
}

#[tokio::test]
async fn lifetimes_of_any_size_are_stored_without_a_panic() {
    for max_age in ["1", "31536000", "4294967296", "9223372036854775807", "99999999999999999999999999"] {
        let control = format!("max-age={max_age}");
        for world in worlds() {
            let site = world.around(&Handler::saying(&[("cache-control", &control)]));
            assert!(ask(&site, get(HOME)).await.cache_status().is_stored, "{} {max_age}", world.name);
            assert!(ask(&site, get(HOME)).await.is_hit(), "{} {max_age}", world.name);
        }
    }
    for world in worlds() {
        let site = world.site().timeout(Timeout::Never).layer(Handler::saying(&[]));
        ask(&site, get(HOME)).await;
        assert_eq!(ask(&site, get(HOME)).await.header("cache-control"), "max-age=31536000", "{}", world.name);
    }
}

#[tokio::test]
async fn a_page_is_gone_at_the_very_end_of_its_lifetime() {
    for world in worlds() {
        let handler = Handler::saying(&[]);
        let site = cache_page(30).cache(&world.cache).cache_status("larder").layer(handler.clone());
        ask(&site, get(HOME)).await;
        world.hands.advance(std::time::Duration::from_nanos(29_999_999_999));
        assert!(ask(&site, get(HOME)).await.is_hit());
        world.hands.advance(std::time::Duration::from_nanos(1));
        assert_eq!(ask(&site, get(HOME)).await.text(), "answer 2", "{}", world.name);
    }
}

#[tokio::test]
async fn a_clock_that_is_set_back_makes_no_age_below_zero() {
    for world in worlds() {
        let site = world.around(&Handler::saying(&[]));
        ask(&site, get(HOME)).await;
        world.hands.set(larder::Timestamp::from_secs(1_600_000_000));
        let hit = ask(&site, get(HOME)).await;
        assert_eq!((hit.is_hit(), hit.header("age")), (true, "0"), "{}", world.name);
    }
}

#[tokio::test]
async fn a_head_is_answered_from_the_get_page_without_its_body() {
    for world in worlds() {
        let handler = Handler::saying(&[("x-own", "1")]);
        let site = world.around(&handler);
        ask(&site, get(HOME)).await;
        let answer = ask(&site, head(HOME)).await;
        assert!(answer.is_hit(), "{}", world.name);
        assert_eq!((answer.text(), answer.header("content-length"), answer.header("x-own")), ("", "8", "1"));
        let again = ask(&site, get(HOME)).await;
        assert_eq!((again.text(), again.header("content-length")), ("answer 1", ""), "the GET page is as it was");
    }
}

#[tokio::test]
async fn a_head_page_keeps_the_length_the_handler_said() {
    for world in worlds() {
        let handler = Handler::new(|request, _| {
            let mut response = page(if request.method == Method::HEAD { "" } else { "four" });
            response.headers_mut().insert("content-length", "4".parse().unwrap());
            response
        });
        let site = world.around(&handler);
        for is_hit in [false, true] {
            let answer = ask(&site, head(HOME)).await;
            assert_eq!(
                (answer.is_hit(), answer.header("content-length"), answer.text()),
                (is_hit, "4", ""),
                "{}",
                world.name
            );
        }
        assert_eq!(ask(&site, get(HOME)).await.text(), "four");
        assert_eq!(ask(&site, head(HOME)).await.header("content-length"), "4");
        assert_eq!(handler.calls(), 2);
    }
}

#[tokio::test]
async fn a_head_of_a_page_without_content_gets_no_length() {
    // RFC 9110, section 8.6: a 204 must not carry Content-Length.
    for world in worlds() {
        let handler = Handler::new(|_, _| {
            let mut response = page("");
            *response.status_mut() = StatusCode::NO_CONTENT;
            response
        });
        let site = world.site().statuses([StatusCode::NO_CONTENT]).layer(handler);
        ask(&site, get(HOME)).await;
        let answer = ask(&site, head(HOME)).await;
        assert!(answer.is_hit());
        assert_eq!(answer.header("content-length"), "", "{}", world.name);
    }
}

#[tokio::test]
async fn a_refused_response_is_passed_on_untouched() {
    let refused: [&[(&str, &str)]; 5] = [
        &[("cache-control", "private")],
        &[("cache-control", "no-store, max-age=60")],
        &[("set-cookie", "a=1"), ("vary", "cookie")],
        &[("vary", "*")],
        &[("cache-control", "max-age=0"), ("age", "3")],
    ];
    for lines in refused {
        for world in worlds() {
            let site = larder::CacheLayer::per_site().cache(&world.cache).layer(Handler::saying(lines));
            let answer = ask(&site, get(HOME)).await;
            assert_eq!(answer.headers, crate::world::header_map(lines), "{}", world.name);
        }
    }
    for world in worlds() {
        let site = larder::CacheLayer::per_site().cache(&world.cache).layer(Handler::saying(&[("age", "3")]));
        let answer = ask(&site, request(Method::POST, HOME, &[])).await;
        assert_eq!(answer.headers, crate::world::header_map(&[("age", "3")]));
    }
}

#[tokio::test]
async fn a_hit_has_a_content_length_exactly_where_the_miss_had_one() {
    for (said, hits) in [(None, ""), (Some("8"), "8")] {
        for world in worlds() {
            let handler = match said {
                Some(length) => Handler::saying(&[("content-length", length)]),
                None => Handler::saying(&[]),
            };
            let site = world.around(&handler);
            let miss = ask(&site, get(HOME)).await;
            for _ in 0..3 {
                let hit = ask(&site, get(HOME)).await;
                assert!(hit.is_hit());
                assert_eq!(hit.headers.get_all("content-length").iter().count(), usize::from(said.is_some()));
                assert_eq!((hit.header("content-length"), hit.text()), (hits, "answer 1"), "{}", world.name);
                assert_eq!(hit.header("content-length"), miss.header("content-length"), "{}", world.name);
            }
            assert_eq!(ask(&site, head(HOME)).await.header("content-length"), "8", "{}", world.name);
        }
    }
}

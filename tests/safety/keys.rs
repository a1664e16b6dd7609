//! Rules 10, 11 and 12: what a client sends beside the URL names no page, no key is dangerous to a store, and bytes
//! under the wrong key are a miss.

use http::Request;
use larder::backend::KeyRule;
use larder::cache::key_problems;
use larder::{Cache, CacheLayer, Forwarded, KeyScheme, Language, ManualClock, TimeZone, Timestamp};
use tower::Layer;

use crate::world::{HOME, Handler, Lines, Text, World, ask, get, get_with, head, text_world, worlds};

#[tokio::test]
async fn rule_10_headers_that_name_another_request_are_not_believed() {
    let lines = [
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-scheme", "https"),
        ("x-forwarded-ssl", "on"),
        ("x-forwarded-port", "8443"),
        ("x-forwarded-server", "evil.example"),
        ("x-forwarded-prefix", "/evil"),
        ("forwarded", "host=evil.example;proto=https"),
        ("x-host", "evil.example"),
        ("x-original-url", "/admin"),
        ("x-original-host", "evil.example"),
        ("x-rewrite-url", "/admin"),
        ("x-http-method-override", "POST"),
        ("x-http-method", "DELETE"),
        ("x-method-override", "PUT"),
        ("front-end-https", "on"),
        ("range", "bytes=0-1"),
        ("cache-control", "no-cache"),
        ("pragma", "no-cache"),
        ("if-none-match", "*"),
    ];
    for world in worlds() {
        let handler = Handler::saying(&[]);
        let site = world.around(&handler);
        ask(&site, get(HOME)).await;
        for line in lines {
            let answer = ask(&site, get_with(HOME, &[line])).await;
            assert!(answer.is_hit(), "{} {line:?}: {answer:?}", world.name);
        }
        assert!(ask(&site, get_with(HOME, &lines)).await.is_hit());
    }
}

#[tokio::test]
async fn rule_10_what_is_trusted_is_in_the_key_and_nothing_else() {
    for world in worlds() {
        let handler = Handler::saying(&[]);
        let trust = Forwarded::none().host().scheme("x-forwarded-proto", "https");
        let site = world.site().trust(trust).layer(handler.clone());
        let requests: [&[(&str, &str)]; 5] = [
            &[],
            &[("x-forwarded-host", "a.example")],
            &[("x-forwarded-host", "b.example")],
            &[("x-forwarded-proto", "https")],
            &[("x-forwarded-host", "a.example"), ("x-forwarded-proto", "https")],
        ];
        for _ in 0..2 {
            for (position, lines) in requests.iter().enumerate() {
                assert_eq!(ask(&site, get_with(HOME, lines)).await.text(), format!("answer {}", position + 1));
            }
        }
        let untrusted =
            [("x-forwarded-host", "a.example"), ("x-original-url", "/admin"), ("forwarded", "host=c.example")];
        assert_eq!(ask(&site, get_with(HOME, &untrusted)).await.text(), "answer 2");
    }
}

#[tokio::test]
async fn rule_10_a_host_that_cannot_be_believed_bypasses_the_cache() {
    let trusting = || CacheLayer::per_site().cache_status("larder").trust(Forwarded::none().host());
    let plain = || CacheLayer::per_site().cache_status("larder");
    let cases: [(CacheLayer, &str, Lines<'_>); 13] = [
        (plain(), "http://a/", &[("host", "b")]),
        (plain(), "/", &[("host", "a"), ("host", "b")]),
        (plain(), "/", &[("host", "a"), ("host", "a")]),
        (plain(), "/", &[("host", "")]),
        (plain(), "/", &[("host", "a b")]),
        (plain(), "/", &[("host", "a/b")]),
        (plain(), "/", &[("host", "a?b")]),
        (plain(), "/", &[("host", "a#b")]),
        (plain(), "/", &[("host", "user@a")]),
        (plain(), "/", &[("host", "\u{e9}")]),
        (plain(), "http://user@a/", &[]),
        (trusting(), "http://a/", &[("x-forwarded-host", "b c")]),
        // An app that reads the other header would answer for another host under this key.
        (trusting(), "http://a/", &[("x-forwarded-host", "")]),
    ];
    for (layer, url, lines) in cases {
        for world in worlds() {
            let handler = Handler::saying(&[]);
            let site = layer.clone().cache(&world.cache).layer(handler.clone());
            for call in 1..=2 {
                let answer = ask(&site, get_with(url, lines)).await;
                assert_eq!(answer.reason(), "host", "{} {url} {lines:?}", world.name);
                assert_eq!(answer.text(), format!("answer {call}"));
            }
        }
    }
}

fn refusing() -> (World, Text) {
    let hands = ManualClock::at(Timestamp::from_secs(1_700_000_000));
    let text = Text::with(hands.clock(), KeyRule::Refuse, usize::MAX);
    (World { name: "refusing", cache: Cache::new(text.clone()), hands, text: Some(text.clone()) }, text)
}

const SCHEMES: [KeyScheme; 3] = [KeyScheme::Sha256, KeyScheme::Django52, KeyScheme::Django61];
const HOSTILE: [&str; 8] =
    ["a b", "a\r\nset evil 0 0 1\r\nx\r\n", "a\nb", "a\0b", "\t", "a\u{7f}", " ", "flush_all\r\n"];

#[tokio::test]
async fn rule_11_no_hostile_key_reaches_a_store_that_refuses_it() {
    let long = "x".repeat(260);
    for scheme in SCHEMES {
        for hostile in HOSTILE.into_iter().chain([long.as_str()]) {
            for part in ["prefix", "language", "time zone", "cache prefix", "cache version"] {
                let (mut world, text) = refusing();
                let builder = Cache::builder(text.clone());
                world.cache = match part {
                    "cache prefix" => builder.key_prefix(hostile).build(),
                    "cache version" => builder.version(hostile).build(),
                    _ => builder.build(),
                };
                let handler = Handler::saying(&[]);
                let layer = world.site().key_scheme(scheme);
                let layer = if part == "prefix" { layer.key_prefix(hostile) } else { layer };
                let site = layer.layer(handler.clone());
                let ask_once = || {
                    let mut request = get(HOME);
                    match part {
                        "language" => drop(request.extensions_mut().insert(Language::new(hostile))),
                        "time zone" => drop(request.extensions_mut().insert(TimeZone::new(hostile))),
                        _ => {}
                    }
                    ask(&site, request)
                };
                let first = ask_once().await;
                assert_eq!((first.status.as_u16(), first.text()), (200, "answer 1"));
                let second = ask_once().await;
                // Ours hashes what a request brings; what Django writes out is refused.
                if scheme == KeyScheme::Sha256 && ["language", "time zone"].contains(&part) {
                    assert!(second.is_hit(), "{part} {hostile:?}: {second:?}");
                } else {
                    assert_eq!(
                        (second.reason().as_str(), second.text()),
                        ("key", "answer 2"),
                        "{scheme:?} {part} {hostile:?}"
                    );
                }
                for key in text.seen() {
                    assert_eq!(key_problems(&key), [], "{scheme:?} {part} {hostile:?}: {key:?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn rule_11_no_url_and_no_header_makes_a_hostile_key() {
    let long = format!("http://a/{}?{}", "x".repeat(4000), "y".repeat(4000));
    let urls =
        ["http://a/%0d%0aset%20x%200%200%201%0d%0a", "http://a/%00?%20%0d%0a", "http://a/?a\u{e9}", long.as_str()];
    for scheme in SCHEMES {
        let (world, text) = refusing();
        let handler = Handler::saying(&[("vary", "x-a")]);
        let site = world.site().key_scheme(scheme).layer(handler.clone());
        for url in urls.into_iter().filter(|url| url.parse::<http::Uri>().is_ok()) {
            for value in ["", "a b", "\t", "\u{ff}\u{80}", "x".repeat(5000).as_str()] {
                let answer = ask(&site, get_with(url, &[("x-a", value)])).await;
                assert!(answer.cache_status().is_stored, "{scheme:?} {url} {value:?}: {answer:?}");
            }
        }
        for key in text.seen() {
            assert_eq!(key_problems(&key), [], "{scheme:?}: {key:?}");
        }
    }
}

/// Two requests, and a site for each, whose pages must never be mistaken for each other.
type Pair = (fn(&World) -> CacheLayer, Request<http_body_util::Empty<bytes::Bytes>>);

#[tokio::test]
async fn rule_12_bytes_under_another_key_are_a_miss() {
    let site: fn(&World) -> CacheLayer = World::site;
    let with = |language: Option<&str>, zone: Option<&str>| {
        let mut request = get(HOME);
        language.map(|language| request.extensions_mut().insert(Language::new(language)));
        zone.map(|zone| request.extensions_mut().insert(TimeZone::new(zone)));
        request
    };
    let pairs: Vec<(&str, Pair, Pair)> = vec![
        ("another path", (site, get("http://a/1")), (site, get("http://a/2"))),
        ("another query", (site, get("http://a/?1")), (site, get("http://a/?2"))),
        ("another host", (site, get("http://a/")), (site, get("http://b/"))),
        ("another scheme", (site, get("http://a/")), (site, get("https://a/"))),
        ("a HEAD for a GET", (site, head(HOME)), (site, get(HOME))),
        ("another variant", (site, get_with(HOME, &[("x-a", "1")])), (site, get_with(HOME, &[("x-a", "2")]))),
        ("no such header", (site, get_with(HOME, &[("x-a", "1")])), (site, get(HOME))),
        ("another language", (site, with(Some("en"), None)), (site, with(Some("ja"), None))),
        ("no language", (site, with(Some("en"), None)), (site, with(None, None))),
        ("a zone for a language", (site, with(Some("UTC"), None)), (site, with(None, Some("UTC")))),
        (
            "another prefix",
            (|world| world.site().key_prefix("1"), get(HOME)),
            (|world| world.site().key_prefix("2"), get(HOME)),
        ),
        (
            "another version",
            (|world| world.site().cache(&world.cache.version(1)), get(HOME)),
            (|world| world.site().cache(&world.cache.version(2)), get(HOME)),
        ),
    ];
    for scheme in SCHEMES {
        for (what, one, other) in &pairs {
            for with_lists in [false, true] {
                let world = text_world();
                let text = world.text.clone().unwrap();
                let handler = Handler::saying(&[("vary", "x-a")]);
                let serve = |(site, request): &Pair| {
                    let site = site(&world).key_scheme(scheme).layer(handler.clone());
                    let request = request.clone();
                    async move { ask(&site, request).await }
                };
                assert!(serve(one).await.cache_status().is_stored);
                let (pages, lists) = (text.page_keys(), text.header_keys());
                let (page_bytes, list_bytes) = (text.bytes(&pages[0]), text.bytes(&lists[0]));
                assert!(serve(other).await.cache_status().is_stored, "{scheme:?} {what}");
                // Django's keys of the two may be the same one.
                let new = |keys: Vec<String>, old: &[String]| keys.into_iter().find(|key| !old.contains(key));
                text.forge(&new(text.page_keys(), &pages).unwrap_or(pages[0].clone()), page_bytes);
                if with_lists {
                    text.forge(&new(text.header_keys(), &lists).unwrap_or(lists[0].clone()), list_bytes);
                }
                let answer = serve(other).await;
                assert!(!answer.is_hit(), "{scheme:?} {what} {with_lists}: {answer:?}");
                assert_eq!(handler.calls(), 3);
            }
        }
    }
}

#[tokio::test]
async fn rule_12_a_value_of_another_kind_is_a_miss() {
    let world = text_world();
    let text = world.text.clone().unwrap();
    let handler = Handler::saying(&[]);
    let site = world.around(&handler);
    ask(&site, get(HOME)).await;
    let (page, list) = (text.page_keys().remove(0), text.header_keys().remove(0));
    let (page_bytes, list_bytes) = (text.bytes(&page), text.bytes(&list));
    let with_flags = |stored: &larder::backend::Stored, flags| larder::backend::Stored { flags, ..stored.clone() };
    for flags in [0, 2, 16, 32] {
        text.forge(&page, with_flags(&page_bytes, flags));
        assert!(!ask(&site, get(HOME)).await.is_hit(), "flags {flags}");
    }
    for flags in [0, 2, 16, 32, 64] {
        text.forge(&list, with_flags(&list_bytes, flags));
        assert!(!ask(&site, get(HOME)).await.is_hit(), "flags {flags}");
    }
    for (key, stored) in [(&page, &list_bytes), (&list, &page_bytes)] {
        text.forge(key, stored.clone());
        assert!(!ask(&site, get(HOME)).await.is_hit());
    }
    assert!(ask(&site, get(HOME)).await.is_hit(), "and the next store mends it");
}

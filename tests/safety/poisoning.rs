//! Rules 14 to 17: the look of a path decides nothing, a GET with a body and odd statuses stay out, and what belongs to
//! one connection is not kept.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{Empty, Full};
use larder::KeyScheme;
use tower::Layer;

use crate::world::{HOME, Handler, ask, get, page, request, worlds};

/// Paths that are another page each for some router, however alike they look to some cache.
const PATHS: [&str; 48] = [
    "/",
    "//",
    "///",
    "/a",
    "/a/",
    "/a//",
    "/A",
    "/%61",
    "/%41",
    "/a/b",
    "//a/b",
    "/a//b",
    "/a%2Fb",
    "/a%2fb",
    "/a%252Fb",
    "/a%5Cb",
    "/a;x",
    "/a;x=1",
    "/a;y",
    "/a%3Bx",
    "/a/;x",
    "/a;/b",
    "/a/.",
    "/a/..",
    "/a/./b",
    "/a/../b",
    "/b",
    "/./a",
    "/../a",
    "/a/%2E/b",
    "/a/%2e%2e/b",
    "/a/.%2e/b",
    "/a..;/b",
    "/a%00",
    "/a%00.css",
    "/a%0a",
    "/a%20",
    "/a+",
    "/a%2B",
    "/a.css",
    "/a/style.css",
    "/a%2Fstyle.css",
    "/a.CSS",
    "/a/nonexistent.js",
    "/a%C3%A9",
    "/a%c3%a9",
    "/a%E9",
    "/a%25E9",
];

#[tokio::test]
async fn rule_14_every_path_is_a_page_of_its_own() {
    for scheme in [KeyScheme::Sha256, KeyScheme::Django52, KeyScheme::Django61] {
        for world in worlds() {
            let handler = Handler::new(|request, _| page(request.uri.to_string()));
            let site = world.site().key_scheme(scheme).layer(handler.clone());
            for path in PATHS.iter().chain(PATHS.iter().rev()).chain(&PATHS) {
                for query in ["", "?", "?a;b", "?a%3Bb", "?/../a", "?.css"] {
                    let url = format!("http://example.com{path}{query}");
                    assert_eq!(ask(&site, get(&url)).await.text(), url, "{} {scheme:?}", world.name);
                }
            }
            if world.keeps_apart(scheme) {
                assert_eq!(handler.calls(), PATHS.len() * 6, "{}", world.name);
            }
        }
    }
}

#[tokio::test]
async fn rule_14_whether_a_page_is_stored_does_not_depend_on_the_look_of_its_path() {
    let private: &[(&str, &str)] = &[("cache-control", "private")];
    for (lines, reason) in [(&[][..], ""), (private, "private"), (&[("set-cookie", "a=1")], "set-cookie")] {
        for world in worlds() {
            let handler = Handler::saying(lines);
            let site = world.around(&handler);
            for path in PATHS {
                let url = format!("http://example.com{path}");
                assert_eq!(ask(&site, get(&url)).await.reason(), reason, "{} {path}", world.name);
                assert_eq!(ask(&site, get(&url)).await.is_hit(), reason.is_empty(), "{} {path}", world.name);
            }
        }
    }
}

#[tokio::test]
async fn rule_15_a_get_with_a_body_bypasses_the_cache() {
    for world in worlds() {
        for method in [Method::GET, Method::HEAD] {
            let handler = Handler::saying(&[]);
            let site = world.site().key_prefix(method.as_str()).layer(handler.clone());
            ask(&site, Request::builder().method(&method).uri(HOME).body(Full::<Bytes>::default()).unwrap()).await;
            for _ in 0..2 {
                let request = Request::builder().method(&method).uri(HOME).body(Full::<Bytes>::from("q=1")).unwrap();
                let answer = ask(&site, request).await;
                assert_eq!(answer.reason(), "request-body", "{}", world.name);
            }
            assert_eq!(handler.calls(), 3);
            // A layer further out may have read the body already.
            let announced: [&[(&str, &str)]; 6] = [
                &[("content-length", "3")],
                &[("content-length", "0"), ("content-length", "3")],
                &[("content-length", "x")],
                &[("transfer-encoding", "chunked")],
                &[("transfer-encoding", "identity")],
                &[("Transfer-Encoding", " chunked")],
            ];
            for lines in announced {
                assert_eq!(
                    ask(&site, request(method.clone(), HOME, lines)).await.reason(),
                    "request-body",
                    "{lines:?}"
                );
            }
            assert!(ask(&site, request(method, HOME, &[("content-length", "0")])).await.is_hit());
        }
    }
}

#[tokio::test]
async fn rule_16_only_200_is_stored_unless_told_otherwise() {
    for world in worlds() {
        for code in 100..1000u16 {
            let handler = Handler::new(move |_, call| {
                let mut response = page(format!("answer {call}"));
                *response.status_mut() = StatusCode::from_u16(code).unwrap();
                response.headers_mut().insert("cache-control", "public, max-age=600".parse().unwrap());
                response
            });
            let site = world.site().key_prefix(code.to_string()).layer(handler.clone());
            ask(&site, get(HOME)).await;
            let second = ask(&site, get(HOME)).await;
            assert_eq!(second.status.as_u16(), code);
            assert_eq!(second.is_hit(), code == 200, "{} {code}", world.name);
            if code != 200 {
                assert_eq!(second.reason(), "status");
            }
        }
    }
}

#[tokio::test]
async fn rule_16_listed_statuses_are_stored_but_parts_and_interim_ones_never() {
    let never = [100, 101, 102, 103, 199, 206, 304];
    let listed = [200, 203, 204, 301, 404, 410, 500];
    let all = never.into_iter().chain(listed).map(|code| StatusCode::from_u16(code).unwrap());
    let all: Vec<StatusCode> = all.collect();
    for world in worlds() {
        for status in &all {
            let code = status.as_u16();
            let handler = Handler::new(move |_, _| {
                let mut response = page("");
                *response.status_mut() = StatusCode::from_u16(code).unwrap();
                response
            });
            let site = world.site().statuses(all.clone()).key_prefix(code.to_string()).layer(handler.clone());
            ask(&site, get(HOME)).await;
            let second = ask(&site, get(HOME)).await;
            assert_eq!((second.status, second.is_hit()), (*status, listed.contains(&code)), "{}", world.name);
        }
    }
}

#[tokio::test]
async fn rule_17_what_belongs_to_one_connection_is_not_replayed() {
    let per_connection = [
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "proxy-authentication-info",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    let named: [(&[&[u8]], &[&str]); 6] = [
        (&[b"close, X-One"], &["x-one"]),
        (&[b"X-ONE , x-two"], &["x-one", "x-two"]),
        (&[b"x-one", b"\tX-Two,,keep-alive"], &["x-one", "x-two"]),
        (&[b" ,x-one,"], &["x-one"]),
        (&[b"content-type, etag"], &["content-type", "etag"]),
        // One name that makes no sense hides no other.
        (&[b"\xff, x-one"], &["x-one"]),
    ];
    for (lines, dropped) in named {
        for world in worlds() {
            let handler = Handler::new(move |_, _| {
                let mut response = page("body");
                let headers = response.headers_mut();
                for name in per_connection.iter().filter(|name| **name != "connection") {
                    headers.insert(*name, "x".parse().unwrap());
                }
                for name in ["x-one", "x-two", "x-three", "content-type", "etag"] {
                    headers.append(name, "1".parse().unwrap());
                    headers.append(name, "2".parse().unwrap());
                }
                lines.iter().for_each(|line| {
                    headers.append("connection", http::HeaderValue::from_bytes(line).unwrap());
                });
                response
            });
            let site = world.around(&handler);
            let miss = ask(&site, get(HOME)).await;
            assert!(miss.headers.contains_key("x-one"), "the first visitor gets what the handler said");
            let hit = ask(&site, get(HOME)).await;
            assert!(hit.is_hit());
            for name in per_connection.iter().chain(dropped) {
                assert!(!hit.headers.contains_key(*name), "{} {name}: {hit:?}", world.name);
            }
            for name in ["x-one", "x-two", "x-three", "content-type", "etag"] {
                if !dropped.contains(&name) {
                    assert_eq!(hit.lines(name), ["1", "2"], "{} {name}", world.name);
                }
            }
        }
    }
}

#[tokio::test]
async fn rule_17_a_content_length_on_a_hit_is_the_length_of_the_body() {
    for world in worlds() {
        for announced in [None, Some("4")] {
            let handler = Handler::new(move |_, _| {
                let mut response: Response<Full<Bytes>> = page("body");
                if let Some(length) = announced {
                    response.headers_mut().insert("content-length", length.parse().unwrap());
                }
                response
            });
            let site = world.site().key_prefix(announced.unwrap_or_default()).layer(handler.clone());
            for _ in 0..2 {
                let answer = ask(&site, get(HOME)).await;
                assert!(["", "4"].contains(&answer.header("content-length")), "{answer:?}");
                assert_eq!(answer.text(), "body");
            }
            let head = ask(&site, Request::head(HOME).body(Empty::<Bytes>::new()).unwrap()).await;
            assert_eq!((head.is_hit(), head.header("content-length"), head.text()), (true, "4", ""), "{}", world.name);
        }
    }
}

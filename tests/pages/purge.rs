//! Deleting a page by its URL: the next request runs the handler, whatever is still in the store or on its way to it.
//! `Pages::get` is looked at beside it.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http::header::{HeaderName, HeaderValue};
use http::{Method, Response};
use http_body_util::Full;
use larder::{KeyScheme, Language, PageUrl};
use tokio::sync::oneshot;
use tower::{Layer, service_fn};

use crate::world::{HOME, Handler, Plain, ask, get, get_with, head, page, request, settle, text_world, worlds};

#[tokio::test]
async fn after_it_the_next_request_runs_the_handler() {
    for scheme in [KeyScheme::Sha256, KeyScheme::Django52, KeyScheme::Django61] {
        for world in worlds() {
            let handler = Handler::saying(&[]);
            let layer = world.site().key_scheme(scheme);
            let (site, pages) = (layer.layer(handler.clone()), layer.pages());
            assert!(!pages.delete(HOME).await.unwrap(), "nothing is there yet");
            ask(&site, get(HOME)).await;
            ask(&site, get("http://example.com/other")).await;
            assert_eq!(pages.get(HOME).await.unwrap().unwrap().body, "answer 1");
            assert!(pages.delete(HOME).await.unwrap());
            assert!(!pages.delete(HOME).await.unwrap());
            assert!(pages.get(HOME).await.unwrap().is_none());
            assert_eq!(ask(&site, get(HOME)).await.text(), "answer 3", "{} {scheme:?}", world.name);
            assert!(ask(&site, get(HOME)).await.is_hit());
            assert_eq!(ask(&site, get("http://example.com/other")).await.text(), "answer 2", "only that one went");
        }
    }
}

/// What visitors type begins with `https`; a service behind a proxy hears nothing of it unless it is told.
#[tokio::test]
async fn a_page_is_found_under_the_scheme_that_its_layer_knows() {
    for world in worlds() {
        for (layer, scheme, other) in
            [(world.site(), "http", "https"), (world.site().key_prefix("tls").scheme("https"), "https", "http")]
        {
            let (site, pages) = (layer.layer(Handler::saying(&[])), layer.pages());
            ask(&site, get_with("/news/7", &[("host", "shop.example")])).await;
            assert!(!pages.delete(format!("{other}://shop.example/news/7")).await.unwrap());
            assert!(pages.delete(format!("{scheme}://shop.example/news/7")).await.unwrap(), "{} {scheme}", world.name);
        }
    }
}

/// A process may know by heart what it is answered again and again. It goes by what the store answers all the same: by the
/// newer page, its age and its variants.
#[tokio::test]
async fn a_page_that_was_answered_often_is_answered_as_the_store_has_it() {
    for world in worlds() {
        let handler = Handler::saying(&[("vary", "x-a"), ("cache-control", "max-age=60"), ("etag", "\"one\"")]);
        let layer = world.site();
        let (site, elsewhere) = (layer.layer(handler.clone()), layer.layer(handler.clone()));
        let variant = |value: &str| get_with(HOME, &[("x-a", value)]);
        for (turn, answer) in [(1, "answer 1"), (2, "answer 3"), (3, "answer 5")] {
            for value in ["1", "2"] {
                assert!(!ask(&site, variant(value)).await.is_hit(), "{} {turn}", world.name);
            }
            for _ in 0..5 {
                let hit = ask(&site, variant("1")).await;
                assert!(hit.is_hit(), "{} {turn}: {hit:?}", world.name);
                assert_eq!(hit.text(), answer, "{} {turn}", world.name);
                assert_ne!(ask(&site, variant("2")).await.text(), answer, "{} {turn}", world.name);
            }
            let head = ask(&site, request(Method::HEAD, HOME, &[("x-a", "1")])).await;
            assert!(head.is_hit() && head.body.is_empty(), "{} {turn}: {head:?}", world.name);
            assert_eq!(head.header("content-length"), answer.len().to_string(), "{} {turn}", world.name);
            let known = ask(&site, get_with(HOME, &[("x-a", "1"), ("if-none-match", "\"one\"")])).await;
            assert_eq!((known.status.as_u16(), known.text()), (304, ""), "{} {turn}", world.name);
            assert!(known.lines("content-length").is_empty(), "{} {turn}: {known:?}", world.name);
            world.wait(7);
            let hit = ask(&site, variant("1")).await;
            assert!((7..20).contains(&hit.header("age").parse::<u64>().unwrap()), "{} {turn}: {hit:?}", world.name);
            assert_eq!(ask(&elsewhere, variant("1")).await.text(), answer);
            assert!(layer.pages().delete(HOME).await.unwrap());
        }
    }
}

#[tokio::test]
async fn all_variants_and_methods_go_and_none_comes_back() {
    for scheme in [KeyScheme::Sha256, KeyScheme::Django52, KeyScheme::Django61] {
        for world in worlds() {
            let handler = Handler::saying(&[("vary", "x-a")]);
            let layer = world.site().key_scheme(scheme);
            let site = layer.layer(handler.clone());
            let requests = || {
                let variant = |value: &str| get_with(HOME, &[("x-a", value)]);
                [head(HOME), get(HOME), variant("1"), variant("2"), request(Method::HEAD, HOME, &[("x-a", "3")])]
            };
            for request in requests() {
                assert!(!ask(&site, request).await.is_hit());
            }
            assert!(layer.pages().delete(HOME).await.unwrap());
            for request in requests() {
                let method = request.method().clone();
                let answer = ask(&site, request).await;
                assert!(!answer.is_hit(), "{} {scheme:?} {method}: {answer:?}", world.name);
            }
            assert_eq!(handler.calls(), 10, "{}: storing one anew brings no other back", world.name);
        }
    }
}

#[tokio::test]
async fn a_page_in_another_language_is_another_page() {
    for world in worlds() {
        let handler = Handler::saying(&[]);
        let layer = world.site().language("en");
        let (site, pages) = (layer.layer(handler.clone()), layer.pages());
        let in_japanese = || {
            let mut request = get(HOME);
            request.extensions_mut().insert(Language::new("ja"));
            request
        };
        ask(&site, get(HOME)).await;
        ask(&site, in_japanese()).await;
        assert!(pages.delete(PageUrl::new(HOME).language("ja")).await.unwrap());
        assert!(ask(&site, get(HOME)).await.is_hit(), "{}", world.name);
        assert_eq!(ask(&site, in_japanese()).await.text(), "answer 3");
        assert!(pages.delete(PageUrl::of(&in_japanese())).await.unwrap());
        assert!(pages.delete(HOME).await.unwrap());
    }
}

#[tokio::test]
async fn a_handle_sees_what_a_visitor_would_get() {
    for world in worlds() {
        let handler = Handler::saying(&[("vary", "x-a"), ("x-own", "1")]);
        let layer = world.site();
        let (site, pages) = (layer.layer(handler.clone()), layer.pages());
        ask(&site, get_with(HOME, &[("x-a", "1")])).await;
        let x_a = HeaderName::from_static("x-a");
        let variant = |value| PageUrl::new(HOME).header(x_a.clone(), HeaderValue::from_static(value));
        let stored = pages.get(variant("1")).await.unwrap().unwrap();
        assert_eq!((stored.body.as_ref(), stored.headers["x-own"].as_bytes()), (&b"answer 1"[..], &b"1"[..]));
        assert!(!stored.headers.contains_key("age"));
        assert_eq!(stored.expires_at.since(stored.stored_at).as_secs(), 600);
        assert!(pages.get(variant("2")).await.unwrap().is_none(), "{}", world.name);
        assert!(pages.get(HOME).await.unwrap().is_none());
        world.wait(600);
        assert!(pages.get(variant("1")).await.unwrap().is_none());
        assert!(pages.get("http://[").await.is_err());
        assert!(pages.delete("http://a b/").await.is_err());
        assert!(pages.delete("http://user@a/").await.is_err());
    }
}

/// A handler whose answers for `x-a: slow` wait for a gate.
#[derive(Clone, Default)]
struct Gates(Arc<Mutex<Vec<oneshot::Receiver<()>>>>);

impl Gates {
    fn add(&self) -> oneshot::Sender<()> {
        let (open, gate) = oneshot::channel();
        self.0.lock().unwrap().push(gate);
        open
    }

    fn take(&self, request: &Plain) -> Option<oneshot::Receiver<()>> {
        let is_slow = request.headers().get("x-a").is_some_and(|value| value == "slow");
        if is_slow { self.0.lock().unwrap().pop() } else { None }
    }
}

#[tokio::test]
async fn a_fill_on_its_way_brings_no_old_variant_back() {
    // A visitor is in the handler while the page is deleted; when their answer is stored, the variants that were
    // deleted must not be found through it.
    for (position, world) in worlds().into_iter().enumerate() {
        let gates = Gates::default();
        let inside = gates.clone();
        let calls = Arc::new(Mutex::new(0));
        let counted = calls.clone();
        let layer = world.site();
        let site = layer.layer(service_fn(move |request: Plain| {
            let gate = inside.take(&request);
            *counted.lock().unwrap() += 1;
            let call = *counted.lock().unwrap();
            async move {
                if let Some(gate) = gate {
                    let _ = gate.await;
                }
                let mut response: Response<Full<bytes::Bytes>> = page(format!("answer {call}"));
                response.headers_mut().insert("vary", "x-a".parse().unwrap());
                Ok::<_, Infallible>(response)
            }
        }));
        ask(&site, get_with(HOME, &[("x-a", "old")])).await;
        let open = gates.add();
        let slow = {
            let site = site.clone();
            tokio::spawn(async move { ask(&site, get_with(HOME, &[("x-a", "slow")])).await })
        };
        settle().await;
        assert!(layer.pages().delete(HOME).await.unwrap());
        open.send(()).unwrap();
        assert_eq!(slow.await.unwrap().text(), "answer 2");
        let old = ask(&site, get_with(HOME, &[("x-a", "old")])).await;
        assert_eq!(old.text(), "answer 3", "{} ({position}): deleted is deleted", world.name);
    }
}

#[tokio::test]
async fn fills_side_by_side_keep_each_other() {
    // Two visitors of a cold URL in the handler at once: what one stores the other must not push out.
    let world = text_world();
    let gates = Gates::default();
    let inside = gates.clone();
    let site = world.site().layer(service_fn(move |request: Plain| {
        let gate = inside.take(&request);
        async move {
            if let Some(gate) = gate {
                let _ = gate.await;
            }
            let mut response: Response<Full<bytes::Bytes>> = page("page");
            response.headers_mut().insert("vary", "x-a".parse().unwrap());
            Ok::<_, Infallible>(response)
        }
    }));
    let open = gates.add();
    let slow = {
        let site = site.clone();
        tokio::spawn(async move { ask(&site, get_with(HOME, &[("x-a", "slow")])).await })
    };
    settle().await;
    ask(&site, get_with(HOME, &[("x-a", "fast")])).await;
    open.send(()).unwrap();
    slow.await.unwrap();
    assert!(ask(&site, get_with(HOME, &[("x-a", "slow")])).await.is_hit());
    assert!(ask(&site, get_with(HOME, &[("x-a", "fast")])).await.is_hit());
}

//! Purging by tag: every page with it is gone at once, whatever its URL and its variant, and no other; and a page that was
//! begun before a purge is not there after it, whoever purged what (safety rule 20).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::IF_NONE_MATCH;
use http::{Method, Response};
use http_body_util::Full;
use larder::backend::{Backend, Objects};
use larder::{Cache, CacheLayer, CacheService, Error, KeyScheme, Tags};
use tokio::sync::watch;
use tower::{Layer, Service, service_fn};

use crate::world::{
    Answer, HOME, Handler, Plain, World, ask, forward, get, get_with, head, page, request, settle, worlds,
};

fn with_tags(mut response: Response<Full<Bytes>>, tags: Tags) -> Response<Full<Bytes>> {
    response.extensions_mut().insert(tags);
    response
}

/// Pages of articles: `/7` has the tags `article:7`, and `even` or `odd`; each varies on `x-a`.
fn articles() -> Handler {
    Handler::new(|request, call| {
        let number: u32 = request.uri.path().trim_start_matches('/').parse().unwrap();
        let parity = if number.is_multiple_of(2) { "even" } else { "odd" };
        let mut response = page(format!("answer {call}"));
        response.headers_mut().insert("vary", "x-a".parse().unwrap());
        response.headers_mut().insert("etag", format!("\"{number}\"").parse().unwrap());
        with_tags(response, Tags::new([format!("article:{number}")]).and(parity))
    })
}

fn article(number: u32) -> String {
    format!("http://example.com/{number}")
}

#[tokio::test]
async fn every_url_and_variant_of_a_tag_is_gone_at_once_and_others_stay() {
    for scheme in [KeyScheme::Sha256, KeyScheme::Django61] {
        for world in worlds() {
            let handler = articles();
            let layer = world.site().key_scheme(scheme);
            let site = layer.layer(handler.clone());
            let requests = || {
                let variants = |number| [get(&article(number)), get_with(&article(number), &[("x-a", "1")])];
                (1..=4).flat_map(variants).collect::<Vec<_>>()
            };
            for request in requests() {
                assert!(ask(&site, request).await.cache_status().is_stored, "{}", world.name);
            }
            for request in requests() {
                assert!(ask(&site, request).await.is_hit(), "{}", world.name);
            }
            world.cache.purge_tag("even").await.unwrap();
            assert!(layer.pages().get(article(2).as_str()).await.unwrap().is_none(), "{}", world.name);
            for request in requests() {
                let (is_even, url) = (["/2", "/4"].contains(&request.uri().path()), request.uri().clone());
                assert_eq!(ask(&site, request).await.is_hit(), !is_even, "{} {scheme:?} {url}", world.name);
            }
            for request in requests() {
                assert!(ask(&site, request).await.is_hit(), "{}: they are kept again", world.name);
            }
            assert_eq!(handler.calls(), 12);
            world.cache.purge_tags(["article:1", "article:2", "nobody's"]).await.unwrap();
            for (number, is_hit) in [(1, false), (2, false), (3, true), (4, true)] {
                assert_eq!(ask(&site, get(&article(number))).await.is_hit(), is_hit, "{} {number}", world.name);
            }
        }
    }
}

#[tokio::test]
async fn neither_a_head_nor_a_conditional_request_finds_what_was_purged() {
    for world in worlds() {
        let handler = articles();
        let site = world.around(&handler);
        let known = || request(Method::GET, &article(1), &[(IF_NONE_MATCH.as_str(), "\"1\"")]);
        ask(&site, get(&article(1))).await;
        assert_eq!(ask(&site, known()).await.status, 304);
        assert!(ask(&site, head(&article(1))).await.is_hit());
        world.cache.purge_tag("odd").await.unwrap();
        assert_eq!(ask(&site, head(&article(1))).await.cache_status().fwd.as_deref(), Some("stale"), "{}", world.name);
        world.cache.purge_tag("odd").await.unwrap();
        let answer = ask(&site, known()).await;
        assert!(answer.status == 200 && !answer.is_hit(), "{}: {answer:?}", world.name);
    }
}

#[tokio::test]
async fn tags_of_layers_and_handlers_come_together() {
    for world in worlds() {
        let handler = articles();
        let inside = CacheLayer::per_site().cache(&world.cache).tags(["inside"]).layer(handler);
        let site = world.site().tags(["site"]).tags(["blog"]).layer(inside);
        for tag in ["site", "blog", "inside", "odd", "article:3"] {
            assert!(!ask(&site, get(&article(3))).await.is_hit(), "{} {tag}", world.name);
            assert!(ask(&site, get(&article(3))).await.is_hit(), "{} {tag}", world.name);
            world.cache.purge_tag(tag).await.unwrap();
        }
        assert!(!ask(&site, get(&article(3))).await.is_hit(), "{}", world.name);
    }
}

#[tokio::test]
async fn another_version_has_tags_of_its_own() {
    for world in worlds() {
        let drafts = world.cache.version("draft");
        let handler = articles();
        let site = world.around(&handler);
        let draft_site = world.site().cache(&drafts).layer(handler.clone());
        for site in [&site, &draft_site] {
            ask(site, get(&article(1))).await;
        }
        drafts.purge_tag("odd").await.unwrap();
        assert!(ask(&site, get(&article(1))).await.is_hit(), "{}", world.name);
        assert!(!ask(&draft_site, get(&article(1))).await.is_hit(), "{}", world.name);
        // A layer's prefix tells pages apart, not tags: they belong to the cache.
        let blog = world.site().key_prefix("blog").layer(handler.clone());
        ask(&blog, get(&article(1))).await;
        world.cache.purge_tag("odd").await.unwrap();
        assert!(!ask(&site, get(&article(1))).await.is_hit() && !ask(&blog, get(&article(1))).await.is_hit());
        assert!(ask(&draft_site, get(&article(1))).await.is_hit(), "{}", world.name);
    }
}

/// Another process on the store of a world, as far as a test can have one: nothing but the store is shared.
#[derive(Clone)]
struct Shared(Arc<dyn Backend>);

impl Backend for Shared {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    forward!(0: clock, key_rule, get, set, add, touch, delete, incr, clear);

    fn objects(&self) -> Option<&dyn Objects> {
        self.0.objects()
    }
}

fn elsewhere(world: &World) -> Cache {
    Cache::new(Shared(Arc::clone(world.cache.backend())))
}

#[tokio::test]
async fn a_purge_reaches_everybody_on_the_store() {
    for world in worlds() {
        let handler = articles();
        let here = world.around(&handler);
        let cache = elsewhere(&world);
        let there = world.site().cache(&cache).layer(handler.clone());
        for (purging, site) in [(&cache, &here), (&world.cache, &there)] {
            ask(&here, get(&article(1))).await;
            assert!(ask(site, get(&article(1))).await.is_hit(), "{}", world.name);
            purging.purge_tag("article:1").await.unwrap();
            assert!(!ask(site, get(&article(1))).await.is_hit(), "{}", world.name);
        }
        ask(&here, get(&article(1))).await;
        world.site().cache(&cache).pages().delete(article(1).as_str()).await.unwrap();
        assert!(!ask(&here, get(&article(1))).await.is_hit(), "{}", world.name);
    }
}

/// A handler that reads the truth, and then waits at a gate before it answers with it.
struct Held {
    truth: watch::Sender<u32>,
    gate: watch::Sender<bool>,
    /// How many read it.
    read: watch::Sender<u32>,
}

impl Held {
    fn new() -> Arc<Self> {
        Arc::new(Held { truth: watch::Sender::new(1), gate: watch::Sender::new(false), read: watch::Sender::new(0) })
    }

    fn behind(self: &Arc<Self>, layer: &CacheLayer) -> CacheService<impl Handles> {
        let held = Arc::clone(self);
        layer.layer(service_fn(move |_: Plain| {
            let held = Arc::clone(&held);
            Box::pin(async move {
                let truth = *held.truth.borrow();
                held.read.send_modify(|read| *read += 1);
                let _ = held.gate.subscribe().wait_for(|is_open| *is_open).await;
                Ok::<_, Infallible>(with_tags(page(truth.to_string()), Tags::new(["truth"])))
            })
        }))
    }

    async fn is_read(&self, times: u32) {
        let mut read = self.read.subscribe();
        let wait = read.wait_for(|read| *read >= times);
        tokio::time::timeout(PATIENCE, wait).await.expect("the handler runs").unwrap();
    }
}

trait Handles:
    Service<Plain, Response = Response<Full<Bytes>>, Error = Infallible, Future: Send + 'static>
    + Clone
    + Send
    + Sync
    + 'static
{
}

impl<S> Handles for S where
    S: Service<Plain, Response = Response<Full<Bytes>>, Error = Infallible, Future: Send + 'static>
        + Clone
        + Send
        + Sync
        + 'static
{
}

const PATIENCE: Duration = Duration::from_secs(120);

/// Asks in a task of its own.
fn spawn<S: Handles>(site: &CacheService<S>, request: Plain) -> tokio::task::JoinHandle<Answer> {
    let site = site.clone();
    tokio::spawn(async move { ask(&site, request).await })
}

#[derive(Clone, Copy, Debug)]
enum Way {
    Tag,
    Url,
    Clear,
}

#[tokio::test]
async fn rule_20_a_page_that_was_begun_before_a_purge_is_not_there_after_it() {
    // Cold: nothing was ever stored for the URL. Known: there was a page, and it is gone.
    for (way, is_known) in [
        (Way::Tag, false),
        (Way::Url, false),
        (Way::Clear, false),
        (Way::Tag, true),
        (Way::Url, true),
        (Way::Clear, true),
    ] {
        for world in worlds() {
            let what = format!("{} {way:?} {is_known}", world.name);
            let held = Held::new();
            let layer = world.site().timeout(60);
            let site = held.behind(&layer);
            if is_known {
                held.gate.send_replace(true);
                ask(&site, get(HOME)).await;
                settle().await;
                assert!(ask(&site, get(HOME)).await.is_hit(), "{what}");
                held.gate.send_replace(false);
                world.wait(61);
            }
            let runs = *held.read.borrow();
            let before = spawn(&site, get(HOME));
            held.is_read(runs + 1).await;
            held.truth.send_replace(2);
            match way {
                Way::Tag => world.cache.purge_tag("truth").await.unwrap(),
                Way::Url => drop(layer.pages().delete(HOME).await.unwrap()),
                Way::Clear => world.cache.clear().await.unwrap(),
            }
            let after = spawn(&site, get(HOME));
            settle().await;
            held.gate.send_replace(true);
            assert_eq!(before.await.unwrap().text(), "1", "{what}: one who asked before may be answered so");
            assert_eq!(after.await.unwrap().text(), "2", "{what}: one who asked after is not, though he waited for it");
            settle().await;
            let answer = ask(&site, get(HOME)).await;
            assert_eq!(answer.text(), "2", "{what}: {answer:?}");
            let begun = Instant::now();
            while !ask(&site, get(HOME)).await.is_hit() {
                assert!(begun.elapsed() < PATIENCE, "{what}: what was begun after the purge is kept");
                settle().await;
            }
        }
    }
}

#[tokio::test]
async fn too_many_tags_or_too_long_a_one_are_not_stored() {
    for world in worlds() {
        let mut most = (0..128).map(|tag| format!("{tag:01024}"));
        let site = |tags: Tags| {
            let handler = Handler::new(move |_, _| with_tags(page("tagged"), tags.clone()));
            world.around(&handler)
        };
        for tags in [Tags::new((0..129).map(|tag| tag.to_string())), Tags::new(["x".repeat(1025)])] {
            let answer = ask(&site(tags), get(HOME)).await;
            assert_eq!((answer.reason().as_str(), answer.text()), ("tags", "tagged"), "{}", world.name);
        }
        let site = site(Tags::new(most.clone()));
        assert!(ask(&site, get(HOME)).await.cache_status().is_stored, "{}", world.name);
        assert!(ask(&site, get(HOME)).await.is_hit(), "{}", world.name);
        world.cache.purge_tag(most.next_back().unwrap()).await.unwrap();
        assert!(!ask(&site, get(HOME)).await.is_hit(), "{}", world.name);
    }
}

#[tokio::test]
async fn rule_08_and_11_a_tag_may_be_any_text_and_is_no_other() {
    let odd = ["", " ", "a", "A", "a\r\nflush_all\r\n", "\0", "é", "e\u{301}", "a,b", "larder.purges", "a\u{7f}"];
    for world in worlds() {
        for tag in odd {
            let handler = Handler::new(move |_, _| with_tags(page("tagged"), Tags::new([tag])));
            let mine: String = tag.bytes().map(|byte| format!("{byte:02x}")).collect();
            let site = world.site().key_prefix(mine).layer(handler);
            let first = ask(&site, get(HOME)).await;
            assert!(first.cache_status().is_stored, "{} {tag:?}: {first:?}", world.name);
            for other in odd.iter().filter(|other| **other != tag) {
                world.cache.purge_tag(other).await.unwrap();
            }
            let second = ask(&site, get(HOME)).await;
            assert!(second.is_hit(), "{} {tag:?}: {second:?}", world.name);
            world.cache.purge_tag(tag).await.unwrap();
            assert!(!ask(&site, get(HOME)).await.is_hit(), "{} {tag:?}", world.name);
        }
        if let Some(text) = &world.text {
            let is_portable = |key: &String| key.len() <= 250 && key.bytes().all(|byte| byte.is_ascii_graphic());
            assert!(text.seen().iter().filter(|key| key.contains(":larder.tag.")).all(is_portable));
        }
    }
}

#[tokio::test]
async fn an_error_of_the_store_is_told_to_whoever_purges() {
    for world in worlds() {
        let Some(text) = &world.text else { continue };
        text.take_down(true);
        let error = world.cache.purge_tag("a").await.unwrap_err();
        assert!(matches!(error, Error::Backend { .. }), "{error}");
        assert!(world.site().pages().delete(HOME).await.is_err());
    }
}

//! Cache layers inside cache layers: which one keeps the page, for how long, and what the layers between them add.
//! `CacheLayer::per_site` outside and `cache_page` inside, in the same place and in different ones.

#[path = "world/in_process.rs"]
mod chosen;
mod world;

use std::convert::Infallible;

use http::{HeaderValue, Response};
use larder::{Cache, CacheLayer, cache_page};
use tower::{Layer, Service, ServiceExt, service_fn};

use world::{CacheStatus, HOME, Handler, Plain, World, ask, get, get_with, worlds};

fn inner(world: &World, timeout: u32) -> CacheLayer {
    cache_page(timeout).cache(&world.cache).cache_status("inner")
}

/// A layer that adds a header line to every response.
fn adding<S, B>(
    name: &'static str,
    inner: S,
) -> impl Service<Plain, Response = Response<B>, Error = Infallible, Future: Send> + Clone + Send + 'static
where
    S: Service<Plain, Response = Response<B>, Error = Infallible, Future: Send> + Clone + Send + 'static,
    B: 'static,
{
    service_fn(move |request: Plain| {
        let inner = inner.clone();
        async move {
            let mut response = inner.oneshot(request).await?;
            response.headers_mut().append(name, HeaderValue::from_static("added"));
            Ok(response)
        }
    })
}

#[tokio::test]
async fn in_the_same_place_the_outer_keeps_the_page_for_the_inner_timeout() {
    for world in worlds() {
        let handler = Handler::saying(&[]);
        let site = world.site().layer(inner(&world, 30).layer(handler.clone()));
        let miss = ask(&site, get(HOME)).await;
        assert_eq!(miss.header("cache-control"), "max-age=30", "{}", world.name);
        let told = CacheStatus::of(&miss.headers);
        assert_eq!((told[0].cache.as_str(), told[0].detail.as_deref()), ("inner", Some("outer-layer")));
        assert!(told[1].is_stored);
        world.wait(29);
        let hit = ask(&site, get(HOME)).await;
        assert_eq!((hit.is_hit(), hit.header("age"), hit.text()), (true, "29", "answer 1"), "{}", world.name);
        world.wait(1);
        assert_eq!(ask(&site, get(HOME)).await.text(), "answer 2", "gone after the inner timeout");
        assert_eq!(handler.calls(), 2);
        if let Some(text) = &world.text {
            assert_eq!(text.page_keys().len(), 1, "one page, kept once");
        }
    }
}

#[tokio::test]
async fn in_different_places_both_keep_it_and_an_inner_hit_is_not_stored_again() {
    for (world, other) in worlds().into_iter().zip(worlds()) {
        let handler = Handler::saying(&[]);
        let inside = cache_page(30).cache(&other.cache).cache_status("inner").layer(handler.clone());
        let site = world.site().layer(inside.clone());
        let miss = ask(&site, get(HOME)).await;
        assert!(CacheStatus::of(&miss.headers).iter().all(|told| told.is_stored), "{miss:?}");
        assert!(ask(&inside, get(HOME)).await.is_hit(), "{}", world.name);
        assert!(ask(&site, get(HOME)).await.is_hit());
        // The outer one forgets; the inner one answers, and its old page gets no new life outside.
        world.cache.clear().await.unwrap();
        other.wait(10);
        for _ in 0..2 {
            let answer = ask(&site, get(HOME)).await;
            assert_eq!(answer.header("age"), "10");
            assert_eq!(
                (answer.cache_status().is_hit, answer.reason().as_str()),
                (false, "inner-hit"),
                "{}",
                world.name
            );
        }
        assert_eq!(handler.calls(), 1);
    }
}

#[tokio::test]
async fn a_hit_two_layers_in_is_stored_by_neither_of_the_outer_ones() {
    for ((a, b), c) in worlds().into_iter().zip(worlds()).zip(worlds()) {
        let handler = Handler::saying(&[]);
        let innermost = cache_page(30).cache(&c.cache).cache_status("c").layer(handler.clone());
        let middle = CacheLayer::per_site().cache(&b.cache).cache_status("b").layer(innermost);
        let site = CacheLayer::per_site().cache(&a.cache).cache_status("a").layer(middle);
        ask(&site, get(HOME)).await;
        a.cache.clear().await.unwrap();
        b.cache.clear().await.unwrap();
        c.wait(29);
        let answer = ask(&site, get(HOME)).await;
        let reasons: Vec<_> = CacheStatus::of(&answer.headers).into_iter().map(|told| told.detail).collect();
        let inner_hit = || Some("inner-hit".to_owned());
        assert_eq!(reasons, [None, inner_hit(), inner_hit()], "{}: {answer:?}", a.name);
    }
}

#[tokio::test]
async fn what_a_layer_between_adds_is_on_hits_too() {
    for (world, other) in worlds().into_iter().zip(worlds()) {
        for inner_cache in [&world.cache, &other.cache] {
            world.cache.clear().await.unwrap();
            let handler = Handler::saying(&[]);
            let inside = cache_page(30).cache(inner_cache).layer(handler.clone());
            let site = world.site().layer(adding("x-between", inside));
            for is_hit in [false, true, true] {
                let answer = ask(&site, get(HOME)).await;
                assert_eq!(answer.is_hit(), is_hit, "{}", world.name);
                assert_eq!(answer.lines("x-between"), ["added"], "once, neither lost nor doubled");
            }
            assert_eq!(handler.calls(), 1);
        }
    }
}

#[tokio::test]
async fn a_cookie_that_a_layer_between_sets_is_never_stored() {
    for world in worlds() {
        let handler = Handler::saying(&[]);
        let site = world.site().layer(adding("set-cookie", inner(&world, 30).layer(handler.clone())));
        for call in 1..=3 {
            let answer = ask(&site, get(HOME)).await;
            assert_eq!((answer.text(), answer.reason().as_str()), (format!("answer {call}").as_str(), "set-cookie"));
        }
        assert_eq!(world.text.map(|text| text.keys()).unwrap_or_default(), [""; 0]);
    }
    // In another place the inner one may keep what it saw, which had no cookie.
    for (world, other) in worlds().into_iter().zip(worlds()) {
        let handler = Handler::saying(&[]);
        let inside = cache_page(30).cache(&other.cache).layer(handler.clone());
        let site = world.site().layer(adding("set-cookie", inside.clone()));
        for _ in 0..3 {
            let answer = ask(&site, get(HOME)).await;
            assert!(!answer.is_hit());
            assert_eq!(answer.lines("set-cookie"), ["added"]);
        }
        assert_eq!(handler.calls(), 1);
        assert_eq!(ask(&inside, get(HOME)).await.lines("set-cookie"), [""; 0]);
    }
}

#[tokio::test]
async fn a_vary_that_a_layer_between_adds_counts() {
    for world in worlds() {
        let handler = Handler::new(|request, _| world::page(format!("{:?}", request.headers.get("added"))));
        let site = world.site().layer(adding("vary", inner(&world, 30).layer(handler.clone())));
        for value in ["a", "b", "a", "b"] {
            let answer = ask(&site, get_with(HOME, &[("added", value)])).await;
            assert_eq!(answer.text(), format!("Some({value:?})"), "{}", world.name);
        }
        assert_eq!(handler.calls(), 2);
    }
}

#[tokio::test]
async fn what_the_outer_refuses_the_inner_of_the_same_place_does_not_keep_either() {
    for lines in [&[("cache-control", "private")][..], &[("vary", "*")], &[("set-cookie", "a=1")]] {
        for world in worlds() {
            let handler = Handler::saying(lines);
            let site = world.site().layer(inner(&world, 30).layer(handler.clone()));
            for call in 1..=3 {
                assert_eq!(ask(&site, get(HOME)).await.text(), format!("answer {call}"));
            }
        }
    }
}

#[tokio::test]
async fn a_request_that_the_outer_lets_through_is_not_kept_by_the_inner_of_the_same_place() {
    // The outer one cannot take this method or host; nothing that it left behind may make the inner one keep it.
    for world in worlds() {
        let handler = Handler::saying(&[]);
        let site = world.site().layer(inner(&world, 30).layer(handler.clone()));
        for call in 1..=2 {
            let answer = ask(&site, get_with(HOME, &[("host", "other.example")])).await;
            assert_eq!(answer.text(), format!("answer {call}"), "{}", world.name);
        }
    }
}

#[tokio::test]
async fn prefix_scheme_and_version_make_different_places() {
    for world in worlds() {
        let changes: [fn(CacheLayer, &Cache) -> CacheLayer; 3] = [
            |layer, _| layer.key_prefix("inside"),
            |layer, _| layer.key_scheme(larder::KeyScheme::Django61),
            |layer, cache| layer.cache(&cache.version(2)),
        ];
        for change in changes {
            world.cache.clear().await.unwrap();
            let handler = Handler::saying(&[]);
            let inside = change(inner(&world, 30), &world.cache).layer(handler.clone());
            let site = world.site().layer(inside.clone());
            ask(&site, get(HOME)).await;
            assert!(ask(&inside, get(HOME)).await.is_hit(), "{}", world.name);
            assert!(ask(&site, get(HOME)).await.is_hit());
            assert_eq!(handler.calls(), 1);
        }
    }
}

#[tokio::test]
async fn a_layer_between_two_of_one_place_hands_on_the_times_of_the_innermost() {
    let cache = Cache::memory();
    let answer = |_: http::Request<String>| async { Ok::<_, Infallible>(Response::new("a page".to_owned())) };
    let route = cache_page(30).cache(&cache).layer(service_fn(answer));
    let section = CacheLayer::per_site().cache(&cache).tags(["blog"]).layer(route);
    let site = CacheLayer::per_site().cache(&cache).layer(section);

    let request = http::Request::get("http://example.com/news").body(String::new()).unwrap();
    assert_eq!(site.oneshot(request).await.unwrap().headers()["cache-control"], "max-age=30");
}

//! The layer around services that have to be made ready, and that panic when they were not.
//! tower's rule: the service that was made ready is the one that is called.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response};
use http_body_util::Full;
use tower::buffer::BufferLayer;
use tower::limit::ConcurrencyLimitLayer;
use tower::timeout::TimeoutLayer;
use tower::{Layer, Service, ServiceExt};

use crate::world::{HOME, Handler, Plain, ask, get, page, request, settle, worlds};

/// Panics when it is called without having been made ready; a clone has to be made ready itself.
#[derive(Default)]
struct Strict {
    is_ready: bool,
    calls: Arc<AtomicUsize>,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Strict { is_ready: false, calls: Arc::clone(&self.calls) }
    }
}

impl Service<Plain> for Strict {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        if !self.is_ready {
            self.is_ready = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Plain) -> Self::Future {
        assert!(std::mem::take(&mut self.is_ready), "called without having been made ready");
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        ready(Ok(page(format!("answer {call}"))))
    }
}

#[tokio::test]
async fn the_service_that_was_made_ready_is_called() {
    for world in worlds() {
        let strict = Strict::default();
        let mut site = world.site().layer(strict.clone());
        // One clone of the layer, made ready before every call, as a connection does it.
        for url in ["http://a/1", "http://a/1", "http://a/2", "http://a/1", "http://a/3"] {
            site.ready().await.unwrap().call(get(url)).await.unwrap();
            site.ready().await.unwrap().call(request(Method::POST, url, &[])).await.unwrap();
        }
        assert_eq!(strict.calls.load(Ordering::SeqCst), 8, "{}", world.name);
        for _ in 0..3 {
            ask(&site, get("http://a/4")).await;
        }
        assert_eq!(strict.calls.load(Ordering::SeqCst), 9);
    }
}

#[tokio::test]
async fn a_failure_to_become_ready_is_the_visitors() {
    #[derive(Clone)]
    struct Never;
    impl Service<Plain> for Never {
        type Response = Response<Full<Bytes>>;
        type Error = &'static str;
        type Future = Ready<Result<Self::Response, Self::Error>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            Poll::Ready(Err("never ready"))
        }

        fn call(&mut self, _: Plain) -> Self::Future {
            unreachable!("it is never ready")
        }
    }
    for world in worlds() {
        assert_eq!(world.site().layer(Never).oneshot(get(HOME)).await.err(), Some("never ready"));
    }
}

#[tokio::test]
async fn towers_own_layers_work_inside() {
    for world in worlds() {
        let handler = Handler::saying(&[]);
        let limited = ConcurrencyLimitLayer::new(1).layer(handler.clone());
        let site = world.site().layer(limited);
        for url in ["http://a/1", "http://a/1", "http://a/2"] {
            ask(&site, get(url)).await;
        }
        assert_eq!(handler.calls(), 2, "{}", world.name);

        let handler = Handler::saying(&[]);
        let buffered = BufferLayer::new(2).layer(TimeoutLayer::new(Duration::from_secs(5)).layer(handler.clone()));
        let site = world.site().key_prefix("buffered").layer(buffered);
        for url in ["http://a/1", "http://a/1", "http://a/2"] {
            ask(&site, get(url)).await;
        }
        assert_eq!(handler.calls(), 2, "{}", world.name);
    }
}

#[tokio::test]
async fn a_hit_keeps_no_place_in_a_limit() {
    for world in worlds() {
        let handler = Handler::saying(&[]);
        let site = world.site().layer(ConcurrencyLimitLayer::new(1).layer(handler.clone()));
        ask(&site, get(HOME)).await;
        let visits: Vec<_> = (0..20)
            .map(|number| {
                let site = site.clone();
                let url = if number % 2 == 0 { HOME.to_owned() } else { format!("http://a/{number}") };
                tokio::spawn(async move { ask(&site, get(&url)).await })
            })
            .collect();
        settle().await;
        for visit in visits {
            let visit = tokio::time::timeout(Duration::from_secs(5), visit).await;
            visit.expect("nobody waits for ever").unwrap();
        }
        assert_eq!(handler.calls(), 11, "{}", world.name);
    }
}

/// Counts its clones, and is never ready once it has been called.
#[derive(Default)]
struct Once {
    clones: Arc<AtomicUsize>,
    calls: Arc<AtomicUsize>,
}

impl Clone for Once {
    fn clone(&self) -> Self {
        self.clones.fetch_add(1, Ordering::SeqCst);
        Once { clones: Arc::clone(&self.clones), calls: Arc::clone(&self.calls) }
    }
}

impl Service<Plain> for Once {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        if self.calls.load(Ordering::SeqCst) > 0 { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    fn call(&mut self, _: Plain) -> Self::Future {
        self.calls.fetch_add(1, Ordering::SeqCst);
        ready(Ok(page("answer")))
    }
}

#[tokio::test]
async fn a_hit_needs_no_inner_service_and_clones_none() {
    for world in worlds() {
        let once = Once::default();
        let site = world.site().layer(once.clone());
        ask(&site, get(HOME)).await;
        let clones = once.clones.load(Ordering::SeqCst);
        for _ in 0..20 {
            let answer = tokio::time::timeout(Duration::from_secs(30), ask(&site, get(HOME))).await;
            assert!(answer.expect("a hit waits for nobody").is_hit(), "{}", world.name);
        }
        assert_eq!(once.clones.load(Ordering::SeqCst), clones, "{}", world.name);
        let miss = site.clone().oneshot(get("http://a/other"));
        assert!(tokio::time::timeout(Duration::from_millis(50), miss).await.is_err(), "a miss waits until it is ready");
    }
}

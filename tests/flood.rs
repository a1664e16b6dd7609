//! A flood of distinct queries beside a few pages that everybody asks for: the budget holds, the process's memory stays
//! flat, and the hot pages stay in the cache (rule 22, and issue 6's "bounded").
//!
//! A million queries in a release build, fewer in a debug build, as each is slower there. The one test of its program: what other
//! tests do would count as memory of this one.
#![allow(missing_docs)]
#![cfg(target_os = "linux")]

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, VARY};
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use larder::backend::Memory;
use larder::{Cache, CacheLayer, CacheService};
use tower::{Layer, Service, ServiceExt};

const BUDGET: usize = 8 << 20;
const FLOOD: usize = if cfg!(debug_assertions) { 40_000 } else { 1_000_000 };
/// A tenth of what the budget has room for.
const HOT: usize = 400;
/// One visitor of a hot page comes among so many of the flood.
const BETWEEN: usize = 5;
/// What a flood may take from the hit ratio of the hot pages.
const MOST_LOST: f64 = 0.02;
/// What the process may grow by once the store is full: the allocator's fragments, not entries.
const MOST_GROWTH: usize = BUDGET / 2;

#[derive(Clone)]
struct Handler {
    calls: Arc<AtomicUsize>,
    page: Bytes,
}

impl Service<Request<Empty<Bytes>>> for Handler {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Full<Bytes>>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Empty<Bytes>>) -> Self::Future {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let mut response = Response::new(Full::new(self.page.clone()));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
        response.headers_mut().insert(VARY, HeaderValue::from_static("accept-encoding"));
        ready(Ok(response))
    }
}

struct Site {
    memory: Memory,
    calls: Arc<AtomicUsize>,
    service: CacheService<Handler>,
    turn: usize,
}

impl Site {
    fn new() -> Self {
        let memory = Memory::builder().max_bytes(BUDGET).build();
        let calls = Arc::new(AtomicUsize::new(0));
        let handler = Handler { calls: Arc::clone(&calls), page: Bytes::from(vec![b'x'; 1024]) };
        let service = CacheLayer::per_site().cache(&Cache::new(memory.clone())).layer(handler);
        Site { memory, calls, service, turn: 0 }
    }

    /// Whether the handler was not needed.
    async fn ask(&mut self, url: String) -> bool {
        let before = self.calls.load(Ordering::Relaxed);
        let request = Request::get(url).header("accept-encoding", "gzip").body(Empty::new()).unwrap();
        let response = self.service.clone().oneshot(request).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes().len(), 1024);
        self.calls.load(Ordering::Relaxed) == before
    }

    /// Hot pages in an order without pattern.
    async fn ask_for_a_hot_page(&mut self) -> bool {
        self.turn += 1;
        let number = self.turn.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
        self.ask(format!("http://www.example.com/hot/{}", number % HOT)).await
    }
}

/// Bytes of this process's memory that are in use.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[tokio::test]
async fn rule_22_a_flood_of_queries_leaves_memory_flat_and_the_hot_pages_in_the_cache() {
    let mut site = Site::new();
    for _ in 0..HOT * 20 {
        site.ask_for_a_hot_page().await;
    }
    let asked = HOT * 20;
    let mut hits = 0;
    for _ in 0..asked {
        hits += usize::from(site.ask_for_a_hot_page().await);
    }
    let ratio_before = hits as f64 / asked as f64;

    let (mut asked, mut hits) = (0, 0);
    let mut when_full = 0;
    let mut most = 0;
    for number in 0..FLOOD {
        site.ask(format!("http://www.example.com/search?q=some+words+{number}")).await;
        if number % BETWEEN == 0 {
            asked += 1;
            hits += usize::from(site.ask_for_a_hot_page().await);
        }
        if number % 1_000 == 0 {
            assert!(site.memory.usage() <= BUDGET as u64, "{} bytes after {number}", site.memory.usage());
            most = most.max(resident());
        }
        // A sixth of the flood fills the store twice over.
        if number == FLOOD / 6 {
            assert!(site.memory.usage() > BUDGET as u64 * 9 / 10, "the store is full: {} bytes", site.memory.usage());
            when_full = resident();
        }
    }
    let ratio = hits as f64 / asked as f64;
    println!(
        "{FLOOD} queries: the hot pages' hit ratio was {:.2} % and is {:.2} %; resident {} KiB when full, {} KiB at most",
        ratio_before * 100.0,
        ratio * 100.0,
        when_full / 1024,
        most / 1024
    );
    assert!(ratio > ratio_before - MOST_LOST, "the hit ratio of the hot pages fell from {ratio_before} to {ratio}");
    assert!(most < when_full + MOST_GROWTH, "memory grew from {when_full} to {most} bytes");
    let mut found = 0;
    for number in 0..HOT {
        found += usize::from(site.ask(format!("http://www.example.com/hot/{number}")).await);
    }
    assert!(found >= HOT * 98 / 100, "{found} of {HOT} hot pages are left");
}

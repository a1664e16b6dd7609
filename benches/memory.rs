//! Resident bytes for each stored page of 1 KiB, with 200,000 pages of six headers in memory.
//! Run it with `cargo bench --bench memory`; it reads `/proc/self/statm`, so Linux only.

use std::convert::Infallible;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use larder::backend::Memory;
use larder::{Cache, CacheLayer};
use tower::{Layer, Service, ServiceExt, service_fn};

const PAGES: usize = 200_000;
const WARM_UP: usize = 2_000;
/// The most of design.md.
const BUDGET: usize = 1_600;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let memory = Memory::builder().max_bytes(2 << 30).build();
    let mut site = CacheLayer::per_site().cache(&Cache::new(memory.clone())).layer(service_fn(page));

    // What is allocated once, by the runtime and the tables, is not a page's.
    for number in 0..WARM_UP {
        ask(&mut site, "warm-up", number).await;
    }
    let (resident, usage, entries) = (resident_bytes(), memory.usage(), memory.entries());

    for number in 0..PAGES {
        ask(&mut site, "page", number).await;
    }
    let stored = (memory.entries() - entries) as usize;
    let told = (memory.usage() - usage) as usize / PAGES;
    let taken = (resident_bytes() - resident) / PAGES;
    assert_eq!(stored, PAGES, "every page is stored");
    println!("{PAGES} pages of 1 KiB, six headers, in memory");
    println!("resident, stored once          {taken:>6} bytes a page (budget {BUDGET})");
    println!("as the store accounts for it   {told:>6} bytes a page");

    for number in 0..PAGES {
        ask(&mut site, "page", number).await;
    }
    let answered = (resident_bytes() - resident) / PAGES;
    println!("resident, each answered once   {answered:>6} bytes a page");
}

async fn page(_request: Request<Empty<Bytes>>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::new(Bytes::from(vec![b'x'; 1024])));
    let value = HeaderValue::from_static;
    response.headers_mut().extend([
        (header::CONTENT_TYPE, value("text/html; charset=utf-8")),
        (header::CACHE_CONTROL, value("max-age=3600")),
        (header::ETAG, value("\"5d8c72a5edda8d6a\"")),
        (header::LAST_MODIFIED, value("Wed, 21 Oct 2026 07:28:00 GMT")),
        (header::VARY, value("Accept-Encoding")),
        (header::X_FRAME_OPTIONS, value("DENY")),
    ]);
    Ok(response)
}

async fn ask<S, B>(site: &mut S, kind: &str, number: usize)
where
    S: Service<Request<Empty<Bytes>>, Response = Response<B>, Error = Infallible>,
    B: http_body::Body<Error: std::fmt::Debug>,
{
    let request = Request::get(format!("http://www.example.com/{kind}/2026/{number}"))
        .header(header::ACCEPT_ENCODING, "gzip, deflate, br, zstd")
        .body(Empty::new())
        .expect("the request is well-formed");
    let Ok(site) = site.ready().await;
    let Ok(response) = site.call(request).await;
    response.into_body().collect().await.expect("a body from memory does not fail");
}

fn resident_bytes() -> usize {
    const PAGE_SIZE: usize = 4096;
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux has /proc/self/statm");
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.expect("the second number of statm is the resident pages") * PAGE_SIZE
}

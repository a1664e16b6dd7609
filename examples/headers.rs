//! Right headers and no cache at all: what browsers, proxies and CDNs may keep is said, nothing is kept here.
//! Run it with `cargo run --example headers`, and ask it with the curl lines that it prints.

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use larder::headers::{NeverCache, PatchHeaders, VaryOn};
use larder::{CacheControl, cache_control, conditional_get, never_cache, vary_on_headers};

const TRY: [&str; 6] = [
    "curl -i 127.0.0.1:3000/feed                              # a minute for everybody, an hour in a CDN, and an ETag",
    "curl -i 127.0.0.1:3000/feed -H 'If-None-Match: <ETag>'   # 304, with the ETag of the answer above",
    "curl -i 127.0.0.1:3000/price -H 'X-Currency: EUR'        # Vary tells caches what the answer goes by",
    "curl -i 127.0.0.1:3000/me                                # never to be cached",
    "curl -i 127.0.0.1:3000/news                              # the handler decides: public for strangers",
    "curl -i 127.0.0.1:3000/news -H 'Cookie: user=alice'      # and never cached for those who are known",
];

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port = std::env::var("PORT").map_or(Ok(3000), |port| port.parse::<u16>())?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    println!("http://{} is up. Try:\n", listener.local_addr()?);
    for line in TRY {
        println!("  {}", line.replace("3000", &port.to_string()));
    }
    axum::serve(listener, site()).await?;
    Ok(())
}

/// The site: four routes, and entity tags for all of them.
pub fn site() -> Router {
    let everybody = CacheControl::new().public().max_age(60).stale_while_revalidate(30);
    let cdn = CacheControl::new().max_age(3600).must_revalidate();
    let feed =
        get(|| async { "the feed\n" }).layer((cache_control(everybody), cache_control(cdn).field("cdn-cache-control")));
    Router::new()
        .route("/feed", feed)
        .route("/price", get(price).layer(vary_on_headers(["X-Currency"])))
        .route("/me", get(|| async { "you\n" }).layer(never_cache()))
        .route("/news", get(news))
        .layer(conditional_get())
}

async fn price(request: Request) -> &'static str {
    match request.headers().get("x-currency").map(|currency| currency.as_bytes()) {
        Some(b"EUR") => "9 EUR\n",
        _ => "10 USD\n",
    }
}

/// Says at run time what the layers say for a whole route. With larder's feature `axum` the same values can be returned
/// in a tuple: `(VaryOn::cookie(), NeverCache::new(), "your news\n")`.
async fn news(request: Request) -> Response {
    let is_known = request.headers().contains_key("cookie");
    let mut response = if is_known { "your news\n" } else { "the news\n" }.into_response();
    VaryOn::cookie().patch(response.headers_mut());
    if is_known {
        NeverCache::new().patch(response.headers_mut());
    } else {
        CacheControl::new().public().max_age(60).patch(response.headers_mut());
    }
    response
}

//! A small site with the cache in front of it: run it with `cargo run --example site` and ask it with the curl lines it
//! prints. `tests/site.rs` replays the README's transcript against the same [`site`] over a real socket.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::{Extension, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::{get, post};
use larder::{CacheLayer, Error, Language, LocaleLayer, PageUrl, Pages, cache_page, never_cache, vary_on_headers};
use serde::Deserialize;

const LANGUAGES: [&str; 2] = ["en", "ja"];

const TRY: [&str; 9] = [
    "curl -i 127.0.0.1:3000/                                  # a miss, stored for 600 s",
    "curl -i 127.0.0.1:3000/                                  # a hit, with its Age",
    "curl -I 127.0.0.1:3000/                                  # a HEAD, answered from the stored GET",
    "curl -i 127.0.0.1:3000/news                              # stored for 30 s",
    "curl -i 127.0.0.1:3000/greeting -H 'Accept-Language: ja' # a page for each language",
    "curl -i 127.0.0.1:3000/price -H 'X-Currency: EUR'        # a page for each value of a header",
    "curl -i 127.0.0.1:3000/me                                # never stored",
    "curl -i -X POST '127.0.0.1:3000/purge?page=/news'        # forgets a page",
    "curl -i 127.0.0.1:3000/news                              # a miss again",
];

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port = std::env::var("PORT").map_or(Ok(3000), |port| port.parse::<u16>())?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    println!("http://{} is up. Try, one after the other:\n", listener.local_addr()?);
    for line in TRY {
        println!("  {}", line.replace("3000", &port.to_string()));
    }
    axum::serve(listener, site()).await?;
    Ok(())
}

/// What the handlers share.
struct Shop {
    /// How often a handler ran: a page that comes from the cache shows the number it was made with.
    made: AtomicU64,
    pages: Pages,
}

impl Shop {
    fn page(&self, text: &str) -> String {
        format!("{text} (page made no. {})\n", self.made.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

/// The site, in the process-wide default cache: memory, unless `CACHE_URL` says otherwise.
pub fn site() -> Router {
    let cache = CacheLayer::per_site().cache_status("larder");
    let shop = Arc::new(Shop { made: AtomicU64::new(0), pages: cache.pages() });
    Router::new()
        .route("/", get(home))
        .route("/news", get(news).layer(cache_page(30)))
        .route("/greeting", get(greeting))
        .route("/price", get(price).layer(vary_on_headers(["X-Currency"])))
        .route("/me", get(me).layer(never_cache()))
        .route("/purge", post(purge))
        .layer(cache)
        // Outside the cache, because the cache has to know the language to find the page. Axum's last layer is outermost.
        .layer(LocaleLayer::new(LANGUAGES))
        .with_state(shop)
}

async fn home(State(shop): State<Arc<Shop>>) -> String {
    shop.page("home")
}

async fn news(State(shop): State<Arc<Shop>>) -> String {
    shop.page("news")
}

async fn greeting(State(shop): State<Arc<Shop>>, Extension(language): Extension<Language>) -> String {
    shop.page(if language.as_str() == "ja" { "こんにちは" } else { "hello" })
}

async fn price(State(shop): State<Arc<Shop>>, headers: HeaderMap) -> String {
    let currency = headers.get("x-currency").and_then(|currency| currency.to_str().ok()).unwrap_or("GBP");
    shop.page(&format!("5 {currency}"))
}

async fn me(State(shop): State<Arc<Shop>>) -> String {
    shop.page("you")
}

#[derive(Deserialize)]
struct Purge {
    page: String,
}

/// Forgets a page of this host in all languages. A real site asks for credentials here.
async fn purge(
    State(shop): State<Arc<Shop>>,
    Query(purge): Query<Purge>,
    headers: HeaderMap,
) -> Result<String, (StatusCode, String)> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let mut was_there = false;
    for language in LANGUAGES {
        let page = PageUrl::new(format!("http://{host}{}", purge.page)).language(language);
        was_there |= shop.pages.delete(page).await.map_err(|error| match error {
            Error::Url { .. } => (StatusCode::BAD_REQUEST, format!("{error}\n")),
            error => (StatusCode::BAD_GATEWAY, format!("{error}\n")),
        })?;
    }
    Ok(if was_there { "forgotten\n".into() } else { "was not there\n".into() })
}

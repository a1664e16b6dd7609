//! A shop and its visitors: fills the cache that `CACHE_URL` names as a real site does, so that there is something for the
//! command `larder` to look at. `tests/cli.rs` fills a small memcached with it.
//!
//! ```console
//! memcached -p 11311 &
//! export CACHE_URL=memcached://127.0.0.1:11311
//! cargo run --release --features memcached --example busy_site -- 100000
//! cargo run --release --features cli,memcached --bin larder -- memcached keys --summary
//! ```

use axum::extract::{Extension, Path};
use axum::http::{Request, StatusCode, header};
use axum::{Router, body::Body, routing::get};
use larder::{Cache, CacheLayer, Caches, Error, Language, LocaleLayer, Timeout, cache_page};
use serde::{Deserialize, Serialize};
use tower::ServiceExt;

/// What twenty visitors leave behind, in keys: 60 of product pages, 12 of articles, 10 users, 5 counters. The front page and
/// what belongs to it are shared by all, and so are the counts of deletions, at most 257.
const KEYS_OF_TWENTY: usize = 87;

/// How many visitors come at once.
const AT_ONCE: usize = 32;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let keys = std::env::args().nth(1).map_or(Ok(1_000), |keys| keys.parse::<usize>())?;
    let visitors = (keys * 20).div_ceil(KEYS_OF_TWENTY);
    let cache = Caches::process_default()?;
    serve(&cache, visitors).await?;
    // The last pages are still on their way into the store.
    cache.close().await?;
    println!("{visitors} visitors came");
    Ok(())
}

/// Lets visitors come and go.
pub async fn serve(cache: &Cache, visitors: usize) -> Result<(), Error> {
    let site = site(cache);
    let mut coming = tokio::task::JoinSet::new();
    for visitor in 0..visitors {
        if coming.len() == AT_ONCE {
            leave(coming.join_next().await)?;
        }
        coming.spawn(visit(site.clone(), cache.clone(), visitor));
    }
    while let Some(left) = coming.join_next().await {
        leave(Some(left))?;
    }
    Ok(())
}

fn leave(left: Option<Result<Result<(), Error>, tokio::task::JoinError>>) -> Result<(), Error> {
    match left {
        Some(Ok(visited)) => visited,
        Some(Err(stopped)) => Err(Error::Config(stopped.to_string())),
        None => Ok(()),
    }
}

fn site(cache: &Cache) -> Router {
    Router::new()
        .route("/", get(front))
        .route("/products/{number}", get(product))
        .route("/articles/{number}", get(article).layer(cache_page(86_400).cache(cache)))
        .layer(CacheLayer::per_site().cache(cache))
        .layer(LocaleLayer::new(["en", "ja"]))
}

async fn front(Extension(language): Extension<Language>) -> String {
    format!("the front page in {language}")
}

async fn product(Path(number): Path<u32>, Extension(language): Extension<Language>) -> String {
    format!("product {number} in {language}\n{}", "It is very good. ".repeat(20 + number as usize % 40))
}

async fn article(Path(number): Path<u32>) -> String {
    format!("article {number}\n{}", "Much was said of it. ".repeat(100 + number as usize % 200))
}

#[derive(Serialize, Deserialize)]
struct User {
    name: String,
    likes: Vec<u32>,
}

async fn visit(site: Router, cache: Cache, visitor: usize) -> Result<(), Error> {
    let language = language_of(visitor);
    ask(&site, "/", language).await?;
    ask(&site, &format!("/products/{visitor}"), language).await?;
    // Half of them look at what another one looked at long ago.
    if visitor.is_multiple_of(2) {
        let earlier = visitor / 2;
        ask(&site, &format!("/products/{earlier}"), language_of(earlier)).await?;
    }
    if visitor.is_multiple_of(5) {
        ask(&site, &format!("/articles/{visitor}"), language).await?;
    }
    if visitor.is_multiple_of(2) {
        let user = User { name: format!("visitor {visitor}"), likes: vec![visitor as u32] };
        cache.set(format!("user:{visitor}"), user, 3_600).await?;
    }
    if visitor.is_multiple_of(4) {
        let network = visitor / 4;
        cache.add(format!("rate/10.0.{}.{}", network / 256, network % 256), 0, Timeout::from(900)).await?;
    }
    Ok(())
}

fn language_of(visitor: usize) -> &'static str {
    if visitor.is_multiple_of(3) { "ja" } else { "en" }
}

async fn ask(site: &Router, path: &str, language: &str) -> Result<(), Error> {
    let request = Request::get(format!("http://shop.example{path}"))
        .header(header::HOST, "shop.example")
        .header(header::ACCEPT_LANGUAGE, language)
        .body(Body::empty())
        .map_err(|error| Error::Config(error.to_string()))?;
    let answer = site.clone().oneshot(request).await.unwrap_or_else(|never| match never {});
    assert_eq!(answer.status(), StatusCode::OK, "{path}");
    // What is cached is what was read to its end.
    axum::body::to_bytes(answer.into_body(), usize::MAX).await.map_err(|error| Error::Config(error.to_string()))?;
    Ok(())
}

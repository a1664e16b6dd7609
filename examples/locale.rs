//! One page in Japanese and English, in two time zones: found by `LocaleLayer` and `TimeZoneLayer`, cached for each.
//! Run it with `cargo run --example locale`; it prints the keys of each page that is made, as memcdump would show them.

use axum::Router;
use axum::extract::{Extension, Request, State};
use axum::http::HeaderMap;
use axum::routing::get;
use larder::{Cache, CacheLayer, KeyScheme, Language, LocaleLayer, Pages, TimeZone, TimeZoneLayer};

const TRY: [&str; 5] = [
    "curl -i 127.0.0.1:3000/                                          # English, UTC: a miss",
    "curl -i 127.0.0.1:3000/ -H 'Accept-Language: en-GB,en;q=0.9'     # the same page: a hit",
    "curl -i 127.0.0.1:3000/ -H 'Accept-Language: ja'                 # Japanese: a miss",
    "curl -i 127.0.0.1:3000/ -H 'Accept-Language: ja' -H 'Cookie: time_zone=Asia/Tokyo' # and in Tokyo: a miss",
    "curl -i 127.0.0.1:3000/ -H 'Cookie: django_language=ja; time_zone=Asia/Tokyo'      # the same page: a hit",
];

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port = std::env::var("PORT").map_or(Ok(3000), |port| port.parse::<u16>())?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    println!("http://{} is up. Try, one after the other:\n", listener.local_addr()?);
    for line in TRY {
        println!("  {}", line.replace("3000", &port.to_string()));
    }
    println!("\nThe keys of each page, as it is made:\n");
    axum::serve(listener, site(|key| println!("  {key}"))).await?;
    Ok(())
}

/// The site. `show` is told the keys of each page that is made.
pub fn site(show: impl Fn(String) + Clone + Send + Sync + 'static) -> Router {
    let cache = Cache::memory();
    let layer = CacheLayer::per_site().cache(&cache).key_scheme(KeyScheme::Django52).cache_status("larder");
    let keys = Keys { pages: layer.pages(), cache };
    let opening = move |State(keys): State<Keys>, language, zone, request: Request| {
        keys.of(&request).into_iter().for_each(&show);
        opening(language, zone)
    };
    Router::new()
        .route("/", get(opening))
        .with_state(keys)
        .layer(layer)
        .layer(LocaleLayer::new(["en", "ja"]))
        .layer(TimeZoneLayer::new().cookie("time_zone").default_zone("UTC"))
}

/// What the keys of a page are asked of.
#[derive(Clone)]
struct Keys {
    pages: Pages,
    cache: Cache,
}

impl Keys {
    /// The keys that the page for this request has in a store with textual keys, such as memcached.
    fn of(&self, request: &Request) -> Vec<String> {
        let varies_on_nothing_else = HeaderMap::new();
        match self.pages.keys(request, &varies_on_nothing_else) {
            Ok(keys) => vec![self.cache.make_key(&keys.header), self.cache.make_key(&keys.get)],
            Err(reason) => vec![format!("(no keys: {reason})")],
        }
    }
}

async fn opening(Extension(language): Extension<Language>, Extension(zone): Extension<TimeZone>) -> String {
    // Opens at 01:00 UTC; a real site asks chrono-tz or jiff for the offset.
    let hour = if zone.as_str() == "Asia/Tokyo" { 10 } else { 1 };
    match language.as_str() {
        "ja" => format!("{hour}時に開きます ({zone})\n"),
        _ => format!("Opens at {hour}:00 ({zone})\n"),
    }
}

//! Who is asked in the bench of the backends: for each store the raw client library and larder on the same server.
//! The rounds in `benches/backends.rs` time them.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use larder::backend::memcached::Memcached;
use larder::backend::{Backend, Database, Files, Memory, Patience, Redis};
use larder::memcached::Client;
use larder::{Cache, CacheLayer};
use sqlx::Row;
use tower::{Layer, ServiceExt, service_fn};

use super::real;

/// One call, from its beginning to its end.
pub type Ask = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// Those who are compared on one store.
pub struct Contestants {
    pub name: &'static str,
    pub raw_get: Ask,
    pub get: Ask,
    pub set: Ask,
    pub hit: Ask,
}

fn ask<F: Future<Output = ()> + Send + 'static>(call: impl Fn() -> F + Send + Sync + 'static) -> Ask {
    Arc::new(move || Box::pin(call()))
}

/// What the raw clients read: as many bytes as a page of 1 KiB takes in a store.
const STORED: usize = 1024 + 200;
const RAW: &str = "raw:1:a-key-as-long-as-that-of-a-page-in-a-store-with-textual-keys-which-has-a-digest-or-two-in-it";
/// A bench is no place for a store to be taken for slow.
const LONG: Duration = Duration::from_secs(60);
const URL: &str = "http://example.com/articles/2026/a-page";

/// Every store, with its server running.
pub async fn all() -> Vec<Contestants> {
    vec![
        memory().await,
        file().await,
        memcached().await,
        redis().await,
        sqlite().await,
        postgres().await,
        mariadb().await,
    ]
}

/// What larder does on a backend, and the raw client beside it.
async fn on(name: &'static str, backend: impl Backend, raw_get: Ask) -> Contestants {
    let patience = backend.patience().map(|_| Patience::default().connect(LONG).get(LONG).set(LONG));
    let cache = Cache::builder(backend).patience(patience).build();
    let value = Bytes::from(vec![b'x'; STORED]);
    cache.set("value", value.to_vec(), 3600).await.expect("the store takes a value");

    let (reader, writer, pages) = (cache.clone(), cache.clone(), cache);
    let get = ask(move || {
        let cache = reader.clone();
        async move { assert!(cache.get::<Vec<u8>>("value").await.expect("the store answers").is_some()) }
    });
    let set = ask(move || {
        let (cache, value) = (writer.clone(), value.clone());
        async move { cache.set("written", value.to_vec(), 3600).await.expect("the store takes a value") }
    });
    let site = CacheLayer::per_site().cache(&pages).cache_status("larder").layer(service_fn(article));
    let hit = ask(move || {
        let site = site.clone();
        async move {
            let response = site.oneshot(Request::get(URL).body(Empty::new()).expect("it is a request")).await;
            let response = response.expect("it never fails");
            assert!(response.headers()["cache-status"].to_str().is_ok_and(|status| status.contains("; hit")));
            assert_eq!(response.into_body().collect().await.expect("it is whole").to_bytes().len(), 1024);
        }
    });
    fill(&pages).await;
    Contestants { name, raw_get, get, set, hit }
}

async fn article(_: Request<Empty<Bytes>>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::from(vec![b'x'; 1024])))
}

/// Stores the page that the hits find.
async fn fill(cache: &Cache) {
    let site = CacheLayer::per_site().cache(cache).timeout(3600).layer(service_fn(article));
    let request = Request::get(URL).body(Empty::new()).expect("it is a request");
    let response = site.oneshot(request).await.expect("it never fails");
    response.into_body().collect().await.expect("it is whole");
}

async fn memory() -> Contestants {
    let raw: moka::sync::Cache<&str, Bytes> = moka::sync::Cache::new(1000);
    raw.insert(RAW, Bytes::from(vec![b'x'; STORED]));
    let raw_get = ask(move || {
        let raw = raw.clone();
        async move { assert!(raw.get(RAW).is_some()) }
    });
    on("memory", Memory::new(), raw_get).await
}

async fn file() -> Contestants {
    let folder = tempfile::tempdir().expect("a temporary folder").keep();
    let path = folder.join("raw");
    std::fs::write(&path, vec![b'x'; STORED]).expect("the folder is ours");
    let raw_get = ask(move || {
        let path = path.clone();
        async move { assert_eq!(tokio::fs::read(path).await.expect("it is there").len(), STORED) }
    });
    let files = Files::builder(folder.join("pages")).build().expect("a folder of ours");
    on("file", files, raw_get).await
}

async fn memcached() -> Contestants {
    // Lives as long as the process.
    let server = Box::leak(Box::new(real::Memcached::start()));
    let build = || Client::builder().server(server.address()).connect_timeout(LONG).timeout(LONG).build();
    let client = build().expect("an address");
    client.set(RAW, vec![b'x'; STORED], 0, larder::memcached::Expiry::Never).await.expect("it is up");
    let raw_get = ask(move || {
        let client = client.clone();
        async move { assert!(client.get(RAW).await.expect("it is up").is_some()) }
    });
    on("memcached", Memcached::new(build().expect("an address")), raw_get).await
}

async fn redis() -> Contestants {
    let server = Box::leak(Box::new(real::Redis::start()));
    let client = redis::Client::open(server.url()).expect("a URL");
    let connection = client.get_multiplexed_async_connection().await.expect("it is up");
    let mut first = connection.clone();
    redis::cmd("SET").arg(RAW).arg(vec![b'x'; STORED]).exec_async(&mut first).await.expect("it is up");
    let raw_get = ask(move || {
        let mut connection = connection.clone();
        async move {
            let value: Vec<u8> = redis::cmd("GET").arg(RAW).query_async(&mut connection).await.expect("it is up");
            assert_eq!(value.len(), STORED);
        }
    });
    on("redis", Redis::builder(&server.url()).and_then(|redis| redis.build()).expect("a URL"), raw_get).await
}

/// As many connections as larder's own pool has, and the statement of Django's cache.
macro_rules! raw_sql {
    ($pool:ty, $url:expr, $connections:expr, $insert:literal, $select:literal) => {{
        let pool = <$pool>::new().max_connections($connections).connect($url).await.expect("it is up");
        sqlx::query($insert).bind(RAW).bind("x".repeat(STORED * 4 / 3)).execute(&pool).await.expect("there is a table");
        ask(move || {
            let pool = pool.clone();
            async move {
                let row = sqlx::query($select).bind(RAW).fetch_one(&pool).await.expect("it is there");
                assert!(row.get::<String, _>(0).len() > STORED);
            }
        })
    }};
}

async fn made(url: &str) -> Database {
    let database = Database::builder(url).and_then(|database| database.build()).expect("a URL");
    database.create_table().await.expect("it is up");
    database
}

async fn sqlite() -> Contestants {
    let folder = tempfile::tempdir().expect("a temporary folder").keep();
    let url = format!("sqlite://{}", folder.join("cache.db").display());
    let database = made(&url).await;
    let raw_get = raw_sql!(
        sqlx::sqlite::SqlitePoolOptions,
        &url,
        4,
        "INSERT INTO my_cache_table VALUES (?, ?, '9999-12-31 23:59:59')",
        "SELECT value FROM my_cache_table WHERE cache_key = ?"
    );
    on("sqlite", database, raw_get).await
}

async fn postgres() -> Contestants {
    let url = real::Postgres::shared().new_database();
    let database = made(&url).await;
    let raw_get = raw_sql!(
        sqlx::postgres::PgPoolOptions,
        &url,
        10,
        "INSERT INTO my_cache_table VALUES ($1, $2, '9999-12-31 23:59:59')",
        "SELECT value FROM my_cache_table WHERE cache_key = $1"
    );
    on("postgresql", database, raw_get).await
}

async fn mariadb() -> Contestants {
    let url = real::MariaDb::shared().new_database();
    let database = made(&url).await;
    let raw_get = raw_sql!(
        sqlx::mysql::MySqlPoolOptions,
        &url,
        10,
        "INSERT INTO my_cache_table VALUES (?, ?, '9999-12-31 23:59:59')",
        "SELECT value FROM my_cache_table WHERE cache_key = ?"
    );
    on("mariadb", database, raw_get).await
}

//! Who is asked in the bench of the backends: for each store the raw client library and larder on the same server.
//! The rounds in `benches/backends.rs` time them.

use std::convert::Infallible;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Empty, Full};
use larder::backend::memcached::Memcached;
use larder::backend::{Backend, Database, Files, Memory, Patience, Redis};
use larder::memcached::Client;
use larder::{Cache, CacheLayer};
use sqlx::Row;
use tower::{Layer, Service, ServiceExt, service_fn};

use super::real;
use super::recording::{LastKeys, Recording};

/// One call, from its beginning to its end.
pub type Ask = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// Every store, by its name.
pub const STORES: [&str; 7] = ["memory", "file", "memcached", "redis", "sqlite", "postgresql", "mariadb"];

/// Those who are compared on one store.
pub struct Contestants {
    /// The raw client's get of the page's key.
    pub raw_get: Ask,
    /// The raw client's get of the keys that a hit asks for.
    pub raw_keys: Ask,
    pub get: Ask,
    pub set: Ask,
    pub hit: Ask,
    made: Arc<AtomicUsize>,
}

impl Contestants {
    /// Those on the store of this name, with its server running.
    pub async fn on(store: &str) -> Self {
        match store {
            "memory" => memory().await,
            "file" => file().await,
            "memcached" => memcached().await,
            "redis" => redis().await,
            "sqlite" => sqlite().await,
            "postgresql" => postgres().await,
            "mariadb" => mariadb().await,
            unknown => panic!("{unknown:?} is no store: known are {}", STORES.join(", ")),
        }
    }

    /// How often the page was made: each time more than once was no hit.
    pub fn made(&self) -> usize {
        self.made.load(Ordering::Relaxed)
    }

    /// The one of this name.
    pub fn named(&self, name: &str) -> &Ask {
        match name {
            "raw" => &self.raw_get,
            "keys" => &self.raw_keys,
            "get" => &self.get,
            "set" => &self.set,
            "hit" => &self.hit,
            unknown => panic!("{unknown:?} is no call: known are raw, keys, get, set and hit"),
        }
    }
}

fn ask<F: Future<Output = ()> + Send + 'static>(call: impl Fn() -> F + Send + Sync + 'static) -> Ask {
    Arc::new(move || Box::pin(call()))
}

/// Bytes of the page.
const PAGE: usize = 1024;
/// A bench is no place for a store to be taken for slow.
const LONG: Duration = Duration::from_secs(60);
const URL: &str = "http://example.com/articles/2026/a-page";

/// The keys of a hit: the page's own is the last.
type Keys = Arc<Vec<String>>;

/// The keys that a hit on this backend asks for. The page is stored then.
async fn keys_of_a_hit(backend: impl Backend) -> Keys {
    let last_keys = LastKeys::default();
    let cache = Cache::builder(Recording { backend, last_keys: Arc::clone(&last_keys) }).build();
    let site = CacheLayer::per_site().cache(&cache).timeout(3600).layer(service_fn(article));
    // A miss, a hit that expected one, and a hit.
    for _ in 0..3 {
        let response = site.clone().oneshot(request()).await.expect("it never fails");
        response.into_body().collect().await.expect("it is whole");
    }
    let keys = last_keys.lock().expect("nobody panics with it").clone();
    assert!(keys.len() == 3 && keys[2].contains("cache_page"), "{keys:?}");
    Arc::new(keys)
}

fn request() -> Request<Empty<Bytes>> {
    Request::get(URL).body(Empty::new()).expect("it is a request")
}

async fn article(_: Request<Empty<Bytes>>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::from(vec![b'x'; PAGE])))
}

/// What larder does on a backend, and the raw client beside it.
async fn on(backend: impl Backend, [raw_get, raw_keys]: [Ask; 2]) -> Contestants {
    let patience = backend.patience().map(|_| Patience::default().connect(LONG).get(LONG).set(LONG));
    let cache = Cache::builder(backend).patience(patience).build();
    // As many bytes as the page takes in a store.
    let value = "x".repeat(PAGE + 200);
    cache.set("value", value.clone(), 3600).await.expect("the store takes a value");

    let (reader, writer, pages) = (cache.clone(), cache.clone(), cache);
    let get = ask(move || {
        let cache = reader.clone();
        async move { assert!(cache.get::<String>("value").await.expect("the store answers").is_some()) }
    });
    let set = ask(move || {
        let (cache, value) = (writer.clone(), value.clone());
        async move { cache.set("written", value, 3600).await.expect("the store takes a value") }
    });
    let made = Arc::new(AtomicUsize::new(0));
    let article = {
        let made = Arc::clone(&made);
        service_fn(move |request| {
            made.fetch_add(1, Ordering::Relaxed);
            article(request)
        })
    };
    let site = CacheLayer::per_site().cache(&pages).timeout(3600).layer(article);
    let first = site.clone().oneshot(request()).await.expect("it never fails");
    first.into_body().collect().await.expect("it is whole");
    // Where a request comes from is not what is measured.
    let request = request();
    let hit = ask(move || {
        let (mut site, request) = (site.clone(), request.clone());
        async move {
            let response = site.call(request).await.expect("it never fails");
            assert_eq!(response.into_body().size_hint().exact(), Some(PAGE as u64));
        }
    });
    Contestants { raw_get, raw_keys, get, set, hit, made }
}

async fn memory() -> Contestants {
    let raw: moka::sync::Cache<&str, Bytes> = moka::sync::Cache::new(1000);
    raw.insert(URL, Bytes::from(vec![b'x'; PAGE]));
    let raw_get = ask(move || {
        let raw = raw.clone();
        async move { assert!(raw.get(URL).is_some()) }
    });
    // In memory a hit asks for one object.
    on(Memory::new(), [raw_get.clone(), raw_get]).await
}

async fn file() -> Contestants {
    let folder = tempfile::tempdir().expect("a temporary folder").keep();
    let files = Files::builder(folder.join("pages")).build().expect("a folder of ours");
    let keys = keys_of_a_hit(files.clone()).await;
    let paths: Vec<PathBuf> = keys.iter().map(|key| file_of(&folder, key).expect("each entry has a file")).collect();
    let (page, paths) = (paths[2].clone(), Arc::new(paths));
    let raw_get = ask(move || {
        let page = page.clone();
        async move { assert!(tokio::fs::read(page).await.expect("it is there").len() > PAGE) }
    });
    let raw_keys = ask(move || {
        let paths = Arc::clone(&paths);
        async move {
            let read = move || paths.iter().map(std::fs::read).collect::<Result<Vec<_>, _>>();
            let files = tokio::task::spawn_blocking(read).await.expect("it does not panic").expect("they are there");
            assert!(files[2].len() > PAGE);
        }
    });
    on(files, [raw_get, raw_keys]).await
}

/// The file that an entry lies in: its key is written in it.
fn file_of(folder: &Path, key: &str) -> Option<PathBuf> {
    std::fs::read_dir(folder).ok()?.flatten().find_map(|entry| {
        let path = entry.path();
        if path.is_dir() {
            return file_of(&path, key);
        }
        let content = std::fs::read(&path).ok()?;
        content.windows(key.len()).any(|window| window == key.as_bytes()).then_some(path)
    })
}

async fn memcached() -> Contestants {
    // Lives as long as the process.
    let server = Box::leak(Box::new(real::Memcached::start()));
    let build = || Client::builder().server(server.address()).connect_timeout(LONG).timeout(LONG).build();
    let client = build().expect("an address");
    let keys = keys_of_a_hit(Memcached::new(build().expect("an address"))).await;
    let (client_of_one, page) = (client.clone(), keys[2].clone());
    let raw_get = ask(move || {
        let (client, page) = (client_of_one.clone(), page.clone());
        async move { assert!(client.get(page).await.expect("it is up").is_some()) }
    });
    let raw_keys = ask(move || {
        let (client, keys) = (client.clone(), Arc::clone(&keys));
        async move { assert!(client.get_many(&keys).await.expect("it is up").iter().all(Option::is_some)) }
    });
    on(Memcached::new(build().expect("an address")), [raw_get, raw_keys]).await
}

async fn redis() -> Contestants {
    let server = Box::leak(Box::new(real::Redis::start()));
    let build = || Redis::builder(&server.url()).and_then(|redis| redis.build()).expect("a URL");
    let keys = keys_of_a_hit(build()).await;
    let client = redis::Client::open(server.url()).expect("a URL");
    let connection = client.get_multiplexed_async_connection().await.expect("it is up");
    let (connection_of_one, page) = (connection.clone(), keys[2].clone());
    let raw_get = ask(move || {
        let (mut connection, page) = (connection_of_one.clone(), page.clone());
        async move {
            let value: Vec<u8> = redis::cmd("GET").arg(page).query_async(&mut connection).await.expect("it is up");
            assert!(value.len() > PAGE);
        }
    });
    let raw_keys = ask(move || {
        let (mut connection, keys) = (connection.clone(), Arc::clone(&keys));
        async move {
            let values: Vec<Vec<u8>> =
                redis::cmd("MGET").arg(&*keys).query_async(&mut connection).await.expect("it is up");
            assert!(values.len() == 3 && values[2].len() > PAGE);
        }
    });
    on(build(), [raw_get, raw_keys]).await
}

/// As many connections as larder's own pool has, and the statements of Django's cache.
macro_rules! raw_sql {
    ($pool:ty, $url:expr, $connections:expr, $keys:expr, $select:literal, $several:literal, $bind:expr) => {{
        let pool = <$pool>::new().max_connections($connections).connect($url).await.expect("it is up");
        let (keys, pool_of_one, page): (Keys, _, _) = (Arc::clone(&$keys), pool.clone(), $keys[2].clone());
        let raw_get = ask(move || {
            let (pool, page) = (pool_of_one.clone(), page.clone());
            async move {
                let row = sqlx::query($select).bind(page).fetch_one(&pool).await.expect("it is there");
                assert!(row.get::<String, _>(0).len() > PAGE);
            }
        });
        let raw_keys = ask(move || {
            let (pool, keys) = (pool.clone(), Arc::clone(&keys));
            async move {
                let rows = ($bind)(sqlx::query($several), &keys).fetch_all(&pool).await.expect("it is up");
                let values = rows.iter().map(|row| (row.get::<String, _>(0), row.get::<String, _>(1)));
                assert_eq!(values.filter(|(key, _)| keys.contains(key)).count(), 3);
            }
        });
        [raw_get, raw_keys]
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
    let keys = keys_of_a_hit(database.clone()).await;
    let raw = raw_sql!(
        sqlx::sqlite::SqlitePoolOptions,
        &url,
        4,
        keys,
        "SELECT value FROM my_cache_table WHERE cache_key = ?",
        "SELECT cache_key, value, expires FROM my_cache_table WHERE cache_key IN (?, ?, ?)",
        |query: sqlx::query::Query<'static, sqlx::Sqlite, _>, keys: &Keys| {
            keys.iter().fold(query, |query, key| query.bind(key.clone()))
        }
    );
    on(database, raw).await
}

async fn postgres() -> Contestants {
    let url = real::Postgres::shared().new_database();
    let database = made(&url).await;
    let keys = keys_of_a_hit(database.clone()).await;
    let raw = raw_sql!(
        sqlx::postgres::PgPoolOptions,
        &url,
        10,
        keys,
        "SELECT value FROM my_cache_table WHERE cache_key = $1",
        "SELECT cache_key, value, expires FROM my_cache_table WHERE cache_key IN ($1, $2, $3)",
        |query: sqlx::query::Query<'static, sqlx::Postgres, _>, keys: &Keys| {
            keys.iter().fold(query, |query, key| query.bind(key.clone()))
        }
    );
    on(database, raw).await
}

async fn mariadb() -> Contestants {
    let url = real::MariaDb::shared().new_database();
    let database = made(&url).await;
    let keys = keys_of_a_hit(database.clone()).await;
    let raw = raw_sql!(
        sqlx::mysql::MySqlPoolOptions,
        &url,
        10,
        keys,
        "SELECT value FROM my_cache_table WHERE cache_key = ?",
        "SELECT cache_key, value, expires FROM my_cache_table WHERE cache_key IN (?, ?, ?)",
        |query: sqlx::query::Query<'static, sqlx::MySql, _>, keys: &Keys| {
            keys.iter().fold(query, |query, key| query.bind(key.clone()))
        }
    );
    on(database, raw).await
}

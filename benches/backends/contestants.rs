//! Who is asked in the bench of the backends: for each store the raw client library and larder on the same server.
//! The rounds in `benches/backends.rs` time them.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Empty, Full};
use larder::backend::memcached::Memcached;
use larder::backend::{Backend, Database, Files, Memory, Patience, Redis};
use larder::memcached::Client;
use larder::{Cache, CacheLayer};
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
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
    /// The same two, of another page each time.
    pub raw_keys_apart: Ask,
    pub hit_apart: Ask,
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

    /// How many calls of `hit` and `hit_apart` were no hits.
    pub fn missed(&self) -> usize {
        self.made.load(Ordering::Relaxed).saturating_sub(PAGES)
    }

    /// The one of this name.
    pub fn named(&self, name: &str) -> &Ask {
        match name {
            "raw" => &self.raw_get,
            "keys" => &self.raw_keys,
            "get" => &self.get,
            "set" => &self.set,
            "hit" => &self.hit,
            "keys-apart" => &self.raw_keys_apart,
            "hit-apart" => &self.hit_apart,
            unknown => panic!("{unknown:?} is no call: known are raw, keys, get, set, hit, keys-apart and hit-apart"),
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
/// How many pages there are. The calls on one page take the first.
const PAGES: usize = 64;

fn url(page: usize) -> String {
    format!("http://example.com/articles/2026/page-{page:02}")
}

fn request(page: usize) -> Request<Empty<Bytes>> {
    Request::get(url(page)).body(Empty::new()).expect("it is a request")
}

/// The keys of the hits on each page: the page's own is the last.
type Keys = Arc<Vec<Vec<String>>>;

/// The keys that hits on this backend ask for. The pages are stored then.
async fn keys_of_hits(backend: impl Backend) -> Keys {
    let last_keys = LastKeys::default();
    let cache = Cache::builder(Recording { backend, last_keys: Arc::clone(&last_keys) }).build();
    let site = CacheLayer::per_site().cache(&cache).timeout(3600).layer(service_fn(article));
    let mut all = Vec::new();
    for page in 0..PAGES {
        // A miss, a hit that expected one, and a hit.
        for _ in 0..3 {
            let response = site.clone().oneshot(request(page)).await.expect("it never fails");
            response.into_body().collect().await.expect("it is whole");
        }
        let keys = last_keys.lock().expect("nobody panics with it").clone();
        assert!(keys.len() == 3 && keys[2].contains("cache_page"), "{keys:?}");
        all.push(keys);
    }
    Arc::new(all)
}

/// The same call on one page, and on each page in turn.
fn one_and_each<F: Future<Output = ()> + Send + 'static>(
    call: impl Fn(usize) -> F + Clone + Send + Sync + 'static,
) -> [Ask; 2] {
    let (of_one, turn) = (call.clone(), AtomicUsize::new(0));
    [ask(move || of_one(0)), ask(move || call(turn.fetch_add(1, Ordering::Relaxed) % PAGES))]
}

async fn article(_: Request<Empty<Bytes>>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::from(vec![b'x'; PAGE])))
}

/// What larder does on a backend, and the raw client beside it.
async fn on(backend: impl Backend, raw_get: Ask, [raw_keys, raw_keys_apart]: [Ask; 2]) -> Contestants {
    let patience = backend.patience().map(|_| Patience::default().connect(LONG).get(LONG).set(LONG));
    let cache = Cache::builder(backend).patience(patience).build();
    // As many bytes as the page takes in a store. Raw clients give bytes, too, and look at none of them.
    let value = Octets(vec![b'x'; PAGE + 200]);
    cache.set("value", value.clone(), 3600).await.expect("the store takes a value");

    let (reader, writer, pages) = (cache.clone(), cache.clone(), cache);
    let get = ask(move || {
        let cache = reader.clone();
        async move { assert!(cache.get::<Octets>("value").await.expect("the store answers").is_some()) }
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
    // Where a request comes from is not what is measured.
    let requests: Arc<Vec<_>> = Arc::new((0..PAGES).map(request).collect());
    for request in requests.iter() {
        let first = site.clone().oneshot(request.clone()).await.expect("it never fails");
        first.into_body().collect().await.expect("it is whole");
    }
    let [hit, hit_apart] = one_and_each(move |page| {
        let (mut site, request) = (site.clone(), requests[page].clone());
        async move {
            let response = site.call(request).await.expect("it never fails");
            assert_eq!(response.into_body().size_hint().exact(), Some(PAGE as u64));
        }
    });
    Contestants { raw_get, raw_keys, get, set, hit, raw_keys_apart, hit_apart, made }
}

/// A value that is bytes.
#[derive(Clone)]
struct Octets(Vec<u8>);

impl Serialize for Octets {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Octets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfBytes;

        impl Visitor<'_> for OfBytes {
            type Value = Octets;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Octets, E> {
                Ok(Octets(bytes.to_vec()))
            }
        }

        deserializer.deserialize_bytes(OfBytes)
    }
}

async fn memory() -> Contestants {
    let raw: moka::sync::Cache<String, Bytes> = moka::sync::Cache::new(1000);
    (0..PAGES).for_each(|page| raw.insert(url(page), Bytes::from(vec![b'x'; PAGE])));
    let urls: Arc<Vec<String>> = Arc::new((0..PAGES).map(url).collect());
    // In memory a hit asks for one object.
    let raw = one_and_each(move |page| {
        let (raw, urls) = (raw.clone(), Arc::clone(&urls));
        async move { assert!(raw.get(&urls[page]).is_some()) }
    });
    on(Memory::new(), raw[0].clone(), raw).await
}

async fn file() -> Contestants {
    let folder = tempfile::tempdir().expect("a temporary folder").keep();
    let files = Files::builder(folder.join("pages")).build().expect("a folder of ours");
    let keys = keys_of_hits(files.clone()).await;
    let mut written = Vec::new();
    read_all(&folder, &mut written);
    // Its key is written in the file of an entry.
    let path_of = |key: &String| {
        let has_key = |(_, content): &&(_, Vec<u8>)| content.windows(key.len()).any(|window| window == key.as_bytes());
        let (path, _) = written.iter().find(has_key).expect("each entry has a file");
        PathBuf::clone(path)
    };
    let paths: Arc<Vec<Vec<PathBuf>>> = Arc::new(keys.iter().map(|keys| keys.iter().map(path_of).collect()).collect());
    let page = paths[0][2].clone();
    let raw_get = ask(move || {
        let page = page.clone();
        async move { assert!(tokio::fs::read(page).await.expect("it is there").len() > PAGE) }
    });
    let raw_keys = one_and_each(move |page| {
        let paths = Arc::clone(&paths);
        async move {
            let read = move || paths[page].iter().map(std::fs::read).collect::<Result<Vec<_>, _>>();
            let files = tokio::task::spawn_blocking(read).await.expect("it does not panic").expect("they are there");
            assert!(files[2].len() > PAGE);
        }
    });
    on(files, raw_get, raw_keys).await
}

fn read_all(folder: &Path, written: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).expect("the folder is ours").flatten() {
        let path = entry.path();
        if path.is_dir() {
            read_all(&path, written);
        } else {
            let content = std::fs::read(&path).expect("the file is ours");
            written.push((path, content));
        }
    }
}

async fn memcached() -> Contestants {
    // Lives as long as the process.
    let server = Box::leak(Box::new(real::Memcached::start()));
    let build = || Client::builder().server(server.address()).connect_timeout(LONG).timeout(LONG).build();
    let client = build().expect("an address");
    let keys = keys_of_hits(Memcached::new(build().expect("an address"))).await;
    let (client_of_one, page) = (client.clone(), keys[0][2].clone());
    let raw_get = ask(move || {
        let (client, page) = (client_of_one.clone(), page.clone());
        async move { assert!(client.get(page).await.expect("it is up").is_some()) }
    });
    let raw_keys = one_and_each(move |page| {
        let (client, keys) = (client.clone(), Arc::clone(&keys));
        async move { assert!(client.get_many(&keys[page]).await.expect("it is up").iter().all(Option::is_some)) }
    });
    on(Memcached::new(build().expect("an address")), raw_get, raw_keys).await
}

async fn redis() -> Contestants {
    let server = Box::leak(Box::new(real::Redis::start()));
    let build = || Redis::builder(&server.url()).and_then(|redis| redis.build()).expect("a URL");
    let keys = keys_of_hits(build()).await;
    let client = redis::Client::open(server.url()).expect("a URL");
    let connection = client.get_multiplexed_async_connection().await.expect("it is up");
    let (connection_of_one, page) = (connection.clone(), keys[0][2].clone());
    let raw_get = ask(move || {
        let (mut connection, page) = (connection_of_one.clone(), page.clone());
        async move {
            let value: Vec<u8> = redis::cmd("GET").arg(page).query_async(&mut connection).await.expect("it is up");
            assert!(value.len() > PAGE);
        }
    });
    let raw_keys = one_and_each(move |page| {
        let (mut connection, keys) = (connection.clone(), Arc::clone(&keys));
        async move {
            let get = redis::cmd("MGET").arg(&keys[page]).to_owned();
            let values: Vec<Vec<u8>> = get.query_async(&mut connection).await.expect("it is up");
            assert!(values.len() == 3 && values[2].len() > PAGE);
        }
    });
    on(build(), raw_get, raw_keys).await
}

/// As many connections as larder's own pool has. The statements bring what a program needs of a cache's table: values that
/// are not dead, out of their base64.
macro_rules! on_sql {
    ($database:expr, $pool:ty, $url:expr, $connections:expr, $select:literal, $several:literal, $analyze:literal) => {{
        let database = $database;
        let keys = keys_of_hits(database.clone()).await;
        // Larder's pool does not ask a connection that was just used whether it is alive either.
        let pool = <$pool>::new().max_connections($connections).test_before_acquire(false);
        let pool = pool.connect($url).await.expect("it is up");
        // As a database does by itself a minute later. Until then plans that were made while the table was empty go through
        // all of it.
        sqlx::query($analyze).execute(&pool).await.expect("there is a table");
        let (pool_of_one, page) = (pool.clone(), keys[0][2].clone());
        let raw_get = ask(move || {
            let (pool, page) = (pool_of_one.clone(), page.clone());
            async move {
                let row = sqlx::query($select).bind(page).fetch_one(&pool).await.expect("it is there");
                assert!(BASE64.decode(row.get::<String, _>(0)).expect("as Django has it").len() > PAGE);
            }
        });
        let raw_keys = one_and_each(move |page| {
            let (pool, keys) = (pool.clone(), Arc::clone(&keys));
            async move {
                let [list, stamp, page] = &keys[page][..] else { panic!("a hit asks for three keys") };
                let query = sqlx::query($several).bind(list.as_str()).bind(stamp.as_str()).bind(page.as_str());
                let rows = query.fetch_all(&pool).await.expect("it is up");
                let decoded = |text: String| BASE64.decode(text).expect("as Django has it");
                let values: Vec<_> =
                    rows.iter().map(|row| (row.get::<String, _>(0), decoded(row.get(1)))).collect();
                assert_eq!(values.len(), 3);
            }
        });
        on(database, raw_get, raw_keys).await
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
    on_sql!(
        made(&url).await,
        sqlx::sqlite::SqlitePoolOptions,
        &url,
        4,
        "SELECT value FROM my_cache_table WHERE cache_key = ? AND expires > CURRENT_TIMESTAMP",
        "SELECT cache_key, value FROM my_cache_table WHERE cache_key IN (?, ?, ?) AND expires > CURRENT_TIMESTAMP",
        "ANALYZE my_cache_table"
    )
}

async fn postgres() -> Contestants {
    let url = real::Postgres::shared().new_database();
    on_sql!(
        made(&url).await,
        sqlx::postgres::PgPoolOptions,
        &url,
        10,
        "SELECT value FROM my_cache_table WHERE cache_key = $1 AND expires > CURRENT_TIMESTAMP",
        "SELECT cache_key, value FROM my_cache_table WHERE cache_key IN ($1, $2, $3) AND expires > CURRENT_TIMESTAMP",
        "ANALYZE my_cache_table"
    )
}

async fn mariadb() -> Contestants {
    let url = real::MariaDb::shared().new_database();
    on_sql!(
        made(&url).await,
        sqlx::mysql::MySqlPoolOptions,
        &url,
        10,
        "SELECT value FROM my_cache_table WHERE cache_key = ? AND expires > CURRENT_TIMESTAMP",
        "SELECT cache_key, value FROM my_cache_table WHERE cache_key IN (?, ?, ?) AND expires > CURRENT_TIMESTAMP",
        "ANALYZE TABLE my_cache_table"
    )
}

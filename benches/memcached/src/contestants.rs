//! The clients, each as its documentation tells programs with many tasks to use it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_memcached::AsciiProtocol;
use bytes::Bytes;
use larder::memcached::{Client, Expiry};
use memcache::exp::{AsyncMemcache, Ttl};
use tokio::sync::Semaphore;

use super::load::{BlockingContestant, Contestant};
use super::real::Memcached;

/// How many connections a pool has, where one is needed: more make it no faster.
const POOL: usize = 16;

const PATIENCE: Duration = Duration::from_secs(10);

/// larder's client: all tasks share it.
#[derive(Clone)]
pub struct Larder(Client);

impl Larder {
    pub fn of(server: &Memcached) -> Self {
        let builder = Client::builder().server(server.address()).timeout(PATIENCE).connect_timeout(PATIENCE);
        Larder(builder.build().expect("the address is one"))
    }

    pub async fn store(&self, key: &str, value: Bytes) {
        self.0.set(key, value, 0, Expiry::Never).await.expect("memcached is well");
    }
}

impl Contestant for Larder {
    async fn get(&self, key: &str) -> usize {
        self.0.get(key).await.expect("memcached is well").expect("it is there").data.len()
    }

    async fn get_many(&self, keys: &[String]) -> usize {
        let values = self.0.get_many(keys).await.expect("memcached is well");
        values.iter().flatten().map(|value| value.data.len()).sum()
    }

    async fn set(&self, key: &str, value: Bytes) {
        self.store(key, value).await;
    }
}

/// async-memcached: a client is one connection for one task at a time, so there is a pool of them.
#[derive(Clone)]
pub struct AsyncMemcached(Arc<Pool>);

struct Pool {
    idle: Mutex<Vec<async_memcached::Client>>,
    permits: Semaphore,
}

impl AsyncMemcached {
    pub async fn of(server: &Memcached, is_tcp: bool) -> Self {
        let scheme = if is_tcp { "tcp" } else { "unix" };
        let mut idle = Vec::new();
        for _ in 0..POOL {
            let client = async_memcached::Client::new(format!("{scheme}://{}", server.address())).await;
            idle.push(client.expect("memcached listens"));
        }
        AsyncMemcached(Arc::new(Pool { idle: Mutex::new(idle), permits: Semaphore::new(POOL) }))
    }

    async fn with<T>(&self, ask: impl AsyncFnOnce(&mut async_memcached::Client) -> T) -> T {
        let _permit = self.0.permits.acquire().await.expect("it is never closed");
        let mut client = self.0.idle.lock().expect("nobody panics").pop().expect("there are as many as permits");
        let answer = ask(&mut client).await;
        self.0.idle.lock().expect("nobody panics").push(client);
        answer
    }
}

impl Contestant for AsyncMemcached {
    async fn get(&self, key: &str) -> usize {
        let value = self.with(async |client| client.get(key).await).await;
        value.expect("memcached is well").expect("it is there").data.expect("it has data").len()
    }

    async fn get_many(&self, keys: &[String]) -> usize {
        let values = self.with(async |client| client.get_multi(keys).await).await.expect("memcached is well");
        values.iter().filter_map(|value| value.data.as_ref()).map(Vec::len).sum()
    }

    async fn set(&self, key: &str, value: Bytes) {
        self.with(async |client| client.set(key, &value[..], None, None).await).await.expect("memcached is well");
    }
}

/// memcache's client for tokio, which has a pool and speaks TCP only.
#[derive(Clone)]
pub struct Memcache(AsyncMemcache);

impl Memcache {
    pub async fn of(server: &Memcached) -> Self {
        let builder = AsyncMemcache::builder().max_idle(POOL).max_connections(POOL);
        let builder = builder.timeout(PATIENCE).connect_timeout(PATIENCE);
        Memcache(builder.connect_async([server.address()]).await.expect("memcached listens"))
    }
}

impl Contestant for Memcache {
    async fn get(&self, key: &str) -> usize {
        self.0.get::<Vec<u8>>(key).await.expect("memcached is well").expect("it is there").len()
    }

    async fn get_many(&self, keys: &[String]) -> usize {
        let values = self.0.get_many::<Vec<u8>, _>(keys.iter().map(String::as_str)).await;
        values.expect("memcached is well").values().map(Vec::len).sum()
    }

    async fn set(&self, key: &str, value: Bytes) {
        self.0.set(key, &value[..], Ttl::NEVER).await.expect("memcached is well");
    }
}

/// memcache's client for threads, which speaks to unix sockets as well.
pub struct Blocking(memcache::Client);

impl Blocking {
    pub fn of(server: &Memcached) -> Self {
        let url = format!("memcache://{}", server.address());
        Blocking(memcache::Client::with_pool_size(url, POOL as u32).expect("memcached listens"))
    }
}

impl BlockingContestant for Blocking {
    fn get(&self, key: &str) -> usize {
        self.0.get::<Vec<u8>>(key).expect("memcached is well").expect("it is there").len()
    }

    fn get_many(&self, keys: &[String]) -> usize {
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        self.0.gets::<Vec<u8>>(&keys).expect("memcached is well").values().map(Vec::len).sum()
    }

    fn set(&self, key: &str, value: Bytes) {
        self.0.set(key, &value[..], 0).expect("memcached is well");
    }
}

//! larder and the real Django on the same memcached servers: values, counters, where keys live, and whole pages.
#![allow(missing_docs)]

mod real;

#[path = "with_django/fleet.rs"]
mod fleet;
#[path = "with_django/pages.rs"]
mod pages;

use larder::Cache;
use real::Memcached;

/// A cache on these servers, with this prefix, patient with a busy machine.
async fn connect(servers: &[Memcached], options: &str) -> Cache {
    let addresses: Vec<String> = servers.iter().map(Memcached::address).collect();
    let patience = "connect_timeout=30s&get_timeout=30s&set_timeout=30s";
    let url = format!("memcached://{}?{patience}&{options}", addresses.join(","));
    Cache::connect(&url).await.unwrap_or_else(|error| panic!("{url}: {error}"))
}

fn three_servers() -> [Memcached; 3] {
    std::array::from_fn(|_| Memcached::start())
}

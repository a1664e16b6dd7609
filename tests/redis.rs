//! The Redis backend against real servers: the contract, what lies in the server, and what happens when it goes away.

#[path = "world/in_process.rs"]
mod chosen;
mod real;
mod world;

#[path = "redis/broken.rs"]
mod broken;
#[path = "redis/clusters.rs"]
mod clusters;
#[path = "redis/contract.rs"]
mod contract;
#[path = "redis/django.rs"]
mod django;
#[path = "redis/faults.rs"]
mod faults;
#[path = "redis/pages.rs"]
mod pages;
#[path = "redis/replicas.rs"]
mod replicas;
#[path = "redis/settings.rs"]
mod settings;
#[path = "redis/stored.rs"]
mod stored;

use std::time::Duration;

use larder::backend::{Backend, Redis, RedisBuilder, Stored, flags};

/// Long enough for a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn builder(url: &str) -> RedisBuilder {
    Redis::builder(url).unwrap().connect_timeout(PATIENCE)
}

fn open(url: &str) -> Redis {
    builder(url).build().unwrap()
}

fn text(data: &'static str) -> Stored {
    Stored { data: data.into(), flags: flags::TEXT }
}

fn integer(number: i64) -> Stored {
    Stored { data: number.to_string().into(), flags: flags::INTEGER }
}

/// Asks again and again until the answer is a good one.
async fn until<T>(what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
    let end = tokio::time::Instant::now() + Duration::from_secs(120);
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(tokio::time::Instant::now() < end, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What another client sees: one command over a connection of its own, and the answer as it came.
fn raw(server: &real::Redis, command: &[&str]) -> redis::Value {
    try_raw(server, command).unwrap()
}

fn try_raw(server: &real::Redis, command: &[&str]) -> redis::RedisResult<redis::Value> {
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_connection().unwrap();
    let mut request = redis::cmd(command[0]);
    request.arg(&command[1..]);
    request.query(&mut connection)
}

fn raw_number(server: &real::Redis, command: &[&str]) -> i64 {
    redis::from_redis_value(raw(server, command)).unwrap()
}

fn raw_bytes(server: &real::Redis, key: &str) -> Option<Vec<u8>> {
    redis::from_redis_value(raw(server, &["GET", key])).unwrap()
}

async fn holds(redis: &Redis, key: &str, value: Option<Stored>) -> bool {
    redis.get(key).await.is_ok_and(|stored| stored == value)
}

//! The store that stores nothing, for development and for switching a cache off (DUM-1).
//! It is also the shortest backend to read and to copy.

use std::time::Duration;

use super::{Backend, Reply, Stored};
use crate::clock::Clock;

/// Takes everything and keeps nothing.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), larder::Error> {
/// let cache = larder::Cache::dummy();
/// cache.set("my_key", "hello, world!", 30).await?;
/// assert_eq!(cache.get::<String>("my_key").await?, None);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Dummy {
    clock: Clock,
}

impl Dummy {
    /// A store that keeps nothing, and tells the time by `clock`.
    pub fn with_clock(clock: Clock) -> Self {
        Dummy { clock }
    }
}

impl Backend for Dummy {
    fn name(&self) -> &'static str {
        "dummy"
    }

    fn clock(&self) -> Clock {
        self.clock.clone()
    }

    fn get<'a>(&'a self, _key: &'a str) -> Reply<'a, Option<Stored>> {
        Reply::ready(Ok(None))
    }

    fn set<'a>(&'a self, _key: &'a str, _value: Stored, _ttl: Option<Duration>) -> Reply<'a, ()> {
        Reply::ready(Ok(()))
    }

    fn add<'a>(&'a self, _key: &'a str, _value: Stored, _ttl: Option<Duration>) -> Reply<'a, bool> {
        Reply::ready(Ok(true))
    }

    fn touch<'a>(&'a self, _key: &'a str, _ttl: Option<Duration>) -> Reply<'a, bool> {
        Reply::ready(Ok(false))
    }

    fn delete<'a>(&'a self, _key: &'a str) -> Reply<'a, bool> {
        Reply::ready(Ok(false))
    }

    fn incr<'a>(&'a self, _key: &'a str, _delta: i64) -> Reply<'a, Option<i64>> {
        Reply::ready(Ok(None))
    }

    fn clear<'a>(&'a self, _prefix: &'a str) -> Reply<'a, ()> {
        Reply::ready(Ok(()))
    }
}

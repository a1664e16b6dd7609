//! A part of a real store for one test alone, on a clock that the test moves: other tests use the same store at once.
//! The stores of `tests/every_store.rs` stand behind it.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use larder::Clock;
use larder::backend::{Backend, KeyRule, Reply, Stored};

use crate::world::at_work::AtWork;

/// A backend under keys of its own. Pages are too old by the test's clock, while the store, which has a clock of its own,
/// keeps them: lifetimes are longer there, so that a slow machine loses none.
pub struct Apart<B> {
    store: B,
    clock: Clock,
    name: String,
    longer: u32,
    keys: Mutex<HashSet<String>>,
}

static PARTS: AtomicUsize = AtomicUsize::new(0);

impl<B: Backend> Apart<B> {
    /// On a store that tells the time by the given clock itself.
    pub fn on_its_clock(store: B, clock: Clock) -> Self {
        Apart::new(store, clock, 1)
    }

    /// On a store with a clock of its own.
    pub fn in_real_time(store: B, clock: Clock) -> Self {
        Apart::new(store, clock, 100)
    }

    fn new(store: B, clock: Clock, longer: u32) -> Self {
        let name = format!("{}-{}-", std::process::id(), PARTS.fetch_add(1, Ordering::SeqCst));
        Apart { store, clock, name, longer, keys: Mutex::default() }
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.name)
    }

    fn written(&self, key: &str) -> String {
        let key = self.key(key);
        self.keys.lock().unwrap().insert(key.clone());
        key
    }

    fn ttl(&self, ttl: Option<Duration>) -> Option<Duration> {
        ttl.map(|ttl| ttl.saturating_mul(self.longer))
    }
}

impl<B: Backend> Backend for Apart<B> {
    fn name(&self) -> &'static str {
        self.store.name()
    }

    fn clock(&self) -> Clock {
        self.clock.clone()
    }

    fn key_rule(&self) -> KeyRule {
        self.store.key_rule()
    }

    fn largest_value(&self) -> usize {
        self.store.largest_value()
    }

    fn get<'a>(&'a self, key: &'a str) -> Reply<'a, Option<Stored>> {
        Reply::pending(async move {
            let _at_work = AtWork::begin();
            self.store.get(&self.key(key)).await
        })
    }

    fn set<'a>(&'a self, key: &'a str, value: Stored, ttl: Option<Duration>) -> Reply<'a, ()> {
        Reply::pending(async move {
            let _at_work = AtWork::begin();
            self.store.set(&self.written(key), value, self.ttl(ttl)).await
        })
    }

    fn add<'a>(&'a self, key: &'a str, value: Stored, ttl: Option<Duration>) -> Reply<'a, bool> {
        Reply::pending(async move {
            let _at_work = AtWork::begin();
            self.store.add(&self.written(key), value, self.ttl(ttl)).await
        })
    }

    fn touch<'a>(&'a self, key: &'a str, ttl: Option<Duration>) -> Reply<'a, bool> {
        Reply::pending(async move {
            let _at_work = AtWork::begin();
            self.store.touch(&self.key(key), self.ttl(ttl)).await
        })
    }

    fn delete<'a>(&'a self, key: &'a str) -> Reply<'a, bool> {
        Reply::pending(async move {
            let _at_work = AtWork::begin();
            self.store.delete(&self.key(key)).await
        })
    }

    fn incr<'a>(&'a self, key: &'a str, delta: i64) -> Reply<'a, Option<i64>> {
        Reply::pending(async move {
            let _at_work = AtWork::begin();
            self.store.incr(&self.key(key), delta).await
        })
    }

    fn get_many<'a>(&'a self, keys: &'a [String]) -> Reply<'a, Vec<Option<Stored>>> {
        Reply::pending(async move {
            let _at_work = AtWork::begin();
            let keys: Vec<String> = keys.iter().map(|key| self.key(key)).collect();
            self.store.get_many(&keys).await
        })
    }

    /// Only the keys of this part: a store that cannot tell keys apart would empty the tests beside this one.
    fn clear<'a>(&'a self, prefix: &'a str) -> Reply<'a, ()> {
        Reply::pending(async move {
            let _at_work = AtWork::begin();
            let prefix = self.key(prefix);
            let keys: Vec<String> =
                self.keys.lock().unwrap().iter().filter(|key| key.starts_with(&prefix)).cloned().collect();
            self.store.delete_many(&keys).await
        })
    }
}

//! A backend that takes down which keys it was asked for last: so the bench learns from a hit itself what a hit asks for,
//! and has the raw clients ask for the very same.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use larder::Clock;
use larder::backend::{Backend, KeyRule, Patience, Reply, Stored};

/// The keys of the last [`Backend::get_many`].
pub type LastKeys = Arc<Mutex<Vec<String>>>;

/// A backend that is listened to.
pub struct Recording<B> {
    pub backend: B,
    pub last_keys: LastKeys,
}

impl<B: Backend> Backend for Recording<B> {
    fn name(&self) -> &'static str {
        self.backend.name()
    }

    fn clock(&self) -> Clock {
        self.backend.clock()
    }

    fn key_rule(&self) -> KeyRule {
        self.backend.key_rule()
    }

    fn largest_value(&self) -> usize {
        self.backend.largest_value()
    }

    fn patience(&self) -> Option<Patience> {
        self.backend.patience()
    }

    fn get<'a>(&'a self, key: &'a str) -> Reply<'a, Option<Stored>> {
        self.backend.get(key)
    }

    fn set<'a>(&'a self, key: &'a str, value: Stored, ttl: Option<Duration>) -> Reply<'a, ()> {
        self.backend.set(key, value, ttl)
    }

    fn add<'a>(&'a self, key: &'a str, value: Stored, ttl: Option<Duration>) -> Reply<'a, bool> {
        self.backend.add(key, value, ttl)
    }

    fn touch<'a>(&'a self, key: &'a str, ttl: Option<Duration>) -> Reply<'a, bool> {
        self.backend.touch(key, ttl)
    }

    fn delete<'a>(&'a self, key: &'a str) -> Reply<'a, bool> {
        self.backend.delete(key)
    }

    fn incr<'a>(&'a self, key: &'a str, delta: i64) -> Reply<'a, Option<i64>> {
        self.backend.incr(key, delta)
    }

    fn clear<'a>(&'a self, prefix: &'a str) -> Reply<'a, ()> {
        self.backend.clear(prefix)
    }

    fn get_many<'a>(&'a self, keys: &'a [String]) -> Reply<'a, Vec<Option<Stored>>> {
        *self.last_keys.lock().expect("nobody panics with it") = keys.to_vec();
        self.backend.get_many(keys)
    }
}

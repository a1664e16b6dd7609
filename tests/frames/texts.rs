//! A store with textual keys that shows and takes any bytes, for what must not be believed.
//! `tests/frames.rs` and the fuzz target `frame` include it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use larder::backend::{Backend, Reply, Stored, counted};
use larder::{Clock, Timestamp};

/// Bytes under keys, readable and writable from outside; a clone is another handle on them.
#[derive(Clone, Default)]
pub struct Texts {
    clock: Clock,
    entries: Arc<Mutex<BTreeMap<String, (Stored, Timestamp)>>>,
}

impl Texts {
    /// A store on this clock.
    pub fn with_clock(clock: Clock) -> Self {
        Texts { clock, entries: Arc::default() }
    }

    /// Everything that lies there with these flags.
    pub fn with_flags(&self, flags: u32) -> Vec<(String, Stored)> {
        self.change(|entries| {
            let entries = entries.iter().filter(|(_, (stored, _))| stored.flags == flags);
            entries.map(|(key, (stored, _))| (key.clone(), stored.clone())).collect()
        })
    }

    /// Puts bytes under a key that is there or not, with a life as long as anything's.
    pub fn put(&self, key: &str, stored: Stored) {
        self.change(|entries| entries.insert(key.to_owned(), (stored, Timestamp::NEVER)));
    }

    fn change<T>(&self, change: impl FnOnce(&mut BTreeMap<String, (Stored, Timestamp)>) -> T) -> T {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        entries.retain(|_, (_, expires_at)| now < *expires_at);
        change(&mut entries)
    }
}

impl Backend for Texts {
    fn name(&self) -> &'static str {
        "texts"
    }

    fn clock(&self) -> Clock {
        self.clock.clone()
    }

    fn get<'a>(&'a self, key: &'a str) -> Reply<'a, Option<Stored>> {
        let stored = self.change(|entries| entries.get(key).map(|(stored, _)| stored.clone()));
        Reply::pending(async move { Ok(stored) })
    }

    fn set<'a>(&'a self, key: &'a str, value: Stored, ttl: Option<Duration>) -> Reply<'a, ()> {
        let expires_at = self.clock.now().after_ttl(ttl);
        self.change(|entries| entries.insert(key.to_owned(), (value, expires_at)));
        Reply::ready(Ok(()))
    }

    fn add<'a>(&'a self, key: &'a str, value: Stored, ttl: Option<Duration>) -> Reply<'a, bool> {
        let expires_at = self.clock.now().after_ttl(ttl);
        Reply::ready(Ok(self.change(|entries| {
            let is_free = !entries.contains_key(key);
            if is_free {
                entries.insert(key.to_owned(), (value, expires_at));
            }
            is_free
        })))
    }

    fn touch<'a>(&'a self, key: &'a str, ttl: Option<Duration>) -> Reply<'a, bool> {
        let expires_at = self.clock.now().after_ttl(ttl);
        Reply::ready(Ok(self.change(|entries| match entries.get_mut(key) {
            Some(entry) => {
                entry.1 = expires_at;
                true
            }
            None => false,
        })))
    }

    fn delete<'a>(&'a self, key: &'a str) -> Reply<'a, bool> {
        Reply::ready(Ok(self.change(|entries| entries.remove(key).is_some())))
    }

    fn incr<'a>(&'a self, key: &'a str, delta: i64) -> Reply<'a, Option<i64>> {
        Reply::ready(self.change(|entries| {
            let Some((stored, _)) = entries.get_mut(key) else { return Ok(None) };
            let (number, new) = counted(key, stored, delta)?;
            *stored = new;
            Ok(Some(number))
        }))
    }

    fn clear<'a>(&'a self, prefix: &'a str) -> Reply<'a, ()> {
        self.change(|entries| entries.retain(|key, _| !key.starts_with(prefix)));
        Reply::ready(Ok(()))
    }
}

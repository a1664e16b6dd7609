//! A store whose keys are text and whose answers come later, as memcached's or Redis's do, on the case's own clock.
//! `middleware.rs` looks into it after each step.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use larder::backend::{Backend, Reply, Stored, flags};
use larder::{Clock, Error, Timestamp};

#[derive(Clone)]
pub struct TextBackend {
    clock: Clock,
    entries: Arc<Mutex<BTreeMap<String, (Stored, Timestamp)>>>,
}

impl TextBackend {
    pub fn new(clock: Clock) -> Self {
        TextBackend { clock, entries: Arc::default() }
    }

    /// The live keys, and the seconds that each has left.
    pub fn live(&self) -> Vec<(String, f64)> {
        let now = self.clock.now();
        let entries = self.entries();
        let live = entries.iter().filter(|(_, (_, expires_at))| *expires_at > now);
        live.map(|(key, (_, expires_at))| (key.clone(), expires_at.since(now).as_secs_f64())).collect()
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, (Stored, Timestamp)>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, key: &str) -> Option<Stored> {
        let now = self.clock.now();
        self.entries().get(key).filter(|(_, expires_at)| *expires_at > now).map(|(stored, _)| stored.clone())
    }

    fn write(&self, key: &str, value: Stored, ttl: Option<Duration>) {
        let expires_at = self.clock.now().after_ttl(ttl);
        self.entries().insert(key.to_owned(), (value, expires_at));
    }
}

/// An answer that is there when it is asked for a second time.
fn later<'a, T: Send + 'a>(answer: impl FnOnce() -> Result<T, Error> + Send + 'a) -> Reply<'a, T> {
    Reply::pending(async move {
        tokio::task::yield_now().await;
        answer()
    })
}

impl Backend for TextBackend {
    fn name(&self) -> &'static str {
        "text"
    }

    fn clock(&self) -> Clock {
        self.clock.clone()
    }

    fn get<'a>(&'a self, key: &'a str) -> Reply<'a, Option<Stored>> {
        later(|| Ok(self.read(key)))
    }

    fn set<'a>(&'a self, key: &'a str, value: Stored, ttl: Option<Duration>) -> Reply<'a, ()> {
        later(move || {
            self.write(key, value, ttl);
            Ok(())
        })
    }

    fn add<'a>(&'a self, key: &'a str, value: Stored, ttl: Option<Duration>) -> Reply<'a, bool> {
        Reply::ready(Ok(match self.read(key) {
            Some(_) => false,
            None => {
                self.write(key, value, ttl);
                true
            }
        }))
    }

    fn touch<'a>(&'a self, key: &'a str, ttl: Option<Duration>) -> Reply<'a, bool> {
        Reply::ready(Ok(self.read(key).map(|stored| self.write(key, stored, ttl)).is_some()))
    }

    fn delete<'a>(&'a self, key: &'a str) -> Reply<'a, bool> {
        later(|| {
            let was_there = self.read(key).is_some();
            self.entries().remove(key);
            Ok(was_there)
        })
    }

    fn incr<'a>(&'a self, key: &'a str, delta: i64) -> Reply<'a, Option<i64>> {
        let Some(stored) = self.read(key) else { return Reply::ready(Ok(None)) };
        let number = std::str::from_utf8(&stored.data).ok().and_then(|text| text.parse::<i64>().ok());
        let Some(sum) = number.filter(|_| stored.flags == flags::INTEGER).and_then(|number| number.checked_add(delta))
        else {
            return Reply::ready(Err(Error::NotANumber { key: key.to_owned() }));
        };
        if let Some((present, _)) = self.entries().get_mut(key) {
            present.data = Bytes::from(sum.to_string());
        }
        Reply::ready(Ok(Some(sum)))
    }

    fn clear<'a>(&'a self, prefix: &'a str) -> Reply<'a, ()> {
        self.entries().retain(|key, _| !key.starts_with(prefix));
        Reply::ready(Ok(()))
    }
}

//! A store with textual keys that answers every call later, and remembers which keys it saw.
//! It stands for memcached and its like in the tests of the page floor.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use larder::backend::{Backend, KeyRule, Reply, Stored, backend_error, counted};
use larder::{Clock, Error, Timestamp};

use crate::world::at_work::AtWork;

type Entries = HashMap<String, (Stored, Timestamp)>;

#[derive(Clone)]
pub struct Text(Arc<Inner>);

struct Inner {
    entries: Mutex<Entries>,
    seen: Mutex<Vec<String>>,
    clock: Clock,
    rule: KeyRule,
    largest: usize,
    is_down: AtomicBool,
}

impl Text {
    pub fn new(clock: Clock) -> Self {
        Text::with(clock, KeyRule::Warn, usize::MAX)
    }

    pub fn with(clock: Clock, rule: KeyRule, largest: usize) -> Self {
        let (entries, seen, is_down) = Default::default();
        Text(Arc::new(Inner { entries, seen, clock, rule, largest, is_down }))
    }

    /// From now on every call fails, or no longer does.
    pub fn take_down(&self, is_down: bool) {
        self.0.is_down.store(is_down, Ordering::SeqCst);
    }

    /// Every key of every call so far.
    pub fn seen(&self) -> Vec<String> {
        self.0.seen.lock().unwrap().clone()
    }

    /// The keys of what is stored, sorted.
    pub fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.0.entries.lock().unwrap().keys().cloned().collect();
        keys.retain(|key| !is_counter(key));
        keys.sort();
        keys
    }

    /// The keys of the counters that are there, which say nothing of any page, sorted.
    pub fn counters(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.0.entries.lock().unwrap().keys().cloned().collect();
        keys.retain(|key| is_counter(key));
        keys.sort();
        keys
    }

    /// The keys of pages that are there, sorted.
    pub fn page_keys(&self) -> Vec<String> {
        self.keys().into_iter().filter(|key| key.contains("views.decorators.cache.cache_page.")).collect()
    }

    /// The keys of header lists that are there, sorted.
    pub fn header_keys(&self) -> Vec<String> {
        self.keys().into_iter().filter(|key| key.contains("views.decorators.cache.cache_header.")).collect()
    }

    pub fn bytes(&self, key: &str) -> Stored {
        self.0.entries.lock().unwrap()[key].0.clone()
    }

    pub fn forge(&self, key: &str, stored: Stored) {
        self.0.entries.lock().unwrap().insert(key.to_owned(), (stored, Timestamp::NEVER));
    }

    fn later<'a, T: Send + 'a>(
        &'a self,
        key: &'a str,
        work: impl FnOnce(&mut Entries, Timestamp) -> Result<T, Error> + Send + 'a,
    ) -> Reply<'a, T> {
        let at_work = AtWork::begin();
        self.0.seen.lock().unwrap().push(key.to_owned());
        Reply::pending(async move {
            let _at_work = at_work;
            tokio::task::yield_now().await;
            if self.0.is_down.load(Ordering::SeqCst) {
                return Err(backend_error("text", "it is down"));
            }
            let now = self.0.clock.now();
            let mut entries = self.0.entries.lock().unwrap();
            entries.retain(|_, (_, expires_at)| now < *expires_at);
            work(&mut entries, now)
        })
    }

    fn check(&self, key: &str, value: &Stored) -> Result<(), Error> {
        let (size, limit) = (value.data.len(), self.0.largest);
        if size > limit { Err(Error::TooLarge { key: key.to_owned(), size, limit }) } else { Ok(()) }
    }
}

fn is_counter(key: &str) -> bool {
    key.contains(":larder.purges") || key.contains(":larder.deletions.")
}

impl Backend for Text {
    fn name(&self) -> &'static str {
        "text"
    }

    fn clock(&self) -> Clock {
        self.0.clock.clone()
    }

    fn key_rule(&self) -> KeyRule {
        self.0.rule
    }

    fn largest_value(&self) -> usize {
        self.0.largest
    }

    fn get<'a>(&'a self, key: &'a str) -> Reply<'a, Option<Stored>> {
        self.later(key, |entries, _| Ok(entries.get(key).map(|(stored, _)| stored.clone())))
    }

    fn set<'a>(&'a self, key: &'a str, value: Stored, ttl: Option<Duration>) -> Reply<'a, ()> {
        self.later(key, move |entries, now| {
            entries.remove(key);
            self.check(key, &value)?;
            entries.insert(key.to_owned(), (value, now.after_ttl(ttl)));
            Ok(())
        })
    }

    fn add<'a>(&'a self, key: &'a str, value: Stored, ttl: Option<Duration>) -> Reply<'a, bool> {
        self.later(key, move |entries, now| {
            self.check(key, &value)?;
            let is_new = !entries.contains_key(key);
            entries.entry(key.to_owned()).or_insert((value, now.after_ttl(ttl)));
            Ok(is_new)
        })
    }

    fn touch<'a>(&'a self, key: &'a str, ttl: Option<Duration>) -> Reply<'a, bool> {
        self.later(key, move |entries, now| {
            Ok(entries.get_mut(key).map(|(_, expires_at)| *expires_at = now.after_ttl(ttl)).is_some())
        })
    }

    fn delete<'a>(&'a self, key: &'a str) -> Reply<'a, bool> {
        self.later(key, |entries, _| Ok(entries.remove(key).is_some()))
    }

    fn incr<'a>(&'a self, key: &'a str, delta: i64) -> Reply<'a, Option<i64>> {
        self.later(key, move |entries, _| {
            let Some((stored, _)) = entries.get_mut(key) else { return Ok(None) };
            let (number, changed) = counted(key, stored, delta)?;
            *stored = changed;
            Ok(Some(number))
        })
    }

    fn clear<'a>(&'a self, prefix: &'a str) -> Reply<'a, ()> {
        self.later(prefix, move |entries, _| {
            entries.retain(|key, _| !key.starts_with(prefix));
            Ok(())
        })
    }
}

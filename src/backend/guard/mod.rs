//! Stands before a backend that can be slow or down: no call takes longer than it may, and a backend that fails on end is
//! left alone for a while. The cache floor puts it there; see [`Patience`] for the rules.

mod breaker;
mod patience;

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Backend, KeyRule, Objects, Reply, Stored};
use crate::clock::Clock;
use crate::error::Error;
use breaker::{Admission, Breaker, Change};
pub use patience::Patience;

/// A backend with a guard before it.
pub(crate) struct Guarded {
    backend: Arc<dyn Backend>,
    patience: Patience,
    clock: Clock,
    health: Mutex<Health>,
    /// Nothing failed since the last call that did not: there is nothing in `health` that one more success changes.
    is_well: AtomicBool,
    may_have_to_connect: AtomicBool,
}

struct Health {
    breaker: Breaker,
    /// What the backend said when it failed last.
    cause: String,
    /// Writes that failed on end, while there may have been reads that did not: a store that is full or read-only.
    failed_writes: u32,
    are_writes_told: bool,
}

impl Health {
    /// Whether there is nothing that another success would change.
    fn is_well(&self) -> bool {
        self.breaker == Breaker::new() && self.failed_writes == 0 && !self.are_writes_told
    }
}

/// What a call does, as far as the guard must know.
#[derive(Clone, Copy)]
struct Operation {
    name: &'static str,
    writes: bool,
    keys: usize,
}

const fn reads(name: &'static str, keys: usize) -> Operation {
    Operation { name, writes: false, keys }
}

const fn writes(name: &'static str, keys: usize) -> Operation {
    Operation { name, writes: true, keys }
}

/// How many keys a call may have in the time of one.
const KEYS_IN_THE_TIME_OF_ONE: usize = 100;

impl Guarded {
    pub(crate) fn new(backend: Arc<dyn Backend>, patience: Patience) -> Self {
        let health = Health { breaker: Breaker::new(), cause: String::new(), failed_writes: 0, are_writes_told: false };
        let clock = backend.clock();
        let (is_well, may_have_to_connect) = (AtomicBool::new(true), AtomicBool::new(true));
        Guarded { backend, patience, clock, health: Mutex::new(health), is_well, may_have_to_connect }
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn deadline(&self, operation: Operation) -> Duration {
        let time = if operation.writes { self.patience.set } else { self.patience.get };
        let hundreds = operation.keys.saturating_sub(1) / KEYS_IN_THE_TIME_OF_ONE;
        let time = time.saturating_mul(u32::try_from(hundreds).unwrap_or(u32::MAX).saturating_add(1));
        if self.may_have_to_connect.load(Ordering::Relaxed) { time.saturating_add(self.patience.connect) } else { time }
    }

    fn watch<'a, T: Send + 'a>(
        &'a self,
        operation: Operation,
        ask: impl FnOnce(&'a dyn Backend) -> Reply<'a, T>,
    ) -> Reply<'a, T> {
        let call = match self.admit(operation) {
            Ok(call) => call,
            Err(error) => return Reply::ready(Err(error)),
        };
        match ask(&*self.backend).try_ready() {
            Ok(answer) => {
                call.ended(&answer);
                Reply::ready(answer)
            }
            Err(pending) => Reply::pending(call.within(self.deadline(operation), pending)),
        }
    }

    fn admit(&self, operation: Operation) -> Result<Call<'_>, Error> {
        let admit = |admission| Call { guarded: self, operation, admission, has_ended: false };
        if self.is_well.load(Ordering::Relaxed) {
            return Ok(admit(Admission::Admitted));
        }
        let mut health = self.health();
        match health.breaker.admit(self.clock.now()) {
            Admission::Refused => {
                let (backend, cause) = (self.backend.name(), health.cause.clone());
                Err(Error::Unavailable { backend, server: None, cause })
            }
            admission => Ok(admit(admission)),
        }
    }

    fn succeeded(&self, operation: Operation, admission: Admission) {
        // Looked at before it is written, as what follows: other threads read it for each call of theirs.
        if self.may_have_to_connect.load(Ordering::Relaxed) {
            self.may_have_to_connect.store(false, Ordering::Relaxed);
        }
        if self.is_well.load(Ordering::Relaxed) {
            return;
        }
        let mut health = self.health();
        let change = health.breaker.succeed(admission);
        let are_writes_back = operation.writes && std::mem::take(&mut health.are_writes_told);
        if operation.writes {
            health.failed_writes = 0;
        }
        self.is_well.store(health.is_well(), Ordering::Relaxed);
        drop(health);
        let backend = self.backend.name();
        if change == Change::Healed {
            tracing::info!(target: "larder", backend, "the cache backend is back");
        } else if are_writes_back {
            tracing::info!(target: "larder", backend, "the cache backend can be written to again");
        }
    }

    fn failed(&self, operation: Operation, admission: Admission, error: &Error) {
        self.may_have_to_connect.store(true, Ordering::Relaxed);
        let cause = cause_of(error);
        let mut health = self.health();
        self.is_well.store(false, Ordering::Relaxed);
        let change = health.breaker.fail(admission, &self.patience, self.clock.now(), chance());
        health.cause.clone_from(&cause);
        if operation.writes {
            health.failed_writes = health.failed_writes.saturating_add(1);
        }
        let is_open = health.breaker.is_open();
        let are_writes_news =
            !is_open && !health.are_writes_told && health.failed_writes >= self.patience.failures.max(1);
        health.are_writes_told |= are_writes_news;
        drop(health);
        let backend = self.backend.name();
        tracing::debug!(target: "larder", backend, operation = operation.name, %error, "a call of the cache backend failed");
        if change == Change::Opened {
            tracing::warn!(target: "larder", backend, cause, "the cache backend is down: it is left alone for a while");
        } else if are_writes_news {
            tracing::warn!(target: "larder", backend, cause, "the cache backend cannot be written to");
        }
    }
}

/// A call that the backend was let in for. Dropped before its end it says nothing of the backend.
struct Call<'a> {
    guarded: &'a Guarded,
    operation: Operation,
    admission: Admission,
    has_ended: bool,
}

impl Call<'_> {
    async fn within<T>(self, deadline: Duration, answer: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let answer = tokio::time::timeout(deadline, answer).await.unwrap_or_else(|_| {
            let (backend, operation) = (self.guarded.backend.name(), self.operation.name);
            Err(Error::Timeout { backend, server: None, operation, after: deadline })
        });
        self.ended(&answer);
        answer
    }

    fn ended<T>(mut self, answer: &Result<T, Error>) {
        self.has_ended = true;
        match answer {
            Err(error) if is_failure(error) => self.guarded.failed(self.operation, self.admission, error),
            _ => self.guarded.succeeded(self.operation, self.admission),
        }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if !self.has_ended && self.admission == Admission::Probe {
            self.guarded.health().breaker.abandon(self.admission);
        }
    }
}

/// Whether an error says that the backend is unwell; the others are about a key or a value.
pub(super) fn is_failure(error: &Error) -> bool {
    matches!(error, Error::Backend { .. } | Error::Timeout { .. } | Error::Unavailable { .. })
}

/// What an error says, without the name of the backend, and without keys: it is logged.
fn cause_of(error: &Error) -> String {
    match error {
        Error::Backend { source, .. } => source.to_string(),
        Error::Timeout { operation, after, .. } => format!("{operation} took longer than {after:?}"),
        Error::Unavailable { cause, .. } => cause.clone(),
        _ => String::new(),
    }
}

/// Something between 0 and 1.
fn chance() -> f64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish() as f64 / u64::MAX as f64
}

impl Backend for Guarded {
    fn name(&self) -> &'static str {
        self.backend.name()
    }

    fn clock(&self) -> Clock {
        self.clock.clone()
    }

    fn key_rule(&self) -> KeyRule {
        self.backend.key_rule()
    }

    fn largest_value(&self) -> usize {
        self.backend.largest_value()
    }

    fn get<'a>(&'a self, key: &'a str) -> Reply<'a, Option<Stored>> {
        self.watch(reads("get", 1), |backend| backend.get(key))
    }

    fn set<'a>(&'a self, key: &'a str, value: Stored, ttl: Option<Duration>) -> Reply<'a, ()> {
        self.watch(writes("set", 1), |backend| backend.set(key, value, ttl))
    }

    fn add<'a>(&'a self, key: &'a str, value: Stored, ttl: Option<Duration>) -> Reply<'a, bool> {
        self.watch(writes("add", 1), |backend| backend.add(key, value, ttl))
    }

    fn touch<'a>(&'a self, key: &'a str, ttl: Option<Duration>) -> Reply<'a, bool> {
        self.watch(writes("touch", 1), |backend| backend.touch(key, ttl))
    }

    fn delete<'a>(&'a self, key: &'a str) -> Reply<'a, bool> {
        self.watch(writes("delete", 1), |backend| backend.delete(key))
    }

    fn incr<'a>(&'a self, key: &'a str, delta: i64) -> Reply<'a, Option<i64>> {
        self.watch(writes("incr", 1), |backend| backend.incr(key, delta))
    }

    fn clear<'a>(&'a self, prefix: &'a str) -> Reply<'a, ()> {
        // However long it takes: an operator asked for it, not a visitor.
        self.backend.clear(prefix)
    }

    fn contains<'a>(&'a self, key: &'a str) -> Reply<'a, bool> {
        self.watch(reads("contains", 1), |backend| backend.contains(key))
    }

    fn get_many<'a>(&'a self, keys: &'a [String]) -> Reply<'a, Vec<Option<Stored>>> {
        self.watch(reads("get_many", keys.len()), |backend| backend.get_many(keys))
    }

    fn set_many<'a>(&'a self, entries: &'a [(String, Stored)], ttl: Option<Duration>) -> Reply<'a, Vec<usize>> {
        self.watch(writes("set_many", entries.len()), |backend| backend.set_many(entries, ttl))
    }

    fn delete_many<'a>(&'a self, keys: &'a [String]) -> Reply<'a, ()> {
        self.watch(writes("delete_many", keys.len()), |backend| backend.delete_many(keys))
    }

    fn close(&self) -> Reply<'_, ()> {
        self.may_have_to_connect.store(true, Ordering::Relaxed);
        self.backend.close()
    }

    fn objects(&self) -> Option<&dyn Objects> {
        self.backend.objects()
    }
}

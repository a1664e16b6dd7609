//! The handle an application holds: Django's low-level cache API over any backend (LOW, KEY of the inventory).
//! Handlers call it for single values; the page floor asks it for its backend, clock and keys.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::builder::CacheBuilder;
use super::flights::Flights;
use super::joint_reads::{JointReads, Read};
use super::key::{self, KeyFunction, Version};
use super::single_flight::{Role, SingleFlight};
use super::timeout::{Lifetime, Timeout};
use super::trouble::Told;
use super::value::{decode, encode};
use crate::backend::{Backend, Dummy, KeyRule, Memory, Stored};
use crate::clock::Clock;
use crate::error::Error;
use crate::race::unless;

/// How long [`Cache::close`] waits for pages that are being stored: longer than any store may take that is of use.
const LONGEST_CLOSE: Duration = Duration::from_secs(5);

/// A cache: typed values under keys, with a prefix, a version and a default timeout, over a backend.
///
/// A clone is another handle on the same cache. Keys are anything that can be seen as text. Every call that takes a key
/// checks its final key first (KEY-10, KEY-12): where the backend can take any key, one that memcached could not is
/// logged as a warning (target `larder::key`), once for each problem; where it cannot, it is [`Error::Key`] and nothing
/// is sent.
///
/// Every call fails with [`Error::Backend`] where the backend does. What else it may fail with stands at the call.
#[derive(Clone)]
pub struct Cache {
    settings: Arc<Settings>,
    version: Version,
    scope: Arc<str>,
}

#[derive(Clone)]
pub(super) struct Settings {
    pub(super) backend: Arc<dyn Backend>,
    pub(super) clock: Clock,
    pub(super) key_rule: KeyRule,
    pub(super) key_prefix: String,
    pub(super) default_timeout: Timeout,
    pub(super) key_function: Option<Arc<KeyFunction>>,
    pub(super) flights: Arc<SingleFlight>,
    pub(super) page_flights: Arc<Flights>,
    pub(super) page_reads: Arc<JointReads>,
    /// Whether a guard stands before the backend.
    pub(super) is_guarded: bool,
    /// What tells the store from others, where a URL named it.
    pub(super) store: Option<u64>,
    pub(super) told: Arc<Told>,
}

/// Making one.
impl Cache {
    /// A cache in this process's memory, of at most 100 MiB; see [`Memory`].
    pub fn memory() -> Self {
        Cache::new(Memory::new())
    }

    /// A cache that keeps nothing; see [`Dummy`].
    pub fn dummy() -> Self {
        Cache::new(Dummy::default())
    }

    /// A cache over `backend` with Django's defaults: no prefix, version 1, 300 seconds.
    pub fn new(backend: impl Backend) -> Self {
        Cache::builder(backend).build()
    }

    /// A cache over `backend`, made to measure.
    ///
    /// ```
    /// # use larder::{Cache, backend::Memory};
    /// let cache = Cache::builder(Memory::new()).key_prefix("blog").version(2).default_timeout(600).build();
    /// assert_eq!(cache.make_key("front"), "blog:2:front");
    /// ```
    pub fn builder(backend: impl Backend) -> CacheBuilder {
        CacheBuilder::new(Arc::new(backend))
    }

    pub(super) fn of(settings: Arc<Settings>, version: Version) -> Self {
        let prefix = &settings.key_prefix;
        let scope = match &settings.key_function {
            // What cannot be told apart by what it does to a key is one to whoever keeps no keys, too.
            Some(function) => function("larder", prefix, version.as_str()),
            None => format!("{prefix}:{version}:"),
        };
        let scope = scope.into();
        Cache { settings, version, scope }
    }

    /// The same cache with another version, as Django's `version=` argument (KEY-2, LOW-21).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), larder::Error> {
    /// let cache = larder::Cache::memory();
    /// cache.version(2).set("my_key", "of version 2", 30).await?;
    /// assert_eq!(cache.get::<String>("my_key").await?, None);
    /// assert_eq!(cache.version(2).get::<String>("my_key").await?.as_deref(), Some("of version 2"));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn version(&self, version: impl Into<Version>) -> Cache {
        Cache::of(Arc::clone(&self.settings), version.into())
    }

    /// The same cache with keys as they lie in the store: no prefix and no version are added. For tools that look at
    /// what others stored.
    ///
    /// As with any key function of one's own, [`Cache::clear`] of it clears the whole store.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), larder::Error> {
    /// let cache = larder::Cache::memory();
    /// cache.set("my_key", "hello", 30).await?;
    /// assert_eq!(cache.raw_keys().get::<String>(":1:my_key").await?.as_deref(), Some("hello"));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn raw_keys(&self) -> Cache {
        let mut settings = Settings::clone(&self.settings);
        settings.key_function = Some(Arc::new(|key: &str, _: &str, _: &str| key.to_owned()));
        Cache::of(Arc::new(settings), self.version.clone())
    }
}

/// What it is made of.
impl Cache {
    /// What every final key begins with; empty unless set (KEY-3).
    pub fn key_prefix(&self) -> &str {
        &self.settings.key_prefix
    }

    /// The store behind it.
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.settings.backend
    }

    /// The clock of the store.
    pub fn clock(&self) -> &Clock {
        &self.settings.clock
    }

    /// The final key of `key`, unchecked: the name its entry has in the store (KEY-16).
    pub fn make_key(&self, key: &str) -> String {
        match &self.settings.key_function {
            Some(function) => function(key, &self.settings.key_prefix, self.version.as_str()),
            None => [self.scope(), key].concat(),
        }
    }

    /// The final key of `key`, held against the backend's rule.
    pub(crate) fn final_key(&self, key: &str) -> Result<String, Error> {
        key::check(self.make_key(key), self.settings.key_rule)
    }

    /// The final key of a key that `write` puts down, in about so many bytes: written once, behind the scope, where no key
    /// function wants it by itself.
    pub(crate) fn written_key(&self, bytes: usize, write: impl FnOnce(&mut String)) -> Result<String, Error> {
        let scope = if self.settings.key_function.is_none() { self.scope() } else { "" };
        let mut key = String::with_capacity(scope.len() + bytes);
        key.push_str(scope);
        write(&mut key);
        match &self.settings.key_function {
            Some(_) => self.final_key(&key),
            None => key::check(key, self.settings.key_rule),
        }
    }

    /// Whether the backend's health is watched and told by a guard.
    pub(crate) fn is_guarded(&self) -> bool {
        self.settings.is_guarded
    }

    /// Whether both are known to be on one store: handles on the same backend, or connected by the same URL.
    pub(crate) fn is_on_store_of(&self, other: &Cache) -> bool {
        Arc::ptr_eq(self.backend(), other.backend())
            || self.settings.store.is_some() && self.settings.store == other.settings.store
    }

    /// The fills of pages that are under way.
    pub(crate) fn page_flights(&self) -> &Arc<Flights> {
        &self.settings.page_flights
    }

    /// What lies under several keys now, read together with others who ask for the same at this moment.
    pub(crate) async fn read_jointly(&self, keys: &[String]) -> Result<Read, Error> {
        self.settings.page_reads.get_many(&**self.backend(), keys, self.page_flights()).await
    }

    /// What was told of its trouble.
    pub(crate) fn told(&self) -> &Told {
        &self.settings.told
    }

    /// What tells this cache from others on its store: with the default key function, what that puts before every key (prefix,
    /// version and their colons); else what the other one makes of a key.
    pub(crate) fn scope(&self) -> &Arc<str> {
        &self.scope
    }

    fn lifetime(&self, timeout: impl Into<Timeout>) -> Lifetime {
        timeout.into().lifetime(self.settings.default_timeout)
    }
}

/// Single values.
impl Cache {
    /// The value under `key`, if one is there and alive (LOW-1). A stored `None` is a value: as `Option<T>` it is
    /// `Some(None)` (LOW-2).
    ///
    /// # Errors
    /// [`Error::Decode`] where the value is not a `T`; it stays as it was.
    pub async fn get<T: DeserializeOwned>(&self, key: impl AsRef<str>) -> Result<Option<T>, Error> {
        let key = key.as_ref();
        let stored = self.backend().get(&self.final_key(key)?).await?;
        stored.map(|stored| decode(key, &stored)).transpose()
    }

    /// Stores `value`, over whatever was there, of whatever type (LOW-3). A timeout of zero or less removes it (LOW-5).
    ///
    /// # Errors
    /// [`Error::Encode`] where serde refuses it, [`Error::TooLarge`] where the backend does (what was there is then gone).
    pub async fn set<V: Serialize>(
        &self,
        key: impl AsRef<str>,
        value: V,
        timeout: impl Into<Timeout>,
    ) -> Result<(), Error> {
        let key = key.as_ref();
        let stored = encode(key, &value)?;
        self.store(&self.final_key(key)?, stored, self.lifetime(timeout)).await
    }

    async fn store(&self, final_key: &str, stored: Stored, lifetime: Lifetime) -> Result<(), Error> {
        match lifetime {
            Lifetime::Over => self.backend().delete(final_key).await.map(drop),
            Lifetime::Lives(ttl) => self.backend().set(final_key, stored, ttl).await,
        }
    }

    /// Stores `value` only where nothing alive is; says whether it did (LOW-4). Of concurrent callers one wins.
    ///
    /// # Errors
    /// As [`Cache::set`].
    pub async fn add<V: Serialize>(
        &self,
        key: impl AsRef<str>,
        value: V,
        timeout: impl Into<Timeout>,
    ) -> Result<bool, Error> {
        let key = key.as_ref();
        let stored = encode(key, &value)?;
        self.store_first(&self.final_key(key)?, stored, self.lifetime(timeout)).await
    }

    async fn store_first(&self, final_key: &str, stored: Stored, lifetime: Lifetime) -> Result<bool, Error> {
        match lifetime {
            Lifetime::Over => Ok(!self.backend().contains(final_key).await?),
            Lifetime::Lives(ttl) => self.backend().add(final_key, stored, ttl).await,
        }
    }

    /// Gives a live value a new timeout; says whether there was one (LOW-6). A timeout of zero or less removes it.
    pub async fn touch(&self, key: impl AsRef<str>, timeout: impl Into<Timeout>) -> Result<bool, Error> {
        let key = self.final_key(key.as_ref())?;
        match self.lifetime(timeout) {
            Lifetime::Over => self.backend().delete(&key).await,
            Lifetime::Lives(ttl) => self.backend().touch(&key, ttl).await,
        }
    }

    /// Removes a value; says whether something alive was there (LOW-7).
    pub async fn delete(&self, key: impl AsRef<str>) -> Result<bool, Error> {
        self.backend().delete(&self.final_key(key.as_ref())?).await
    }

    /// Whether something alive is under `key`: Django's `has_key` and `in` (LOW-11).
    pub async fn contains(&self, key: impl AsRef<str>) -> Result<bool, Error> {
        self.backend().contains(&self.final_key(key.as_ref())?).await
    }

    /// The value under `key`; where there is none, what `make` makes, which is then stored (LOW-12).
    ///
    /// Of concurrent callers with one key one runs its closure; the others wait for what it returns and are given it,
    /// even where the timeout is zero. If the one is cancelled or panics, the next one runs its own. If somebody else
    /// stores a value meanwhile, that one wins. Callers meet where they hold clones of one cache in one process.
    ///
    /// The closure must not ask for the same key: it would wait for itself.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), larder::Error> {
    /// let cache = larder::Cache::memory();
    /// let answer: u32 = cache.get_or_set("answer", 60, || async { 6 * 7 }).await?;
    /// assert_eq!(answer, 42);
    /// assert_eq!(cache.get::<u32>("answer").await?, Some(42));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Cache::get`] and [`Cache::set`].
    pub async fn get_or_set<T, F, Fut>(
        &self,
        key: impl AsRef<str>,
        timeout: impl Into<Timeout>,
        make: F,
    ) -> Result<T, Error>
    where
        T: Serialize + DeserializeOwned,
        F: FnOnce() -> Fut,
        Fut: Future<Output = T>,
    {
        self.get_or_try_set(key, timeout, || async { Ok(make().await) }).await
    }

    /// [`Cache::get_or_set`] with a closure that may fail. An error is for the caller whose closure it was: nothing is
    /// stored, and the next one in line runs its own.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let cache = larder::Cache::memory();
    /// let port: Result<u16, Box<dyn std::error::Error>> =
    ///     cache.get_or_try_set("port", 60, || async { Ok("eighty".parse()?) }).await;
    /// assert!(port.is_err());
    /// assert!(!cache.contains("port").await?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The closure's, and those of [`Cache::get_or_set`].
    pub async fn get_or_try_set<T, E, F, Fut>(
        &self,
        key: impl AsRef<str>,
        timeout: impl Into<Timeout>,
        make: F,
    ) -> Result<T, E>
    where
        T: Serialize + DeserializeOwned,
        E: From<Error>,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let key = key.as_ref();
        let final_key = self.final_key(key)?;
        let lifetime = self.lifetime(timeout);
        let flights = &self.settings.flights;

        let landed = flights.landed();
        if let Some(stored) = self.backend().get(&final_key).await? {
            return Ok(decode(key, &stored)?);
        }
        let leader = match flights.board(&final_key).await {
            Role::Take(stored) => return Ok(decode(key, &stored)?),
            Role::Lead(leader) => leader,
        };
        if flights.landed() != landed
            && let Some(stored) = self.backend().get(&final_key).await?
        {
            let value = decode(key, &stored)?;
            leader.land(stored);
            return Ok(value);
        }

        let value = make().await?;
        let computed = encode(key, &value)?;
        if !self.store_first(&final_key, computed.clone(), lifetime).await?
            && let Some(stored) = self.backend().get(&final_key).await?
        {
            let theirs = decode(key, &stored)?;
            leader.land(stored);
            return Ok(theirs);
        }
        leader.land(computed);
        Ok(value)
    }
}

/// Counting.
impl Cache {
    /// Adds `delta` to the integer under `key`, atomically, and keeps its expiry; the new number (LOW-13, LOC-9).
    ///
    /// # Errors
    /// [`Error::Missing`] where nothing alive is there, [`Error::NotANumber`] where it is no integer (LOW-20),
    /// [`Error::Overflow`] where the sum has no place in 64 bits. What was there stays as it was.
    pub async fn incr(&self, key: impl AsRef<str>, delta: i64) -> Result<i64, Error> {
        let key = key.as_ref();
        let number = self.backend().incr(&self.final_key(key)?, delta).await.map_err(|error| under(key, error))?;
        number.ok_or_else(|| Error::Missing { key: key.to_owned() })
    }

    /// Takes `delta` from the integer under `key`: [`Cache::incr`] by `-delta` (LOW-15). It may go below zero.
    ///
    /// # Errors
    /// As [`Cache::incr`].
    pub async fn decr(&self, key: impl AsRef<str>, delta: i64) -> Result<i64, Error> {
        let key = key.as_ref();
        let delta = delta.checked_neg().ok_or_else(|| Error::Overflow { key: key.to_owned() })?;
        self.incr(key, delta).await
    }

    /// Moves the value under `key` to the version `delta` further on, over whatever is there, with the default timeout;
    /// the new version (LOW-16). By 0 it is copied onto itself and then deleted, as in Django. It is not atomic.
    ///
    /// # Errors
    /// [`Error::Missing`] where nothing alive is there, [`Error::Config`] where the version is not a number.
    pub async fn incr_version(&self, key: impl AsRef<str>, delta: i64) -> Result<i64, Error> {
        let key = key.as_ref();
        let old = self.final_key(key)?;
        let stored = self.backend().get(&old).await?.ok_or_else(|| Error::Missing { key: key.to_owned() })?;
        let version = self.version.moved(delta)?;
        let new = self.version(version).final_key(key)?;
        self.store(&new, stored, self.lifetime(Timeout::Default)).await?;
        self.backend().delete(&old).await?;
        Ok(version)
    }

    /// [`Cache::incr_version`] by `-delta`.
    ///
    /// # Errors
    /// As [`Cache::incr_version`].
    pub async fn decr_version(&self, key: impl AsRef<str>, delta: i64) -> Result<i64, Error> {
        let key = key.as_ref();
        let delta = delta.checked_neg().ok_or_else(|| Error::Overflow { key: key.to_owned() })?;
        self.incr_version(key, delta).await
    }
}

/// Several values at once: one round trip where the backend can.
impl Cache {
    /// The values under `keys` that are there, by the caller's keys (LOW-8, KEY-13). All keys are checked first (KEY-12).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), larder::Error> {
    /// let cache = larder::Cache::memory();
    /// cache.set_many([("a", 1), ("b", 2)], 30).await?;
    /// let found = cache.get_many::<i32>(["a", "b", "c"]).await?;
    /// assert_eq!(found.len(), 2);
    /// assert_eq!(found["b"], 2);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Decode`] where one of the values is not a `T`.
    pub async fn get_many<T: DeserializeOwned>(
        &self,
        keys: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<HashMap<String, T>, Error> {
        let (keys, final_keys) = self.final_keys(keys)?;
        if keys.is_empty() {
            return Ok(HashMap::new());
        }
        let found = self.backend().get_many(&final_keys).await?;
        let found = keys.into_iter().zip(found).filter_map(|(key, stored)| Some((key, stored?)));
        found.map(|(key, stored)| decode(&key, &stored).map(|value| (key, value))).collect()
    }

    /// Stores several values with one timeout; the caller's keys of those that could not be stored (LOW-9, KEY-13).
    /// All keys are checked, and all values encoded, before the first is stored. Of a key given twice the last counts.
    ///
    /// # Errors
    /// [`Error::Encode`] where serde refuses one of them.
    pub async fn set_many<V: Serialize>(
        &self,
        values: impl IntoIterator<Item = (impl AsRef<str>, V)>,
        timeout: impl Into<Timeout>,
    ) -> Result<Vec<String>, Error> {
        let mut keys = Vec::new();
        let mut entries = Vec::new();
        for (key, value) in values {
            let key = key.as_ref();
            entries.push((self.final_key(key)?, encode(key, &value)?));
            keys.push(key.to_owned());
        }
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        match self.lifetime(timeout) {
            Lifetime::Over => {
                let final_keys: Vec<String> = entries.into_iter().map(|(key, _)| key).collect();
                self.backend().delete_many(&final_keys).await?;
                Ok(Vec::new())
            }
            Lifetime::Lives(ttl) => {
                let failed: HashSet<usize> = self.backend().set_many(&entries, ttl).await?.into_iter().collect();
                let keys = keys.into_iter().enumerate();
                Ok(keys.filter(|(position, _)| failed.contains(position)).map(|(_, key)| key).collect())
            }
        }
    }

    /// Removes several values; those that are not there are no error (LOW-10).
    pub async fn delete_many(&self, keys: impl IntoIterator<Item = impl AsRef<str>>) -> Result<(), Error> {
        let (_, final_keys) = self.final_keys(keys)?;
        if final_keys.is_empty() {
            return Ok(());
        }
        self.backend().delete_many(&final_keys).await
    }

    /// The caller's keys, each once, and their final keys.
    fn final_keys(&self, keys: impl IntoIterator<Item = impl AsRef<str>>) -> Result<(Vec<String>, Vec<String>), Error> {
        let mut seen = HashSet::new();
        let mut final_keys = Vec::new();
        let mut distinct = Vec::new();
        for key in keys {
            let key = key.as_ref();
            if seen.insert(key.to_owned()) {
                final_keys.push(self.final_key(key)?);
                distinct.push(key.to_owned());
            }
        }
        Ok((distinct, final_keys))
    }
}

/// The whole of it.
impl Cache {
    /// Empties the cache. With a key prefix only the entries of that prefix go, all versions of them (where the backend
    /// can tell them apart; see its documentation). Without a prefix, or with a key function of your own, everything in
    /// the store goes, whoever put it there (LOW-17).
    ///
    /// Django empties the whole store even with a prefix.
    ///
    /// Pages whose handlers are running are not stored afterwards, of this version of the cache; in memory, of none.
    pub async fn clear(&self) -> Result<(), Error> {
        // Where the counters cannot be reached now they go with the rest: a page may come between that is stored meanwhile.
        if self.backend().objects().is_none()
            && let Err(error) = self.forget_counters().await
        {
            tracing::debug!(target: "larder", %error, "could not forget the counters of purges before clearing");
        }
        if self.settings.key_prefix.is_empty() || self.settings.key_function.is_some() {
            return self.backend().clear("").await;
        }
        self.backend().clear(&format!("{}:", self.settings.key_prefix)).await
    }

    /// Lets go of connections, once the pages that are being stored behind their responses are there: at most five seconds
    /// later. A program calls it at its end, when it has stopped serving, so that none of them is lost.
    ///
    /// The cache works again afterwards, and it may be called repeatedly (LOW-18).
    pub async fn close(&self) -> Result<(), Error> {
        let flights = &self.settings.page_flights;
        if flights.stores().is_under_way()
            && let Some(alarm) = flights.alarm(Instant::now() + LONGEST_CLOSE)
        {
            unless(alarm, flights.stores().all_are_there()).await;
        }
        self.backend().close().await
    }

    /// How many closures of [`Cache::get_or_set`] are running or waited for, in all versions of this cache: for metrics,
    /// and for tests that nothing is left behind.
    pub fn in_flight(&self) -> usize {
        self.settings.flights.under_way()
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("backend", &self.backend().name())
            .field("key_prefix", &self.settings.key_prefix)
            .field("version", &self.version)
            .field("default_timeout", &self.settings.default_timeout)
            .finish_non_exhaustive()
    }
}

/// A backend's error about a final key, told about the caller's.
fn under(key: &str, error: Error) -> Error {
    let key = key.to_owned();
    match error {
        Error::NotANumber { .. } => Error::NotANumber { key },
        Error::Overflow { .. } => Error::Overflow { key },
        other => other,
    }
}

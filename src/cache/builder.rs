//! The settings of a cache, under the names of Django's `CACHES` (CFG-1).
//! Applications call it through `Cache::builder`, `CACHE_URL` through its options.

use std::fmt;
use std::sync::Arc;

use super::Cache;
use super::cache::Settings;
use super::flights::Flights;
use super::key::{KeyFunction, Version};
use super::single_flight::SingleFlight;
use super::timeout::{self, Timeout};
use crate::backend::guard::Guarded;
use crate::backend::{Backend, Patience};

/// Builds a [`Cache`]; see [`Cache::builder`].
#[derive(Clone)]
pub struct CacheBuilder {
    backend: Arc<dyn Backend>,
    key_prefix: String,
    version: Version,
    default_timeout: Timeout,
    key_function: Option<Arc<KeyFunction>>,
    patience: Option<Patience>,
    store: Option<u64>,
}

impl CacheBuilder {
    pub(super) fn new(backend: Arc<dyn Backend>) -> Self {
        CacheBuilder {
            patience: backend.patience(),
            backend,
            key_prefix: String::new(),
            version: Version::default(),
            default_timeout: timeout::DEFAULT,
            key_function: None,
            store: None,
        }
    }

    /// What tells the store from others, where a URL named it: another cache of that URL is on the same one.
    pub(super) fn store(mut self, store: Option<u64>) -> Self {
        self.store = store;
        self
    }

    /// What every final key begins with: Django's `KEY_PREFIX`. Empty by default (KEY-3).
    ///
    /// A colon in it is not escaped, as in Django (KEY-1): a cache of the prefix `a` can reach the keys of one of the
    /// prefix `a:1`, and [`Cache::clear`] of the first clears the second.
    pub fn key_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.key_prefix = prefix.into();
        self
    }

    /// The version that is meant where none is named: Django's `VERSION`. 1 by default (KEY-2).
    pub fn version(mut self, version: impl Into<Version>) -> Self {
        self.version = version.into();
        self
    }

    /// How long a value lives where no timeout is named: Django's `TIMEOUT`. 300 seconds by default; zero keeps nothing (CFG-3).
    pub fn default_timeout(mut self, timeout: impl Into<Timeout>) -> Self {
        self.default_timeout = timeout.into();
        self
    }

    /// How long the backend's calls may take, and when it is left alone for a while; `None` for as long as they take, and
    /// never. What the backend itself says by default ([`Backend::patience`]).
    ///
    /// The times are tokio's: calls of a backend that answers later need a runtime with its timers enabled.
    pub fn patience(mut self, patience: impl Into<Option<Patience>>) -> Self {
        self.patience = patience.into();
        self
    }

    /// Makes the final key of the caller's key, the prefix and the version: Django's `KEY_FUNCTION` (KEY-5).
    ///
    /// It replaces `prefix:version:key` altogether. Two different triples that it maps to one key share an entry. As
    /// nothing then tells which keys are this cache's, [`Cache::clear`] clears the whole store.
    ///
    /// ```
    /// # use larder::{Cache, backend::Dummy};
    /// let cache = Cache::builder(Dummy::default())
    ///     .key_function(|key, prefix, version| format!("{prefix}-{version}-{key}"))
    ///     .key_prefix("blog")
    ///     .build();
    /// assert_eq!(cache.make_key("front"), "blog-1-front");
    /// ```
    pub fn key_function(mut self, function: impl Fn(&str, &str, &str) -> String + Send + Sync + 'static) -> Self {
        self.key_function = Some(Arc::new(function));
        self
    }

    /// The cache.
    pub fn build(self) -> Cache {
        let is_guarded = self.patience.is_some();
        let backend = match self.patience {
            Some(patience) => Arc::new(Guarded::new(self.backend, patience)),
            None => self.backend,
        };
        let settings = Settings {
            clock: backend.clock(),
            key_rule: backend.key_rule(),
            backend,
            key_prefix: self.key_prefix,
            default_timeout: self.default_timeout,
            key_function: self.key_function,
            flights: Arc::new(SingleFlight::default()),
            page_flights: Arc::new(Flights::default()),
            page_reads: Arc::default(),
            is_guarded,
            store: self.store,
            told: Arc::default(),
        };
        Cache::of(Arc::new(settings), self.version)
    }
}

impl fmt::Debug for CacheBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheBuilder")
            .field("backend", &self.backend.name())
            .field("key_prefix", &self.key_prefix)
            .field("version", &self.version)
            .field("default_timeout", &self.default_timeout)
            .finish_non_exhaustive()
    }
}

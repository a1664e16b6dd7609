//! The settings of a cache, under the names of Django's `CACHES` (CFG-1).
//! Applications call it through `Cache::builder`, `CACHE_URL` through its options.

use std::fmt;
use std::sync::Arc;

use super::Cache;
use super::cache::Settings;
use super::key::{KeyFunction, Version};
use super::single_flight::SingleFlight;
use super::timeout::{self, Timeout};
use crate::backend::Backend;

/// Builds a [`Cache`]; see [`Cache::builder`].
#[derive(Clone)]
pub struct CacheBuilder {
    backend: Arc<dyn Backend>,
    key_prefix: String,
    version: Version,
    default_timeout: Timeout,
    key_function: Option<Arc<KeyFunction>>,
}

impl CacheBuilder {
    pub(super) fn new(backend: Arc<dyn Backend>) -> Self {
        CacheBuilder {
            backend,
            key_prefix: String::new(),
            version: Version::default(),
            default_timeout: timeout::DEFAULT,
            key_function: None,
        }
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
        let settings = Settings {
            clock: self.backend.clock(),
            key_rule: self.backend.key_rule(),
            backend: self.backend,
            key_prefix: self.key_prefix,
            default_timeout: self.default_timeout,
            key_function: self.key_function,
            flights: Arc::new(SingleFlight::default()),
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

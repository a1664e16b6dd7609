//! The caches of a program by name, as Django's `caches`, and the one that is meant where none is named.
//! Programs with several caches call it; the page layer asks it for the process-wide default.

use std::collections::BTreeMap;
use std::env;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::{Cache, connect};
use crate::error::Error;

/// The alias of the cache that is meant where none is named (CFG-1).
pub const DEFAULT_ALIAS: &str = "default";

/// The environment variable with the URL of the default cache; with `_` and a name behind it, of the cache of that name.
const VARIABLE: &str = "CACHE_URL";

static PROCESS: OnceLock<Caches> = OnceLock::new();
/// So that the environment is read once, however many ask first at the same time.
static DECIDING: Mutex<()> = Mutex::new(());

/// Caches by alias (CFG-2). A clone is another handle on the same ones.
///
/// ```
/// use larder::{Cache, Caches};
///
/// let caches = Caches::builder().with("default", Cache::memory()).with("off", Cache::dummy()).build();
/// assert_eq!(caches.get("off")?.backend().name(), "dummy");
/// assert_eq!(caches.get("of").unwrap_err().to_string(), "no cache has the alias \"of\": there are default, off");
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Caches(Arc<BTreeMap<String, Cache>>);

/// Builds [`Caches`]; see [`Caches::builder`].
#[derive(Clone, Debug, Default)]
pub struct CachesBuilder(BTreeMap<String, Cache>);

impl CachesBuilder {
    /// Adds a cache, over one of the same alias.
    pub fn with(mut self, alias: impl Into<String>, cache: Cache) -> Self {
        self.0.insert(alias.into(), cache);
        self
    }

    /// The caches.
    pub fn build(self) -> Caches {
        Caches(Arc::new(self.0))
    }
}

impl Caches {
    /// No caches yet.
    pub fn builder() -> CachesBuilder {
        CachesBuilder::default()
    }

    /// The cache of that alias.
    ///
    /// # Errors
    /// [`Error::Config`] where there is none, with the aliases that there are.
    pub fn get(&self, alias: &str) -> Result<Cache, Error> {
        self.0.get(alias).cloned().ok_or_else(|| {
            let known = self.aliases().collect::<Vec<_>>().join(", ");
            let known = if known.is_empty() { "none".to_owned() } else { known };
            Error::Config(format!("no cache has the alias {alias:?}: there are {known}"))
        })
    }

    /// The aliases, sorted.
    pub fn aliases(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The caches that the environment names. For the URLs see [`Cache::connect`]; nothing is connected yet.
    ///
    /// | variable | cache |
    /// |---|---|
    /// | `CACHE_URL` | the one with the alias `default` |
    /// | `CACHE_URL_SESSIONS` | the one with the alias `sessions` |
    /// | `MEMCACHE_SERVERS`, `MEMCACHIER_SERVERS` or `MEMCACHEDCLOUD_SERVERS`, each with `_USERNAME` and `_PASSWORD` | with the feature `memcached`, the default where there is no `CACHE_URL`: what platforms such as Heroku set |
    /// | none of them | the default is in memory |
    ///
    /// A variable that is empty is one that is not set, as a shell and a compose file have it.
    ///
    /// # Errors
    /// [`Error::Config`], with the variable's name, where one of them cannot be used.
    pub fn from_env() -> Result<Self, Error> {
        // Variables that are not text cannot be ours, except under our names.
        Caches::from_variables(env::vars_os().filter_map(|(name, value)| {
            let name = name.into_string().ok()?;
            Some((name, value.to_string_lossy().into_owned()))
        }))
    }

    /// [`Caches::from_env`] of an environment that is given; variables with other names are passed over.
    ///
    /// ```
    /// # use larder::Caches;
    /// let caches = Caches::from_variables([("CACHE_URL_API".to_owned(), "dummy://?key_prefix=api".to_owned())])?;
    /// assert_eq!(caches.aliases().collect::<Vec<_>>(), ["api", "default"]);
    /// # Ok::<(), larder::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Caches::from_env`].
    pub fn from_variables(variables: impl IntoIterator<Item = (String, String)>) -> Result<Self, Error> {
        let mut caches = Caches::builder();
        let variables: BTreeMap<String, String> = variables.into_iter().collect();
        for (name, url) in &variables {
            let alias = match name.strip_prefix(VARIABLE) {
                Some("") => DEFAULT_ALIAS.to_owned(),
                Some(rest) if rest.len() > 1 && rest.starts_with('_') => rest[1..].to_ascii_lowercase(),
                _ => continue,
            };
            if url.is_empty() {
                continue;
            }
            let cache = connect::open(url).map_err(|error| Error::Config(format!("{name}: {error}")))?;
            caches = caches.with(alias, cache);
        }
        if !caches.0.contains_key(DEFAULT_ALIAS) {
            let of_platform = connect::of_platform(|name| variables.get(name).cloned())?;
            caches = caches.with(DEFAULT_ALIAS, of_platform.unwrap_or_else(Cache::memory));
        }
        Ok(caches.build())
    }

    /// Makes these the caches of the process, before the first [`Caches::process_default`] or [`Caches::process`].
    ///
    /// # Errors
    /// [`Error::Config`] where they are decided already, or where none has the alias `default`.
    pub fn install(caches: Caches) -> Result<(), Error> {
        caches.get(DEFAULT_ALIAS)?;
        let _deciding = DECIDING.lock().unwrap_or_else(PoisonError::into_inner);
        PROCESS.set(caches).map_err(|_| {
            Error::Config("the caches of the process are decided already: install them before the first use".to_owned())
        })
    }

    /// The caches of the process: the installed ones, else those of the environment, decided by the first who asks.
    ///
    /// # Errors
    /// As [`Caches::from_env`]; nothing is decided then.
    pub fn process() -> Result<Caches, Error> {
        if let Some(caches) = PROCESS.get() {
            return Ok(caches.clone());
        }
        let _deciding = DECIDING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(caches) = PROCESS.get() {
            return Ok(caches.clone());
        }
        let caches = Caches::from_env()?;
        Ok(PROCESS.get_or_init(|| caches).clone())
    }

    /// The cache that is meant where none is named: the `default` one of [`Caches::process`]. In memory unless it was
    /// installed or `CACHE_URL` says otherwise.
    ///
    /// # Errors
    /// As [`Caches::process`].
    pub fn process_default() -> Result<Cache, Error> {
        Caches::process()?.get(DEFAULT_ALIAS)
    }
}

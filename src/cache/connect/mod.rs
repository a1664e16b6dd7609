//! A cache out of one line of configuration: what `CACHE_URL` and `Cache::connect` understand.
//! A setting that is not understood is an error that names it and lists the known ones.

mod schemes;

use super::builder::CacheBuilder;
use super::{Cache, Timeout, Version};
use crate::backend::Patience;
use crate::backend::url::{OF_THE_CACHE, StoreUrl};
use crate::error::Error;

impl Cache {
    /// The cache that a URL names: `scheme://place?options`.
    ///
    /// | URL | store | feature |
    /// |---|---|---|
    /// | `memory://` | this process's memory: a new, empty [`Memory`](crate::backend::Memory) | |
    /// | `dummy://` | none ([`Dummy`](crate::backend::Dummy)) | |
    /// | `memcached://user:password@a:11211,b:11211`, `memcached+tls://host`, `memcached+unix:///run/memcached.sock` | memcached servers | `memcached` |
    /// | `redis://user:password@host:6379/0`, `rediss://host` (TLS), `redis+unix:///run/redis.sock`, `redis+cluster://a,b`, `redis+sentinel://a,b/name` | Redis | `redis` |
    /// | `file:///var/tmp/x` | a directory | `file` |
    /// | `sqlite:///var/lib/x.db`, `postgres://user:password@host/db`, `mysql://user:password@host/db` | a table of a database | `database` |
    ///
    /// | option | meaning | default |
    /// |---|---|---|
    /// | `timeout` | default timeout in whole seconds, or `never` (CFG-3) | 300 |
    /// | `key_prefix`, or `prefix` | what every final key begins with (KEY-3) | empty |
    /// | `version` | the version where none is named (KEY-2) | 1 |
    /// | `connect_timeout`, `get_timeout`, `set_timeout` | all but memory and dummy: how long calls may take, as in `250ms` or `2s` ([`Patience`](crate::backend::Patience)) | 250ms, 50ms, 250ms; what the store needs |
    /// | `breaker_failures`, `breaker_pause` | Redis, files and databases: after how many failures on end the store is left alone, and for how long; 0 for never (memcached's client watches each server by itself) | 5, 2s |
    /// | `max_bytes` | memory and files: the budget in bytes | 104857600; files: 1073741824 |
    /// | `max_entries` | files and databases: how many entries there may be | 100000 |
    ///
    /// The options of one store only stand with that store, in the module of its backend; for memcached they are those of
    /// its client's URL, such as `distribution=ketama`, `compress_over` and `when_down`.
    ///
    /// Nothing is connected yet: the first call that needs a connection opens it, and a server that is down is an error of
    /// that call. So caches can be [made from the environment](crate::Caches::from_env) where nothing can be awaited.
    ///
    /// Values, user names, passwords and paths are percent-encoded; schemes and names of options may be written in
    /// capitals. Where Django falls back to 300 for a `TIMEOUT` it cannot read, this is an error. No error repeats what
    /// stands between the scheme and the options, since that may be a password.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), larder::Error> {
    /// let cache = larder::Cache::connect("memory://?key_prefix=blog&timeout=600&max_bytes=8388608").await?;
    /// assert_eq!(cache.make_key("front"), "blog:1:front");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Config`] for an unknown scheme or option, or a value that cannot be read.
    pub async fn connect(url: &str) -> Result<Cache, Error> {
        open(url)
    }
}

/// The cache that a URL names. Nothing is connected yet.
pub(super) fn open(url: &str) -> Result<Cache, Error> {
    let mut url = StoreUrl::parse(url)?;
    let store = url.store(&[&OF_THE_CACHE[..], &Patience::OPTIONS].concat());
    let (backend, patience) = schemes::open_store(&mut url)?;
    // What lives in this process is another store for every cache.
    let store = backend.objects().is_none().then_some(store);
    let mut cache = CacheBuilder::new(backend).store(store).patience(patience);
    let timeout = url.take_as("timeout", "a whole number of seconds, or never", |timeout| match timeout {
        "never" => Some(Timeout::Never),
        seconds => seconds.parse::<i64>().ok().map(Timeout::from),
    })?;
    if let Some(timeout) = timeout {
        cache = cache.default_timeout(timeout);
    }
    match (url.take("key_prefix")?, url.take("prefix")?) {
        (Some(_), Some(_)) => return Err(url.refuse("the options \"key_prefix\" and \"prefix\" are one: give one")),
        (Some(prefix), None) | (None, Some(prefix)) => cache = cache.key_prefix(prefix),
        (None, None) => {}
    }
    if let Some(version) = url.take("version")? {
        cache = cache.version(Version::from(version));
    }
    Ok(cache.build())
}

/// The cache that the variables of a hosting platform name, if they name one.
#[cfg(feature = "memcached")]
pub(super) fn of_platform(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Cache>, Error> {
    Ok(crate::backend::memcached::Memcached::of_variables(variable)?.map(Cache::new))
}

/// No store of this build is named by such variables.
#[cfg(not(feature = "memcached"))]
pub(super) fn of_platform(_: impl Fn(&str) -> Option<String>) -> Result<Option<Cache>, Error> {
    Ok(None)
}

//! Every scheme of a cache URL: the feature it needs, the options of its own, and what opens its store.
//! `Cache::connect` looks schemes up here; a new store is one more entry, its options taken in its backend's room.

use std::sync::Arc;

use crate::backend::url::{OF_THE_CACHE, StoreUrl};
use crate::backend::{Backend, Dummy, Memory, Patience};
use crate::error::Error;

/// Opens the store of a URL. It connects nothing, needs no async runtime, and takes all options of its own: connections
/// are opened by the first call that needs one, since the caches of a process are made where nothing can be awaited.
type Open = fn(&mut StoreUrl) -> Result<Arc<dyn Backend>, Error>;

/// A kind of store, under the schemes that name it.
struct Scheme {
    names: &'static [&'static str],
    /// The feature of this crate that brings it; empty where it is always there.
    feature: &'static str,
    /// The options beside the common ones.
    options: &'static [&'static str],
    /// `None` where the build lacks the feature.
    open: Option<Open>,
}

/// What opens a store that a feature brings. Where the feature is off, the expression is not even looked at.
macro_rules! with_feature {
    ($feature:literal, $open:expr) => {{
        #[cfg(feature = $feature)]
        {
            Some($open as Open)
        }
        #[cfg(not(feature = $feature))]
        {
            None
        }
    }};
}

const SCHEMES: &[Scheme] = &[
    Scheme { names: &["memory"], feature: "", options: &["max_bytes"], open: Some(open_memory) },
    Scheme { names: &["dummy"], feature: "", options: &[], open: Some(open_dummy) },
    Scheme {
        names: &["memcached", "memcached+tls", "memcached+unix"],
        feature: "memcached",
        #[cfg(feature = "memcached")]
        options: crate::backend::memcached::OPTIONS,
        #[cfg(not(feature = "memcached"))]
        options: &[],
        open: with_feature!("memcached", open_memcached),
    },
    Scheme {
        names: &[
            "redis",
            "rediss",
            "redis+unix",
            "redis+cluster",
            "rediss+cluster",
            "redis+sentinel",
            "rediss+sentinel",
        ],
        feature: "redis",
        #[cfg(feature = "redis")]
        options: crate::backend::redis::OPTIONS,
        #[cfg(not(feature = "redis"))]
        options: &[],
        open: with_feature!("redis", open_redis),
    },
    Scheme {
        names: &["file"],
        feature: "file",
        #[cfg(feature = "file")]
        options: crate::backend::file::OPTIONS,
        #[cfg(not(feature = "file"))]
        options: &[],
        open: with_feature!("file", open_files),
    },
    Scheme {
        names: &["sqlite", "postgres", "postgresql", "mysql", "mariadb"],
        feature: "database",
        #[cfg(feature = "database")]
        options: crate::backend::database::OPTIONS,
        #[cfg(not(feature = "database"))]
        options: &[],
        open: with_feature!("database", open_database),
    },
];

/// What such stores are called in the URLs of django-environ and of others, for a hint.
const OTHER_NAMES: [(&str, &str); 12] = [
    ("locmem", "memory://"),
    ("locmemcache", "memory://"),
    ("dummycache", "dummy://"),
    ("filecache", "file:///path/of/a/directory"),
    ("memcache", "memcached://"),
    ("pymemcache", "memcached://"),
    ("rediscache", "redis://"),
    ("valkey", "redis://"),
    ("dbcache", "sqlite://, postgres:// or mysql://"),
    ("pgsql", "postgres://"),
    ("mysql2", "mysql://"),
    ("sqlite3", "sqlite://"),
];

fn open_memory(url: &mut StoreUrl) -> Result<Arc<dyn Backend>, Error> {
    refuse_place(url)?;
    let memory = Memory::builder();
    let memory = match url.take_number("max_bytes")? {
        Some(max_bytes) => memory.max_bytes(max_bytes),
        None => memory,
    };
    Ok(Arc::new(memory.build()))
}

fn open_dummy(url: &mut StoreUrl) -> Result<Arc<dyn Backend>, Error> {
    refuse_place(url)?;
    Ok(Arc::new(Dummy::default()))
}

#[cfg(feature = "memcached")]
fn open_memcached(url: &mut StoreUrl) -> Result<Arc<dyn Backend>, Error> {
    Ok(Arc::new(crate::backend::memcached::Memcached::of_url(url)?))
}

#[cfg(feature = "database")]
fn open_database(url: &mut StoreUrl) -> Result<Arc<dyn Backend>, Error> {
    Ok(Arc::new(crate::backend::DatabaseBuilder::of(url)?.build()?))
}

#[cfg(feature = "redis")]
fn open_redis(url: &mut StoreUrl) -> Result<Arc<dyn Backend>, Error> {
    Ok(Arc::new(crate::backend::RedisBuilder::read(url)?.build()?))
}

#[cfg(feature = "file")]
fn open_files(url: &mut StoreUrl) -> Result<Arc<dyn Backend>, Error> {
    Ok(Arc::new(crate::backend::FilesBuilder::read(url)?.build()?))
}

fn refuse_place(url: &StoreUrl) -> Result<(), Error> {
    match url.place() {
        "" | "//" => Ok(()),
        _ => Err(url.refuse(format_args!("it has neither host nor path: write {}://", url.scheme()))),
    }
}

/// Opens the store of a URL, and says how patient to be with it. The options of the cache are still to be taken.
///
/// # Errors
/// [`Error::Config`] for a scheme that nothing opens, and for an option that is not known to it.
pub(super) fn open_store(url: &mut StoreUrl) -> Result<(Arc<dyn Backend>, Option<Patience>), Error> {
    let name = url.scheme();
    let Some(scheme) = SCHEMES.iter().find(|scheme| scheme.names.contains(&name)) else {
        let meant = OTHER_NAMES.iter().find(|(other, _)| *other == name);
        let meant = meant.map(|(_, ours)| format!(" (write {ours})")).unwrap_or_default();
        let known = known_schemes();
        return Err(Error::Config(format!("unknown cache scheme {name:?}{meant}: this build knows {known}")));
    };
    let open = scheme.open.ok_or_else(|| {
        Error::Config(format!(
            "the cache scheme {name:?} needs the feature {:?} of the crate larder, which this build does not have: it \
             knows {}",
            scheme.feature,
            known_schemes()
        ))
    })?;
    let of_guard = match scheme.feature {
        "" => &[],
        // Its client watches each server by itself.
        "memcached" => &Patience::OPTIONS[..3],
        _ => &Patience::OPTIONS[..],
    };
    let known = [&OF_THE_CACHE, of_guard, scheme.options].concat();
    if let Some(unknown) = url.options().find(|option| !known.contains(option)) {
        let why = match unknown {
            "max_entries" if name == "memory" => ", which counts bytes and no entries",
            "breaker_failures" | "breaker_pause" if name.starts_with("memcached") => {
                ", whose client leaves each server alone by itself"
            }
            "max_entries" => ", which has no bound of its own: its server has",
            _ => "",
        };
        let known = known.join(", ");
        return Err(Error::Config(format!("unknown option {unknown:?} of a {name} cache{why}: known are {known}")));
    }
    let backend = open(url)?;
    let patience = backend.patience().map(|patience| patience.changed_by(url)).transpose()?;
    match url.options().find(|option| !OF_THE_CACHE.contains(option)) {
        Some(left) => Err(url.refuse(format_args!("the option {left:?} means nothing with what else it says"))),
        None => Ok((backend, patience)),
    }
}

fn known_schemes() -> String {
    let known = SCHEMES.iter().filter(|scheme| scheme.open.is_some());
    known.flat_map(|scheme| scheme.names).copied().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_stores_have_one_scheme() {
        let names: Vec<&str> = SCHEMES.iter().flat_map(|scheme| scheme.names).copied().collect();
        let distinct: std::collections::BTreeSet<&str> = names.iter().copied().collect();
        assert_eq!(names.len(), distinct.len());
    }
}

//! A layer at work: what it was told, the cache it keeps its pages in, and the addresses it reads off requests.
//! The layer makes it, everything that works on a request shares it.

use std::sync::OnceLock;
use std::time::Duration;

use http::HeaderMap;

use super::address::{Address, Left, Origin, target_of};
use super::begun::Expectation;
use super::facts::RequestFacts;
use super::policy::{Rules, Times};
use super::reason::Reason;
use super::tags::Tags;
use super::text::key_scheme::KeyScheme;
use super::text::likely::Likely;
use crate::cache::{Cache, Caches};
use crate::locale::{Language, TimeZone};

/// What a layer was told.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) prefix: String,
    pub(crate) scheme: KeyScheme,
    pub(crate) language: Option<Language>,
    pub(crate) time_zone: Option<TimeZone>,
    pub(crate) origin: Origin,
    pub(crate) rules: Rules,
    pub(crate) times: Times,
    /// How long a handler may take before a stale page stands in that may.
    pub(crate) patience: Option<Duration>,
    /// The beta of XFetch.
    pub(crate) early_refresh: Option<f64>,
    pub(crate) most_variants: usize,
    /// The tags of every page.
    pub(crate) tags: Tags,
    pub(crate) crowd: Crowd,
    pub(crate) status_name: Option<String>,
}

/// What is done where many ask at once for a page that is not there.
#[derive(Clone, Debug)]
pub(crate) struct Crowd {
    /// One runs the handler for all.
    pub(crate) is_led: bool,
    /// How long one waits for another's page, all told.
    pub(crate) longest_wait: Duration,
    /// How many wait for one page.
    pub(crate) most_waiters: usize,
    /// A fill goes on to its end even where nobody waits for it any more.
    pub(crate) finishes_fills: bool,
    /// One runs the handler for all processes, by a lease that lives so long.
    pub(crate) lease: Option<Duration>,
}

impl Default for Crowd {
    fn default() -> Self {
        let (longest_wait, most_waiters) = (Duration::from_secs(5), 1024);
        Crowd { is_led: true, longest_wait, most_waiters, finishes_fills: false, lease: None }
    }
}

/// A layer's settings and the cache it keeps its pages in, once that is known.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    pub(crate) settings: Settings,
    cache: OnceLock<Cache>,
    /// Which of the process's caches it is, where none was named itself; the default one where this says nothing either.
    alias: Option<String>,
    /// What its pages lately varied on.
    pub(crate) likely: Likely,
    pub(crate) expectation: Expectation,
}

impl Site {
    pub(crate) fn new(settings: Settings) -> Self {
        let (likely, expectation) = Default::default();
        Site { settings, cache: OnceLock::new(), alias: None, likely, expectation }
    }

    /// Names the cache, over the one it had.
    pub(crate) fn name_cache(&mut self, cache: &Cache) {
        self.cache = OnceLock::from(cache.clone());
    }

    /// Names one of the process's caches, over the one it had.
    pub(crate) fn name_alias(&mut self, alias: String) {
        self.cache = OnceLock::new();
        self.alias = Some(alias);
    }

    /// The cache of the pages: the one that was named, or the process-wide default.
    pub(crate) fn cache(&self) -> &Cache {
        self.cache.get_or_init(|| {
            let found = match &self.alias {
                Some(alias) => Caches::process().and_then(|caches| caches.get(alias)),
                None => Caches::process_default(),
            };
            found.unwrap_or_else(|error| {
                panic!(
                    "a cache layer has no cache to keep its pages in: {error}; name one with `.cache(&cache)`, or correct \
                     the variable"
                )
            })
        })
    }

    /// The address of a request as this layer keys it.
    pub(crate) fn address<'a>(
        &'a self,
        headers: &'a HeaderMap,
        facts: &RequestFacts<'a>,
        left: Left<'a>,
    ) -> Result<Address<'a>, Reason> {
        let settings = &self.settings;
        let Left { uri, language, time_zone } = left;
        let (scheme, (authority, port)) = settings.origin.locate(headers, facts, uri, settings.scheme)?;
        Ok(Address {
            prefix: &settings.prefix,
            scheme,
            authority,
            port,
            target: target_of(uri),
            language: language.or(settings.language.as_ref()),
            time_zone: time_zone.or(settings.time_zone.as_ref()),
        })
    }

    /// Whether two layers keep their pages in the same place, so that one would overwrite the other's.
    pub(crate) fn is_same_place(&self, other: &Site) -> bool {
        self.cache().is_on_store_of(other.cache())
            && self.cache().scope() == other.cache().scope()
            && self.settings.prefix == other.settings.prefix
            && self.settings.scheme == other.settings.scheme
    }
}

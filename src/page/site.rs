//! A layer at work: what it was told, the cache it keeps its pages in, and the addresses it reads off requests.
//! The layer makes it, everything that works on a request shares it.

use std::sync::{Arc, OnceLock};

use http::Request;

use super::address::{Address, Origin, original_uri, target_of};
use super::facts::RequestFacts;
use super::key_scheme::KeyScheme;
use super::policy::Rules;
use super::reason::Reason;
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
    pub(crate) most_variants: usize,
    pub(crate) status_name: Option<String>,
}

/// A layer's settings and the cache it keeps its pages in, once that is known.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    pub(crate) settings: Settings,
    cache: OnceLock<Cache>,
}

impl Site {
    pub(crate) fn new(settings: Settings) -> Self {
        Site { settings, cache: OnceLock::new() }
    }

    /// Names the cache, over the one it had.
    pub(crate) fn name_cache(&mut self, cache: &Cache) {
        self.cache = OnceLock::from(cache.clone());
    }

    /// The cache of the pages: the one that was named, or the process-wide default.
    pub(crate) fn cache(&self) -> &Cache {
        self.cache.get_or_init(|| {
            Caches::process_default()
                .unwrap_or_else(|error| panic!("a cache layer without a cache of its own needs the default: {error}"))
        })
    }

    /// The address of a request as this layer keys it.
    pub(crate) fn address<'a, B>(
        &'a self,
        request: &'a Request<B>,
        facts: &RequestFacts<'a>,
    ) -> Result<Address<'a>, Reason> {
        let settings = &self.settings;
        let uri = original_uri(request);
        let (scheme, (authority, port)) = settings.origin.locate(request.headers(), facts, uri, settings.scheme)?;
        Ok(Address {
            prefix: &settings.prefix,
            scheme,
            authority,
            port,
            target: target_of(uri),
            language: request.extensions().get().or(settings.language.as_ref()),
            time_zone: request.extensions().get().or(settings.time_zone.as_ref()),
        })
    }

    /// Whether two layers keep their pages in the same place, so that one would overwrite the other's.
    pub(crate) fn is_same_place(&self, other: &Site) -> bool {
        Arc::ptr_eq(self.cache().backend(), other.cache().backend())
            && self.cache().scope() == other.cache().scope()
            && self.settings.prefix == other.settings.prefix
            && self.settings.scheme == other.settings.scheme
    }
}

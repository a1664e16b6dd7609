//! What a text store is asked for on behalf of one visit, in one round trip: what is known of the URL, its stamp, and the
//! pages that have the `Vary` values that pages of the site lately had. The text store takes the answers out of it.

use std::ops::Range;
use std::sync::Arc;

use http::Method;
use smallvec::SmallVec;

use super::key::TextKeys;
use super::known::Known;
use super::likely::LikelyVary;
use crate::backend::Stored;
use crate::cache::Read;
use crate::cache::stamps::Stamp;
use crate::error::Error;
use crate::page::begun::Counters;
use crate::page::site::Site;
use crate::page::visit::Visit;

/// The keys to ask for, and then what lies under them.
pub(crate) struct Inquiry<'a> {
    site: &'a Site,
    /// The key of what is known of the URL and that of its stamp, those of the counters that a fill must know if one is
    /// expected, then those of likely pages.
    keys: Vec<String>,
    /// How many of the first keys are no guesses.
    needed: usize,
    /// Where the counters begin and end.
    counters: Range<usize>,
    /// As many as were asked for.
    answers: Read,
    likely: Arc<Vec<LikelyVary>>,
    /// Where the keys of each likely `Vary` stand.
    likely_keys: SmallVec<[Positions; 3]>,
}

/// Where the keys of the pages with one `Vary` stand that can answer a visit; empty where the backend takes no such key.
type Positions = SmallVec<[usize; 2]>;

impl<'a> Inquiry<'a> {
    /// The keys for a visit.
    ///
    /// # Errors
    /// [`Error::Key`] where the backend does not take the keys of the URL.
    pub(crate) fn new(site: &'a Site, visit: &Visit, text: &TextKeys, expects_miss: bool) -> Result<Self, Error> {
        let likely = site.likely.values();
        let room = 2 + 2 * usize::from(expects_miss) + methods(visit).len() * likely.len();
        let mut keys = Vec::with_capacity(room);
        keys.push(site.cache().written_key(text.header().len(), |out| out.push_str(text.header()))?);
        keys.push(site.cache().written_key(text.stamp().len(), |out| out.push_str(text.stamp()))?);
        let needed = keys.len();
        if expects_miss {
            keys.extend(Counters::of(site.cache(), text)?.0);
        }
        let counters = needed..keys.len();
        let mut likely_keys = SmallVec::new();
        for vary in likely.iter() {
            let mut positions = Positions::new();
            for key in page_keys(site, visit, text, vary.names(visit.has_language)).unwrap_or_default() {
                positions.push(position_or_push(&mut keys, counters.end, key));
            }
            likely_keys.push(positions);
        }
        Ok(Inquiry { site, keys, needed, counters, answers: Read::default(), likely, likely_keys })
    }

    /// Asks. The first keys are needed, the others are guesses: where the server of one of them is down, the first are asked
    /// for alone.
    ///
    /// # Errors
    /// The backend's.
    pub(crate) async fn ask(&mut self) -> Result<(), Error> {
        let cache = self.site.cache();
        self.answers = match cache.read_jointly(&self.keys).await {
            Err(Error::Unavailable { server: Some(_), .. }) if self.keys.len() > self.needed => {
                cache.read_jointly(&self.keys[..self.needed]).await?
            }
            answers => answers?,
        };
        Ok(())
    }

    /// What is known of the URL.
    pub(crate) fn known(&self) -> Option<Known> {
        self.answers.first()?.as_ref().and_then(Known::read)
    }

    /// The stamp of the URL.
    pub(crate) fn stamp(&self) -> Option<Stamp> {
        self.answers.get(1)?.as_ref().and_then(Stamp::read)
    }

    /// What lies under the keys of the counters, if they were asked for.
    pub(crate) fn counted(&self) -> Option<&[Option<Stored>]> {
        self.answers.get(self.counters.clone()).filter(|counted| !counted.is_empty())
    }

    /// What lies under the keys of the pages with these `Vary` values. Where pages are not what they lately were, that takes
    /// another round trip.
    ///
    /// # Errors
    /// The backend's, and [`Error::Key`] where it does not take the key of a page.
    pub(crate) async fn pages<'v>(
        &mut self,
        visit: &Visit,
        varies: impl Iterator<Item = Option<&'v str>>,
    ) -> Result<SmallVec<[Stored; 2]>, Error> {
        let mut pages = SmallVec::new();
        let mut unasked = Vec::new();
        let mut seen = Positions::new();
        for vary in varies {
            let likely = self.likely.iter().position(|likely| likely.text() == vary);
            let positions = match likely.and_then(|likely| self.likely_keys.get(likely)) {
                Some(positions) if !positions.is_empty() => positions.clone(),
                _ => self.positions_of(visit, vary)?,
            };
            for position in positions {
                if seen.contains(&position) {
                    continue;
                }
                seen.push(position);
                if let Some(answer) = self.answers.get(position) {
                    pages.extend(answer.clone());
                } else if let Some(key) = self.keys.get(position) {
                    unasked.push(key.clone());
                }
            }
        }
        if !unasked.is_empty() {
            pages.extend(self.site.cache().backend().get_many(&unasked).await?.into_iter().flatten());
        }
        Ok(pages)
    }

    /// Where the keys of the pages with an unlikely `Vary` stand, which it is no more from now on.
    fn positions_of(&mut self, visit: &Visit, vary: Option<&str>) -> Result<Positions, Error> {
        let (site, Some(text)) = (self.site, &visit.text) else { return Ok(Positions::new()) };
        let names = site.settings.scheme.header_names(vary, visit.has_language);
        let keys = page_keys(site, visit, text, &names)?;
        if keys.iter().any(|key| !self.keys.contains(key)) {
            site.likely.note(vary, site.settings.scheme);
        }
        Ok(keys.into_iter().map(|key| position_or_push(&mut self.keys, self.counters.end, key)).collect())
    }
}

/// The methods of the pages that can answer a visit: a HEAD is answered from a GET page too.
fn methods(visit: &Visit) -> &'static [Method] {
    if visit.is_head { &[Method::GET, Method::HEAD] } else { &[Method::GET] }
}

/// The keys of the pages that vary on these names and can answer the visit.
fn page_keys(site: &Site, visit: &Visit, text: &TextKeys, names: &[String]) -> Result<SmallVec<[String; 2]>, Error> {
    let digest = text.headers_digest(names, &visit.headers);
    let mut keys = SmallVec::new();
    for method in methods(visit) {
        keys.push(site.cache().written_key(text.longest(), |out| text.write_page(out, method, &digest))?);
    }
    Ok(keys)
}

/// The position of a key, which is looked for from `first` on.
fn position_or_push(keys: &mut Vec<String>, first: usize, key: String) -> usize {
    let known = keys.iter().skip(first).position(|other| *other == key);
    known.map_or_else(
        || {
            keys.push(key);
            keys.len() - 1
        },
        |known| first + known,
    )
}

//! What is known of purges and deletions when a fill begins, before its handler runs: what comes later must not be outlived
//! by the page. The visit carries it, the stores hold the page against it (safety rule 20).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::text::key::TextKeys;
use crate::backend::Stored;
use crate::cache::Cache;
use crate::cache::stamps::{Count, Stamp, count_of};
use crate::error::Error;

/// What was known.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Begun {
    /// How many purges a store in this process had seen.
    pub(crate) purges_in_memory: u64,
    /// The stamp of the URL, if one was in its place.
    pub(crate) stamp: Option<Stamp>,
    /// What the counter of deletions said.
    pub(crate) deletions: Option<Count>,
    /// What the counter of purged tags said.
    pub(crate) purges: Option<Count>,
}

/// The final keys of the two counters.
pub(crate) struct Counters(pub(crate) [String; 2]);

impl Counters {
    /// Those for the URL of these keys.
    pub(crate) fn of(cache: &Cache, keys: &TextKeys) -> Result<Self, Error> {
        Ok(Counters([cache.deletions_key(keys.url_digest())?, cache.purges_key()?]))
    }

    /// Takes down what they say, given what was found under them; one that is not there is begun.
    pub(crate) async fn note(&self, cache: &Cache, found: &[Option<Stored>], begun: &mut Begun) -> Result<(), Error> {
        let Counters([deletions, purges]) = self;
        let found = |position: usize| found.get(position).and_then(Option::as_ref);
        begun.deletions = count_of(cache, deletions, found(0)).await?;
        begun.purges = count_of(cache, purges, found(1)).await?;
        Ok(())
    }

    /// Asks for what they say. Where the server of the second is down, only pages with tags cannot be stored.
    pub(crate) async fn ask(&self, cache: &Cache, begun: &mut Begun) -> Result<(), Error> {
        let Counters(keys) = self;
        match cache.backend().get_many(keys).await {
            Err(Error::Unavailable { server: Some(_), .. }) => {
                let found = cache.backend().get(&keys[0]).await?;
                begun.deletions = count_of(cache, &keys[0], found.as_ref()).await?;
                Ok(())
            }
            found => self.note(cache, &found?, begun).await,
        }
    }
}

/// Whether the next look-up of a layer is likely to find nothing, as the last one did: then it asks for the counters at
/// once, and neither hits nor misses that come in rows cost a round trip more.
#[derive(Clone, Debug)]
pub(crate) struct Expectation(Arc<AtomicBool>);

impl Default for Expectation {
    fn default() -> Self {
        Expectation(Arc::new(AtomicBool::new(true)))
    }
}

impl Expectation {
    pub(crate) fn is_miss(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn note(&self, is_miss: bool) {
        // Looked at first: to write what is there already would take the line from other threads.
        if self.is_miss() != is_miss {
            self.0.store(is_miss, Ordering::Relaxed);
        }
    }
}

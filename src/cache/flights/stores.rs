//! Pages on their way into a store that answers later: how many may be stored behind their responses, and how one waits
//! until all of them are there. The page floor takes places here; whoever closes the cache waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::heard;

/// How many pages of one cache are stored behind their responses at once.
const MOST_BEHIND: usize = 64;

/// The pages of one cache that are being stored.
pub(crate) struct Stores {
    /// Places for pages that are stored behind their responses: each holds its page until then, so there must be an end to
    /// them.
    behind: Arc<Semaphore>,
    under_way: AtomicUsize,
    none_is_under_way: Notify,
}

impl Default for Stores {
    fn default() -> Self {
        Stores {
            behind: Arc::new(Semaphore::new(MOST_BEHIND)),
            under_way: AtomicUsize::new(0),
            none_is_under_way: Notify::new(),
        }
    }
}

impl Stores {
    /// A place for a page that is to be stored behind its response; `None` where the store does not keep up, so that its
    /// visitor has to wait for it.
    pub(crate) fn place_behind(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.behind).try_acquire_owned().ok()
    }

    /// A page is on its way until this is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> UnderWay {
        self.under_way.fetch_add(1, Ordering::AcqRel);
        UnderWay { stores: Arc::clone(self) }
    }

    /// Waits until no page is on its way. Cancel-safe.
    pub(crate) async fn all_are_there(&self) {
        heard(&self.none_is_under_way, || (!self.is_under_way()).then_some(())).await;
    }

    /// Whether a page is on its way.
    pub(crate) fn is_under_way(&self) -> bool {
        self.under_way.load(Ordering::Acquire) != 0
    }
}

/// A page on its way into the store.
pub(crate) struct UnderWay {
    stores: Arc<Stores>,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if self.stores.under_way.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.stores.none_is_under_way.notify_waiters();
        }
    }
}

//! What the memory store keeps under a key, and what it weighs.
//! The store and its weigher use it; nobody outside this folder does.

use std::sync::Arc;

use super::super::{Object, Stored};
use crate::clock::Timestamp;

/// What an entry costs beside its key and its value, in bytes: the hash table's slot, moka's two list nodes, its
/// bookkeeping, the reference counts and the allocator's rounding. Measured as resident bytes for each of 200,000 entries
/// on 64-bit Linux (see `benches/memory`), rounded up.
pub(super) const OVERHEAD: usize = 480;

/// A stored value and the moment from which it is dead.
pub(super) struct Item {
    pub(super) stored: Stored,
    pub(super) expires_at: Timestamp,
}

/// One entry. Sixteen bytes, because the cache around it copies it often.
#[derive(Clone)]
pub(super) enum Entry {
    Bytes(Arc<Item>),
    Object(Arc<dyn Object>),
}

const _: () = assert!(size_of::<Entry>() == 16);

impl Entry {
    pub(super) fn bytes(stored: Stored, expires_at: Timestamp) -> Self {
        Entry::Bytes(Arc::new(Item { stored, expires_at }))
    }

    pub(super) fn as_object(&self) -> Option<&Arc<dyn Object>> {
        match self {
            Entry::Object(object) => Some(object),
            Entry::Bytes(_) => None,
        }
    }

    pub(super) fn expires_at(&self) -> Timestamp {
        match self {
            Entry::Bytes(item) => item.expires_at,
            Entry::Object(object) => object.expires_at(),
        }
    }

    /// Dead from the very instant it expires on (LOC-3).
    pub(super) fn is_dead(&self, now: Timestamp) -> bool {
        now >= self.expires_at()
    }

    pub(super) fn value_size(&self) -> usize {
        match self {
            Entry::Bytes(item) => item.stored.data.len(),
            Entry::Object(object) => object.weight(),
        }
    }

    /// What it takes from the budget, in bytes, key and bookkeeping included.
    pub(super) fn weight(&self, key: &[u8]) -> usize {
        self.value_size().saturating_add(key.len()).saturating_add(OVERHEAD)
    }
}

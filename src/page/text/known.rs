//! What a byte store knows about a URL: which `Vary` values its pages had, as bytes and back.
//! The text store keeps one list of these for each URL, beside the pages themselves.

use bytes::{BufMut, Bytes};
use http::HeaderName;
use smallvec::SmallVec;

use crate::backend::envelope::PICKLED_NONE;
use crate::backend::{Stored, flags};
use crate::clock::Timestamp;
use crate::page::pieces::{Pieces, write_piece};
use crate::page::policy::is_fresh;

/// Which `Vary` values the pages of a URL had, the newest first, and in which generation.
///
/// Every list is kept until its last page is of no use even when stale, so that a page with another `Vary` does not make the others
/// unreachable. The generation is new whenever the list is: pages of an older one, left over from a deleted list, are
/// never read again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) generation: Option<u64>,
    pub(crate) lists: SmallVec<[VaryList; 1]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VaryList {
    /// The text of `Vary`; `None` where there was no such header.
    pub(crate) vary: Option<String>,
    /// When the last of its pages is of no use any more.
    dead_at: Timestamp,
}

/// How many different `Vary` values of one URL are looked for; sites have one or two.
const MOST_LISTS: usize = 8;
const VERSION: u8 = 2;

impl Known {
    /// What to keep under the key of the URL. A Django that shares the store takes it for `None`, which is a miss.
    pub(crate) fn write(&self) -> Stored {
        let mut out = PICKLED_NONE.to_vec();
        out.put_u8(VERSION);
        out.put_u64_le(self.generation.unwrap_or_default());
        for list in &self.lists {
            out.put_u64_le(list.dead_at.as_nanos());
            out.put_u8(u8::from(list.vary.is_some()));
            write_piece(&mut out, list.vary.as_deref().unwrap_or_default().as_bytes());
        }
        Stored { data: Bytes::from(out), flags: flags::HEADER_LISTS }
    }

    /// Reads what was kept. Whatever is not exactly that, such as what Django keeps under the same key, is `None`: a miss.
    pub(crate) fn read(stored: &Stored) -> Option<Self> {
        if stored.flags != flags::HEADER_LISTS {
            return None;
        }
        let mut pieces = Pieces::of(&stored.data);
        if pieces.array()? != PICKLED_NONE || pieces.array()? != [VERSION] {
            return None;
        }
        let generation = Some(u64::from_le_bytes(pieces.array()?));
        let mut lists = SmallVec::new();
        while !pieces.is_at_end() {
            // Each is another key to ask for, and more than these were never written.
            if lists.len() == MOST_LISTS {
                return None;
            }
            let dead_at = Timestamp::from_nanos(u64::from_le_bytes(pieces.array()?));
            let [is_some] = pieces.array()?;
            let vary = std::str::from_utf8(pieces.piece()?).ok()?.to_owned();
            lists.push(VaryList { vary: (is_some == 1).then_some(vary), dead_at });
        }
        Some(Known { generation, lists })
    }

    /// With one more page: its list comes first, lists without a living page go.
    pub(crate) fn with(mut self, vary: Option<String>, dead_at: Timestamp, now: Timestamp) -> Self {
        let known = self.lists.iter().find(|list| list.vary == vary).map(|list| list.dead_at);
        self.lists.retain(|list| list.vary != vary && is_fresh(list.dead_at, now));
        let dead_at = known.map_or(dead_at, |known| known.max(dead_at));
        self.lists.insert(0, VaryList { vary, dead_at });
        self.lists.truncate(MOST_LISTS);
        self.generation = Some(self.generation.unwrap_or_else(new_generation));
        self
    }

    /// The `Vary` values that may have a page that is of use, fresh or stale.
    pub(crate) fn living(&self, now: Timestamp) -> impl Iterator<Item = Option<&str>> {
        self.lists.iter().filter(move |list| is_fresh(list.dead_at, now)).map(|list| list.vary.as_deref())
    }

    pub(crate) fn dead_at(&self) -> Timestamp {
        self.lists.iter().map(|list| list.dead_at).max().unwrap_or(Timestamp::NEVER)
    }

    /// What the pages vary on, all lists taken together; what is no name of a header is left out.
    pub(crate) fn names(&self) -> Vec<HeaderName> {
        let lists = self.lists.iter().filter_map(|list| list.vary.as_deref());
        let names = lists.flat_map(|vary| vary.split(','));
        let mut names: Vec<HeaderName> = names.filter_map(|name| name.trim().parse().ok()).collect();
        names.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
        names.dedup();
        names
    }
}

fn new_generation() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_000);

    fn known(lists: usize) -> Known {
        (0..lists).fold(Known::default(), |known, list| {
            known.with(Some(format!("x-{list}")), NOW.after(std::time::Duration::from_secs(60)), NOW)
        })
    }

    #[test]
    fn as_many_lists_as_are_kept_read_back() {
        let known = known(MOST_LISTS + 1);
        assert_eq!(known.lists.len(), MOST_LISTS);
        assert_eq!(Known::read(&known.write()), Some(known));
    }

    #[test]
    fn rule_21_more_lists_than_are_ever_kept_are_a_miss() {
        let mut forged = known(MOST_LISTS);
        forged.lists.push(VaryList { vary: None, dead_at: NOW });
        assert_eq!(Known::read(&forged.write()), None);
    }
}

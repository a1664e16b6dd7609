//! Pages in this process's memory: one object per address, with the pages of all its variants ready to be answered.
//! The fill stands them into a backend that keeps objects; the service finds them by one look-up with a borrowed key.

use std::any::Any;
use std::cmp::Reverse;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{AGE, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};

use super::frame::Page;
use super::head::read_head;
use super::policy::is_fresh;
use super::reason::{Forward, Reason};
use super::staleness::Worth;
use super::variant::{self, Seen};
use crate::backend::{Object, Objects};
use crate::clock::Timestamp;

/// The pages of one address, the newest first. Most addresses have one page that was never asked for again: it is kept
/// in as few bytes as can be, and what others have besides stands apart.
pub(crate) struct Shelf {
    newest: Page,
    more: Option<Box<More>>,
}

/// What not every shelf has.
struct More {
    /// The head of the newest page, once it was made ready.
    ready: Option<Arc<Ready>>,
    others: Box<[Shelved]>,
}

/// A page, and its head made ready once it was asked for.
#[derive(Clone)]
struct Shelved {
    page: Page,
    ready: Option<Arc<Ready>>,
}

/// That no page on a shelf is fresh for a request.
pub(crate) struct Missed {
    pub(crate) why: Forward,
    /// The position of the newest stale page for it that is still of use.
    pub(crate) stale: Option<usize>,
}

/// A head that only has to be cloned, and the body beside it.
pub(crate) struct Ready {
    pub(crate) head: HeaderMap,
    /// The response had a `Content-Length`, so its hits have it; else the one in `head` is but a place.
    pub(crate) says_length: bool,
    pub(crate) body: Bytes,
}

impl Shelved {
    fn weight(&self) -> usize {
        size_of::<Shelved>() + self.page.size() + self.ready.as_ref().map_or(0, |ready| ready.weight())
    }
}

impl Ready {
    /// The head of a page as [`answer`](super::answer::answer) wants it. `None` if what was stored makes no head.
    ///
    /// `Age` comes first, where it is overwritten without a look-up. Where the response had no `Content-Length`, one that
    /// says nothing comes last: it leaves a hit's head with room for one more header when it is taken out, and axum adds
    /// that very header behind every route (to grow a map of exactly its size cost a third of a hit inside a router).
    pub(crate) fn of(page: &Page) -> Option<Self> {
        let Ready { mut head, says_length, body } = Ready::for_once(page)?;
        if !says_length {
            head.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        // A clone has no room to spare, where the original may have half as much again.
        Some(Ready { head: head.clone(), says_length, body })
    }

    /// The same, to be answered once and not kept: no length stands for a place.
    pub(crate) fn for_once(page: &Page) -> Option<Self> {
        let mut head = read_head(&page.head(), |head| {
            head.insert(AGE, HeaderValue::from_static("0"));
        })?;
        let body = page.body();
        let says_length = page.is_head || head.contains_key(CONTENT_LENGTH);
        if says_length && !page.is_head {
            head.insert(CONTENT_LENGTH, HeaderValue::from(body.len() as u64));
        }
        Some(Ready { head, says_length, body })
    }

    /// Measured as resident bytes for each of 200,000 pages (`benches/memory`): a map keeps 104 bytes for a header, values
    /// and what counts their users the rest.
    fn weight(&self) -> usize {
        size_of::<Ready>() + 180 * self.head.len()
    }
}

impl Shelf {
    fn of(mut pages: Vec<Shelved>) -> Option<Self> {
        let others = pages.split_off(pages.len().min(1));
        let Shelved { page: newest, ready } = pages.pop()?;
        let has_more = ready.is_some() || !others.is_empty();
        let more = has_more.then(|| Box::new(More { ready, others: others.into() }));
        Some(Shelf { newest, more })
    }

    fn others(&self) -> &[Shelved] {
        self.more.as_ref().map_or(&[], |more| &more.others)
    }

    /// The page at a position that [`Shelf::find`] gave, and its head if it is ready.
    pub(crate) fn at(&self, position: usize) -> (&Page, Option<&Arc<Ready>>) {
        match position.checked_sub(1).and_then(|other| self.others().get(other)) {
            Some(other) => (&other.page, other.ready.as_ref()),
            None => (&self.newest, self.more.as_ref().and_then(|more| more.ready.as_ref())),
        }
    }

    fn pages(&self) -> impl Iterator<Item = &Page> {
        std::iter::once(&self.newest).chain(self.others().iter().map(|other| &other.page))
    }

    fn shelved(&self) -> impl Iterator<Item = Shelved> {
        let pages = self.pages().enumerate();
        pages.map(|(position, page)| Shelved { page: page.clone(), ready: self.at(position).1.cloned() })
    }

    /// Whether one of the pages has a tag that was purged.
    pub(crate) fn has_purged(&self, objects: &dyn Objects) -> bool {
        self.pages().any(|page| is_purged(page, objects))
    }

    /// The position of the page for a request: the newest that is fresh and was made for its like; a HEAD is answered from
    /// a GET page first (MID-25). Where none is fresh, the stale ones are gone through in the same order.
    pub(crate) fn find(
        &self,
        is_head: bool,
        seen: Option<&Seen<'_>>,
        headers: &HeaderMap,
        may_answer: impl Fn(&Page) -> bool,
        now: Timestamp,
    ) -> Result<usize, Missed> {
        let answers = |page: &Page| {
            is_fresh(page.expires_at, now) && variant::is_for(page.variant(), seen, headers) && may_answer(page)
        };
        // Nearly every request.
        if !self.newest.is_head && answers(&self.newest) {
            return Ok(0);
        }
        self.position(is_head, answers).ok_or_else(|| self.miss(is_head, seen, headers, may_answer, now))
    }

    /// The position of the newest page that `answers`; for a HEAD a GET page goes first.
    fn position(&self, is_head: bool, answers: impl Fn(&Page) -> bool) -> Option<usize> {
        let of_method = |is_head_page| self.pages().position(|page| page.is_head == is_head_page && answers(page));
        match of_method(false) {
            None if is_head => of_method(true),
            found => found,
        }
    }

    #[cold]
    fn miss(
        &self,
        is_head: bool,
        seen: Option<&Seen<'_>>,
        headers: &HeaderMap,
        may_answer: impl Fn(&Page) -> bool,
        now: Timestamp,
    ) -> Missed {
        let is_for = |page: &Page| variant::is_for(page.variant(), seen, headers);
        let is_stale = self.pages().any(|page| !is_fresh(page.expires_at, now) && is_for(page));
        let is_of_use = |page: &Page| page.worth(now) != Worth::Dead && is_for(page) && may_answer(page);
        let stale = self.position(is_head, is_of_use);
        Missed { why: if is_stale { Forward::Stale } else { Forward::VaryMiss }, stale }
    }
}

impl Page {
    /// What it varies on.
    pub(crate) fn varies_on(&self) -> Vec<HeaderName> {
        vary_together([self])
    }
}

impl Shelf {
    /// What its pages vary on, taken together.
    pub(crate) fn varies_on(&self) -> Vec<HeaderName> {
        vary_together(self.pages())
    }
}

fn vary_together<'a>(pages: impl IntoIterator<Item = &'a Page>) -> Vec<HeaderName> {
    let names = pages.into_iter().filter_map(|page| variant::names(page.variant()));
    let mut names: Vec<HeaderName> = names.flatten().collect();
    names.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
    names.dedup();
    names
}

impl Object for Shelf {
    fn weight(&self) -> usize {
        let more = self.more.as_ref().map_or(0, |more| {
            let ready = more.ready.as_ref().map_or(0, |ready| ready.weight());
            size_of::<More>() + ready + more.others.iter().map(Shelved::weight).sum::<usize>()
        });
        size_of::<Shelf>() + self.newest.size() + more
    }

    fn expires_at(&self) -> Timestamp {
        self.pages().map(Page::dead_at).max().unwrap_or(Timestamp::NEVER)
    }
}

/// Whether a page on a shelf has a tag that was purged since it was begun.
pub(crate) fn is_purged(page: &Page, objects: &dyn Objects) -> bool {
    page.tagged.as_ref().is_some_and(|tagged| tagged.is_purged(objects))
}

/// The shelf that an object is.
pub(crate) fn as_shelf(object: &dyn Object) -> Option<&Shelf> {
    (object as &dyn Any).downcast_ref()
}

/// Keeps a head that was made ready, for the next hit, unless the shelf has changed meanwhile.
pub(crate) fn keep_ready(
    objects: &dyn Objects,
    address: &[u8],
    object: &Arc<dyn Object>,
    position: usize,
    ready: Arc<Ready>,
) {
    let Some(shelf) = as_shelf(&**object) else { return };
    let mut pages: Vec<Shelved> = shelf.shelved().collect();
    if let Some(shelved) = pages.get_mut(position) {
        shelved.ready = Some(ready);
    }
    if let Some(refined) = Shelf::of(pages) {
        objects.refine(address, object, Arc::new(refined));
    }
}

/// Takes a page away that turned out to be gone, unless it is another one by now.
pub(crate) fn take_page_away(objects: &dyn Objects, address: &[u8], page: &Page) {
    objects.update(address, &mut |present| {
        let shelf = present.as_deref().and_then(as_shelf)?;
        if !shelf.pages().any(|other| other == page) {
            return present;
        }
        let others = shelf.shelved().filter(|other| other.page != *page).collect();
        Shelf::of(others).map(|shelf| Arc::new(shelf) as Arc<dyn Object>)
    });
}

/// Stands a page with the others of its address. It takes the place of the one for the same requests, unless that is newer
/// (the body of this one came slowly); the dead are dropped, and beyond `most` variants or `room` bytes the oldest. One
/// whose address or tag was purged since it was begun, when there had been `begun` purges, stays away.
pub(crate) fn put_page(
    objects: &dyn Objects,
    address: &[u8],
    page: Page,
    begun: u64,
    most: usize,
    room: usize,
    now: Timestamp,
) -> Result<(), Reason> {
    let mut weight = size_of::<Shelf>() + size_of::<More>() + page.size();
    if weight > room {
        return Err(Reason::TooLarge);
    }
    // Taken, not cloned: bytes that were never shared need no count of those who share them.
    let mut newest = Some(page);
    let mut is_gone = false;
    let is_kept = objects.update(address, &mut |present| {
        let page = newest.take()?;
        is_gone = objects.is_gone_since(address, begun) || is_purged(&page, objects);
        if is_gone {
            return present;
        }
        let mut others = Vec::new();
        if let Some(shelf) = present.as_deref().and_then(as_shelf) {
            if shelf.pages().any(|other| other.is_newer_than(&page)) {
                return present;
            }
            let of_other_requests = shelf
                .shelved()
                .filter(|other| other.page.worth(now) != Worth::Dead && !other.page.is_for_the_same(&page))
                .filter(|other| !is_purged(&other.page, objects));
            // Larger than the budget, the shelf would not be kept at all.
            others.extend(of_other_requests.take(most.saturating_sub(1)).take_while(|other| {
                weight += other.weight();
                weight <= room
            }));
        }
        let mut pages = vec![Shelved { page, ready: None }];
        pages.append(&mut others);
        pages.sort_by_key(|shelved| Reverse(shelved.page.stored_at));
        Shelf::of(pages).map(|shelf| Arc::new(shelf) as Arc<dyn Object>)
    });
    match (is_gone, is_kept) {
        (true, _) => Err(Reason::Purged),
        (false, true) => Ok(()),
        (false, false) => Err(Reason::TooLarge),
    }
}

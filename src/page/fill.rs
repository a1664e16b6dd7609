//! A page on its way into the cache: all of it but the body, and where it is to go.
//! The response future makes one when a response may be stored, and hands it the body once that has ended well.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderName};
use http::response::Parts;
use tokio::runtime::Handle;
use tracing::Instrument;

use super::body::OnEnd;
use super::frame::{Page, PageFacts};
use super::head::write_head;
use super::policy;
use super::reason::{Reason, Untold};
use super::shelf::put_page;
use super::site::Site;
use super::staleness::{Grace, cost};
use super::tags::Tagged;
use super::text;
use super::text::key::vary_text;
use super::variant::write_variant;
use super::visit::Visit;
use crate::cache::{Lead, Lookout, TagName};
use crate::clock::Timestamp;

pub(super) type Storing = Pin<Box<dyn Future<Output = Result<(), Reason>> + Send>>;

/// The size in bytes from which on a body that is there twice is worse than a page that counts those who share it.
const LARGE: usize = 16 * 1024;

/// A page that lacks its body.
pub(super) struct Fill {
    site: Arc<Site>,
    visit: Box<Visit>,
    facts: PageFacts,
    /// The text of the response's `Vary`, for textual keys.
    vary: Option<String>,
    tags: Vec<TagName>,
    /// Variant and head, as a page holds them.
    prefix: Vec<u8>,
    variant: usize,
    others: Others,
}

/// Whom to tell what became of a page.
struct Others {
    lead: Option<Lead>,
    /// It is made anew, while they have the old one.
    is_refresh: bool,
}

/// A page that was handed to the store.
pub(super) enum Kept {
    /// It is there, or was refused.
    Done(Result<(), Reason>),
    /// The store answers later.
    Pending(Storing),
}

impl Fill {
    /// Takes down the head of a response, as patched, for requests alike in `names`.
    pub(super) fn new(
        site: &Arc<Site>,
        mut visit: Box<Visit>,
        parts: &Parts,
        (now, lifetime, grace): (Timestamp, Duration, Grace),
        is_public: bool,
        names: &[HeaderName],
        tags: Vec<TagName>,
    ) -> Self {
        let mut prefix = Vec::new();
        if let Some(seen) = &visit.seen {
            write_variant(&mut prefix, seen, names, &visit.headers);
        }
        let variant = prefix.len();
        let is_stored = policy::stored_headers(&parts.headers);
        // A HEAD's length is that of the body it does not have; nothing else could tell it later. That of a GET's body is
        // known, but layers further out shall find one on a hit exactly where they found one on the miss.
        write_head(&mut prefix, &parts.headers, |name| is_stored(name) || *name == CONTENT_LENGTH);
        let facts = PageFacts {
            stored_at: now,
            expires_at: now.after(lifetime),
            age: policy::initial_age(&parts.headers),
            status: parts.status,
            is_head: visit.is_head,
            is_public,
            grace,
            cost: 0,
            tagged: None,
        };
        let others = Others { lead: visit.lead.take(), is_refresh: visit.is_refresh };
        let site = Arc::clone(site);
        Fill { site, facts, vary: vary_text(&parts.headers), tags, prefix, variant, others, visit }
    }

    /// Sees whether anybody waits for the page; `None` where nobody can.
    pub(super) fn lookout(&self) -> Option<Lookout> {
        self.others.lead.as_ref().and_then(Lead::lookout)
    }

    /// Stores the page with this body; also gives the body back.
    pub(super) fn keep_all(self, body: Vec<Bytes>) -> (Kept, Bytes) {
        let size = body.iter().map(Bytes::len).sum();
        self.keep(body, size)
    }

    /// Stores the page with this body; also gives back the end of the body that is still `wanted`, so many bytes, in one
    /// piece and not copied again.
    pub(super) fn keep(mut self, body: Vec<Bytes>, wanted: usize) -> (Kept, Bytes) {
        let now = self.facts.stored_at;
        self.facts.cost = self.visit.asked_at.map_or(0, |asked_at| cost(asked_at, self.site.cache().clock().now()));
        let begun = self.visit.begun.purges_in_memory;
        if !self.tags.is_empty() && self.site.cache().backend().objects().is_some() {
            let names = std::mem::take(&mut self.tags).into();
            self.facts.tagged = Some(Box::new(Tagged { begun, names }));
        }
        let size: usize = body.iter().map(Bytes::len).sum();
        // A small body that came in one piece is there already, as is one that lies in the program; to share the page's
        // buffer would cost the page a count. A larger one is better not there twice.
        let piece = match &body[..] {
            _ if wanted == 0 => Some(Bytes::new()),
            [piece] if size < LARGE || !piece.is_unique() => Some(piece.slice(size - wanted..)),
            _ => None,
        };
        let page = match Page::new(self.facts, &self.prefix, self.variant, body) {
            Ok(page) => page,
            Err(body) => {
                self.others.hear(Err(Reason::TooLarge), now);
                return (Kept::Done(Err(Reason::TooLarge)), Bytes::from(body.concat()).slice(size - wanted..));
            }
        };
        let wanted = piece.unwrap_or_else(|| page.body().slice(size - wanted..));
        let kept = match self.site.cache().backend().objects() {
            Some(objects) => {
                let (key, most) = (&self.visit.key, self.site.settings.most_variants);
                let room = self.site.cache().backend().largest_value().saturating_sub(key.len());
                let stored = put_page(objects, key, page, begun, most, room, now);
                self.others.hear(stored, now);
                Kept::Done(stored)
            }
            None => {
                let under_way = self.site.cache().page_flights().stores().begin();
                Kept::Pending(Box::pin(async move {
                    let site = Arc::clone(&self.site);
                    let turn = site.cache().page_flights().turn_to_store(&self.visit.key).await;
                    let stored = text::store(self.site, self.visit, self.vary, self.tags, page).await;
                    drop(turn);
                    self.others.hear(stored, now);
                    drop(under_way);
                    stored
                }))
            }
        };
        (kept, wanted)
    }

    /// The body broke off: others need not wait for it.
    pub(super) fn fail(self) {
        self.others.hear(Err(Reason::Backend), self.facts.stored_at);
    }

    /// The body is not to be stored: others need not wait for it.
    pub(super) fn refuse(self) {
        self.others.hear(Err(Reason::Incomplete), self.facts.stored_at);
    }

    /// Stores the page when its body has come. A store that answers later is waited for in the background, as the
    /// visitor has everything already.
    pub(super) fn on_end(self, untold: Untold) -> OnEnd {
        Box::new(move |ended| {
            let kept = match ended {
                Ok(pieces) => self.keep(pieces, 0).0,
                Err(reason) => return untold.tell(Err(reason)),
            };
            let storing = match kept {
                Kept::Done(stored) => return untold.tell(stored),
                Kept::Pending(storing) => storing,
            };
            if let Ok(runtime) = Handle::try_current() {
                runtime.spawn(async move { untold.tell(storing.await) }.in_current_span());
            }
        })
    }
}

impl Others {
    /// What became of the page. A store that fails now may not fail the next time, nor a page that is made anew: there is
    /// one refresh at a time anyway.
    fn hear(self, stored: Result<(), Reason>, now: Timestamp) {
        let Some(lead) = self.lead else { return };
        match stored {
            Ok(()) => lead.land(),
            // Somebody who waits makes it anew.
            Err(Reason::Purged) => drop(lead),
            Err(reason) if reason == Reason::Backend || self.is_refresh => lead.fail(),
            Err(_) => lead.refuse(now),
        }
    }
}

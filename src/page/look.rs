//! Looking for a page in memory: at once, by one look-up with a borrowed key.
//! The service looks for every request, and those who waited for another's page look again.

use std::ops::Deref;
use std::sync::Arc;

use http::{HeaderMap, HeaderName};

use super::answer::is_known_to;
use super::frame::Page;
use super::reason::{Forward, Reason};
use super::shelf::{Missed, Ready, as_shelf, is_purged, keep_ready};
use super::site::Site;
use super::text::{self, Found, Sought};
use super::variant::Seen;
use super::visit::Visit;
use crate::backend::{Look, Objects};
use crate::clock::Timestamp;

/// What of a request its page is found by, beside the address.
pub(super) struct Asked<'a> {
    pub(super) is_head: bool,
    pub(super) has_authorization: bool,
    pub(super) seen: &'a Seen<'a>,
    pub(super) headers: &'a HeaderMap,
}

/// Nothing was found.
#[derive(Default)]
pub(super) struct Missing {
    pub(super) why: Forward,
    /// What pages of the URL are known to vary on.
    pub(super) varies_on: Vec<HeaderName>,
    /// A stale page that is of use yet.
    pub(super) stale: Option<Box<(Page, Arc<Ready>)>>,
}

/// The head of a page, made ready: as it was kept, or just now.
pub(super) enum Head<'a> {
    Kept(&'a Arc<Ready>),
    Made(Arc<Ready>),
}

impl Deref for Head<'_> {
    type Target = Arc<Ready>;

    fn deref(&self) -> &Arc<Ready> {
        match self {
            Head::Kept(ready) => ready,
            Head::Made(ready) => ready,
        }
    }
}

/// Finds the page on a shelf that a look into memory shows, where it lies. A head that has to be made ready for it is kept.
#[inline]
pub(super) fn find<'a>(
    objects: &dyn Objects,
    look: &'a Look,
    key: &[u8],
    asked: &Asked<'_>,
    now: Timestamp,
) -> Result<(&'a Page, Head<'a>), Box<Missing>> {
    let Some(object) = look.object() else { return Err(Box::default()) };
    let Some(shelf) = as_shelf(&**object) else { return Err(Box::default()) };
    let may_answer = |page: &Page| (page.is_public || !asked.has_authorization) && !is_purged(page, objects);
    let head_at = |position| {
        let (page, ready) = shelf.at(position);
        let head = match ready {
            Some(ready) => Head::Kept(ready),
            None => {
                let ready = Ready::of(page).map(Arc::new)?;
                keep_ready(objects, key, object, position, Arc::clone(&ready));
                Head::Made(ready)
            }
        };
        Some((page, head))
    };
    match shelf.find(asked.is_head, Some(asked.seen), asked.headers, may_answer, now) {
        Ok(position) => head_at(position).ok_or_else(Box::default),
        Err(Missed { why, stale }) => {
            let is_purged = why == Forward::VaryMiss && shelf.has_purged(objects);
            let why = if is_purged { Forward::Stale } else { why };
            let stale = stale.and_then(head_at).map(|(page, head)| Box::new((page.clone(), Arc::clone(&head))));
            Err(Box::new(Missing { why, varies_on: shelf.varies_on(), stale }))
        }
    }
}

/// Looks again for a visit, wherever its pages are kept.
pub(super) async fn look_again(site: &Arc<Site>, mut visit: Box<Visit>) -> Result<Sought, Reason> {
    let Some(objects) = site.cache().backend().objects() else {
        return text::seek(Arc::clone(site), visit).await;
    };
    let Some(seen) = &visit.seen else { return Ok(Sought::Missing(visit, Forward::UriMiss)) };
    let begun = objects.purges();
    let now = site.cache().clock().now();
    let is_head = visit.is_head;
    let asked = Asked { is_head, has_authorization: visit.has_authorization, seen, headers: &visit.headers };
    let look = objects.look(&visit.key);
    let missing = match find(objects, &look, &visit.key, &asked, now) {
        Ok((page, ready)) => {
            let is_known = is_known_to(&visit.headers, page, &ready, is_head, visit.is_tagged_further_out, now);
            let found = Found { page: page.clone(), ready: Arc::clone(&ready), is_head, is_known, now };
            return Ok(Sought::Found(Box::new(found), visit));
        }
        Err(missing) => missing,
    };
    drop(look);
    visit.begun.purges_in_memory = begun;
    visit.varies_on = missing.varies_on;
    visit.stale = missing.stale.map(|stale| visit.found(*stale, now));
    Ok(Sought::Missing(visit, missing.why))
}

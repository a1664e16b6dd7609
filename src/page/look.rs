//! Looking for a page in memory: at once, by one look-up with a borrowed key.
//! The service looks for every request, and those who waited for another's page look again.

use std::sync::Arc;

use http::{HeaderMap, HeaderName};

use super::answer::is_known_to;
use super::frame::Page;
use super::reason::{Forward, Reason};
use super::shelf::{Missed, Ready, as_shelf, is_purged, keep_ready};
use super::site::Site;
use super::text_store::{self, Found, Sought};
use super::variant::Seen;
use super::visit::Visit;
use crate::backend::Objects;
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

/// Looks in memory, and gives the page to `hit` where it lies. A head that has to be made ready for it is kept.
#[inline]
pub(super) fn look(
    objects: &dyn Objects,
    key: &[u8],
    asked: &Asked<'_>,
    now: Timestamp,
    mut hit: impl FnMut(&Page, &Arc<Ready>),
) -> Result<(), Box<Missing>> {
    let may_answer = |page: &Page| (page.is_public || !asked.has_authorization) && !is_purged(page, objects);
    let mut found = None;
    let mut made_ready = None;
    objects.look(key, &mut |object| {
        let Some(shelf) = as_shelf(&**object) else { return };
        let position = match shelf.find(asked.is_head, Some(asked.seen), asked.headers, may_answer, now) {
            Ok(position) => position,
            Err(Missed { why, stale }) => {
                let is_purged = why == Forward::VaryMiss && shelf.has_purged(objects);
                let why = if is_purged { Forward::Stale } else { why };
                let stale = stale.and_then(|position| {
                    let (page, ready) = shelf.at(position);
                    let ready = ready.cloned().or_else(|| {
                        let ready = Ready::of(page).map(Arc::new)?;
                        made_ready = Some((Arc::clone(object), position, Arc::clone(&ready)));
                        Some(ready)
                    });
                    Some(Box::new((page.clone(), ready?)))
                });
                found = Some(Err(Box::new(Missing { why, varies_on: shelf.varies_on(), stale })));
                return;
            }
        };
        let (page, ready) = shelf.at(position);
        if let Some(ready) = ready {
            hit(page, ready);
            found = Some(Ok(()));
        } else if let Some(ready) = Ready::of(page).map(Arc::new) {
            hit(page, &ready);
            found = Some(Ok(()));
            made_ready = Some((Arc::clone(object), position, ready));
        }
    });
    if let Some((object, position, ready)) = made_ready {
        keep_ready(objects, key, &object, position, ready);
    }
    found.unwrap_or_else(|| Err(Box::default()))
}

/// Looks again for a visit, wherever its pages are kept.
pub(super) async fn look_again(site: &Arc<Site>, mut visit: Box<Visit>) -> Result<Sought, Reason> {
    let Some(objects) = site.cache().backend().objects() else {
        return text_store::seek(Arc::clone(site), visit).await;
    };
    let Some(seen) = &visit.seen else { return Ok(Sought::Missing(visit, Forward::UriMiss)) };
    let begun = objects.purges();
    let now = site.cache().clock().now();
    let is_head = visit.is_head;
    let asked = Asked { is_head, has_authorization: visit.has_authorization, seen, headers: &visit.headers };
    let mut sought = None;
    let looked = look(objects, &visit.key, &asked, now, |page, ready| {
        let is_known = is_known_to(&visit.headers, page, ready, is_head, visit.is_tagged_further_out, now);
        let found = Found { page: page.clone(), ready: Arc::clone(ready), is_head, is_known, now };
        sought = Some(Box::new(found));
    });
    Ok(match (looked, sought) {
        (Ok(()), Some(found)) => Sought::Found(found, visit),
        (Ok(()), None) => Sought::Missing(visit, Forward::UriMiss),
        (Err(missing), _) => {
            visit.begun.purges_in_memory = begun;
            visit.varies_on = missing.varies_on;
            visit.stale = missing.stale.map(|stale| visit.found(*stale, now));
            Sought::Missing(visit, missing.why)
        }
    })
}

//! A stale page in place of an error (RFC 5861 section 4): whether one may stand in for what the handler did, and the
//! answer then. The response future asks wherever a handler can fail.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use http::{Response, StatusCode};
use http_body::Body;

use super::body::PageBody;
use super::reason::{Forward, Outcome};
use super::sent_on::After;
use super::settle::mark_hit;
use super::shelf::take_page_away;
use super::site::Site;
use super::staleness::{is_error, is_gone};
use super::text::{self, Found};

/// The stale page of a request whose handler is at work.
pub(super) type StandIn = Option<Box<Found>>;

/// A page on its way out of a store that answers later.
pub(super) type Taking = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Whether an answer with this status is an error that a stale page may stand in for. A status that the layer stores is
/// none to it.
pub(super) fn may_be_hidden(status: StatusCode, site: &Site) -> bool {
    is_error(status) && !site.settings.rules.statuses.contains(&status)
}

/// The answer where the handler has failed, if there is a stale page that may stand in. Its time is measured now: the handler
/// may have failed late.
pub(super) fn stand_in<B: Body>(
    stale: &mut StandIn,
    why: Forward,
    status: Option<StatusCode>,
    site: &Site,
    is_nested: bool,
) -> Option<Response<PageBody<B>>> {
    let now = site.cache().clock().now();
    let mut stale = stale.take_if(|stale| stale.page.is_better_than_an_error(now))?;
    stale.now = now;
    let mut response = stale.response();
    mark_hit(&mut response, Outcome::InsteadOfError { why, status }, site, is_nested);
    Some(response)
}

/// Takes the stale page away where an answer with this status, which is not stored in its place, says that it is gone. What
/// is left to do then is to wait until a store that answers later has done it.
pub(super) fn take_away_if_gone(
    stale: &StandIn,
    after: &After,
    status: StatusCode,
    site: &Arc<Site>,
) -> Option<Taking> {
    let After::Store(visit, _) = after else { return None };
    let stale = stale.as_ref().or(visit.stale.as_ref())?;
    if !is_gone(status) || site.settings.rules.statuses.contains(&status) {
        return None;
    }
    if let Some(objects) = site.cache().backend().objects() {
        take_page_away(objects, &visit.key, &stale.page);
        return None;
    }
    text::take_away(site, visit, &stale.page).map(|taking| Box::pin(taking) as Taking)
}

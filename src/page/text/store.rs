//! Pages in a byte store under textual keys: what is known of each URL, and a frame for each page.
//! The service seeks here when the backend keeps no objects; the response future stores here.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use smallvec::SmallVec;

use super::inquiry::Inquiry;
use super::key::vary_text;
use super::known::Known;
use super::recall::ReadFrame;
use crate::backend::{Stored, flags};
use crate::cache::stamps::{Claim, Stamp, count_up};
use crate::cache::{TagName, Trouble};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::page::address::Address;
use crate::page::begun::{Begun, Counters};
use crate::page::frame::{Frame, Page};
use crate::page::head::read_head;
use crate::page::reason::{Forward, Reason};
use crate::page::shelf::Ready;
use crate::page::site::Site;
use crate::page::staleness::Worth;
use crate::page::variant;
use crate::page::visit::Visit;

/// A page that was found, ready to be answered.
#[derive(Clone)]
pub(crate) struct Found {
    pub(crate) page: Page,
    pub(crate) ready: Arc<Ready>,
    pub(crate) is_head: bool,
    pub(crate) is_known: bool,
    pub(crate) now: Timestamp,
}

/// What seeking found.
pub(crate) enum Sought {
    /// The page; the visit goes back.
    Found(Box<Found>, Box<Visit>),
    /// None that is fresh; the visit goes back, with a stale one that is of use yet.
    Missing(Box<Visit>, Forward),
}

/// Seeks the page for a visit. A backend that fails is a miss that is not stored (LIM-11).
pub(crate) async fn seek(site: Arc<Site>, visit: Box<Visit>) -> Result<Sought, Reason> {
    let sought = try_seek(&site, visit, true).await;
    told(&site, sought, Trouble::Seeking, "could not look for a page")
}

/// The same, with the backend's error. Anything in it that is not ours is a miss. Where a page that is missing, or due,
/// `is_to_be_made`, the visit has what a fill must know.
pub(crate) async fn try_seek(site: &Site, mut visit: Box<Visit>, is_to_be_made: bool) -> Result<Sought, Error> {
    let found = find(site, &mut visit, is_to_be_made).await?;
    let ready =
        |(read, now): (Arc<ReadFrame>, Timestamp)| Some(visit.found((read.frame.page.clone(), read.ready()?), now));
    Ok(match found {
        Ok(page) => match ready(page) {
            Some(found) => Sought::Found(found, visit),
            None => Sought::Missing(visit, Forward::UriMiss),
        },
        Err(Missed { why, stale }) => {
            let stale = stale.and_then(ready);
            visit.stale = stale;
            Sought::Missing(visit, why)
        }
    })
}

/// That no page is fresh for a visit.
struct Missed {
    why: Forward,
    /// The newest stale one that is still of use.
    stale: Option<(Arc<ReadFrame>, Timestamp)>,
}

impl From<Forward> for Missed {
    fn from(why: Forward) -> Self {
        Missed { why, stale: None }
    }
}

/// The page for a visit, and when it was picked.
type Picked = Result<(Arc<ReadFrame>, Timestamp), Missed>;

async fn find(site: &Site, visit: &mut Visit, is_to_be_made: bool) -> Result<Picked, Error> {
    let Some(text) = &visit.text else { return Ok(Err(Forward::UriMiss.into())) };
    let mut inquiry = Inquiry::new(site, visit, text, is_to_be_made && site.expectation.is_miss())?;
    inquiry.ask().await?;
    visit.begun.stamp = inquiry.stamp();
    let known = inquiry.known();
    let found = pick(site, visit, known.as_ref(), &mut inquiry).await?;
    visit.is_due = is_to_be_made && found.as_ref().is_ok_and(|(read, now)| site.is_due_early(&read.frame.page, *now));
    let is_missing = found.is_err() || visit.is_due;
    if is_missing {
        visit.varies_on = known.as_ref().map(Known::names).unwrap_or_default();
    }
    if is_to_be_made {
        site.expectation.note(found.is_err());
        if let (true, Some(text)) = (is_missing, &visit.text) {
            let counters = Counters::of(site.cache(), text)?;
            // Boxes of their own, for a hit has no use for them.
            match inquiry.counted() {
                Some(counted) => Box::pin(counters.note(site.cache(), counted, &mut visit.begun)).await?,
                None => Box::pin(counters.ask(site.cache(), &mut visit.begun)).await?,
            }
        }
    }
    Ok(found)
}

/// The page for a visit among what was found, and what has to be asked for besides.
async fn pick(site: &Site, visit: &Visit, known: Option<&Known>, inquiry: &mut Inquiry<'_>) -> Result<Picked, Error> {
    let now = site.cache().clock().now();
    let (Some(known), Some(stamp)) = (known, visit.begun.stamp) else { return Ok(Err(Forward::UriMiss.into())) };
    let mut living = known.living(now).peekable();
    if living.peek().is_none() {
        return Ok(Err(Forward::Stale.into()));
    }
    let stored = inquiry.pages(visit, living).await?;

    let is_for_visit = |frame: &Frame| {
        Some(frame.generation) == known.generation
            && frame.stamp == stamp
            && *frame.address == visit.key[..]
            && variant::is_for(frame.page.variant(), visit.seen.as_ref(), &visit.headers)
    };
    let stored = stored.iter().filter(|stored| stored.flags == flags::PAGE);
    let mut frames: SmallVec<[Arc<ReadFrame>; 2]> =
        stored.filter_map(|stored| ReadFrame::of(&stored.data)).filter(|read| is_for_visit(&read.frame)).collect();
    if frames.len() > 1 {
        // The newest first, as on a shelf; a HEAD is answered from a GET page before its own.
        frames.sort_by_key(|read| (read.frame.page.is_head, Reverse(read.frame.page.stored_at)));
    }
    let is_there = !frames.is_empty();
    if frames.iter().any(|read| !read.frame.tags.is_empty()) {
        // A box of its own: most pages have no tags, and their look-ups need no room for it.
        let there = Box::pin(stamps_of_tags(site, &frames)).await?;
        frames.retain(|read| read.frame.tags.iter().all(|(name, stamp)| there.get(name) == Some(stamp)));
    }
    let mut stale = None;
    for read in frames {
        let page = &read.frame.page;
        if (!visit.is_head && page.is_head) || (!page.is_public && visit.has_authorization) {
            continue;
        }
        match page.worth(now) {
            Worth::Fresh => return Ok(Ok((read, now))),
            Worth::WhileRevalidate | Worth::IfError => stale = stale.or(Some((read, now))),
            Worth::Dead => {}
        }
    }
    Ok(Err(Missed { why: if is_there { Forward::Stale } else { Forward::VaryMiss }, stale }))
}

/// The stamps that the tags of some pages have now: one more round trip.
async fn stamps_of_tags(site: &Site, frames: &[Arc<ReadFrame>]) -> Result<HashMap<TagName, Stamp>, Error> {
    let mut names: Vec<TagName> = Vec::new();
    for (name, _) in frames.iter().flat_map(|read| &read.frame.tags) {
        if !names.contains(name) {
            names.push(*name);
        }
    }
    let there = site.cache().tag_stamps(&names).await?;
    Ok(names.into_iter().zip(there).filter_map(|(name, stamp)| Some((name, stamp?))).collect())
}

/// Deletes what is stored for an address; says whether anything was there. What is on its way there does not come to it.
pub(crate) async fn delete(site: &Site, address: &Address<'_>) -> Result<bool, Error> {
    let (cache, keys) = (site.cache(), site.settings.scheme.text_keys(address));
    let (header_key, stamp_key) = (cache.final_key(keys.header())?, cache.final_key(keys.stamp())?);
    // In this order: what is begun in between is kept or not, what was begun before is not.
    count_up(cache, &cache.deletions_key(keys.url_digest())?).await?;
    cache.backend().delete(&stamp_key).await?;
    cache.backend().delete(&header_key).await
}

/// Stores a page under the keys of its visit: the page first, so that a list never names what is not there yet.
pub(crate) async fn store(
    site: Arc<Site>,
    visit: Box<Visit>,
    vary: Option<String>,
    tags: Vec<TagName>,
    page: Page,
) -> Result<(), Reason> {
    let stored = try_store(&site, *visit, vary, tags, page).await;
    told(&site, stored, Trouble::Storing, "could not store a page")?
}

async fn try_store(
    site: &Site,
    visit: Visit,
    vary: Option<String>,
    tags: Vec<TagName>,
    page: Page,
) -> Result<Result<(), Reason>, Error> {
    let Some(keys) = &visit.text else { return Ok(Ok(())) };
    let (cache, backend) = (site.cache(), site.cache().backend());
    let now = page.stored_at;
    let names = site.settings.scheme.header_names(vary.as_deref(), visit.has_language);
    let method = if visit.is_head { Method::HEAD } else { Method::GET };
    let header_key = site.cache().final_key(keys.header())?;
    let page_key = site.cache().final_key(&keys.page(&method, &names, &visit.headers))?;
    // The body came slowly: meanwhile another visitor may have brought a newer page.
    if site.cache().clock().now() > now {
        let present = backend.get(&page_key).await?.filter(|stored| stored.flags == flags::PAGE);
        let present = present.and_then(|stored| Frame::read(&stored.data));
        if present.is_some_and(|frame| *frame.address == visit.key[..] && frame.page.is_newer_than(&page)) {
            return Ok(Ok(()));
        }
    }
    // Asked anew: while the handler ran, the page may have been deleted, and an old generation must not come back with this
    // one; or others stored beside it, whose lists must not be lost.
    let stamp_key = cache.final_key(keys.stamp())?;
    let mut asked = vec![header_key, stamp_key];
    asked.extend(cache.tag_keys(&tags)?);
    let found = backend.get_many(&asked).await?;
    let ([header_key, stamp_key, tag_keys @ ..], [known, stamp, tag_stamps @ ..]) = (&asked[..], &found[..]) else {
        return Ok(Err(Reason::Backend));
    };
    site.likely.note(vary.as_deref(), site.settings.scheme);
    let known = known.as_ref().and_then(Known::read).unwrap_or_default().with(vary, page.dead_at(), now);
    let page_ttl = ttl(page.dead_at(), now);
    let list_ttl = ttl(known.dead_at(), now);

    let Begun { stamp: seen, deletions: begun, purges, .. } = visit.begun;
    let claim = Claim { stamp_key, counter: &cache.deletions_key(keys.url_digest())?, seen, begun };
    let Some(stamp) = claim.hold(cache, stamp.as_ref(), list_ttl).await? else { return Ok(Err(Reason::Purged)) };
    let held = match (tags.is_empty(), purges) {
        (true, _) => Some(Vec::new()),
        (false, Some(begun)) => cache.hold_tags(tag_keys, tag_stamps, begun, page.dead_at().since(now), now).await?,
        (false, None) => None,
    };
    let Some(held) = held else { return Ok(Err(Reason::Purged)) };

    let generation = known.generation.unwrap_or_default();
    let tags = tags.into_iter().zip(held).collect();
    let frame = Frame { generation, stamp, tags, address: Bytes::copy_from_slice(&visit.key), page }.write();
    backend.set(&page_key, Stored { data: frame, flags: flags::PAGE }, page_ttl).await?;
    backend.set(header_key, known.write(), list_ttl).await.map(Ok)
}

/// Takes away the page that a visit has found, as it turned out to be gone. Whatever was stored in its place meanwhile goes
/// with it: that is a miss, and no worse.
pub(crate) fn take_away(
    site: &Arc<Site>,
    visit: &Visit,
    page: &Page,
) -> Option<impl Future<Output = ()> + Send + use<>> {
    let (keys, head) = (visit.text.as_ref()?, read_head(&page.head(), |_| ())?);
    let names = site.settings.scheme.header_names(vary_text(&head).as_deref(), visit.has_language);
    let method = if page.is_head { Method::HEAD } else { Method::GET };
    let key = site.cache().final_key(&keys.page(&method, &names, &visit.headers)).ok()?;
    let site = Arc::clone(site);
    Some(async move {
        let taken = site.cache().backend().delete(&key).await;
        let _ = told(&site, taken, Trouble::Storing, "could not take a page away");
    })
}

fn ttl(dead_at: Timestamp, now: Timestamp) -> Option<Duration> {
    Some(dead_at.since(now))
}

/// Tells what went wrong, if it is news: one outage fails thousands of requests. The key, which most errors name, is told
/// at debug level only (safety rule 13).
fn told<T>(site: &Site, outcome: Result<T, Error>, doing: Trouble, what: &'static str) -> Result<T, Reason> {
    let (backend, told) = (site.cache().backend().name(), site.cache().told());
    let error = match outcome {
        Ok(value) => {
            if told.ends(doing) {
                tracing::info!(target: "larder", backend, "pages are {} again", if doing == Trouble::Seeking { "found" } else { "stored" });
            }
            return Ok(value);
        }
        Err(error) => error,
    };
    let (reason, trouble, cause) = match &error {
        Error::Key { problem, .. } => (Reason::Key, Trouble::Keys, format!("its key {problem}")),
        Error::TooLarge { size, limit, .. } => {
            let cause = format!("it has {size} bytes, more than the {limit} the backend takes");
            (Reason::TooLarge, Trouble::Sizes, cause)
        }
        Error::Backend { source, .. } => (Reason::Backend, doing, source.to_string()),
        Error::Timeout { operation, after, .. } => {
            (Reason::Backend, doing, format!("{operation} took longer than {after:?}"))
        }
        Error::Unavailable { cause, .. } => (Reason::Backend, doing, cause.clone()),
        _ => (Reason::Backend, doing, String::new()),
    };
    // The guard of a backend tells of its health itself.
    let is_told_by_guard = reason == Reason::Backend && site.cache().is_guarded();
    if !is_told_by_guard && told.begins(trouble) {
        tracing::warn!(target: "larder", backend, reason = reason.as_str(), cause, "{what}; more of this is told at debug level");
    }
    tracing::debug!(target: "larder", backend, %error, "{what}");
    Err(reason)
}

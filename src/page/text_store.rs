//! Pages in a byte store under textual keys: a list of what each URL varies on, and a frame for each page.
//! The service seeks here when the backend keeps no objects; the response future stores here.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes};
use http::Method;

use super::answer::is_known_to;
use super::frame::{Frame, Page};
use super::pieces::{Pieces, write_piece};
use super::policy::is_fresh;
use super::reason::{Forward, Reason};
use super::shelf::Ready;
use super::site::Site;
use super::variant;
use super::visit::Visit;
use crate::backend::{Stored, flags};
use crate::clock::Timestamp;
use crate::error::Error;

/// What the store knows about a URL: which `Vary` values its pages had, the newest first, and in which generation.
///
/// Every list is kept until its last page expires, so that a page with another `Vary` does not make the others
/// unreachable. The generation is new whenever the list is: pages of an older one, left over from a deleted list, are
/// never read again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Known {
    generation: Option<u64>,
    lists: Vec<VaryList>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct VaryList {
    /// The text of `Vary`; `None` where there was no such header.
    vary: Option<String>,
    expires_at: Timestamp,
}

/// How many different `Vary` values of one URL are looked for; sites have one or two.
const MOST_LISTS: usize = 8;
const VERSION: u8 = 1;

impl Known {
    fn write(&self) -> Bytes {
        let mut out = vec![VERSION];
        out.put_u64_le(self.generation.unwrap_or_default());
        for list in &self.lists {
            out.put_u64_le(list.expires_at.as_nanos());
            out.put_u8(u8::from(list.vary.is_some()));
            write_piece(&mut out, list.vary.as_deref().unwrap_or_default().as_bytes());
        }
        out.into()
    }

    fn read(stored: &Stored) -> Option<Self> {
        if stored.flags != flags::HEADER_LISTS {
            return None;
        }
        let mut pieces = Pieces::of(&stored.data);
        if pieces.array()? != [VERSION] {
            return None;
        }
        let generation = Some(u64::from_le_bytes(pieces.array()?));
        let mut lists = Vec::new();
        while !pieces.is_at_end() {
            let expires_at = Timestamp::from_nanos(u64::from_le_bytes(pieces.array()?));
            let [is_some] = pieces.array()?;
            let vary = std::str::from_utf8(pieces.piece()?).ok()?.to_owned();
            lists.push(VaryList { vary: (is_some == 1).then_some(vary), expires_at });
        }
        Some(Known { generation, lists })
    }

    /// With one more page: its list comes first, lists without a living page go.
    fn with(mut self, vary: Option<String>, expires_at: Timestamp, now: Timestamp) -> Self {
        let known = self.lists.iter().find(|list| list.vary == vary).map(|list| list.expires_at);
        self.lists.retain(|list| list.vary != vary && is_fresh(list.expires_at, now));
        let expires_at = known.map_or(expires_at, |known| known.max(expires_at));
        self.lists.insert(0, VaryList { vary, expires_at });
        self.lists.truncate(MOST_LISTS);
        self.generation = Some(self.generation.unwrap_or_else(new_generation));
        self
    }

    fn expires_at(&self) -> Timestamp {
        self.lists.iter().map(|list| list.expires_at).max().unwrap_or(Timestamp::NEVER)
    }
}

fn new_generation() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}

/// What seeking found.
pub(crate) enum Sought {
    /// The page, ready to be answered.
    Found { page: Page, ready: Box<Ready>, is_head: bool, is_known: bool, now: Timestamp },
    /// None; the visit goes back.
    Missing(Box<Visit>, Forward),
}

/// Seeks the page for a visit. A backend that fails is a miss that is not stored (LIM-11).
pub(crate) async fn seek(site: Arc<Site>, visit: Box<Visit>) -> Result<Sought, Reason> {
    try_seek(&site, visit).await.map_err(|error| tell(&site, &error, "could not look for a page"))
}

/// The same, with the backend's error. Anything in it that is not ours is a miss.
pub(crate) async fn try_seek(site: &Site, visit: Box<Visit>) -> Result<Sought, Error> {
    let found = find(site, &visit).await?;
    Ok(match found.map(|(page, now)| (Ready::of(&page), page, now)) {
        Ok((Some(ready), page, now)) => {
            let is_head = visit.is_head;
            let is_known = is_known_to(&visit.headers, &page, &ready, is_head, visit.is_tagged_further_out, now);
            Sought::Found { page, ready: Box::new(ready), is_head, is_known, now }
        }
        Ok((None, ..)) => Sought::Missing(visit, Forward::UriMiss),
        Err(why) => Sought::Missing(visit, why),
    })
}

async fn find(site: &Site, visit: &Visit) -> Result<Result<(Page, Timestamp), Forward>, Error> {
    let Some(address) = &visit.text else { return Ok(Err(Forward::UriMiss)) };
    let scheme = site.settings.scheme;
    let header_key = site.cache().final_key(&scheme.header_key(&address.parts()))?;
    let stored = site.cache().backend().get(&header_key).await?;
    let now = site.cache().clock().now();
    let Some(known) = stored.as_ref().and_then(Known::read) else { return Ok(Err(Forward::UriMiss)) };
    let methods: &[Method] = if visit.is_head { &[Method::GET, Method::HEAD] } else { &[Method::GET] };
    let mut keys: Vec<String> = Vec::new();
    for method in methods {
        for list in known.lists.iter().filter(|list| is_fresh(list.expires_at, now)) {
            let names = scheme.header_names(list.vary.as_deref(), visit.has_language);
            let key = site.cache().final_key(&scheme.page_key(&address.parts(), method, &names, &visit.headers))?;
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
    }
    if keys.is_empty() {
        return Ok(Err(Forward::Stale));
    }
    let mut frames: Vec<Frame> = site
        .cache()
        .backend()
        .get_many(&keys)
        .await?
        .into_iter()
        .flatten()
        .filter(|stored| stored.flags == flags::PAGE)
        .filter_map(|stored| Frame::read(&stored.data))
        .filter(|frame| Some(frame.generation) == known.generation && *frame.address == visit.key[..])
        .filter(|frame| variant::is_for(frame.page.variant(), visit.seen.as_ref(), &visit.headers))
        .collect();
    // The newest first, as on a shelf; a HEAD is answered from a GET page before its own.
    frames.sort_by_key(|frame| (frame.page.is_head, std::cmp::Reverse(frame.page.stored_at)));
    let is_there = !frames.is_empty();
    let page = frames.into_iter().map(|frame| frame.page).find(|page| {
        is_fresh(page.expires_at, now)
            && (visit.is_head || !page.is_head)
            && (page.is_public || !visit.has_authorization)
    });
    Ok(page.map(|page| (page, now)).ok_or(if is_there { Forward::Stale } else { Forward::VaryMiss }))
}

/// Stores a page under the keys of its visit: the page first, so that a list never names what is not there yet.
pub(crate) async fn store(site: Arc<Site>, visit: Box<Visit>, vary: Option<String>, page: Page) -> Result<(), Reason> {
    try_store(&site, *visit, vary, page).await.map_err(|error| tell(&site, &error, "could not store a page"))
}

/// Warns of what went wrong. The key, which most errors name, is told at debug level only (safety rule 13).
fn tell(site: &Site, error: &Error, what: &'static str) -> Reason {
    let (backend, reason) = (site.cache().backend().name(), reason_of(error));
    let cause = match error {
        Error::Key { problem, .. } => format!("its key is {problem}"),
        Error::TooLarge { size, limit, .. } => format!("it has {size} bytes, more than the {limit} the backend takes"),
        Error::Backend { source, .. } => source.to_string(),
        _ => String::new(),
    };
    tracing::warn!(target: "larder", backend, reason = reason.as_str(), cause, "{what}");
    tracing::debug!(target: "larder", backend, %error, "{what}");
    reason
}

fn reason_of(error: &Error) -> Reason {
    match error {
        Error::Key { .. } => Reason::Key,
        Error::TooLarge { .. } => Reason::TooLarge,
        _ => Reason::Backend,
    }
}

async fn try_store(site: &Site, visit: Visit, vary: Option<String>, page: Page) -> Result<(), Error> {
    let Some(address) = visit.text else { return Ok(()) };
    let backend = site.cache().backend();
    let now = page.stored_at;
    let scheme = site.settings.scheme;
    let names = scheme.header_names(vary.as_deref(), visit.has_language);
    let method = if visit.is_head { Method::HEAD } else { Method::GET };
    let header_key = site.cache().final_key(&scheme.header_key(&address.parts()))?;
    let page_key = site.cache().final_key(&scheme.page_key(&address.parts(), &method, &names, &visit.headers))?;
    // The body came slowly: meanwhile another visitor may have brought a newer page.
    if site.cache().clock().now() > now {
        let present = backend.get(&page_key).await?.filter(|stored| stored.flags == flags::PAGE);
        let present = present.and_then(|stored| Frame::read(&stored.data));
        if present.is_some_and(|frame| *frame.address == visit.key[..] && frame.page.is_newer_than(&page)) {
            return Ok(());
        }
    }
    // Asked anew: while the handler ran, the page may have been deleted, and an old generation must not come back with this
    // one; or others stored beside it, whose lists must not be lost.
    let known = backend.get(&header_key).await?.as_ref().and_then(Known::read).unwrap_or_default();
    let known = known.with(vary, page.expires_at, now);
    let page_ttl = ttl(page.expires_at, now);
    let list_ttl = ttl(known.expires_at(), now);
    let generation = known.generation.unwrap_or_default();
    let frame = Frame { generation, address: Bytes::copy_from_slice(&visit.key), page }.write();
    backend.set(&page_key, Stored { data: frame, flags: flags::PAGE }, page_ttl).await?;
    backend.set(&header_key, Stored { data: known.write(), flags: flags::HEADER_LISTS }, list_ttl).await
}

fn ttl(expires_at: Timestamp, now: Timestamp) -> Option<Duration> {
    Some(expires_at.since(now))
}

//! Pages in a byte store under textual keys: what is known of each URL, and a frame for each page.
//! The service seeks here when the backend keeps no objects; the response future stores here.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;

use super::answer::is_known_to;
use super::frame::{Frame, Page};
use super::key::TextKeys;
use super::known::Known;
use super::policy::is_fresh;
use super::reason::{Forward, Reason};
use super::shelf::Ready;
use super::site::Site;
use super::variant;
use super::visit::Visit;
use crate::backend::{Stored, flags};
use crate::cache::Trouble;
use crate::clock::Timestamp;
use crate::error::Error;

/// A page that was found, ready to be answered.
pub(crate) struct Found {
    pub(crate) page: Page,
    pub(crate) ready: Arc<Ready>,
    pub(crate) is_head: bool,
    pub(crate) is_known: bool,
    pub(crate) now: Timestamp,
}

/// What seeking found.
pub(crate) enum Sought {
    /// The page.
    Found(Box<Found>),
    /// None; the visit goes back.
    Missing(Box<Visit>, Forward),
}

/// Seeks the page for a visit. A backend that fails is a miss that is not stored (LIM-11).
pub(crate) async fn seek(site: Arc<Site>, visit: Box<Visit>) -> Result<Sought, Reason> {
    let sought = try_seek(&site, visit).await;
    told(&site, sought, Trouble::Seeking, "could not look for a page")
}

/// The same, with the backend's error. Anything in it that is not ours is a miss.
pub(crate) async fn try_seek(site: &Site, mut visit: Box<Visit>) -> Result<Sought, Error> {
    let found = find(site, &mut visit).await?;
    Ok(match found.map(|(page, now)| (Ready::of(&page), page, now)) {
        Ok((Some(ready), page, now)) => {
            let is_head = visit.is_head;
            let is_known = is_known_to(&visit.headers, &page, &ready, is_head, visit.is_tagged_further_out, now);
            Sought::Found(Box::new(Found { page, ready: Arc::new(ready), is_head, is_known, now }))
        }
        Ok((None, ..)) => Sought::Missing(visit, Forward::UriMiss),
        Err(why) => Sought::Missing(visit, why),
    })
}

async fn find(site: &Site, visit: &mut Visit) -> Result<Result<(Page, Timestamp), Forward>, Error> {
    let Some(address) = &visit.text else { return Ok(Err(Forward::UriMiss)) };
    let keys = site.settings.scheme.text_keys(&address.parts());
    let header_key = site.cache().final_key(&keys.header())?;

    let likely = site.likely.values();
    let likely = likely.iter().flat_map(|vary| page_keys(site, visit, &keys, vary.as_deref()));
    let mut asked = vec![header_key];
    add_new(&mut asked, likely.filter_map(Result::ok));
    let mut answers = ask_together(site, &mut asked).await?;

    let now = site.cache().clock().now();
    let known = answers.first_mut().and_then(Option::take).as_ref().and_then(Known::read);
    let Some(known) = known else { return Ok(Err(Forward::UriMiss)) };
    visit.varies_on = known.names();
    let mut wanted: Vec<String> = Vec::new();
    for vary in known.living(now) {
        let keys = page_keys(site, visit, &keys, vary).into_iter().collect::<Result<Vec<_>, _>>()?;
        if keys.iter().any(|key| !asked.contains(key)) {
            site.likely.note(vary);
        }
        add_new(&mut wanted, keys);
    }
    if wanted.is_empty() {
        return Ok(Err(Forward::Stale));
    }
    let mut stored = Vec::new();
    let mut unasked = Vec::new();
    for key in wanted {
        match asked.iter().position(|asked| *asked == key).and_then(|position| answers.get_mut(position)) {
            Some(answer) => stored.push(answer.take()),
            None => unasked.push(key),
        }
    }
    if !unasked.is_empty() {
        stored.extend(site.cache().backend().get_many(&unasked).await?);
    }

    let mut frames: Vec<Frame> = stored
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

/// The keys of the pages with that `Vary` that can answer the visit: a HEAD is answered from a GET page too.
fn page_keys(site: &Site, visit: &Visit, keys: &TextKeys, vary: Option<&str>) -> Vec<Result<String, Error>> {
    let methods: &[Method] = if visit.is_head { &[Method::GET, Method::HEAD] } else { &[Method::GET] };
    let names = site.settings.scheme.header_names(vary, visit.has_language);
    methods.iter().map(|method| site.cache().final_key(&keys.page(method, &names, &visit.headers))).collect()
}

fn add_new(keys: &mut Vec<String>, more: impl IntoIterator<Item = String>) {
    for key in more {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
}

/// What is stored under the keys, in one round trip. The first key is needed, the others are guesses: where the server of
/// one of them is down, the first is asked for alone, and `keys` says so.
async fn ask_together(site: &Site, keys: &mut Vec<String>) -> Result<Vec<Option<Stored>>, Error> {
    let backend = site.cache().backend();
    match backend.get_many(keys).await {
        Err(Error::Unavailable { server: Some(_), .. }) if keys.len() > 1 => {
            keys.truncate(1);
            backend.get_many(keys).await
        }
        answers => answers,
    }
}

/// Stores a page under the keys of its visit: the page first, so that a list never names what is not there yet.
pub(crate) async fn store(site: Arc<Site>, visit: Box<Visit>, vary: Option<String>, page: Page) -> Result<(), Reason> {
    let stored = try_store(&site, *visit, vary, page).await;
    told(&site, stored, Trouble::Storing, "could not store a page")
}

async fn try_store(site: &Site, visit: Visit, vary: Option<String>, page: Page) -> Result<(), Error> {
    let Some(address) = visit.text else { return Ok(()) };
    let backend = site.cache().backend();
    let now = page.stored_at;
    let keys = site.settings.scheme.text_keys(&address.parts());
    let names = site.settings.scheme.header_names(vary.as_deref(), visit.has_language);
    let method = if visit.is_head { Method::HEAD } else { Method::GET };
    let header_key = site.cache().final_key(&keys.header())?;
    let page_key = site.cache().final_key(&keys.page(&method, &names, &visit.headers))?;
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
    site.likely.note(vary.as_deref());
    let known = known.with(vary, page.expires_at, now);
    let page_ttl = ttl(page.expires_at, now);
    let list_ttl = ttl(known.expires_at(), now);
    let generation = known.generation.unwrap_or_default();
    let frame = Frame { generation, address: Bytes::copy_from_slice(&visit.key), page }.write();
    backend.set(&page_key, Stored { data: frame, flags: flags::PAGE }, page_ttl).await?;
    backend.set(&header_key, known.write(), list_ttl).await
}

fn ttl(expires_at: Timestamp, now: Timestamp) -> Option<Duration> {
    Some(expires_at.since(now))
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

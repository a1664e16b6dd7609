//! What becomes of the inner service's response: judged by its head, stored with its body, or passed on as it is.
//! The response future calls it when the response is there.

use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use http::Response;
use http::header::{CONTENT_LENGTH, HeaderName};
use http::response::Parts;
use http_body::Body;
use tokio::runtime::Handle;
use tracing::Instrument;

use super::body::{PageBody, Reading, Stop, read_ready};
use super::fill::{Fill, Kept, Storing};
use super::frame::Page;
use super::policy::{self, Times, Verdict};
use super::pump::Pump;
use super::reason::{Forward, Outcome, Reason, Untold};
use super::sent_on::After;
use super::site::Site;
use super::staleness::Terms;
use super::tags::Tags;
use super::visit::Visit;
use crate::cache::TagName;
use crate::clock::Timestamp;
use crate::headers::patch_response_headers;

/// Left on a response that came from a cache further in (MID-33).
#[derive(Clone, Copy)]
struct FromInnerCache;

/// Left on a response by a layer further in that leaves the page to this one: for how long it is to be stored.
#[derive(Clone, Copy)]
struct InnerTimes(Times);

/// What became of the inner service's response.
pub(super) enum Settled<B: Body> {
    Answered(Response<PageBody<B>>),
    Storing(Storing, Forward, Response<PageBody<B>>),
    /// Its body broke off before anybody has seen any of it; not told yet.
    Broken(Outcome, Response<PageBody<B>>),
}

/// Judges the response by its head, then reads what is ready of its body and stores it, or sends both on.
pub(super) fn settle<B: Body<Error: Send> + Send + 'static>(
    response: Response<B>,
    after: After,
    site: &Arc<Site>,
    context: &mut Context<'_>,
) -> Settled<B> {
    let why = after.why();
    let (mut parts, body) = response.into_parts();
    // Whoever keeps the page: layers further out read them, too.
    site.settings.tags.add_to(&mut parts.extensions);
    let pass = |parts, body, reason| {
        let outcome = Outcome::Forwarded { why, stored: Err(reason) };
        answered(Response::from_parts(parts, PageBody::passed(body)), outcome, site)
    };
    let visit = match after {
        After::Store(visit, _) => visit,
        After::Pass(reason) => return pass(parts, body, reason),
        After::LeaveToOuter => {
            let times = times_of(&mut parts, site);
            parts.extensions.insert(InnerTimes(times));
            return pass(parts, body, Reason::OuterLayer);
        }
    };
    match judge(&mut parts, &body, &visit, site) {
        Ok(judged) => store(parts, body, visit, judged, why, site, context),
        Err(reason) => {
            visit.refuse(site.cache().clock().now());
            pass(parts, body, reason)
        }
    }
}

/// This layer's times, around those of layers further in that leave the page to it.
fn times_of(parts: &mut Parts, site: &Site) -> Times {
    match parts.extensions.remove::<InnerTimes>() {
        Some(InnerTimes(inner)) => site.settings.times.around(inner),
        None => site.settings.times,
    }
}

fn answered<B: Body>(mut response: Response<PageBody<B>>, outcome: Outcome, site: &Site) -> Settled<B> {
    outcome.report(&mut response, site);
    Settled::Answered(response)
}

/// A response that is to be stored once its body is there.
struct Judged {
    now: Timestamp,
    lifetime: Duration,
    terms: Terms,
    is_public: bool,
    names: Vec<HeaderName>,
    /// The length its body must have.
    expected: Option<u64>,
    tags: Vec<TagName>,
}

/// Whether the head says that the page may be stored. What is, or would be but for its lifetime, gets its headers
/// (MID-4, MID-17).
fn judge<B: Body>(parts: &mut Parts, body: &B, visit: &Visit, site: &Site) -> Result<Judged, Reason> {
    // The mark stays on the response: layers further out must not store the page either.
    if parts.extensions.get::<FromInnerCache>().is_some() {
        return Err(Reason::InnerHit);
    }
    let rules = &site.settings.rules;
    let times = times_of(parts, site);
    // A HEAD of what GET streams is a stream, too, or the two would differ in their headers; else it has no body to store.
    let size = body.size_hint().exact().map(|size| if visit.is_head { 0 } else { size });
    let now = site.cache().clock().now();
    let (lifetime, is_public, names) =
        match policy::judge(visit.has_authorization, parts.status, &parts.headers, size, rules, &times) {
            Verdict::Pass(reason) => return Err(reason),
            Verdict::Patch(lifetime, reason) => {
                patch_response_headers(&mut parts.headers, lifetime, now);
                return Err(reason);
            }
            Verdict::Store { lifetime, is_public, names } => (lifetime, is_public, names),
        };
    let tags = Tags::names(&parts.extensions, site.cache())?;
    // The body that came with a HEAD, if there is one, is what a GET would have: servers strip it and keep its length.
    let said = if visit.is_head { body.size_hint().exact().filter(|said| *said > 0) } else { size };
    let expected = policy::expected_length(&parts.headers, said)?;
    if visit.is_head
        && let Some(length) = expected
    {
        parts.headers.insert(CONTENT_LENGTH, length.into());
    }
    let terms = Terms::of(&parts.headers, times.grace, times.jitter);
    patch_response_headers(&mut parts.headers, lifetime, now);
    Ok(Judged { now, lifetime, terms, is_public, names, expected, tags })
}

/// Stores the page if its body is there, or when it has come.
fn store<B: Body<Error: Send> + Send + 'static>(
    parts: Parts,
    body: B,
    visit: Box<Visit>,
    judged: Judged,
    why: Forward,
    site: &Arc<Site>,
    context: &mut Context<'_>,
) -> Settled<B> {
    let Judged { now, lifetime, terms, is_public, names, expected, tags } = judged;
    let is_head = visit.is_head;
    let times = (now, terms.kept_for(lifetime), terms.grace);
    let fill = Fill::new(site, visit, &parts, times, is_public, &names, tags);
    let lookout = fill.lookout();
    let stored = |kept: Kept, parts, body| {
        let response = Response::from_parts(parts, body);
        let storing = match kept {
            Kept::Done(stored) => return answered(response, Outcome::Forwarded { why, stored }, site),
            Kept::Pending(storing) => storing,
        };
        // Nobody need wait for the store: whoever asks for the page before it is there waits for this very flight.
        let is_awaited = lookout.is_none() || site.settings.status_name.is_some();
        let place = if is_awaited { None } else { site.cache().page_flights().stores().place_behind() };
        let (Some(place), Ok(runtime)) = (place, Handle::try_current()) else {
            return Settled::Storing(storing, why, response);
        };
        let told = async move {
            Outcome::Forwarded { why, stored: storing.await }.tell();
            drop(place);
        };
        runtime.spawn(told.in_current_span());
        Settled::Answered(response)
    };
    if is_head {
        let (kept, _) = fill.keep(Vec::new(), 0);
        return stored(kept, parts, PageBody::passed(body));
    }
    let largest = site.settings.rules.largest_body;
    let (body, reason) = match read_ready(body, largest, expected, context) {
        Reading::Whole(pieces) => {
            let (kept, body) = fill.keep_all(pieces);
            return stored(kept, parts, PageBody::whole(body));
        }
        Reading::Unfinished(unfinished) => match unfinished.stop {
            Stop::Waiting => {
                let finishes = site.settings.crowd.finishes_fills;
                let untold = Untold::of(why);
                let body = match Handle::try_current() {
                    Ok(runtime) if finishes || lookout.is_some() => {
                        let (pieces, rest) = unfinished.into_pieces();
                        let (pump, pumped) = Pump::new(pieces, rest, largest, expected, fill, untold);
                        runtime.spawn(pump.run(lookout, finishes).in_current_span());
                        PageBody::pumped(pumped)
                    }
                    _ => unfinished.into_watched_body(largest, expected, fill.on_end(untold)),
                };
                return answered(Response::from_parts(parts, body), Outcome::Storing { why }, site);
            }
            Stop::TooLarge => (unfinished.into_body(), Reason::TooLarge),
            Stop::Trailers => (unfinished.into_body(), Reason::Trailers),
            Stop::Failed => (unfinished.into_body(), Reason::Incomplete),
        },
    };
    fill.refuse();
    let outcome = Outcome::Forwarded { why, stored: Err(reason) };
    let response = Response::from_parts(parts, body);
    if reason == Reason::Incomplete { Settled::Broken(outcome, response) } else { answered(response, outcome, site) }
}

/// Tells a layer further out, if there is one, that this is a hit already.
pub(super) fn mark_hit<B: Body>(response: &mut Response<PageBody<B>>, outcome: Outcome, site: &Site, is_nested: bool) {
    if is_nested {
        response.extensions_mut().insert(FromInnerCache);
    }
    outcome.report(response, site);
}

impl Outcome {
    pub(super) fn hit(page: &Page, now: Timestamp) -> Self {
        if now >= page.expires_at {
            return Outcome::Stale { late: now.since(page.expires_at).as_secs() };
        }
        Outcome::Hit { ttl: page.expires_at.since(now).as_secs() }
    }

    /// Puts the outcome into `tracing` and, where the layer was told to, into `Cache-Status`.
    pub(super) fn report<B>(self, response: &mut Response<B>, site: &Site) {
        self.tell();
        if let Some(name) = &site.settings.status_name
            && let Some(value) = self.cache_status(name)
        {
            response.headers_mut().append("cache-status", value);
        }
    }
}

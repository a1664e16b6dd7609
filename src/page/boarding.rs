//! One fill for many: whoever finds no page leads the flight that brings it, waits for it and looks again, or goes alone;
//! where a store is shared, the leaders of several processes settle by a lease who runs the handler.
//! The response future boards here; what a leader has to tell those who wait, the fill tells.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::look::look_again;
use super::reason::{Forward, Reason};
use super::site::Site;
use super::text::{self, Found, Sought};
use super::variant::write_variant;
use super::visit::Visit;
use crate::cache::{Boarding, End, Lead, Lease, Pauses};

pub(super) type Seeking = Pin<Box<dyn Future<Output = Result<Boarded, Reason>> + Send>>;

/// What one who looked for a page ends up with.
pub(super) enum Boarded {
    /// The page; and if it was found only after waiting for another's, why it was not found before.
    Found(Box<Found>, Option<Forward>),
    /// None: the handler runs, for others too if the visit has the lead.
    Missing(Box<Visit>, Forward),
    /// A page that is answered at once and made anew behind, and how many flights had landed when it was looked for.
    ToRefresh(Box<Found>, Box<Visit>, Forward, u64),
    /// None, and the handler has failed another visitor, or lets him wait for too long.
    Failed(Box<Visit>, Forward),
}

/// Boards at once for a visit whose page was not in memory. `Err` is for those who have to wait, or to look again.
pub(super) fn board_at_once(
    site: &Arc<Site>,
    visit: Box<Visit>,
    why: Forward,
    landed: u64,
) -> Result<(Box<Visit>, Forward), Seeking> {
    match board(site, &visit) {
        None => Ok((visit, why)),
        Some(Boarding::Alone(lead)) => Ok((visit.with(lead), why)),
        Some(Boarding::Lead(lead)) if site.cache().page_flights().landed() == landed => Ok((visit.with(lead), why)),
        Some(boarding) => Err(Box::pin(find_or_lead(Arc::clone(site), visit, why, boarding, None))),
    }
}

/// Seeks the page for a visit in a store that answers later, and boards where it is not there.
pub(super) async fn seek_and_board(site: Arc<Site>, visit: Box<Visit>) -> Result<Boarded, Reason> {
    let landed = site.cache().page_flights().landed_near(&visit.key);
    match text::seek(Arc::clone(&site), visit).await? {
        Sought::Found(found, mut visit) if visit.is_due => {
            visit.stale = Some(found.clone());
            Ok(Boarded::ToRefresh(found, visit, Forward::Stale, landed))
        }
        Sought::Found(found, _) => Ok(Boarded::Found(found, None)),
        Sought::Missing(visit, why) => {
            if let Some(stale) = visit.answered_meanwhile(&site) {
                return Ok(Boarded::ToRefresh(stale, visit, why, landed));
            }
            match board(&site, &visit) {
                None => Ok(Boarded::Missing(visit, why)),
                // A box of its own, for a hit has no use for it.
                Some(boarding) => Box::pin(find_or_lead(site, visit, why, boarding, Some(landed))).await,
            }
        }
    }
}

/// Leads the flight that makes a page anew which is answered meanwhile. `None` where somebody does so already.
pub(super) fn board_to_refresh(
    site: &Arc<Site>,
    visit: Box<Visit>,
    why: Forward,
    landed: Option<u64>,
) -> Option<Seeking> {
    let boarding = board_anyway(site, &visit).filter(|boarding| matches!(boarding, Boarding::Lead(_)))?;
    Some(Box::pin(find_or_lead(Arc::clone(site), visit, why, boarding, landed)))
}

/// What a visit is to do; `None` where everybody runs the handler and nobody waits.
fn board(site: &Site, visit: &Visit) -> Option<Boarding> {
    if site.settings.crowd.is_led { board_anyway(site, visit) } else { None }
}

fn board_anyway(site: &Site, visit: &Visit) -> Option<Boarding> {
    let crowd = &site.settings.crowd;
    // Without a runtime nothing could end a wait or take over from a leader who leaves.
    if !site.cache().page_flights().can_wait() {
        return None;
    }
    let (cache, key) = (site.cache(), flight_key(site, visit)?);
    Some(cache.page_flights().board(&visit.key, &key, crowd.most_waiters, cache.clock().now()))
}

/// What tells requests of one address apart that cannot have one page, as far as it is known yet. Requests of two key
/// schemes never wait for each other either: the one layer may stand behind the other.
fn flight_key(site: &Site, visit: &Visit) -> Option<Vec<u8>> {
    let mut key = vec![site.settings.scheme as u8, u8::from(visit.is_head), u8::from(visit.has_authorization)];
    write_variant(&mut key, visit.seen.as_ref()?, &visit.varies_on, &visit.headers);
    Some(key)
}

/// How often one waits for pages that then are none of his.
const MOST_LANDINGS: usize = 2;

/// Waits as long as there is another's flight to wait for, and then looks again: whoever waited is answered by the very
/// look-up that everybody is, so that nobody gets a page that is not for him (safety rules 4, 5, 6, 18 and 19). `landed` is
/// how many flights had landed before the last look.
async fn find_or_lead(
    site: Arc<Site>,
    mut visit: Box<Visit>,
    missed: Forward,
    mut boarding: Boarding,
    mut landed: Option<u64>,
) -> Result<Boarded, Reason> {
    let flights = site.cache().page_flights();
    let longest_wait = site.settings.crowd.longest_wait;
    let patience = visit.patience(&site).unwrap_or(longest_wait);
    let deadline = Instant::now() + longest_wait.min(patience);
    let mut why = missed;
    let mut landings = 0;
    loop {
        // Whoever leads has still to see whether another landed between his look and his lead.
        let (lead, is_leading, is_deleted) = match boarding {
            Boarding::Alone(lead) => return Ok(Boarded::Missing(visit.with(lead), why)),
            Boarding::Lead(lead) => (lead, true, false),
            Boarding::Wait(seat) => {
                let end = seat.ended(deadline).await;
                let lead = seat.into_lone_lead();
                if end.is_none() {
                    tracing::debug!(target: "larder", "waited for another's page as long as a request may");
                }
                match end {
                    None | Some(End::Failed) => return Ok(Boarded::Failed(visit.with(lead), why)),
                    Some(End::Refused) => return Ok(Boarded::Missing(visit.with(lead), why)),
                    Some(End::Landed) => landings += 1,
                    Some(End::Dropped | End::Cut) => {}
                }
                (lead, false, end == Some(End::Cut))
            }
        };
        let landed_now = Some(flights.landed_near(&visit.key));
        let mut has_the_right_key = true;
        if landed_now != landed || is_deleted {
            landed = landed_now;
            let varied_on = visit.varies_on.clone();
            match look_for_better(&site, visit).await? {
                Sought::Missing(missing, now_why) => {
                    has_the_right_key = missing.varies_on == varied_on;
                    (visit, why) = (missing, now_why);
                }
                Sought::Found(found, _) => {
                    if is_leading {
                        lead.land();
                    }
                    return Ok(Boarded::Found(found, Some(missed)));
                }
            }
        }
        if is_leading && has_the_right_key {
            return lease_or_find(&site, visit, (missed, why), lead, deadline).await;
        }
        if landings == MOST_LANDINGS {
            return Ok(Boarded::Missing(visit.with(lead), why));
        }
        landings += usize::from(is_leading);
        drop(lead);
        boarding = match board(&site, &visit) {
            Some(boarding) => boarding,
            None => return Ok(Boarded::Missing(visit, why)),
        };
    }
}

/// Looks again for a visit. One that makes a page anew ahead of time has not found anything while it finds that very page.
async fn look_for_better(site: &Arc<Site>, visit: Box<Visit>) -> Result<Sought, Reason> {
    let known = visit.stale.as_ref().filter(|_| visit.is_refresh).map(|stale| stale.page.stored_at);
    match look_again(site, visit).await? {
        Sought::Found(found, mut visit) if Some(found.page.stored_at) == known => {
            visit.stale = Some(found);
            Ok(Sought::Missing(visit, Forward::Stale))
        }
        sought => Ok(sought),
    }
}

/// Takes the lease, where the layer has one, or finds the page that the holder of it makes in another process. Where the
/// store fails, or the wait is over, the handler runs without it.
async fn lease_or_find(
    site: &Arc<Site>,
    mut visit: Box<Visit>,
    (missed, mut why): (Forward, Forward),
    mut lead: Lead,
    deadline: Instant,
) -> Result<Boarded, Reason> {
    let cache = site.cache();
    let key = lease_key(site, &visit);
    let (Some(time), Some(key), None) = (site.settings.crowd.lease, key, cache.backend().objects()) else {
        return Ok(Boarded::Missing(visit.with(lead), why));
    };
    let mut pauses = Pauses::new();
    loop {
        let is_over = Instant::now() >= deadline;
        let mut is_held = false;
        match Lease::take(cache.backend(), key.clone(), time).await {
            Ok(Some(lease)) => {
                lead.hold(lease);
                is_held = true;
            }
            // Another process makes it anew, and nobody waits for that.
            Ok(None) if visit.is_refresh => {
                return Ok(match visit.stale.take() {
                    Some(stale) => Boarded::Found(stale, None),
                    None => Boarded::Missing(visit.with(lead), why),
                });
            }
            Ok(None) if !is_over => pauses.pause(deadline).await,
            Ok(None) => return Ok(Boarded::Failed(visit.with(lead), why)),
            Err(_) => return Ok(Boarded::Missing(visit.with(lead), why)),
        }
        // With the lease, too: the page may have been stored since the last look, and the lease given back.
        match look_for_better(site, visit).await? {
            Sought::Missing(missing, now_why) => (visit, why) = (missing, now_why),
            Sought::Found(found, _) => {
                lead.land();
                return Ok(Boarded::Found(found, Some(missed)));
            }
        }
        if is_held {
            return Ok(Boarded::Missing(visit.with(lead), why));
        }
    }
}

/// The key of the lease for what a visit wants.
fn lease_key(site: &Site, visit: &Visit) -> Option<String> {
    site.settings.crowd.lease?;
    let mut digest = Sha256::new();
    digest.update((visit.key.len() as u64).to_le_bytes());
    digest.update(&*visit.key);
    digest.update(flight_key(site, visit)?);
    site.cache().final_key(&format!("larder.lease.{}", hex::encode(&digest.finalize()[..16]))).ok()
}

//! The service a cache layer makes: it answers what it can at once, and sends the rest on to the inner service.
//! One `Arc` is all it holds, since axum clones it for every request.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};

use http::{Method, Request, Response};
use http_body::Body;
use tower_service::Service;

use super::address::{Address, AddressBytes, Left, Opening, OriginalUrl, original_uri};
use super::answer::{answer, is_known_to};
use super::body::PageBody;
use super::facts::RequestFacts;
use super::future::ResponseFuture;
use super::look::{Asked, find};
use super::reason::{Forward, Outcome};
use super::sent_on::{After, SentOn};
use super::site::Site;
use super::text::recall::text_keys;
use super::variant::Seen;
use super::visit::{Bared, Visit};
use crate::headers::is_tagged_further_out;

/// Answers from the cache, or asks the inner service and stores what it may. Made by [`CacheLayer`](super::CacheLayer).
///
/// It is always ready. The inner service is cloned, made ready and called for a request that is sent on to it: a hit costs
/// it nothing, and is answered even while it takes no more requests. So a limit on concurrent requests and what sheds load
/// belong inside of the cache, both of them.
pub struct CacheService<S> {
    shared: Arc<Shared<S>>,
}

/// What all clones of a service share.
pub(super) struct Shared<S> {
    /// Only ever locked to clone it. A lock, since it need not be `Sync`.
    inner: Mutex<S>,
    pub(super) site: Arc<Site>,
    opening: OnceLock<Opening>,
}

impl<S: Clone> Shared<S> {
    /// An inner service for one request.
    pub(super) fn inner(&self) -> S {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl<S> Shared<S> {
    /// The bytes of an address of this layer.
    fn key(&self, address: &Address<'_>) -> AddressBytes {
        let opening = self.opening.get_or_init(|| {
            let settings = &self.site.settings;
            Opening::of(self.site.cache().scope(), &settings.prefix, &settings.origin.scheme)
        });
        opening.go_on(address)
    }
}

impl<S> Clone for CacheService<S> {
    fn clone(&self) -> Self {
        CacheService { shared: Arc::clone(&self.shared) }
    }
}

impl<S: fmt::Debug> fmt::Debug for CacheService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { inner, site, .. } = &*self.shared;
        f.debug_struct("CacheService").field("inner", inner).field("site", site).finish()
    }
}

/// Left on a request by a layer that sends it on, for cache layers further in.
#[derive(Clone)]
struct OuterLayer {
    site: Arc<Site>,
    further_out: Option<Arc<OuterLayer>>,
}

impl OuterLayer {
    /// Whether this layer, or one further out, keeps its pages where `site` would.
    fn has_place_of(&self, site: &Site) -> bool {
        self.site.is_same_place(site) || self.further_out.as_ref().is_some_and(|outer| outer.has_place_of(site))
    }
}

impl<S> CacheService<S> {
    pub(super) fn new(inner: S, site: Arc<Site>) -> Self {
        CacheService { shared: Arc::new(Shared { inner: Mutex::new(inner), site, opening: OnceLock::new() }) }
    }

    /// The service inside.
    pub fn into_inner(self) -> S
    where
        S: Clone,
    {
        self.shared.inner()
    }
}

impl<S, B, B2> Service<Request<B>> for CacheService<S>
where
    S: Service<Request<B>, Response = Response<B2>, Future: Send + 'static> + Clone + Send + 'static,
    B: Body + Send + 'static,
    B2: Body<Error: Send> + Send + 'static,
{
    type Response = Response<PageBody<B2>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, B, B2>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let site = &self.shared.site;
        let facts = RequestFacts::of(request.headers());
        let left = Left::on(&request);
        let address = match facts.check(&request).and_then(|()| site.address(request.headers(), &facts, left)) {
            Ok(address) => address,
            Err(reason) => {
                mark(site, &mut request);
                return ResponseFuture::send_on(request, After::Pass(reason), &self.shared);
            }
        };
        let outer = request.extensions().get::<OuterLayer>();
        if outer.is_some_and(|outer| outer.has_place_of(site)) {
            return ResponseFuture::send_on(request, After::LeaveToOuter, &self.shared);
        }
        let is_nested = outer.is_some();
        let key = self.shared.key(&address);

        let Some(objects) = site.cache().backend().objects() else {
            let text = text_keys(site.settings.scheme, &address, &key);
            let has_language = address.language.is_some();
            let request = Bared::of(request);
            let mut visit = request.visit(has_language, key);
            visit.text = Some(text);
            return ResponseFuture::seek(visit, request, &self.shared, is_nested);
        };

        let landed = site.cache().page_flights().landed();
        let is_head = request.method() == Method::HEAD;
        let now = site.cache().clock().lately();
        let seen = Seen::with(&request, left);
        let has_authorization = facts.has_authorization;
        let asked = Asked { is_head, has_authorization, seen: &seen, headers: request.headers() };
        let shown = objects.look(&key);
        let missing = match find(objects, &shown, &key, &asked, now) {
            Ok((page, ready)) => {
                let is_known = facts.has_preconditions && {
                    let is_tagged_further_out = is_tagged_further_out(request.extensions());
                    is_known_to(request.headers(), page, &ready, is_head, is_tagged_further_out, now)
                };
                // Made where it stays: to move a response takes as long as to look it up.
                let mut answered = ResponseFuture::answered(answer(page, &ready, is_head, is_known, now));
                answered.mark_hit(Outcome::hit(page, now), site, is_nested);
                if site.is_due_early(page, now) {
                    let mut visit = Box::new(Visit::new(&request, &address, key));
                    visit.begun.purges_in_memory = objects.purges();
                    visit.varies_on = page.varies_on();
                    visit.stale = Some(visit.found((page.clone(), Arc::clone(&ready)), now));
                    mark(site, &mut request);
                    let landed = landed_near(site, &visit, landed);
                    SentOn::refresh(visit, Forward::Stale, landed, request, &self.shared);
                }
                return answered;
            }
            Err(missing) => missing,
        };
        drop(shown);
        let mut visit = Box::new(Visit::new(&request, &address, key));
        visit.begun.purges_in_memory = objects.purges();
        visit.varies_on = missing.varies_on;
        visit.stale = missing.stale.map(|stale| visit.found(*stale, now));
        let why = missing.why;
        mark(site, &mut request);
        if let Some(stale) = visit.answered_meanwhile(site) {
            let landed = landed_near(site, &visit, landed);
            SentOn::refresh(visit, why, landed, request, &self.shared);
            let mut answered = ResponseFuture::answered(stale.response());
            answered.mark_hit(stale.outcome(), site, is_nested);
            return answered;
        }
        ResponseFuture::board(visit, why, landed, request, &self.shared, is_nested)
    }
}

/// How many flights had landed near a visit's address when it looked; `None` where any at all has landed since.
fn landed_near(site: &Site, visit: &Visit, landed: u64) -> Option<u64> {
    let flights = site.cache().page_flights();
    let near = flights.landed_near(&visit.key);
    (flights.landed() == landed).then_some(near)
}

/// Tells layers further in what this one has seen, a request that it does not answer for itself included: a page that
/// one of them kept in the same place would be found here without what the layers between add to it.
pub(super) fn mark<B>(site: &Arc<Site>, request: &mut Request<B>) {
    if request.extensions().get::<OriginalUrl>().is_none() {
        let url = OriginalUrl(original_uri(request).clone());
        request.extensions_mut().insert(url);
    }
    let further_out = request.extensions_mut().remove::<OuterLayer>().map(Arc::new);
    request.extensions_mut().insert(OuterLayer { site: Arc::clone(site), further_out });
}

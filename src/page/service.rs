//! The service a cache layer makes: it answers what it can at once, and sends the rest on to the inner service.
//! One `Arc` is all it holds, since axum clones it for every request.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use http::{Method, Request, Response};
use http_body::Body;
use tower_service::Service;

use super::address::{OriginalUrl, original_uri};
use super::answer::{answer, is_known_to};
use super::body::PageBody;
use super::facts::RequestFacts;
use super::frame::Page;
use super::future::{After, ResponseFuture};
use super::reason::{Forward, Outcome, Reason};
use super::shelf::{Ready, as_shelf, keep_ready};
use super::site::Site;
use super::text_store;
use super::variant::Seen;
use super::visit::Visit;
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
#[derive(Debug)]
pub(super) struct Shared<S> {
    /// Only ever locked to clone it. A lock, since it need not be `Sync`.
    inner: Mutex<S>,
    pub(super) site: Arc<Site>,
}

impl<S: Clone> Shared<S> {
    /// An inner service for one request.
    pub(super) fn inner(&self) -> S {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl<S> Clone for CacheService<S> {
    fn clone(&self) -> Self {
        CacheService { shared: Arc::clone(&self.shared) }
    }
}

impl<S: fmt::Debug> fmt::Debug for CacheService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { inner, site } = &*self.shared;
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
        CacheService { shared: Arc::new(Shared { inner: Mutex::new(inner), site }) }
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
    S: Service<Request<B>, Response = Response<B2>> + Clone,
    B: Body,
    B2: Body,
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
        let address = match facts.check(&request).and_then(|()| site.address(&request, &facts)) {
            Ok(address) => address,
            Err(reason) => {
                mark(site, &mut request);
                return self.send_on(request, After::Pass(reason));
            }
        };
        let outer = request.extensions().get::<OuterLayer>();
        if outer.is_some_and(|outer| outer.has_place_of(site)) {
            return self.send_on(request, After::LeaveToOuter);
        }
        let is_nested = outer.is_some();
        let key = address.to_bytes(site.cache().scope());

        let Some(objects) = site.cache().backend().objects() else {
            let mut visit = Visit::new(&request, &address, key);
            visit.text = Some(address.to_owned());
            mark(site, &mut request);
            let seeking = Box::pin(text_store::seek(Arc::clone(site), Box::new(visit)));
            return ResponseFuture::seek(seeking, request, Arc::clone(&self.shared), is_nested);
        };

        let is_head = request.method() == Method::HEAD;
        let now = site.cache().clock().now();
        let may_answer = |page: &Page| page.is_public || !facts.has_authorization;
        let seen = Seen::of(&request);
        let mut why = Forward::UriMiss;
        let mut answered = None;
        let mut made_ready = None;
        objects.look(&key, &mut |object| {
            let Some(shelf) = as_shelf(&**object) else { return };
            let position = match shelf.find(is_head, Some(&seen), request.headers(), may_answer, now) {
                Ok(position) => position,
                Err(other) => return why = other,
            };
            let (page, ready) = shelf.at(position);
            let mut hit = |ready: &Ready| {
                let is_known = facts.has_preconditions && {
                    let is_tagged_further_out = is_tagged_further_out(request.extensions());
                    is_known_to(request.headers(), page, ready, is_head, is_tagged_further_out, now)
                };
                answered = Some((answer(page, ready, is_head, is_known, now), Outcome::hit(page, now)));
            };
            if let Some(ready) = ready {
                hit(ready);
            } else if let Some(ready) = Ready::of(page).map(Arc::new) {
                hit(&ready);
                made_ready = Some((Arc::clone(object), position, ready));
            }
        });
        if let Some((object, position, ready)) = made_ready {
            keep_ready(objects, &key, &object, position, ready);
        }
        if let Some((response, outcome)) = answered {
            return ResponseFuture::answered(response, outcome, site, is_nested);
        }
        let visit = Box::new(Visit::new(&request, &address, key));
        mark(site, &mut request);
        self.send_on(request, After::Store(visit, why))
    }
}

impl<S> CacheService<S> {
    fn send_on<B, B2>(&self, request: Request<B>, after: After) -> ResponseFuture<S, B, B2>
    where
        S: Service<Request<B>, Response = Response<B2>> + Clone,
        B2: Body,
    {
        ResponseFuture::send_on(request, after, Arc::clone(&self.shared))
    }
}

/// Tells layers further in what this one has seen, a request that it does not answer for itself included: a page that
/// one of them kept in the same place would be found here without what the layers between add to it.
fn mark<B>(site: &Arc<Site>, request: &mut Request<B>) {
    if request.extensions().get::<OriginalUrl>().is_none() {
        let url = OriginalUrl(original_uri(request).clone());
        request.extensions_mut().insert(url);
    }
    let further_out = request.extensions_mut().remove::<OuterLayer>().map(Arc::new);
    request.extensions_mut().insert(OuterLayer { site: Arc::clone(site), further_out });
}

impl After {
    pub(super) fn why(&self) -> Forward {
        match self {
            After::Pass(reason) => Forward::Bypass(*reason),
            After::LeaveToOuter => Forward::Bypass(Reason::OuterLayer),
            After::Store(_, why) => *why,
        }
    }
}

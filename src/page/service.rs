//! The service a cache layer makes: it answers what it can at once, and sends the rest on to the inner service.
//! One `Arc` and the inner service is all it holds, since axum clones it for every request.

use std::sync::Arc;
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
#[derive(Clone, Debug)]
pub struct CacheService<S> {
    inner: S,
    site: Arc<Site>,
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
        CacheService { inner, site }
    }

    /// The service inside.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The service inside.
    pub fn into_inner(self) -> S {
        self.inner
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

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let site = &self.site;
        let facts = RequestFacts::of(request.headers());
        let address = match facts.check(&request).and_then(|()| site.address(&request, &facts)) {
            Ok(address) => address,
            Err(reason) => {
                self.mark(&mut request);
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
            self.mark(&mut request);
            // The inner service that was made ready goes into the future, a fresh clone stays (tower's readiness rule).
            let fresh = self.inner.clone();
            let service = std::mem::replace(&mut self.inner, fresh);
            let seeking = Box::pin(text_store::seek(Arc::clone(&self.site), Box::new(visit)));
            return ResponseFuture::seek(seeking, request, service, Arc::clone(&self.site), is_nested);
        };

        let is_head = request.method() == Method::HEAD;
        let now = site.cache().clock().now();
        let may_answer = |page: &Page| page.is_public || !facts.has_authorization;
        let seen = Seen::of(&request);
        let object = objects.get(&key);
        let why = match object.as_deref().and_then(as_shelf) {
            None => Forward::UriMiss,
            Some(shelf) => match shelf.find(is_head, Some(&seen), request.headers(), may_answer, now) {
                Err(why) => why,
                Ok(position) => {
                    let (page, ready) = shelf.at(position);
                    let hit = |ready: &Ready| {
                        let is_known = facts.has_preconditions
                            && is_known_to(
                                request.headers(),
                                page,
                                ready,
                                is_head,
                                is_tagged_further_out(request.extensions()),
                                now,
                            );
                        let response = answer(page, ready, is_head, is_known, now);
                        ResponseFuture::answered(response, Outcome::hit(page, now), site, is_nested)
                    };
                    if let Some(ready) = ready {
                        return hit(ready);
                    }
                    match Ready::of(page).map(Arc::new) {
                        None => Forward::UriMiss,
                        Some(ready) => {
                            let answered = hit(&ready);
                            if let Some(object) = &object {
                                keep_ready(objects, &key, object, position, ready);
                            }
                            return answered;
                        }
                    }
                }
            },
        };
        let visit = Box::new(Visit::new(&request, &address, key));
        self.mark(&mut request);
        self.send_on(request, After::Store(visit, why))
    }
}

impl<S> CacheService<S> {
    /// Tells layers further in what this one has seen, a request that it does not answer for itself included: a page that
    /// one of them kept in the same place would be found here without what the layers between add to it.
    fn mark<B>(&self, request: &mut Request<B>) {
        if request.extensions().get::<OriginalUrl>().is_none() {
            let url = OriginalUrl(original_uri(request).clone());
            request.extensions_mut().insert(url);
        }
        let further_out = request.extensions_mut().remove::<OuterLayer>().map(Arc::new);
        request.extensions_mut().insert(OuterLayer { site: Arc::clone(&self.site), further_out });
    }

    fn send_on<B, B2>(&mut self, request: Request<B>, after: After) -> ResponseFuture<S, B, B2>
    where
        S: Service<Request<B>, Response = Response<B2>>,
        B2: Body,
    {
        ResponseFuture::running(self.inner.call(request), after, Arc::clone(&self.site))
    }
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

//! The layers that only change the headers of responses: one layer, one service and one future for all of them.
//! Applications put them on routes; Django has them as decorators of views (VIEW-2 to VIEW-5).

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::header::HeaderMap;
use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::cache_control::CacheControl;
use super::patch::{add_never_cache_headers, patch_cache_control};
use super::syntax::is_token;
use super::vary::patch_vary_headers;
use crate::clock::Clock;

/// Merges directives into the `Cache-Control` of every response, as Django's decorator of this name does (VIEW-2).
///
/// Inside a cache layer the directives decide what is stored; outside of it they only go to the client. See
/// [`patch_cache_control`] for the rules of merging.
///
/// ```
/// use larder::{CacheControl, cache_control};
/// use axum::{Router, routing::get};
///
/// let app: Router = Router::new()
///     .route("/feed", get(|| async { "news" }).layer(cache_control(CacheControl::new().public().max_age(60))));
/// ```
pub fn cache_control(directives: CacheControl) -> PatchLayer<CacheControl> {
    PatchLayer::new(directives)
}

/// Says of every response that it is never to be cached, as Django's decorator of this name does (VIEW-3); see
/// [`add_never_cache_headers`] for what it writes. Inside a cache layer it keeps the response out of the cache.
///
/// ```
/// use larder::never_cache;
/// use axum::{Router, routing::get};
///
/// let app: Router = Router::new().route("/me", get(|| async { "you" }).layer(never_cache()));
/// ```
pub fn never_cache() -> PatchLayer<NeverCache> {
    PatchLayer::new(NeverCache::new())
}

/// Adds header names to the `Vary` of every response, as Django's decorator of this name does (VIEW-4): strings, or
/// [`http::HeaderName`]s, written as they are spelled. `*` is taken too. See [`patch_vary_headers`] for the rules.
///
/// Inside a cache layer each combination of values of these headers is a page of its own; outside of it they only go to
/// the client.
///
/// ```
/// use larder::vary_on_headers;
/// use axum::{Router, routing::get};
///
/// let app: Router = Router::new()
///     .route("/", get(|| async { "hello" }).layer(vary_on_headers(["User-Agent", "Accept-Language"])));
/// ```
///
/// # Panics
/// If a name is no header name.
#[track_caller]
pub fn vary_on_headers<N: AsRef<str>>(names: impl IntoIterator<Item = N>) -> PatchLayer<VaryOn> {
    PatchLayer::new(VaryOn::new(names))
}

/// Adds `Cookie` to the `Vary` of every response, as Django's decorator of this name does (VIEW-4).
///
/// ```
/// use larder::vary_on_cookie;
/// use axum::{Router, routing::get};
///
/// let app: Router = Router::new().route("/", get(|| async { "hello" }).layer(vary_on_cookie()));
/// ```
pub fn vary_on_cookie() -> PatchLayer<VaryOn> {
    vary_on_headers(["Cookie"])
}

/// A change of the headers of a response; what a [`PatchLayer`] does to each that passes through it.
pub trait PatchHeaders {
    /// Changes the headers.
    fn patch(&self, headers: &mut HeaderMap);
}

impl PatchHeaders for CacheControl {
    fn patch(&self, headers: &mut HeaderMap) {
        patch_cache_control(headers, self);
    }
}

/// What [`never_cache`] does; with the feature `axum` a handler can return it beside its body.
#[derive(Clone, Debug, Default)]
pub struct NeverCache {
    clock: Clock,
}

impl NeverCache {
    /// Never to be cached, by the system's clock.
    pub fn new() -> Self {
        NeverCache::default()
    }

    /// Takes the time of `Expires` from this clock.
    pub fn clock(self, clock: Clock) -> Self {
        NeverCache { clock }
    }
}

impl PatchHeaders for NeverCache {
    fn patch(&self, headers: &mut HeaderMap) {
        add_never_cache_headers(headers, self.clock.now());
    }
}

/// What [`vary_on_headers`] and [`vary_on_cookie`] do; with the feature `axum` a handler can return it beside its body.
#[derive(Clone, Debug)]
pub struct VaryOn {
    names: Vec<String>,
}

impl VaryOn {
    /// Varies on these headers.
    ///
    /// # Panics
    /// If a name is no header name.
    #[track_caller]
    pub fn new<N: AsRef<str>>(names: impl IntoIterator<Item = N>) -> Self {
        let mut checked = Vec::new();
        for name in names {
            let name = name.as_ref();
            assert!(is_token(name), "{name:?} is no header name: Vary cannot name it");
            checked.push(name.to_owned());
        }
        VaryOn { names: checked }
    }

    /// Varies on `Cookie`.
    pub fn cookie() -> Self {
        VaryOn::new(["Cookie"])
    }
}

impl PatchHeaders for VaryOn {
    fn patch(&self, headers: &mut HeaderMap) {
        patch_vary_headers(headers, &self.names);
    }
}

/// Changes the headers of every response that passes through; see the [module](super) for what there is.
///
/// Of several on one route the innermost patches first: the last one of a tuple, or the one that was added first.
pub struct PatchLayer<P> {
    patch: Arc<P>,
}

impl<P> PatchLayer<P> {
    pub(super) fn new(patch: P) -> Self {
        PatchLayer { patch: Arc::new(patch) }
    }
}

impl<P: Clone> PatchLayer<P> {
    pub(super) fn into_patch(self) -> P {
        Arc::unwrap_or_clone(self.patch)
    }
}

impl PatchLayer<NeverCache> {
    /// Takes the time of `Expires` from this clock; the default is the system's.
    pub fn clock(self, clock: Clock) -> Self {
        PatchLayer::new(self.into_patch().clock(clock))
    }
}

impl<P> Clone for PatchLayer<P> {
    fn clone(&self) -> Self {
        PatchLayer { patch: Arc::clone(&self.patch) }
    }
}

impl<P: fmt::Debug> fmt::Debug for PatchLayer<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PatchLayer").field(&self.patch).finish()
    }
}

impl<S, P> Layer<S> for PatchLayer<P> {
    type Service = PatchService<S, P>;

    fn layer(&self, inner: S) -> Self::Service {
        PatchService { inner, patch: Arc::clone(&self.patch) }
    }
}

/// The service of a [`PatchLayer`].
pub struct PatchService<S, P> {
    inner: S,
    patch: Arc<P>,
}

impl<S: Clone, P> Clone for PatchService<S, P> {
    fn clone(&self) -> Self {
        PatchService { inner: self.inner.clone(), patch: Arc::clone(&self.patch) }
    }
}

impl<S: fmt::Debug, P: fmt::Debug> fmt::Debug for PatchService<S, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PatchService").field("inner", &self.inner).field("patch", &self.patch).finish()
    }
}

impl<S, P, B, B2> Service<Request<B>> for PatchService<S, P>
where
    S: Service<Request<B>, Response = Response<B2>>,
    P: PatchHeaders,
{
    type Response = Response<B2>;
    type Error = S::Error;
    type Future = PatchFuture<S::Future, P>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        PatchFuture { inner: self.inner.call(request), patch: Arc::clone(&self.patch) }
    }
}

pin_project! {
    /// The future of a [`PatchService`].
    pub struct PatchFuture<F, P> {
        #[pin]
        inner: F,
        patch: Arc<P>,
    }
}

impl<F, P, B, E> Future for PatchFuture<F, P>
where
    F: Future<Output = Result<Response<B>, E>>,
    P: PatchHeaders,
{
    type Output = Result<Response<B>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.inner.poll(context))?;
        this.patch.patch(response.headers_mut());
        Poll::Ready(Ok(response))
    }
}

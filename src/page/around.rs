//! A cache layer around a whole axum router: a service that `axum::serve` takes, so that a hit never enters the router.
//! Applications make one with [`CacheLayer::around`].

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll, ready as poll_ready};

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::Request;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::future::ResponseFuture;
use super::layer::CacheLayer;
use super::service::CacheService;

impl CacheLayer {
    /// Puts the layer around a whole router. It answers what the same layer inside ([`Router::layer`]) would, but a hit
    /// costs about half, as it never enters the router.
    ///
    /// ```no_run
    /// use axum::{Router, routing::get};
    /// use larder::CacheLayer;
    ///
    /// # #[tokio::main] async fn main() -> std::io::Result<()> {
    /// let router = Router::new().route("/", get(|| async { "hello, world!" }));
    /// let site = CacheLayer::per_site().around(router);
    /// let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    /// axum::serve(listener, site.into_make_service()).await
    /// # }
    /// ```
    ///
    /// # Panics
    /// As [`Layer::layer`] does.
    pub fn around(&self, router: Router) -> CachedRouter {
        // Without a state, axum makes the router's services anew for every request.
        CachedRouter { inner: self.layer(router.with_state(())) }
    }
}

/// A router with a cache around it; see [`CacheLayer::around`].
#[derive(Clone, Debug)]
pub struct CachedRouter {
    inner: CacheService<Router>,
}

impl CachedRouter {
    /// What `axum::serve` takes: it makes a service for each connection.
    pub fn into_make_service(self) -> MakeCachedRouter {
        MakeCachedRouter { service: self }
    }
}

impl Service<Request<Body>> for CachedRouter {
    type Response = Response;
    type Error = Infallible;
    type Future = CachedRouterFuture;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<Body>>::poll_ready(&mut self.inner, context)
    }

    fn call(&mut self, request: Request<Body>) -> CachedRouterFuture {
        CachedRouterFuture { inner: self.inner.call(request) }
    }
}

pin_project! {
    /// The response of a [`CachedRouter`].
    pub struct CachedRouterFuture {
        #[pin]
        inner: ResponseFuture<Router, Body, Body>,
    }
}

impl Future for CachedRouterFuture {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Ok(response) = poll_ready!(self.project().inner.poll(context));
        Poll::Ready(Ok(response.map(Body::new)))
    }
}

/// Makes a [`CachedRouter`] for each connection; see [`CachedRouter::into_make_service`].
#[derive(Clone, Debug)]
pub struct MakeCachedRouter {
    service: CachedRouter,
}

impl<T> Service<T> for MakeCachedRouter {
    type Response = CachedRouter;
    type Error = Infallible;
    type Future = Ready<Result<CachedRouter, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _connection: T) -> Self::Future {
        ready(Ok(self.service.clone()))
    }
}

//! Whole pages: a layer that answers from the cache what it can, and stores what the handler answered where it may.
//! Applications put [`CacheLayer`] around a router, a route or any tower service.
//!
//! ```
//! use axum::{Router, body::Body, routing::get};
//! use http::Request;
//! use larder::{Cache, CacheLayer, cache_page, never_cache};
//! use tower::ServiceExt;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let cache = Cache::memory();
//! let site: Router = Router::new()
//!     .route("/", get(|| async { "home" }))
//!     .route("/news", get(|| async { "news" }).layer(cache_page(30).cache(&cache)))
//!     .route("/me", get(|| async { "you" }).layer(never_cache()))
//!     .layer(CacheLayer::per_site().cache(&cache).cache_status("larder"));
//!
//! let ask = |url: &str| site.clone().oneshot(Request::get(url).body(Body::empty()).unwrap());
//! let first = ask("http://localhost/news").await.unwrap();
//! assert_eq!(first.headers()["cache-status"], "larder; fwd=uri-miss; stored");
//! assert_eq!(first.headers()["cache-control"], "max-age=30");
//! let second = ask("http://localhost/news").await.unwrap();
//! assert!(second.headers()["cache-status"].to_str().unwrap().starts_with("larder; hit; ttl="));
//! assert!(second.headers().contains_key("age"));
//! let mine = ask("http://localhost/me").await.unwrap();
//! assert_eq!(mine.headers()["cache-status"], "larder; fwd=uri-miss; detail=private");
//! # }
//! ```
//!
//! # What is answered from the cache
//!
//! GET and HEAD requests without a body that do not ask for an upgrade (MID-1). A page is found by its address: scheme,
//! authority, path and query exactly as the client sent them, the layer's prefix, and the language and time zone of the
//! request if they are known. Of the pages at that address one is answered whose own `Vary` headers have the very
//! values they had when it was made, line by line, and whose URL the layers further out had left or rewritten alike (a
//! layer that reads the URL as it was sent may stand behind one that chose the tenant). A HEAD is answered from a GET page
//! (MID-25). Every hit carries an `Age`. A request with `Authorization` is answered only from pages that say `public`.
//!
//! # What is stored
//!
//! Complete responses with status 200, for the page timeout, else their `max-age`, else the site's timeout (MID-11 to
//! MID-13), unless they set a cookie, say `private`, `no-store` or `no-cache`, or vary on `*`. What is stored gets
//! `Expires` and `max-age`; what its head refuses is passed on untouched, while what fails later, for its lifetime, its body, a
//! purge or the store, keeps them. Each refusal is a [`Reason`], to be seen in `Cache-Status`
//! ([`CacheLayer::cache_status`]) and in `tracing` events of the target `larder`.
//!
//! A body is read as long as it comes without waiting. If it has to be waited for, each frame is passed on as it comes,
//! and the page is stored when the last one has. A body of unknown length is a stream and left alone (MID-5), unless
//! [`CacheLayer::store_streams`] says otherwise. A body that fails, is not as long as it announced, has trailers, or is
//! dropped half-way is passed on as it is and never stored.
//!
//! # What is answered stale
//!
//! A page whose time is up is answered for as long as its response grants it (RFC 5861), or else the layer
//! ([`stale_while_revalidate`](CacheLayer::stale_while_revalidate), [`stale_if_error`](CacheLayer::stale_if_error)): at once,
//! while one of the requests has it made anew behind, in a tokio task of its own; or where the handler fails, or is late
//! ([`stale_after`](CacheLayer::stale_after)). All that is said above of a fresh page holds for a stale one, and its `Age`
//! counts on. A refresh that fails leaves the page to the next request; one that answers 404, 410, 301 or 308 takes it away.
//!
//! # Under load
//!
//! Where many ask at once for a page that is not there, one of them runs the handler, and the others wait for it and then
//! look for the page, as if they had come later: each gets it only if it was stored and is for him. What was not stored
//! everybody makes for himself, and for two minutes its requests run side by side. Waiting is bounded
//! ([`CacheLayer::longest_wait`], [`CacheLayer::most_waiters`]), and can be switched off ([`CacheLayer::coalesce`]).
//!
//! The visitor who happens to be the first may hang up: the work goes on as long as anybody waits for it, or to its end if
//! the layer says so ([`CacheLayer::finish_fills`]). It does so as a task of the tokio runtime, so that inner services,
//! their futures and bodies have to be `Send + 'static`, as axum has them anyway. Waiting needs a tokio runtime with its
//! timers enabled; without, everybody runs the handler.
//!
//! A handler must not ask its own site for its own page: it would wait for itself, for as long as a request waits at most.
//!
//! # What is purged
//!
//! [`Cache::purge_tag`](crate::Cache::purge_tag) makes all pages with a tag unreachable ([`Tags`], [`CacheLayer::tags`]),
//! [`Pages::delete`] the pages of a URL, [`Cache::clear`](crate::Cache::clear) everything. Whoever asks after one of them has
//! returned gets nothing that was begun before it was called: a fill takes down what was purged before its handler runs,
//! and its page is kept only if nothing of it was purged meanwhile ([`Reason::Purged`]; safety rule 20).
//!
//! Memory remembers the number of the last purge of each name in a table of fixed size. In a store with textual keys each
//! URL and each tag has a *stamp*, a number that is put in its place once and never again; a page bears the stamps it
//! was stored with, and is answered while all of them are in their places. A purge removes the stamp, and so does a store
//! that forgets it: that is a miss. The stamp of the URL is read with the page; those of the tags by one more round trip.
//!
//! # Inside and around a router
//!
//! A hit of a layer around a whole `Router` costs about half of one inside (`Router::layer`), as it never enters it; both
//! are right. With larder's feature `axum`, `CacheLayer::per_site().around(router)` makes a service for `axum::serve`;
//! around any other service it is [`tower::Layer::layer`](tower_layer::Layer::layer).
//!
//! Inside `Router::nest` axum strips the prefix off the request's URL. Larder's feature `axum` makes the layer read the
//! URL as the client sent it; **without that feature, do not put cache layers inside nested routers** unless another
//! cache layer is around them.
//!
//! `per_site()` outside and [`cache_page`] inside work together: where both keep pages in the same place (cache or URL
//! of its store, prefix, scheme), only the outer one keeps the page, for the inner one's timeout, so that what layers between them add is
//! part of it; what it refuses, the inner one does not keep either. Otherwise each keeps its own, and a hit of the inner one is not stored again by the outer (MID-33).

// What a layer is told, and the service it makes.
#[cfg(feature = "axum")]
mod around;
mod layer;
mod service;
mod site;

// What counts of a request, and of a response.
mod address;
mod facts;
mod policy;
mod reason;
mod staleness;
mod tags;
mod variant;
mod visit;

// The way of a request that is not answered at once.
mod behind;
mod boarding;
mod future;
mod sent_on;
mod settle;
mod stand_in;

// The way of a body into the store.
mod begun;
mod body;
mod fill;
mod pump;

// A stored page, and what is answered from it.
mod answer;
mod frame;
mod head;
mod pieces;

// Where pages lie: in memory, or as text under text; and the handle on both.
mod look;
mod pages;
mod shelf;
mod text;

pub use address::Forwarded;
#[cfg(feature = "axum")]
pub use around::{CachedRouter, CachedRouterFuture, MakeCachedRouter};
pub use body::PageBody;
pub use future::ResponseFuture;
pub use layer::{CacheLayer, LeaseTime, cache_page};
pub use pages::{PageUrl, Pages, StoredPage};
pub use reason::Reason;
pub use service::CacheService;
pub use tags::Tags;
pub use text::key::PageKeys;
pub use text::key_scheme::KeyScheme;

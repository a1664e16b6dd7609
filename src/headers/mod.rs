//! What responses say about caching: `Cache-Control`, `Expires`, `Vary`, `ETag` as pure functions of
//! [`http::HeaderMap`], and layers that only change headers. Applications and the page floor call it; it knows no cache.
//!
//! The functions have the names and the rules of `django.utils.cache`, the layers those of Django's decorators.
//!
//! | function | what it does | layer |
//! |---|---|---|
//! | [`patch_cache_control`] | merges directives into `Cache-Control` | [`cache_control`](cache_control()) |
//! | [`add_never_cache_headers`] | says that a response is never to be cached | [`never_cache`] |
//! | [`patch_targeted`] | merges directives into a targeted field such as `CDN-Cache-Control` | [`cache_control(..).field(..)`](PatchLayer::field) |
//! | [`patch_vary_headers`] | adds names to `Vary` | [`vary_on_headers`], [`vary_on_cookie`] |
//! | [`patch_response_headers`] | adds `Expires` and `max-age` | the page cache does it |
//! | [`get_max_age`], [`has_vary_header`], [`has_directive`] | read | |
//! | [`evaluate`], [`not_modified_headers`] | entity tags, 304 and 412 | [`conditional_get`](conditional_get()) |
//! | | the same before the handler runs | [`condition`](condition()), [`etag`](etag()), [`last_modified`](last_modified()) |
//!
//! A header that comes in several field lines is read as all of them together, and written as one.
//!
//! Of several layers on one route the innermost patches first, as Django's decorators run from the one next to the
//! function outwards. A tuple of layers reads like a stack of decorators, the outermost first:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! use axum::{Router, body::Body, http::Request, routing::get};
//! use larder::{CacheControl, cache_control, vary_on_cookie, vary_on_headers};
//! use tower::ServiceExt;
//!
//! let app: Router = Router::new().route(
//!     "/",
//!     get(|| async { "hello" }).layer((
//!         cache_control(CacheControl::new().public().max_age(60)),
//!         vary_on_cookie(),
//!         vary_on_headers(["Accept-Language"]),
//!         cache_control(CacheControl::new().private().max_age(600)),
//!     )),
//! );
//! let response = app.oneshot(Request::get("/").body(Body::empty()).unwrap()).await.unwrap();
//! assert_eq!(response.headers()["cache-control"], "max-age=60, public");
//! assert_eq!(response.headers()["vary"], "Accept-Language, Cookie");
//! # }
//! ```
//!
//! # Decided by the handler
//!
//! Each layer is also a value, for a handler that decides at run time: [`CacheControl`], [`Targeted`], [`NeverCache`],
//! [`VaryOn`]. With the feature `axum` it is returned beside the body; anywhere else [`PatchHeaders::patch`] applies it.
//!
//! ```
//! # #[cfg(feature = "axum")]
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! use axum::{Router, body::Body, http::Request, response::{IntoResponse, Response}, routing::get};
//! use larder::{CacheControl, cache_control, headers::{NeverCache, VaryOn}};
//! use tower::ServiceExt;
//!
//! async fn news(request: Request<Body>) -> Response {
//!     if request.headers().contains_key("cookie") {
//!         return (NeverCache::new(), "your news").into_response();
//!     }
//!     (CacheControl::new().public().max_age(60), VaryOn::cookie(), "the news").into_response()
//! }
//!
//! let app: Router = Router::new().route("/", get(news).layer(cache_control(CacheControl::new().max_age(600))));
//! let response = app.oneshot(Request::get("/").body(Body::empty()).unwrap()).await.unwrap();
//! assert_eq!(response.headers()["cache-control"], "public, max-age=60");
//! assert_eq!(response.headers()["vary"], "Cookie");
//! # }
//! # #[cfg(not(feature = "axum"))] fn main() {}
//! ```

#[cfg(feature = "axum")]
mod axum_parts;
mod cache_control;
mod conditional;
pub(crate) mod date;
mod directives;
mod layer;
mod patch;
mod syntax;
mod targeted;
pub(crate) mod vary;

pub use cache_control::{CacheControl, InvalidDirective, get_max_age, has_directive};
pub use conditional::{
    Ask, Asked, AtOnce, Condition, ConditionFuture, ConditionLayer, ConditionalBody, ConditionalGet,
    ConditionalGetFuture, ConditionalGetLayer, EntityTag, FromHead, Later, LaterFromOwned, NotAsked, Outcome,
    Translated, Validators, condition, conditional_get, etag, evaluate, last_modified, not_modified_headers,
};
pub(crate) use conditional::{evaluate_response, is_tagged_further_out};
pub use layer::{
    NeverCache, PatchFuture, PatchHeaders, PatchLayer, PatchService, VaryOn, cache_control, never_cache,
    vary_on_cookie, vary_on_headers,
};
pub use patch::{add_never_cache_headers, patch_cache_control, patch_response_headers};
pub(crate) use syntax::{is_blank, trim};
pub use targeted::{Targeted, patch_targeted};
pub use vary::{has_vary_header, patch_vary_headers};

//! Django's cache framework for tower and axum: one layer caches whole pages, the same cache holds single values, and
//! header-only layers need no cache at all. The store is memory, memcached, Redis, files, a database, or one of yours behind
//! a small trait.
//!
//! ```
//! use axum::{Router, routing::get};
//! use larder::{Cache, CacheControl, CacheLayer, Timeout, cache_control, cache_page, never_cache};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), larder::Error> {
//! // The whole site, 600 s a page unless it says otherwise.
//! let site: Router = Router::new()
//!     .route("/", get(|| async { "home" }))
//!     .route("/news", get(|| async { "news" }).layer(cache_page(30)))
//!     .route("/me", get(|| async { "you" }).layer(never_cache()))
//!     .route("/feed", get(|| async { "feed" }).layer(cache_control(CacheControl::new().public().max_age(60))))
//!     .layer(CacheLayer::per_site());
//!
//! // Single values.
//! let cache = Cache::memory();
//! cache.set("my_key", "hello, world!", 30).await?;
//! let hello: Option<String> = cache.get("my_key").await?;
//! assert_eq!(hello.as_deref(), Some("hello, world!"));
//!
//! cache.set("num", 1, Timeout::Default).await?;
//! assert_eq!(cache.incr("num", 1).await?, 2);
//! assert_eq!(cache.decr("num", 1).await?, 1);
//! assert!(cache.delete("num").await?);
//! # Ok(()) }
//! ```
//!
//! # The floors
//!
//! | module | what it is | it knows |
//! |---|---|---|
//! | [`page`] | [`CacheLayer`]: whole responses | all below |
//! | [`cache`] | [`Cache`]: typed values under keys, versions, timeouts; [`Caches`]: aliases | backends |
//! | [`backend`] | [`Backend`](backend::Backend): bytes under a key for a while | no HTTP |
//! | [`headers`] | Cache-Control, Vary, Expires, ETag; header-only layers | no cache |
//! | [`locale`] | [`Language`] and [`TimeZone`] of a request; [`LocaleLayer`] and [`TimeZoneLayer`] find them | headers |
//!
//! Names and rules are Django's; where Django leaks a page to the wrong visitor, crashes, contradicts an RFC, or is merely
//! Python, larder departs, and [`docs::departures`] lists each case. [`docs::layers`] says in which order layers stand. Codes such as MID-11 or KEY-2
//! number Django's behaviours; that page says which letters stand for what.
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `axum` | the URL as the client sent it inside axum's `Router::nest`, `CacheLayer::around` a router, and [header values](headers#decided-by-the-handler) that handlers return; switch it on with axum |
//! | `cli` | the command `larder`, which looks into any cache and changes it |
//! | `conformance` | the suite that holds a backend to the contract, for authors of backends |
//! | `database` | the database backend: SQLite, PostgreSQL, MySQL and MariaDB |
//! | `file` | the file backend |
//! | `memcached` | the memcached backend, and a memcached client that can be used alone |
//! | `redis` | the Redis backend |
//! | `full` | all |

#![forbid(unsafe_code)]

mod clock;
mod error;
mod hex_digest;
mod percent;
mod race;

pub mod backend;
pub mod cache;
pub mod docs;
pub mod headers;
pub mod locale;
#[cfg(feature = "memcached")]
pub mod memcached;
pub mod page;

pub use cache::{Cache, Caches, Timeout};
pub use clock::{Clock, ManualClock, Timestamp};
pub use error::{Error, KeyProblem};
pub use headers::{
    CacheControl, cache_control, condition, conditional_get, etag, last_modified, never_cache, vary_on_cookie,
    vary_on_headers,
};
pub use locale::{Language, LocaleLayer, TimeZone, TimeZoneLayer};
pub use page::{
    CacheLayer, CacheService, Forwarded, KeyScheme, PageKeys, PageUrl, Pages, Reason, StoredPage, Tags, cache_page,
};

/// The README's examples are tests; some of them need axum, or a store.
#[cfg(all(doctest, feature = "axum", feature = "database"))]
#[doc = include_str!("../README.md")]
struct Readme;

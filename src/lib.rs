//! Django's cache framework for tower and axum: one layer caches whole pages, the same cache holds single values, and
//! memory or any other store stands behind one small trait.

#![forbid(unsafe_code)]

mod clock;
mod error;

pub mod backend;
pub mod cache;
pub mod headers;
pub mod locale;

pub use cache::{Cache, Caches, Timeout};
pub use clock::{Clock, ManualClock, Timestamp};
pub use error::{Error, KeyProblem};
pub use headers::{
    CacheControl, cache_control, condition, conditional_get, etag, last_modified, never_cache, vary_on_cookie,
    vary_on_headers,
};
pub use locale::{Language, LocaleLayer, TimeZone, TimeZoneLayer};

//! Django's patch functions for `Cache-Control` and `Expires`: they merge into what a response says already.
//! The page floor calls them on what it stores, the layers on what passes through.

use std::time::Duration;

use http::header::{CACHE_CONTROL, EXPIRES, HeaderMap, HeaderValue};

use super::cache_control::CacheControl;
use super::date::http_date;
use crate::clock::Timestamp;

/// Merges directives into the `Cache-Control` of a response, as Django's function of this name does (HDR-1 to HDR-8).
///
/// - Directives that are there keep their place; new ones come after them, in order.
/// - The smaller `max-age` wins; one that is there and is no integer is replaced (Django raises an error).
/// - `public` takes the place of `private`, and the other way round.
/// - `no-cache` collects lists of field names, and without a list replaces them.
/// - Several field lines become one. The header is written even if it is empty.
///
/// ```
/// use http::{HeaderMap, header::CACHE_CONTROL};
/// use larder::{CacheControl, headers::patch_cache_control};
///
/// let mut headers = HeaderMap::new();
/// headers.insert(CACHE_CONTROL, "private, max-age=600".parse()?);
/// patch_cache_control(&mut headers, &CacheControl::new().public().max_age(60));
/// assert_eq!(headers[CACHE_CONTROL], "max-age=60, public");
/// # Ok::<(), http::header::InvalidHeaderValue>(())
/// ```
pub fn patch_cache_control(headers: &mut HeaderMap, changes: &CacheControl) {
    let value = if headers.contains_key(CACHE_CONTROL) {
        let mut control = CacheControl::from_headers(headers);
        control.patch(changes);
        HeaderValue::from(&control)
    } else {
        HeaderValue::from(changes)
    };
    headers.insert(CACHE_CONTROL, value);
}

/// Says how long a response lives from `now` on: adds `Expires`, unless there is one in any form, and brings `max-age`
/// down to `timeout` (HDR-10 to HDR-12). Both count whole seconds; the fraction is cut off.
///
/// ```
/// use http::HeaderMap;
/// use larder::{Timestamp, headers::patch_response_headers};
/// use std::time::Duration;
///
/// let mut headers = HeaderMap::new();
/// patch_response_headers(&mut headers, Duration::from_secs(60), Timestamp::from_secs(1_468_749_600));
/// assert_eq!(headers["expires"], "Sun, 17 Jul 2016 10:01:00 GMT");
/// assert_eq!(headers["cache-control"], "max-age=60");
/// ```
pub fn patch_response_headers(headers: &mut HeaderMap, timeout: Duration, now: Timestamp) {
    if !headers.contains_key(EXPIRES) {
        headers.insert(EXPIRES, http_date(now.after(timeout)));
    }
    patch_cache_control(headers, &CacheControl::new().max_age(timeout.as_secs()));
}

/// Says that a response is never to be cached: `Expires` now, unless there is one, `max-age=0`, `no-cache`, `no-store`,
/// `must-revalidate` and `private` (HDR-14). `public` goes, other directives stay.
///
/// ```
/// use http::HeaderMap;
/// use larder::{Timestamp, headers::add_never_cache_headers};
///
/// let mut headers = HeaderMap::new();
/// add_never_cache_headers(&mut headers, Timestamp::from_secs(1_468_749_600));
/// assert_eq!(headers["cache-control"], "max-age=0, no-cache, no-store, must-revalidate, private");
/// ```
pub fn add_never_cache_headers(headers: &mut HeaderMap, now: Timestamp) {
    if !headers.contains_key(EXPIRES) {
        headers.insert(EXPIRES, http_date(now));
    }
    if headers.contains_key(CACHE_CONTROL) {
        let never = CacheControl::new().max_age(0).no_cache().no_store().must_revalidate().private();
        patch_cache_control(headers, &never);
    } else {
        const NEVER: HeaderValue = HeaderValue::from_static("max-age=0, no-cache, no-store, must-revalidate, private");
        headers.insert(CACHE_CONTROL, NEVER);
    }
}

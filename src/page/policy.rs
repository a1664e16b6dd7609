//! Django's policy, made safe: which responses may be stored, for how long, and with which headers. Pure functions of
//! heads; the service, the response future and the fill ask them and act.

use std::time::Duration;

use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName};

use super::reason::Reason;
use super::staleness::GraceRules;
use crate::clock::Timestamp;
use crate::headers::vary::{Vary, vary_names};
use crate::headers::{CacheControl, get_max_age};

/// Which responses a layer may store, and which not.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// The statuses that are stored (MID-3).
    pub(crate) statuses: Vec<StatusCode>,
    /// Responses that set cookies are stored too, cookies included.
    pub(crate) stores_set_cookie: bool,
    /// Bodies without a known length are stored too.
    pub(crate) stores_streams: bool,
    /// The largest body that is stored, in bytes.
    pub(crate) largest_body: u64,
}

/// For how long a layer stores them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// The page timeout: wins over everything (MID-11).
    pub(crate) page: Option<Duration>,
    /// The site's timeout, where neither a page timeout nor `max-age` says otherwise (MID-13).
    pub(crate) site: Duration,
    /// How long pages are of use after their expiry that say nothing of it themselves.
    pub(crate) grace: GraceRules,
    /// The part of its lifetime that a page may be kept longer, by chance.
    pub(crate) jitter: Option<f64>,
}

impl Times {
    /// Those of a page that a layer further in leaves to this one (MID-33).
    pub(crate) fn around(self, inner: Times) -> Self {
        Times {
            page: self.page.or(inner.page),
            site: inner.site,
            grace: inner.grace.or(self.grace),
            jitter: inner.jitter.or(self.jitter),
        }
    }
}

/// What a response may become.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Passed on as it is.
    Pass(Reason),
    /// Passed on with `Expires` and `max-age` for that lifetime, not stored (MID-4, MID-17).
    Patch(Duration, Reason),
    /// Stored for that long, with the same headers, for requests alike in these.
    Store { lifetime: Duration, is_public: bool, names: Vec<HeaderName> },
}

/// Whether a response may be stored for later visitors, and for how long.
///
/// Follows Django's middleware (MID-3 to MID-17) except where it leaks; the departures are listed in the documentation.
/// `size` is what the body says of its length.
pub(crate) fn judge(
    has_authorization: bool,
    status: StatusCode,
    headers: &HeaderMap,
    size: Option<u64>,
    rules: &Rules,
    times: &Times,
) -> Verdict {
    let is_stored_status = rules.statuses.contains(&status);
    if !is_stored_status && status != StatusCode::NOT_MODIFIED {
        return Verdict::Pass(Reason::Status);
    }
    if size.is_none() && !rules.stores_streams {
        return Verdict::Pass(Reason::Streaming);
    }
    if headers.contains_key(header::SET_COOKIE) && !rules.stores_set_cookie {
        return Verdict::Pass(Reason::SetCookie);
    }
    let control = CacheControl::from_headers(headers);
    let refusals = [
        (control.is_private(), Reason::Private),
        (control.is_no_store(), Reason::NoStore),
        (control.is_no_cache(), Reason::NoCache),
        (has_authorization && !control.is_public(), Reason::Authorization),
    ];
    if let Some((_, reason)) = refusals.into_iter().find(|(applies, _)| *applies) {
        return Verdict::Pass(reason);
    }
    let Vary::Names(names) = vary_names(headers) else {
        return Verdict::Pass(Reason::Vary);
    };
    let lifetime = match times.page {
        Some(timeout) => timeout,
        None => match get_max_age(headers) {
            Some(0) => return Verdict::Pass(Reason::MaxAge),
            Some(seconds) => Duration::from_secs(u64::try_from(seconds).unwrap_or(0)),
            None => times.site,
        },
    };
    if !is_stored_status {
        return Verdict::Patch(lifetime, Reason::Status);
    }
    if lifetime.is_zero() {
        return Verdict::Patch(lifetime, Reason::Timeout);
    }
    if size.is_some_and(|size| size > rules.largest_body) {
        return Verdict::Patch(lifetime, Reason::TooLarge);
    }
    Verdict::Store { lifetime, is_public: control.is_public(), names }
}

/// Which of a response's headers are stored: none that is about one connection, and none that is computed when the page
/// is answered (safety rule 17, RFC 9111 section 3.1).
pub(crate) fn stored_headers(headers: &HeaderMap) -> impl Fn(&HeaderName) -> bool {
    let of_connection: Vec<Vec<u8>> = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .map(|name| name.trim_ascii().to_ascii_lowercase())
        .collect();
    move |name| {
        const PER_CONNECTION: [HeaderName; 10] = [
            header::CONNECTION,
            HeaderName::from_static("keep-alive"),
            HeaderName::from_static("proxy-connection"),
            header::PROXY_AUTHENTICATE,
            HeaderName::from_static("proxy-authentication-info"),
            header::PROXY_AUTHORIZATION,
            header::TE,
            header::TRAILER,
            header::TRANSFER_ENCODING,
            header::UPGRADE,
        ];
        const COMPUTED: [HeaderName; 2] = [header::CONTENT_LENGTH, header::AGE];
        !PER_CONNECTION.contains(name)
            && !COMPUTED.contains(name)
            && !of_connection.iter().any(|listed| listed == name.as_str().as_bytes())
    }
}

/// Seconds a response says it is old already; a doubled or unreadable `Age` counts as its first readable line, one too
/// large to count as the largest (RFC 9111, section 1.2.2).
pub(crate) fn initial_age(headers: &HeaderMap) -> u32 {
    let mut lines = headers.get_all(header::AGE).iter().filter_map(|line| line.to_str().ok()).map(str::trim);
    let age = lines.find(|age| !age.is_empty() && age.bytes().all(|byte| byte.is_ascii_digit()));
    age.map_or(0, |age| age.parse().unwrap_or(u32::MAX))
}

/// The length a body must have to be whole: what it says of itself, and what its head announces. Where those contradict
/// each other, or make no sense, nothing is whole (safety rule 18).
pub(crate) fn expected_length(headers: &HeaderMap, size: Option<u64>) -> Result<Option<u64>, Reason> {
    headers.get_all(header::CONTENT_LENGTH).iter().try_fold(size, |expected, line| {
        let announced = line.to_str().ok().and_then(|text| text.parse::<u64>().ok()).ok_or(Reason::Incomplete)?;
        match expected {
            Some(expected) if expected != announced => Err(Reason::Incomplete),
            _ => Ok(Some(announced)),
        }
    })
}

/// How long a page timeout can be: a year, as no page is stored for ever (MID-18).
pub(crate) const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Whether a stored page is of any use at `now`; at exactly its expiry it is not (MID-22).
pub(crate) fn is_fresh(expires_at: Timestamp, now: Timestamp) -> bool {
    now < expires_at
}

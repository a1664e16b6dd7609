//! The preconditions of a request as pure functions: whether they hold (RFC 9110 section 13.2.2), and what a 304 keeps.
//! The layers of this folder decide by them, and the page floor does for what it answers from the cache.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{
    AGE, CACHE_CONTROL, CONTENT_LOCATION, CONTENT_TYPE, DATE, ETAG, EXPIRES, HeaderMap, HeaderName, HeaderValue,
    IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE, LAST_MODIFIED, SET_COOKIE, VARY,
};
use http::{Method, StatusCode};

use super::tag::{EntityTag, is_named, strongly, weakly};
use crate::clock::Timestamp;
use crate::headers::date::parse_http_date;

/// What to answer to a request with preconditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The response as it is; where it is not there yet, the handler is to run.
    Proceed,
    /// 304: the client has what it would get. Only for GET and HEAD.
    NotModified,
    /// 412: what is there is not what the client took it for.
    PreconditionFailed,
}

/// What preconditions are compared with: the entity tag and the date of what is there.
///
/// With neither of them there is no representation (CON-19).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Validators<'a> {
    etag: Option<&'a [u8]>,
    /// In seconds since the epoch, never 0.
    last_modified: Option<i64>,
}

impl<'a> Validators<'a> {
    /// These validators. Fractions of a second are cut off, and exactly the epoch counts as no date (CON-20).
    pub fn new(etag: Option<&'a EntityTag>, last_modified: Option<SystemTime>) -> Self {
        Validators { etag: etag.map(EntityTag::as_bytes), last_modified: last_modified.and_then(seconds) }
    }

    /// Those in the headers of a response. An empty tag, a date that is none, two dates, and the epoch itself count as
    /// absent (CON-7). `now` decides the century of a year of two digits.
    pub fn of(response: &'a HeaderMap, now: Timestamp) -> Self {
        Validators {
            etag: response.get(ETAG).map(HeaderValue::as_bytes).filter(|tag| !tag.is_empty()),
            last_modified: date(response, &LAST_MODIFIED, now),
        }
    }

    /// Whether there is neither tag nor date.
    pub fn is_empty(&self) -> bool {
        self.etag.is_none() && self.last_modified.is_none()
    }
}

/// What to answer to a request of that method with these headers (RFC 9110 section 13.2.2; CON-5 to CON-10, CON-14 to
/// CON-18). `now` decides the century of dates whose year has two digits.
///
/// 1. `If-Match` without a tag that is strongly the same: 412. Without `If-Match`, a date later than
///    `If-Unmodified-Since`: 412; where no date is known, `If-Unmodified-Since` does not count.
/// 2. `If-None-Match` with a tag that is weakly the same: 304 to GET and HEAD, 412 to others. Without `If-None-Match`, a
///    date not later than `If-Modified-Since`: 304 to GET and HEAD.
///
/// `*` is any representation. A field that cannot be read counts as absent. CONNECT, OPTIONS and TRACE have no
/// preconditions (section 13.2.1).
///
/// ```
/// use http::{HeaderMap, Method};
/// use larder::Timestamp;
/// use larder::headers::{EntityTag, Outcome, Validators, evaluate};
///
/// let (tag, now) = (EntityTag::from("v42"), Timestamp::from_secs(1_700_000_000));
/// let there = Validators::new(Some(&tag), None);
/// let mut request = HeaderMap::new();
/// request.insert("if-none-match", "\"v41\", W/\"v42\"".parse().unwrap());
/// assert_eq!(evaluate(&Method::GET, &request, &there, now), Outcome::NotModified);
/// assert_eq!(evaluate(&Method::PUT, &request, &there, now), Outcome::PreconditionFailed);
/// ```
pub fn evaluate(method: &Method, request: &HeaderMap, there: &Validators<'_>, now: Timestamp) -> Outcome {
    if has_no_preconditions(method) {
        return Outcome::Proceed;
    }
    let exists = !there.is_empty();
    match is_named(request, &IF_MATCH, there.etag, exists, strongly) {
        Some(true) => {}
        Some(false) => return Outcome::PreconditionFailed,
        None => {
            let since = date(request, &IF_UNMODIFIED_SINCE, now);
            if since.zip(there.last_modified).is_some_and(|(since, modified)| modified > since) {
                return Outcome::PreconditionFailed;
            }
        }
    }
    let reads = is_read(method);
    match is_named(request, &IF_NONE_MATCH, there.etag, exists, weakly) {
        Some(true) if reads => Outcome::NotModified,
        Some(true) => Outcome::PreconditionFailed,
        Some(false) => Outcome::Proceed,
        None => {
            let since = date(request, &IF_MODIFIED_SINCE, now).filter(|_| reads);
            let is_known = since.zip(there.last_modified).is_some_and(|(since, modified)| modified <= since);
            if is_known { Outcome::NotModified } else { Outcome::Proceed }
        }
    }
}

/// What to answer where that response is there to be sent: only a success is replaced (CON-3), and one without validators
/// has nothing to compare.
pub(crate) fn evaluate_response(
    method: &Method,
    request: &HeaderMap,
    status: StatusCode,
    response: &HeaderMap,
    now: Timestamp,
) -> Outcome {
    if !status.is_success() || !has_preconditions(request) {
        return Outcome::Proceed;
    }
    let there = Validators::of(response, now);
    if there.is_empty() { Outcome::Proceed } else { evaluate(method, request, &there, now) }
}

/// Whether a method reads what is there, so that an answer may be 304.
pub(super) fn is_read(method: &Method) -> bool {
    *method == Method::GET || *method == Method::HEAD
}

/// Whether a method neither reads nor changes what is there (RFC 9110 section 13.2.1).
pub(super) fn has_no_preconditions(method: &Method) -> bool {
    [Method::CONNECT, Method::OPTIONS, Method::TRACE].contains(method)
}

/// The date in a header that stands there once; the epoch itself counts as none.
fn date(headers: &HeaderMap, name: &HeaderName, now: Timestamp) -> Option<i64> {
    let mut lines = headers.get_all(name).into_iter();
    match (lines.next(), lines.next()) {
        (Some(line), None) => parse_http_date(line.as_bytes(), now).filter(|seconds| *seconds != 0),
        _ => None,
    }
}

/// Whole seconds since the epoch, cut off towards it; the epoch itself counts as none (CON-20).
fn seconds(time: SystemTime) -> Option<i64> {
    let seconds = match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()),
        Err(before) => i64::try_from(before.duration().as_secs()).map(|seconds| -seconds),
    };
    seconds.ok().filter(|seconds| *seconds != 0)
}

/// `Last-Modified` for that time: none at the epoch itself (CON-20), nor outside of the years 1 to 9999.
pub(super) fn last_modified_value(time: SystemTime) -> Option<HeaderValue> {
    // The Gregorian calendar repeats every 400 years, days of the week included; httpdate begins at the epoch.
    const CYCLE: i64 = 146_097 * 86_400;
    const YEAR_1: i64 = -62_135_596_800;
    const YEAR_10000: i64 = 253_402_300_800;
    let seconds = seconds(time).filter(|seconds| (YEAR_1..YEAR_10000).contains(seconds))?;
    let cycles = if seconds < 0 { -seconds.div_euclid(CYCLE) } else { 0 };
    let later = u64::try_from(seconds + cycles * CYCLE).ok()?;
    let text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(later));
    let year = text.get(12..16)?.parse::<i64>().ok()? - 400 * cycles;
    HeaderValue::try_from(format!("{}{year:04}{}", &text[..12], &text[16..])).ok()
}

const PRECONDITIONS: [HeaderName; 4] = [IF_MATCH, IF_UNMODIFIED_SINCE, IF_NONE_MATCH, IF_MODIFIED_SINCE];

/// Whether a request has any header that [`evaluate`] reads; most have none.
fn has_preconditions(request: &HeaderMap) -> bool {
    !request.is_empty() && PRECONDITIONS.iter().any(|name| request.contains_key(name))
}

/// The headers of a request that [`evaluate`] reads.
pub(super) fn preconditions(request: &HeaderMap) -> HeaderMap {
    let mut asked = HeaderMap::new();
    for name in PRECONDITIONS {
        for line in request.get_all(&name) {
            asked.append(name.clone(), line.clone());
        }
    }
    asked
}

/// The headers that a 304 keeps of the response it takes the place of, in this order: `Age`, `Cache-Control`,
/// `Content-Location`, `Date`, `ETag`, `Expires`, `Last-Modified`, `Vary`, and the cookies (CON-11, RFC 9110 section
/// 15.4.5).
///
/// `Age` stays although Django drops it: without it the client would take what it has for fresh anew (RFC 9111 section
/// 5.1).
pub fn not_modified_headers(response: &HeaderMap) -> HeaderMap {
    const KEPT: [HeaderName; 9] =
        [AGE, CACHE_CONTROL, CONTENT_LOCATION, DATE, ETAG, EXPIRES, LAST_MODIFIED, VARY, SET_COOKIE];
    let mut kept = HeaderMap::with_capacity(KEPT.len());
    for name in KEPT {
        for line in response.get_all(&name) {
            kept.append(name.clone(), line.clone());
        }
    }
    kept
}

/// The headers of a 412, which has nothing of the response it takes the place of (CON-9, CON-22).
pub(super) fn precondition_failed_headers() -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(3);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::headers::syntax;

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
    const MODIFIED: &str = "Sun, 21 Oct 2007 23:21:47 GMT";
    const BEFORE: &str = "Sat, 20 Oct 2007 23:21:47 GMT";
    const AFTER: &str = "Mon, 18 Oct 2010 16:56:23 GMT";
    const EPOCH: &str = "Thu, 01 Jan 1970 00:00:00 GMT";

    fn headers(lines: &[(HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name.clone(), HeaderValue::from_bytes(&syntax::to_latin1(value).unwrap()).unwrap());
        }
        headers
    }

    fn outcome(response: &[(HeaderName, &str)], request: &[(HeaderName, &str)]) -> Outcome {
        evaluate_response(&Method::GET, &headers(request), StatusCode::OK, &headers(response), NOW)
    }

    #[test]
    fn con_3_only_a_success_with_validators_is_replaced() {
        let (request, tagged) = (headers(&[(IF_NONE_MATCH, "*")]), headers(&[(ETAG, "\"abc\"")]));
        let of = |status, response| evaluate_response(&Method::GET, &request, status, response, NOW);
        assert_eq!(of(StatusCode::PARTIAL_CONTENT, &tagged), Outcome::NotModified);
        for status in [StatusCode::NOT_FOUND, StatusCode::FOUND, StatusCode::NOT_MODIFIED] {
            assert_eq!(of(status, &tagged), Outcome::Proceed);
        }
        assert_eq!(of(StatusCode::OK, &HeaderMap::new()), Outcome::Proceed);
    }

    #[test]
    fn con_5_and_6_if_none_match_compares_weakly() {
        use Outcome::{NotModified, Proceed};
        for (own, asked, expected) in [
            ("\"abc\"", "\"abc\"", NotModified),
            ("W/\"abc\"", "\"abc\"", NotModified),
            ("\"abc\"", "\"x\" , W/\"abc\"", NotModified),
            ("\"abc\"", ",,\"abc\"", NotModified),
            ("\"abc\"", " * ", NotModified),
            ("\"\"", "\"\"", NotModified),
            ("abc", "*", NotModified),
            ("\"é\"", "\"é\"", NotModified),
            ("\"a,b\"", "\"x\", \"a,b\"", NotModified),
            ("\"b\"", "\"a,b\"", Proceed),
            ("\"abc\"", "*, \"x\"", Proceed),
            ("\"abc\"", "abc", Proceed),
            ("abc", "abc", Proceed),
            ("W/abc", "W/abc", Proceed),
            ("\"abc\"", "\"\"\"", Proceed),
            ("", "*", Proceed),
        ] {
            assert_eq!(outcome(&[(ETAG, own)], &[(IF_NONE_MATCH, asked)]), expected, "{own} {asked}");
        }
        let two_lines = [(IF_NONE_MATCH, "\"abc\""), (IF_NONE_MATCH, "\"def\"")];
        assert_eq!(outcome(&[(ETAG, "\"def\"")], &two_lines), NotModified);
        let star_and_more = [(IF_NONE_MATCH, "*"), (IF_NONE_MATCH, "\"x\"")];
        assert_eq!(outcome(&[(ETAG, "\"def\"")], &star_and_more), Proceed);
    }

    #[test]
    fn con_7_and_8_dates_count_where_there_are_no_tags() {
        use Outcome::{NotModified, Proceed};
        let response = [(ETAG, "\"abc\""), (LAST_MODIFIED, MODIFIED)];
        for (tags, since, expected) in [
            (None, AFTER, NotModified),
            (None, MODIFIED, NotModified),
            (None, BEFORE, Proceed),
            (None, "garbage", Proceed),
            (None, EPOCH, Proceed),
            (Some("\"x\""), AFTER, Proceed),
            (Some("bogus"), AFTER, NotModified),
            (Some(""), AFTER, NotModified),
        ] {
            let mut request = vec![(IF_MODIFIED_SINCE, since)];
            request.extend(tags.map(|tags| (IF_NONE_MATCH, tags)));
            assert_eq!(outcome(&response, &request), expected, "{tags:?} {since}");
        }
        assert_eq!(outcome(&[(LAST_MODIFIED, EPOCH)], &[(IF_MODIFIED_SINCE, AFTER)]), Proceed);
        assert_eq!(outcome(&response, &[(IF_MODIFIED_SINCE, AFTER), (IF_MODIFIED_SINCE, AFTER)]), Proceed);
    }

    #[test]
    fn con_9_and_10_what_the_client_did_not_ask_for_is_412() {
        use Outcome::{NotModified, PreconditionFailed, Proceed};
        let tagged = [(ETAG, "\"abc\"")];
        let dated = [(ETAG, "\"abc\""), (LAST_MODIFIED, MODIFIED)];
        for (response, request, expected) in [
            (&tagged[..], &[(IF_MATCH, "\"x\"")][..], PreconditionFailed),
            (&tagged, &[(IF_MATCH, "W/\"abc\"")], PreconditionFailed),
            (&[(ETAG, "W/\"abc\"")], &[(IF_MATCH, "W/\"abc\"")], PreconditionFailed),
            (&[(LAST_MODIFIED, MODIFIED)], &[(IF_MATCH, "\"abc\"")], PreconditionFailed),
            (&[(LAST_MODIFIED, MODIFIED)], &[(IF_MATCH, "*")], Proceed),
            (&tagged, &[(IF_MATCH, "*")], Proceed),
            (&tagged, &[(IF_MATCH, "bogus")], Proceed),
            (&tagged, &[(IF_MATCH, "\"x\", \"abc\"")], Proceed),
            (&tagged, &[(IF_MATCH, "\"abc\""), (IF_NONE_MATCH, "\"abc\"")], NotModified),
            (&tagged, &[(IF_UNMODIFIED_SINCE, AFTER)], Proceed),
            (&tagged, &[(IF_UNMODIFIED_SINCE, "garbage")], Proceed),
            (&dated, &[(IF_UNMODIFIED_SINCE, BEFORE)], PreconditionFailed),
            (&dated, &[(IF_UNMODIFIED_SINCE, MODIFIED)], Proceed),
            (&dated, &[(IF_UNMODIFIED_SINCE, BEFORE), (IF_MATCH, "\"abc\"")], Proceed),
            (&[], &[(IF_MATCH, "\"x\""), (IF_UNMODIFIED_SINCE, BEFORE)], Proceed),
        ] {
            assert_eq!(outcome(response, request), expected, "{response:?} {request:?}");
        }
    }

    #[test]
    fn con_11_a_304_keeps_eight_headers_and_the_cookies() {
        let response = headers(&[
            (DATE, AFTER),
            (VARY, "Cookie"),
            (CONTENT_TYPE, "text/plain"),
            (ETAG, "\"abc\""),
            (CACHE_CONTROL, "public"),
            (AGE, "5"),
            (SET_COOKIE, "a=1"),
            (SET_COOKIE, "b=2"),
        ]);
        let kept = not_modified_headers(&response);
        let names: Vec<&str> = kept.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["age", "cache-control", "date", "etag", "vary", "set-cookie", "set-cookie"]);
    }

    #[test]
    fn con_20_dates_are_whole_seconds_and_never_the_epoch() {
        let at = |seconds: f64| {
            let distance = Duration::from_secs_f64(seconds.abs());
            let time = if seconds < 0.0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance };
            last_modified_value(time).map(|value| value.to_str().unwrap().to_owned())
        };
        for (seconds, expected) in [
            (0.0, None),
            (0.999, None),
            (-0.999, None),
            (1_193_008_907.999, Some(MODIFIED)),
            (-1.0, Some("Wed, 31 Dec 1969 23:59:59 GMT")),
            (-12_622_780_801.0, Some("Wed, 31 Dec 1569 23:59:59 GMT")),
            (-62_135_596_800.0, Some("Mon, 01 Jan 0001 00:00:00 GMT")),
            (-62_135_596_801.0, None),
            (253_402_300_799.0, Some("Fri, 31 Dec 9999 23:59:59 GMT")),
            (253_402_300_800.0, None),
        ] {
            assert_eq!(at(seconds).as_deref(), expected, "{seconds}");
        }
    }
}

//! Runs the vectors of Django's header functions: `get_max_age`, `has_vary_header`, `patch_cache_control`,
//! `patch_response_headers` (with `add_never_cache_headers`), `patch_vary`. A departure is verified against `model.rs`.

#[path = "model.rs"]
mod model;

use std::time::Duration;

use http::header::{CACHE_CONTROL, EXPIRES, HeaderMap, HeaderName, HeaderValue, VARY};
use larder::headers::{
    add_never_cache_headers, get_max_age as our_max_age, has_vary_header as our_has_vary_header,
    patch_cache_control as our_patch_cache_control, patch_response_headers as our_patch_response_headers,
    patch_vary_headers,
};
use larder::{CacheControl, Timestamp};
use serde_json::Value;

use crate::harness::{Departures, Judged, Summary, run};
use model::{Departing, python_str};

/// Arguments that only Python can pass.
const PYTHON_ARGUMENTS: &str = "python-arguments";
/// Text that no HTTP header can carry.
const INVALID_HEADER_TEXT: &str = "invalid-header-text";

pub fn get_max_age(departures: &Departures) -> Summary {
    run("get_max_age", departures, |case| {
        let Some(headers) = headers_with(CACHE_CONTROL, &case.value["cache_control"]) else {
            return Judged::OutOfScope(INVALID_HEADER_TEXT);
        };
        let got = our_max_age(&headers);
        let text = format!("{got:?}");
        case.judge_as_6_1(&text, |expected| expected["max_age"].as_i64() == got && is_small(&expected["max_age"]))
            .unwrap_or_else(|| {
                let initial = case.value["cache_control"].as_str().unwrap_or_default();
                let plain = model::max_age(initial, &[]);
                let is_understood = plain.map(|age| age as f64) == case.expected_6_1()["max_age"].as_f64();
                let ours = model::explain(is_understood, |ways| model::max_age(initial, ways), got.map(i128::from));
                case.differs(&text, ours)
            })
    })
}

/// Whether it is null or a number that an `i64` holds.
fn is_small(age: &Value) -> bool {
    age.is_null() || age.is_i64()
}

pub fn has_vary_header(departures: &Departures) -> Summary {
    run("has_vary_header", departures, |case| {
        let Some(headers) = headers_with(VARY, &case.value["vary"]) else {
            return Judged::OutOfScope(INVALID_HEADER_TEXT);
        };
        let got = our_has_vary_header(&headers, case.value["query"].as_str().unwrap_or_default());
        let text = got.to_string();
        case.judge_as_6_1(&text, |expected| expected["result"] == got).unwrap_or_else(|| case.differs(&text, None))
    })
}

pub fn patch_vary(departures: &Departures) -> Summary {
    run("patch_vary", departures, |case| {
        let Some(mut headers) = headers_with(VARY, &case.value["initial"]) else {
            return Judged::OutOfScope(INVALID_HEADER_TEXT);
        };
        let names: Vec<&str> = case.value["new"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if names.iter().any(|name| header_value(name.trim()).is_none()) {
            return Judged::OutOfScope(INVALID_HEADER_TEXT);
        }
        patch_vary_headers(&mut headers, &names);
        let got = text_of(&headers, &VARY);
        case.judge_as_6_1(&got, |expected| expected["vary"] == got.as_str()).unwrap_or_else(|| case.differs(&got, None))
    })
}

pub fn patch_cache_control(departures: &Departures) -> Summary {
    run("patch_cache_control", departures, |case| {
        let initial = &case.value["initial"];
        let Some(mut headers) = headers_with(CACHE_CONTROL, initial) else {
            return Judged::OutOfScope(INVALID_HEADER_TEXT);
        };
        let args = arguments(&case.value["args"]);
        let changes = match cache_control(&args) {
            Ok(changes) => changes,
            Err(Refused::ByOurs) if case.expected().get("error").is_some() => return Judged::Same,
            Err(Refused::ByOurs) => return Judged::OutOfScope(INVALID_HEADER_TEXT),
            Err(Refused::ByType) => return Judged::OutOfScope(PYTHON_ARGUMENTS),
        };
        our_patch_cache_control(&mut headers, &changes);
        let got = text_of(&headers, &CACHE_CONTROL);
        if let Some(judged) = case.judge_as_6_1(&got, |expected| is_same_control(expected, &got)) {
            return judged;
        }
        let initial = initial.as_str().unwrap_or_default();
        if is_python_only(initial, &args) {
            return Judged::OutOfScope(PYTHON_ARGUMENTS);
        }
        let is_understood = match model::patched(initial, &args, &[]) {
            Ok(plain) => is_same_control(case.expected_6_1(), &plain),
            Err(error) => case.expected_6_1()["error"] == error,
        };
        let ours = model::explain(is_understood, |ways| model::patched(initial, &args, ways), Ok(got.clone()));
        case.differs(&got, ours)
    })
}

/// Compares with what was expected, in any order where Django has none.
fn is_same_control(expected: &Value, got: &str) -> bool {
    let Some(text) = expected["cache_control"].as_str() else { return false };
    if expected["unordered"] != true {
        return text == got;
    }
    let sorted = |text: &str| {
        let mut parts: Vec<String> = text.split(", ").map(str::to_owned).collect();
        parts.sort();
        parts
    };
    sorted(text) == sorted(got)
}

/// Whether the arguments mix a `max-age` that is there with something that is no number, or name one as no Python
/// program writes it: `max_age=None`, `max_age="60"`, `max_age=False`, `**{"max-age": 60}`.
fn is_python_only(initial: &str, args: &[(String, Value)]) -> bool {
    let has_max_age = model::has(initial, "max-age");
    args.iter().any(|(name, value)| match name.as_str() {
        "max_age" => has_max_age && !value.is_number() && *value != true,
        name => name.replace('_', "-") == "max-age",
    })
}

enum Refused {
    /// Our API refuses the text.
    ByOurs,
    /// Our API has no such type of argument.
    ByType,
}

/// The arguments as an application in Rust would write them.
fn cache_control(args: &[(String, Value)]) -> Result<CacheControl, Refused> {
    args.iter().try_fold(CacheControl::new(), |control, (keyword, value)| {
        let name = keyword.replace('_', "-");
        Ok(match (name.as_str(), value) {
            ("public", Value::Bool(true)) => control.public(),
            ("private", Value::Bool(true)) => control.private(),
            ("no-cache", Value::Bool(true)) => control.no_cache(),
            ("no-store", Value::Bool(true)) => control.no_store(),
            ("no-transform", Value::Bool(true)) => control.no_transform(),
            ("must-revalidate", Value::Bool(true)) => control.must_revalidate(),
            ("proxy-revalidate", Value::Bool(true)) => control.proxy_revalidate(),
            ("must-understand", Value::Bool(true)) => control.must_understand(),
            ("immutable", Value::Bool(true)) => control.immutable(),
            ("only-if-cached", Value::Bool(true)) => control.only_if_cached(),
            ("max-age", Value::Number(seconds)) if seconds.is_u64() => control.max_age(whole(value)),
            // A Duration has a fraction, seconds in a header have none.
            ("max-age", Value::Number(seconds)) if seconds.as_f64().is_some_and(|seconds| seconds >= 0.0) => {
                control.max_age(whole(value))
            }
            ("s-maxage", Value::Number(seconds)) if seconds.is_u64() => control.s_maxage(whole(value)),
            ("stale-while-revalidate", Value::Number(seconds)) if seconds.is_u64() => {
                control.stale_while_revalidate(whole(value))
            }
            ("stale-if-error", Value::Number(seconds)) if seconds.is_u64() => control.stale_if_error(whole(value)),
            (_, Value::Array(_) | Value::Object(_)) => return Err(Refused::ByType),
            (name, Value::Bool(true)) => control.try_directive(name, None).map_err(|_| Refused::ByOurs)?,
            (name, value) => control.try_directive(name, Some(&python_str(value))).map_err(|_| Refused::ByOurs)?,
        })
    })
}

fn whole(seconds: &Value) -> u64 {
    seconds.as_u64().or_else(|| seconds.as_f64().map(|seconds| seconds as u64)).unwrap_or_default()
}

pub fn patch_response_headers(departures: &Departures) -> Summary {
    run("patch_response_headers", departures, |case| {
        let Some(initial) = response_headers(&case.value["headers"]) else {
            return Judged::OutOfScope(INVALID_HEADER_TEXT);
        };
        let now = moment(&case.value["now"]);
        let is_never = case.value["function"] == "add_never_cache_headers";
        let timeout = match &case.value["timeout"] {
            _ if is_never => &Value::Bool(false),
            // The setting of that name is the application's business; here it passes it.
            Value::Null => &case.value["middleware_seconds"],
            Value::String(unset) if unset == "unset" => &case.value["middleware_seconds"],
            timeout => timeout,
        };
        let mut headers = initial.clone();
        let seconds = match timeout.as_f64() {
            _ if is_never => 0.0,
            // The setting None is no timeout at all, and a Duration is never negative.
            None => return Judged::OutOfScope(PYTHON_ARGUMENTS),
            Some(seconds) => seconds.max(0.0),
        };
        let timeout_of_ours = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        if is_never {
            add_never_cache_headers(&mut headers, now);
        } else {
            our_patch_response_headers(&mut headers, timeout_of_ours, now);
        }
        let got = lines(&headers);
        let text = format!("{got:?}");
        if let Some(judged) = case.judge_as_6_1(&text, |expected| is_same_headers(expected, &got)) {
            return judged;
        }
        let calls =
            if is_never { never_cache_calls() } else { vec![vec![("max_age".to_owned(), not_below_0(timeout))]] };
        let modelled = |ways: &[Departing]| modelled_response(&initial, now.after(timeout_of_ours), &calls, ways);
        let is_understood = match modelled(&[]) {
            Ok(plain) => is_same_headers(case.expected_6_1(), &plain),
            Err(error) => case.expected_6_1()["error"] == error,
        };
        case.differs(&text, model::explain(is_understood, modelled, Ok(got)))
    })
}

/// Compares with what was expected; several lists of `no-cache` have no order in Django (HDR-7).
fn is_same_headers(expected: &Value, got: &[(String, String)]) -> bool {
    let in_order = |(name, value): &(String, String)| {
        let mut parts: Vec<String> = value.split(", ").map(str::to_owned).collect();
        if name == "cache-control" && value.matches("no-cache=").count() > 1 {
            parts.sort();
        }
        (name.clone(), parts)
    };
    let expected = pairs(&expected["headers"]);
    expected.is_some_and(|expected| expected.iter().map(in_order).eq(got.iter().map(in_order)))
}

fn not_below_0(timeout: &Value) -> Value {
    if timeout.as_f64().is_some_and(|seconds| seconds < 0.0) { Value::from(0) } else { timeout.clone() }
}

/// What `add_never_cache_headers` merges, in two goes.
fn never_cache_calls() -> Vec<Vec<(String, Value)>> {
    let flags = ["no_cache", "no_store", "must_revalidate", "private"];
    let flags = flags.iter().map(|name| ((*name).to_owned(), Value::Bool(true))).collect();
    vec![vec![("max_age".to_owned(), Value::from(0))], flags]
}

/// The headers after Django's function, with the departures it is asked to make.
fn modelled_response(
    initial: &HeaderMap,
    expires: Timestamp,
    calls: &[Vec<(String, Value)>],
    ways: &[Departing],
) -> Result<Vec<(String, String)>, &'static str> {
    let mut headers = initial.clone();
    if !headers.contains_key(EXPIRES) {
        let date = httpdate::fmt_http_date(Timestamp::from_secs(expires.as_secs()).into());
        headers.insert(EXPIRES, header_value(&date).ok_or("date")?);
    }
    for args in calls {
        let control = model::patched(&text_of(&headers, &CACHE_CONTROL), args, ways)?;
        headers.insert(CACHE_CONTROL, header_value(&control).ok_or("header")?);
    }
    Ok(lines(&headers))
}

/// Seconds since the epoch to the microsecond, which is how far Python's dates go.
fn moment(seconds: &Value) -> Timestamp {
    let microseconds = (seconds.as_f64().unwrap_or_default() * 1e6).round_ties_even();
    Timestamp::from_nanos(microseconds as u64 * 1000)
}

fn arguments(args: &Value) -> Vec<(String, Value)> {
    let pairs = args.as_array().into_iter().flatten();
    pairs.map(|pair| (pair[0].as_str().unwrap_or_default().to_owned(), pair[1].clone())).collect()
}

/// The headers in order, names in lower case.
fn lines(headers: &HeaderMap) -> Vec<(String, String)> {
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), latin1(value))).collect()
}

fn pairs(expected: &Value) -> Option<Vec<(String, String)>> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let pairs = expected.as_array()?.iter();
    Some(pairs.map(|pair| (text(&pair[0]).to_ascii_lowercase(), text(&pair[1]))).collect())
}

fn response_headers(given: &Value) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs(given)? {
        headers.insert(HeaderName::from_bytes(name.as_bytes()).ok()?, header_value(&value)?);
    }
    Some(headers)
}

fn headers_with(name: HeaderName, value: &Value) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    if let Some(text) = value.as_str() {
        headers.insert(name, header_value(text)?);
    }
    Some(headers)
}

/// Django sends headers in Latin-1.
fn header_value(text: &str) -> Option<HeaderValue> {
    let bytes: Vec<u8> = text.chars().map(|char| u8::try_from(char).ok()).collect::<Option<_>>()?;
    HeaderValue::from_bytes(&bytes).ok()
}

fn latin1(value: &HeaderValue) -> String {
    value.as_bytes().iter().map(|byte| char::from(*byte)).collect()
}

fn text_of(headers: &HeaderMap, name: &HeaderName) -> String {
    headers.get(name).map(latin1).unwrap_or_default()
}

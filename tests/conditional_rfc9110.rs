//! RFC 9110 section 13.2.2, every combination: `evaluate(..)` and the `condition(..)` layer against a model that is
//! written from the text of the RFC.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use larder::headers::{EntityTag, Outcome, Validators, evaluate};
use larder::{Timestamp, condition};
use tower::{Layer, Service, service_fn};

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

/// What a list of tags says of the tag that is there, whose opaque part is `own`.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Tags {
    Absent,
    Unreadable,
    Star,
    /// The own tag, strong, among others.
    Own,
    /// The own tag, weak, among others.
    OwnWeak,
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Date {
    Absent,
    Unreadable,
    Before,
    Same,
    After,
}

/// What is there.
#[derive(Clone, Copy, Debug, PartialEq)]
struct There {
    tag: Option<Strength>,
    is_dated: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Strength {
    Strong,
    Weak,
}

const TAGS: [Tags; 6] = [Tags::Absent, Tags::Unreadable, Tags::Star, Tags::Own, Tags::OwnWeak, Tags::Other];
const DATES: [Date; 5] = [Date::Absent, Date::Unreadable, Date::Before, Date::Same, Date::After];
const METHODS: [Method; 9] = [
    Method::GET,
    Method::HEAD,
    Method::PUT,
    Method::POST,
    Method::DELETE,
    Method::PATCH,
    Method::OPTIONS,
    Method::TRACE,
    Method::CONNECT,
];

#[derive(Clone, Debug)]
struct Combination {
    method: Method,
    there: There,
    if_match: Tags,
    if_unmodified_since: Date,
    if_none_match: Tags,
    if_modified_since: Date,
}

fn combinations() -> Vec<Combination> {
    let mut all = Vec::new();
    let tags = [None, Some(Strength::Strong), Some(Strength::Weak)];
    let states = tags.into_iter().flat_map(|tag| [false, true].map(|is_dated| There { tag, is_dated }));
    for there in states {
        for method in METHODS {
            for if_match in TAGS {
                for if_unmodified_since in DATES {
                    for if_none_match in TAGS {
                        for if_modified_since in DATES {
                            let method = method.clone();
                            all.push(Combination {
                                method,
                                there,
                                if_match,
                                if_unmodified_since,
                                if_none_match,
                                if_modified_since,
                            });
                        }
                    }
                }
            }
        }
    }
    all
}

/// Section 13.2.2, step by step. A field that cannot be read is taken for absent, as 13.1.3 and 13.1.4 say of dates.
fn model(asked: &Combination) -> Outcome {
    // 13.2.1: ignored for methods that do not involve the selection or modification of a representation.
    if [Method::OPTIONS, Method::TRACE, Method::CONNECT].contains(&asked.method) {
        return Outcome::Proceed;
    }
    let exists = asked.there != There { tag: None, is_dated: false };
    let is_present = |tags: Tags| !matches!(tags, Tags::Absent | Tags::Unreadable);
    // 1. and 2.
    if is_present(asked.if_match) {
        // 13.1.1: `*` is true if there is a current representation; a list by the strong comparison of 8.8.3.2.
        let holds = match asked.if_match {
            Tags::Star => exists,
            Tags::Own => asked.there.tag == Some(Strength::Strong),
            _ => false,
        };
        if !holds {
            return Outcome::PreconditionFailed;
        }
    } else if asked.there.is_dated && asked.if_unmodified_since == Date::Before {
        // 13.1.4: true if the last modification is earlier than or equal to the date; to be ignored without a date.
        return Outcome::PreconditionFailed;
    }
    let is_read = [Method::GET, Method::HEAD].contains(&asked.method);
    // 3. and 4.
    if is_present(asked.if_none_match) {
        // 13.1.2: `*` is false if there is a current representation; a list by the weak comparison of 8.8.3.2.
        let holds = match asked.if_none_match {
            Tags::Star => !exists,
            Tags::Own | Tags::OwnWeak => asked.there.tag.is_none(),
            _ => true,
        };
        return match (holds, is_read) {
            (true, _) => Outcome::Proceed,
            (false, true) => Outcome::NotModified,
            (false, false) => Outcome::PreconditionFailed,
        };
    }
    // 13.1.3: false if the last modification is earlier than or equal to the date; for GET and HEAD only.
    let is_known = asked.there.is_dated && matches!(asked.if_modified_since, Date::Same | Date::After);
    if is_read && is_known { Outcome::NotModified } else { Outcome::Proceed }
}

fn tags(tags: Tags) -> Option<&'static str> {
    match tags {
        Tags::Absent => None,
        Tags::Unreadable => Some("own, \"x"),
        Tags::Star => Some("*"),
        Tags::Own => Some("\"x,y\", \"own\""),
        Tags::OwnWeak => Some("W/\"own\",\"x\""),
        Tags::Other => Some("\"x\", W/\"own, or not\""),
    }
}

fn date(date: Date) -> Option<&'static str> {
    match date {
        Date::Absent => None,
        Date::Unreadable => Some("Sun, 32 Oct 2007 23:21:47 GMT"),
        Date::Before => Some("Sun, 21 Oct 2007 23:21:46 GMT"),
        Date::Same => Some("Sunday, 21-Oct-07 23:21:47 GMT"),
        Date::After => Some("Sun Oct 21 23:21:48 2007"),
    }
}

fn own_tag(there: There) -> Option<EntityTag> {
    there.tag.map(|strength| EntityTag::from(if strength == Strength::Strong { "\"own\"" } else { "W/\"own\"" }))
}

fn own_date(there: There) -> Option<SystemTime> {
    there.is_dated.then(|| UNIX_EPOCH + Duration::from_millis(1_193_008_907_500))
}

fn request(asked: &Combination) -> Request<()> {
    let mut request = Request::builder().method(asked.method.clone()).uri("/");
    for (name, value) in [
        ("if-match", tags(asked.if_match)),
        ("if-unmodified-since", date(asked.if_unmodified_since)),
        ("if-none-match", tags(asked.if_none_match)),
        ("if-modified-since", date(asked.if_modified_since)),
    ] {
        if let Some(value) = value {
            request = request.header(name, value);
        }
    }
    request.body(()).unwrap()
}

#[test]
fn every_combination_is_evaluated_as_the_rfc_says() {
    let all = combinations();
    assert_eq!(all.len(), 6 * 9 * 6 * 5 * 6 * 5);
    let mut seen = [0; 3];
    for asked in &all {
        let tag = own_tag(asked.there);
        let there = Validators::new(tag.as_ref(), own_date(asked.there));
        let outcome = evaluate(&asked.method, request(asked).headers(), &there, NOW);
        assert_eq!(outcome, model(asked), "{asked:?}");
        seen[outcome as usize] += 1;
    }
    assert!(seen.iter().all(|count| *count > 1_000), "{seen:?}");
}

#[tokio::test]
async fn every_combination_is_answered_before_the_handler_runs() {
    let ran = Arc::new(AtomicUsize::new(0));
    for asked in combinations() {
        let (there, counted) = (asked.there, Arc::clone(&ran));
        let handler = service_fn(move |_: Request<()>| {
            counted.fetch_add(1, Ordering::Relaxed);
            std::future::ready(Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("hello"))))
        });
        let layer = condition(move |_: &Parts| own_tag(there), move |_: &Parts| std::future::ready(own_date(there)));
        ran.store(0, Ordering::Relaxed);
        let response = layer.layer(handler).call(request(&asked)).await.unwrap();

        let status = match model(&asked) {
            Outcome::Proceed => StatusCode::OK,
            Outcome::NotModified => StatusCode::NOT_MODIFIED,
            Outcome::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
        };
        assert_eq!(response.status(), status, "{asked:?}");
        assert_eq!(ran.load(Ordering::Relaxed), usize::from(status == StatusCode::OK), "{asked:?}");
        // CON-13: the validators are on the answers to GET and HEAD only.
        let is_read = [Method::GET, Method::HEAD].contains(&asked.method);
        let headers = response.headers();
        assert_eq!(headers.contains_key("etag"), is_read && there.tag.is_some(), "{asked:?}");
        assert_eq!(headers.contains_key("last-modified"), is_read && there.is_dated, "{asked:?}");
    }
}

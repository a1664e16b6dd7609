//! Runs the vectors of conditional requests: `ConditionalGetMiddleware`, `conditional_page` and the `condition` decorator.
//! A departure is verified against `conditional_model.rs`.

#[path = "conditional_model.rs"]
pub mod model;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue, SET_COOKIE};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use larder::headers::{ConditionalBody, EntityTag};
use larder::{Clock, ManualClock, Timestamp, condition, conditional_get, etag, last_modified};
use serde_json::Value;
use tower::{Layer, Service, service_fn};

use crate::harness::{Departures, Judged, Summary, run};
use model::{Answer, Asked, explain};

/// Text that no HTTP header can carry.
const INVALID_HEADER_TEXT: &str = "invalid-header-text";

pub fn conditional(departures: &Departures) -> Summary {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without drivers");
    run("conditional", departures, |case| {
        let asked = Asked::of(&case.value);
        let Some(got) = runtime.block_on(ours(&asked)) else {
            return Judged::OutOfScope(INVALID_HEADER_TEXT);
        };
        let text = format!("{got:?}");
        case.judge_as_6_1(&text, |expected| Answer::of(expected) == got).unwrap_or_else(|| {
            // Clients of ours send our tags, so the same question is asked with them as well.
            let with_our_tag = asked.with_our_tag();
            let is_ours = |asked: &Asked| runtime.block_on(ours(asked)) == Some(asked.answer(model::ALL));
            let is_understood = asked.answer(&[]) == Answer::of(case.expected_6_1());
            let is_verified = is_understood && is_ours(&asked) && is_ours(&with_our_tag);
            case.differs(&text, is_verified.then(|| explain(&asked)).flatten())
        })
    })
}

/// Our answer; `None` if a header of the case is none.
async fn ours(asked: &Asked) -> Option<Answer> {
    let mut request = Request::builder().method(Method::from_bytes(asked.method.as_bytes()).ok()?).uri("/");
    for (name, value) in &asked.headers {
        request = request.header(name, header_value(value)?);
    }
    let request = request.body(()).ok()?;
    let response = view(asked)?;
    // Only what a header can carry goes to the functions: Django refuses the rest, or encodes it as mail does.
    asked.etag.iter().flatten().try_for_each(|tag| header_value(tag).map(drop))?;

    let called = Arc::new(AtomicBool::new(false));
    let notice = Arc::clone(&called);
    let handler = service_fn(move |_: Request<()>| {
        notice.store(true, Ordering::Relaxed);
        std::future::ready(Ok::<_, Infallible>(response.clone()))
    });
    let own_tag = asked.etag.clone().flatten();
    let own_date = asked.last_modified.flatten().map(time);
    let tag = move |_: &Parts| own_tag.clone();
    let date = move |_: &Parts| own_date;
    let response = match (asked.is_decorated, asked.etag.is_some(), asked.last_modified.is_some()) {
        (false, ..) => through(conditional_get().clock(clock()), handler, request).await,
        (true, true, false) => through(etag(tag).clock(clock()), handler, request).await,
        (true, false, true) => through(last_modified(date).clock(clock()), handler, request).await,
        (true, ..) => through(condition(tag, date).clock(clock()), handler, request).await,
    };
    Some(answer(response, called.load(Ordering::Relaxed)).await)
}

async fn through<L, S>(layer: L, handler: S, request: Request<()>) -> Response<ConditionalBody<Text>>
where
    L: Layer<S>,
    L::Service: Service<Request<()>, Response = Response<ConditionalBody<Text>>, Error = Infallible>,
{
    let Ok(response) = layer.layer(handler).call(request).await;
    response
}

/// What the view of the case answers, as Django builds it.
fn view(asked: &Asked) -> Option<Response<Text>> {
    let body = Text { text: Bytes::from(asked.view.body.clone()), is_streaming: asked.view.is_streaming };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(asked.view.status).ok()?;
    for (name, value) in &asked.view.headers {
        response.headers_mut().insert(HeaderName::from_bytes(name.as_bytes()).ok()?, header_value(value)?);
    }
    for cookie in &asked.view.cookies {
        response.headers_mut().append(SET_COOKIE, header_value(cookie)?);
    }
    Some(response)
}

async fn answer(response: Response<ConditionalBody<Text>>, view_called: bool) -> Answer {
    let (parts, body) = response.into_parts();
    let Ok(body) = body.collect().await;
    let (cookies, headers) = lines(&parts.headers).into_iter().partition(|(name, _)| name == "set-cookie");
    let cookies = Vec::into_iter(cookies).map(|(_, cookie)| cookie).collect();
    let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
    Answer::new(view_called, parts.status.as_u16(), headers, cookies, body)
}

fn lines(headers: &HeaderMap) -> Vec<(String, String)> {
    let latin1 = |value: &HeaderValue| value.as_bytes().iter().map(|byte| char::from(*byte)).collect();
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), latin1(value))).collect()
}

/// Django sends headers in Latin-1.
fn header_value(text: &str) -> Option<HeaderValue> {
    let bytes: Vec<u8> = text.chars().map(|char| u8::try_from(char).ok()).collect::<Option<_>>()?;
    HeaderValue::from_bytes(&bytes).ok()
}

/// It only decides the century of two-digit years.
fn clock() -> Clock {
    ManualClock::at(Timestamp::from_secs(1_780_000_000)).clock()
}

fn time(microseconds: i64) -> SystemTime {
    let distance = Duration::from_micros(microseconds.unsigned_abs());
    if microseconds < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance }
}

/// A text as a body, of known size unless it streams.
#[derive(Clone, Debug)]
struct Text {
    text: Bytes,
    is_streaming: bool,
}

impl Body for Text {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let text = std::mem::take(&mut self.text);
        Poll::Ready((!text.is_empty()).then(|| Ok(Frame::data(text))))
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_streaming { SizeHint::default() } else { SizeHint::with_exact(self.text.len() as u64) }
    }
}

/// The tag that our layer gives a body.
pub fn our_tag(body: &str) -> String {
    EntityTag::of(body.as_bytes()).to_string()
}

/// The pairs of a JSON array.
fn pairs(value: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    value.as_array().into_iter().flatten().map(|pair| (text(&pair[0]), text(&pair[1]))).collect()
}

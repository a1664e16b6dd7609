//! An answer from a stored page: its head with the right `Age`, its body without a copy.
//! The service answers with it from a shelf, the response future from a frame.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, ETAG, HeaderValue};
use http::{HeaderMap, Method, Response, StatusCode};
use http_body::Body;

use super::body::PageBody;
use super::frame::Page;
use super::reason::Outcome;
use super::shelf::Ready;
use super::text::Found;
use crate::clock::Timestamp;
use crate::headers::{Outcome as Evaluated, evaluate_response, not_modified_headers};

/// Whether the visitor has this page already, so that a 304 is enough (RFC 9111, section 4.3.2). `If-Match` and
/// `If-Unmodified-Since` are the origin's business: a cache's copy may be older than what they guard. Where a layer further
/// out tags what has no tag, the 304 to such a page is that layer's, as it has to carry the tag.
pub(super) fn is_known_to(
    request_headers: &HeaderMap,
    page: &Page,
    ready: &Ready,
    is_head: bool,
    is_tagged_further_out: bool,
    now: Timestamp,
) -> bool {
    if is_tagged_further_out && !ready.head.contains_key(ETAG) {
        return false;
    }
    let method = if is_head { Method::HEAD } else { Method::GET };
    evaluate_response(&method, request_headers, page.status, &ready.head, now) == Evaluated::NotModified
}

impl Found {
    /// The response.
    pub(super) fn response<B: Body>(&self) -> Response<PageBody<B>> {
        answer(&self.page, &self.ready, self.is_head, self.is_known, self.now)
    }

    /// The response, of which there is no second.
    pub(super) fn into_response<B: Body>(self) -> Response<PageBody<B>> {
        let Found { page, ready, is_head, is_known, now } = self;
        match Arc::try_unwrap(ready) {
            Ok(Ready { head, says_length, body }) => {
                let length = body.len();
                respond(&page, head, says_length, length, move || body, is_head, is_known, now)
            }
            Err(ready) => answer(&page, &ready, is_head, is_known, now),
        }
    }

    /// What is told of it.
    pub(super) fn outcome(&self) -> Outcome {
        Outcome::hit(&self.page, self.now)
    }
}

/// The response for a stored page, at `now`: 304 where `is_known`. A HEAD gets the head that the GET has, and no body
/// (MID-25).
#[inline(always)]
pub(super) fn answer<B: Body>(
    page: &Page,
    ready: &Ready,
    is_head: bool,
    is_known: bool,
    now: Timestamp,
) -> Response<PageBody<B>> {
    let body = || ready.body.clone();
    respond(page, ready.head.clone(), ready.says_length, ready.body.len(), body, is_head, is_known, now)
}

/// The same from a head that may be taken to pieces.
#[expect(clippy::too_many_arguments, reason = "what a head made ready consists of, and what the visitor wants")]
#[inline(always)]
fn respond<B: Body>(
    page: &Page,
    mut headers: HeaderMap,
    says_length: bool,
    length: usize,
    body: impl FnOnce() -> Bytes,
    is_head: bool,
    is_known: bool,
    now: Timestamp,
) -> Response<PageBody<B>> {
    if let Some(age) = headers.values_mut().next() {
        *age = age_value(page.age_at(now));
    }
    let (status, body) = if is_known {
        headers = not_modified_headers(&headers);
        (StatusCode::NOT_MODIFIED, Bytes::new())
    } else if is_head {
        if page.status == StatusCode::NO_CONTENT {
            // There is no content whose length could be told (RFC 9110, section 8.6).
            headers.remove(CONTENT_LENGTH);
        } else if !says_length {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length as u64));
        }
        (page.status, Bytes::new())
    } else {
        if !says_length {
            headers.remove(CONTENT_LENGTH);
        }
        (page.status, body())
    };
    let mut response = Response::new(PageBody::whole(body));
    *response.headers_mut() = headers;
    *response.status_mut() = status;
    response
}

/// The first thousand ages, three digits each: an `Age` is on every hit, and a text that is there already costs nothing.
static AGES: &str = {
    const DIGITS: [u8; 3000] = digits();
    match std::str::from_utf8(&DIGITS) {
        Ok(digits) => digits,
        Err(_) => panic!("digits are text"),
    }
};

const fn digits() -> [u8; 3000] {
    let mut digits = [0; 3000];
    let mut age = 0;
    while age < 1000 {
        digits[age * 3] = b'0' + (age / 100) as u8;
        digits[age * 3 + 1] = b'0' + (age / 10 % 10) as u8;
        digits[age * 3 + 2] = b'0' + (age % 10) as u8;
        age += 1;
    }
    digits
}

fn age_value(age: u64) -> HeaderValue {
    let leading_zeros = match age {
        0..10 => 2,
        10..100 => 1,
        100..1000 => 0,
        _ => return HeaderValue::from(age),
    };
    let start = age as usize * 3;
    HeaderValue::from_static(&AGES[start + leading_zeros..start + 3])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_written_as_numbers() {
        for age in (0..1100).chain([86_400, u64::from(u32::MAX), u64::MAX]) {
            assert_eq!(age_value(age), age.to_string());
        }
    }
}

//! Django's ConditionalGetMiddleware as a layer of a stack, and what a hit of ours answers to preconditions by itself: both
//! by `conditional_model.rs`. `django_cache.rs` puts them where ours would be.

use axum::body::{Body, Bytes};
use http::header::{ETAG, HeaderName, SET_COOKIE};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;
use tower::util::BoxCloneService;
use tower::{ServiceExt, service_fn};

use crate::conditional::model::{Answer, Asked, Departing, View};
use crate::raw_request::header_value;
use crate::stack::{Failure, Server, Stream};

/// On a request that the middleware further out sees: what has no tag gets one there.
#[derive(Clone, Copy)]
struct TagsWhatHasNone;

/// The middleware around a server. Django puts the method of a request into upper case before.
pub fn conditional_get(inner: Server, ways: Vec<Departing>, upper_case: bool) -> Server {
    BoxCloneService::new(service_fn(move |mut request: Request<Body>| {
        request.extensions_mut().insert(TagsWhatHasNone);
        let method = request.method().as_str();
        let method = if upper_case { method.to_ascii_uppercase() } else { method.to_owned() };
        let (headers, ways) = (lines(request.headers()), ways.clone());
        let answering = inner.clone().oneshot(request);
        async move {
            let (parts, body) = answering.await?.into_parts();
            let is_streaming = body.size_hint().exact().is_none();
            let body = body.collect().await.map_err(|error| Failure(error.to_string()))?.to_bytes();
            let body = String::from_utf8_lossy(&body).into_owned();
            let view = view(parts.status, &parts.headers, body, is_streaming);
            let answer =
                Asked { is_decorated: false, method, headers, view, etag: None, last_modified: None }.answer(&ways);
            Ok(response(answer, is_streaming))
        }
    }))
}

/// The 304 to who asks for a stored page and has it already. A hit makes no tag: only validators of the page count, and a
/// page without a tag is left to the middleware, if that stands further out.
pub fn not_modified(request: &Request<()>, page: &Response<Body>, mut ways: Vec<Departing>) -> Option<Response<Body>> {
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        return None;
    }
    let gets_tag_further_out = request.extensions().get::<TagsWhatHasNone>().is_some();
    if gets_tag_further_out && !page.headers().contains_key(ETAG) {
        return None;
    }
    ways.push(Departing::Methods);
    let asked = Asked {
        is_decorated: false,
        method: request.method().to_string(),
        headers: lines(request.headers()),
        view: view(page.status(), page.headers(), String::new(), false),
        etag: None,
        last_modified: None,
    };
    let answer = asked.answer(&ways);
    (answer.status == 304).then(|| response(answer, false))
}

fn view(status: StatusCode, headers: &HeaderMap, body: String, is_streaming: bool) -> View {
    let (cookies, headers) = lines(headers).into_iter().partition(|(name, _)| name == SET_COOKIE.as_str());
    let cookies = Vec::into_iter(cookies).map(|(_, cookie)| cookie).collect();
    View { status: status.as_u16(), headers, body, is_streaming, cookies }
}

fn response(answer: Answer, is_streaming: bool) -> Response<Body> {
    let is_as_it_was = !answer.body.is_empty();
    let body = Bytes::from(answer.body);
    let body = if is_streaming && is_as_it_was { Body::new(Stream(Some(body))) } else { Body::from(body) };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or_else(|error| panic!("{error}"));
    let cookies = answer.cookies.into_iter().map(|cookie| (SET_COOKIE.to_string(), cookie));
    for (name, value) in answer.headers.into_iter().chain(cookies) {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
        response.headers_mut().append(name, header_value(&value).unwrap_or_else(|error| panic!("{error}")));
    }
    response
}

fn lines(headers: &HeaderMap) -> Vec<(String, String)> {
    let latin_1 = |bytes: &[u8]| bytes.iter().map(|byte| char::from(*byte)).collect();
    headers.iter().map(|(name, value)| (name.to_string(), latin_1(value.as_bytes()))).collect()
}

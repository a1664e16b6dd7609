//! The view of a step: Django's HttpResponse with the status, headers, cookies and body that the step says.
//! `middleware.rs` puts it inside the stack and asks afterwards whether it was called.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, SET_COOKIE};
use http::{Request, Response, StatusCode};
use larder::Clock;
use serde_json::Value;
use tower::service_fn;
use tower::util::BoxCloneService;

use crate::raw_request::{header_value, latin_1, text};
use crate::stack::{Failure, Server, Stream};

#[derive(Clone)]
pub struct View {
    answer: Arc<Value>,
    clock: Clock,
    called: Arc<AtomicBool>,
}

impl View {
    pub fn new(answer: &Value, clock: &Clock) -> Self {
        View { answer: Arc::new(answer.clone()), clock: clock.clone(), called: Arc::default() }
    }

    pub fn was_called(&self) -> bool {
        self.called.load(Ordering::Relaxed)
    }

    pub fn server(&self) -> Server {
        let view = self.clone();
        BoxCloneService::new(service_fn(move |_: Request<Body>| {
            view.called.store(true, Ordering::Relaxed);
            std::future::ready(view.response())
        }))
    }

    fn response(&self) -> Result<Response<Body>, Failure> {
        let answer = &*self.answer;
        if !matches!(answer.get("raises"), None | Some(Value::Null | Value::Bool(false))) {
            return Err(Failure(answer["raises"].as_str().unwrap_or("ViewError").to_owned()));
        }
        let is_not_modified = answer["status"] == 304;
        // HttpResponseNotModified: neither body nor the default Content-Type.
        let body = if is_not_modified { "" } else { text(&answer["body"]) };
        let body = Bytes::from(body.to_owned());
        let body = if answer["streaming"] == true { Body::new(Stream(Some(body))) } else { Body::from(body) };
        let mut response = Response::new(body);
        let status = answer["status"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap_or(200);
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or_else(|error| panic!("{status}: {error}"));
        let headers = response.headers_mut();
        if !is_not_modified {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        }
        for line in answer["headers"].as_array().into_iter().flatten() {
            let name =
                HeaderName::from_bytes(&latin_1(text(&line[0]))).unwrap_or_else(|error| panic!("{line}: {error}"));
            headers.insert(name, header_value(text(&line[1])).unwrap_or_else(|error| panic!("{error}")));
        }
        for cookie in answer["cookies"].as_array().into_iter().flatten() {
            let line = self.cookie(cookie);
            headers.append(SET_COOKIE, header_value(&line).unwrap_or_else(|error| panic!("{error}")));
        }
        Ok(response)
    }

    /// `response.set_cookie(...)`, as Python's `http.cookies` writes it: attributes in the order of their names.
    fn cookie(&self, arguments: &Value) -> String {
        let given = |name: &str| match &arguments[name] {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        let name = given("name").or_else(|| given("key")).unwrap_or_default();
        let mut line = format!("{name}={}", quoted(&given("value").unwrap_or_default()));
        let max_age = arguments["max_age"].as_f64();
        let expires = max_age.map(|seconds| {
            let at = self.clock.now().after(Duration::try_from_secs_f64(seconds).unwrap_or_default());
            let at = if seconds == 0.0 { 0 } else { at.as_secs() };
            httpdate::fmt_http_date(std::time::UNIX_EPOCH + Duration::from_secs(at))
        });
        let attributes = [
            ("Domain", given("domain")),
            ("expires", given("expires").or(expires)),
            ("HttpOnly", (arguments["httponly"] == true).then(String::new)),
            ("Max-Age", given("max_age")),
            ("Path", given("path").or_else(|| Some("/".to_owned()))),
            ("SameSite", given("samesite")),
            ("Secure", (arguments["secure"] == true).then(String::new)),
        ];
        for (name, value) in attributes {
            match value {
                Some(value) if value.is_empty() => line += &format!("; {name}"),
                Some(value) => line += &format!("; {name}={value}"),
                None => {}
            }
        }
        line
    }
}

fn quoted(value: &str) -> String {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:".contains(&byte);
    if !value.is_empty() && value.bytes().all(is_legal) {
        return value.to_owned();
    }
    let escaped: String = value
        .bytes()
        .map(|byte| match byte {
            b'"' => "\\\"".to_owned(),
            b'\\' => "\\\\".to_owned(),
            byte if is_legal(byte) || b" ()/<=>?@[]{}".contains(&byte) => char::from(byte).to_string(),
            byte => format!("\\{byte:03o}"),
        })
        .collect();
    format!("\"{escaped}\"")
}

//! Django 6.1's cache middleware in Rust, with a switch for every departure: with none it answers what Django answers,
//! with some what we promise instead. `middleware.rs` puts it where our layer would be and compares.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use http::header::{AGE, AUTHORIZATION, CACHE_CONTROL, CONNECTION, EXPIRES, SET_COOKIE, VARY};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;
use larder::headers::{get_max_age, has_vary_header, patch_response_headers, patch_vary_headers};
use larder::{Cache, CacheControl, Clock, Language, PageKeys, Pages, Timestamp};
use tower::util::BoxCloneService;
use tower::{ServiceExt, service_fn};

use crate::conditional::model::{self, Departing};
use crate::django_conditional;
use crate::stack::{DjangoRequest, Failure, Place, Server};

pub const SET_COOKIE_IS_NEVER_STORED: &str = "set-cookie-is-never-stored";
pub const UNPARSABLE_MAX_AGE: &str = "unparsable-max-age-is-ignored";
pub const AGE_IS_TIME_SINCE_STORED: &str = "age-is-the-time-since-stored";
pub const AUTHORIZATION_NEEDS_PUBLIC: &str = "authorization-needs-public";
pub const VARIANTS: &str = "variants-do-not-hide-each-other";
pub const BAD_HOST_BYPASSES: &str = "bad-host-bypasses";
pub const WHOLE_SECONDS: &str = "whole-seconds";
pub const AT_MOST_A_YEAR: &str = "at-most-a-year";
pub const ONE_LANGUAGE: &str = "one-language-per-request";
pub const VARY_MUST_BE_NAMES: &str = "vary-must-be-names";
pub const PAGE_TIMEOUT_WINS: &str = "inner-page-timeout-wins";
pub const CONNECTION_HEADERS_ARE_NOT_STORED: &str = "connection-headers-are-not-stored";
pub const TARGETS_ARE_COMPARED: &str = "targets-are-compared-as-sent";
pub const METHODS_ARE_CASE_SENSITIVE: &str = "methods-are-case-sensitive";

pub const A_HIT_ANSWERS_304: &str = "a-hit-answers-304-by-itself";

/// Every switch there is. Which hash tags are is last: it makes a difference wherever there is a tag.
pub fn switches() -> Vec<&'static str> {
    let of_the_cache = [
        SET_COOKIE_IS_NEVER_STORED,
        UNPARSABLE_MAX_AGE,
        AGE_IS_TIME_SINCE_STORED,
        AUTHORIZATION_NEEDS_PUBLIC,
        VARIANTS,
        BAD_HOST_BYPASSES,
        WHOLE_SECONDS,
        AT_MOST_A_YEAR,
        ONE_LANGUAGE,
        VARY_MUST_BE_NAMES,
        PAGE_TIMEOUT_WINS,
        CONNECTION_HEADERS_ARE_NOT_STORED,
        TARGETS_ARE_COMPARED,
        METHODS_ARE_CASE_SENSITIVE,
        A_HIT_ANSWERS_304,
    ];
    of_the_cache.into_iter().chain(model::ALL.iter().map(|departing| departing.name())).collect()
}

const YEAR: f64 = 365.0 * 24.0 * 60.0 * 60.0;

/// What is stored in all caches of a case.
#[derive(Clone)]
pub struct DjangoCache {
    departures: Vec<&'static str>,
    /// A stored page is only for requests with the header values that it was made for. Django tells pages apart by their
    /// keys alone.
    compares_variants: bool,
    /// Two pages of the same key can be kept (ours in memory).
    keeps_collisions: bool,
    uses_languages: bool,
    clock: Clock,
    book: Arc<Mutex<Book>>,
}

#[derive(Default)]
struct Book {
    lists: BTreeMap<(String, String), HeaderLists>,
    pages: Vec<Page>,
}

#[derive(Clone, Default)]
struct HeaderLists {
    /// `Vary` values, the newest first; Django has one.
    varies: Vec<(Option<HeaderValue>, Timestamp)>,
    expires_at: Option<Timestamp>,
}

#[derive(Clone)]
struct Page {
    alias: String,
    key: String,
    target: String,
    variant: Vec<(String, Vec<HeaderValue>)>,
    is_public: bool,
    stored_at: Timestamp,
    expires_at: Timestamp,
    age: u64,
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// A cache middleware of a case: its place, and how it spells keys there.
struct Middleware {
    store: DjangoCache,
    place: Place,
    cache: Cache,
    pages: Pages,
}

impl DjangoCache {
    pub fn new(
        departures: &[&'static str],
        clock: &Clock,
        uses_languages: bool,
        compares_variants: bool,
        keeps_collisions: bool,
    ) -> Self {
        DjangoCache {
            departures: departures.to_vec(),
            compares_variants: compares_variants || departures.contains(&VARIANTS),
            keeps_collisions,
            uses_languages,
            clock: clock.clone(),
            book: Arc::default(),
        }
    }

    /// The middleware at a place around an inner server; `pages` and `cache` spell the keys.
    pub fn around(&self, inner: Server, place: &Place, cache: Cache, pages: Pages) -> Server {
        let middleware = Arc::new(Middleware { store: self.clone(), place: place.clone(), cache, pages });
        BoxCloneService::new(service_fn(move |request| Arc::clone(&middleware).answer(request, inner.clone())))
    }

    /// ConditionalGetMiddleware around an inner server.
    pub fn conditional_get(&self, inner: Server) -> Server {
        django_conditional::conditional_get(inner, self.ways(), !self.departs(METHODS_ARE_CASE_SENSITIVE))
    }

    /// The departures that are about conditional requests.
    fn ways(&self) -> Vec<Departing> {
        model::ALL.iter().copied().filter(|departing| self.departs(departing.name())).collect()
    }

    /// What is stored at a place for a GET with these headers, without `Age`.
    pub fn stored(&self, request: &Request<()>, place: &Place, cache: Cache, pages: Pages) -> Option<Response<Body>> {
        let middleware = Middleware { store: self.clone(), place: place.clone(), cache, pages };
        let page = middleware.find(request).ok()??;
        let mut response = Response::new(Body::from(page.body));
        *response.status_mut() = page.status;
        *response.headers_mut() = page.headers;
        Some(response)
    }

    /// The live keys with their aliases and the seconds that each has left.
    pub fn live(&self) -> Vec<(String, String, f64)> {
        let now = self.clock.now();
        let book = self.book();
        let lists = book.lists.iter().filter_map(|((alias, key), list)| Some((alias, key, list.expires_at?)));
        let pages = book.pages.iter().map(|page| (&page.alias, &page.key, page.expires_at));
        let live = lists.chain(pages).filter(|(.., expires_at)| *expires_at > now);
        live.map(|(alias, key, at)| (alias.clone(), key.clone(), at.since(now).as_secs_f64())).collect()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn departs(&self, name: &'static str) -> bool {
        self.departures.contains(&name)
    }
}

impl Middleware {
    async fn answer(self: Arc<Self>, request: Request<Body>, inner: Server) -> Result<Response<Body>, Failure> {
        let state = DjangoRequest::of(request.extensions());
        let (parts, body) = request.into_parts();
        let asked = Request::from_parts(parts.clone(), ());
        if [Method::GET, Method::HEAD].contains(&self.method(&asked)) {
            match self.find(&asked) {
                Ok(Some(page)) => {
                    state.state().updates_cache = false;
                    return Ok(self.hit(&asked, page));
                }
                Ok(None) => state.state().updates_cache = true,
                Err(failure) if !self.store.departs(BAD_HOST_BYPASSES) => return Err(failure),
                Err(_) => state.state().updates_cache = false,
            }
        } else {
            state.state().updates_cache = false;
        }
        let response = inner.oneshot(Request::from_parts(parts, body)).await?;
        if !state.state().updates_cache {
            return Ok(response);
        }
        self.update(asked, &state, response).await
    }

    /// Django puts the method into upper case.
    fn method(&self, request: &Request<()>) -> Method {
        let method = request.method();
        let upper = || Method::from_bytes(method.as_str().to_ascii_uppercase().as_bytes()).ok();
        let sensitive = self.store.departs(METHODS_ARE_CASE_SENSITIVE);
        upper().filter(|_| !sensitive).unwrap_or_else(|| method.clone())
    }

    fn keys(&self, request: &Request<()>, vary: Option<&HeaderValue>) -> Result<PageKeys, Failure> {
        let mut headers = HeaderMap::new();
        if let Some(vary) = vary {
            headers.insert(VARY, vary.clone());
        }
        self.pages.keys(request, &headers).map_err(|_| Failure("DisallowedHost".to_owned()))
    }

    /// The key of the header list, with its alias. In memory two targets never meet, though Django gives them one key.
    fn header_key(&self, request: &Request<()>, keys: &PageKeys) -> (String, String) {
        let apart = self.store.keeps_collisions && self.store.departs(TARGETS_ARE_COMPARED);
        let target = if apart { request.uri().to_string() } else { String::new() };
        (self.place.alias.clone(), self.cache.make_key(&keys.header) + &target)
    }

    /// `process_request`: the header list, then the page; a HEAD asks for the page of a GET first (MID-25, MID-26).
    fn find(&self, request: &Request<()>) -> Result<Option<Page>, Failure> {
        let now = self.store.clock.now();
        let alias = &self.place.alias;
        let header_key = self.header_key(request, &self.keys(request, None)?);
        let book = self.store.book();
        let Some(lists) = book.lists.get(&header_key) else { return Ok(None) };
        for is_head in [false, true] {
            if is_head && self.method(request) != Method::HEAD {
                break;
            }
            let mut keys = Vec::new();
            for (vary, _) in lists.varies.iter().filter(|(_, expires_at)| *expires_at > now) {
                let named = self.keys(request, vary.as_ref())?;
                keys.push(self.cache.make_key(if is_head { &named.head } else { &named.get }));
            }
            let found = book.pages.iter().filter(|page| {
                page.alias == *alias
                    && keys.contains(&page.key)
                    && page.expires_at > now
                    && (!self.store.compares_variants || page.is_for(request.headers()))
                    && (!self.store.departs(TARGETS_ARE_COMPARED) || page.target == request.uri().to_string())
                    && (!self.store.departs(AUTHORIZATION_NEEDS_PUBLIC)
                        || page.is_public
                        || !request.headers().contains_key(AUTHORIZATION))
            });
            if let Some(page) = found.max_by_key(|page| page.stored_at) {
                return Ok(Some(page.clone()));
            }
        }
        Ok(None)
    }

    /// A stored page, with `Age` (MID-21), or that the visitor has it already.
    fn hit(&self, request: &Request<()>, page: Page) -> Response<Body> {
        let mut headers = page.headers;
        let now = self.store.clock.now();
        if self.store.departs(AGE_IS_TIME_SINCE_STORED) {
            headers.insert(AGE, HeaderValue::from(now.since(page.stored_at).as_secs() + page.age));
        } else if let (Some(max_age), Some(expires)) = (get_max_age(&headers), expires_of(&headers)) {
            let age = i128::from(max_age) - (i128::from(expires) - i128::from(now.as_secs()));
            headers.insert(AGE, HeaderValue::try_from(age.max(0).to_string()).unwrap_or(HeaderValue::from_static("0")));
        }
        let mut response = Response::new(Body::from(page.body));
        *response.status_mut() = page.status;
        *response.headers_mut() = headers;
        let answers_304 = self.store.departs(A_HIT_ANSWERS_304);
        let not_modified = || django_conditional::not_modified(request, &response, self.store.ways());
        answers_304.then(not_modified).flatten().unwrap_or(response)
    }

    /// `process_response`.
    async fn update(
        &self,
        mut request: Request<()>,
        state: &DjangoRequest,
        response: Response<Body>,
    ) -> Result<Response<Body>, Failure> {
        let is_stream = response.body().size_hint().exact().is_none();
        if is_stream || ![StatusCode::OK, StatusCode::NOT_MODIFIED].contains(&response.status()) {
            return Ok(response);
        }
        let (mut parts, body) = response.into_parts();
        let body = body.collect().await.map_err(|error| Failure(error.to_string()))?.to_bytes();
        let control = CacheControl::from_headers(&parts.headers);
        if self.is_refused(&request, &parts.headers, &control) {
            return Ok(Response::from_parts(parts, Body::from(body)));
        }
        let mut timeout = self.place.page_timeout.or_else(|| self.page_timeout_of_inner(state));
        if timeout.is_none() {
            timeout = match get_max_age(&parts.headers) {
                Some(0) => return Ok(Response::from_parts(parts, Body::from(body))),
                Some(seconds) => Some(seconds as f64),
                None => self.year_at_most(self.place.site_timeout)?,
            };
        } else {
            timeout = self.year_at_most(timeout)?;
        }
        let timeout = timeout.unwrap_or(YEAR);
        self.patch(&mut parts.headers, &control, timeout)?;
        let mut authorization = request.headers().get_all(AUTHORIZATION).iter();
        if authorization.any(|value| !value.is_empty())
            && !control.is_public()
            && !self.store.departs(AUTHORIZATION_NEEDS_PUBLIC)
        {
            patch_vary_headers(&mut parts.headers, &["Authorization"]);
        }
        if timeout != 0.0 && parts.status == StatusCode::OK {
            if let Some(language) = state.state().language.clone().filter(|_| !self.store.departs(ONE_LANGUAGE)) {
                request.extensions_mut().insert(language);
            }
            let lifetime = Duration::try_from_secs_f64(timeout).unwrap_or_default();
            self.learn(&request, &parts, &body, control.is_public(), lifetime)?;
            let Place { alias, prefix, page_timeout, .. } = &self.place;
            state.state().kept_at.push((alias.clone(), prefix.clone(), *page_timeout));
        }
        Ok(Response::from_parts(parts, Body::from(body)))
    }

    /// The page timeout of a cache further in that keeps its pages in the same place.
    fn page_timeout_of_inner(&self, state: &DjangoRequest) -> Option<f64> {
        let state = state.state();
        let mut inner = state
            .kept_at
            .iter()
            .filter(|(alias, prefix, _)| (alias, prefix) == (&self.place.alias, &self.place.prefix));
        inner.next().filter(|_| self.store.departs(PAGE_TIMEOUT_WINS)).and_then(|(.., timeout)| *timeout)
    }

    /// What is passed on untouched whatever its lifetime (MID-6 to MID-10).
    fn is_refused(&self, request: &Request<()>, headers: &HeaderMap, control: &CacheControl) -> bool {
        let sets_cookies = headers.contains_key(SET_COOKIE)
            && (self.store.departs(SET_COOKIE_IS_NEVER_STORED) || has_vary_header(headers, "Cookie"));
        let has_credentials = self.store.departs(AUTHORIZATION_NEEDS_PUBLIC)
            && request.headers().contains_key(AUTHORIZATION)
            && !control.is_public();
        let is_no_list = self.store.departs(VARY_MUST_BE_NAMES)
            && names(headers).iter().any(|name| HeaderName::from_bytes(name.as_bytes()).is_err());
        sets_cookies
            || has_credentials
            || is_no_list
            || control.is_private()
            || control.is_no_cache()
            || control.is_no_store()
            || has_vary_header(headers, "*")
    }

    /// Django fails where CACHE_MIDDLEWARE_SECONDS is None (MID-18).
    fn year_at_most(&self, timeout: Option<f64>) -> Result<Option<f64>, Failure> {
        match timeout {
            timeout if self.store.departs(AT_MOST_A_YEAR) => Ok(Some(timeout.unwrap_or(YEAR).min(YEAR))),
            None => Err(Failure("TypeError".to_owned())),
            timeout => Ok(timeout),
        }
    }

    /// `patch_response_headers` (MID-20).
    fn patch(&self, headers: &mut HeaderMap, control: &CacheControl, timeout: f64) -> Result<(), Failure> {
        let present = present_max_age(control);
        if present == Some(None) && !self.store.departs(UNPARSABLE_MAX_AGE) {
            return Err(Failure("ValueError".to_owned()));
        }
        let timeout = timeout.max(0.0);
        let now = self.store.clock.now();
        patch_response_headers(headers, Duration::try_from_secs_f64(timeout).unwrap_or_default(), now);
        let is_smaller = present.flatten().is_none_or(|present| timeout < present as f64);
        if timeout.fract() != 0.0 && is_smaller && !self.store.departs(WHOLE_SECONDS) {
            let patched = CacheControl::from_headers(headers);
            let spelled = patched.directives().map(|(name, value)| match value {
                _ if name == "max-age" => format!("max-age={timeout}"),
                Some(value) => format!("{name}={value}"),
                None => name.to_owned(),
            });
            let spelled = spelled.collect::<Vec<_>>().join(", ");
            headers.insert(CACHE_CONTROL, HeaderValue::try_from(spelled).map_err(|error| Failure(error.to_string()))?);
        }
        Ok(())
    }

    /// `learn_cache_key`, and the page under the key (PGK-18).
    fn learn(
        &self,
        request: &Request<()>,
        parts: &http::response::Parts,
        body: &Bytes,
        is_public: bool,
        lifetime: Duration,
    ) -> Result<(), Failure> {
        let now = self.store.clock.now();
        let vary = parts.headers.get(VARY).cloned();
        let keys = self.keys(request, vary.as_ref())?;
        let expires_at = now.after(lifetime);
        let mut headers = parts.headers.clone();
        let mut age = 0;
        if self.store.departs(AGE_IS_TIME_SINCE_STORED)
            && let Some(own) = headers.remove(AGE)
        {
            age = own.to_str().ok().and_then(|own| own.parse().ok()).unwrap_or(0);
        }
        if self.store.departs(CONNECTION_HEADERS_ARE_NOT_STORED) {
            drop_connection_headers(&mut headers);
        }
        let has_own_language = request.extensions().get::<Language>().is_some();
        let leaves_out_accept_language =
            self.store.uses_languages && (has_own_language || !self.store.departs(ONE_LANGUAGE));
        let variant = names(&parts.headers)
            .into_iter()
            .filter(|name| !(leaves_out_accept_language && name == "accept-language"))
            .map(|name| {
                let lines = request.headers().get_all(name.as_str()).iter().cloned().collect();
                (name, lines)
            })
            .collect();
        let page = Page {
            alias: self.place.alias.clone(),
            key: self.cache.make_key(&keys.page),
            target: request.uri().to_string(),
            variant,
            is_public,
            stored_at: now,
            expires_at,
            age,
            status: parts.status,
            headers,
            body: body.clone(),
        };
        let mut book = self.store.book();
        let lists = book.lists.entry(self.header_key(request, &keys)).or_default();
        lists.learn(vary, expires_at, now, self.store.departs(VARIANTS));
        let keeps_collisions = self.store.keeps_collisions;
        book.pages.retain(|other| {
            other.alias != page.alias
                || other.key != page.key
                || keeps_collisions && (&other.variant, &other.target) != (&page.variant, &page.target)
        });
        book.pages.push(page);
        Ok(())
    }
}

impl HeaderLists {
    /// Django keeps the last list, for the lifetime of its page (MID-27, MID-28); ours keeps each until its last page dies.
    fn learn(&mut self, vary: Option<HeaderValue>, expires_at: Timestamp, now: Timestamp, keeps_others: bool) {
        if !keeps_others {
            *self = HeaderLists { varies: vec![(vary, expires_at)], expires_at: Some(expires_at) };
            return;
        }
        let known = self.varies.iter().find(|(other, _)| *other == vary).map(|(_, at)| *at);
        self.varies.retain(|(other, at)| *other != vary && *at > now);
        self.varies.insert(0, (vary, known.map_or(expires_at, |known| known.max(expires_at))));
        self.expires_at = self.varies.iter().map(|(_, at)| *at).max();
    }
}

impl Page {
    fn is_for(&self, request: &HeaderMap) -> bool {
        self.variant.iter().all(|(name, values)| request.get_all(name).iter().eq(values.iter()))
    }
}

/// What is about one connection: Connection, what it names, and those that RFC 9110 section 7.6.1 names besides.
fn drop_connection_headers(headers: &mut HeaderMap) {
    const ALWAYS: [&str; 8] = [
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    for name in listed(headers, CONNECTION).iter().map(String::as_str).chain(ALWAYS) {
        headers.remove(name);
    }
}

/// The names in `Vary`, sorted, each once.
fn names(headers: &HeaderMap) -> Vec<String> {
    listed(headers, VARY)
}

fn listed(headers: &HeaderMap, header: HeaderName) -> Vec<String> {
    let text = |value: &HeaderValue| value.as_bytes().iter().map(|byte| char::from(*byte)).collect::<String>();
    let lines = headers.get_all(header).iter().map(text).collect::<Vec<_>>().join(",");
    let mut names: Vec<String> =
        lines.split(',').map(|name| name.trim().to_lowercase()).filter(|name| !name.is_empty()).collect();
    names.sort();
    names.dedup();
    names
}

/// `int(cc["max-age"])` where there is one; `Some(None)` is a ValueError.
fn present_max_age(control: &CacheControl) -> Option<Option<i64>> {
    control.has("max-age").then(|| control.value("max-age").map_or(Some(1), python_integer))
}

/// A decorator that merges a max-age of its own fails where the one that is there is no integer (HDR-5).
pub fn failing_on_unparsable(inner: Server) -> Server {
    BoxCloneService::new(inner.map_result(|answer: Result<Response<Body>, Failure>| {
        let response = answer?;
        match present_max_age(&CacheControl::from_headers(response.headers())) {
            Some(None) => Err(Failure("ValueError".to_owned())),
            _ => Ok(response),
        }
    }))
}

fn expires_of(headers: &HeaderMap) -> Option<u64> {
    let date = httpdate::parse_http_date(headers.get(EXPIRES)?.to_str().ok()?).ok()?;
    date.duration_since(std::time::UNIX_EPOCH).ok().map(|since| since.as_secs())
}

/// `int(text)`.
fn python_integer(text: &str) -> Option<i64> {
    let text = text.trim();
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_number = digits.split('_').all(|group| !group.is_empty() && group.bytes().all(|byte| byte.is_ascii_digit()));
    let number: i64 = is_number.then(|| digits.replace('_', "").parse().unwrap_or(i64::MAX))?;
    Some(if text.starts_with('-') { -number } else { number })
}

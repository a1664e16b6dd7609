//! The stacks of `middleware.json` as tower layers: what each of Django's middlewares and decorators is with us, and where.
//! `middleware.rs` builds one for each step, around the view and with whichever cache is asked for.

use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::{Body, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use larder::cache::Timeout;
use larder::headers::{PatchHeaders, PatchLayer};
use larder::{
    CacheControl, CacheLayer, Clock, Language, LocaleLayer, cache_control, conditional_get, never_cache,
    vary_on_cookie, vary_on_headers,
};
use serde_json::Value;
use tower::util::BoxCloneService;
use tower::{Layer as _, Service, ServiceExt};

use crate::django_cache::{DjangoCache, UNPARSABLE_MAX_AGE, failing_on_unparsable};
use crate::raw_request::{header_value, text};

/// The LANGUAGES that the vectors were made with.
const LANGUAGES: [&str; 9] = ["en", "en-us", "fr", "de", "pt-br", "zh-hans", "es", "ja", "ko"];

/// Whatever answers requests.
pub type Server = BoxCloneService<Request<Body>, Response<Body>, Failure>;

/// The class of the exception that a view, or Django, would raise.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure(pub String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

/// One layer, in our order: the first is the outermost.
#[derive(Clone, Debug)]
pub enum Layer {
    Cache(Place),
    CacheControl(CacheControl),
    NeverCache,
    VaryOn(Vec<String>),
    VaryOnCookie,
    ConditionalGet,
    Locale,
    SetHeader(HeaderName, HeaderValue),
}

/// Where a cache layer keeps its pages, and for how many seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    pub alias: String,
    pub prefix: String,
    /// The page timeout (MID-11).
    pub page_timeout: Option<f64>,
    /// The site's timeout (MID-13); Django's setting can be None.
    pub site_timeout: Option<f64>,
    /// Layers that Django has between its two halves stay outside of our one, so that it stores the page without them.
    pub is_inside_others: bool,
}

/// The layers of a case (MID-19, MID-32, VIEW-1).
pub fn plan(settings: &Value, stack: &Value) -> Vec<Layer> {
    let seconds = |value: &Value| value.as_f64();
    let site = Place {
        alias: text(&settings["middleware_alias"]).to_owned(),
        prefix: text(&settings["middleware_key_prefix"]).to_owned(),
        page_timeout: None,
        site_timeout: seconds(&settings["middleware_seconds"]),
        is_inside_others: false,
    };
    // An argument that is given and null is not the setting, but Django's own default.
    let given = |layer: &Value, name: &str, unless_given: &str, if_null: &str| match layer.get(name) {
        None => unless_given.to_owned(),
        Some(value) => value.as_str().unwrap_or(if_null).to_owned(),
    };
    let mut plan = Vec::new();
    let mut site_cache_at = None;
    let layers = stack.as_array().map(Vec::as_slice).unwrap_or_default();
    for (position, layer) in layers.iter().enumerate() {
        if site_cache_at == Some(position) {
            let is_inside_others = position > 0 && text(&layers[position - 1]["layer"]) != "update";
            plan.push(Layer::Cache(Place { is_inside_others, ..site.clone() }));
        }
        match text(&layer["layer"]) {
            "update" => site_cache_at = place_of_site_cache(layers, position),
            "fetch" => site_cache_at = None,
            "cache" => plan.push(Layer::Cache(Place {
                alias: given(layer, "cache_alias", &site.alias, "default"),
                prefix: given(layer, "key_prefix", &site.prefix, ""),
                page_timeout: seconds(&layer["page_timeout"]),
                site_timeout: seconds(&layer["cache_timeout"]).or(site.site_timeout),
                is_inside_others: false,
            })),
            "cache_page" => plan.push(Layer::Cache(Place {
                alias: given(layer, "cache", "default", "default"),
                prefix: given(layer, "key_prefix", "", ""),
                page_timeout: seconds(&layer["timeout"]),
                ..site.clone()
            })),
            "cache_control" => plan.push(Layer::CacheControl(directives(&layer["args"]))),
            "never_cache" => plan.push(Layer::NeverCache),
            "vary_on_headers" => {
                let names = layer["headers"].as_array().into_iter().flatten();
                plan.push(Layer::VaryOn(names.map(|name| text(name).to_owned()).collect()));
            }
            "vary_on_cookie" => plan.push(Layer::VaryOnCookie),
            "conditional_get" => plan.push(Layer::ConditionalGet),
            "locale" => plan.push(Layer::Locale),
            "set_header" => {
                let name =
                    HeaderName::from_bytes(text(&layer["name"]).as_bytes()).unwrap_or_else(|error| panic!("{error}"));
                let value = header_value(text(&layer["value"])).unwrap_or_else(|error| panic!("{error}"));
                plan.push(Layer::SetHeader(name, value));
            }
            other => panic!("no layer is known as {other:?}"),
        }
    }
    plan
}

/// Where our one layer stands for Django's two halves: further in than whatever acts on requests between them, and
/// further out than what only changes responses, which Django runs on hits again to the same effect (MID-33). One half
/// alone stores nothing and answers nothing.
fn place_of_site_cache(layers: &[Value], update: usize) -> Option<usize> {
    let name = |position: &usize| text(&layers[*position]["layer"]);
    let fetch = (update + 1..layers.len()).find(|position| name(position) == "fetch")?;
    let acts_on_requests = |position: &usize| matches!(name(position), "locale" | "conditional_get");
    let last = (update + 1..fetch).rev().find(acts_on_requests).unwrap_or(update);
    Some(last + 1)
}

/// The keyword arguments of `cache_control`.
fn directives(arguments: &Value) -> CacheControl {
    let mut control = CacheControl::new();
    for argument in arguments.as_array().into_iter().flatten() {
        let name = text(&argument[0]).replace('_', "-");
        control = match (&argument[1], argument[1].as_u64()) {
            (Value::Bool(true), _) => control.directive(&name),
            (_, Some(seconds)) if name == "max-age" => control.max_age(seconds),
            (Value::String(value), _) => control.directive_value(&name, value),
            (value, _) => control.directive_value(&name, value),
        };
    }
    control
}

/// The timeouts of a place, on a layer of ours.
pub fn with_timeouts(layer: CacheLayer, place: &Place) -> CacheLayer {
    let layer = layer.timeout(place.site_timeout.map_or(Timeout::Never, Timeout::from));
    match place.page_timeout {
        Some(seconds) => layer.page_timeout(seconds),
        None => layer,
    }
}

/// What one request object carries through all of Django's middleware: everybody sees the same.
#[derive(Clone, Default)]
pub struct DjangoRequest(Arc<Mutex<DjangoState>>);

#[derive(Default)]
pub struct DjangoState {
    /// `_cache_update_cache` (MID-33).
    pub updates_cache: bool,
    /// `LANGUAGE_CODE`, set by LocaleMiddleware.
    pub language: Option<Language>,
    /// Where a cache further in keeps the response, and its page timeout.
    pub kept_at: Vec<(String, String, Option<f64>)>,
}

impl DjangoRequest {
    pub fn state(&self) -> MutexGuard<'_, DjangoState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn of(extensions: &http::Extensions) -> Self {
        extensions.get::<DjangoRequest>().cloned().unwrap_or_default()
    }
}

/// Puts the layers around the view; `cached` is the cache. With `django`, those that depart are Django's.
pub fn build(
    plan: &[Layer],
    view: Server,
    settings: &Value,
    clock: &Clock,
    django: Option<&DjangoCache>,
    cached: impl Fn(&Place, Server) -> Server,
) -> Server {
    let fails_on_unparsable = django.is_some_and(|django| !django.departs(UNPARSABLE_MAX_AGE));
    let checked = |inner, merges_max_age| {
        if fails_on_unparsable && merges_max_age { failing_on_unparsable(inner) } else { inner }
    };
    plan.iter().rev().fold(view, |inner, layer| match layer {
        Layer::Cache(place) => cached(place, inner),
        Layer::CacheControl(control) => patched(cache_control(control.clone()), checked(inner, control.has("max-age"))),
        Layer::NeverCache => patched(never_cache().clock(clock.clone()), checked(inner, true)),
        Layer::VaryOn(names) => patched(vary_on_headers(names), inner),
        Layer::VaryOnCookie => patched(vary_on_cookie(), inner),
        Layer::ConditionalGet => match django {
            None => server(conditional_get().clock(clock.clone()).layer(inner)),
            Some(django) => django.conditional_get(inner),
        },
        Layer::Locale => localized(inner, settings),
        Layer::SetHeader(name, value) => {
            let (name, value) = (name.clone(), value.clone());
            changed(inner, move |headers| drop(headers.insert(name.clone(), value.clone())))
        }
    })
}

fn patched<P: PatchHeaders + Send + Sync + 'static>(layer: PatchLayer<P>, inner: Server) -> Server {
    server(layer.layer(inner))
}

fn changed(inner: Server, change: impl Fn(&mut HeaderMap) + Clone + Send + 'static) -> Server {
    BoxCloneService::new(inner.map_response(move |mut response: Response<Body>| {
        change(response.headers_mut());
        response
    }))
}

/// LocaleMiddleware. Without USE_I18N there is the one language of the settings, and it is in no key (PGK-12).
fn localized(inner: Server, settings: &Value) -> Server {
    let default = text(&settings["language_code"]);
    let uses_languages = settings["use_i18n"] == true;
    let layer = if uses_languages {
        LocaleLayer::new(LANGUAGES).default_language(default)
    } else {
        LocaleLayer::new([default]).without_cookie()
    };
    let kept = inner.map_request(move |mut request: Request<Body>| {
        if uses_languages {
            let language = request.extensions().get::<Language>().cloned();
            DjangoRequest::of(request.extensions()).state().language = language;
        } else {
            request.extensions_mut().remove::<Language>();
        }
        request
    });
    server(layer.layer(kept))
}

/// Any service as one of the stack.
pub fn server<S, B>(service: S) -> Server
where
    S: Service<Request<Body>, Response = Response<B>, Error = Failure> + Clone + Send + 'static,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    BoxCloneService::new(service.map_response(|response: Response<B>| response.map(Body::new)))
}

/// A body of a length that nobody knows beforehand.
pub struct Stream(pub Option<Bytes>);

impl http_body::Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        std::task::Poll::Ready(self.0.take().map(|bytes| Ok(http_body::Frame::data(bytes))))
    }
}

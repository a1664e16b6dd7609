//! `TimeZoneLayer`: finds the time zone of each request, in a cookie, a header or by a function of the application.
//! Applications put it around the cache layer; Django leaves this to a middleware that each project writes itself.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::request::Parts;
use http::{HeaderMap, HeaderName, Request, Response};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::TimeZone;
use super::cookie::cookie;
use super::zone_names::iana_name;
use crate::headers::patch_vary_headers;

/// Finds the time zone of a request and inserts it as a [`TimeZone`] extension for the handler and for a cache layer
/// further in, which makes it part of the page's key (PGK-14).
///
/// The sources are asked in the order in which they were added, and the first that gives the name of an IANA zone
/// decides. Case does not count; the inserted name has IANA's spelling. Anything else a visitor sends is ignored, so that
/// at most as many variants of a page can be made as there are zones. Without any the
/// [`default_zone`](TimeZoneLayer::default_zone) is inserted, and without a default the extension stays what it was.
///
/// Every response says in `Vary` what was looked at: `Cookie`, the name of the header, and what
/// [`vary_on`](TimeZoneLayer::vary_on) adds for a function. **That keeps shared caches in front of this service right,
/// and `Vary: Cookie` keeps most of them from storing at all:** put the layer around the routes that show local times,
/// not around the whole site. A cache layer within does not see this `Vary`. Its key carries the zone, and two visitors
/// of one zone share a page whatever else is in their cookies.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use axum::{Extension, Router, body::Body, http::Request, routing::get};
/// use larder::{Cache, CacheLayer, TimeZone, TimeZoneLayer};
/// use tower::ServiceExt;
///
/// let app: Router = Router::new()
///     .route("/", get(|Extension(zone): Extension<TimeZone>| async move { zone.to_string() }))
///     .layer(CacheLayer::per_site().cache(&Cache::memory()))
///     .layer(TimeZoneLayer::new().cookie("time_zone").default_zone("UTC"));
///
/// let request = Request::get("/").header("cookie", "time_zone=Asia/Tokyo; theme=dark").body(Body::empty()).unwrap();
/// let response = app.oneshot(request).await.unwrap();
/// assert_eq!(response.headers()["vary"], "Cookie");
/// # use http_body_util::BodyExt;
/// assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "Asia/Tokyo");
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct TimeZoneLayer {
    // Shared, as axum may apply a layer anew for every request.
    settings: Arc<Settings>,
}

#[derive(Clone, Debug, Default)]
struct Settings {
    sources: Vec<Source>,
    default: Option<TimeZone>,
    vary: Vec<String>,
}

type FindZone = dyn Fn(&Parts) -> Option<String> + Send + Sync;

#[derive(Clone)]
enum Source {
    Cookie(String),
    Header(HeaderName),
    Function(Arc<FindZone>),
}

impl TimeZoneLayer {
    /// A layer that looks nowhere yet.
    pub fn new() -> Self {
        TimeZoneLayer::default()
    }

    /// Looks into this cookie, whose value is the name of a zone, plain or as JavaScript's `encodeURIComponent` writes it.
    pub fn cookie(mut self, name: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.settings).sources.push(Source::Cookie(name.into()));
        self.vary_on(["Cookie"])
    }

    /// Looks into this request header. Only its first line counts.
    ///
    /// # Panics
    /// If `name` is no header name.
    #[track_caller]
    pub fn header(mut self, name: &str) -> Self {
        let header = HeaderName::try_from(name).unwrap_or_else(|_| panic!("{name:?} is no header name"));
        Arc::make_mut(&mut self.settings).sources.push(Source::Header(header));
        self.vary_on([name])
    }

    /// Asks this function for the name of a zone: a session or an account that a layer further out put into the
    /// extensions, say.
    ///
    /// Say with [`vary_on`](TimeZoneLayer::vary_on) which request headers it goes by, or shared caches in front of this
    /// service will mix zones up.
    ///
    /// ```
    /// use larder::TimeZoneLayer;
    ///
    /// #[derive(Clone)]
    /// struct Account { zone: String }
    ///
    /// let layer = TimeZoneLayer::new()
    ///     .function(|request| request.extensions.get::<Account>().map(|account| account.zone.clone()))
    ///     .vary_on(["Cookie"]);
    /// ```
    pub fn function(mut self, find: impl Fn(&Parts) -> Option<String> + Send + Sync + 'static) -> Self {
        Arc::make_mut(&mut self.settings).sources.push(Source::Function(Arc::new(find)));
        self
    }

    /// Adds names of request headers to the `Vary` of every response.
    ///
    /// # Panics
    /// If one is no header name.
    #[track_caller]
    pub fn vary_on<N: AsRef<str>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        for name in names {
            let name = name.as_ref();
            assert!(HeaderName::try_from(name).is_ok(), "{name:?} is no header name");
            if !self.settings.vary.iter().any(|other| other.eq_ignore_ascii_case(name)) {
                Arc::make_mut(&mut self.settings).vary.push(name.to_owned());
            }
        }
        self
    }

    /// The zone of requests that name none.
    ///
    /// # Panics
    /// If it is no IANA zone.
    #[track_caller]
    pub fn default_zone(mut self, name: &str) -> Self {
        let zone = TimeZone::iana(name).unwrap_or_else(|| panic!("{name:?} is no IANA time zone"));
        Arc::make_mut(&mut self.settings).default = Some(zone);
        self
    }
}

impl TimeZone {
    /// The IANA zone of that name, in IANA's spelling; `None` if there is none. Case does not count.
    ///
    /// ```
    /// use larder::TimeZone;
    ///
    /// assert_eq!(TimeZone::iana("asia/tokyo"), Some(TimeZone::new("Asia/Tokyo")));
    /// assert_eq!(TimeZone::iana("Mars/Phobos"), None);
    /// ```
    pub fn iana(name: &str) -> Option<TimeZone> {
        iana_name(name).map(TimeZone::new)
    }
}

impl Source {
    fn zone(&self, request: &Parts) -> Option<TimeZone> {
        match self {
            Source::Cookie(name) => {
                let value = cookie(&request.headers, name)?;
                TimeZone::iana(value).or_else(|| TimeZone::iana(&decode(value)))
            }
            Source::Header(name) => TimeZone::iana(request.headers.get(name)?.to_str().ok()?.trim()),
            Source::Function(find) => TimeZone::iana(&find(request)?),
        }
    }
}

/// The two characters of zone names that `encodeURIComponent` escapes.
fn decode(value: &str) -> String {
    value.replace("%2F", "/").replace("%2B", "+")
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Cookie(name) => f.debug_tuple("Cookie").field(name).finish(),
            Source::Header(name) => f.debug_tuple("Header").field(name).finish(),
            Source::Function(_) => f.write_str("Function"),
        }
    }
}

impl<S> Layer<S> for TimeZoneLayer {
    type Service = TimeZoneService<S>;

    fn layer(&self, inner: S) -> TimeZoneService<S> {
        TimeZoneService { inner, settings: Arc::clone(&self.settings) }
    }
}

/// The service of a [`TimeZoneLayer`].
#[derive(Clone, Debug)]
pub struct TimeZoneService<S> {
    inner: S,
    settings: Arc<Settings>,
}

impl<S, B, B2> Service<Request<B>> for TimeZoneService<S>
where
    S: Service<Request<B>, Response = Response<B2>>,
{
    type Response = Response<B2>;
    type Error = S::Error;
    type Future = TimeZoneFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Settings { sources, default, .. } = &*self.settings;
        let (mut parts, body) = request.into_parts();
        let zone = sources.iter().find_map(|source| source.zone(&parts)).or_else(|| default.clone());
        if let Some(zone) = zone {
            parts.extensions.insert(zone);
        }
        let inner = self.inner.call(Request::from_parts(parts, body));
        TimeZoneFuture { inner, settings: Arc::clone(&self.settings) }
    }
}

impl Settings {
    fn tell(&self, headers: &mut HeaderMap) {
        if !self.vary.is_empty() {
            patch_vary_headers(headers, &self.vary);
        }
    }
}

pin_project! {
    /// The future of a [`TimeZoneService`].
    pub struct TimeZoneFuture<F> {
        #[pin]
        inner: F,
        settings: Arc<Settings>,
    }
}

impl<F, B, E> Future for TimeZoneFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<B>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.inner.poll(context))?;
        this.settings.tell(response.headers_mut());
        Poll::Ready(Ok(response))
    }
}

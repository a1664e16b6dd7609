//! `LocaleLayer`: finds the language of each request and says in the response which one it was.
//! Applications put it around the cache layer; Django has it as `LocaleMiddleware` (MID-31).

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::header::{CONTENT_LANGUAGE, HeaderMap};
use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::languages::{Languages, Offer, Prefix};
use crate::headers::patch_vary_headers;

/// Finds the language of a request as Django's `LocaleMiddleware` does, and inserts it as a
/// [`Language`](super::Language) extension for the handler and for a cache layer further in.
///
/// The first of these that names one of the site's languages decides:
///
/// 1. the beginning of the path, where [`path_prefix`](LocaleLayer::path_prefix) asks for it: `/ja/news`;
/// 2. the cookie `django_language` ([`cookie`](LocaleLayer::cookie));
/// 3. `Accept-Language`, by weight, up to a `*`; one that is malformed counts for nothing;
/// 4. the default language, which is the first of the list unless
///    [`default_language`](LocaleLayer::default_language) says otherwise.
///
/// A code matches the same code, else the script that its region means (`zh-tw` is `zh-hant`), else a more general one
/// (`fr-ch` is `fr`), else the first of the list that is a regional form of the same language (`pt` and `pt-pt` are
/// `pt-br`). Case does not count; the inserted code is in lower case, as Django's `LANGUAGE_CODE` is.
///
/// Every response, a cache's hits included, gets `Content-Language` if it has none, and `Vary: Accept-Language` unless
/// the path decided (MID-31). With the layer around a [`CacheLayer`](crate::CacheLayer) the language is part of the page's
/// key and the raw header is not (PGK-12): `en-GB,en;q=0.9` and `en` get the same page.
///
/// **Shared caches between the visitor and this service** know no cookie unless told. Django does not tell them;
/// [`vary_on_cookie`](LocaleLayer::vary_on_cookie) does, and [`without_cookie`](LocaleLayer::without_cookie) makes it
/// unnecessary.
///
/// Django's redirect of a path without a language to the one with it is not done here: which paths exist is the router's
/// to know.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use axum::{Extension, Router, body::Body, http::Request, routing::get};
/// use larder::{Cache, CacheLayer, Language, LocaleLayer};
/// use tower::ServiceExt;
///
/// let app: Router = Router::new()
///     .route("/", get(|Extension(language): Extension<Language>| async move { language.to_string() }))
///     .layer(CacheLayer::per_site().cache(&Cache::memory()))
///     .layer(LocaleLayer::new(["en", "ja", "pt-br"]));
///
/// let request = Request::get("/").header("accept-language", "en;q=0.5, ja-JP").body(Body::empty()).unwrap();
/// let response = app.oneshot(request).await.unwrap();
/// assert_eq!(response.headers()["content-language"], "ja");
/// assert_eq!(response.headers()["vary"], "Accept-Language");
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct LocaleLayer {
    // Shared, as axum may apply a layer anew for every request.
    settings: Arc<Settings>,
}

#[derive(Clone, Debug)]
struct Settings {
    languages: Languages,
    cookie: Option<String>,
    prefix: Prefix,
    varies_on_cookie: bool,
}

impl LocaleLayer {
    /// A layer for a site in these languages, the first of which is the default; codes as in `en`, `pt-br`, `zh-hant`.
    ///
    /// # Panics
    /// If there are none, or one is no language code.
    #[track_caller]
    pub fn new<C: AsRef<str>>(languages: impl IntoIterator<Item = C>) -> Self {
        let settings = Settings {
            languages: Languages::new(languages),
            cookie: Some("django_language".into()),
            prefix: Prefix::None,
            varies_on_cookie: false,
        };
        LocaleLayer { settings: Arc::new(settings) }
    }

    /// The language of requests that ask for none of the list (Django's `LANGUAGE_CODE`). One that is not in the list is
    /// taken for the language of the list that it is a variant of, else as it is.
    ///
    /// # Panics
    /// If it is no language code.
    #[track_caller]
    pub fn default_language(mut self, language: impl AsRef<str>) -> Self {
        Arc::make_mut(&mut self.settings).languages.set_default(language.as_ref());
        self
    }

    /// Reads the language from this cookie instead of `django_language` (`LANGUAGE_COOKIE_NAME`).
    pub fn cookie(mut self, name: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.settings).cookie = Some(name.into());
        self
    }

    /// Reads no cookie.
    pub fn without_cookie(mut self) -> Self {
        Arc::make_mut(&mut self.settings).cookie = None;
        self
    }

    /// Adds `Cookie` to `Vary` beside `Accept-Language`, so that shared caches in front of this service keep visitors
    /// apart who have chosen a language. Off unless set, as in Django. It does not touch the keys of a cache layer within.
    pub fn vary_on_cookie(mut self) -> Self {
        Arc::make_mut(&mut self.settings).varies_on_cookie = true;
        self
    }

    /// Takes the language that a path begins with, such as `/ja/news`, before anything else (Django's `i18n_patterns`).
    ///
    /// The path is the one this layer sees: inside axum's `Router::nest` without what was nested under.
    pub fn path_prefix(mut self) -> Self {
        Arc::make_mut(&mut self.settings).prefix = Prefix::All;
        self
    }

    /// As [`path_prefix`](LocaleLayer::path_prefix), where a path without a language is the default one's, whatever cookie
    /// and header say (`i18n_patterns(prefix_default_language=False)`).
    pub fn path_prefix_except_default(mut self) -> Self {
        Arc::make_mut(&mut self.settings).prefix = Prefix::AllButDefault;
        self
    }
}

impl<S> Layer<S> for LocaleLayer {
    type Service = LocaleService<S>;

    fn layer(&self, inner: S) -> LocaleService<S> {
        LocaleService { inner, settings: Arc::clone(&self.settings) }
    }
}

/// The service of a [`LocaleLayer`].
#[derive(Clone, Debug)]
pub struct LocaleService<S> {
    inner: S,
    settings: Arc<Settings>,
}

impl<S, B, B2> Service<Request<B>> for LocaleService<S>
where
    S: Service<Request<B>, Response = Response<B2>>,
{
    type Response = Response<B2>;
    type Error = S::Error;
    type Future = LocaleFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let Settings { languages, cookie, prefix, varies_on_cookie } = &*self.settings;
        let found = languages.find(request.uri().path(), request.headers(), cookie.as_deref(), *prefix);
        let spoken = Spoken {
            vary: match (found.by_path, varies_on_cookie) {
                (true, _) => &[],
                (false, false) => &["Accept-Language"],
                (false, true) => &["Accept-Language", "Cookie"],
            },
            offer: found.offer.clone(),
        };
        request.extensions_mut().insert(spoken.offer.language.clone());
        LocaleFuture { inner: self.inner.call(request), spoken }
    }
}

/// The language a request was answered in, and the headers it was chosen by.
struct Spoken {
    offer: Offer,
    vary: &'static [&'static str],
}

impl Spoken {
    fn tell(&self, headers: &mut HeaderMap) {
        if !self.vary.is_empty() {
            patch_vary_headers(headers, self.vary);
        }
        headers.entry(CONTENT_LANGUAGE).or_insert_with(|| self.offer.header.clone());
    }
}

pin_project! {
    /// The future of a [`LocaleService`].
    pub struct LocaleFuture<F> {
        #[pin]
        inner: F,
        spoken: Spoken,
    }
}

impl<F, B, E> Future for LocaleFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<B>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.inner.poll(context))?;
        this.spoken.tell(response.headers_mut());
        Poll::Ready(Ok(response))
    }
}

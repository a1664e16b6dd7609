//! A handle on the pages of a layer: the keys of a request, what is stored for a URL, and deleting it.
//! Programs and tools use it beside the layer that it came from ([`CacheLayer::pages`](super::CacheLayer::pages)).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AGE, AUTHORIZATION, CONTENT_LENGTH};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri};

use super::address::{Address, Left, original_uri};
use super::facts::RequestFacts;
use super::frame::Page;
use super::reason::Reason;
use super::shelf::{Ready, as_shelf, is_purged};
use super::site::Site;
use super::staleness::Worth;
use super::text::key::{PageKeys, vary_text};
use super::text::{self, Sought};
use super::visit::Visit;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::locale::{Language, TimeZone};

/// The pages that a [`CacheLayer`](super::CacheLayer) keeps. Cheap to clone; it reaches exactly the pages of a layer with
/// the same cache, prefix, scheme and host settings.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), larder::Error> {
/// use larder::{Cache, CacheLayer, PageUrl};
///
/// let layer = CacheLayer::per_site().cache(&Cache::memory());
/// let pages = layer.pages();
/// // ... serve requests through the layer; then, when an article changes:
/// pages.delete("http://example.com/news/7").await?;
/// pages.delete(PageUrl::new("http://example.com/news/7").language("ja")).await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Pages {
    site: Arc<Site>,
}

/// Which page is meant: the URL as the client sends it, and what else tells pages of one URL apart.
#[derive(Clone, Debug)]
pub struct PageUrl {
    url: String,
    headers: HeaderMap,
    language: Option<Language>,
    time_zone: Option<TimeZone>,
}

impl PageUrl {
    /// The page at an absolute URL, such as `http://example.com/news?page=2`. A path alone means the layer's own scheme
    /// and host ([`CacheLayer::scheme`](super::CacheLayer::scheme), [`CacheLayer::host`](super::CacheLayer::host)).
    pub fn new(url: impl Into<String>) -> Self {
        PageUrl { url: url.into(), headers: HeaderMap::new(), language: None, time_zone: None }
    }

    /// The page that this request asks for.
    pub fn of<B>(request: &Request<B>) -> Self {
        PageUrl {
            url: original_uri(request).to_string(),
            headers: request.headers().clone(),
            language: request.extensions().get().cloned(),
            time_zone: request.extensions().get().cloned(),
        }
    }

    /// The page in this language instead of the layer's.
    pub fn language(mut self, language: impl Into<Language>) -> Self {
        self.language = Some(language.into());
        self
    }

    /// The page in this time zone instead of the layer's.
    pub fn time_zone(mut self, time_zone: impl Into<TimeZone>) -> Self {
        self.time_zone = Some(time_zone.into());
        self
    }

    /// The variant for requests with this header.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    fn into_request(self) -> Result<Request<()>, Error> {
        let uri: Uri = self
            .url
            .parse()
            .map_err(|error: http::uri::InvalidUri| Error::Url { url: self.url.clone(), source: error.into() })?;
        let mut request = Request::new(());
        *request.uri_mut() = uri;
        *request.headers_mut() = self.headers;
        if let Some(language) = self.language {
            request.extensions_mut().insert(language);
        }
        if let Some(time_zone) = self.time_zone {
            request.extensions_mut().insert(time_zone);
        }
        Ok(request)
    }
}

impl<T: Into<String>> From<T> for PageUrl {
    fn from(url: T) -> Self {
        PageUrl::new(url)
    }
}

/// A page as it is stored, for tools and tests.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StoredPage {
    /// Its status.
    pub status: StatusCode,
    /// Its headers, as every hit has them, without `Age` and `Content-Length`.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// When it was stored.
    pub stored_at: Timestamp,
    /// From when on it is stale.
    pub expires_at: Timestamp,
    /// How long after that it is answered while it is made anew.
    pub stale_while_revalidate: Duration,
    /// How long after that it is answered where the handler fails.
    pub stale_if_error: Duration,
}

impl StoredPage {
    fn of(page: &Page, ready: &Ready) -> Self {
        let mut headers = ready.head.clone();
        headers.remove(AGE);
        headers.remove(CONTENT_LENGTH);
        StoredPage {
            status: page.status,
            headers,
            body: ready.body.clone(),
            stored_at: page.stored_at,
            expires_at: page.expires_at,
            stale_while_revalidate: Duration::from_secs(page.grace.while_revalidate.into()),
            stale_if_error: Duration::from_secs(page.grace.if_error.into()),
        }
    }
}

impl Pages {
    pub(super) fn of(site: Arc<Site>) -> Self {
        Pages { site }
    }

    /// The textual keys of the page that answers `request` with these headers; only its `Vary` counts.
    ///
    /// They are what a backend with text keys (memcached, Redis, a database) holds, before the cache's own prefix and
    /// version: [`Cache::make_key`](crate::Cache::make_key) adds those. In memory pages have no textual keys.
    ///
    /// # Errors
    /// [`Reason::Host`] where the host cannot be believed: such a request is never answered from the cache.
    pub fn keys<B>(&self, request: &Request<B>, response_headers: &HeaderMap) -> Result<PageKeys, Reason> {
        let address = self.site.address(request.headers(), &RequestFacts::of(request.headers()), Left::on(request))?;
        let scheme = self.site.settings.scheme;
        let vary = vary_text(response_headers);
        let header_names = scheme.header_names(vary.as_deref(), address.language.is_some());
        let keys = scheme.text_keys(&address);
        let page_key = |method: &Method| keys.page(method, &header_names, request.headers());
        Ok(PageKeys {
            url: scheme.url(&address),
            header: keys.header().to_owned(),
            page: page_key(request.method()),
            get: page_key(&Method::GET),
            head: page_key(&Method::HEAD),
            header_names,
        })
    }

    /// Deletes what is stored for a URL, in all its variants; the next request runs the handler. Says whether anything
    /// was there. A page in another language or time zone is another page.
    ///
    /// A handler that is running meanwhile answers its visitor, and its page is not kept: what it has read by then may be
    /// older than the deletion. So delete after what the page shows has changed: a page that is begun then is a new one. It
    /// holds for every process that shares the store.
    ///
    /// # Errors
    /// [`Error::Url`] if the URL cannot be parsed or its host cannot be believed; what the backend says otherwise.
    pub async fn delete(&self, page: impl Into<PageUrl>) -> Result<bool, Error> {
        let request = page.into().into_request()?;
        let address = self.address(&request)?;
        let backend = self.site.cache().backend();
        let bytes = address.to_bytes(self.site.cache().scope());
        let was_there = match backend.objects() {
            Some(objects) => objects.remove(&bytes),
            None => text::delete(&self.site, &address).await?,
        };
        self.site.cache().page_flights().cut(&bytes);
        Ok(was_there)
    }

    /// What is stored for a URL, for a GET with the headers given; `None` where the next request would wait for the
    /// handler. So a stale page is given only while it is answered at once (`stale-while-revalidate`).
    ///
    /// # Errors
    /// As [`Pages::delete`].
    pub async fn get(&self, page: impl Into<PageUrl>) -> Result<Option<StoredPage>, Error> {
        let request = page.into().into_request()?;
        let address = self.address(&request)?;
        let key = address.to_bytes(self.site.cache().scope());
        let clock = self.site.cache().clock();
        let usable = |page: &Page| {
            let is_answered_at_once = matches!(page.worth(clock.now()), Worth::Fresh | Worth::WhileRevalidate);
            is_answered_at_once.then(|| Some(StoredPage::of(page, &Ready::of(page)?))).flatten()
        };
        let Some(objects) = self.site.cache().backend().objects() else {
            let mut visit = Visit::new(&request, &address, key);
            visit.text = Some(Arc::new(self.site.settings.scheme.text_keys(&address)));
            visit.seen = None;
            return Ok(match text::try_seek(&self.site, Box::new(visit), false).await? {
                Sought::Found(found, _) => Some(StoredPage::of(&found.page, &found.ready)),
                Sought::Missing(visit, _) => visit.stale.as_ref().and_then(|stale| usable(&stale.page)),
            });
        };
        let now = clock.now();
        let has_authorization = request.headers().contains_key(AUTHORIZATION);
        let may_answer = |page: &Page| (page.is_public || !has_authorization) && !is_purged(page, objects);
        let object = objects.get(&key);
        Ok(object.as_deref().and_then(as_shelf).and_then(|shelf| {
            let found = shelf.find(false, None, request.headers(), may_answer, now);
            let position = found.or_else(|missed| missed.stale.ok_or(missed.why)).ok()?;
            usable(shelf.at(position).0)
        }))
    }

    fn address<'a>(&'a self, request: &'a Request<()>) -> Result<Address<'a>, Error> {
        self.site.address(request.headers(), &RequestFacts::of(request.headers()), Left::on(request)).map_err(
            |reason| Error::Url {
                url: request.uri().to_string(),
                source: format!("its host cannot be believed ({reason})").into(),
            },
        )
    }
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages").field("settings", &self.site.settings).finish_non_exhaustive()
    }
}

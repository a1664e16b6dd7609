//! The configuration of a page cache: `CacheLayer` with its builder methods, and `cache_page`.
//! Applications build one, tower and axum turn it into a [`CacheService`] around what it wraps.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tower_layer::Layer;

use super::address::{Forwarded, Origin};
use super::pages::Pages;
use super::policy::{self, Rules, Times};
use super::service::CacheService;
use super::site::{Crowd, Settings, Site};
use super::staleness::{GraceRules, whole_seconds};
use super::tags::Tags;
use super::text::key_scheme::KeyScheme;
use crate::cache::{Cache, Timeout};
use crate::locale::{Language, TimeZone};

/// Caches whole responses. See the [module](super) for what is stored and what is not.
///
/// ```
/// use axum::{Router, routing::get};
/// use larder::{Cache, CacheLayer, KeyScheme};
///
/// let cache = Cache::memory();
/// let site: Router = Router::new()
///     .route("/", get(|| async { "hello, world!" }))
///     .layer(CacheLayer::per_site().cache(&cache).timeout(600).key_prefix("blog").key_scheme(KeyScheme::Django52));
/// ```
#[derive(Clone, Debug)]
pub struct CacheLayer {
    // axum makes the layers of a `MethodRouter` anew for every request, so that cloning and applying one must be free.
    site: Arc<Site>,
}

/// Caches the responses of one route for `timeout`, which wins over their `max-age` and over the site's timeout (MID-11).
///
/// [`Timeout::Default`] leaves the lifetime to `max-age` and then to 600 s (MID-18); [`Timeout::Never`] is a year. Inside
/// a [`CacheLayer::per_site`] of the same cache and prefix, the outer layer keeps the page, for this timeout.
///
/// ```
/// use axum::{Router, routing::get};
/// use larder::{CacheLayer, cache_page};
///
/// let site: Router = Router::new()
///     .route("/news", get(|| async { "news" }).layer(cache_page(30)))
///     .layer(CacheLayer::per_site());
/// ```
pub fn cache_page(timeout: impl Into<Timeout>) -> CacheLayer {
    CacheLayer::per_site().page_timeout(timeout)
}

impl CacheLayer {
    /// A layer for a whole site: a page lives as long as its `max-age` says, else 600 s (MID-13, CFG-7), in the
    /// [process-wide default cache](crate::Caches::process_default) unless [`cache`](CacheLayer::cache) names another.
    pub fn per_site() -> Self {
        let settings = Settings {
            prefix: String::new(),
            scheme: KeyScheme::default(),
            language: None,
            time_zone: None,
            origin: Origin::default(),
            rules: Rules {
                statuses: vec![StatusCode::OK],
                stores_set_cookie: false,
                stores_streams: false,
                largest_body: 8 * 1024 * 1024,
            },
            times: Times { page: None, site: Duration::from_secs(600), grace: GraceRules::default(), jitter: None },
            patience: None,
            early_refresh: None,
            most_variants: 64,
            tags: Tags::default(),
            crowd: Crowd::default(),
            status_name: None,
        };
        CacheLayer { site: Arc::new(Site::new(settings)) }
    }

    /// Keeps the pages in this cache.
    pub fn cache(mut self, cache: &Cache) -> Self {
        Arc::make_mut(&mut self.site).name_cache(cache);
        self
    }

    /// Keeps the pages in the process-wide cache of this alias: the one that was [installed](crate::Caches::install) under
    /// it, or that `CACHE_URL_<ALIAS>` names (CFG-7).
    ///
    /// It is looked up when the layer is put around a service, not here: caches may be installed later than layers are
    /// made. Of this and [`cache`](CacheLayer::cache) the last one said counts.
    ///
    /// ```no_run
    /// use axum::{Router, routing::get};
    /// use larder::{Cache, CacheLayer, Caches};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), larder::Error> {
    /// let pages = Cache::connect("memory://?max_bytes=33554432").await?;
    /// Caches::install(Caches::builder().with("default", Cache::memory()).with("pages", pages).build())?;
    /// let site: Router = Router::new()
    ///     .route("/", get(|| async { "hello, world!" }))
    ///     .layer(CacheLayer::per_site().alias("pages"));
    /// # Ok(()) }
    /// ```
    ///
    /// # Panics
    /// Where no cache has that alias, and [`Layer::layer`], `CacheLayer::around` or [`CacheLayer::pages`] needs it: the
    /// message names those there are.
    pub fn alias(mut self, alias: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.site).name_alias(alias.into());
        self
    }

    /// How long a page lives that says nothing itself; seconds or a [`Duration`]. 600 s unless set. Zero or less stores
    /// nothing, and still sets `Expires` and `max-age` (MID-17).
    pub fn timeout(mut self, timeout: impl Into<Timeout>) -> Self {
        self.settings_mut().times.site = lifetime(timeout.into()).unwrap_or(Duration::from_secs(600));
        self
    }

    /// How long every page lives, whatever it says itself (MID-11); [`Timeout::Default`] takes that back.
    pub fn page_timeout(mut self, timeout: impl Into<Timeout>) -> Self {
        self.settings_mut().times.page = lifetime(timeout.into());
        self
    }

    /// Goes into every key, so that two sites can share a cache. Not set: empty (CFG-7).
    pub fn key_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.settings_mut().prefix = prefix.into();
        self
    }

    /// How keys are spelled in backends that need text; [`KeyScheme::Sha256`] unless set.
    pub fn key_scheme(mut self, scheme: KeyScheme) -> Self {
        self.settings_mut().scheme = scheme;
        self
    }

    /// The language of pages whose request carries no [`Language`] extension. Not set: such keys carry none (PGK-13).
    pub fn language(mut self, language: impl Into<Language>) -> Self {
        self.settings_mut().language = Some(language.into());
        self
    }

    /// The time zone of pages whose request carries no [`TimeZone`] extension. Not set: such keys carry none (PGK-14).
    pub fn time_zone(mut self, time_zone: impl Into<TimeZone>) -> Self {
        self.settings_mut().time_zone = Some(time_zone.into());
        self
    }

    /// The scheme of requests whose URL has none, as with HTTP/1.1; `http` unless set. It is part of the key.
    ///
    /// A request by HTTP/2, or one that asks for a whole URL, brings a scheme of its own, which counts instead. Where a proxy
    /// takes TLS off and speaks HTTP/2, see [`trust`](Self::trust).
    pub fn scheme(mut self, scheme: impl Into<String>) -> Self {
        self.settings_mut().origin.scheme = scheme.into();
        self
    }

    /// The host of requests that name none; empty unless set. It is part of the key.
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.settings_mut().origin.host = Some(host.into());
        self
    }

    /// Which forwarded headers count for scheme and host. Unless set: none (safety rule 10).
    pub fn trust(mut self, forwarded: Forwarded) -> Self {
        self.settings_mut().origin.forwarded = forwarded;
        self
    }

    /// The statuses that are stored; `200` alone unless set (MID-3). 1xx, 206 and 304 are never stored.
    pub fn statuses(mut self, statuses: impl IntoIterator<Item = StatusCode>) -> Self {
        let storable = |status: &StatusCode| {
            !status.is_informational() && ![StatusCode::PARTIAL_CONTENT, StatusCode::NOT_MODIFIED].contains(status)
        };
        self.settings_mut().rules.statuses = statuses.into_iter().filter(storable).collect();
        self
    }

    /// The largest body that is stored, in bytes; 8 MiB unless set. A larger one is passed on.
    pub fn largest_body(mut self, bytes: u64) -> Self {
        self.settings_mut().rules.largest_body = bytes;
        self
    }

    /// The largest number of variants of one URL that are kept; 64 unless set. Beyond it the oldest goes.
    pub fn most_variants(mut self, variants: usize) -> Self {
        self.settings_mut().most_variants = variants.max(1);
        self
    }

    /// Tags for every page of this layer, beside those that its handler names; see [`Tags`] for how many there can be. Said
    /// again, it adds.
    ///
    /// ```
    /// use axum::{Router, routing::get};
    /// use larder::{Cache, CacheLayer};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), larder::Error> {
    /// let cache = Cache::memory();
    /// let blog: Router = Router::new()
    ///     .route("/blog", get(|| async { "posts" }))
    ///     .layer(CacheLayer::per_site().cache(&cache).tags(["blog"]));
    /// // ... when the design of the blog changes:
    /// cache.purge_tag("blog").await?;
    /// # Ok(()) }
    /// ```
    pub fn tags(mut self, tags: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let settings = self.settings_mut();
        settings.tags = tags.into_iter().fold(std::mem::take(&mut settings.tags), Tags::and);
        self
    }

    /// Whether the handler runs once for all who ask at once for a page that is not there; on unless set. See
    /// [under load](super#under-load).
    pub fn coalesce(mut self, coalesce: bool) -> Self {
        self.settings_mut().crowd.is_led = coalesce;
        self
    }

    /// How long a request waits, all told, for pages that other requests cause to be made; then it runs the handler
    /// itself. 5 s unless set.
    pub fn longest_wait(mut self, longest: Duration) -> Self {
        self.settings_mut().crowd.longest_wait = longest.min(policy::LONGEST);
        self
    }

    /// How many requests wait for one page; any more run the handler themselves. 1024 unless set; they are counted in each
    /// process.
    pub fn most_waiters(mut self, waiters: usize) -> Self {
        self.settings_mut().crowd.most_waiters = waiters;
        self
    }

    /// Whether a page is made and stored to its end even where the visitor who caused it has hung up and nobody else
    /// waits for it. Off unless set: as long as anybody waits it is made to its end in any case. A handler that never ends
    /// is then ended by nobody: put a timeout around it.
    pub fn finish_fills(mut self, finish: bool) -> Self {
        self.settings_mut().crowd.finishes_fills = finish;
        self
    }

    /// Whether the handler runs once for all processes that share the store, too: `true`, or how long the lease lives that
    /// the one who runs it takes in the store. Off unless set.
    ///
    /// It counts for stores that processes share, and where the layer [coalesces](CacheLayer::coalesce). The lease lives
    /// for 10 s, or as said, and for a second at least; it is renewed while the page is made, and given back at the end.
    /// If its holder crashes, the others wait until it ends by itself, but for
    /// [`longest_wait`](CacheLayer::longest_wait) at most. Meanwhile they look for the page every 10 to 250 ms. It costs
    /// each miss two round trips more: worth it where a page is expensive to make.
    ///
    /// ```
    /// use larder::CacheLayer;
    /// use std::time::Duration;
    ///
    /// let layer = CacheLayer::per_site().lease(true);
    /// let layer = CacheLayer::per_site().lease(Duration::from_secs(30));
    /// ```
    pub fn lease(mut self, lease: impl Into<LeaseTime>) -> Self {
        self.settings_mut().crowd.lease =
            lease.into().0.map(|time| time.clamp(Duration::from_secs(1), policy::LONGEST));
        self
    }

    /// Stores responses that set cookies, and hands their cookies to everybody. Only for cookies that are the same for
    /// everybody; off unless set (safety rule 5).
    pub fn store_set_cookie(mut self, store: bool) -> Self {
        self.settings_mut().rules.stores_set_cookie = store;
        self
    }

    /// Stores bodies whose length is not known beforehand, once they have ended well. Off unless set (MID-5).
    pub fn store_streams(mut self, store: bool) -> Self {
        self.settings_mut().rules.stores_streams = store;
        self
    }

    /// How long after its expiry a page is still answered, at once, while the handler makes it anew behind: once, however
    /// many ask meanwhile (`stale-while-revalidate`, RFC 5861 section 3). Seconds or a [`Duration`], a fraction of a second
    /// counting as one; [`Timeout::Default`] takes it back. Off unless set.
    ///
    /// A response's own `stale-while-revalidate` goes before it. It is not done with responses that say `must-revalidate`,
    /// `proxy-revalidate` or `s-maxage` (RFC 9111 section 4.2.4); `s-maxage` beside an own `stale-while-revalidate`
    /// allows it.
    ///
    /// The request that finds the page stale is the one that the handler gets, without its preconditions and `Range`, in a
    /// tokio task of its own, for a minute at most: if that brings no page, the next request tries. Where there is no tokio
    /// runtime with its timers enabled, it waits for the handler as on any miss.
    ///
    /// ```
    /// use larder::{Cache, CacheLayer};
    ///
    /// // Answered for ten minutes, then for another minute while it is made anew, and for a day while the handler fails.
    /// let layer = CacheLayer::per_site().timeout(600).stale_while_revalidate(60).stale_if_error(86_400);
    /// ```
    pub fn stale_while_revalidate(mut self, period: impl Into<Timeout>) -> Self {
        self.settings_mut().times.grace.while_revalidate = lifetime(period.into()).map(whole_seconds);
        self
    }

    /// How long after its expiry a page is still answered where the handler fails (`stale-if-error`, RFC 5861 section 4):
    /// where the service answers an error, or with status 500, 502, 503, 504, or 408, which is what a time limit inside of
    /// the cache may answer. Seconds or a [`Duration`]; [`Timeout::Default`] takes it back. Off unless set.
    ///
    /// A response's own `stale-if-error` goes before it, and what forbids
    /// [`stale_while_revalidate`](CacheLayer::stale_while_revalidate) forbids it as well.
    pub fn stale_if_error(mut self, period: impl Into<Timeout>) -> Self {
        self.settings_mut().times.grace.if_error = lifetime(period.into()).map(whole_seconds);
        self
    }

    /// How long a request waits for the handler, or for another's page, where there is a stale page that may stand in for an
    /// error ([`stale_if_error`](CacheLayer::stale_if_error)): then that is the answer, and the handler goes on behind, for
    /// a minute at most, for the page that it makes to be stored. Unless set, as long as the handler takes.
    ///
    /// It needs a tokio runtime with its timers enabled, and ends no wait where there is no stale page: for that, put a
    /// timeout around the handler.
    ///
    /// ```
    /// use larder::CacheLayer;
    /// use std::time::Duration;
    ///
    /// // Half a second for the new page, then yesterday's.
    /// let layer = CacheLayer::per_site().stale_if_error(86_400).stale_after(Duration::from_millis(500));
    /// ```
    pub fn stale_after(mut self, patience: Duration) -> Self {
        self.settings_mut().patience = Some(patience.min(policy::LONGEST));
        self
    }

    /// Makes pages anew shortly before they expire, behind an answer that is still fresh: XFetch (Vattani, Chierichetti and
    /// Lowenstein, "Optimal Probabilistic Cache Stampede Prevention", 2015). Off unless set; 1 is what the authors found
    /// best, more is earlier.
    ///
    /// A request for a fresh page has it made anew if
    ///
    /// ```text
    /// now - cost * beta * ln(random) >= expires_at
    /// ```
    ///
    /// where `cost` is the time it took to make the page and `random` a number between 0 and 1, another one for each
    /// request. So a page that takes long to make is made anew in good time, and the more often a page is asked for, the
    /// earlier one of the requests draws the lot. Processes that share a store take turns by chance, without speaking to
    /// each other.
    ///
    /// # Panics
    /// If `beta` is negative or not finite.
    pub fn early_refresh(mut self, beta: f64) -> Self {
        assert!(beta.is_finite() && beta >= 0.0, "the beta of an early refresh is 0 or more, not {beta}");
        self.settings_mut().early_refresh = (beta > 0.0).then_some(beta);
        self
    }

    /// Keeps each page longer than its lifetime by chance, up to this part of it, so that pages which were stored together
    /// do not expire together:
    ///
    /// ```text
    /// stored lifetime = lifetime * (1 + fraction * random)
    /// ```
    ///
    /// where `random` is a number from 0 to 1, another one for each page. `0.1` is what others use. Off unless set. `Expires`
    /// and `max-age` tell the lifetime without it; a page that says `must-revalidate` or `proxy-revalidate` lives no
    /// longer than that.
    ///
    /// # Panics
    /// If `fraction` is not between 0 and 1.
    pub fn jitter(mut self, fraction: f64) -> Self {
        assert!((0.0..=1.0).contains(&fraction), "jitter is a part between 0 and 1, not {fraction}");
        self.settings_mut().times.jitter = Some(fraction);
        self
    }

    /// Adds a `Cache-Status` header (RFC 9211) under this name to every response: hit or why not, and the
    /// [`Reason`](super::Reason) where something was not stored. Off unless set.
    ///
    /// A page whose body has to be waited for says `fwd=uri-miss` and no more: its head is on its way before anybody knows
    /// whether it will be stored. A `tracing` event of the target `larder` tells that later.
    ///
    /// As it tells what was stored, such a response waits until the store has answered. Without it, pages are stored
    /// behind the response, and whoever asks for one meanwhile waits for it.
    ///
    /// # Panics
    /// If the name is not a token, such as `larder` or `site-cache`.
    pub fn cache_status(mut self, name: impl Into<String>) -> Self {
        let name = name.into();
        let is_token = name.starts_with(|first: char| first.is_ascii_alphabetic())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        assert!(is_token, "{name:?} cannot name a cache in Cache-Status: use letters, digits, '-', '_' and '.'");
        self.settings_mut().status_name = Some(name);
        self
    }

    /// A handle on the pages that this layer keeps: their keys, what is stored for a URL, and deleting it.
    ///
    /// # Panics
    /// As [`Layer::layer`] does.
    pub fn pages(&self) -> Pages {
        Pages::of(self.at_work())
    }

    fn settings_mut(&mut self) -> &mut Settings {
        &mut Arc::make_mut(&mut self.site).settings
    }

    fn at_work(&self) -> Arc<Site> {
        self.site.cache();
        Arc::clone(&self.site)
    }
}

/// How long a [lease](CacheLayer::lease) lives, made from a `bool` or a [`Duration`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTime(Option<Duration>);

impl From<bool> for LeaseTime {
    /// 10 s, or no lease.
    fn from(is_on: bool) -> Self {
        LeaseTime(is_on.then_some(Duration::from_secs(10)))
    }
}

impl From<Duration> for LeaseTime {
    fn from(time: Duration) -> Self {
        LeaseTime(Some(time))
    }
}

fn lifetime(timeout: Timeout) -> Option<Duration> {
    match timeout {
        Timeout::Default => None,
        Timeout::Never => Some(policy::LONGEST),
        Timeout::After(duration) => Some(duration.min(policy::LONGEST)),
    }
}

impl<S> Layer<S> for CacheLayer {
    type Service = CacheService<S>;

    /// # Panics
    /// If the layer names no cache and the process-wide one cannot be had that it means, such as for a `CACHE_URL` of an
    /// unknown scheme or an [alias](CacheLayer::alias) that nothing has: that is a mistake to hear of when the service
    /// starts.
    fn layer(&self, inner: S) -> CacheService<S> {
        CacheService::new(inner, self.at_work())
    }
}

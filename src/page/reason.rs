//! Why the cache did what it did: one enum for its tests, its operators and its users.
//! Policy gives the reasons, the response future puts them into `Cache-Status` and `tracing`.

use std::fmt;

use http::{HeaderValue, StatusCode};

/// Why a request was not answered from the cache, or a response not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The method is neither GET nor HEAD (MID-1, MID-2).
    Method,
    /// The request has a body; GET with a body has no agreed meaning.
    RequestBody,
    /// The request asks to leave HTTP: a WebSocket or another upgrade.
    Upgrade,
    /// The host is empty, doubled, contradicts the URL, or holds characters no host has.
    Host,
    /// The key is one the backend cannot take.
    Key,
    /// The request has credentials and the response does not say `public` (RFC 9111, section 3.5).
    Authorization,
    /// The status is not among those that are stored (MID-3).
    Status,
    /// The response sets a cookie.
    SetCookie,
    /// `Cache-Control: private` (MID-8).
    Private,
    /// `Cache-Control: no-store` (MID-8).
    NoStore,
    /// `Cache-Control: no-cache` (MID-8).
    NoCache,
    /// The response varies on more than can be compared: `Vary: *`, or a name that is none (MID-10).
    Vary,
    /// `max-age=0`, and no page timeout that overrides it (MID-14).
    MaxAge,
    /// The lifetime is zero or less (MID-17).
    Timeout,
    /// The body has no known length: a stream, and the layer does not store streams (MID-5).
    Streaming,
    /// The body is larger than the layer stores, or the page than the backend takes.
    TooLarge,
    /// The body failed, was dropped before its end, or is not as long as its `Content-Length`.
    Incomplete,
    /// The body ended with trailers.
    Trailers,
    /// A layer further in answered from the cache; what it stores is not stored again (MID-33).
    InnerHit,
    /// A layer further out has the same place for its pages, so that this one is its to keep or not (MID-33).
    OuterLayer,
    /// It has more tags, or a longer one, than a page may have.
    Tags,
    /// The page or one of its tags was purged while the handler ran, or it could not be told that none was (safety rule 20).
    Purged,
    /// The handler answered with an error of the service.
    Handler,
    /// The backend failed or refused; a miss (LIM-11).
    Backend,
}

impl Reason {
    /// The word in `Cache-Status` and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::Method => "method",
            Reason::RequestBody => "request-body",
            Reason::Upgrade => "upgrade",
            Reason::Host => "host",
            Reason::Key => "key",
            Reason::Authorization => "authorization",
            Reason::Status => "status",
            Reason::SetCookie => "set-cookie",
            Reason::Private => "private",
            Reason::NoStore => "no-store",
            Reason::NoCache => "no-cache",
            Reason::Vary => "vary",
            Reason::MaxAge => "max-age",
            Reason::Timeout => "timeout",
            Reason::Streaming => "streaming",
            Reason::TooLarge => "too-large",
            Reason::Incomplete => "incomplete",
            Reason::Trailers => "trailers",
            Reason::InnerHit => "inner-hit",
            Reason::OuterLayer => "outer-layer",
            Reason::Tags => "tags",
            Reason::Purged => "purged",
            Reason::Handler => "handler",
            Reason::Backend => "backend",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why the handler was asked: the `fwd` of RFC 9211, section 2.2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Forward {
    /// Nothing is stored for the URL.
    #[default]
    UriMiss,
    /// Something is, for other values of the headers it varies on.
    VaryMiss,
    /// What is stored has expired.
    Stale,
    /// The cache was not asked.
    Bypass(Reason),
}

/// The words in `Cache-Status` for a stale page that is being made anew, and for one that stands in for an error.
const WHILE_REVALIDATE: &str = "stale-while-revalidate";
const IF_ERROR: &str = "stale-if-error";

/// What became of a request, for `Cache-Status`, `tracing`, and the layers further out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Answered from the cache; seconds it stays fresh.
    Hit { ttl: u64 },
    /// Answered from the cache with a stale page, while it is made anew; seconds since it expired.
    Stale { late: u64 },
    /// The handler failed, with that status if it answered at all, or is late; a stale page stands in for it.
    InsteadOfError { why: Forward, status: Option<StatusCode> },
    /// Answered from the cache, where another request had brought the page while this one waited.
    Collapsed { why: Forward },
    /// Answered by the handler.
    Forwarded { why: Forward, stored: Result<(), Reason> },
    /// Answered by the handler, storing while the body goes by.
    Storing { why: Forward },
}

impl Outcome {
    /// A `tracing` event, without the key (safety rule 13).
    pub(crate) fn tell(self) {
        match self {
            Outcome::Hit { ttl } => tracing::trace!(target: "larder", ttl, "hit"),
            Outcome::Stale { late } => tracing::debug!(target: "larder", late, "hit, stale while it is made anew"),
            Outcome::InsteadOfError { why, status } => {
                let status = status.map(|status| status.as_u16());
                tracing::debug!(target: "larder", ?why, status, "the handler failed or is late, answered with a stale page");
            }
            Outcome::Collapsed { why } => {
                tracing::debug!(target: "larder", ?why, "hit, after a wait for another's page")
            }
            Outcome::Storing { why } => tracing::debug!(target: "larder", ?why, "miss, storing as the body goes by"),
            Outcome::Forwarded { why, stored: Ok(()) } => tracing::debug!(target: "larder", ?why, "miss, stored"),
            Outcome::Forwarded { why, stored: Err(reason) } => {
                tracing::debug!(target: "larder", ?why, reason = reason.as_str(), "not stored");
            }
        }
    }

    /// The `Cache-Status` member of a cache of this name (RFC 9211).
    pub(crate) fn cache_status(self, name: &str) -> Option<HeaderValue> {
        let fwd = |why: Forward| match why {
            Forward::UriMiss => "uri-miss",
            Forward::VaryMiss => "vary-miss",
            Forward::Stale => "stale",
            Forward::Bypass(Reason::Method) => "method",
            Forward::Bypass(_) => "bypass",
        };
        let text = match self {
            Outcome::Hit { ttl } => format!("{name}; hit; ttl={ttl}"),
            Outcome::Stale { late: 0 } => format!("{name}; hit; ttl=0; detail={WHILE_REVALIDATE}"),
            Outcome::Stale { late } => format!("{name}; hit; ttl=-{late}; detail={WHILE_REVALIDATE}"),
            Outcome::InsteadOfError { why, status: None } => format!("{name}; fwd={}; detail={IF_ERROR}", fwd(why)),
            Outcome::InsteadOfError { why, status: Some(status) } => {
                format!("{name}; fwd={}; fwd-status={}; detail={IF_ERROR}", fwd(why), status.as_u16())
            }
            Outcome::Collapsed { why } => format!("{name}; fwd={}; collapsed", fwd(why)),
            Outcome::Forwarded { why: Forward::Bypass(Reason::Method), .. } => format!("{name}; fwd=method"),
            Outcome::Forwarded { why: Forward::Bypass(reason), .. } => {
                format!("{name}; fwd=bypass; detail={reason}")
            }
            Outcome::Forwarded { why, stored: Ok(()) } => format!("{name}; fwd={}; stored", fwd(why)),
            Outcome::Forwarded { why, stored: Err(reason) } => format!("{name}; fwd={}; detail={reason}", fwd(why)),
            Outcome::Storing { why } => format!("{name}; fwd={}", fwd(why)),
        };
        HeaderValue::from_maybe_shared(bytes::Bytes::from(text)).ok()
    }
}

/// What becomes of a body that has to be waited for is told when it is known: here is what is not known yet. Where nobody
/// reads the body to its end it says so as it is dropped.
pub(super) struct Untold(Option<Forward>);

impl Untold {
    pub(super) fn of(why: Forward) -> Self {
        Untold(Some(why))
    }

    pub(super) fn tell(mut self, stored: Result<(), Reason>) {
        self.tell_once(stored);
    }

    fn tell_once(&mut self, stored: Result<(), Reason>) {
        if let Some(why) = self.0.take() {
            Outcome::Forwarded { why, stored }.tell();
        }
    }
}

impl Drop for Untold {
    fn drop(&mut self) {
        self.tell_once(Err(Reason::Incomplete));
    }
}

//! What the head of a request says that matters to a cache, taken down in one pass over its headers.
//! The service takes it for every request; a pass is cheaper than a look-up for each question.

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request};
use http_body::Body;

use super::reason::Reason;

/// The facts of one request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RequestFacts<'a> {
    /// The first `Host` line.
    pub(crate) host: Option<&'a HeaderValue>,
    /// There is more than one `Host` line.
    pub(crate) has_two_hosts: bool,
    /// There are credentials, in whatever form.
    pub(crate) has_authorization: bool,
    /// The visitor may have the page already.
    pub(crate) has_preconditions: bool,
    asks_for_upgrade: bool,
    announces_body: bool,
}

impl<'a> RequestFacts<'a> {
    /// Takes down what the headers say.
    pub(crate) fn of(headers: &'a HeaderMap) -> Self {
        let mut facts = RequestFacts::default();
        for (name, value) in headers {
            if *name == header::HOST {
                facts.has_two_hosts |= facts.host.is_some();
                facts.host = facts.host.or(Some(value));
            } else if *name == header::AUTHORIZATION {
                facts.has_authorization = true;
            } else if *name == header::UPGRADE {
                facts.asks_for_upgrade = true;
            } else if *name == header::TRANSFER_ENCODING {
                facts.announces_body = true;
            } else if *name == header::CONTENT_LENGTH {
                facts.announces_body |= value.as_bytes() != b"0";
            } else if *name == header::IF_NONE_MATCH || *name == header::IF_MODIFIED_SINCE {
                facts.has_preconditions = true;
            }
        }
        facts
    }

    /// Whether the request may be answered from the cache at all (MID-1, safety rule 15).
    pub(crate) fn check<B: Body>(&self, request: &Request<B>) -> Result<(), Reason> {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return Err(Reason::Method);
        }
        if self.announces_body || !request.body().is_end_stream() {
            return Err(Reason::RequestBody);
        }
        if self.asks_for_upgrade {
            return Err(Reason::Upgrade);
        }
        Ok(())
    }
}

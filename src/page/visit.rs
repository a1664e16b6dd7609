//! What of a request has to outlive it: the handler takes the request, the response is stored by what it was.
//! The service takes it down on a miss, the response future and the stores read it.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, Method, Request, header};

use super::address::{Address, AddressBytes};
use super::answer::is_known_to;
use super::begun::Begun;
use super::frame::Page;
use super::shelf::Ready;
use super::text::Found;
use super::text::key::TextKeys;
use super::variant::Seen;
use crate::cache::Lead;
use crate::clock::Timestamp;
use crate::headers::is_tagged_further_out;

/// A request that was not answered from the cache.
pub(crate) struct Visit {
    /// Its headers, for the values that the response will turn out to vary on.
    pub(crate) headers: Arc<HeaderMap>,
    pub(crate) is_head: bool,
    pub(crate) has_authorization: bool,
    /// A language is in its key, so textual keys leave the raw header out (PGK-12).
    pub(crate) has_language: bool,
    /// A page without a tag gets one in a layer further out.
    pub(crate) is_tagged_further_out: bool,
    /// How the service inside sees it; `None` for a tool that only asks what is stored.
    pub(crate) seen: Option<Seen<'static>>,
    /// The bytes of its address.
    pub(crate) key: AddressBytes,
    /// Its textual keys, for stores that need them.
    pub(crate) text: Option<Arc<TextKeys>>,
    /// What was known of purges before the handler ran.
    pub(crate) begun: Begun,
    /// What pages of its URL are known to vary on.
    pub(crate) varies_on: Vec<HeaderName>,
    /// It runs the handler, and tells those who wait what came of it.
    pub(crate) lead: Option<Lead>,
    /// What there is for it until something better comes: a stale page that is of use yet, or one that is due.
    pub(crate) stale: Option<Box<Found>>,
    /// That page is still fresh, and is made anew ahead of time.
    pub(crate) is_due: bool,
    /// It makes that page anew, and nobody gets its answer.
    pub(crate) is_refresh: bool,
    /// When the handler was asked.
    pub(crate) asked_at: Option<Timestamp>,
}

/// A request and its headers, which it shares with a visit until it is sent on: on a hit nobody else wants them.
pub(crate) struct Bared<B> {
    request: Request<B>,
    headers: Arc<HeaderMap>,
}

impl<B> Bared<B> {
    pub(crate) fn of(mut request: Request<B>) -> Self {
        let headers = Arc::new(std::mem::take(request.headers_mut()));
        Bared { request, headers }
    }

    /// What a visit takes down of it.
    pub(crate) fn visit(&self, has_language: bool, key: AddressBytes) -> Box<Visit> {
        Box::new(Visit::of(&self.request, Arc::clone(&self.headers), has_language, key))
    }

    /// The request as it was.
    pub(crate) fn with_headers(mut self) -> Request<B> {
        *self.request.headers_mut() = Arc::unwrap_or_clone(self.headers);
        self.request
    }
}

impl Visit {
    /// Takes down a request at its address.
    pub(crate) fn new<B>(request: &Request<B>, address: &Address<'_>, key: AddressBytes) -> Self {
        Visit::of(request, request.headers().clone().into(), address.language.is_some(), key)
    }

    /// The same of a request whose headers stand apart.
    fn of<B>(request: &Request<B>, headers: Arc<HeaderMap>, has_language: bool, key: AddressBytes) -> Self {
        Visit {
            is_head: request.method() == Method::HEAD,
            has_authorization: headers.contains_key(header::AUTHORIZATION),
            has_language,
            is_tagged_further_out: is_tagged_further_out(request.extensions()),
            seen: Some(Seen::of(request).into_owned()),
            headers,
            key,
            text: None,
            begun: Begun::default(),
            varies_on: Vec::new(),
            lead: None,
            stale: None,
            is_due: false,
            is_refresh: false,
            asked_at: None,
        }
    }

    /// A page for it, as it is to be answered.
    pub(crate) fn found(&self, (page, ready): (Page, Arc<Ready>), now: Timestamp) -> Box<Found> {
        let is_known = is_known_to(&self.headers, &page, &ready, self.is_head, self.is_tagged_further_out, now);
        Box::new(Found { page, ready, is_head: self.is_head, is_known, now })
    }

    pub(super) fn with(mut self: Box<Self>, lead: Lead) -> Box<Self> {
        self.lead = Some(lead);
        self
    }

    /// The stale page that may stand in for an error. Where it is made anew, nobody gets the answer.
    pub(super) fn stands_in(&mut self) -> Option<Box<Found>> {
        self.stale.take_if(|_| !self.is_refresh)
    }

    /// What came is not stored: others need not wait for it.
    pub(super) fn refuse(self: Box<Self>, now: Timestamp) {
        let Some(lead) = self.lead else { return };
        // There is one refresh at a time anyway, and the next one may bring a page.
        if self.is_refresh {
            lead.fail();
        } else {
            lead.refuse(now);
        }
    }
}

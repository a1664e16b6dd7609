//! Where a page lives: scheme, authority and target of the request as the client sent them, with prefix, language and
//! time zone. The service asks it for every request; the shelf, the frame and the textual keys are made from it.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};

use super::facts::RequestFacts;
use super::reason::Reason;
use super::text::key_scheme::KeyScheme;
use crate::locale::{Language, TimeZone};

/// What of a request's `Forwarded`-like headers counts. Nothing, unless the layer is told that a proxy it trusts always
/// sets or removes them (safety rule 10).
///
/// ```
/// use larder::{CacheLayer, Forwarded};
///
/// let layer = CacheLayer::per_site()
///     .trust(Forwarded::none().host().scheme("x-forwarded-proto", "https"));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Forwarded {
    host: bool,
    port: bool,
    scheme: Option<(HeaderName, String)>,
}

impl Forwarded {
    /// Trusts nothing.
    pub fn none() -> Self {
        Forwarded::default()
    }

    /// Trusts `X-Forwarded-Host` over `Host` (Django's `USE_X_FORWARDED_HOST`).
    pub fn host(mut self) -> Self {
        self.host = true;
        self
    }

    /// Trusts `X-Forwarded-Port` where there is no host header (Django's `USE_X_FORWARDED_PORT`).
    pub fn port(mut self) -> Self {
        self.port = true;
        self
    }

    /// Trusts this header for the scheme: `https` where its first element is `secure_value`, `http` where it is anything
    /// else (Django's `SECURE_PROXY_SSL_HEADER`, PGK-24).
    ///
    /// # Panics
    /// If `header` is not a header name.
    pub fn scheme(mut self, header: &str, secure_value: impl Into<String>) -> Self {
        let name = HeaderName::try_from(header).unwrap_or_else(|_| panic!("{header:?} is not a header name"));
        self.scheme = Some((name, secure_value.into()));
        self
    }
}

/// A host, with its port if that stands in the host's own text, and a port that a forwarded header names besides.
type Authority<'a> = (&'a [u8], Option<&'a [u8]>);

/// How a layer reads the origin of a request: its defaults and whom it trusts.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) scheme: String,
    pub(crate) host: Option<String>,
    pub(crate) forwarded: Forwarded,
}

impl Default for Origin {
    fn default() -> Self {
        Origin { scheme: "http".into(), host: None, forwarded: Forwarded::default() }
    }
}

/// The parts of a request that make its address, borrowed from it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Address<'a> {
    pub(crate) prefix: &'a str,
    pub(crate) scheme: &'a str,
    pub(crate) authority: &'a [u8],
    pub(crate) port: Option<&'a [u8]>,
    pub(crate) target: &'a str,
    pub(crate) language: Option<&'a Language>,
    pub(crate) time_zone: Option<&'a TimeZone>,
}

const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");

/// The bytes of an address: injective, each part behind its length, so that two addresses are equal exactly where their
/// bytes are (safety rule 8). On the stack for all but long URLs.
#[derive(Clone)]
pub(crate) struct AddressBytes {
    short: [u8; SHORT],
    length: u8,
    /// All of them where they are too long; else empty.
    long: Vec<u8>,
}

const SHORT: usize = 223;

/// What an object's key begins with, and what ends the scope: no UTF-8 text holds it.
const OBJECT: u8 = 0xFF;

impl std::ops::Deref for AddressBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        if self.long.is_empty() { &self.short[..usize::from(self.length)] } else { &self.long }
    }
}

impl AddressBytes {
    /// Whether it lies on the heap.
    pub(crate) fn is_long(&self) -> bool {
        !self.long.is_empty()
    }

    /// Puts a part behind its length, where there is room for it.
    #[inline(always)]
    fn put(&mut self, part: &[u8]) {
        let start = usize::from(self.length) + 1;
        self.short[start - 1] = part.len() as u8;
        self.short[start..start + part.len()].copy_from_slice(part);
        self.length = (start + part.len()) as u8;
    }
}

/// What nearly all addresses of a layer begin with, written once.
pub(crate) struct Opening {
    scope: Arc<str>,
    prefix: String,
    scheme: String,
    bytes: AddressBytes,
}

impl Opening {
    /// That of a layer with this prefix, for requests with this scheme, in a cache's scope.
    pub(crate) fn of(scope: &Arc<str>, prefix: &str, scheme: &str) -> Self {
        let nowhere =
            Address { prefix, scheme, authority: b"", port: None, target: "", language: None, time_zone: None };
        let mut bytes = nowhere.to_bytes(scope);
        // Authority and target are what an address goes on with.
        bytes.length = bytes.length.saturating_sub(2);
        Opening { scope: Arc::clone(scope), prefix: prefix.to_owned(), scheme: scheme.to_owned(), bytes }
    }

    /// The bytes of an address of this layer. As [`Address::to_bytes`] in a third of the time: every request comes here.
    pub(crate) fn go_on(&self, address: &Address<'_>) -> AddressBytes {
        debug_assert_eq!(address.prefix, self.prefix);
        let Address { scheme, authority, port, target, language, time_zone, .. } = *address;
        let is_plain = port.is_none() && language.is_none() && time_zone.is_none() && scheme == self.scheme;
        let size = usize::from(self.bytes.length) + 2 + authority.len() + target.len();
        if !is_plain || size > SHORT || !self.bytes.long.is_empty() {
            return address.to_bytes(&self.scope);
        }
        let mut bytes = AddressBytes { short: self.bytes.short, length: self.bytes.length, long: Vec::new() };
        bytes.put(authority);
        bytes.put(target.as_bytes());
        bytes
    }
}

impl Address<'_> {
    /// The bytes of this address within a cache's scope (`prefix:version:`), as [`crate::backend::Objects`] wants them.
    pub(crate) fn to_bytes(self, scope: &str) -> AddressBytes {
        let parts = [
            Some(self.prefix.as_bytes()),
            Some(self.scheme.as_bytes()),
            Some(self.authority),
            Some(self.target.as_bytes()),
            self.port,
            self.language.map(|language| language.as_str().as_bytes()),
            self.time_zone.map(|zone| zone.as_str().as_bytes()),
        ];
        let present = parts.iter().enumerate().filter(|(_, part)| part.is_some()).map(|(bit, _)| 1 << bit).sum();
        let size: usize = 3 + scope.len() + parts.iter().flatten().map(|part| part.len() + 1).sum::<usize>();
        let mut bytes = AddressBytes { short: [0; SHORT], length: 0, long: Vec::new() };
        if size <= SHORT {
            bytes.length = size as u8;
            let mut rest = &mut bytes.short[..];
            write(scope, present, &parts, |piece| {
                let (here, behind) = std::mem::take(&mut rest).split_at_mut(piece.len());
                here.copy_from_slice(piece);
                rest = behind;
            });
        } else {
            write(scope, present, &parts, |piece| bytes.long.extend_from_slice(piece));
        }
        bytes
    }

    /// The host as it stands in the absolute URL.
    pub(crate) fn host(&self) -> Vec<u8> {
        let mut host = self.authority.to_vec();
        if let Some(port) = self.port {
            host.push(b':');
            host.extend_from_slice(port);
        }
        host
    }
}

/// Puts an address piece by piece. Lengths of 255 and more are written out behind a 255.
#[inline]
fn write(scope: &str, present: u8, parts: &[Option<&[u8]>], mut put: impl FnMut(&[u8])) {
    put(&[OBJECT]);
    put(scope.as_bytes());
    put(&[OBJECT, present]);
    for part in parts.iter().flatten() {
        match u8::try_from(part.len()) {
            Ok(length @ 0..=0xFE) => put(&[length]),
            _ => {
                put(&[0xFF]);
                put(&(part.len() as u64).to_le_bytes());
            }
        }
        put(part);
    }
}

impl Origin {
    /// The scheme and the host of a request, as far as they can be believed.
    pub(crate) fn locate<'a>(
        &'a self,
        headers: &'a HeaderMap,
        facts: &RequestFacts<'a>,
        uri: &'a Uri,
        scheme: KeyScheme,
    ) -> Result<(&'a str, Authority<'a>), Reason> {
        let url_scheme = self.scheme_of(headers, uri);
        let (authority, port) = self.authority_of(headers, facts, uri, url_scheme)?;
        // No host at all is an address of its own: nobody reaches it by a name.
        if !authority.is_empty() && !is_host(authority, scheme) {
            return Err(Reason::Host);
        }
        Ok((url_scheme, (authority, port)))
    }

    fn scheme_of<'a>(&'a self, headers: &'a HeaderMap, uri: &'a Uri) -> &'a str {
        if let Some((name, secure)) = &self.forwarded.scheme
            && let Some(value) = headers.get(name)
        {
            let first = value.as_bytes().split(|byte| *byte == b',').next().unwrap_or_default().trim_ascii();
            return if first == secure.as_bytes() { "https" } else { "http" };
        }
        uri.scheme_str().unwrap_or(&self.scheme)
    }

    fn authority_of<'a>(
        &'a self,
        headers: &'a HeaderMap,
        facts: &RequestFacts<'a>,
        uri: &'a Uri,
        scheme: &str,
    ) -> Result<Authority<'a>, Reason> {
        if self.forwarded.host
            && let Some(host) = only_line(headers, X_FORWARDED_HOST)?
        {
            // A handler that then turns to `Host` would answer for it under the address of no host.
            return if host.is_empty() { Err(Reason::Host) } else { Ok((host, None)) };
        }
        if facts.has_two_hosts {
            return Err(Reason::Host);
        }
        let header = facts.host.map(HeaderValue::as_bytes);
        let in_url = uri.authority().map(|authority| authority.as_str().as_bytes());
        match (header, in_url) {
            // A handler may believe either; where they differ no shared page is safe (cache poisoning).
            (Some(header), Some(in_url)) if !header.eq_ignore_ascii_case(in_url) => Err(Reason::Host),
            (Some(b""), _) => Err(Reason::Host),
            (Some(header), _) => Ok((header, None)),
            (None, Some(in_url)) => Ok((in_url, None)),
            (None, None) => {
                let host = self.host.as_deref().unwrap_or_default();
                let port = if self.forwarded.port { only_line(headers, X_FORWARDED_PORT)? } else { None };
                let default: &[u8] = if scheme == "https" { b"443" } else { b"80" };
                match port {
                    Some(port) if port.is_empty() || !port.iter().all(u8::is_ascii_digit) => Err(Reason::Host),
                    Some(port) if port != default => Ok((strip_port(host).as_bytes(), Some(port))),
                    Some(_) => Ok((strip_port(host).as_bytes(), None)),
                    None => Ok((host.as_bytes(), None)),
                }
            }
        }
    }
}

/// A header that must not come twice: which of the two is meant is anybody's guess.
fn only_line(headers: &HeaderMap, name: HeaderName) -> Result<Option<&[u8]>, Reason> {
    let mut lines = headers.get_all(name).iter();
    let line = lines.next().map(HeaderValue::as_bytes);
    if lines.next().is_some() { Err(Reason::Host) } else { Ok(line) }
}

fn strip_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !name.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Which bytes a URL can hold in its host. A table, as every request asks it for every byte of its host.
const STANDS_IN_HOSTS: [bool; 256] = {
    let mut stands = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        stands[byte] = (byte as u8).is_ascii_graphic();
        byte += 1;
    }
    let delimiters = b"/?#@,\\";
    let mut delimiter = 0;
    while delimiter < delimiters.len() {
        stands[delimiters[delimiter] as usize] = false;
        delimiter += 1;
    }
    stands
};

/// Whether this can be a host with an optional port. Django's schemes take exactly Django's hosts (PGK-7); otherwise
/// anything a URL can hold there will do, underscores included.
fn is_host(authority: &[u8], scheme: KeyScheme) -> bool {
    if scheme == KeyScheme::Sha256 {
        // Without a branch for each byte: nearly every host is one.
        return authority.iter().fold(true, |all_stand, byte| all_stand & STANDS_IN_HOSTS[usize::from(*byte)]);
    }
    let (host, rest) = if authority.first() == Some(&b'[') {
        let Some(end) = authority.iter().position(|byte| *byte == b']') else { return false };
        let inside = &authority[1..end];
        let valid = inside.iter().all(|byte| byte.is_ascii_hexdigit() || b".:".contains(byte));
        let colon = inside.iter().position(|byte| *byte == b':');
        let only_hex_before = colon.is_some_and(|at| inside[..at].iter().all(u8::is_ascii_hexdigit));
        if !valid || !only_hex_before || colon.is_some_and(|at| at + 1 == inside.len()) {
            return false;
        }
        (&authority[..=end], &authority[end + 1..])
    } else {
        let end = authority.iter().position(|byte| *byte == b':').unwrap_or(authority.len());
        let host = &authority[..end];
        if !host.iter().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(byte)) {
            return false;
        }
        (host, &authority[end..])
    };
    let port_is_valid =
        rest.is_empty() || (rest.len() > 1 && rest[0] == b':' && rest[1..].iter().all(u8::is_ascii_digit));
    !host.is_empty() && port_is_valid
}

/// The URL of a request as the client sent it: axum's `nest` strips what it matched off the request's own (safety rule 14).
pub(crate) fn original_uri<B>(request: &Request<B>) -> &Uri {
    if let Some(OriginalUrl(uri)) = request.extensions().get() {
        return uri;
    }
    #[cfg(feature = "axum")]
    if let Some(axum::extract::OriginalUri(uri)) = request.extensions().get() {
        return uri;
    }
    request.uri()
}

/// What layers further out have left on a request that tells its page from others. It is taken down once: to look for
/// each of them costs as much as to compare a header.
#[derive(Clone, Copy)]
pub(crate) struct Left<'a> {
    /// The URL as the client sent it.
    pub(crate) uri: &'a Uri,
    pub(crate) language: Option<&'a Language>,
    pub(crate) time_zone: Option<&'a TimeZone>,
}

impl<'a> Left<'a> {
    pub(crate) fn on<B>(request: &'a Request<B>) -> Self {
        let extensions = request.extensions();
        Left { uri: original_uri(request), language: extensions.get(), time_zone: extensions.get() }
    }
}

/// Left on a request by the outermost cache layer, for layers inside a nested router.
#[derive(Clone)]
pub(crate) struct OriginalUrl(pub(crate) Uri);

/// Path and query as they were sent; the path alone is `/` where it was empty.
pub(crate) fn target_of(uri: &Uri) -> &str {
    uri.path_and_query().map_or("/", |target| target.as_str())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_address_that_goes_on_from_an_opening_has_the_same_bytes(
            scope in "[a-z:]{0,60}",
            prefix in "[a-z]{0,40}",
            scheme in "https?",
            authority in "[a-z.]{0,40}",
            port in proptest::option::of("[0-9]{1,5}"),
            target in "/[a-z/?=]{0,80}",
            language in proptest::option::of("[a-z]{2}"),
        ) {
            let language = language.map(Language::from);
            let address = Address {
                prefix: &prefix,
                scheme: &scheme,
                authority: authority.as_bytes(),
                port: port.as_deref().map(str::as_bytes),
                target: &target,
                language: language.as_ref(),
                time_zone: None,
            };
            let scope = Arc::from(scope);
            let opening = Opening::of(&scope, &prefix, "http");
            prop_assert_eq!(&*opening.go_on(&address), &*address.to_bytes(&scope));
        }
    }
}

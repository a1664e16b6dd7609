//! Which requests a stored page is for: the headers its `Vary` names, with the values of the request that made it.
//! Every read compares them in full, on every backend (safety rules 3 and 4).

use std::borrow::Cow;

use http::header::ACCEPT_LANGUAGE;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};

use super::address::{Left, target_of};
use super::head::{Name, Value, read_name, read_value, write_name, write_value};
use super::pieces::{Pieces, write_number, write_piece};
use crate::headers::date::http_date;

/// What of a request tells pages of one address apart beside its headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen<'a> {
    url: SeenUrl<'a>,
    /// The language was found for this very request, so that the raw header it was found in tells nothing more. A layer's
    /// default says nothing of what a layer further in will choose by that header.
    has_language: bool,
}

/// The URL as the service inside sees it. Where a layer further out has rewritten it, by whatever it looked at, two
/// requests for one address may be two pages (a tenant's, say); and axum's `nest` strips a prefix off.
#[derive(Clone, Debug, PartialEq, Eq)]
enum SeenUrl<'a> {
    /// As the client sent it.
    Sent,
    /// With another target.
    Target(Cow<'a, str>),
    /// With another scheme or authority.
    Elsewhere(Cow<'a, str>),
}

impl<'a> Seen<'a> {
    /// How the service inside sees a request.
    pub(crate) fn of<B>(request: &'a Request<B>) -> Self {
        Seen::with(request, Left::on(request))
    }

    /// The same, of what was left on it.
    pub(crate) fn with<B>(request: &'a Request<B>, left: Left<'_>) -> Self {
        Seen { url: SeenUrl::of(request.uri(), left.uri), has_language: left.language.is_some() }
    }

    pub(crate) fn into_owned(self) -> Seen<'static> {
        let url = match self.url {
            SeenUrl::Sent => SeenUrl::Sent,
            SeenUrl::Target(target) => SeenUrl::Target(Cow::Owned(target.into_owned())),
            SeenUrl::Elsewhere(url) => SeenUrl::Elsewhere(Cow::Owned(url.into_owned())),
        };
        Seen { url, has_language: self.has_language }
    }
}

impl<'a> SeenUrl<'a> {
    fn of(seen: &'a Uri, sent: &Uri) -> Self {
        if std::ptr::eq(seen, sent) {
            SeenUrl::Sent
        } else if seen.scheme() != sent.scheme() || seen.authority() != sent.authority() {
            SeenUrl::Elsewhere(seen.to_string().into())
        } else if is_same_text(target_of(seen), target_of(sent)) {
            SeenUrl::Sent
        } else {
            SeenUrl::Target(target_of(seen).into())
        }
    }
}

/// What axum leaves on a request is mostly a clone of the URL in it, and so lies in the same place.
fn is_same_text(one: &str, other: &str) -> bool {
    std::ptr::eq(one, other) || one == other
}

const SENT: u64 = 0;
const TARGET: u64 = 1;
const ELSEWHERE: u64 = 2;

/// How many lines, plus one: 0 stands for the language in the address, which was found for the request.
const BY_LANGUAGE: u64 = 0;

/// Writes how the URL was seen, and the names and, line by line, the values the request has for them. Absent, empty, one
/// line and two lines are four different things (safety rule 3). `Accept-Language` goes by the language where that was
/// found for the request (PGK-12).
pub(super) fn write_variant(out: &mut Vec<u8>, seen: &Seen<'_>, names: &[HeaderName], request_headers: &HeaderMap) {
    match &seen.url {
        SeenUrl::Sent => write_number(out, SENT),
        SeenUrl::Target(target) => {
            write_number(out, TARGET);
            write_piece(out, target.as_bytes());
        }
        SeenUrl::Elsewhere(url) => {
            write_number(out, ELSEWHERE);
            write_piece(out, url.as_bytes());
        }
    }
    for name in names {
        write_name(out, name);
        if seen.has_language && *name == ACCEPT_LANGUAGE {
            write_number(out, BY_LANGUAGE);
            continue;
        }
        let lines = request_headers.get_all(name);
        write_number(out, 1 + lines.iter().count() as u64);
        for line in lines {
            write_value(out, line);
        }
    }
}

/// The headers that a page varies on; `None` for bytes that make no sense.
pub(super) fn names(variant: &[u8]) -> Option<Vec<HeaderName>> {
    let mut pieces = Pieces::of(variant);
    if pieces.number()? != SENT {
        pieces.piece()?;
    }
    let mut names = Vec::new();
    while !pieces.is_at_end() {
        names.push(match read_name(&mut pieces)? {
            Name::Common(name) => name.clone(),
            Name::WrittenOut(name) => HeaderName::from_bytes(name.as_bytes()).ok()?,
        });
        for _ in 0..pieces.number()?.saturating_sub(1) {
            read_value(&mut pieces)?;
        }
    }
    Some(names)
}

/// Whether a request is one the page was made for; a tool, which sees nothing (`None`), means any of those with the same
/// headers. Bytes that make no sense match nobody.
pub(super) fn is_for(variant: &[u8], seen: Option<&Seen<'_>>, request_headers: &HeaderMap) -> bool {
    compare(variant, seen, request_headers).unwrap_or(false)
}

fn compare(variant: &[u8], seen: Option<&Seen<'_>>, request_headers: &HeaderMap) -> Option<bool> {
    let mut pieces = Pieces::of(variant);
    let (kind, url) = match pieces.number()? {
        SENT => (SENT, &[][..]),
        kind @ (TARGET | ELSEWHERE) => (kind, pieces.piece()?),
        _ => return None,
    };
    let is_seen_alike = seen.is_none_or(|seen| match &seen.url {
        SeenUrl::Sent => kind == SENT,
        SeenUrl::Target(target) => kind == TARGET && url == target.as_bytes(),
        SeenUrl::Elsewhere(seen) => kind == ELSEWHERE && url == seen.as_bytes(),
    });
    if !is_seen_alike {
        return Some(false);
    }
    let has_each_once = request_headers.len() == request_headers.keys_len();
    while !pieces.is_at_end() {
        let name = read_name(&mut pieces)?;
        let goes_by_language =
            |seen: &Seen<'_>| seen.has_language && matches!(name, Name::Common(name) if *name == ACCEPT_LANGUAGE);
        let count = match (pieces.number()?.checked_sub(1), seen.map(goes_by_language)) {
            (None, None | Some(true)) => continue,
            (None, Some(false)) | (Some(_), Some(true)) => return Some(false),
            (Some(count), None | Some(false)) => count,
        };
        // To ask for the one line takes half as long as to go through all lines.
        if has_each_once {
            let line = match name {
                Name::Common(name) => request_headers.get(name),
                Name::WrittenOut(name) => request_headers.get(name),
            };
            let is_alike = match (count, line) {
                (0, None) => true,
                (1, Some(line)) => is_value(&read_value(&mut pieces)?, line),
                _ => false,
            };
            if !is_alike {
                return Some(false);
            }
            continue;
        }
        let lines = match name {
            Name::Common(name) => request_headers.get_all(name),
            Name::WrittenOut(name) => request_headers.get_all(name),
        };
        let mut lines = lines.iter();
        for _ in 0..count {
            let value = read_value(&mut pieces)?;
            if !lines.next().is_some_and(|line| is_value(&value, line)) {
                return Some(false);
            }
        }
        if lines.next().is_some() {
            return Some(false);
        }
    }
    Some(true)
}

fn is_value(stored: &Value<'_>, line: &HeaderValue) -> bool {
    match stored {
        Value::WrittenOut(value) => line.as_bytes() == *value,
        Value::Common(value) => line.as_bytes() == value.as_bytes(),
        Value::Date(date) => *line == http_date(*date),
    }
}

//! The header block of a stored page: written compactly, read back as an `http::HeaderMap`.
//! Names and values that nearly every page has are written as one byte and read back without a copy or a count.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::pieces::{Pieces, write_number, write_piece};
use crate::clock::Timestamp;
use crate::headers::date::http_date;

/// Common names by their position, counted from 1; 0 is a name written out. Only ever append: stored pages hold the
/// positions.
static NAMES: [HeaderName; 41] = [
    header::CONTENT_TYPE,
    header::CACHE_CONTROL,
    header::EXPIRES,
    header::VARY,
    header::ETAG,
    header::LAST_MODIFIED,
    header::CONTENT_LANGUAGE,
    header::CONTENT_ENCODING,
    header::DATE,
    header::LINK,
    header::SERVER,
    header::LOCATION,
    header::CONTENT_DISPOSITION,
    header::CONTENT_SECURITY_POLICY,
    header::REFERRER_POLICY,
    header::STRICT_TRANSPORT_SECURITY,
    header::X_CONTENT_TYPE_OPTIONS,
    header::X_FRAME_OPTIONS,
    header::X_XSS_PROTECTION,
    header::ACCEPT_RANGES,
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_EXPOSE_HEADERS,
    header::ALLOW,
    header::ALT_SVC,
    header::CONTENT_LOCATION,
    header::CONTENT_RANGE,
    header::PRAGMA,
    header::REFRESH,
    header::SET_COOKIE,
    header::VIA,
    header::WARNING,
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    header::ACCEPT_LANGUAGE,
    header::AUTHORIZATION,
    header::COOKIE,
    header::HOST,
    header::ORIGIN,
    header::USER_AGENT,
    header::CONTENT_LENGTH,
];

/// Common values by their position, counted from 2; 0 is a value written out, 1 a date. Only ever append.
static VALUES: [&str; 40] = [
    "text/html; charset=utf-8",
    "application/json",
    "text/plain; charset=utf-8",
    "text/html",
    "text/css",
    "text/javascript",
    "application/javascript",
    "application/xml",
    "image/svg+xml",
    "image/png",
    "image/jpeg",
    "image/webp",
    "Cookie",
    "Accept-Language",
    "Accept-Encoding",
    "accept-encoding",
    "gzip",
    "br",
    "zstd",
    "nosniff",
    "DENY",
    "SAMEORIGIN",
    "same-origin",
    "en",
    "gzip, deflate, br, zstd",
    "gzip, deflate, br",
    "gzip, deflate",
    "*/*",
    "max-age=10",
    "max-age=30",
    "max-age=60",
    "max-age=120",
    "max-age=300",
    "max-age=600",
    "max-age=900",
    "max-age=1800",
    "max-age=3600",
    "max-age=86400",
    "public, max-age=60",
    "public, max-age=3600",
];

const WRITTEN_OUT: u64 = 0;
const DATE: u64 = 1;
const FIRST_VALUE: usize = 2;

/// Writes a name: one byte for a common one.
pub(super) fn write_name(out: &mut Vec<u8>, name: &HeaderName) {
    match NAMES.iter().position(|common| common == name) {
        Some(position) => write_number(out, position as u64 + 1),
        None => {
            write_number(out, WRITTEN_OUT);
            write_piece(out, name.as_str().as_bytes());
        }
    }
}

/// A name as it was written.
pub(super) enum Name<'a> {
    Common(&'static HeaderName),
    WrittenOut(&'a str),
}

/// Reads a name that [`write_name`] wrote.
pub(super) fn read_name<'a>(pieces: &mut Pieces<'a>) -> Option<Name<'a>> {
    Some(match pieces.length()?.checked_sub(1) {
        Some(position) => Name::Common(NAMES.get(position)?),
        None => Name::WrittenOut(std::str::from_utf8(pieces.piece()?).ok()?),
    })
}

/// Writes a value: one byte for a common one, six for a date.
pub(super) fn write_value(out: &mut Vec<u8>, value: &HeaderValue) {
    if let Some(position) = VALUES.iter().position(|common| common.as_bytes() == value.as_bytes()) {
        write_number(out, (position + FIRST_VALUE) as u64);
    } else if let Some(date) = as_date(value) {
        write_number(out, DATE);
        write_number(out, date.as_secs());
    } else {
        write_number(out, WRITTEN_OUT);
        write_piece(out, value.as_bytes());
    }
}

/// Writes the headers that `keep` lets through, in their order.
pub(super) fn write_head(out: &mut Vec<u8>, headers: &HeaderMap, keep: impl Fn(&HeaderName) -> bool) {
    for (name, value) in headers.iter().filter(|(name, _)| keep(name)) {
        write_name(out, name);
        write_value(out, value);
    }
}

/// The moment a value is the date of, spelled exactly as we would spell it.
fn as_date(value: &HeaderValue) -> Option<Timestamp> {
    let text = value.to_str().ok().filter(|text| text.ends_with(" GMT"))?;
    let date = Timestamp::from(httpdate::parse_http_date(text).ok()?);
    (date.as_secs() <= LAST_DATE && http_date(date) == *value).then_some(date)
}

/// A value as it was written.
pub(super) enum Value<'a> {
    Common(&'static str),
    Date(Timestamp),
    WrittenOut(&'a [u8]),
}

/// Reads a value that [`write_value`] wrote.
pub(super) fn read_value<'a>(pieces: &mut Pieces<'a>) -> Option<Value<'a>> {
    Some(match pieces.number()? {
        WRITTEN_OUT => Value::WrittenOut(pieces.piece()?),
        DATE => Value::Date(Timestamp::from_secs(pieces.number().filter(|seconds| *seconds <= LAST_DATE)?)),
        position => Value::Common(VALUES.get(usize::try_from(position).ok()? - FIRST_VALUE)?),
    })
}

/// Reads a header block back, behind what `first` puts first, with room for one header more; most values are slices of
/// `block`. `None` if it is not one.
pub(super) fn read_head(block: &Bytes, first: impl FnOnce(&mut HeaderMap)) -> Option<HeaderMap> {
    let mut pieces = Pieces::of(block);
    let mut headers = HeaderMap::try_with_capacity(count_headers(block) + 2).ok()?;
    first(&mut headers);
    while !pieces.is_at_end() {
        let name = match read_name(&mut pieces)? {
            Name::Common(name) => name.clone(),
            Name::WrittenOut(name) => HeaderName::from_bytes(name.as_bytes()).ok()?,
        };
        let value = match read_value(&mut pieces)? {
            Value::WrittenOut(piece) => HeaderValue::from_maybe_shared(block.slice_ref(piece)).ok()?,
            Value::Common(value) => HeaderValue::from_static(value),
            Value::Date(date) => http_date(date),
        };
        headers.try_append(name, value).ok()?;
    }
    Some(headers)
}

/// The last second of the year 2500: any later date is not one that was written.
const LAST_DATE: u64 = 16_756_761_599;

/// How many headers a block holds, as far as it makes sense.
fn count_headers(block: &[u8]) -> usize {
    let mut pieces = Pieces::of(block);
    let skip_header = || {
        read_name(&mut pieces)?;
        read_value(&mut pieces).map(drop)
    };
    std::iter::from_fn(skip_header).count()
}

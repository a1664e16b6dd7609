//! The textual keys of a page, for backends that need text: Django's shape, byte for byte Django's under its schemes.
//! The text store and [`Pages`](crate::page::Pages) call it; in memory no text is made.

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, VARY};
use http::{HeaderMap, Method};
use md5::{Digest, Md5};
use sha2::Sha256;

use super::django_url::absolute_uri;
use super::key_scheme::KeyScheme;
use crate::hex_digest::HexDigest;
use crate::page::address::Address;

/// The two textual keys of a page, before the cache's own prefix and version ([`crate::Cache::make_key`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageKeys {
    /// The absolute URL that is hashed.
    pub url: String,
    /// The headers the page varies on, as they go into the key: `HTTP_COOKIE` under Django's schemes, else `cookie`.
    pub header_names: Vec<String>,
    /// The key of the list of header names (PGK-1).
    pub header: String,
    /// The key of the page under the request's own method (PGK-2, PGK-16).
    pub page: String,
    /// The key under which a GET is looked up.
    pub get: String,
    /// The key under which a HEAD is looked up, after the one of GET (MID-25).
    pub head: String,
}

/// The textual keys of one address. The URL is digested once, however many keys are made, and what can be written
/// beforehand is.
#[derive(Clone, Debug)]
pub(crate) struct TextKeys {
    scheme: KeyScheme,
    header: String,
    stamp: String,
    /// What the key of a page has before its method.
    before_method: String,
    /// The digest of the URL, as text.
    url: String,
    suffix: String,
}

impl TextKeys {
    /// The key of what is known about the URL.
    pub(crate) fn header(&self) -> &str {
        &self.header
    }

    /// The key of the stamp that the pages of the URL bear.
    pub(crate) fn stamp(&self) -> &str {
        &self.stamp
    }

    /// The digest of the URL, in hexadecimal digits.
    pub(crate) fn url_digest(&self) -> &str {
        &self.url
    }

    /// The key of one page of that URL. `names` are what [`KeyScheme::header_names`] made of its `Vary`.
    pub(crate) fn page(&self, method: &Method, names: &[String], request_headers: &HeaderMap) -> String {
        let mut key = String::with_capacity(self.longest());
        self.write_page(&mut key, method, &self.headers_digest(names, request_headers));
        key
    }

    /// The digest of the values that a request has for these headers, as all pages of one `Vary` have it in their keys.
    pub(crate) fn headers_digest(&self, names: &[String], request_headers: &HeaderMap) -> HexDigest {
        self.scheme.headers_digest(names, request_headers)
    }

    /// Puts the key of one page behind what `out` has.
    pub(crate) fn write_page(&self, out: &mut String, method: &Method, headers: &HexDigest) {
        let TextKeys { before_method, url, suffix, .. } = self;
        out.push_str(before_method);
        match *method {
            Method::GET => out.push_str("GET"),
            Method::HEAD => out.push_str("HEAD"),
            _ => out.extend(method.as_str().chars().map(|letter| letter.to_ascii_uppercase())),
        }
        for part in [".", url, ".", headers, suffix] {
            out.push_str(part);
        }
    }

    /// Bytes that no key of a GET or HEAD is longer than.
    pub(crate) fn longest(&self) -> usize {
        self.before_method.len() + "HEAD..".len() + 2 * HexDigest::LONGEST + self.suffix.len()
    }
}

impl KeyScheme {
    /// What all textual keys of an address share, computed once.
    pub(crate) fn text_keys(self, address: &Address<'_>) -> TextKeys {
        let (prefix, url, suffix) = (address.prefix, &*self.url_digest(address), self.suffix(address));
        TextKeys {
            scheme: self,
            header: ["views.decorators.cache.cache_header.", prefix, ".", url, &suffix].concat(),
            stamp: ["larder.page.", prefix, ".", url, &suffix].concat(),
            before_method: ["views.decorators.cache.cache_page.", prefix, "."].concat(),
            url: url.to_owned(),
            suffix,
        }
    }

    /// The names in a `Vary` value that go into the page key, sorted; none where there is no such header. Under Django's schemes exactly as that version
    /// reads it, oddities included (PGK-11, PGK-12); what a page really varies on is judged elsewhere.
    pub(crate) fn header_names(self, vary: Option<&str>, language_is_keyed: bool) -> Vec<String> {
        let Some(vary) = vary else { return Vec::new() };
        let mut names: Vec<String> = match self {
            KeyScheme::Sha256 => {
                vary.split(',').map(|name| name.trim().to_ascii_lowercase()).filter(|name| !name.is_empty()).collect()
            }
            KeyScheme::Django52 => split_between(vary).map(django_name).collect(),
            KeyScheme::Django61 => split_between(vary)
                .map(|name| name.trim_matches(char::is_whitespace))
                .filter(|name| !name.is_empty())
                .map(django_name)
                .collect(),
        };
        if self == KeyScheme::Sha256 {
            names.retain(|name| !(language_is_keyed && name == "accept-language"));
            names.sort();
            names.dedup();
            return names;
        }
        names.retain(|name| !(language_is_keyed && name == "ACCEPT_LANGUAGE"));
        let mut names: Vec<String> = names.into_iter().map(|name| format!("HTTP_{name}")).collect();
        names.sort();
        names
    }

    /// The absolute URL as this scheme reads it.
    pub(crate) fn url(self, address: &Address<'_>) -> String {
        match self {
            KeyScheme::Sha256 => {
                format!("{}://{}{}", address.scheme, String::from_utf8_lossy(&address.host()), address.target)
            }
            KeyScheme::Django52 | KeyScheme::Django61 => absolute_uri(address),
        }
    }

    fn url_digest(self, address: &Address<'_>) -> HexDigest {
        match self {
            KeyScheme::Sha256 => HexDigest::of(&Sha256::digest(&*address.to_bytes(""))),
            KeyScheme::Django52 | KeyScheme::Django61 => HexDigest::of(&Md5::digest(absolute_uri(address))),
        }
    }

    fn headers_digest(self, names: &[String], request_headers: &HeaderMap) -> HexDigest {
        if names.is_empty() {
            let is_sha256 = self == KeyScheme::Sha256;
            return if is_sha256 { HexDigest::OF_NOTHING } else { HexDigest::OF_NOTHING_BY_MD5 };
        }
        if self == KeyScheme::Sha256 {
            let mut digest = Sha256::new();
            for name in names {
                let lines = request_headers.get_all(name.as_str());
                digest.update((name.len() as u64).to_le_bytes());
                digest.update(name);
                digest.update((lines.iter().count() as u64).to_le_bytes());
                for line in lines {
                    digest.update((line.len() as u64).to_le_bytes());
                    digest.update(line);
                }
            }
            return HexDigest::of(&digest.finalize());
        }
        let mut digest = Md5::new();
        for name in names {
            match django_value(name, request_headers) {
                None => digest.update(b"-,"),
                Some(value) if self == KeyScheme::Django52 => digest.update(value),
                Some(value) => digest.update(format!("{}:{value},", value.len())),
            }
        }
        HexDigest::of(&digest.finalize())
    }

    /// Language and time zone, readable at the end of the key (PGK-13, PGK-14). Ours is hashed where it could make a
    /// key too long or unportable; it is in the URL digest already.
    fn suffix(self, address: &Address<'_>) -> String {
        let language = address.language.map(|language| language.as_str());
        let zone = address.time_zone.map(|zone| match self {
            KeyScheme::Sha256 => zone.as_str(),
            KeyScheme::Django52 | KeyScheme::Django61 => zone.django_name(),
        });
        [language, zone].into_iter().flatten().fold(String::new(), |suffix, part| {
            let portable = part.len() <= 40 && part.bytes().all(|byte| byte.is_ascii_graphic());
            if portable || self != KeyScheme::Sha256 {
                suffix + "." + part
            } else {
                suffix + "." + &hex::encode(&Sha256::digest(part)[..8])
            }
        })
    }
}

/// All lines of a response's `Vary` as one text, its bytes read as Latin-1 as Django does (PGK-19).
pub(crate) fn vary_text(headers: &HeaderMap) -> Option<String> {
    let mut lines = headers.get_all(VARY).iter().map(|line| latin_1(line.as_bytes()));
    let first = lines.next()?;
    Some(lines.fold(first, |text, line| text + ", " + &line))
}

/// `re.split(r"\s*,\s*")`: blanks around commas go, those at the ends stay.
fn split_between(vary: &str) -> impl Iterator<Item = &str> {
    let last = vary.matches(',').count();
    vary.split(',').enumerate().map(move |(position, part)| {
        let part = if position == 0 { part } else { part.trim_start() };
        if position == last { part } else { part.trim_end() }
    })
}

/// `header.upper().replace("-", "_")`.
fn django_name(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}

/// `request.META.get(name)`: repeated lines joined by commas, `_` and `-` alike (PGK-23), the two headers that live
/// elsewhere in META never found (PGK-22).
fn django_value(name: &str, headers: &HeaderMap) -> Option<String> {
    let wanted = name.strip_prefix("HTTP_")?;
    let mut lines = headers
        .iter()
        .filter(|(header, _)| **header != CONTENT_TYPE && **header != CONTENT_LENGTH)
        .filter(|(header, _)| {
            let header = header.as_str();
            header.len() == wanted.len()
                && header.bytes().zip(wanted.bytes()).all(|(have, want)| match have {
                    b'-' => want == b'_',
                    _ => have.to_ascii_uppercase() == want,
                })
        })
        .map(|(_, value)| latin_1(value.as_bytes()));
    let first = lines.next()?;
    Some(lines.fold(first, |value, line| value + "," + &line))
}

fn latin_1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

//! Targeted fields (RFC 9213): the directives of `Cache-Control` for one kind of cache, such as `CDN-Cache-Control`.
//! Layers and handlers write them; they are Structured Fields, which the crate `sfv` reads and writes.

use std::borrow::Cow;
use std::convert::Infallible;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use sfv::visitor::{DictionaryVisitor, EntryVisitor, Ignored, InnerListVisitor, ItemVisitor};
use sfv::{BareItemFromInput, DictSerializer, Integer, ItemSerializer, KeyRef, Parser, StringRef};

use super::cache_control::CacheControl;
use super::layer::{PatchHeaders, PatchLayer};
use super::syntax;

/// The directives whose value is a number of seconds; any other value of theirs counts for nothing (RFC 9213 section 2.1).
const SECONDS: [&str; 6] =
    ["max-age", "s-maxage", "stale-while-revalidate", "stale-if-error", "max-stale", "min-fresh"];

/// Directives for the caches that go by one targeted field (RFC 9213), which for them takes the place of `Cache-Control`.
///
/// Made by [`CacheControl::targeted`]; with the feature `axum` a handler can return it beside its body.
///
/// ```
/// use http::{HeaderMap, header::CACHE_CONTROL};
/// use larder::{CacheControl, headers::{PatchHeaders, patch_cache_control}};
///
/// let mut headers = HeaderMap::new();
/// patch_cache_control(&mut headers, &CacheControl::new().private());
/// CacheControl::new().max_age(600).must_revalidate().targeted("cdn-cache-control").patch(&mut headers);
/// assert_eq!(headers[CACHE_CONTROL], "private");
/// assert_eq!(headers["cdn-cache-control"], "max-age=600, must-revalidate");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Targeted {
    field: HeaderName,
    control: CacheControl,
}

impl PatchHeaders for Targeted {
    fn patch(&self, headers: &mut HeaderMap) {
        patch_targeted(headers, &self.field, &self.control);
    }
}

impl CacheControl {
    /// These directives for the caches that go by this field, such as `cdn-cache-control`.
    ///
    /// # Panics
    /// If `field` is no header name.
    #[track_caller]
    pub fn targeted(self, field: &str) -> Targeted {
        let field = HeaderName::try_from(field).unwrap_or_else(|_| panic!("{field:?} is no header name"));
        Targeted { field, control: self }
    }

    /// The directives of a targeted field, all its lines together. `None` where there is none, or an empty one, or one
    /// that is no dictionary of Structured Fields: caches then go by the next field they know (RFC 9213 section 2.1).
    ///
    /// `name` and `name=?1` are directives without a value, `name=?0` is none. A number of seconds that is not written as
    /// an integer counts for nothing, nor does a value that is a list; parameters are passed over.
    ///
    /// ```
    /// # use http::HeaderMap;
    /// # use larder::CacheControl;
    /// let mut headers = HeaderMap::new();
    /// headers.insert("cdn-cache-control", "max-age=60;q=1, no-store=?0, immutable".parse()?);
    /// let control = CacheControl::from_targeted(&headers, "cdn-cache-control").unwrap();
    /// assert_eq!(control.max_age_seconds(), Some(60));
    /// assert!(control.is_immutable() && !control.is_no_store());
    ///
    /// headers.insert("cdn-cache-control", "Max-Age=60, private".parse()?); // no dictionary: a key is in lower case
    /// assert_eq!(CacheControl::from_targeted(&headers, "cdn-cache-control"), None);
    /// # Ok::<(), http::header::InvalidHeaderValue>(())
    /// ```
    pub fn from_targeted(headers: &HeaderMap, field: &str) -> Option<Self> {
        let lines: Vec<&[u8]> = headers.get_all(field).iter().map(HeaderValue::as_bytes).collect();
        let control = Parser::new(&lines.join(&b", "[..])).parse_dictionary_with_visitor(Dictionary::default()).ok()?;
        (!lines.is_empty() && control != CacheControl::new()).then_some(control)
    }
}

impl PatchLayer<CacheControl> {
    /// Writes into this targeted field (RFC 9213) instead of `Cache-Control`.
    ///
    /// ```
    /// use axum::{Router, routing::get};
    /// use larder::{CacheControl, cache_control};
    ///
    /// let app: Router = Router::new().route(
    ///     "/feed",
    ///     get(|| async { "news" }).layer((
    ///         cache_control(CacheControl::new().max_age(60)),
    ///         cache_control(CacheControl::new().max_age(3600)).field("cdn-cache-control"),
    ///     )),
    /// );
    /// ```
    ///
    /// # Panics
    /// If `name` is no header name.
    #[track_caller]
    pub fn field(self, name: &str) -> PatchLayer<Targeted> {
        PatchLayer::new(self.into_patch().targeted(name))
    }
}

/// Merges directives into a targeted field of a response, by the rules of
/// [`patch_cache_control`](super::patch_cache_control).
///
/// A field that caches would not understand is replaced. A directive that no Structured Field can hold is left out, but a
/// `private` or `no-cache` with such a value is written without it, which forbids more. If nothing is left, the field is
/// removed. Numbers end at 999,999,999,999,999, the largest integer of Structured Fields.
pub fn patch_targeted(headers: &mut HeaderMap, field: &HeaderName, changes: &CacheControl) {
    let mut control = CacheControl::from_targeted(headers, field.as_str()).unwrap_or_default();
    CacheControl::patch(&mut control, changes);
    match serialize(&control) {
        Some(value) => drop(headers.insert(field, syntax::header_value(&value))),
        None => drop(headers.remove(field)),
    }
}

fn serialize(control: &CacheControl) -> Option<String> {
    let mut dictionary = DictSerializer::new();
    let mut written: Vec<&str> = Vec::new();
    for (name, value) in control.directives() {
        let Ok(key) = KeyRef::from_str(name) else { continue };
        // A key stands once in a dictionary; the lists of `no-cache` become one.
        if written.contains(&name) {
            continue;
        }
        written.push(name);
        let Some(value) = value else {
            _ = dictionary.bare_item(key, true);
            continue;
        };
        if SECONDS.contains(&name) {
            if let Some(seconds) = control.seconds(name) {
                let seconds = i64::try_from(seconds).ok().and_then(|seconds| Integer::try_from(seconds).ok());
                _ = dictionary.bare_item(key, seconds.unwrap_or(Integer::MAX));
            }
            continue;
        }
        let lists = if name == "no-cache" { control.no_cache_names() } else { None };
        let value = lists.map_or(Cow::Borrowed(value), |names| Cow::Owned(syntax::quote(&names.join(", "))));
        if let Some(item) = bare_item(&value) {
            _ = dictionary.bare_item(key, &item);
        } else if let Ok(text) = StringRef::from_str(&syntax::unquote(&value)) {
            _ = dictionary.bare_item(key, text);
        } else if matches!(name, "private" | "no-cache") {
            _ = dictionary.bare_item(key, true);
        }
    }
    dictionary.finish()
}

/// The value as the bare item that it is already.
fn bare_item(value: &str) -> Option<sfv::BareItem> {
    let mut found = None;
    let visitor = |item: BareItemFromInput<'_>| {
        found = Some(sfv::BareItem::from(item));
        Ok::<_, Infallible>(Ignored)
    };
    Parser::new(value).parse_item_with_visitor(visitor).ok()?;
    found
}

/// Collects the members of a dictionary; of a key that is repeated the last one counts.
#[derive(Default)]
struct Dictionary {
    control: CacheControl,
}

struct Member<'a, 'de> {
    control: &'a mut CacheControl,
    name: &'de str,
}

impl<'de> DictionaryVisitor<'de> for Dictionary {
    type Out = CacheControl;
    type Error = Infallible;

    fn entry(&mut self, key: &'de KeyRef) -> Result<impl EntryVisitor<'de>, Infallible> {
        self.control.remove(key.as_str());
        Ok(Member { control: &mut self.control, name: key.as_str() })
    }

    fn finish(self) -> Result<CacheControl, Infallible> {
        Ok(self.control)
    }
}

impl<'de> EntryVisitor<'de> for Member<'_, 'de> {
    type Error = Infallible;

    fn item(self) -> Result<impl ItemVisitor<'de>, Infallible> {
        Ok(move |item: BareItemFromInput<'de>| {
            let value = match item {
                BareItemFromInput::Boolean(false) => return Ok(Ignored),
                BareItemFromInput::Boolean(true) => None,
                BareItemFromInput::Integer(_) => Some(text(item)),
                _ if SECONDS.contains(&self.name) => return Ok(Ignored),
                _ => Some(text(item)),
            };
            self.control.set(Cow::Owned(self.name.to_owned()), value);
            Ok::<_, Infallible>(Ignored)
        })
    }

    fn inner_list(self) -> Result<impl InnerListVisitor<'de>, Infallible> {
        Ok(Ignored)
    }
}

fn text(item: BareItemFromInput<'_>) -> String {
    ItemSerializer::new().bare_item(&item).finish()
}

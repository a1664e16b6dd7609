//! `Accept-Language`, read as Django reads it: all of it or, where any part is malformed, none of it.
//! The negotiation calls it for requests whose path and cookie say nothing.

use std::borrow::Cow;
use std::cmp::Reverse;

use http::HeaderMap;
use http::header::ACCEPT_LANGUAGE;
use parse_net::negotiate::QValue;
use parse_net::{Limits, list};
use smallvec::SmallVec;

use crate::headers::{is_blank, trim};

/// Django's bound on a header and on a language code, in bytes (`LANGUAGE_CODE_MAX_LENGTH`).
pub(super) const LONGEST: usize = 500;

/// Django takes a list with an empty part for malformed, where RFC 9110 section 5.6.1 asks to put up with some.
const NO_EMPTY_PARTS: Limits = Limits::DEFAULT.max_empty_elements(0);

/// The languages that a header line asks for, the most wanted first, equals in their order.
///
/// A weight of 0 is the weakest wish and no refusal, and `*` is a tag like any other here.
pub(super) type Wishes<'a> = SmallVec<[(&'a str, Reverse<QValue>); 8]>;

/// All lines of the header as one, and none for no header. The blanks of Latin-1, which Django knows, become those that
/// RFC 9110 knows.
pub(super) fn accept_language(headers: &HeaderMap) -> Cow<'_, [u8]> {
    let mut lines = headers.get_all(ACCEPT_LANGUAGE).iter().map(|line| line.as_bytes());
    let first = lines.next().unwrap_or_default();
    let all = lines.fold(Cow::Borrowed(first), |all, line| Cow::Owned([&all, &b","[..], line].concat()));
    if all.is_ascii() {
        return all;
    }
    let plain = |byte: &u8| if is_blank(*byte) { b' ' } else { *byte };
    Cow::Owned(all.iter().map(plain).collect())
}

/// What the header asks for; nothing where any part of it is malformed. Of a header longer than [`LONGEST`] the part up
/// to the last comma within that length counts.
pub(super) fn wishes(header: &[u8]) -> Wishes<'_> {
    let header = match header.get(..LONGEST) {
        Some(begin) if header.len() > LONGEST => match begin.iter().rposition(|byte| *byte == b',') {
            Some(comma) => &header[..comma],
            None => b"",
        },
        _ => header,
    };
    let mut wishes = parse(header).unwrap_or_default();
    wishes.sort_by_key(|(_, weight)| *weight);
    wishes
}

/// The crate parse-net takes the list apart and reads the weights, by the grammar of RFC 9110; what is said here is where
/// Django takes less than that grammar does.
fn parse(header: &[u8]) -> Option<Wishes<'_>> {
    let parts = list::parse(without_last_comma(header)?, &NO_EMPTY_PARTS).ok()?;
    parts.iter().map(wish).collect()
}

/// The list without the one comma that may end it. Blanks may stand around commas, and nowhere else at an end.
fn without_last_comma(header: &[u8]) -> Option<&[u8]> {
    let trimmed = trim(header);
    match trimmed.strip_suffix(b",") {
        _ if header.first().is_some_and(|first| is_blank(*first)) => None,
        Some(parts) => Some(trim(parts)),
        None => (trimmed.len() == header.len()).then_some(header),
    }
}

/// A language range and its weight, the full one where there is none. No other parameter is known.
fn wish(part: &[u8]) -> Option<(&str, Reverse<QValue>)> {
    let (range, weight) = match part.iter().position(|byte| *byte == b';') {
        None => (part, QValue::ONE),
        Some(semicolon) => match trim(&part[semicolon + 1..]) {
            [b'q' | b'Q', b'=', weight @ ..] => (trim(&part[..semicolon]), QValue::parse(weight).ok()?),
            _ => return None,
        },
    };
    is_language_range(range).then_some((std::str::from_utf8(range).ok()?, Reverse(weight)))
}

/// Letters, then letters and digits, each subtag of one to eight; or `*`.
fn is_language_range(text: &[u8]) -> bool {
    let mut subtags = text.split(|byte| *byte == b'-');
    let is_run =
        |subtag: &[u8], belongs: fn(&u8) -> bool| (1..=8).contains(&subtag.len()) && subtag.iter().all(belongs);
    let begins_well = subtags.next().is_some_and(|first| is_run(first, u8::is_ascii_alphabetic));
    text == b"*" || begins_well && subtags.all(|subtag| is_run(subtag, u8::is_ascii_alphanumeric))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(header: &str) -> Vec<String> {
        wishes(header.as_bytes()).iter().map(|(tag, _)| (*tag).to_owned()).collect()
    }

    #[test]
    fn the_most_wanted_comes_first_and_equals_keep_their_order() {
        assert_eq!(tags("fr;q=0.5, en-GB ; q=0.9,ja, *;q=0.1,de"), ["ja", "de", "en-GB", "fr", "*"]);
        assert_eq!(tags("en;q=0.001,de;q=0.,fr;q=0"), ["en", "de", "fr"]);
        assert_eq!(tags("en,"), ["en"]);
        assert_eq!(tags("en ,\tde ; \tq=0.5 , "), ["en", "de"]);
    }

    #[test]
    fn one_malformed_part_makes_the_whole_header_count_for_nothing() {
        for header in [
            ",en",
            "en,,fr",
            "en;q=",
            "en;q=2",
            "en;q=1.001",
            "en;q=0.1234",
            "en;level=1",
            "en;q=1;x=y",
            "en-",
            "-en",
            "1a",
            "en_us",
            "abcdefghi",
            "en ",
            " en",
            "en fr",
            "é",
            "**",
            ",",
            "en,,",
            "en, ,",
            "en;",
            "en;;q=1",
            "en;q=1;",
            "en;q=\"1\"",
            "en;q=\"1,fr\"",
            "en;q =1",
            "en;q= 1",
            "en(a),fr",
            "en;q=0.5 ",
        ] {
            assert_eq!(tags(header), [""; 0], "{header:?}");
        }
    }

    #[test]
    fn the_blanks_of_latin_1_are_blanks() {
        let mut headers = HeaderMap::new();
        headers.append(ACCEPT_LANGUAGE, http::HeaderValue::from_bytes(b"de;q=0.1,\xA0ja\x85;q=0.5").unwrap());
        headers.append(ACCEPT_LANGUAGE, http::HeaderValue::from_static("en"));
        let all = accept_language(&headers);
        assert_eq!(wishes(&all).iter().map(|(tag, _)| *tag).collect::<Vec<_>>(), ["en", "ja", "de"]);
    }

    #[test]
    fn a_long_header_counts_up_to_the_last_comma_within_the_limit() {
        let long = format!("ja{}", ",en;q=0.5".repeat(80));
        assert_eq!(tags(&long).len(), 56);
        assert_eq!(tags(&"e".repeat(600)), [""; 0]);
    }
}

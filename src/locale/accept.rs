//! `Accept-Language`, read as Django reads it: all of it or, where any part is malformed, none of it.
//! The negotiation calls it for requests whose path and cookie say nothing.

use std::borrow::Cow;
use std::cmp::Reverse;

use http::HeaderMap;
use http::header::ACCEPT_LANGUAGE;
use smallvec::SmallVec;

use crate::headers::is_blank;

/// Django's bound on a header and on a language code, in bytes (`LANGUAGE_CODE_MAX_LENGTH`).
pub(super) const LONGEST: usize = 500;

const FULL_WEIGHT: u16 = 1000;

/// The languages that a header line asks for, the most wanted first, equals in their order.
///
/// A weight of 0 is the weakest wish and no refusal, and `*` is a tag like any other here.
pub(super) type Wishes<'a> = SmallVec<[(&'a str, Reverse<u16>); 8]>;

/// All lines of the header as one, and none for no header.
pub(super) fn accept_language(headers: &HeaderMap) -> Cow<'_, [u8]> {
    let mut lines = headers.get_all(ACCEPT_LANGUAGE).iter().map(|line| line.as_bytes());
    let first = lines.next().unwrap_or_default();
    lines.fold(Cow::Borrowed(first), |all, line| Cow::Owned([&all, &b","[..], line].concat()))
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

fn parse(mut rest: &[u8]) -> Option<Wishes<'_>> {
    let mut wishes = Wishes::new();
    while !rest.is_empty() {
        let (tag, after_tag) = rest.split_at(tag_length(rest)?);
        let (weight, after_weight) = weight(after_tag)?;
        wishes.push((std::str::from_utf8(tag).ok()?, Reverse(weight)));
        rest = match skip_blanks(after_weight) {
            [b',', next @ ..] => skip_blanks(next),
            _ if after_weight.is_empty() => b"",
            _ => return None,
        };
    }
    Some(wishes)
}

/// The length of the language range at the front: letters, then letters and digits, each subtag of one to eight; or `*`.
fn tag_length(text: &[u8]) -> Option<usize> {
    if text.first() == Some(&b'*') {
        return Some(1);
    }
    let run = |from: usize, belongs: fn(&u8) -> bool| {
        let length = text[from..].iter().take_while(|byte| belongs(byte)).count();
        (1..=8).contains(&length).then_some(from + length)
    };
    let mut end = run(0, u8::is_ascii_alphabetic)?;
    while text.get(end) == Some(&b'-') {
        end = run(end + 1, u8::is_ascii_alphanumeric)?;
    }
    Some(end)
}

/// The weight at the front in thousandths, the full one where there is none, and what follows (RFC 9110 section 12.4.2).
fn weight(text: &[u8]) -> Option<(u16, &[u8])> {
    let [b';', parameter @ ..] = skip_blanks(text) else { return Some((FULL_WEIGHT, text)) };
    let [b'q' | b'Q', b'=', whole @ (b'0' | b'1'), rest @ ..] = skip_blanks(parameter) else { return None };
    let whole = if *whole == b'1' { FULL_WEIGHT } else { 0 };
    let [b'.', fraction @ ..] = rest else { return Some((whole, rest)) };
    let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = fraction.split_at(digits);
    let thousandths = digits.iter().zip([100, 10, 1]).map(|(digit, unit)| u16::from(digit - b'0') * unit).sum::<u16>();
    (digits.len() <= 3 && whole + thousandths <= FULL_WEIGHT).then_some((whole + thousandths, rest))
}

fn skip_blanks(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|byte| is_blank(**byte)).count();
    &text[blanks..]
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
        ] {
            assert_eq!(tags(header), [""; 0], "{header:?}");
        }
    }

    #[test]
    fn a_long_header_counts_up_to_the_last_comma_within_the_limit() {
        let long = format!("ja{}", ",en;q=0.5".repeat(80));
        assert_eq!(tags(&long).len(), 56);
        assert_eq!(tags(&"e".repeat(600)), [""; 0]);
    }
}

//! The text of header fields: blanks, lists of directives, quoted strings, Latin-1, integers as Django reads them.
//! Every parser and writer of the headers floor reads through here, so that all of them see the same parts.

use std::borrow::Cow;

use http::HeaderValue;

/// One part of a list of directives: the text before the first `=`, and what follows it. Neither is trimmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RawDirective<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) value: Option<&'a [u8]>,
}

/// Whether Django takes it for a blank: space, tab, and the two blanks of Latin-1 (NEL and the no-break space).
pub(crate) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0x85 | 0xA0)
}

/// Without the blanks at both ends.
pub(crate) fn trim(mut text: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = text
        && is_blank(*first)
    {
        text = rest;
    }
    while let [rest @ .., last] = text
        && is_blank(*last)
    {
        text = rest;
    }
    text
}

/// The parts of a list that knows no quotes (`Vary`, entity tags): trimmed, the empty ones left out (VRY-4, HDR-8).
pub(crate) fn tokens(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| *byte == b',').map(trim).filter(|part| !part.is_empty())
}

/// The directives of one `Cache-Control` field line, in order (HDR-8 as Django 6.1 has it; RFC 9111 section 5.2).
///
/// A comma ends a directive unless it is inside a quoted string, and a quoted string begins right behind the `=` and
/// nowhere else. One that never ends is no quoted string: otherwise a stray quote could hide a `private` behind it.
pub(crate) fn directives(mut line: &[u8]) -> impl Iterator<Item = RawDirective<'_>> {
    std::iter::from_fn(move || {
        loop {
            if line.is_empty() {
                return None;
            }
            let end = end_of_directive(line);
            let part = trim(&line[..end]);
            line = line.get(end + 1..).unwrap_or_default();
            if part.is_empty() {
                continue;
            }
            return Some(match part.iter().position(|byte| *byte == b'=') {
                None => RawDirective { name: part, value: None },
                Some(equals) => RawDirective { name: &part[..equals], value: Some(&part[equals + 1..]) },
            });
        }
    })
}

/// Where the first directive of the line ends: at its comma, or at the end.
fn end_of_directive(line: &[u8]) -> usize {
    let is_special = |byte: &u8| matches!(byte, b',' | b'=');
    let Some(special) = line.iter().position(is_special) else {
        return line.len();
    };
    let comma_from = match line[special] {
        b',' => special,
        _ => special + 1 + quoted_string(&line[special + 1..]).unwrap_or(0),
    };
    line[comma_from..].iter().position(|byte| *byte == b',').map_or(line.len(), |comma| comma_from + comma)
}

/// The length of the quoted string that the text begins with, its quotes included.
pub(crate) fn quoted_string(text: &[u8]) -> Option<usize> {
    let [b'"', inside @ ..] = text else { return None };
    let mut bytes = inside.iter().enumerate();
    while let Some((position, byte)) = bytes.next() {
        match byte {
            b'"' => return Some(position + 2),
            b'\\' => drop(bytes.next()),
            _ => {}
        }
    }
    None
}

/// A quoted string that holds the text (RFC 9110 section 5.6.4).
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for char in text.chars() {
        if matches!(char, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(char);
    }
    quoted.push('"');
    quoted
}

/// What a quoted string holds; a text that is not one whole quoted string, as it is.
pub(crate) fn unquote(text: &str) -> Cow<'_, str> {
    if quoted_string(text.as_bytes()) != Some(text.len()) {
        return Cow::Borrowed(text);
    }
    let inside = &text[1..text.len() - 1];
    if !inside.contains('\\') {
        return Cow::Borrowed(inside);
    }
    let mut chars = inside.chars();
    let mut held = String::with_capacity(inside.len());
    while let Some(char) = chars.next() {
        held.extend(if char == '\\' { chars.next() } else { Some(char) });
    }
    Cow::Owned(held)
}

/// The text of bytes in Latin-1, which is what Django reads a header as.
pub(crate) fn from_latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// Bytes in Latin-1, if every character is one that a header field can carry.
pub(crate) fn to_latin1(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|char| u8::try_from(char).ok().filter(|byte| is_field_byte(*byte))).collect()
}

/// Whether a header field can carry it (RFC 9110 section 5.5).
fn is_field_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= 0x20 && byte != 0x7F)
}

/// The header value of a text that was checked to be one.
pub(crate) fn header_value(checked: &str) -> HeaderValue {
    let bytes = if checked.is_ascii() { Some(checked.as_bytes().to_vec()) } else { to_latin1(checked) };
    bytes
        .and_then(|bytes| HeaderValue::try_from(bytes).ok())
        .expect("only characters that a header field can carry are kept")
}

/// Whether it is a token: the name of a header, a directive or a method (RFC 9110 section 5.6.2).
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// The integer that Django reads from the text: blanks around it, one sign, single underscores between the digits
/// (HDR-5, AGE-2, AGE-3, AGE-6). What is out of range becomes the nearest that is in it.
pub(crate) fn lenient_integer(text: &[u8]) -> Option<i64> {
    let text = trim(text);
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let mut number: i64 = 0;
    let mut after_digit = false;
    for byte in digits {
        match byte {
            b'0'..=b'9' => {
                let digit = i64::from(byte - b'0');
                number = number.saturating_mul(10);
                number = if negative { number.saturating_sub(digit) } else { number.saturating_add(digit) };
                after_digit = true;
            }
            b'_' if after_digit => after_digit = false,
            _ => return None,
        }
    }
    after_digit.then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(line: &str) -> Vec<(String, Option<String>)> {
        directives(line.as_bytes()).map(|raw| (from_latin1(raw.name), raw.value.map(from_latin1))).collect()
    }

    fn part(name: &str, value: Option<&str>) -> (String, Option<String>) {
        (name.to_owned(), value.map(str::to_owned))
    }

    #[test]
    fn a_comma_in_a_quoted_string_ends_nothing() {
        assert_eq!(
            parts(r#" ext="a, private" ,no-store,, x= "b"#),
            [part("ext", Some(r#""a, private""#)), part("no-store", None), part("x", Some(r#" "b"#))]
        );
        assert_eq!(parts(r#"a="x\",y", b"#), [part("a", Some(r#""x\",y""#)), part("b", None)]);
    }

    #[test]
    fn a_quote_that_never_ends_or_stands_elsewhere_hides_nothing() {
        for line in [
            r#"a="x, private"#,
            r#"a=x"y, private, z""#,
            r#""a, private, b""#,
            r#"a= "x, private, y""#,
            r#"a="\", private"#,
        ] {
            assert!(parts(line).contains(&part("private", None)), "{line}");
        }
    }

    #[test]
    fn integers_are_read_as_python_reads_them() {
        for (text, number) in [("30", 30), (" +3_0\t", 30), ("-5", -5), ("007", 7), ("-0", 0)] {
            assert_eq!(lenient_integer(text.as_bytes()), Some(number), "{text:?}");
        }
        for text in ["", "-", "_1", "1_", "1__0", "--1", "- 1", "1.5", "0x10", "\"30\"", "30;", "1e3", "²"] {
            assert_eq!(lenient_integer(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(lenient_integer(b"123456789012345678901234567890"), Some(i64::MAX));
        assert_eq!(lenient_integer(b"-123456789012345678901234567890"), Some(i64::MIN));
        assert_eq!(lenient_integer(b"-9223372036854775808"), Some(i64::MIN));
    }

    #[test]
    fn quoting_and_unquoting_are_inverse() {
        for text in ["", "a", "Set-Cookie, Link", r#"a"b\c"#] {
            assert_eq!(unquote(&quote(text)), text);
        }
        assert_eq!(unquote(r#""a"b"#), r#""a"b"#);
    }
}

//! Entity tags: of a body, of a text, and in the lists of `If-Match` and `If-None-Match`.
//! The layers of this folder make them and the evaluation compares them; applications make their own for `etag(..)`.

use std::fmt;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use twox_hash::XxHash3_128;

use crate::headers::syntax;

/// An entity tag, as it stands in `ETag` (RFC 9110 section 8.8.3).
///
/// From a text it is made as Django quotes it (CON-19): a text that is a complete tag already, in quotes, weak or
/// strong, is taken as it is; any other is put into quotes. A text that no header can carry (it has control characters,
/// or characters outside Latin-1) becomes the tag of its bytes. A text with a quote inside gets quotes all the same, and
/// then is a tag that matches nothing but `*`.
///
/// ```
/// use larder::headers::EntityTag;
///
/// assert_eq!(EntityTag::from("v42").to_string(), "\"v42\"");
/// assert_eq!(EntityTag::from("W/\"v42\"").to_string(), "W/\"v42\"");
/// assert_eq!(EntityTag::of(b"hello").to_string(), "\"b5e9c1ad071b3e7fc779cfaa5e523818\"");
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct EntityTag(HeaderValue);

impl EntityTag {
    /// The strong tag of a body, which is the one that [`conditional_get`](super::conditional_get()) gives it: its
    /// XXH3-128 with seed 0, in hexadecimal, in quotes. It is the same in every process and every release.
    pub fn of(body: &[u8]) -> Self {
        EntityTag::of_pieces([body])
    }

    // XXH3-128 has a frozen specification since xxHash 0.8 and 128 bits, and no key, so a tag outlives the process. It takes
    // 0.1 us for 1 KiB and 3 us for 64 KiB where BLAKE3 takes 1.4 and 34, and MD5 2 and 128. It does not withstand who makes
    // collisions on purpose, but who can write both bodies of a page gains nothing by giving them one tag.
    // twox-hash has no dependencies and finds the vector instructions at run time; xxhash-rust does it when compiled, and
    // takes twice as long where they were not asked for.
    pub(super) fn of_pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hasher = XxHash3_128::new();
        for piece in pieces {
            hasher.write(piece);
        }
        let mut tag = [b'"'; 34];
        hex::encode_to_slice(hasher.finish_128().to_be_bytes(), &mut tag[1..33]).expect("16 bytes are 32 digits");
        EntityTag(HeaderValue::from_bytes(&tag).expect("digits and quotes make a header value"))
    }

    /// Whether it is weak (`W/"..."`): it promises that two bodies mean the same, not that they are the same.
    pub fn is_weak(&self) -> bool {
        is_weak(self.as_bytes())
    }

    /// The bytes of the header value.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl From<&str> for EntityTag {
    fn from(text: &str) -> Self {
        let quoted = if is_entity_tag(text.as_bytes()) { text.to_owned() } else { format!("\"{text}\"") };
        let value = syntax::to_latin1(&quoted).and_then(|bytes| HeaderValue::try_from(bytes).ok());
        value.map_or_else(|| EntityTag::of(text.as_bytes()), EntityTag)
    }
}

impl From<String> for EntityTag {
    fn from(text: String) -> Self {
        EntityTag::from(text.as_str())
    }
}

impl From<&String> for EntityTag {
    fn from(text: &String) -> Self {
        EntityTag::from(text.as_str())
    }
}

impl From<EntityTag> for HeaderValue {
    fn from(tag: EntityTag) -> Self {
        tag.0
    }
}

impl fmt::Display for EntityTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&syntax::from_latin1(self.as_bytes()))
    }
}

impl fmt::Debug for EntityTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EntityTag({self})")
    }
}

/// The comparison of RFC 9110 section 8.8.3.2 for `If-Match`: the same, and neither weak.
pub(super) fn strongly(own: &[u8], listed: &[u8]) -> bool {
    own == listed && !is_weak(own)
}

/// The comparison of RFC 9110 section 8.8.3.2 for `If-None-Match`: the same but for weakness.
pub(super) fn weakly(own: &[u8], listed: &[u8]) -> bool {
    without_weak(own) == without_weak(listed)
}

/// Whether `If-Match` or `If-None-Match` names what is there: `own` is the tag of the representation, if it has one, and
/// `exists` says whether there is a representation at all. `None` if the field does not count: it is absent, or has
/// neither a complete tag nor is `*` by itself (CON-5).
pub(super) fn is_named(
    request: &HeaderMap,
    field: &HeaderName,
    own: Option<&[u8]>,
    exists: bool,
    are_equal: fn(&[u8], &[u8]) -> bool,
) -> Option<bool> {
    let mut lines = request.get_all(field).into_iter();
    if let (Some(line), None) = (lines.next(), lines.next())
        && syntax::trim(line.as_bytes()) == b"*"
    {
        return Some(exists);
    }
    let mut listed = request.get_all(field).into_iter().flat_map(|line| entity_tags(line.as_bytes())).peekable();
    listed.peek()?;
    // An `ETag` that is no complete tag equals none of those that are.
    Some(own.is_some_and(|own| listed.any(|listed| are_equal(own, listed))))
}

/// The complete tags of a list; what is none is left out, up to the next comma.
fn entity_tags(mut line: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        while !line.is_empty() {
            let comma = |text: &[u8]| text.iter().position(|byte| *byte == b',').unwrap_or(text.len());
            // A tag may hold commas, so it is measured first; it is one only if nothing but blanks follows it.
            let tag = leading_tag(line).filter(|end| {
                let behind = &line[*end..];
                syntax::trim(&behind[..comma(behind)]).is_empty()
            });
            let end = tag.unwrap_or(0);
            let element = &line[..end];
            line = line[end..].get(comma(&line[end..]) + 1..).unwrap_or_default();
            if tag.is_some() {
                return Some(syntax::trim(element));
            }
        }
        None
    })
}

/// Where the tag ends that the text begins with, after blanks.
fn leading_tag(text: &[u8]) -> Option<usize> {
    let blanks = text.iter().position(|byte| !syntax::is_blank(*byte))?;
    let weak = if is_weak(&text[blanks..]) { 2 } else { 0 };
    let inside = text[blanks + weak..].strip_prefix(b"\"")?;
    let length = inside.iter().position(|byte| *byte == b'"')?;
    Some(blanks + weak + length + 2)
}

/// Whether the text is one complete tag and nothing else.
fn is_entity_tag(text: &[u8]) -> bool {
    matches!(without_weak(text), [b'"', inside @ .., b'"'] if !inside.contains(&b'"'))
}

fn is_weak(tag: &[u8]) -> bool {
    tag.starts_with(b"W/")
}

fn without_weak(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(line: &str) -> Vec<String> {
        entity_tags(&syntax::to_latin1(line).unwrap()).map(syntax::from_latin1).collect()
    }

    #[test]
    fn con_5_lists_are_read_tag_by_tag() {
        assert_eq!(list(r#""a",W/"b" ,, "" "#), [r#""a""#, r#"W/"b""#, r#""""#]);
        assert_eq!(list(r#""a,b", "c, W/""#), [r#""a,b""#, r#""c, W/""#]);
        for nothing in ["", " ", ",", "*", "abc", "W/abc", "\"abc", "\"\"\"", "w/\"a\"", "W/ \"a\"", "a\"b\""] {
            assert_eq!(list(nothing), Vec::<String>::new(), "{nothing}");
        }
    }

    #[test]
    fn what_is_no_tag_hides_none_behind_it() {
        assert_eq!(list(r#""x, "abc""#), [r#""abc""#]);
        assert_eq!(list(r#"bogus, "a" "b", "c""#), [r#""c""#]);
        assert_eq!(list(r#"*, "x""#), [r#""x""#]);
    }

    #[test]
    fn con_19_texts_are_quoted_unless_they_are_tags() {
        for (text, tag) in [
            ("abc", "\"abc\""),
            ("", "\"\""),
            ("\"abc\"", "\"abc\""),
            ("W/\"\"", "W/\"\""),
            ("W/abc", "\"W/abc\""),
            ("*", "\"*\""),
            ("ab\"c", "\"ab\"c\""),
            ("é", "\"é\""),
        ] {
            assert_eq!(EntityTag::from(text).to_string(), tag);
        }
        for unfit in ["日本", "a\r\nb", "a\u{7f}"] {
            assert_eq!(EntityTag::from(unfit), EntityTag::of(unfit.as_bytes()));
        }
    }

    #[test]
    fn the_hash_is_the_reference_implementations() {
        // From the reference implementation, xxHash 0.8.4: the empty text, one block, and more than a stripe.
        let long: Vec<u8> = (0..70_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for (body, digest) in [
            (&b""[..], "99aa06d3014798d86001c324468d497f"),
            (b"hello", "b5e9c1ad071b3e7fc779cfaa5e523818"),
            (&long, "11c86658afe5037ead5b670987211577"),
        ] {
            assert_eq!(EntityTag::of(body).to_string(), format!("\"{digest}\""));
            assert_eq!(EntityTag::of_pieces(body.chunks(37)), EntityTag::of(body));
        }
    }
}

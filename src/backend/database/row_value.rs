//! What the column `value` holds for a value: base64 text, as Django's, of a pickled integer or of an envelope that Django
//! reads as `None`. Pure; the backend encodes before it writes and decodes what it read.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::pickled_integer;
use super::row_key::RowKey;
use crate::backend::{Stored, envelope, flags};

/// What is in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// A value of ours, or an integer of Django's.
    Value(Stored),
    /// Something else: another kind of pickle of Django's, damaged or of a newer larder. A miss, and left alone.
    Foreign,
}

impl Content {
    pub(super) fn value(self) -> Option<Stored> {
        match self {
            Content::Value(stored) => Some(stored),
            Content::Foreign => None,
        }
    }
}

/// The text of a value under `key`.
pub(super) fn encode(key: &str, row_key: &RowKey<'_>, stored: &Stored) -> String {
    match row_key {
        RowKey::Plain(_) => {
            let integer = (stored.flags == flags::INTEGER).then(|| pickled_integer::pickled(&stored.data)).flatten();
            match integer {
                Some(pickle) => STANDARD.encode(pickle),
                // Whatever is not an integer as Python writes it, those of more than 128 bits included.
                None => STANDARD.encode(envelope::enclose(stored.flags, &[&stored.data])),
            }
        }
        RowKey::Digest(_) => {
            let length = (key.len() as u64).to_le_bytes();
            STANDARD.encode(envelope::enclose(stored.flags, &[&length, key.as_bytes(), &stored.data]))
        }
    }
}

/// What the text under a key means; [`Content::Foreign`] as well where a digest is another key's (safety rule 12).
pub(super) fn decode(key: &str, row_key: &RowKey<'_>, text: &[u8]) -> Content {
    match row_key {
        RowKey::Plain(_) => decode_plain(text),
        RowKey::Digest(_) => match decode_digested(text) {
            Some((its_key, stored)) if its_key == key.as_bytes() => Content::Value(stored),
            _ => Content::Foreign,
        },
    }
}

fn decode_plain(text: &[u8]) -> Content {
    let Ok(bytes) = STANDARD.decode(text) else { return Content::Foreign };
    if let Some(decimal) = pickled_integer::decimal(&bytes) {
        return Content::Value(Stored { data: decimal.into(), flags: flags::INTEGER });
    }
    envelope::disclose(bytes.into()).map_or(Content::Foreign, Content::Value)
}

/// The key and the value of a row whose key is a digest.
pub(super) fn decode_digested(text: &[u8]) -> Option<(Bytes, Stored)> {
    let stored = envelope::disclose(STANDARD.decode(text).ok()?.into())?;
    let (length, rest) = stored.data.split_first_chunk::<8>()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    if length > rest.len() {
        return None;
    }
    let key = stored.data.slice(8..8 + length);
    Some((key, Stored { data: stored.data.slice(8 + length..), flags: stored.flags }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stored(data: &'static [u8], flags: u32) -> Stored {
        Stored { data: Bytes::from_static(data), flags }
    }

    fn there_and_back(key: &str, value: &Stored) -> Content {
        let row_key = RowKey::of(key);
        decode(key, &row_key, encode(key, &row_key, value).as_bytes())
    }

    #[test]
    fn integers_are_djangos() {
        let key = RowKey::of(":1:k");
        assert_eq!(encode(":1:k", &key, &stored(b"1", flags::INTEGER)), "gAVLAS4=");
        assert_eq!(decode(":1:k", &key, b"gAVLAS4="), Content::Value(stored(b"1", flags::INTEGER)));
    }

    #[test]
    fn everything_else_is_none_to_django() {
        let odd: [Stored; 5] = [
            stored(b"v", flags::TEXT),
            stored(b"1", flags::BYTES),
            stored(b"007", flags::INTEGER),
            stored(b"340282366920938463463374607431768211456", flags::INTEGER),
            stored(b"", flags::PAGE),
        ];
        for value in odd {
            let text = encode("k", &RowKey::of("k"), &value);
            assert!(STANDARD.decode(&text).unwrap().starts_with(&envelope::PICKLED_NONE), "{text}");
            assert_eq!(there_and_back("k", &value), Content::Value(value.clone()));
            assert_eq!(there_and_back("k ", &value), Content::Value(value));
        }
    }

    #[test]
    fn what_others_wrote_is_foreign() {
        // A string and None of Django's, text that is no base64, and the bare decimal text of other stores.
        for text in ["gAWVBQAAAAAAAACMAXaULg==", "gAVOLg==", "", "%", "MTI=", "gARO", "gAROLgE="] {
            assert_eq!(decode("k", &RowKey::of("k"), text.as_bytes()), Content::Foreign, "{text}");
        }
    }

    #[test]
    fn a_digest_with_another_keys_value_is_foreign() {
        let value = encode("a ", &RowKey::of("a "), &stored(b"v", flags::TEXT));
        assert_eq!(decode("b ", &RowKey::of("b "), value.as_bytes()), Content::Foreign);
        let (key, stored) = decode_digested(value.as_bytes()).unwrap();
        assert_eq!((&key[..], &stored.data[..]), (&b"a "[..], &b"v"[..]));
    }

    proptest! {
        #[test]
        fn every_value_comes_back(key: String, data: Vec<u8>, flags: u32) {
            let value = Stored { data: data.into(), flags };
            prop_assert_eq!(there_and_back(&key, &value), Content::Value(value.clone()));
            let digested = format!("{key} ");
            prop_assert_eq!(there_and_back(&digested, &value), Content::Value(value));
        }

        #[test]
        fn any_text_is_read_without_a_panic(text: Vec<u8>, bytes: Vec<u8>) {
            for text in [text, STANDARD.encode(&bytes).into(), STANDARD.encode([&b"\x80\x04N.\x01"[..], &bytes].concat()).into()] {
                decode("k", &RowKey::of("k"), &text);
                decode("k ", &RowKey::of("k "), &text);
            }
        }
    }
}

//! How a store that keeps bytes alone, without flags, holds a [`Stored`]: integers as decimal text, as Django has them,
//! and everything else behind a few bytes that Django reads as `None`. The Redis and the database backend call it.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{Stored, flags};

/// Python's pickle of `None`. Python stops reading at its last byte, so that whatever begins with it is `None` to every
/// Django that shares the store: a miss, and no error.
pub const PICKLED_NONE: [u8; 4] = *b"\x80\x04N.";

const VERSION: u8 = 1;

/// How many bytes stand before the data of a value that is not an integer.
pub const OVERHEAD: usize = PICKLED_NONE.len() + 1 + 4;

/// The bytes of a value: the decimal text alone for an integer, so that a server can count it; anything else with its
/// flags before it.
///
/// ```
/// use larder::backend::{Stored, envelope, flags};
///
/// let number = Stored { data: "-7".into(), flags: flags::INTEGER };
/// assert_eq!(envelope::seal(&number), "-7");
///
/// let text = Stored { data: "-7".into(), flags: flags::TEXT };
/// assert_eq!(&envelope::seal(&text)[..], b"\x80\x04N.\x01\x10\0\0\0-7");
/// assert_eq!(envelope::open(&envelope::seal(&text)), Some(text));
/// ```
pub fn seal(stored: &Stored) -> Bytes {
    if stored.flags == flags::INTEGER && is_decimal(&stored.data) {
        return stored.data.clone();
    }
    enclose(stored.flags, &[&stored.data])
}

/// Flags and data in the envelope, whatever they are; the data may come in parts.
pub(crate) fn enclose(flags: u32, parts: &[&[u8]]) -> Bytes {
    let mut sealed = BytesMut::with_capacity(OVERHEAD + parts.iter().map(|part| part.len()).sum::<usize>());
    sealed.put_slice(&PICKLED_NONE);
    sealed.put_u8(VERSION);
    sealed.put_u32_le(flags);
    parts.iter().for_each(|part| sealed.put_slice(part));
    sealed.freeze()
}

/// The value that [`seal`] made these bytes of, without a copy. `None` for bytes of anybody else, such as Django's pickles,
/// or of a newer form: a miss (safety rule 21).
pub fn open(sealed: &Bytes) -> Option<Stored> {
    open_own(sealed.clone())
}

/// The same of bytes that nobody else has: they need no count of those who share them.
pub(crate) fn open_own(sealed: Bytes) -> Option<Stored> {
    if is_decimal(&sealed) {
        return Some(Stored { data: sealed, flags: flags::INTEGER });
    }
    disclose(sealed)
}

/// What [`enclose`] made these bytes of, without a copy.
pub(crate) fn disclose(mut sealed: Bytes) -> Option<Stored> {
    let rest = sealed.strip_prefix(&PICKLED_NONE)?.strip_prefix(&[VERSION])?;
    let (flags, _) = rest.split_first_chunk::<4>()?;
    let flags = u32::from_le_bytes(*flags);
    sealed.advance(OVERHEAD);
    Some(Stored { data: sealed, flags })
}

/// Whether bytes are an integer as `incr` of any server takes it: digits, perhaps a minus, no needless zero.
fn is_decimal(bytes: &[u8]) -> bool {
    let digits = bytes.strip_prefix(b"-").unwrap_or(bytes);
    match digits {
        [] => false,
        [b'0'] => digits.len() == bytes.len(),
        [b'0', ..] => false,
        _ => digits.iter().all(u8::is_ascii_digit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stored(data: &'static [u8], flags: u32) -> Stored {
        Stored { data: Bytes::from_static(data), flags }
    }

    #[test]
    fn integers_lie_there_as_decimal_text() {
        for number in ["0", "7", "-1", "9223372036854775807", "-170141183460469231731687303715884105728"] {
            let integer = stored(number.as_bytes(), flags::INTEGER);
            assert_eq!(seal(&integer), number);
            assert_eq!(open(&Bytes::from(number)), Some(integer));
        }
    }

    #[test]
    fn what_is_flagged_an_integer_and_is_none_comes_back_as_it_was() {
        for odd in [&b""[..], b"-", b"-0", b"007", b"+1", b"1 ", b"1_0", b"one"] {
            let odd = stored(odd, flags::INTEGER);
            assert_eq!(open(&seal(&odd)), Some(odd));
        }
    }

    #[test]
    fn bytes_that_look_like_an_integer_stay_bytes() {
        for flags in [flags::BYTES, flags::TEXT, flags::SERDE, u32::MAX] {
            let digits = stored(b"12", flags);
            assert_eq!(open(&seal(&digits)), Some(digits));
        }
    }

    #[test]
    fn bytes_of_others_are_a_miss() {
        let of_others: [&[u8]; 9] = [
            b"",
            b"\x80\x04N.",
            b"\x80\x05N.",
            b"\x80\x04N.\x01\x10\0\0",
            b"\x80\x04N.\x02\x10\0\0\0text",
            b"\x80\x05\x95\x08\0\0\0\0\0\0\0\x8c\x04text\x94.",
            b"+1",
            b"text",
            b"\x00\x01",
        ];
        for bytes in of_others {
            assert_eq!(open(&Bytes::from_static(bytes)), None, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn every_value_comes_back(data: Vec<u8>, flags: u32) {
            let stored = Stored { data: data.into(), flags };
            let sealed = seal(&stored);
            prop_assert!(sealed.len() <= OVERHEAD + stored.data.len());
            prop_assert_eq!(open(&sealed), Some(stored.clone()));
            prop_assert_eq!(open_own(sealed), Some(stored));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            let bytes = Bytes::from(bytes);
            prop_assert_eq!(open_own(bytes.clone()), open(&bytes));
            if let Some(stored) = open(&bytes) {
                prop_assert_eq!(seal(&stored), bytes);
            }
        }
    }
}

//! A digest in hexadecimal digits, on the stack: every look-up in a text store writes two to five of them.
//! The textual keys of pages and the names of files are made with it.

use std::fmt;
use std::ops::Deref;

/// The digits of a digest of at most 32 bytes.
#[derive(Clone)]
pub(crate) enum HexDigest {
    /// A digest that is known beforehand.
    Known(&'static str),
    /// The digits, and how many there are.
    Written([u8; Self::LONGEST], u8),
}

impl HexDigest {
    /// The SHA-256 digest of no bytes at all: most pages vary on nothing.
    pub(crate) const OF_NOTHING: Self =
        HexDigest::Known("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");

    /// The same by MD5.
    pub(crate) const OF_NOTHING_BY_MD5: Self = HexDigest::Known("d41d8cd98f00b204e9800998ecf8427e");

    /// The most digits.
    pub(crate) const LONGEST: usize = 64;

    /// The digits of these bytes; of 32 of them where there are more.
    pub(crate) fn of(digest: &[u8]) -> Self {
        let mut digits = [0; Self::LONGEST];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(digest) {
            pair.copy_from_slice(&DIGITS[usize::from(*byte)]);
        }
        HexDigest::Written(digits, (2 * digest.len()).min(Self::LONGEST) as u8)
    }
}

/// The two digits of each byte.
static DIGITS: [[u8; 2]; 256] = {
    const DIGIT: [u8; 16] = *b"0123456789abcdef";
    let mut digits = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        digits[byte] = [DIGIT[byte >> 4], DIGIT[byte & 15]];
        byte += 1;
    }
    digits
};

impl Deref for HexDigest {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            HexDigest::Known(digits) => digits,
            // Digits are text; what cannot be is nothing.
            HexDigest::Written(digits, length) => {
                std::str::from_utf8(&digits[..usize::from(*length)]).unwrap_or_default()
            }
        }
    }
}

impl fmt::Debug for HexDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

#[cfg(test)]
mod tests {
    use md5::Md5;
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn digits_are_those_of_hex() {
        for bytes in [&[][..], &[0], &(0..=31).collect::<Vec<u8>>(), &(100..132).collect::<Vec<u8>>()] {
            assert_eq!(&*HexDigest::of(bytes), hex::encode(bytes));
        }
        for byte in 0..=255 {
            assert_eq!(&*HexDigest::of(&[byte]), format!("{byte:02x}"));
        }
    }

    #[test]
    fn the_digests_of_nothing_are_what_they_say() {
        assert_eq!(*HexDigest::OF_NOTHING, *HexDigest::of(&Sha256::digest(b"")));
        assert_eq!(*HexDigest::OF_NOTHING_BY_MD5, *HexDigest::of(&Md5::digest(b"")));
    }
}

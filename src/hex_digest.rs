//! A digest in hexadecimal digits, on the stack: every look-up in a text store writes two to five of them.
//! The textual keys of pages and the names of files are made with it.

use std::fmt;
use std::ops::Deref;

/// The digits of a digest of at most 32 bytes.
#[derive(Clone)]
pub(crate) struct HexDigest {
    digits: [u8; Self::LONGEST],
    length: u8,
}

/// The SHA-256 digest of no bytes at all: most pages vary on nothing.
pub(crate) const OF_NOTHING: [u8; 32] = [
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27, 0xae, 0x41,
    0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
];

/// The same by MD5.
pub(crate) const OF_NOTHING_BY_MD5: [u8; 16] =
    [0xd4, 0x1d, 0x8c, 0xd9, 0x8f, 0x00, 0xb2, 0x04, 0xe9, 0x80, 0x09, 0x98, 0xec, 0xf8, 0x42, 0x7e];

impl HexDigest {
    /// The most digits.
    pub(crate) const LONGEST: usize = 64;

    /// The digits of these bytes; of 32 of them where there are more.
    pub(crate) fn of(digest: &[u8]) -> Self {
        let mut digits = [0; Self::LONGEST];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(digest) {
            pair.copy_from_slice(&DIGITS[usize::from(*byte)]);
        }
        HexDigest { digits, length: (2 * digest.len()).min(Self::LONGEST) as u8 }
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
        // Digits are text; what cannot be is nothing.
        std::str::from_utf8(&self.digits[..usize::from(self.length)]).unwrap_or_default()
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
        assert_eq!(OF_NOTHING[..], Sha256::digest(b"")[..]);
        assert_eq!(OF_NOTHING_BY_MD5[..], Md5::digest(b"")[..]);
    }
}

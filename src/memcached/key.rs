//! Which keys memcached can take. Every operation of the client asks here before a byte is sent: a key with a line end in
//! it would be a second command.

use super::LONGEST_KEY;
use super::error::{Error, KeyProblem};

/// Refuses what memcached cannot take as a key.
pub(crate) fn check(key: &[u8]) -> Result<(), Error> {
    match problem(key) {
        None => Ok(()),
        Some(problem) => Err(Error::Key { key: shown(key), problem }),
    }
}

/// What is wrong with a key, if anything is.
fn problem(key: &[u8]) -> Option<KeyProblem> {
    if key.is_empty() {
        Some(KeyProblem::Empty)
    } else if key.len() > LONGEST_KEY {
        Some(KeyProblem::TooLong { length: key.len() })
    } else if key.iter().any(|byte| *byte <= b' ' || *byte == 0x7f) {
        Some(KeyProblem::BadByte)
    } else {
        None
    }
}

/// The key as errors show it.
pub(crate) fn shown(key: &[u8]) -> String {
    String::from_utf8_lossy(key).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_memcached_takes_is_taken() {
        for key in [&b"k"[..], b"views.decorators.cache:1:x", "caf\u{e9}".as_bytes(), &[0x80, 0xff], &[b'x'; 250]] {
            assert!(check(key).is_ok(), "{key:?}");
        }
    }

    #[test]
    fn every_byte_that_would_end_a_word_or_a_line_is_refused() {
        for byte in (0..=0x20).chain([0x7f]) {
            assert_eq!(problem(&[b'a', byte, b'b']), Some(KeyProblem::BadByte), "{byte:#x}");
        }
        assert_eq!(problem(b""), Some(KeyProblem::Empty));
        assert_eq!(problem(&[b'x'; 251]), Some(KeyProblem::TooLong { length: 251 }));
        // The limit is in bytes, not in characters.
        assert_eq!(problem("\u{e9}".repeat(126).as_bytes()), Some(KeyProblem::TooLong { length: 252 }));
    }
}

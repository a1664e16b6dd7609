//! Percent encoding, taken off: users and paths in URLs, keys in a dump of memcached. Whatever reads such text calls it.

/// Text without its percent encoding; `None` where it is not well encoded or not UTF-8.
pub(crate) fn decoded(text: &str) -> Option<String> {
    String::from_utf8(decoded_bytes(text.as_bytes())?).ok()
}

/// Bytes without their percent encoding; `None` where they are not well encoded.
pub(crate) fn decoded_bytes(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let mut decoded = [0];
        hex::decode_to_slice(digits, &mut decoded).ok()?;
        bytes.push(decoded[0]);
        rest = after;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_well_encoded_is_nothing() {
        assert_eq!(decoded("p%40ss w%c3%A9"), Some("p@ss w\u{e9}".to_owned()));
        assert_eq!(decoded(""), Some(String::new()));
        for broken in ["%", "%4", "%4x", "%+1", "a%"] {
            assert_eq!(decoded(broken), None, "{broken}");
        }
        assert_eq!(decoded("%ff"), None);
        assert_eq!(decoded_bytes(b"%ff"), Some(vec![0xff]));
    }
}

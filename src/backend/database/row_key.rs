//! What the column `cache_key` holds for a key: the key itself where every database keeps it apart from all others, else a
//! digest, with the whole key beside the value. Pure; the backend asks it before each statement.

use sha2::{Digest, Sha256};

/// The width of the column, in characters (DB-1).
const COLUMN_WIDTH: usize = 255;

/// What the digests in the column begin with. A key that begins like that is digested as well.
pub(super) const DIGEST_MARK: &str = "larder.sha256:";

/// A key as the column holds it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum RowKey<'a> {
    /// The key itself, as Django has it too.
    Plain(&'a str),
    /// A digest of the key.
    Digest(String),
}

impl<'a> RowKey<'a> {
    /// How the column holds `key`.
    ///
    /// A key is digested that is wider than the column (CCT-5), that holds a NUL, which PostgreSQL has no text for, or that
    /// ends in a blank, which MySQL does not tell from one without.
    pub(super) fn of(key: &'a str) -> Self {
        // Counting characters is needless where even the bytes are few.
        let is_wide = key.len() > COLUMN_WIDTH && key.chars().count() > COLUMN_WIDTH;
        if is_wide || key.contains('\0') || key.ends_with(' ') || key.starts_with(DIGEST_MARK) {
            return RowKey::Digest(format!("{DIGEST_MARK}{}", hex::encode(Sha256::digest(key.as_bytes()))));
        }
        RowKey::Plain(key)
    }

    /// What stands in the column.
    pub(super) fn text(&self) -> &str {
        match self {
            RowKey::Plain(key) => key,
            RowKey::Digest(digest) => digest,
        }
    }
}

/// Whether any key that begins with `prefix` can stand in the column as it is.
pub(super) fn may_begin_plain_keys(prefix: &str) -> bool {
    !prefix.contains('\0') && prefix.chars().count() <= COLUMN_WIDTH && !prefix.starts_with(DIGEST_MARK)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_plain(key: &str) -> bool {
        RowKey::of(key) == RowKey::Plain(key)
    }

    #[test]
    fn keys_that_fit_are_kept_as_they_are() {
        let widest = "é".repeat(COLUMN_WIDTH);
        for key in ["", ":1:k", ":1:a b", " a", "a\r\nb", "A", "清", "larder", &widest, "larder.sha256"] {
            assert!(is_plain(key), "{key:?}");
        }
    }

    #[test]
    fn others_are_told_apart_by_their_digest() {
        let wide = "é".repeat(COLUMN_WIDTH + 1);
        let keys = ["a ", "a  ", " ", "a\0", "a\0b", "\0", &wide, "larder.sha256:", "larder.sha256:x"];
        let texts: std::collections::HashSet<String> =
            keys.iter().map(|key| RowKey::of(key).text().to_owned()).collect();
        assert_eq!(texts.len(), keys.len());
        for text in texts {
            assert_eq!(text.len(), DIGEST_MARK.len() + 64);
            assert!(!is_plain(&text), "{text}: no key may name the digest of another one");
        }
    }
}

//! Whose keys a layer writes: ours, or those of a version of Django.
//! Applications choose it; addresses and textual keys follow it.

/// How the keys of pages are spelled.
///
/// Whatever the scheme, the full address and the values a page varies on are stored with it and compared when it is
/// read. Two pages of one key, such as those whose Django keys collide (PGK-5, PGK-9), push each other out, and neither is
/// answered for the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyScheme {
    /// SHA-256 over length-prefixed parts: two keys are equal exactly where prefix, URL, language, time zone, method and the
    /// lines of the headers are that they were made from.
    #[default]
    Sha256,
    /// The keys of Django 5.2 (MD5; header values run together, PGK-9).
    Django52,
    /// The keys of Django 6.1 (MD5; header values as netstrings).
    Django61,
}

//! Which keys belong together: Django's prefix and version, its page, template and session keys, and for all others what
//! stands before the part that changes. Pure; the summary counts by it.

use super::pattern::literal;

/// A group of keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    /// The prefix and the version that Django puts before a key, where this looks like one.
    pub scope: Option<(String, String)>,
    /// The key behind the scope, as a glob.
    rest: String,
}

/// What stands before the digests in Django's and larder's keys of pages.
const PAGES: [&str; 3] = ["views.decorators.cache.cache_page.", "views.decorators.cache.cache_header.", "larder.page."];

/// What stands before the key of a session, with nothing between; and before a digest, or the beginning of one, in what
/// larder notes of tags and deletions.
const SINGLES: [&str; 5] = [
    "django.contrib.sessions.cached_db",
    "django.contrib.sessions.cache",
    "larder.deletions.",
    "larder.proof.",
    "larder.tag.",
];

/// The one counter of the tags that were purged.
const PURGES: &str = "larder.purges";

const FRAGMENTS: &str = "template.cache.";

impl Group {
    pub fn of(key: &[u8]) -> Self {
        let text = String::from_utf8_lossy(key);
        match scope_of(&text) {
            Some((prefix, version, rest)) => {
                Group { scope: Some((prefix.to_owned(), version.to_owned())), rest: rest_of(rest) }
            }
            None => Group { scope: None, rest: rest_of(&text) },
        }
    }

    /// The glob that finds the keys of the group.
    pub fn glob(&self) -> String {
        match &self.scope {
            Some((prefix, version)) => format!("{}:{version}:{}", literal(prefix), self.rest),
            None => self.rest.clone(),
        }
    }

    /// The group without a scope that holds every key of this one: where `user:1:name`, `user:2:name` and so on show that
    /// the numbers are not versions.
    pub fn without_scope(&self) -> Group {
        match &self.scope {
            Some((prefix, _)) => Group { scope: None, rest: format!("{}:*", literal(prefix)) },
            None => self.clone(),
        }
    }

    /// Whether only Django's own naming, or larder's, makes such a key, so that the numbers before it are versions indeed.
    pub fn is_djangos(&self) -> bool {
        let names = PAGES.iter().chain(&SINGLES).chain([&FRAGMENTS]);
        names.into_iter().any(|name| self.rest.starts_with(*name))
    }
}

/// `prefix:version:rest`, where the version is a number.
fn scope_of(key: &str) -> Option<(&str, &str, &str)> {
    let (prefix, after) = key.split_once(':')?;
    let (version, rest) = after.split_once(':')?;
    let is_version = !version.is_empty() && version.len() <= 9 && version.bytes().all(|byte| byte.is_ascii_digit());
    is_version.then_some((prefix, version, rest))
}

fn rest_of(rest: &str) -> String {
    if rest == PURGES {
        return literal(rest);
    }
    for name in PAGES {
        if let Some(after) = rest.strip_prefix(name) {
            let end = digest_at(after).unwrap_or(0);
            return format!("{name}{}*", literal(&after[..end]));
        }
    }
    for name in SINGLES {
        if rest.starts_with(name) {
            return format!("{name}*");
        }
    }
    if let Some(after) = rest.strip_prefix(FRAGMENTS) {
        let fragment = after.rsplit_once('.').map_or("", |(fragment, _)| fragment);
        return format!("{FRAGMENTS}{}{}*", literal(fragment), if fragment.is_empty() { "" } else { "." });
    }
    match changing_at(rest) {
        Some(at) => format!("{}*", literal(&rest[..at])),
        None => literal(rest),
    }
}

/// Where a page key's first digest begins: what stands before it is the site's prefix and the method.
fn digest_at(after: &str) -> Option<usize> {
    let mut at = 0;
    for piece in after.split('.') {
        if [32, 64].contains(&piece.len()) && piece.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Some(at);
        }
        at += piece.len() + 1;
    }
    None
}

/// Where the part of a key begins that tells it from its like: its first word with a digit in it, else what follows its
/// first separator.
fn changing_at(rest: &str) -> Option<usize> {
    let is_separator = |character: char| !character.is_alphanumeric();
    let mut at = 0;
    for word in rest.split(is_separator) {
        if at > 0 && word.bytes().any(|byte| byte.is_ascii_digit()) {
            return Some(at);
        }
        at += word.len();
        at += rest[at..].chars().next().map_or(0, char::len_utf8);
    }
    if let Some(digit) = rest.find(|character: char| character.is_ascii_digit()) {
        // The first word has one: `user42`, or a digest from its beginning.
        let first_separator = rest.find([':', '/', '.', '|']).unwrap_or(rest.len());
        if digit < first_separator {
            return Some(digit);
        }
    }
    rest.find([':', '/', '.', '|']).map(|separator| separator + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memcached::pattern::Pattern;

    fn glob(key: &str) -> String {
        let glob = Group::of(key.as_bytes()).glob();
        assert!(Pattern::new(Some(&glob), false).unwrap().has(key.as_bytes()), "{glob} does not find {key}");
        glob
    }

    #[test]
    fn pages_are_grouped_by_prefix_and_method() {
        let digest = "9345faba5ae09e1bd9a1200c63dfd976";
        let page =
            format!("views.decorators.cache.cache_page..GET.{digest}.d41d8cd98f00b204e9800998ecf8427e.ja.Asia/Tokyo");
        assert_eq!(glob(&format!(":1:{page}")), ":1:views.decorators.cache.cache_page..GET.*");
        let page = format!("views.decorators.cache.cache_page.my.blog.HEAD.{digest}{digest}.x");
        assert_eq!(glob(&format!("site:2:{page}")), "site:2:views.decorators.cache.cache_page.my.blog.HEAD.*");
        let list = format!("views.decorators.cache.cache_header.blog.{digest}.ja");
        assert_eq!(glob(&format!(":1:{list}")), ":1:views.decorators.cache.cache_header.blog.*");
    }

    #[test]
    fn sessions_and_fragments_are_grouped() {
        assert_eq!(glob(":1:django.contrib.sessions.cache0q2w3e4r"), ":1:django.contrib.sessions.cache*");
        assert_eq!(glob(":1:django.contrib.sessions.cached_db0q2w3"), ":1:django.contrib.sessions.cached_db*");
        assert_eq!(glob(":1:template.cache.sidebar.0cc175b9c0f1b6a831c399e269772661"), ":1:template.cache.sidebar.*");
    }

    #[test]
    fn what_larder_notes_is_grouped() {
        for digest in ["00", "a0", "be"] {
            assert_eq!(glob(&format!(":1:larder.deletions.{digest}")), ":1:larder.deletions.*");
        }
        let digest = "9345faba5ae09e1bd9a1200c63dfd976";
        assert_eq!(glob(&format!(":1:larder.tag.{digest}")), ":1:larder.tag.*");
        assert_eq!(glob(&format!(":1:larder.proof.{digest}")), ":1:larder.proof.*");
        assert_eq!(glob(&format!(":1:larder.page.blog.{digest}{digest}.ja")), ":1:larder.page.blog.*");
        assert_eq!(glob(":1:larder.purges"), ":1:larder.purges", "the one of its kind");
    }

    #[test]
    fn other_keys_are_grouped_by_what_does_not_change() {
        assert_eq!(glob(":1:user:42"), ":1:user:*");
        assert_eq!(glob("article-7-likes"), "article-*");
        assert_eq!(glob("user:alice"), "user:*");
        assert_eq!(glob("user42"), "user*");
        assert_eq!(glob("greeting"), "greeting");
        assert_eq!(glob("rate/203.0.113.9"), "rate/*");
        assert_eq!(glob("0cc175b9c0f1b6a831c399e269772661"), "*");
        assert_eq!(glob("a*b"), "a\\*b");
        assert_eq!(glob(""), "");
        assert_eq!(glob("caf\u{e9}:1"), "caf\u{e9}:*");
    }
}

//! Which keys are meant: a glob over the whole key, or a regular expression anywhere in it.
//! Every command that goes through all keys asks it; the groups of the summary are globs of it.

use regex::bytes::Regex;

use super::arguments::PatternArguments;
use crate::failure::Failure;

/// A set of keys.
#[derive(Debug)]
pub struct Pattern(Option<Regex>);

impl Pattern {
    /// The keys of `pattern`; all of them where there is none.
    pub fn new(pattern: Option<&str>, is_regex: bool) -> Result<Self, Failure> {
        let Some(pattern) = pattern else { return Ok(Pattern(None)) };
        let regex = if is_regex { pattern.to_owned() } else { of_glob(pattern)? };
        let regex = Regex::new(&regex);
        regex
            .map(|regex| Pattern(Some(regex)))
            .map_err(|error| Failure::Usage(format!("the pattern {pattern:?}: {error}")))
    }

    pub fn of(arguments: &PatternArguments) -> Result<Self, Failure> {
        Pattern::new(arguments.pattern.as_deref(), arguments.regex)
    }

    pub fn has(&self, key: &[u8]) -> bool {
        self.0.as_ref().is_none_or(|regex| regex.is_match(key))
    }
}

/// The regular expression of a glob. A key may hold any bytes, line ends and half characters among them.
fn of_glob(glob: &str) -> Result<String, Failure> {
    let mut regex = String::from("\\A");
    let mut characters = glob.chars();
    while let Some(character) = characters.next() {
        match character {
            '*' => regex.push_str("(?s-u:.)*"),
            '?' => regex.push_str("(?:(?s:.)|(?s-u:.))"),
            '\\' => match characters.next() {
                Some(next) => regex.push_str(&regex::escape(next.encode_utf8(&mut [0; 4]))),
                None => return Err(Failure::Usage(format!("the pattern {glob:?} ends in the middle of `\\`"))),
            },
            '[' => {
                let rest = characters.as_str();
                // A `]` that comes first is one of the characters.
                let first = rest.trim_start_matches(['!', '^']).chars().next().map_or(0, char::len_utf8);
                let skipped = rest.len() - rest.trim_start_matches(['!', '^']).len() + first;
                let end = rest[skipped..].find(']').map(|end| skipped + end);
                let Some(end) = end else {
                    return Err(Failure::Usage(format!(
                        "the pattern {glob:?} has a `[` without its `]`: write `\\[` for the character"
                    )));
                };
                regex.push_str(&of_set(&rest[..end]));
                characters = rest[end + 1..].chars();
            }
            other => regex.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
        }
    }
    regex.push_str("\\z");
    Ok(regex)
}

fn of_set(set: &str) -> String {
    let (mark, set) = match set.strip_prefix(['!', '^']) {
        Some(set) => ("^", set),
        None => ("", set),
    };
    let mut inside = String::new();
    for character in set.chars() {
        // A range keeps its hyphen; all else that means something in a set of a regular expression is taken as it is.
        if "[]\\^&~".contains(character) {
            inside.push('\\');
        }
        inside.push(character);
    }
    format!("[{mark}{inside}]")
}

/// A glob that means this text and nothing else.
pub fn literal(text: &str) -> String {
    let mut glob = String::with_capacity(text.len());
    for character in text.chars() {
        if "*?[\\".contains(character) {
            glob.push('\\');
        }
        glob.push(character);
    }
    glob
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(glob: &str, key: &[u8]) -> bool {
        Pattern::new(Some(glob), false).unwrap().has(key)
    }

    #[test]
    fn a_glob_is_the_whole_key() {
        assert!(has("user:*", b"user:42") && has("user:*", b"user:"));
        assert!(!has("user:*", b":1:user:42") && !has("user", b"user:42"));
        assert!(
            has("*", b"\xff\xfe\n")
                && has("a?c", b"a\xffc")
                && has("a?c", "a\u{e9}c".as_bytes())
                && !has("a?c", b"abbc")
        );
        assert!(has("a.c$^", b"a.c$^") && !has("a.c", b"abc"));
    }

    #[test]
    fn sets_and_escapes() {
        assert!(has("[a-c]x", b"bx") && !has("[a-c]x", b"dx") && has("[!a-c]x", b"dx") && !has("[!a-c]x", b"ax"));
        assert!(has("[]]", b"]") && has("[[]", b"[") && has("[\\]", b"\\"));
        assert!(has("\\*", b"*") && !has("\\*", b"a"));
        assert!(Pattern::new(Some("[ab"), false).is_err() && Pattern::new(Some("a\\"), false).is_err());
    }

    #[test]
    fn a_literal_means_itself() {
        for text in ["*", "a[b]c", "\\", "?", "$^.+()|"] {
            assert!(has(&literal(text), text.as_bytes()), "{text}");
        }
        assert!(!has(&literal("*"), b"abc"));
    }

    #[test]
    fn a_regular_expression_is_found_anywhere() {
        let pattern = Pattern::new(Some(r"\d{3}$"), true).unwrap();
        assert!(pattern.has(b"user:123") && !pattern.has(b"user:12"));
        assert!(Pattern::new(Some("("), true).is_err());
    }
}

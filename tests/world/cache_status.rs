//! `Cache-Status` taken apart by its grammar (RFC 9211 over RFC 8941); anything malformed fails the test.
//! Every look at why the cache did something goes through it.

use http::HeaderMap;

/// One member: what one cache says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct CacheStatus {
    pub cache: String,
    pub is_hit: bool,
    pub fwd: Option<String>,
    pub fwd_status: Option<i64>,
    pub is_stored: bool,
    /// It waited for what another request brought.
    pub is_collapsed: bool,
    pub ttl: Option<i64>,
    pub detail: Option<String>,
}

impl CacheStatus {
    /// All members, those nearest to the origin first.
    pub fn of(headers: &HeaderMap) -> Vec<CacheStatus> {
        let lines = headers.get_all("cache-status").iter().map(|line| line.to_str().unwrap());
        lines
            .flat_map(|line| line.split(','))
            .map(|member| CacheStatus::read(member.trim_matches([' ', '\t'])))
            .collect()
    }

    fn read(member: &str) -> CacheStatus {
        let mut parts = member.split(';');
        let cache = parts.next().unwrap().to_owned();
        assert!(is_token(&cache), "the cache is a token: {member:?}");
        let mut status = CacheStatus { cache, ..CacheStatus::default() };
        for part in parts {
            let part = part.trim_start_matches(' ');
            let (key, value) = part.split_once('=').map_or((part, None), |(key, value)| (key, Some(value)));
            let is_key = key.starts_with(|first: char| first.is_ascii_lowercase() || first == '*')
                && key
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.*".contains(&byte));
            assert!(is_key, "{key:?} is no parameter: {member:?}");
            match (key, value) {
                ("hit", None) => status.is_hit = true,
                ("stored", None) => status.is_stored = true,
                ("collapsed", None) => status.is_collapsed = true,
                ("fwd", Some(value)) => {
                    let known = ["bypass", "method", "uri-miss", "vary-miss", "miss", "request", "stale", "partial"];
                    assert!(known.contains(&value), "{value:?} is no fwd of RFC 9211: {member:?}");
                    status.fwd = Some(value.to_owned());
                }
                ("fwd-status", Some(value)) => {
                    assert!(value.len() == 3, "{value:?} is no status: {member:?}");
                    status.fwd_status = Some(value.parse().unwrap());
                }
                ("ttl", Some(value)) => {
                    assert!(value.len() <= 15, "an integer has at most 15 digits: {member:?}");
                    status.ttl = Some(value.parse().unwrap());
                }
                ("detail", Some(value)) => {
                    assert!(is_token(value), "the detail is a token: {member:?}");
                    status.detail = Some(value.to_owned());
                }
                _ => panic!("an unknown parameter {part:?}: {member:?}"),
            }
        }
        assert!(status.is_hit != status.fwd.is_some(), "either a hit or forwarded: {member:?}");
        assert!(!(status.is_stored && status.is_hit), "a hit stores nothing: {member:?}");
        assert!(!(status.is_collapsed && status.is_hit), "a hit waits for nobody: {member:?}");
        status
    }
}

fn is_token(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '*')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte))
}

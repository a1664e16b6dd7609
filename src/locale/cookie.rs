//! The value of one cookie of a request, as Django's `parse_cookie` finds it.
//! Both layers of the locale floor ask it; nothing here sets cookies.

use http::HeaderMap;
use http::header::COOKIE;

/// The value of the last cookie of that name, the quotes around it removed. A value that is not UTF-8 is none.
pub(super) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let pairs = headers.get_all(COOKIE).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    let mut of_name = pairs.filter_map(|pair| {
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        (pair[..equals].trim_ascii() == name.as_bytes()).then(|| pair[equals + 1..].trim_ascii())
    });
    let value = match of_name.next_back()? {
        [b'"', inside @ .., b'"'] => inside,
        plain => plain,
    };
    std::str::from_utf8(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_that_exact_name_counts() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, "a=1; b = \"x y\" ;A=2".parse().unwrap());
        headers.append(COOKIE, "a=3; empty=; bare".parse().unwrap());
        assert_eq!(cookie(&headers, "a"), Some("3"));
        assert_eq!(cookie(&headers, "b"), Some("x y"));
        assert_eq!(cookie(&headers, "empty"), Some(""));
        assert_eq!(cookie(&headers, "bare"), None);
        assert_eq!(cookie(&HeaderMap::new(), "a"), None);
    }
}

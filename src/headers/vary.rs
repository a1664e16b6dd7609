//! `Vary`: which request headers a response was chosen by, added to, asked and read over every field line together.
//! The layers and the locale floor add names; the page floor reads them to tell variants apart.

use http::header::{HeaderMap, HeaderName, HeaderValue, VARY};

use super::syntax;

/// What a response varies on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Vary {
    /// On something that no request shows, so that no other request can be known to be alike: `*`, or a name that is no
    /// header name. Such a response is never stored (safety rule 1).
    Any,
    /// On these headers, sorted by name, each once; on nothing if there are none.
    Names(Vec<HeaderName>),
}

/// What a response varies on, all field lines taken together.
pub(crate) fn vary_names(headers: &HeaderMap) -> Vary {
    let mut names = Vec::new();
    for token in tokens(headers) {
        match HeaderName::from_bytes(token) {
            Ok(name) if name != "*" => names.push(name),
            _ => return Vary::Any,
        }
    }
    names.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
    names.dedup();
    Vary::Names(names)
}

/// Whether a name is in the `Vary` of a response, in any case and on any line; blanks around it do not count
/// (VRY-6 to VRY-8). `*` is a name like any other here.
///
/// ```
/// # use http::{HeaderMap, header::VARY};
/// let mut headers = HeaderMap::new();
/// headers.insert(VARY, "Accept-Language, Cookie".parse()?);
/// assert!(larder::headers::has_vary_header(&headers, "cookie"));
/// assert!(!larder::headers::has_vary_header(&headers, "Accept"));
/// # Ok::<(), http::header::InvalidHeaderValue>(())
/// ```
pub fn has_vary_header(headers: &HeaderMap, name: &str) -> bool {
    let name = name.trim();
    if name.is_ascii() {
        return tokens(headers).any(|token| token.eq_ignore_ascii_case(name.as_bytes()));
    }
    let name = name.to_lowercase();
    tokens(headers).any(|token| syntax::from_latin1(token).to_lowercase() == name)
}

/// Adds names to the `Vary` of a response, as Django's function of this name does (VRY-1 to VRY-5).
///
/// What is there keeps its order and spelling, and a name that is there in any case is not added again. A `*` on either
/// side makes the whole header `*`. Several field lines become one. A name that no header can carry makes it `*` too:
/// it cannot be written, and what cannot be told apart must not be cached.
///
/// ```
/// # use http::{HeaderMap, header::VARY};
/// let mut headers = HeaderMap::new();
/// headers.insert(VARY, "Cookie".parse()?);
/// larder::headers::patch_vary_headers(&mut headers, &["Accept-Language", "cookie"]);
/// assert_eq!(headers[VARY], "Cookie, Accept-Language");
/// # Ok::<(), http::header::InvalidHeaderValue>(())
/// ```
pub fn patch_vary_headers<N: AsRef<str>>(headers: &mut HeaderMap, names: &[N]) {
    let value = match patched(headers, names) {
        Some(list) => syntax::header_value(&list),
        None => HeaderValue::from_static("*"),
    };
    headers.insert(VARY, value);
}

/// The patched list, or `None` for `*`.
fn patched<N: AsRef<str>>(headers: &HeaderMap, names: &[N]) -> Option<String> {
    let present: Vec<String> = tokens(headers).map(syntax::from_latin1).collect();
    let names = names.iter().map(|name| name.as_ref().trim());
    let is_new = |name: &&str| !present.iter().any(|there| there.to_lowercase() == name.to_lowercase());
    let mut list = String::new();
    for (position, name) in present.iter().map(String::as_str).chain(names.filter(is_new)).enumerate() {
        if name == "*" || syntax::to_latin1(name).is_none() {
            return None;
        }
        if position > 0 {
            list.push_str(", ");
        }
        list.push_str(name);
    }
    Some(list)
}

fn tokens(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers.get_all(VARY).into_iter().flat_map(|line| syntax::tokens(line.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vary(lines: &[&[u8]]) -> Vary {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(VARY, HeaderValue::from_bytes(line).unwrap());
        }
        vary_names(&headers)
    }

    #[test]
    fn names_are_sorted_deduplicated_and_lower_case() {
        let names = vec![HeaderName::from_static("accept"), HeaderName::from_static("cookie")];
        assert_eq!(vary(&[b"Cookie ,,ACCEPT", b"", b" cookie"]), Vary::Names(names));
        assert_eq!(vary(&[]), Vary::Names(vec![]));
    }

    #[test]
    fn rule_1_a_star_anywhere_is_any() {
        for lines in
            [&[b"*".as_slice()][..], &[b" * "], &[b"Cookie,\t*"], &[b"*,Cookie"], &[b"Cookie", b"A, *"], &[b"\xA0*"]]
        {
            assert_eq!(vary(lines), Vary::Any, "{lines:?}");
        }
    }

    #[test]
    fn rule_1_what_is_no_header_name_is_any() {
        for line in [b"A B".as_slice(), b"\"Cookie\"", b"Coo\xE9kie", b"Cookie;q=1", b"**/"] {
            assert_eq!(vary(&[b"Accept", line]), Vary::Any, "{line:?}");
        }
    }
}

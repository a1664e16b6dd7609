//! The absolute URL of a request as Django builds and escapes it (PGK-3 to PGK-7, PGK-21), for keys that must be Django's.
//! [`KeyScheme`](crate::page::KeyScheme) hashes it; nothing is compared or served by it.

use crate::page::address::Address;

/// `request.build_absolute_uri()`.
pub(crate) fn absolute_uri(address: &Address<'_>) -> String {
    let (path, query) = match address.target.split_once('?') {
        Some((path, query)) => (path, query),
        None => (address.target, ""),
    };
    let path = escape_path(&decode_percent(path.as_bytes()));
    let path = if path.contains("/./") || path.contains("/../") { resolve_dots(&path) } else { path };
    let mut uri = format!("{}://{}{path}", address.scheme, String::from_utf8_lossy(&address.host()));
    if !query.is_empty() {
        uri.push('?');
        escape_iri(query.as_bytes(), &mut uri);
    }
    uri
}

fn decode_percent(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, tail)) = rest.split_first() {
        let decoded = (first == b'%').then(|| tail.get(..2).and_then(|digits| hex::decode(digits).ok())).flatten();
        match decoded {
            Some(byte) => {
                bytes.extend(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    bytes
}

/// `escape_uri_path` of the decoded path; bytes that are no UTF-8 are escaped twice, as Django's repair of broken text
/// leaves them.
fn escape_path(decoded: &[u8]) -> String {
    let mut path = String::with_capacity(decoded.len());
    for chunk in decoded.utf8_chunks() {
        for &byte in chunk.valid().as_bytes() {
            push_unless(&mut path, byte, b"/:@&+$,!*'()");
        }
        for byte in chunk.invalid() {
            path.push_str(&format!("%25{byte:02X}"));
        }
    }
    path
}

/// `iri_to_uri` of a query read as Latin-1: only what no URL may hold is escaped, `%` never.
fn escape_iri(query: &[u8], uri: &mut String) {
    let mut buffer = [0; 4];
    for &byte in query {
        for &byte in char::from(byte).encode_utf8(&mut buffer).as_bytes() {
            push_unless(uri, byte, b"/#%[]=:;$&()+,!?*@'~");
        }
    }
}

fn push_unless(text: &mut String, byte: u8, safe: &[u8]) {
    if byte.is_ascii_alphanumeric() || b"_.-~".contains(&byte) || safe.contains(&byte) {
        text.push(char::from(byte));
    } else {
        text.push_str(&format!("%{byte:02X}"));
    }
}

/// What Python's `urljoin` does with the dot segments of an absolute path.
fn resolve_dots(path: &str) -> String {
    let mut resolved: Vec<&str> = Vec::new();
    let mut last = "";
    for segment in path.split('/') {
        last = segment;
        match segment {
            "." => {}
            ".." => {
                resolved.pop();
            }
            segment => resolved.push(segment),
        }
    }
    if matches!(last, "." | "..") {
        resolved.push("");
    }
    let path = resolved.join("/");
    if path.starts_with('/') { path } else { format!("/{path}") }
}

//! Any lines as the `Cache-Control` of a response: never a panic, what is written back reads the same, and the short ways
//! of asking agree with the parsed header. Run it with `cargo +nightly fuzz run cache_control`.
#![no_main]

use http::header::{CACHE_CONTROL, HeaderMap, HeaderValue};
use larder::CacheControl;
use larder::headers::{get_max_age, has_directive, patch_cache_control};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (Vec<Vec<u8>>, Vec<u8>)| {
    let (lines, change) = input;
    let mut headers = HeaderMap::new();
    for line in lines {
        if let Ok(line) = HeaderValue::from_bytes(&line) {
            headers.append(CACHE_CONTROL, line);
        }
    }
    let control = CacheControl::from_headers(&headers);
    let written = HeaderValue::from(&control);
    assert_eq!(CacheControl::from(&written), control, "what is written reads the same");
    for (name, is_so) in [
        ("public", control.is_public()),
        ("private", control.is_private()),
        ("no-cache", control.is_no_cache()),
        ("no-store", control.is_no_store()),
    ] {
        assert_eq!(control.has(name), is_so, "{name}");
        assert_eq!(has_directive(&headers, name), is_so, "{name}");
    }
    let before = get_max_age(&headers);
    assert!(before.is_none() || control.has("max-age"), "a max-age that was read is there");

    let Ok(change) = HeaderValue::from_bytes(&change) else { return };
    let change = CacheControl::from(&change);
    patch_cache_control(&mut headers, &change);
    let patched = CacheControl::from_headers(&headers);
    assert!(change.directives().all(|(name, _)| patched.has(name)), "every directive of the change is there");
    // Django never asks whether a patch keeps a refusal; a cache has to (HDR-4).
    assert!(!control.is_no_store() || patched.is_no_store(), "a patch takes no no-store away");
});

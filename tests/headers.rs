//! The header functions and `CacheControl`, through the public API: one test per rule, and properties over any bytes.
//! What Django answers to the same questions is in `django.rs`.

use std::time::Duration;

use http::header::{CACHE_CONTROL, EXPIRES, HeaderMap, HeaderValue, VARY};
use larder::headers::{
    InvalidDirective, add_never_cache_headers, get_max_age, has_directive, has_vary_header, patch_cache_control,
    patch_response_headers, patch_vary_headers,
};
use larder::{CacheControl, Timestamp};
use proptest::prelude::*;

const NOW: Timestamp = Timestamp::from_secs(1_468_749_600);

fn lines(name: http::HeaderName, values: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(name.clone(), HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn parse(text: &str) -> CacheControl {
    text.parse().unwrap()
}

fn patched(present: &[&str], changes: &CacheControl) -> String {
    let mut headers = lines(CACHE_CONTROL, present);
    patch_cache_control(&mut headers, changes);
    assert_eq!(headers.get_all(CACHE_CONTROL).iter().count(), 1);
    headers[CACHE_CONTROL].to_str().unwrap().to_owned()
}

#[test]
fn every_directive_is_built_and_asked_by_name() {
    let control = CacheControl::new()
        .public()
        .private()
        .no_store()
        .no_cache()
        .no_transform()
        .must_revalidate()
        .proxy_revalidate()
        .immutable()
        .must_understand()
        .only_if_cached()
        .max_age(60)
        .s_maxage(120)
        .stale_while_revalidate(30)
        .stale_if_error(40)
        .directive("x-flag")
        .directive_value("community", "UCI");
    let text = "public, private, no-store, no-cache, no-transform, must-revalidate, proxy-revalidate, immutable, \
                must-understand, only-if-cached, max-age=60, s-maxage=120, stale-while-revalidate=30, \
                stale-if-error=40, x-flag, community=UCI";
    assert_eq!(control.to_string(), text);
    assert_eq!(parse(text), control);
    assert!(control.is_public() && control.is_private() && control.is_no_store() && control.is_no_cache());
    assert!(control.is_no_transform() && control.is_must_revalidate() && control.is_proxy_revalidate());
    assert!(control.is_immutable() && control.is_must_understand() && control.is_only_if_cached());
    assert_eq!(control.max_age_seconds(), Some(60));
    assert_eq!(control.s_maxage_seconds(), Some(120));
    assert_eq!(control.stale_while_revalidate_seconds(), Some(30));
    assert_eq!(control.stale_if_error_seconds(), Some(40));
    assert!(control.has("X-Flag") && control.value("x-flag").is_none());
    assert_eq!(control.directives().last(), Some(("community", Some("UCI"))));
    assert!(CacheControl::new().is_empty() && !control.is_empty());
}

#[test]
fn all_field_lines_are_one_list() {
    let split = lines(CACHE_CONTROL, &["x=\"", "private", "y\""]);
    let joined = HeaderValue::from(CacheControl::from_headers(&split));
    assert_eq!(joined, "x=\"\\\"\", private, y\"");
    assert!(CacheControl::from(&joined).is_private());

    let headers = lines(CACHE_CONTROL, &["Public , Max-Age=30", "", "no-cache=\"Set-Cookie\", x-ext=\"a, b\""]);
    let control = CacheControl::from_headers(&headers);
    assert_eq!(control.to_string(), "public, max-age=30, no-cache=\"Set-Cookie\", x-ext=\"a, b\"");
    assert_eq!(get_max_age(&lines(CACHE_CONTROL, &["max-age=5", "max-age=7"])), Some(7));
    assert_eq!(CacheControl::from_headers(&HeaderMap::new()), CacheControl::new());
}

#[test]
fn rule_2_look_alikes_are_not_the_directive() {
    for text in [
        "x-not-private",
        "private-ish",
        "ext=\"private\"",
        "ext=\"a, private, b\"",
        "ext=private",
        "ext=\"\\\", private\"",
    ] {
        let headers = lines(CACHE_CONTROL, &[text]);
        assert!(!parse(text).is_private(), "{text}");
        assert!(!has_directive(&headers, "private"), "{text}");
    }
}

#[test]
fn rule_2_the_directive_is_found_in_every_disguise() {
    for present in [
        &["private"][..],
        &["PRIVATE"],
        &["public, Private=\"Set-Cookie, Link\""],
        &["max-age=60", "\tprivate "],
        &[",,private,"],
        &["private =x"],
        &["ext=\"open, private"],
        &["ext=a\"b, private, c\"d"],
        &["\"a, private, b\""],
        &["ext=\"a\\\", private"],
    ] {
        let headers = lines(CACHE_CONTROL, present);
        assert!(CacheControl::from_headers(&headers).is_private(), "{present:?}");
        assert!(has_directive(&headers, "private"), "{present:?}");
    }
}

#[test]
fn hdr_1_the_header_is_always_written() {
    assert_eq!(patched(&[], &CacheControl::new()), "");
    assert_eq!(patched(&[""], &CacheControl::new().private()), "private");
}

#[test]
fn hdr_2_and_3_directives_keep_their_place_and_new_ones_follow() {
    let changes = CacheControl::new().s_maxage(1).max_age(3).immutable();
    assert_eq!(patched(&["max-age=5, public"], &changes), "max-age=3, public, s-maxage=1, immutable");
    assert_eq!(patched(&["A=1, b, a=3"], &CacheControl::new()), "a=3, b");
    assert_eq!(patched(&["public", "no-transform"], &CacheControl::new().no_store()), "public, no-transform, no-store");
}

#[test]
fn hdr_4_values_are_written_as_given_unless_they_would_come_apart() {
    let written = |value: &str| CacheControl::new().directive_value("x", value).to_string();
    assert_eq!(written("a\"b"), "x=a\"b");
    assert_eq!(written(""), "x=");
    assert_eq!(written("\"a, b\""), "x=\"a, b\"");
    assert_eq!(written("a, \"b\""), "x=\"a, \\\"b\\\"\"");
    assert_eq!(written(" a"), "x=\" a\"");
    assert_eq!(CacheControl::new().private_fields(["Set-Cookie", "Link"]).to_string(), "private=\"Set-Cookie, Link\"");
}

#[test]
fn hdr_5_the_smaller_max_age_wins_and_nonsense_is_replaced() {
    let new = |seconds| CacheControl::new().max_age(seconds);
    assert_eq!(patched(&["max-age=60"], &new(30)), "max-age=30");
    assert_eq!(patched(&["max-age=30"], &new(60)), "max-age=30");
    assert_eq!(patched(&["max-age=-5"], &new(60)), "max-age=-5");
    assert_eq!(patched(&["max-age=\"30\""], &new(60)), "max-age=60");
    assert_eq!(patched(&["max-age=abc"], &new(60)), "max-age=60");
    assert_eq!(patched(&["max-age"], &new(60)), "max-age=1");
    assert_eq!(patched(&["max-age=abc"], &CacheControl::new().public()), "max-age=abc, public");
}

#[test]
fn hdr_6_public_and_private_replace_each_other() {
    assert_eq!(patched(&["private=\"Set-Cookie\", max-age=5"], &CacheControl::new().public()), "max-age=5, public");
    assert_eq!(patched(&["public"], &CacheControl::new().private()), "private");
    assert_eq!(patched(&["private, public"], &CacheControl::new().private()), "private");
    assert_eq!(patched(&[], &CacheControl::new().public().private()), "public, private");
}

#[test]
fn hdr_7_no_cache_collects_lists_and_alone_replaces_them() {
    let link = CacheControl::new().directive_value("no-cache", "Link");
    assert_eq!(patched(&["no-cache=Set-Cookie, public"], &link), "no-cache=Set-Cookie, no-cache=Link, public");
    assert_eq!(patched(&["no-cache=Link"], &link), "no-cache=Link");
    assert_eq!(patched(&["no-cache"], &link), "no-cache");
    assert_eq!(
        patched(&["a, no-cache=Set-Cookie, no-cache=Link, b"], &CacheControl::new().no_cache()),
        "a, no-cache, b"
    );
    assert_eq!(CacheControl::new().no_cache_fields(["Link"]).to_string(), "no-cache=\"Link\"");
}

#[test]
fn hdr_10_to_12_expires_is_added_once_and_max_age_lowered() {
    let mut headers = HeaderMap::new();
    patch_response_headers(&mut headers, Duration::from_millis(59_900), NOW);
    assert_eq!(headers[EXPIRES], "Sun, 17 Jul 2016 10:00:59 GMT");
    assert_eq!(headers[CACHE_CONTROL], "max-age=59");

    let mut headers = lines(EXPIRES, &[""]);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, max-age=9999"));
    patch_response_headers(&mut headers, Duration::from_secs(60), NOW);
    assert_eq!(headers[EXPIRES], "");
    assert_eq!(headers[CACHE_CONTROL], "private, max-age=60");

    patch_response_headers(&mut headers, Duration::MAX, NOW);
    assert_eq!(headers[CACHE_CONTROL], "private, max-age=60");
    let mut headers = HeaderMap::new();
    patch_response_headers(&mut headers, Duration::MAX, Timestamp::NEVER);
    assert_eq!(headers[EXPIRES], "Sun, 21 Jul 2554 23:34:33 GMT");
}

#[test]
fn hdr_14_never_cache_drops_public_and_keeps_the_rest() {
    let mut headers = lines(CACHE_CONTROL, &["public, max-age=60", "immutable"]);
    add_never_cache_headers(&mut headers, NOW);
    assert_eq!(headers[CACHE_CONTROL], "max-age=0, immutable, no-cache, no-store, must-revalidate, private");
    assert_eq!(headers[EXPIRES], "Sun, 17 Jul 2016 10:00:00 GMT");
}

#[test]
fn max_age_is_read_as_django_or_as_the_rfc_reads_it() {
    for (text, django, rfc) in [
        ("max-age=30", Some(30), Some(30)),
        ("max-age=\"30\"", None, Some(30)),
        ("max-age=-5", Some(-5), None),
        ("max-age", Some(1), None),
        ("max-age=3_0", Some(30), None),
        ("max-age=5, max-age=x", None, None),
        ("max-age =30", None, Some(30)),
        ("max-age=99999999999999999999", Some(i64::MAX), Some(u64::MAX)),
        ("x-max-age=3", None, None),
    ] {
        assert_eq!(get_max_age(&lines(CACHE_CONTROL, &[text])), django, "{text}");
        assert_eq!(parse(text).max_age_seconds(), rfc, "{text}");
    }
}

#[test]
fn vary_names_are_added_once_in_order() {
    let patched = |present: &[&str], names: &[&str]| {
        let mut headers = lines(VARY, present);
        patch_vary_headers(&mut headers, names);
        assert_eq!(headers.get_all(VARY).iter().count(), 1);
        headers[VARY].to_str().unwrap().to_owned()
    };
    assert_eq!(patched(&["Cookie ,accept", "X-A"], &["Accept", "x-a", "X-B"]), "Cookie, accept, X-A, X-B");
    assert_eq!(patched(&["Cookie"], &["*"]), "*");
    assert_eq!(patched(&["Cookie", " * "], &["A"]), "*");
    assert_eq!(patched(&[], &[]), "");
    assert_eq!(patched(&["Cookie"], &["A\r\nSet-Cookie: x=1"]), "*");
    assert_eq!(patched(&["Cookie"], &["日本"]), "*");
}

#[test]
fn has_vary_header_looks_at_every_line() {
    let headers = lines(VARY, &["Accept-Encoding", "X-Cookie,\tCOOKIE "]);
    assert!(has_vary_header(&headers, " cookie"));
    assert!(!has_vary_header(&headers, "Encoding"));
    assert!(!has_vary_header(&headers, "*"));
    assert!(!has_vary_header(&HeaderMap::new(), ""));
}

#[test]
fn text_that_no_header_can_carry_is_refused() {
    for (name, value) in [
        ("a b", None),
        ("", None),
        ("a,b", None),
        ("a=b", None),
        ("é", None),
        ("x", Some("a\r\nSet-Cookie: y")),
        ("x", Some("\0")),
        ("x", Some("日本")),
    ] {
        let refused: InvalidDirective = CacheControl::new().try_directive(name, value).unwrap_err();
        assert!(refused.to_string().contains("no Cache-Control directive"));
    }
    assert!("a\nb".parse::<CacheControl>().is_err());
    let latin1 = CacheControl::new().directive_value("x", "é");
    assert_eq!(HeaderValue::from(&latin1).as_bytes(), b"x=\xE9");
}

#[test]
#[should_panic(expected = "is no Cache-Control directive")]
fn a_directive_that_is_none_panics_where_it_is_written() {
    let _ = CacheControl::new().directive("max age");
}

/// Bytes that a header can have, with many of those that mean something.
fn field() -> impl Strategy<Value = HeaderValue> {
    let byte = prop_oneof![
        4 => prop::sample::select(b",=\"\\ \ta*-5".to_vec()),
        1 => any::<u8>().prop_filter("no control character", |byte| *byte == b'\t' || (*byte >= 32 && *byte != 127)),
    ];
    let bytes = prop::collection::vec(byte, 0..24).prop_map(|bytes| bytes);
    let words =
        prop::sample::select(vec!["private", "no-cache", "no-cache=", "max-age=", "max-age", "60", ",", "\"", "x=\""]);
    let words = prop::collection::vec(words, 0..8).prop_map(|words| words.concat().into_bytes());
    prop_oneof![bytes, words].prop_map(|bytes| HeaderValue::from_bytes(&bytes).unwrap())
}

proptest! {
    #[test]
    fn what_is_parsed_and_written_is_parsed_the_same(fields in prop::collection::vec(field(), 0..3)) {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(CACHE_CONTROL, field);
        }
        let control = CacheControl::from_headers(&headers);
        let written = HeaderValue::from(&control);
        prop_assert_eq!(&CacheControl::from(&written), &control);
        let text: String = written.as_bytes().iter().map(|byte| char::from(*byte)).collect();
        prop_assert_eq!(&control.to_string(), &text);
        prop_assert_eq!(&text.parse::<CacheControl>().unwrap(), &control);
        for name in ["private", "no-cache", "no-store", "public", "max-age"] {
            prop_assert_eq!(has_directive(&headers, name), control.has(name));
        }
    }

    #[test]
    fn what_is_built_is_read_back(name in "[A-Za-z-]{1,8}", value in any::<String>(), seconds in any::<u64>()) {
        let built = CacheControl::new().public().max_age(seconds);
        if let Ok(built) = built.try_directive(&name, Some(&value)) {
            let read = built.to_string().parse::<CacheControl>().unwrap();
            prop_assert_eq!(&read, &built);
            prop_assert!(read.has(&name));
        }
    }

    #[test]
    fn patching_again_changes_nothing(present in field(), changes in field()) {
        let changes = CacheControl::from(&changes);
        prop_assume!(!(changes.is_public() && changes.is_private()));
        let mut headers = HeaderMap::new();
        headers.insert(CACHE_CONTROL, present);
        patch_cache_control(&mut headers, &changes);
        let max_age = get_max_age(&headers);
        // The second time writes the integers of `max-age` plainly (HDR-5).
        patch_cache_control(&mut headers, &changes);
        prop_assert_eq!(get_max_age(&headers), max_age);
        let again = headers.clone();
        patch_cache_control(&mut headers, &changes);
        prop_assert_eq!(headers, again);
    }

    #[test]
    fn what_is_added_to_vary_is_found_there(present in field(), name in "[A-Za-z-]{1,8}") {
        let mut headers = HeaderMap::new();
        headers.insert(VARY, present);
        patch_vary_headers(&mut headers, &[&name]);
        prop_assert!(has_vary_header(&headers, &name) || headers[VARY] == "*");
        let once = headers.clone();
        patch_vary_headers(&mut headers, &[&name]);
        prop_assert_eq!(headers, once);
    }

    #[test]
    fn any_max_age_is_read_without_a_panic(text in field()) {
        let mut headers = HeaderMap::new();
        headers.insert(CACHE_CONTROL, text);
        let _ = get_max_age(&headers);
    }
}

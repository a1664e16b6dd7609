//! Runs `keys.json`: the keys of a page through `Pages::keys` and `Cache::make_key`, for Django 5.2 and for Django 6.1.
//! `tests/django.rs` calls it.

use http::header::VARY;
use http::{HeaderMap, Request};
use larder::backend::Dummy;
use larder::cache::{Version, key_problems};
use larder::{Cache, CacheLayer, KeyScheme, PageKeys, Reason};
use md5::{Digest, Md5};
use serde_json::{Value, json};

use crate::harness::{Case, Departures, Judged, Summary, run};
use crate::raw_request::{header_value, language, locate, request, text, time_zone};

/// What `http` refuses to hold never reaches us: hyper answers 400.
pub const NOT_HTTP: &str = "not-http";

pub fn keys(departures: &Departures) -> Summary {
    run("keys", departures, judge)
}

fn judge(case: &Case) -> Judged {
    let raw = &case.value;
    let spoken = request(&raw["request"]).and_then(|request| {
        let mut response = HeaderMap::new();
        if let Some(vary) = raw["vary"].as_str() {
            response.insert(VARY, header_value(vary)?);
        }
        Ok((request, response))
    });
    let Ok((mut request, response)) = spoken else { return Judged::OutOfScope(NOT_HTTP) };
    // Of the two places where a language can come from, what is active is the one of the request.
    request.extensions_mut().extend(extensions(raw));

    for (scheme, expected) in [(KeyScheme::Django52, case.expected()), (KeyScheme::Django61, case.expected_6_1())] {
        let got = answer(raw, scheme, &request, &response);
        if got != *expected {
            let got = format!("{scheme:?} {got}");
            return Judged::Differs { expected: expected.to_string(), got, ours: None };
        }
    }
    Judged::Same
}

fn extensions(raw: &Value) -> http::Extensions {
    let mut extensions = http::Extensions::new();
    if let Some(language) = language(&raw["settings"], &raw["active"]) {
        extensions.insert(language);
    }
    if let Some(zone) = time_zone(&raw["settings"], &raw["active"]) {
        extensions.insert(zone);
    }
    extensions
}

/// Our answer, in the words of the vectors.
fn answer(raw: &Value, scheme: KeyScheme, request: &Request<()>, response: &HeaderMap) -> Value {
    let cache = cache(&raw["cache"]);
    let prefix = raw["key_prefix"].as_str().unwrap_or_else(|| text(&raw["settings"]["middleware_key_prefix"]));
    let layer = CacheLayer::per_site().cache(&cache).key_scheme(scheme).key_prefix(prefix);
    let keys = match locate(layer, &raw["settings"], &raw["request"]).pages().keys(request, response) {
        Ok(keys) => keys,
        Err(Reason::Host) => return json!({ "error": "DisallowedHost" }),
        Err(reason) => return json!({ "error": reason.as_str() }),
    };
    let (language, zone) = suffixes(raw, prefix, &keys);
    let full_page_key = cache.make_key(&keys.page);
    json!({
        "absolute_uri": keys.url,
        "language_suffix": language,
        "timezone_suffix": zone,
        "headerlist": keys.header_names,
        "header_key": keys.header,
        "page_key": keys.page,
        "lookup_key_get": keys.get,
        "lookup_key_head": keys.head,
        "full_header_key": cache.make_key(&keys.header),
        "full_page_key": full_page_key,
        "full_page_key_portable": key_problems(&full_page_key).is_empty(),
    })
}

/// Language and time zone at the end of the header key, taken apart where the case says there are two.
fn suffixes(raw: &Value, prefix: &str, keys: &PageKeys) -> (Option<String>, Option<String>) {
    let digest_ends = "views.decorators.cache.cache_header..".len() + prefix.len() + 32;
    let Some(suffix) = keys.header.get(digest_ends + 1..) else { return (None, None) };
    match (raw["settings"]["use_i18n"] == true, raw["settings"]["use_tz"] == true) {
        (true, true) => suffix.split_once('.').map_or((Some(suffix.to_owned()), None), |(language, zone)| {
            (Some(language.to_owned()), Some(zone.to_owned()))
        }),
        (true, false) => (Some(suffix.to_owned()), None),
        (false, _) => (None, Some(suffix.to_owned())),
    }
}

/// A cache of those settings; the key functions are those that the header of `make_key.json` describes.
pub fn cache(settings: &Value) -> Cache {
    let version: Version = match &settings["version"] {
        Value::String(version) => Version::from(version.as_str()),
        version => Version::from(version.as_i64().unwrap_or(1)),
    };
    let builder = Cache::builder(Dummy::default()).key_prefix(text(&settings["key_prefix"])).version(version);
    match settings["key_function"].as_str() {
        None => builder.build(),
        Some("dash") => builder.key_function(|key, prefix, version| format!("CUSTOM-{prefix}-{version}-{key}")).build(),
        Some("md5") => builder
            .key_function(|key, prefix, version| hex::encode(Md5::digest(format!("{prefix}|{version}|{key}"))))
            .build(),
        Some("raw") => builder.key_function(|key, _, _| key.to_owned()).build(),
        Some(other) => panic!("the vectors name a key function {other:?} that their header does not explain"),
    }
}

//! Rule 8: two requests share a page exactly where nothing that makes a page tells them apart.
//! Generated pairs differ in a few parts, and the parts are made to be confused.

use http::{Method, Request};
use http_body_util::Empty;
use larder::{Cache, CacheLayer, KeyScheme, Language, TimeZone};
use proptest::prelude::*;
use proptest::sample::select;
use tower::Layer;

use crate::world::{Handler, Plain, ask, header_map, page, worlds};

/// Everything that makes a page the page it is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ask {
    method: &'static str,
    scheme: &'static str,
    authority: &'static str,
    target: String,
    prefix: &'static str,
    first: Vec<&'static str>,
    second: Vec<&'static str>,
    language: Option<&'static str>,
    zone: Option<&'static str>,
}

impl Ask {
    fn request(&self) -> Plain {
        let uri = format!("{}://{}{}", self.scheme, self.authority, self.target);
        let mut request = Request::builder().method(self.method).uri(uri).body(Empty::new()).unwrap();
        let first = self.first.iter().map(|line| ("x-a", *line));
        let second = self.second.iter().map(|line| ("x-b", *line));
        *request.headers_mut() = header_map(&first.chain(second).collect::<Vec<_>>());
        if let Some(language) = self.language {
            request.extensions_mut().insert(Language::new(language));
        }
        if let Some(zone) = self.zone {
            request.extensions_mut().insert(TimeZone::new(zone));
        }
        request
    }

    fn layer(&self, cache: &Cache) -> CacheLayer {
        CacheLayer::per_site().cache(cache).key_prefix(self.prefix).cache_status("larder")
    }

    /// Itself, with the parts that `which` names from another one.
    fn mixed(&self, other: &Ask, which: u16) -> Ask {
        let take = |part: u16| which & 1 << part != 0;
        let mut mixed = self.clone();
        if take(0) {
            mixed.method = other.method;
        }
        if take(1) {
            mixed.scheme = other.scheme;
        }
        if take(2) {
            mixed.authority = other.authority;
        }
        if take(3) {
            mixed.target = other.target.clone();
        }
        if take(4) {
            mixed.prefix = other.prefix;
        }
        if take(5) {
            mixed.first = other.first.clone();
        }
        if take(6) {
            mixed.second = other.second.clone();
        }
        if take(7) {
            mixed.language = other.language;
        }
        if take(8) {
            mixed.zone = other.zone;
        }
        mixed
    }
}

fn lines() -> impl Strategy<Value = Vec<&'static str>> {
    prop::collection::vec(select(vec!["", "1", "2", "1, 2", "1,2", "12", "-,", "1:1,"]), 0..3)
}

fn target() -> impl Strategy<Value = String> {
    let pieces = vec!["a", "b", "/", "//", ".", "..", "%2F", "%2f", "%41", "A", ";x", "%00", "%", "+", "%20", "~", "'"];
    let query = vec!["", "?", "?a", "?a=1", "?a=1&b=2", "?b=2&a=1", "?a=%31", "?a=1&", "?/", "??"];
    (prop::collection::vec(select(pieces), 0..3), select(query))
        .prop_map(|(pieces, query)| format!("/{}{query}", pieces.concat()))
}

fn some_ask() -> impl Strategy<Value = Ask> {
    let texts = || select(vec![None, Some(""), Some("en"), Some("ja"), Some("en.ja"), Some("UTC"), Some("Etc/UTC")]);
    (
        select(vec!["GET", "HEAD"]),
        select(vec!["http", "https"]),
        select(vec!["a", "A", "a.b", "a:80", "a:443", "a:8", "[::1]"]),
        target(),
        select(vec!["", "a", "a.", "a.GET", "GET"]),
        lines(),
        lines(),
        texts(),
        texts(),
    )
        .prop_map(|(method, scheme, authority, target, prefix, first, second, language, zone)| Ask {
            method,
            scheme,
            authority,
            target,
            prefix,
            first,
            second,
            language,
            zone,
        })
}

/// A pair that differs in about two parts.
fn pair() -> impl Strategy<Value = (Ask, Ask)> {
    (some_ask(), some_ask(), any::<u16>(), any::<u16>())
        .prop_map(|(one, other, which, also)| (one.clone(), one.mixed(&other, which & also & (which >> 5 | also >> 5))))
}

fn echo() -> Handler {
    Handler::new(|_, call| {
        let mut response = page(format!("answer {call}"));
        response.headers_mut().insert("vary", "x-b, x-a".parse().unwrap());
        response
    })
}

/// A GET page answers GET and HEAD, a HEAD page only HEAD (MID-25).
fn shares(one: &Ask, other: &Ask) -> bool {
    let method_allows = one.method == "GET" || other.method == "HEAD";
    method_allows && Ask { method: other.method, ..one.clone() } == *other
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1500) })]

    #[test]
    fn rule_08_two_requests_share_a_page_iff_nothing_tells_them_apart((one, other) in pair(), scheme in 0..3usize) {
        let scheme = [KeyScheme::Sha256, KeyScheme::Django52, KeyScheme::Django61][scheme];
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            for world in worlds() {
                let handler = echo();
                let site = one.layer(&world.cache).key_scheme(scheme).layer(handler.clone());
                let first = ask(&site, one.request()).await;
                prop_assert!(first.cache_status().is_stored, "{first:?}");
                let site = other.layer(&world.cache).key_scheme(scheme).layer(handler.clone());
                let answer = ask(&site, other.request()).await;
                prop_assert_eq!(answer.is_hit(), shares(&one, &other), "{}", world.name);
                prop_assert_eq!(handler.calls(), if shares(&one, &other) { 1 } else { 2 });
            }
            Ok(())
        })?;
    }

    #[test]
    fn rule_08_textual_keys_are_equal_iff_what_they_name_is((one, other) in pair()) {
        let cache = Cache::dummy();
        let vary = header_map(&[("vary", "X-A"), ("vary", "x-b")]);
        let keys = |ask: &Ask| ask.layer(&cache).pages().keys(&ask.request(), &vary).unwrap();
        let (mine, yours) = (keys(&one), keys(&other));
        prop_assert_eq!(mine.page == yours.page, one == other, "{} {}", mine.page, yours.page);
        let same_method = Ask { method: other.method, ..one.clone() };
        prop_assert_eq!(mine.get == yours.get, same_method == other);
        prop_assert_eq!(mine.head == yours.head, same_method == other);
        let same_url = Ask { first: other.first.clone(), second: other.second.clone(), ..same_method };
        prop_assert_eq!(mine.header == yours.header, same_url == other);
        prop_assert!(mine.get != mine.head && mine.get != mine.header);
    }

    #[test]
    fn rule_08_scopes_of_a_cache_do_not_meet(
        one in ("[a:1]{0,4}", "[a:1]{0,3}"),
        other in ("[a:1]{0,4}", "[a:1]{0,3}"),
    ) {
        // `a:1` + `1` and `a` + `1:1` are one scope in Django's key shape (KEY-1); anything else is two.
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let memory = larder::backend::Memory::new();
            let cache = |(prefix, version): &(String, String)| {
                Cache::builder(memory.clone()).key_prefix(prefix.as_str()).version(version.as_str()).build()
            };
            let handler = echo();
            let site = |cache: &Cache| CacheLayer::per_site().cache(cache).cache_status("larder").layer(handler.clone());
            ask(&site(&cache(&one)), crate::world::get("http://a/")).await;
            let hit = ask(&site(&cache(&other)), crate::world::get("http://a/")).await.is_hit();
            prop_assert_eq!(hit, cache(&one).make_key("") == cache(&other).make_key(""));
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn rule_09_query_scheme_authority_and_method_are_in_the_key() {
    for world in worlds() {
        let handler = echo();
        let site = world.around(&handler);
        let urls = [
            "http://a/x",
            "http://a/x?",
            "http://a/x?q=1",
            "http://a/x?q=2",
            "http://a/x?q=1&p=2",
            "http://a/x?p=2&q=1",
            "https://a/x",
            "http://b/x",
            "http://a:80/x",
            "http://a/x/",
            "http://a/",
        ];
        for (position, url) in urls.into_iter().enumerate() {
            let answer = ask(&site, crate::world::get(url)).await;
            assert_eq!(answer.text(), format!("answer {}", position + 1), "{} {url}", world.name);
        }
        for (position, url) in urls.into_iter().enumerate() {
            assert_eq!(ask(&site, crate::world::get(url)).await.text(), format!("answer {}", position + 1));
        }
    }
}

#[tokio::test]
async fn rule_09_a_head_never_fills_the_get_page() {
    for world in worlds() {
        let handler = echo();
        let site = world.around(&handler);
        assert!(ask(&site, crate::world::head("http://a/")).await.cache_status().is_stored);
        assert!(ask(&site, crate::world::head("http://a/")).await.is_hit(), "{}", world.name);
        let answer = ask(&site, crate::world::get("http://a/")).await;
        assert_eq!((answer.is_hit(), answer.text()), (false, "answer 2"), "{}", world.name);
        assert_eq!(ask(&site, crate::world::get("http://a/")).await.text(), "answer 2");
    }
}

#[tokio::test]
async fn rule_09_no_other_method_is_answered_or_stored() {
    for world in worlds() {
        let handler = echo();
        let site = world.around(&handler);
        ask(&site, crate::world::get("http://a/")).await;
        let methods = ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "get", "Get", "HEAD ", "QUERY", "PURGE"];
        for (position, method) in methods.into_iter().filter_map(|name| name.parse::<Method>().ok()).enumerate() {
            let answer = ask(&site, crate::world::request(method.clone(), "http://a/", &[])).await;
            assert_eq!(answer.text(), format!("answer {}", position + 2), "{} {method}", world.name);
            assert_eq!(answer.cache_status().fwd.as_deref(), Some("method"));
        }
        assert_eq!(ask(&site, crate::world::get("http://a/")).await.text(), "answer 1", "MID-2: and nothing is purged");
    }
}

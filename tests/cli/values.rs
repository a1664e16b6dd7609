//! Single values over any store: what is stored is what is printed, and what programs read.

use larder::{Cache, Timeout};

use super::command::{larder, larder_told, stores};
use super::real::new_folder;

#[test]
fn text_and_integers_come_back_as_they_were_typed() {
    for store in stores() {
        for value in
            ["hello, world!", "", "007", "+1", "-0", "1e5", "two\nlines", "caf\u{e9}", " 5", "9223372036854775808"]
        {
            larder(&store.url, &["set", "key", "--", value]).done();
            assert_eq!(larder(&store.url, &["get", "key"]).done().text(), format!("{value}\n"), "{}", store.name);
            assert_eq!(larder(&store.url, &["get", "key", "--bytes"]).done().text(), value, "{}", store.name);
            // A memcached counts digits, whatever they were stored as (MEM-14).
            if store.name != "memcached" || value.starts_with(char::is_alphabetic) {
                assert_eq!(larder(&store.url, &["incr", "key"]).ends_with(4).out, b"", "{}", store.name);
            }
        }
        for value in ["0", "42", "-17", "9223372036854775807", "-9223372036854775808"] {
            larder(&store.url, &["set", "number", value]).done();
            assert_eq!(larder(&store.url, &["get", "number"]).done().text(), format!("{value}\n"), "{}", store.name);
            let shown = larder(&store.url, &["get", "number", "--json"]).done().json();
            assert_eq!(shown[0]["value"], value.parse::<i64>().unwrap());
        }
        larder(&store.url, &["set", "text", "--timeout", "1h", "--text", "42"]).done();
        assert_eq!(larder(&store.url, &["get", "text", "--json"]).done().json()[0]["value"], "42");
    }
}

#[test]
fn counting() {
    for store in stores() {
        larder(&store.url, &["set", "n", "40"]).done();
        assert_eq!(larder(&store.url, &["incr", "n"]).done().text(), "41\n");
        assert_eq!(larder(&store.url, &["incr", "n", "9"]).done().text(), "50\n");
        assert_eq!(larder(&store.url, &["decr", "n", "8"]).done().text(), "42\n");
        let missing = larder(&store.url, &["incr", "nothing"]).ends_with(1);
        assert!(missing.err.contains("\"nothing\"") && missing.out.is_empty(), "{missing:?}");
        larder(&store.url, &["incr", "n", "many"]).ends_with(2);
    }
}

#[test]
fn bytes_from_a_pipe_and_from_a_file_come_back_exactly() {
    let folder = new_folder("cli-bytes");
    let bytes: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    let file = folder.join("all bytes");
    std::fs::write(&file, &bytes).unwrap();
    for store in stores() {
        larder_told(&store.url, &["set", "pipe", "-"], &bytes).done();
        assert!(larder(&store.url, &["get", "pipe"]).done().out == bytes, "{}", store.name);
        larder(&store.url, &["set", "file", "--file", file.to_str().unwrap()]).done();
        assert!(larder(&store.url, &["get", "file"]).done().out == bytes, "{}", store.name);
        let shown = &larder(&store.url, &["get", "file", "--json"]).done().json()[0];
        assert_eq!((&shown["kind"], &shown["bytes"]), (&"bytes".into(), &70_000.into()));
        assert!(shown["value_base64"].as_str().unwrap().starts_with("AAECAwQF"), "{}", store.name);
        larder_told(&store.url, &["set", "empty", "-"], b"").done();
        assert_eq!(larder(&store.url, &["get", "empty"]).done().out, b"");
        larder_told(&store.url, &["set", "piped text", "-", "--text", "--raw"], b"x")
            .ends_with(if ["memcached", "redis"].contains(&store.name) { 2 } else { 0 });
    }
    let missing = larder("memory://", &["set", "a", "--file", "/no/such/file"]).ends_with(1);
    assert!(missing.err.contains("/no/such/file"), "{missing:?}");
}

#[test]
fn json_is_stored_as_programs_store_it() {
    for store in stores() {
        let value = r#"{"name":"Ada","likes":[1,2.5,null,true]}"#;
        larder(&store.url, &["set", "user", value, "--json"]).done();
        let plain = larder(&store.url, &["get", "user"]).ends_with(4);
        assert!(plain.err.contains("--json") && plain.out.is_empty(), "{plain:?}");
        let shown = &larder(&store.url, &["get", "user", "--json"]).done().json()[0];
        assert_eq!(shown["value"], serde_json::from_str::<serde_json::Value>(value).unwrap());
        assert_eq!((&shown["key"], &shown["kind"]), (&"user".into(), &"serde".into()));
        larder(&store.url, &["set", "user", "{", "--json"]).ends_with(2);
    }
}

#[test]
fn several_keys_and_missing_ones() {
    for store in stores() {
        larder(&store.url, &["set", "a", "1"]).done();
        larder(&store.url, &["set", "c", "3"]).done();
        let got = larder(&store.url, &["get", "a", "b", "c"]).ends_with(1);
        assert_eq!(got.lines(), ["1", "3"]);
        assert!(got.err.contains("\"b\"") && got.err.contains(store.name), "{got:?}");
        larder(&store.url, &["has", "a", "c"]).done();
        let has = larder(&store.url, &["has", "a", "b"]).ends_with(1);
        assert!(has.out.is_empty() && has.err.is_empty(), "{has:?}");
        larder(&store.url, &["exist", "c"]).done();
    }
}

#[test]
fn adding_touching_deleting() {
    for store in stores() {
        larder(&store.url, &["add", "a", "first"]).done();
        let lost = larder(&store.url, &["add", "a", "second"]).ends_with(1);
        assert!(lost.err.contains("\"a\"") && lost.err.contains("left alone"), "{lost:?}");
        assert_eq!(larder(&store.url, &["get", "a"]).done().text(), "first\n");
        larder(&store.url, &["touch", "a", "--timeout", "2h"]).done();
        larder(&store.url, &["touch", "nothing", "a"]).ends_with(1);
        larder(&store.url, &["delete", "a"]).done();
        larder(&store.url, &["rm", "a"]).ends_with(1);
        larder(&store.url, &["set", "a", "x", "-t", "0"]).done();
        larder(&store.url, &["has", "a"]).ends_with(1);
        for wrong in ["soon", "-5", "5 weeks", "1w", ""] {
            larder(&store.url, &["set", "a", "x", &format!("--timeout={wrong}")]).ends_with(2);
        }
        for right in ["never", "90s", "5m", "2h", "7d", "0.5d", "30"] {
            larder(&store.url, &["set", "a", "x", "--timeout", right]).done();
            larder(&store.url, &["has", "a"]).done();
        }
    }
}

#[test]
fn prefixes_versions_and_raw_keys() {
    for store in stores() {
        let blog = store.with("key_prefix=blog&version=3");
        larder(&blog, &["set", "front", "of the blog"]).done();
        assert_eq!(larder(&store.url, &["get", "--raw", "blog:3:front"]).done().text(), "of the blog\n");
        larder(&store.url, &["has", "front"]).ends_with(1);
        larder(&blog, &["set", "front", "a draft", "--key-version", "4"]).done();
        assert_eq!(larder(&blog, &["get", "front"]).done().text(), "of the blog\n");
        assert_eq!(larder(&blog, &["get", "front", "--key-version", "4"]).done().text(), "a draft\n");
        larder(&store.url, &["set", "--raw", "bare", "7"]).done();
        assert_eq!(larder(&store.url, &["incr", "--raw", "bare"]).done().text(), "8\n");
        larder(&store.url, &["delete", "--raw", "bare"]).done();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_read_what_was_typed_and_the_other_way_round() {
    for store in stores() {
        let generous = store.with("get_timeout=60s&set_timeout=60s&connect_timeout=60s");
        let cache = Cache::connect(&generous).await.unwrap();
        larder(&store.url, &["set", "text", "hello"]).done();
        larder(&store.url, &["set", "number", "42"]).done();
        larder_told(&store.url, &["set", "bytes", "-"], b"\0\xff").done();
        assert_eq!(cache.get::<String>("text").await.unwrap().as_deref(), Some("hello"));
        assert_eq!(cache.get::<i64>("number").await.unwrap(), Some(42));
        assert_eq!(cache.get::<Vec<u8>>("bytes").await.unwrap(), Some(vec![0, 255]));
        let map = std::collections::BTreeMap::from([(1, "one"), (2, "two")]);
        cache.set("map", map, Timeout::Never).await.unwrap();
        let shown = &larder(&store.url, &["get", "map", "--json"]).done().json()[0];
        assert_eq!(shown["value"], serde_json::json!({ "1": "one", "2": "two" }));
    }
}

#[cfg(feature = "redis")]
#[test]
fn a_server_that_is_full_refuses_and_one_that_is_gone_cannot_be_reached() {
    let server = super::real::Redis::with(&["--maxmemory", "1", "--maxmemory-policy", "noeviction"]);
    let url = server.url();
    let refused = larder(&url, &["set", "a", "1"]).ends_with(4);
    assert!(refused.err.contains("memory"), "{refused:?}");
    drop(server);
    larder(&url, &["set", "a", "1"]).ends_with(3);
}

//! Which cache is meant, what is said when it is none or not there, and that no password is ever said.

use super::command::{larder, larder_in};
use super::real::{Memcached, next_port};

#[test]
fn a_cache_has_to_be_named() {
    let lost = larder("", &["get", "a"]).ends_with(2);
    assert!(lost.err.contains("--cache") && lost.err.contains("CACHE_URL"), "{lost:?}");
    let lost = larder_in(&[], &["get", "a", "--alias", "pages"]).ends_with(2);
    assert!(lost.err.contains("CACHE_URL_PAGES"), "{lost:?}");
    larder("", &["get", "a", "--cache", "memory://", "--servers", "a"]).ends_with(2);
}

#[test]
fn every_way_to_name_it() {
    let memcached = Memcached::start();
    let address = memcached.address();
    let url = memcached.url();
    larder(&url, &["set", "a", "here"]).done();
    assert_eq!(larder("", &["get", "a", "--cache", &url]).done().text(), "here\n");
    assert_eq!(larder("", &["-c", &url, "get", "a"]).done().text(), "here\n");
    assert_eq!(larder("", &["--servers", &address, "get", "a"]).done().text(), "here\n");
    for variable in ["MEMCACHED_SERVERS", "MEMCACHE_SERVERS"] {
        assert_eq!(larder_in(&[(variable, &address)], &["get", "a"]).done().text(), "here\n");
    }
    assert_eq!(larder_in(&[("CACHE_URL_PAGES", &url)], &["get", "a", "--alias", "pages"]).done().text(), "here\n");
    // What is typed wins over the environment.
    assert_eq!(larder("memory://", &["-s", &address, "get", "a"]).done().text(), "here\n");

    // As hosts such as Heroku say it.
    let sasl = Memcached::with(&[]).sasl("anna", "s3cret/@:word").start();
    let platform = [
        ("MEMCACHIER_SERVERS", sasl.address()),
        ("MEMCACHIER_USERNAME", "anna".into()),
        ("MEMCACHIER_PASSWORD", "s3cret/@:word".into()),
    ];
    let platform: Vec<(&str, &str)> = platform.iter().map(|(name, value)| (*name, value.as_str())).collect();
    larder_in(&platform, &["set", "a", "for members"]).done();
    assert_eq!(larder_in(&platform, &["get", "a"]).done().text(), "for members\n");
    larder_in(&platform, &["memcached", "ping"]).done();

    let socket = Memcached::with(&[]).unix_socket().start();
    larder("", &["-s", &socket.address(), "set", "a", "on a socket"]).done();
    assert_eq!(larder(&socket.url(), &["get", "a"]).done().text(), "on a socket\n");
}

#[test]
fn what_cannot_be_used_is_said_before_anything_is_asked() {
    for url in [
        "carrier-pigeon://loft",
        "memcached://",
        "memcached://a?distribution=round",
        "memcached://a?colour=red",
        "nonsense",
    ] {
        let refused = larder(url, &["get", "a"]).ends_with(2);
        assert!(refused.err.starts_with("larder: "), "{refused:?}");
        larder(url, &["memcached", "keys"]).ends_with(2);
    }
    let refused = larder("memory://", &["memcached", "keys"]).ends_with(2);
    assert!(refused.err.contains("memcached://"), "{refused:?}");
    let memcached = Memcached::start();
    for key in ["two words", "a\r\nflush_all", &"x".repeat(251)] {
        let refused = larder(&memcached.url(), &["set", key, "x"]).ends_with(2);
        assert!(refused.err.contains("key"), "{refused:?}");
    }
    let large = "x".repeat(100_000);
    let refused = larder("memory://", &["set", "a", &large, "--timeout", "x"]).ends_with(2);
    assert!(!refused.err.is_empty());
    for arguments in
        [&["fetch", "a"][..], &["get"], &["set", "a"], &["page", "get"], &["memcached"], &["get", "a", "--frob"]]
    {
        larder("memory://", arguments).ends_with(2);
    }
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let nobody = format!("127.0.0.1:{}", next_port());
    for arguments in [
        &["get", "a"][..],
        &["set", "a", "b"],
        &["incr", "a"],
        &["delete", "a"],
        &["memcached", "ping"],
        &["memcached", "keys"],
        &["page", "get", "http://a/"],
    ] {
        let failed = larder(&format!("memcached://{nobody}"), arguments).ends_with(3);
        assert!(failed.err.contains(&nobody), "{failed:?}");
    }
}

#[test]
fn a_server_that_says_nothing_is_waited_for_as_long_as_was_said() {
    let memcached = Memcached::start();
    memcached.pause();
    for arguments in [&["--wait", "300ms", "get", "a"][..], &["--wait", "300ms", "memcached", "keys"]] {
        let failed = larder(&memcached.url(), arguments).ends_with(3);
        assert!(failed.err.contains(&memcached.address()), "{failed:?}");
    }
    memcached.resume();
}

#[test]
fn no_password_is_ever_said() {
    let nobody = next_port();
    let words = ["s3cret", "se%2Fcret", "s3/cret", "s3@cret", "s3'cret", "s3\"cret", "s3 cret", "s@3/cret"];
    for word in words {
        for url in [
            format!("memcached://anna:{word}@127.0.0.1:{nobody}"),
            format!("redis://:{word}@127.0.0.1:{nobody}/0"),
            format!("pigeon://anna:{word}@loft"),
        ] {
            for arguments in [
                &["get", "a"][..],
                &["delete", "a", "b"],
                &["clear"],
                &["memcached", "keys"],
                &["memcached", "flush"],
                &["page", "get", "http://a/"],
                &["--help"],
                &["get", "--help"],
                &["--frob"],
            ] {
                let run = larder(&url, &[arguments, &["--wait", "2s"]].concat());
                let said = format!("{}{}", run.text(), run.err);
                assert!(!said.contains(word) && !said.contains("cret"), "{said}");
            }
            let run = larder("", &["get", "a", "--cache", &url, "--wait", "2s"]);
            assert!(!run.err.contains("cret"), "{run:?}");
            // In the middle of a sentence, a blank ends a URL.
            if !word.contains(' ') {
                let run = larder("", &[&url]).ends_with(2);
                assert!(!run.err.contains("cret"), "{run:?}");
            }
        }
    }
}

#[test]
fn help_is_help() {
    for arguments in
        [&["--help"][..], &["help"], &["get", "--help"], &["page", "--help"], &["memcached", "keys", "--help"]]
    {
        let help = larder("", arguments).done();
        assert!(help.text().contains("Usage:"), "{help:?}");
    }
    let help = larder("", &["--help"]).done();
    assert!(help.text().contains("Examples:") && help.text().contains("Exit codes:"), "{help:?}");
    assert!(larder("", &["--version"]).done().text().starts_with("larder "));
}

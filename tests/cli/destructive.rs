//! Nothing is destroyed before somebody said yes, and what will be gone is named first.

use super::command::{larder, on_a_terminal, stores};
use super::real::Memcached;

#[test]
fn clearing_says_what_goes_and_where() {
    for store in stores() {
        let blog = store.with("key_prefix=blog");
        larder(&store.url, &["set", "a", "1"]).done();
        larder(&blog, &["set", "a", "1"]).done();

        let refused = larder(&store.url, &["clear"]).ends_with(5);
        assert!(refused.err.contains("EVERYTHING") && refused.err.contains("--yes"), "{refused:?}");
        let refused = larder(&blog, &["clear"]).ends_with(5);
        larder(&store.url, &["has", "a"]).done();
        larder(&blog, &["has", "a"]).done();

        larder(&blog, &["clear", "--yes"]).done();
        larder(&blog, &["has", "a"]).ends_with(1);
        if store.name == "memcached" {
            // It cannot keep to a prefix, and said so.
            assert!(refused.err.contains("EVERYTHING"), "{refused:?}");
            larder(&store.url, &["has", "a"]).ends_with(1);
        } else {
            assert!(refused.err.contains("\"blog:\"") && !refused.err.contains("EVERYTHING"), "{refused:?}");
            larder(&store.url, &["has", "a"]).done();
            larder(&store.url, &["clear", "-y"]).done();
            larder(&store.url, &["has", "a"]).ends_with(1);
        }
    }
}

#[test]
fn deleting_several_keys_is_asked_for() {
    for store in stores() {
        for key in ["a", "b", "c"] {
            larder(&store.url, &["set", key, "1"]).done();
        }
        let refused = larder(&store.url, &["delete", "a", "b"]).ends_with(5);
        assert!(refused.err.contains("2 keys") && refused.err.contains("\"a\""), "{refused:?}");
        larder(&store.url, &["has", "a", "b"]).done();
        larder(&store.url, &["delete", "a", "b", "--yes"]).done();
        larder(&store.url, &["has", "c"]).done();
        larder(&store.url, &["has", "a"]).ends_with(1);
    }
}

#[test]
fn a_person_is_asked_and_no_is_no() {
    let memcached = Memcached::start();
    let url = memcached.url();
    larder(&url, &["set", "a", "1"]).done();
    for no in ["n\n", "\n", "yes please\n"] {
        let asked = on_a_terminal(&url, &["memcached", "flush"], no).ends_with(5);
        assert!(asked.text().contains("EVERYTHING") && asked.text().contains("[y/N]"), "{asked:?}");
        assert!(asked.text().contains(&memcached.address()) && asked.text().contains("1 item"), "{asked:?}");
        larder(&url, &["has", "a"]).done();
    }
    on_a_terminal(&url, &["memcached", "flush"], "y\n").ends_with(0);
    larder(&url, &["has", "a"]).ends_with(1);
}

#[test]
fn flushing_now_and_later() {
    let memcached = Memcached::start();
    let url = memcached.url();
    larder(&url, &["set", "a", "1"]).done();
    let refused = larder(&url, &["memcached", "flush"]).ends_with(5);
    assert!(refused.err.contains("EVERYTHING") && refused.err.contains("1 item"), "{refused:?}");
    larder(&url, &["memcached", "flush", "--delay", "1h", "--yes"]).done();
    larder(&url, &["has", "a"]).done();
    larder(&url, &["memcached", "flush", "--yes"]).done();
    larder(&url, &["has", "a"]).ends_with(1);
    let forbidden = Memcached::with(&["-F"]).start();
    larder(&forbidden.url(), &["memcached", "flush", "--yes"]).ends_with(4);
    larder(&forbidden.url(), &["clear", "--yes"]).ends_with(4);
}

#[test]
fn deleting_by_pattern_counts_first() {
    let memcached = Memcached::start();
    let url = memcached.url();
    for key in ["user:1", "user:2", "user:30", "group:1"] {
        larder(&url, &["set", key, "1"]).done();
    }
    let refused = larder(&url, &["memcached", "delete", ":1:user:?"]).ends_with(5);
    assert!(refused.err.contains("2 keys") && refused.err.contains(&memcached.address()), "{refused:?}");
    assert_eq!(larder(&url, &["memcached", "keys"]).done().lines().len(), 4);
    let done = larder(&url, &["memcached", "delete", ":1:user:*", "--yes"]).done();
    assert_eq!(done.text(), "deleted 3 keys\n");
    assert_eq!(larder(&url, &["memcached", "keys"]).done().lines(), [":1:group:1"]);
    larder(&url, &["memcached", "delete", ":1:user:*", "--yes"]).ends_with(1);
    larder(&url, &["memcached", "delete", "--regex", "[0-9]$", "--yes"]).done();
    assert!(larder(&url, &["memcached", "keys"]).done().out.is_empty());
}

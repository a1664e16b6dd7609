//! URLs and settings: what is taken, and what is refused without telling a secret.

use larder::backend::Redis;
use larder::{Cache, Error};

use super::real;

fn refused(url: &str) -> String {
    match Redis::open(url) {
        Err(Error::Config(why)) => why,
        other => panic!("{url}: {other:?}"),
    }
}

#[test]
fn what_cannot_be_used_is_refused_with_a_reason() {
    for (url, why) in [
        ("memcached://h", "redis+sentinel"),
        ("redis://me:s3cret@h?reply=yes", "read_from_replicas"),
        ("redis://me:s3cret@h?read_from_replicas=perhaps", "yes or no"),
        ("redis://me:s3cret@h?db=first", "whole number"),
        ("redis://me:s3cret@h?tls_cert=/x", "go together"),
        ("rediss://me:s3cret@h?tls_ca=/nowhere/ca.pem", "/nowhere/ca.pem"),
        ("redis+cluster://me:s3cret@h/2", "no database but 0"),
        ("redis+sentinel://me:s3cret@h", "service"),
    ] {
        let error = refused(url);
        assert!(error.contains(why), "{url}: {error}");
        assert!(!error.contains("s3cret"), "{error}");
    }
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    assert!(refused(&format!("redis://h?tls_ca={}", empty.display())).contains("rediss"));
}

#[test]
fn its_debug_form_tells_no_secret() {
    let redis = Redis::open("redis://me:s3cret@h").unwrap();
    assert!(!format!("{redis:?}").contains("s3cret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_url_reaches_it() {
    let server = real::Redis::with(&["--requirepass", "s3cret", "--databases", "4"]);
    let cache = Cache::connect(&format!("{}/2?key_prefix=blog&version=3&timeout=60", server.url())).await.unwrap();
    super::until("the first connection is made", async || cache.set("n", 41, 60).await.ok()).await;
    assert_eq!(cache.incr("n", 1).await.unwrap(), 42);
    let other = Cache::connect(&format!("{}?db=2", server.url())).await.unwrap();
    super::until("the other too", async || other.get::<i64>("x").await.ok()).await;
    assert_eq!(other.backend().get("blog:3:n").await.unwrap().unwrap().data, "42");
}

#[tokio::test]
async fn an_unknown_option_of_a_cache_url_is_refused() {
    let error = Cache::connect("redis://h?max_entries=5").await.unwrap_err().to_string();
    assert!(error.contains("max_entries") && error.contains("tls_ca"), "{error}");
}

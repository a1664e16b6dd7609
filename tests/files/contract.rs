//! The conformance suite, on the clock that the test turns.

use larder::backend::Files;
use larder::backend::conformance::{Exceptions, check};
use larder::{Cache, Error};

use super::{everything_in, folder};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn files_keep_the_contract() {
    let (_around, folder) = folder();
    let make = async |clock| Files::builder(&folder).clock(clock).build().unwrap();
    let report = check(make, Exceptions::none()).await.unwrap();
    let left_out = ["a value over the limit is TooLarge and leaves nothing", "entries expire in real time"];
    assert_eq!((report.kept.len(), &report.left_out[..]), (24, &left_out[..]), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn files_with_a_limit_keep_the_contract() {
    let (_around, folder) = folder();
    let make = async |clock| Files::builder(&folder).max_bytes(24 << 20).clock(clock).build().unwrap();
    let report = check(make, Exceptions::none()).await.unwrap();
    assert_eq!((report.kept.len(), &report.left_out[..]), (25, &["entries expire in real time"][..]), "{report}");
}

#[tokio::test]
async fn a_cache_url_reaches_it() {
    let (_around, folder) = folder();
    let url = format!("file://{}?max_entries=10&max_bytes=100000&key_prefix=blog", folder.display());
    let cache = Cache::connect(&url).await.unwrap();
    assert_eq!(everything_in(&folder), Vec::<std::path::PathBuf>::new(), "nothing is made until something is stored");
    assert_eq!(cache.get::<i64>("n").await.unwrap(), None);
    cache.set("n", 41, 60).await.unwrap();
    assert_eq!(cache.incr("n", 1).await.unwrap(), 42);
    let again = Cache::connect(&url).await.unwrap();
    assert_eq!(again.get::<i64>("n").await.unwrap(), Some(42));
    again.clear().await.unwrap();
    assert_eq!(cache.get::<i64>("n").await.unwrap(), None);
}

#[tokio::test]
async fn what_cannot_be_used_is_refused_with_a_reason() {
    let (around, _) = folder();
    let file = around.path().join("file");
    std::fs::write(&file, "").unwrap();
    for (url, why) in [
        ("file://var/tmp/x".to_owned(), "three slashes"),
        ("file:relative/x".to_owned(), "not absolute"),
        ("file:///".to_owned(), "root of the file system"),
        ("file://".to_owned(), "not absolute"),
        (format!("file://{}", file.display()), "it is a file"),
        ("file:///var/tmp/x?max_entries=0".to_owned(), "dummy://"),
        ("file:///var/tmp/x?max_bytes=-1".to_owned(), "whole number"),
        ("file:///var/tmp/x?cull_frequency=3".to_owned(), "max_entries, max_bytes"),
    ] {
        match Cache::connect(&url).await {
            Err(Error::Config(error)) => assert!(error.contains(why), "{url}: {error}"),
            other => panic!("{url}: {other:?}"),
        }
    }
}

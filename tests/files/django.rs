//! The real Django with the same directory: neither sees, counts or removes the other's files.

use larder::Cache;
use larder::backend::{Files, Patience};
use serde_json::{Value, json};
use std::time::Duration;

use super::folder;
use super::real::Django;

#[tokio::test(flavor = "multi_thread")]
async fn django_and_larder_share_a_directory_and_nothing_else() {
    let (_around, folder) = folder();
    let mut django = Django::start();
    let settings = json!({"LOCATION": folder.display().to_string(), "OPTIONS": {"MAX_ENTRIES": 10}});
    django.make_cache("files", "FileBasedCache", settings);
    let mut ask = |method: &str, arguments: Value| django.call("files", method, arguments);
    let long = Duration::from_secs(60);
    let cache = Cache::builder(Files::builder(&folder).max_entries(10).build().unwrap())
        .patience(Patience::default().get(long).set(long))
        .build();

    ask("set", json!(["k", "Django's", 600]));
    assert_eq!(cache.get::<String>("k").await.unwrap(), None);
    cache.set("k", "larder's", 600).await.unwrap();
    assert_eq!(ask("get", json!(["k"])), "Django's");
    for number in 0..30 {
        cache.set(&format!("n{number}"), number, 600).await.unwrap();
    }
    assert_eq!(ask("get", json!(["k"])), "Django's");
    cache.clear().await.unwrap();
    assert_eq!(ask("get", json!(["k"])), "Django's");
    cache.set("k", "larder's", 600).await.unwrap();
    for number in 0..30 {
        ask("set", json!([format!("n{number}"), number, 600]));
    }
    ask("clear", json!([]));
    assert_eq!(cache.get::<String>("k").await.unwrap().as_deref(), Some("larder's"));
}

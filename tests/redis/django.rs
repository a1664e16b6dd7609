//! The real Django on the same server: both sides read and count integers, and neither stumbles over the other's values.

use larder::Cache;
use larder::backend::Patience;
use serde_json::{Value, json};

use super::real::{self, Django};
use super::{PATIENCE, open};

#[tokio::test(flavor = "multi_thread")]
async fn django_and_larder_share_a_server() {
    let server = real::Redis::start();
    let mut django = Django::start();
    django.make_cache("redis", "RedisCache", json!({"LOCATION": server.url(), "KEY_PREFIX": "site"}));
    let mut ask = |method: &str, arguments: Value| django.call("redis", method, arguments);
    let patience = Patience::default().connect(PATIENCE).get(PATIENCE).set(PATIENCE);
    let cache = Cache::builder(open(&server.url())).key_prefix("site").patience(patience).build();

    ask("set", json!(["visits", 40, 600]));
    assert_eq!(cache.get::<i64>("visits").await.unwrap(), Some(40));
    assert_eq!(cache.incr("visits", 1).await.unwrap(), 41);
    assert_eq!(ask("incr", json!(["visits", 1])), 42);
    cache.set("ours", -7, 600).await.unwrap();
    assert_eq!(ask("get", json!(["ours"])), -7);
    assert_eq!(ask("decr", json!(["ours", 3])), -10);

    cache.set("text", "hello", 600).await.unwrap();
    cache.set("list", vec![1, 2, 3], 600).await.unwrap();
    for key in ["text", "list"] {
        assert_eq!(ask("get", json!([key, "the default"])), Value::Null, "None, and no error");
    }
    ask("set", json!(["pickle", {"a": 1}, 600]));
    ask("set", json!(["true", true, 600]));
    for key in ["pickle", "true"] {
        assert_eq!(cache.get::<String>(key).await.unwrap(), None);
    }
    assert_eq!(ask("get", json!(["pickle"])), json!({"a": 1}), "left as it was");
    assert_eq!(ask("delete", json!(["text"])), true);
    assert_eq!(cache.get::<String>("text").await.unwrap(), None);
    cache.clear().await.unwrap();
    assert_eq!(ask("get", json!(["visits"])), Value::Null);
}

//! Three servers that Django's memcached backends and larder share: each reads what the other wrote, and both agree on
//! the server of every key.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use larder::{Cache, Error};
use serde::de::{Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::real::{Django, Memcached};
use super::{connect, three_servers};

/// How Django is set up, and the distribution that larder is told.
fn distributions() -> [(&'static str, Value, &'static str); 5] {
    [
        ("PyMemcacheCache", json!({}), "rendezvous"),
        ("PyLibMCCache", json!({}), "modula"),
        ("PyLibMCCache", json!({"behaviors": {"ketama": true}}), "ketama"),
        ("PyLibMCCache", json!({"behaviors": {"ketama_weighted": true}}), "ketama_weighted"),
        ("PythonMemcachedCache", json!({}), "crc32"),
    ]
}

fn make_cache(django: &mut Django, backend: &str, options: &Value, servers: &[Memcached]) {
    let addresses: Vec<String> = servers.iter().map(Memcached::address).collect();
    let settings = json!({"LOCATION": addresses, "KEY_PREFIX": "site", "VERSION": 3, "OPTIONS": options});
    django.make_cache("shared", backend, settings);
}

/// Bytes as serde writes and reads them.
#[derive(Debug, PartialEq)]
struct Raw(Vec<u8>);

impl Serialize for Raw {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Raw;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Raw, E> {
                Ok(Raw(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(Reader)
    }
}

fn as_json(bytes: &[u8]) -> Value {
    json!({"bytes": bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()})
}

const INTEGERS: [i64; 8] = [0, 1, -1, 12, i32::MAX as i64 + 1, -5_000_000_000, i64::MAX, i64::MIN];
const TEXTS: [&str; 7] = ["", "text", "12", "日本語 Ⅷ", "a\r\nb", " blanks ", "\0"];

fn byte_strings() -> Vec<Vec<u8>> {
    vec![b"".to_vec(), b"bytes".to_vec(), b"\0\xff\r\n\x80".to_vec(), b"12".to_vec(), vec![b'x'; 200_000]]
}

async fn larder_reads_what_django_wrote(django: &mut Django, cache: &Cache) {
    for (position, number) in INTEGERS.iter().enumerate() {
        let key = format!("int:{position}");
        django.call("shared", "set", json!([key, number]));
        assert_eq!(cache.get::<i64>(&key).await.unwrap(), Some(*number));
    }
    for (position, text) in TEXTS.iter().enumerate() {
        let key = format!("text:{position}");
        django.call("shared", "set", json!([key, text]));
        assert_eq!(cache.get::<String>(&key).await.unwrap().as_deref(), Some(*text));
    }
    for (position, bytes) in byte_strings().iter().enumerate() {
        let key = format!("bytes:{position}");
        django.call("shared", "set", json!([key, as_json(bytes)]));
        assert!(cache.get::<Raw>(&key).await.unwrap().is_some_and(|found| found.0 == *bytes), "{position}");
    }
    // Many at once, in the order that was asked for.
    let keys: Vec<String> = (0..INTEGERS.len()).map(|position| format!("int:{position}")).collect();
    let found = cache.get_many::<i64>(&keys).await.unwrap();
    assert_eq!(found.len(), INTEGERS.len());
    // A pickle is no value of ours: an error that says so, never another value; and it stays as it was.
    django.call("shared", "set", json!(["pickle", {"a": [1, 2.5, null]}]));
    assert!(matches!(cache.get::<String>("pickle").await, Err(Error::Decode { .. })));
    assert_eq!(django.call("shared", "get", json!(["pickle"])), json!({"a": [1, 2.5, null]}));
    // What Django deleted is gone.
    django.call("shared", "delete", json!(["text:1"]));
    assert_eq!(cache.get::<String>("text:1").await.unwrap(), None);
    assert!(!cache.contains("text:1").await.unwrap());
}

async fn django_reads_what_larder_wrote(django: &mut Django, cache: &Cache) {
    cache.clear().await.unwrap();
    for (position, number) in INTEGERS.iter().enumerate() {
        let key = format!("int:{position}");
        cache.set(&key, *number, 300).await.unwrap();
        assert_eq!(django.call("shared", "get", json!([key])), json!(number));
    }
    for (position, text) in TEXTS.iter().enumerate() {
        let key = format!("text:{position}");
        cache.set(&key, *text, 300).await.unwrap();
        assert_eq!(django.call("shared", "get", json!([key])), json!(text));
    }
    for (position, bytes) in byte_strings().into_iter().enumerate() {
        let key = format!("bytes:{position}");
        cache.set(&key, Raw(bytes.clone()), 300).await.unwrap();
        assert_eq!(django.call("shared", "get", json!([key])), as_json(&bytes));
    }
    let keys: Vec<String> = (0..INTEGERS.len()).map(|position| format!("int:{position}")).collect();
    let found = django.call("shared", "get_many", json!([keys]));
    assert!(keys.iter().zip(INTEGERS).all(|(key, number)| found[key] == json!(number)), "{found}");
    // What only larder can read is nothing to Django, and no crash.
    cache.set("struct", vec![("a", 1.5), ("b", 2.5)], 300).await.unwrap();
    assert_eq!(django.call("shared", "get", json!(["struct", "a miss"])), Value::Null);
    assert_eq!(cache.get::<Vec<(String, f64)>>("struct").await.unwrap().unwrap().len(), 2);
    // Django's add sees that something is there; what larder deleted, it does not find.
    assert_eq!(django.call("shared", "add", json!(["int:1", 99])), json!(false));
    cache.delete("int:1").await.unwrap();
    assert_eq!(django.call("shared", "has_key", json!(["int:1"])), json!(false));
    assert_eq!(django.call("shared", "add", json!(["int:1", 99])), json!(true));
    assert_eq!(cache.get::<i64>("int:1").await.unwrap(), Some(99));
}

async fn both_count_on_one_counter(django: &mut Django, cache: &Cache) {
    cache.set("counter", 10, 300).await.unwrap();
    assert_eq!(django.call("shared", "incr", json!(["counter", 5])), json!(15));
    assert_eq!(cache.incr("counter", 2).await.unwrap(), 17);
    assert_eq!(django.call("shared", "decr", json!(["counter", 10])), json!(7));
    assert_eq!(cache.get::<i64>("counter").await.unwrap(), Some(7));
    assert_eq!(cache.decr("counter", 1).await.unwrap(), 6);
    assert_eq!(django.call("shared", "get", json!(["counter"])), json!(6));
    django.call("shared", "set", json!(["counted", 100]));
    assert_eq!(cache.incr("counted", 1).await.unwrap(), 101);
    assert_eq!(django.call("shared", "incr", json!(["counted"])), json!(102));
    assert_eq!(cache.touch("counted", 1000).await.ok(), Some(true));
    assert_eq!(django.call("shared", "touch", json!(["counted", 1000])), json!(true));
}

#[tokio::test]
async fn django_and_larder_read_each_others_values_and_count_together() {
    for (backend, options, distribution) in distributions() {
        let servers = three_servers();
        let mut django = Django::start();
        make_cache(&mut django, backend, &options, &servers);
        let cache = connect(&servers, &format!("distribution={distribution}&key_prefix=site&version=3")).await;
        larder_reads_what_django_wrote(&mut django, &cache).await;
        django_reads_what_larder_wrote(&mut django, &cache).await;
        both_count_on_one_counter(&mut django, &cache).await;
    }
}

/// A thousand keys of many shapes; some are not ASCII.
fn thousand_keys() -> Vec<String> {
    (0..1000)
        .map(|number| match number % 5 {
            0 => format!("user:{number}"),
            1 => format!("views.decorators.cache.cache_page..GET.{:032x}.{:032x}", number * 7919, number * 104_729),
            2 => format!("{number}"),
            3 => format!("ключ/{number}/日本"),
            _ => format!("{}:{number}", "long".repeat(number as usize % 40)),
        })
        .collect()
}

/// Which of these final keys lie on each server, as the servers themselves say.
fn whereabouts(servers: &[Memcached], keys: &[String]) -> BTreeMap<String, BTreeSet<String>> {
    let asked: String = keys.iter().map(|key| format!("mg {key} k\r\n")).collect();
    let held = |server: &Memcached| {
        let answer = String::from_utf8(server.say(&asked)).unwrap();
        answer.lines().filter_map(|line| line.strip_prefix("HD k")).map(str::to_owned).collect()
    };
    servers.iter().map(|server| (server.address(), held(server))).collect()
}

#[tokio::test]
async fn django_and_larder_agree_on_the_server_of_every_key() {
    let keys = thousand_keys();
    let final_keys: Vec<String> = keys.iter().map(|key| format!("site:3:{key}")).collect();
    for (backend, options, distribution) in distributions() {
        let servers = three_servers();
        let mut django = Django::start();
        make_cache(&mut django, backend, &options, &servers);
        let entries: serde_json::Map<String, Value> = keys.iter().map(|key| (key.clone(), json!(key))).collect();
        let failed = django.call("shared", "set_many", json!([entries]));
        assert_eq!(failed, json!([]), "{distribution}");
        let of_django = whereabouts(&servers, &final_keys);
        let count: usize = of_django.values().map(BTreeSet::len).sum();
        assert_eq!(count, 1000, "{distribution}");
        assert!(of_django.values().all(|held| held.len() > 150), "{distribution}: one server has too few");

        // larder finds every one where Django put it, and puts every one where Django would.
        let cache = connect(&servers, &format!("distribution={distribution}&key_prefix=site&version=3")).await;
        let found = cache.get_many::<String>(&keys).await.unwrap();
        assert_eq!(found.len(), 1000, "{distribution}");
        for key in &keys {
            assert_eq!(cache.get::<String>(key).await.unwrap().as_ref(), Some(key), "{distribution}");
        }
        cache.clear().await.unwrap();
        assert!(whereabouts(&servers, &final_keys).values().all(BTreeSet::is_empty), "{distribution}");
        let entries: Vec<(&String, &String)> = keys.iter().zip(&keys).collect();
        cache.set_many(entries, 300).await.unwrap();
        assert!(whereabouts(&servers, &final_keys) == of_django, "{distribution}: the keys live elsewhere");
        let found = django.call("shared", "get_many", json!([keys]));
        assert!(keys.iter().all(|key| found[key] == json!(key)), "{distribution}");
    }
}

//! Final keys and their checks (KEY), through every call that takes a key.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use larder::backend::{Backend, Dummy, KeyRule, Memory, Reply, Stored};
use larder::cache::key_problems;
use larder::{Cache, Error, KeyProblem};

#[test]
fn a_final_key_is_prefix_version_key() {
    let cache = Cache::memory();
    assert_eq!(cache.make_key("k"), ":1:k");
    assert_eq!(cache.version(0).make_key("k"), ":0:k");
    assert_eq!(cache.version(-1).make_key("k"), ":-1:k");
    assert_eq!(cache.version("").make_key(""), "::");
    let cache = Cache::builder(Dummy::default()).key_prefix("a:b").version("draft").build();
    assert_eq!(cache.make_key("c:d"), "a:b:draft:c:d");
}

#[test]
fn make_key_does_not_check() {
    assert_eq!(Cache::memory().make_key("two words\r\n"), ":1:two words\r\n");
}

#[test]
fn problems_are_found_in_characters_length_first() {
    assert_eq!(key_problems(&"x".repeat(250)), []);
    assert_eq!(key_problems(&"清".repeat(250)), []);
    assert_eq!(key_problems(&"清".repeat(251)), [KeyProblem::TooLong]);
    for c in ('\0'..='\u{20}').chain(['\u{7f}']) {
        assert_eq!(key_problems(&format!("a{c}b")), [KeyProblem::BadCharacters], "{c:?}");
    }
    for c in ['!', '~', '\u{80}', '\u{85}', '\u{a0}', '\u{2028}', '\u{3000}', '\u{feff}'] {
        assert_eq!(key_problems(&format!("a{c}b")), [], "{c:?}");
    }
    assert_eq!(key_problems(&" ".repeat(251)), [KeyProblem::TooLong, KeyProblem::BadCharacters]);
}

/// A store that can take no odd keys, and counts what reaches it.
#[derive(Default)]
struct Strict(Memory, Arc<AtomicUsize>);

impl Strict {
    fn counted(&self) -> &Memory {
        self.1.fetch_add(1, Ordering::SeqCst);
        &self.0
    }
}

impl Backend for Strict {
    fn name(&self) -> &'static str {
        "strict"
    }

    fn key_rule(&self) -> KeyRule {
        KeyRule::Refuse
    }

    fn get<'a>(&'a self, key: &'a str) -> Reply<'a, Option<Stored>> {
        self.counted().get(key)
    }

    fn set<'a>(&'a self, key: &'a str, value: Stored, ttl: Option<Duration>) -> Reply<'a, ()> {
        self.counted().set(key, value, ttl)
    }

    fn add<'a>(&'a self, key: &'a str, value: Stored, ttl: Option<Duration>) -> Reply<'a, bool> {
        self.counted().add(key, value, ttl)
    }

    fn touch<'a>(&'a self, key: &'a str, ttl: Option<Duration>) -> Reply<'a, bool> {
        self.counted().touch(key, ttl)
    }

    fn delete<'a>(&'a self, key: &'a str) -> Reply<'a, bool> {
        self.counted().delete(key)
    }

    fn incr<'a>(&'a self, key: &'a str, delta: i64) -> Reply<'a, Option<i64>> {
        self.counted().incr(key, delta)
    }

    fn clear<'a>(&'a self, prefix: &'a str) -> Reply<'a, ()> {
        self.counted().clear(prefix)
    }
}

#[tokio::test]
async fn rule_11_no_odd_key_reaches_a_backend_that_cannot_take_it() -> Result<(), Error> {
    let strict = Strict::default();
    let reached = Arc::clone(&strict.1);
    let cache = Cache::new(strict);
    let long = "x".repeat(300);
    let odd = [
        ("two words", KeyProblem::BadCharacters),
        ("k 0 0 1\r\nflush_all\r\n", KeyProblem::BadCharacters),
        ("\0", KeyProblem::BadCharacters),
        (&long, KeyProblem::TooLong),
    ];
    for (key, problem) in odd {
        let answers = [
            cache.get::<i32>(key).await.map(drop),
            cache.set(key, 1, 30).await,
            cache.set(key, 1, 0).await,
            cache.add(key, 1, 30).await.map(drop),
            cache.touch(key, 30).await.map(drop),
            cache.delete(key).await.map(drop),
            cache.contains(key).await.map(drop),
            cache.incr(key, 1).await.map(drop),
            cache.decr(key, 1).await.map(drop),
            cache.incr_version(key, 1).await.map(drop),
            cache.get_or_set(key, 30, || async { 1 }).await.map(drop),
            cache.get_many::<i32>(["fine", key]).await.map(drop),
            cache.set_many([("fine", 1), (key, 2)], 30).await.map(drop),
            cache.delete_many(["fine", key]).await,
        ];
        for answer in answers {
            match answer {
                Err(Error::Key { key: named, problem: found }) => {
                    assert_eq!((named, found), (cache.make_key(key), problem));
                }
                other => panic!("{key:?}: {other:?}"),
            }
        }
    }
    assert_eq!(reached.load(Ordering::SeqCst), 0);
    cache.set("fine", 1, 30).await?;
    assert_eq!(reached.load(Ordering::SeqCst), 1);
    Ok(())
}

#[tokio::test]
async fn a_backend_that_can_take_odd_keys_is_given_them() -> Result<(), Error> {
    let cache = Cache::memory();
    for key in ["two words", "k\r\n", "", "清", &"x".repeat(10_000)] {
        cache.set(key, key, 30).await?;
        assert_eq!(cache.get::<String>(key).await?.as_deref(), Some(key));
    }
    Ok(())
}

#[tokio::test]
async fn a_key_function_replaces_the_shape_and_is_what_is_checked() -> Result<(), Error> {
    let cache = Cache::builder(Strict::default())
        .key_function(|key, prefix, version| format!("{prefix}/{version}/{}", key.replace(' ', "_")))
        .key_prefix("p")
        .build();
    assert_eq!(cache.version(3).make_key("two words"), "p/3/two_words");
    cache.set("two words", 1, 30).await?;
    assert_eq!(cache.get::<i32>("two words").await?, Some(1));
    Ok(())
}

#[tokio::test]
async fn one_prefix_and_version_over_one_store_is_one_cache() -> Result<(), Error> {
    let memory = Memory::new();
    let [one, other] = [(); 2].map(|()| Cache::builder(memory.clone()).key_prefix("p").build());
    one.set("k", 1, 30).await?;
    assert_eq!(other.get::<i32>("k").await?, Some(1));
    // Colons are not escaped, as in Django (KEY-1).
    let colliding = Cache::builder(memory).key_prefix("p:1").version("a").build();
    one.set("a:k", 2, 30).await?;
    assert_eq!(colliding.get::<i32>("k").await?, Some(2));
    Ok(())
}

#[tokio::test]
async fn caches_that_differ_in_their_key_function_alone_share_neither_pages_nor_tags() -> Result<(), Error> {
    use larder::{CacheLayer, backend::Memory};
    use tower::{Layer, ServiceExt, service_fn};

    let memory = Memory::new();
    let [one, other] = ["one", "other"].map(|tenant| {
        let cache = Cache::builder(memory.clone()).key_function(move |key, _, _| format!("{tenant}/{key}")).build();
        let answer = move |_: http::Request<String>| async move {
            Ok::<_, std::convert::Infallible>(http::Response::new(format!("of {tenant}")))
        };
        (CacheLayer::per_site().cache(&cache).tags(["blog"]).cache_status("larder").layer(service_fn(answer)), cache)
    });
    let is_hit = async |(site, _): &(_, Cache)| {
        let request = http::Request::get("http://example.com/").body(String::new()).unwrap();
        let site: larder::CacheService<_> = Clone::clone(site);
        site.oneshot(request).await.unwrap().headers()["cache-status"].to_str().unwrap().contains("; hit")
    };
    assert!(!is_hit(&one).await);
    assert!(is_hit(&one).await);
    assert!(!is_hit(&other).await, "a page of the one is none of the other's");
    other.1.purge_tag("blog").await?;
    assert!(is_hit(&one).await, "a tag of the other is none of the one's");
    one.1.purge_tag("blog").await?;
    assert!(!is_hit(&one).await);
    Ok(())
}

//! The low-level API over memory, rule by rule of the inventory (LOW): what a Django developer expects of each call.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use larder::backend::Memory;
use larder::{Cache, Error, ManualClock, Timeout, Timestamp};

fn cache() -> (Cache, Memory, ManualClock) {
    let hands = ManualClock::at(Timestamp::from_secs(1_700_000_000));
    let memory = Memory::with_clock(hands.clock());
    (Cache::new(memory.clone()), memory, hands)
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test]
async fn a_value_set_for_thirty_seconds_is_there_and_then_gone() -> Result<(), Error> {
    let (cache, _, hands) = cache();
    cache.set("my_key", "hello, world!", 30).await?;
    let hello: Option<String> = cache.get("my_key").await?;
    assert_eq!(hello.as_deref(), Some("hello, world!"));
    hands.advance(seconds(30) - Duration::from_nanos(1));
    assert!(cache.contains("my_key").await?);
    hands.advance(Duration::from_nanos(1));
    assert_eq!(cache.get::<String>("my_key").await?, None);
    Ok(())
}

#[tokio::test]
async fn numbers_count_up_and_down_and_keep_their_time() -> Result<(), Error> {
    let (cache, _, hands) = cache();
    cache.set("num", 1, 10).await?;
    assert_eq!(cache.incr("num", 1).await?, 2);
    assert_eq!(cache.incr("num", 10).await?, 12);
    assert_eq!(cache.decr("num", 1).await?, 11);
    assert_eq!(cache.decr("num", 20).await?, -9);
    assert_eq!(cache.get::<i32>("num").await?, Some(-9));
    hands.advance(seconds(10));
    assert!(matches!(cache.incr("num", 1).await, Err(Error::Missing { key }) if key == "num"));
    Ok(())
}

#[tokio::test]
async fn counting_what_cannot_be_counted_leaves_it_alone() -> Result<(), Error> {
    let (cache, ..) = cache();
    cache.set("text", "5", 30).await?;
    assert!(matches!(cache.incr("text", 1).await, Err(Error::NotANumber { key }) if key == "text"));
    cache.set("float", 1.5, 30).await?;
    assert!(matches!(cache.decr("float", 1).await, Err(Error::NotANumber { key }) if key == "float"));
    for number in [i64::MAX as u64, u64::MAX] {
        cache.set("num", number, 30).await?;
        assert!(matches!(cache.incr("num", 1).await, Err(Error::Overflow { key }) if key == "num"));
        assert_eq!(cache.get::<u64>("num").await?, Some(number));
    }
    cache.set("num", 0, 30).await?;
    assert!(matches!(cache.decr("num", i64::MIN).await, Err(Error::Overflow { .. })));
    Ok(())
}

#[tokio::test]
async fn delete_says_whether_something_alive_was_there() -> Result<(), Error> {
    let (cache, _, hands) = cache();
    cache.set("k", 1, 30).await?;
    assert!(cache.delete("k").await?);
    assert!(!cache.delete("k").await?);
    cache.set("k", 1, 30).await?;
    hands.advance(seconds(30));
    assert!(!cache.delete("k").await?);
    Ok(())
}

#[tokio::test]
async fn add_stores_only_where_nothing_alive_is() -> Result<(), Error> {
    let (cache, _, hands) = cache();
    assert!(cache.add("k", "first", 10).await?);
    assert!(!cache.add("k", "second", Timeout::Never).await?);
    assert_eq!(cache.get::<String>("k").await?.as_deref(), Some("first"));
    hands.advance(seconds(10));
    assert!(cache.add("k", "third", 10).await?);
    assert_eq!(cache.get::<String>("k").await?.as_deref(), Some("third"));
    Ok(())
}

#[tokio::test]
async fn timeouts_of_zero_and_less_are_over_at_once() -> Result<(), Error> {
    let (cache, memory, _) = cache();
    for timeout in [Timeout::from(0), Timeout::from(-1), Timeout::from(-0.5), Timeout::from(f64::NAN)] {
        cache.set("k", "old", 30).await?;
        cache.set("k", "new", timeout).await?;
        assert_eq!(cache.get::<String>("k").await?, None);
        assert!(cache.add("k", "new", timeout).await?);
        assert!(!cache.contains("k").await?);
        cache.set("k", "old", 30).await?;
        assert!(!cache.add("k", "new", timeout).await?);
        assert!(cache.touch("k", timeout).await?);
        assert!(!cache.touch("k", timeout).await?);
        assert!(!cache.contains("k").await?);
        assert_eq!(cache.set_many([("k", 1)], timeout).await?, <[&str; 0]>::default());
        assert_eq!(memory.entries(), 0);
    }
    Ok(())
}

#[tokio::test]
async fn the_default_timeout_is_300_seconds_or_the_caches_own() -> Result<(), Error> {
    let (cache, memory, hands) = cache();
    let own = Cache::builder(memory.clone()).key_prefix("own").default_timeout(60).build();
    let never = Cache::builder(memory.clone()).key_prefix("never").default_timeout(Timeout::Never).build();
    let nothing = Cache::builder(memory).key_prefix("nothing").default_timeout(0).build();
    for cache in [&cache, &own, &never, &nothing] {
        cache.set("k", 1, Timeout::Default).await?;
    }
    assert!(!nothing.contains("k").await?);
    hands.advance(seconds(60));
    assert!(!own.contains("k").await?);
    hands.advance(seconds(239));
    assert!(cache.contains("k").await?);
    hands.advance(seconds(1));
    assert!(!cache.contains("k").await?);
    hands.advance(seconds(1_000_000_000));
    assert!(never.contains("k").await?);
    Ok(())
}

#[tokio::test]
async fn touch_gives_a_new_time() -> Result<(), Error> {
    let (cache, _, hands) = cache();
    cache.set("k", 1, 10).await?;
    hands.advance(seconds(9));
    assert!(cache.touch("k", Timeout::Default).await?);
    hands.advance(seconds(299));
    assert!(cache.touch("k", None).await?);
    hands.advance(seconds(1_000_000));
    assert!(cache.contains("k").await?);
    assert!(!cache.touch("missing", 10).await?);
    Ok(())
}

#[tokio::test]
async fn several_at_once_go_by_the_callers_keys() -> Result<(), Error> {
    let (cache, ..) = cache();
    let cache = cache.version(4);
    let values = HashMap::from([("a", 1), ("b c", 2)]);
    assert!(cache.set_many(&values, 30).await?.is_empty());
    let found = cache.get_many::<i32>(["b c", "a", "missing", "a"]).await?;
    assert_eq!(found, HashMap::from([("a".to_owned(), 1), ("b c".to_owned(), 2)]));
    cache.delete_many(["a", "missing"]).await?;
    assert!(!cache.contains("a").await?);
    cache.delete_many(<[&str; 0]>::default()).await?;
    assert!(cache.get_many::<i32>(Vec::<String>::new()).await?.is_empty());
    assert!(cache.set_many(Vec::<(String, i32)>::new(), 30).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn set_many_names_the_callers_keys_of_what_is_too_large() -> Result<(), Error> {
    let cache = Cache::builder(Memory::builder().max_bytes(10_000).build()).key_prefix("site").build();
    let failed = cache.set_many([("small", "x".to_owned()), ("large", "x".repeat(20_000))], 30).await?;
    assert_eq!(failed, ["large"]);
    assert!(cache.contains("small").await?);
    Ok(())
}

#[tokio::test]
async fn versions_are_name_spaces_of_their_own() -> Result<(), Error> {
    let (cache, ..) = cache();
    cache.set("k", "one", 30).await?;
    cache.version("draft").set("k", "two", 30).await?;
    assert_eq!(cache.get::<String>("k").await?.as_deref(), Some("one"));
    assert_eq!(cache.version("draft").get::<String>("k").await?.as_deref(), Some("two"));
    assert_eq!(cache.version(2).get::<String>("k").await?, None);
    Ok(())
}

#[tokio::test]
async fn incr_version_moves_a_value_with_the_default_timeout() -> Result<(), Error> {
    let (cache, _, hands) = cache();
    cache.set("k", "v", 10).await?;
    cache.version(3).set("k", "overwritten", 10).await?;
    assert_eq!(cache.incr_version("k", 2).await?, 3);
    assert!(!cache.contains("k").await?);
    hands.advance(seconds(299));
    assert_eq!(cache.version(3).get::<String>("k").await?.as_deref(), Some("v"));
    assert_eq!(cache.version(3).decr_version("k", 1).await?, 2);
    assert_eq!(cache.version(2).incr_version("k", 0).await?, 2);
    assert!(!cache.version(2).contains("k").await?);
    assert!(matches!(cache.incr_version("k", 1).await, Err(Error::Missing { key }) if key == "k"));
    cache.version("draft").set("k", "v", 10).await?;
    assert!(matches!(cache.version("draft").incr_version("k", 1).await, Err(Error::Config(_))));
    assert!(cache.version("draft").contains("k").await?);
    Ok(())
}

#[tokio::test]
async fn rule_23_clear_keeps_to_its_prefix() -> Result<(), Error> {
    let (everything, memory, _) = cache();
    let blog = Cache::builder(memory.clone()).key_prefix("blog").build();
    let blogs = Cache::builder(memory.clone()).key_prefix("blogs").build();
    let hashed = Cache::builder(memory.clone()).key_prefix("blog").key_function(|key, _, _| key.to_uppercase()).build();
    for cache in [&everything, &blog, &blogs, &hashed, &blog.version(2)] {
        cache.set("k", 1, 30).await?;
    }
    blog.clear().await?;
    assert!(!blog.contains("k").await? && !blog.version(2).contains("k").await?);
    assert!(everything.contains("k").await? && blogs.contains("k").await? && hashed.contains("k").await?);
    hashed.clear().await?;
    assert_eq!(memory.entries(), 0);
    blogs.set("k", 1, 30).await?;
    everything.clear().await?;
    assert_eq!(memory.entries(), 0);
    Ok(())
}

#[tokio::test]
async fn close_may_be_called_at_any_time() -> Result<(), Error> {
    let (cache, ..) = cache();
    cache.close().await?;
    cache.set("k", 1, 30).await?;
    cache.close().await?;
    cache.close().await?;
    assert_eq!(cache.get::<i32>("k").await?, Some(1));
    Ok(())
}

#[tokio::test]
async fn dummy_answers_as_if_nothing_were_there() -> Result<(), Error> {
    let cache = Cache::dummy();
    cache.set("k", 1, 30).await?;
    assert_eq!(cache.get::<i32>("k").await?, None);
    assert!(cache.add("k", 1, 30).await? && cache.add("k", 1, 0).await?);
    assert!(!cache.touch("k", 30).await? && !cache.delete("k").await? && !cache.contains("k").await?);
    assert!(cache.set_many([("k", 1)], 30).await?.is_empty());
    assert!(cache.get_many::<i32>(["k"]).await?.is_empty());
    assert!(matches!(cache.incr("k", 1).await, Err(Error::Missing { .. })));
    assert!(matches!(cache.incr_version("k", 1).await, Err(Error::Missing { .. })));
    assert_eq!(cache.get_or_set("k", 30, || async { 7 }).await?, 7);
    cache.clear().await
}

/// tokio tells in no other way than by a panic that a runtime has no timers; who closes a cache at rest needs none.
#[test]
fn closing_needs_no_timers_where_nothing_is_under_way() {
    let (here, panics) = (std::thread::current().id(), Arc::new(AtomicUsize::new(0)));
    let (counted, before) = (Arc::clone(&panics), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |panic| {
        if std::thread::current().id() == here {
            counted.fetch_add(1, Ordering::SeqCst);
        }
        before(panic);
    }));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(Cache::memory().close()).unwrap();
    assert_eq!(panics.load(Ordering::SeqCst), 0);
}

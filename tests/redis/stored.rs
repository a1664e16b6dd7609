//! What lies in the server: names, integers, lifetimes, and bytes that others make nothing wrong of.

use std::time::Duration;

use larder::Error;
use larder::backend::{Backend, Redis, Stored, flags};

use super::{integer, open, raw, raw_bytes, raw_number, real, text};

#[tokio::test(flavor = "multi_thread")]
async fn integers_lie_there_as_text_and_both_sides_count_them() {
    let server = real::Redis::start();
    let redis = open(&server.url());
    redis.set(":1:n", integer(-5), Some(Duration::from_secs(100))).await.unwrap();
    assert_eq!(raw_bytes(&server, ":1:n").as_deref(), Some(&b"-5"[..]));
    assert_eq!(raw_number(&server, &["INCRBY", ":1:n", "10"]), 5);
    assert_eq!(redis.incr(":1:n", 1).await.unwrap(), Some(6));
    assert!((1..=100).contains(&raw_number(&server, &["TTL", ":1:n"])), "incr keeps the lifetime");
    raw(&server, &["SET", ":1:m", "7"]);
    assert_eq!(redis.get(":1:m").await.unwrap(), Some(integer(7)));
}

#[tokio::test(flavor = "multi_thread")]
async fn lifetimes_are_exact_to_the_millisecond() {
    let server = real::Redis::start();
    let redis = open(&server.url());
    let left = |key: &str| raw_number(&server, &["PTTL", key]);
    redis.set("k", text("v"), Some(Duration::from_millis(900_500))).await.unwrap();
    assert!((600_001..=900_500).contains(&left("k")) && raw_number(&server, &["PEXPIRETIME", "k"]) % 1000 >= 0);
    redis.set("ever", text("v"), None).await.unwrap();
    assert_eq!(left("ever"), -1);
    redis.set("huge", text("v"), Some(Duration::MAX)).await.unwrap();
    assert!(left("huge") > 1 << 40);
    redis.set("tiny", text("v"), Some(Duration::from_nanos(1))).await.unwrap();
    super::until("it is gone", async || raw_bytes(&server, "tiny").is_none().then_some(())).await;

    assert!(redis.touch("ever", None).await.unwrap(), "though PERSIST says 0 (RED-4)");
    assert!(redis.touch("k", None).await.unwrap());
    assert_eq!(left("k"), -1);
    assert!(redis.touch("k", Some(Duration::from_secs(600))).await.unwrap());
    assert!((1..=600_000).contains(&left("k")));
    assert!(!redis.touch("missing", None).await.unwrap());
    assert!(redis.add("added", text("v"), Some(Duration::from_millis(900_500))).await.unwrap());
    assert!((1..=900_500).contains(&left("added")));
    redis.set_many(&[("many".to_owned(), text("v"))], Some(Duration::from_millis(900_500))).await.unwrap();
    assert!((1..=900_500).contains(&left("many")));
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_others_are_a_miss_and_are_left_alone() {
    let server = real::Redis::start();
    let redis = open(&server.url());
    // What Django pickled (`42` and `None`), plain text of anybody, and a list.
    let pickles: [&[u8]; 2] = [b"\x80\x05\x95\x06\0\0\0\0\0\0\0\x8c\x0242\x94.", b"\x80\x05N."];
    for pickle in pickles {
        let client = redis::Client::open(server.url()).unwrap();
        let mut connection = client.get_connection().unwrap();
        redis::cmd("SET").arg("p").arg(pickle).exec(&mut connection).unwrap();
        assert_eq!(redis.get("p").await.unwrap(), None);
        assert!(!redis.contains("p").await.unwrap());
        assert!(matches!(redis.incr("p", 1).await, Err(Error::NotANumber { .. })));
        assert_eq!(raw_bytes(&server, "p").as_deref(), Some(pickle));
    }
    raw(&server, &["SET", "t", "plain"]);
    raw(&server, &["RPUSH", "l", "a"]);
    let keys = ["t", "l", "missing"].map(str::to_owned);
    assert_eq!(redis.get_many(&keys).await.unwrap(), [None, None, None]);
    assert_eq!(redis.get("l").await.unwrap(), None);
    assert!(!redis.contains("l").await.unwrap());
    assert!(matches!(redis.incr("l", 1).await, Err(Error::NotANumber { .. })));
    assert_eq!(raw_number(&server, &["LLEN", "l"]), 1);
    redis.set("l", text("ours now"), None).await.unwrap();
    assert_eq!(redis.get("l").await.unwrap(), Some(text("ours now")));
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_that_cannot_be_counted_are_told_apart() {
    let server = real::Redis::start();
    let redis = open(&server.url());
    for (stored, delta, overflows) in [
        ("9223372036854775807", 1, true),
        ("-9223372036854775808", -1, true),
        ("170141183460469231731687303715884105727", 0, true),
        ("007", 1, false),
        ("4.5", 1, false),
        ("", 1, false),
        (" 5", 1, false),
    ] {
        raw(&server, &["SET", "n", stored]);
        match redis.incr("n", delta).await {
            Err(Error::Overflow { key }) if overflows => assert_eq!(key, "n"),
            Err(Error::NotANumber { key }) if !overflows => assert_eq!(key, "n"),
            other => panic!("incr of {stored:?} by {delta}: {other:?}"),
        }
        assert_eq!(raw_bytes(&server, "n").as_deref(), Some(stored.as_bytes()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clear_of_a_prefix_scans_and_clear_of_nothing_flushes_this_database_only() {
    let server = real::Redis::start();
    let redis = open(&server.url());
    let other: Redis = open(&format!("{}/1", server.url()));
    other.set("blog:x", text("v"), None).await.unwrap();
    let entries: Vec<(String, Stored)> = (0..5000)
        .flat_map(|number| ["blog:", "shop:"].map(|prefix| (format!("{prefix}{number}"), integer(number))))
        .collect();
    redis.set_many(&entries, None).await.unwrap();
    redis.clear("blog:").await.unwrap();
    assert_eq!(raw_number(&server, &["DBSIZE"]), 5000);
    redis.clear("").await.unwrap();
    assert_eq!(raw_number(&server, &["DBSIZE"]), 0);
    assert_eq!(other.get("blog:x").await.unwrap(), Some(text("v")));
}

/// The round trips of a call, as the server counts what it was asked.
#[tokio::test(flavor = "multi_thread")]
async fn bulk_calls_are_one_round_trip() {
    let server = real::Redis::start();
    let redis = open(&server.url());
    redis.get("warm").await.unwrap();
    let reads = || -> i64 {
        let info: String = redis::from_redis_value(raw(&server, &["INFO", "stats"])).unwrap();
        let reads = info.lines().find_map(|line| line.strip_prefix("total_reads_processed:")).unwrap();
        reads.trim().parse().unwrap()
    };
    let entries: Vec<(String, Stored)> = (0..100).map(|number| (format!("k{number}"), integer(number))).collect();
    let keys: Vec<String> = entries.iter().map(|(key, _)| key.clone()).collect();
    let own = {
        let before = reads();
        reads() - before
    };
    let before = reads();
    redis.set_many(&entries, Some(Duration::from_secs(60))).await.unwrap();
    assert_eq!(redis.get_many(&keys).await.unwrap().iter().flatten().count(), 100);
    redis.delete_many(&keys).await.unwrap();
    redis.set("n", integer(1), None).await.unwrap();
    redis.incr("n", 1).await.unwrap();
    assert_eq!(reads() - before - own, 5, "set_many, get_many, delete_many, set, incr");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_integer_with_flags_of_its_own_comes_back_as_it_was() {
    let server = real::Redis::start();
    let redis = open(&server.url());
    for stored in
        [Stored { data: "12".into(), flags: flags::TEXT }, Stored { data: "012".into(), flags: flags::INTEGER }]
    {
        redis.set("k", stored.clone(), None).await.unwrap();
        assert_eq!(redis.get("k").await.unwrap(), Some(stored));
        assert!(redis.contains("k").await.unwrap());
    }
}

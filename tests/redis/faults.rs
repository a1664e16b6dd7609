//! A server that is away, restarts, stands still, or refuses; and callers that do not wait.

use std::time::Duration;

use larder::Error;
use larder::backend::{Backend, Redis, Stored, flags};

use super::{PATIENCE, builder, integer, open, raw, raw_bytes, real, text, until};

#[tokio::test]
async fn nothing_is_connected_until_the_first_call() {
    // Nobody listens there; no runtime of ours is needed either.
    let redis = std::thread::spawn(|| Redis::open("redis://127.0.0.1:1").unwrap()).join().unwrap();
    let error = redis.get("k").await.unwrap_err();
    assert!(matches!(error, Error::Backend { backend: "redis", .. }), "{error}");
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up_after_the_deadline() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", silent.local_addr().unwrap());
    let redis = Redis::builder(&url).unwrap().connect_timeout(Duration::from_millis(50)).build().unwrap();
    let error = tokio::time::timeout(PATIENCE, redis.get("k")).await.unwrap().unwrap_err().to_string();
    assert!(error.contains("did not answer within 50ms") && error.contains("127.0.0.1"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_to_connect_goes_on_when_its_caller_gives_up() {
    let server = real::Redis::start();
    server.pause();
    let redis = open(&server.url());
    for _ in 0..20 {
        let impatient = tokio::time::timeout(Duration::from_millis(2), redis.get("k")).await;
        assert!(impatient.is_err());
    }
    server.resume();
    assert_eq!(redis.get("k").await.unwrap(), None);
    let info: String = redis::from_redis_value(raw(&server, &["INFO", "stats"])).unwrap();
    let connections = info.lines().find_map(|line| line.strip_prefix("total_connections_received:")).unwrap();
    // The rig's own look whether it answers, this one, and ours: one for all the callers.
    assert!(connections.trim().parse::<u32>().unwrap() <= 4, "{connections}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_is_not_noticed() {
    let server = real::Redis::start();
    let redis = open(&server.url());
    for round in 0..3 {
        redis.set("k", integer(round), None).await.unwrap();
        assert_eq!(redis.get("k").await.unwrap(), Some(integer(round)));
        server.restart();
        assert_eq!(redis.get("k").await.unwrap(), None, "it came back empty");
        assert!(redis.add("n", integer(1), None).await.unwrap());
        assert_eq!(redis.incr("n", 1).await.unwrap(), Some(2));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_is_an_error_and_back_when_it_is_back() {
    let server = real::Redis::start();
    let redis = open(&server.url());
    redis.set("k", text("v"), None).await.unwrap();
    server.stop();
    for _ in 0..3 {
        let error = tokio::time::timeout(PATIENCE, redis.get("k")).await.unwrap().unwrap_err();
        assert!(matches!(error, Error::Backend { backend: "redis", .. }), "{error}");
    }
    server.start_again();
    redis.set("k", text("w"), None).await.unwrap();
    assert_eq!(redis.get("k").await.unwrap(), Some(text("w")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stood_still_answers_nobody_with_anothers_value() {
    let server = real::Redis::start();
    let redis = open(&server.url());
    for number in 0..50 {
        redis.set(&format!("k{number}"), integer(number), None).await.unwrap();
    }
    for _ in 0..3 {
        server.pause();
        for number in 0..50 {
            let key = format!("k{number}");
            let impatient = tokio::time::timeout(Duration::from_millis(1), redis.get(&key)).await;
            assert!(impatient.is_err());
        }
        server.resume();
        for number in (0..50).rev() {
            assert_eq!(redis.get(&format!("k{number}")).await.unwrap(), Some(integer(number)));
        }
    }
}

/// A cache of the whole process outlives the runtimes of single tests.
#[test]
fn a_connection_that_ended_with_its_runtime_is_opened_anew() {
    let server = real::Redis::start();
    let redis = open(&server.url());
    for number in 1..5 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let outcome = runtime.block_on(async {
            redis.add("n", integer(0), None).await?;
            redis.incr("n", 1).await
        });
        assert_eq!(outcome.unwrap(), Some(number));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_told_without_it() {
    let server = real::Redis::with(&["--requirepass", "s3cret"]);
    for url in [server.url().replace("s3cret", "gu3ss"), server.url().replace(":s3cret@", "")] {
        let redis = open(&url);
        let error = redis.get("k").await.unwrap_err().to_string();
        assert!(!error.contains("gu3ss"), "{error}");
        assert!(error.contains("AUTH") || error.to_lowercase().contains("auth") || error.contains("PASS"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_nobody_trusted_is_refused() {
    let server = real::Redis::with_tls(&[]);
    let error = open(&server.url()).get("k").await.unwrap_err().to_string();
    assert!(error.to_lowercase().contains("certificate"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_full_server_refuses_leaves_nothing_behind() {
    let server = real::Redis::with(&["--maxmemory", "4mb", "--maxmemory-policy", "noeviction"]);
    let redis = open(&server.url());
    let small = |key: &str| (key.to_owned(), text("old"));
    redis.set_many(&[small("a"), small("b")], None).await.unwrap();
    raw(&server, &["CONFIG", "SET", "maxmemory", "1"]);
    let large = Stored { data: vec![7; 1 << 20].into(), flags: flags::BYTES };
    let error = redis.set("a", large.clone(), None).await.unwrap_err();
    assert!(error.to_string().contains("OOM"), "{error}");
    let error = redis.set_many(&[("b".to_owned(), large)], None).await.unwrap_err();
    assert!(error.to_string().contains("OOM"), "{error}");
    assert_eq!((raw_bytes(&server, "a"), raw_bytes(&server, "b")), (None, None), "(MEM-4)");
    assert!(redis.add("c", text("v"), None).await.is_err());
    raw(&server, &["CONFIG", "SET", "maxmemory", "0"]);
    assert!(redis.add("c", text("v"), None).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_leads_no_longer_is_told_of_several_writes_and_loses_nothing() {
    let server = real::Redis::start();
    let redis = open(&server.url());
    let entries = |value| ["a", "b"].map(|key| (key.to_owned(), text(value)));
    redis.set_many(&entries("old"), None).await.unwrap();
    raw(&server, &["REPLICAOF", "127.0.0.1", "1"]);
    let error = redis.set_many(&entries("new"), None).await.unwrap_err().to_string();
    assert!(error.contains("read only"), "{error}");
    raw(&server, &["REPLICAOF", "NO", "ONE"]);
    assert_eq!(redis.get("a").await.unwrap(), Some(text("old")));
    assert_eq!(redis.set_many(&entries("new"), None).await.unwrap(), [0usize; 0]);
    assert_eq!(redis.get("b").await.unwrap(), Some(text("new")));
}

#[tokio::test(flavor = "multi_thread")]
async fn closed_it_opens_again() {
    let server = real::Redis::start();
    let redis = open(&server.url());
    redis.set("k", text("v"), None).await.unwrap();
    redis.close().await.unwrap();
    let connected = || {
        let clients: String = redis::from_redis_value(raw(&server, &["CLIENT", "LIST", "TYPE", "normal"])).unwrap();
        clients.lines().count()
    };
    until("only the asker is connected", async || (connected() == 1).then_some(())).await;
    assert_eq!(redis.get("k").await.unwrap(), Some(text("v")));
}

#[tokio::test]
async fn the_clock_of_the_layers_above_may_be_another() {
    let hands = larder::ManualClock::at(larder::Timestamp::from_secs(5));
    let redis = builder("redis://127.0.0.1:1").clock(hands.clock()).build().unwrap();
    assert_eq!(redis.clock().now(), larder::Timestamp::from_secs(5));
}

//! Replicas that are read from, and sentinels that say who leads.

use std::time::Duration;

use larder::backend::{Backend, Redis};

use super::{builder, holds, open, raw, raw_bytes, raw_number, real, text, until};

/// A replica that has caught up with its leader.
fn replica_of(leader: &real::Redis) -> real::Redis {
    let address = leader.socket_address();
    let replica = real::Redis::with(&[
        "--replicaof",
        &format!("{} {}", address.ip(), address.port()),
        "--repl-diskless-sync-delay",
        "0",
        // The sentinels would learn the address that connections come from, which is not the one it listens on.
        "--replica-announce-ip",
        &address.ip().to_string(),
    ]);
    let end = std::time::Instant::now() + Duration::from_secs(120);
    while !has_caught_up(&replica) {
        assert!(std::time::Instant::now() < end, "the replica does not find its leader");
        std::thread::sleep(Duration::from_millis(20));
    }
    replica
}

fn has_caught_up(replica: &real::Redis) -> bool {
    let info: String = redis::from_redis_value(raw(replica, &["INFO", "replication"])).unwrap();
    info.contains("master_link_status:up")
}

fn reads_of(server: &real::Redis) -> i64 {
    let info: String = redis::from_redis_value(raw(server, &["INFO", "commandstats"])).unwrap();
    let gets = info.lines().find_map(|line| line.strip_prefix("cmdstat_get:calls="));
    gets.and_then(|rest| rest.split(',').next()?.parse().ok()).unwrap_or(0)
}

fn all_of(leader: &real::Redis, replicas: &[&real::Redis]) -> String {
    let others: Vec<String> = replicas.iter().map(|replica| replica.socket_address().to_string()).collect();
    format!("redis://{},{}", leader.socket_address(), others.join(","))
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_go_to_the_replicas_in_turn_when_asked_for() {
    let leader = real::Redis::start();
    let (first, second) = (replica_of(&leader), replica_of(&leader));
    let url = all_of(&leader, &[&first, &second]);

    let plain = open(&url);
    plain.set("k", text("v"), None).await.unwrap();
    assert_eq!(plain.get("k").await.unwrap(), Some(text("v")));
    assert_eq!((reads_of(&leader), reads_of(&first), reads_of(&second)), (1, 0, 0));

    let reader = open(&format!("{url}?read_from_replicas"));
    for replica in [&first, &second] {
        until("the replica has it", async || raw_bytes(replica, "k")).await;
    }
    let before = (reads_of(&first), reads_of(&second));
    for _ in 0..10 {
        assert_eq!(reader.get("k").await.unwrap(), Some(text("v")));
    }
    assert_eq!((reads_of(&first), reads_of(&second)), (before.0 + 5, before.1 + 5));
    // A key that holds none of our values is no failure of who says so.
    raw(&leader, &["RPUSH", "list", "x"]);
    for replica in [&first, &second] {
        until("the replica has the list", async || (raw_number(replica, &["EXISTS", "list"]) == 1).then_some(())).await;
    }
    let before = reads_of(&leader);
    for _ in 0..4 {
        assert_eq!(reader.get("list").await.unwrap(), None);
        assert_eq!(reader.get("k").await.unwrap(), Some(text("v")));
    }
    assert_eq!(reads_of(&leader), before);
    // Counting reads and writes, and it does so on the leader.
    reader.set("n", super::integer(1), None).await.unwrap();
    assert_eq!(reader.incr("n", 1).await.unwrap(), Some(2));
    assert!(!reader.add("n", text("late"), None).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_answers_where_the_replicas_do_not() {
    let leader = real::Redis::start();
    let replica = replica_of(&leader);
    let reader = open(&format!("{}?read_from_replicas=yes", all_of(&leader, &[&replica])));
    reader.set("k", text("v"), None).await.unwrap();
    until("the replica has it", async || holds(&reader, "k", Some(text("v"))).await.then_some(())).await;
    replica.stop();
    for _ in 0..5 {
        assert_eq!(reader.get("k").await.unwrap(), Some(text("v")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_hangs_is_left_alone_after_a_few_calls() {
    let leader = real::Redis::start();
    let replica = replica_of(&leader);
    let reader = open(&format!("{}?read_from_replicas", all_of(&leader, &[&replica])));
    reader.set("k", text("v"), None).await.unwrap();
    until("the replica has it", async || holds(&reader, "k", Some(text("v"))).await.then_some(())).await;
    replica.pause();
    // Callers that do not wait long, as those of a cache.
    until("the leader is asked", async || {
        let answer = tokio::time::timeout(Duration::from_millis(100), reader.get("k")).await;
        answer.ok().map(|answer| assert_eq!(answer.unwrap(), Some(text("v"))))
    })
    .await;
    replica.resume();
}

/// A sentinel that watches a leader and its replicas.
fn sentinel_over(leader: &real::Redis) -> real::Redis {
    let address = leader.socket_address();
    let sentinel = real::Redis::sentinel(&format!(
        "sentinel monitor mymaster {} {} 1\nsentinel down-after-milliseconds mymaster 1000\n\
         sentinel failover-timeout mymaster 5000\n",
        address.ip(),
        address.port()
    ));
    let end = std::time::Instant::now() + Duration::from_secs(120);
    while raw_list_length(&sentinel, &["SENTINEL", "REPLICAS", "mymaster"]) == 0 {
        assert!(std::time::Instant::now() < end, "the sentinel does not find the replica");
        std::thread::sleep(Duration::from_millis(50));
    }
    sentinel
}

fn raw_list_length(server: &real::Redis, command: &[&str]) -> usize {
    match raw(server, command) {
        redis::Value::Array(list) => list.len(),
        _ => 0,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sentinels_say_who_leads_and_who_leads_next() {
    let leader = real::Redis::start();
    let replica = replica_of(&leader);
    let sentinel = sentinel_over(&leader);
    let url = format!("redis+sentinel://{}/mymaster/0", sentinel.socket_address());
    let redis: Redis = builder(&url).build().unwrap();
    redis.set("k", text("v"), None).await.unwrap();
    assert!(raw_bytes(&leader, "k").is_some());
    until("the replica has it", async || raw_bytes(&replica, "k")).await;

    leader.stop();
    until("the replica leads", async || redis.set("k", text("w"), None).await.ok()).await;
    assert_eq!(redis.get("k").await.unwrap(), Some(text("w")));
    let info: String = redis::from_redis_value(raw(&replica, &["INFO", "replication"])).unwrap();
    assert!(info.contains("role:master"), "{info}");
    assert_eq!(raw_number(&replica, &["EXISTS", "k"]), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_the_sentinels_do_not_know_is_a_clear_error() {
    let leader = real::Redis::start();
    let replica = replica_of(&leader);
    let sentinel = sentinel_over(&leader);
    let redis = open(&format!("redis+sentinel://{}/nobody", sentinel.socket_address()));
    let error = redis.get("k").await.unwrap_err().to_string();
    assert!(error.contains("redis") && error.to_lowercase().contains("not found in sentinel"), "{error}");
    drop(replica);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_demoted_is_left_for_the_new_one() {
    let old = real::Redis::start();
    let replica = replica_of(&old);
    let sentinel = sentinel_over(&old);
    let redis = open(&format!("redis+sentinel://{}/mymaster", sentinel.socket_address()));
    redis.set("k", text("v"), None).await.unwrap();
    until("the replica has it", async || raw_bytes(&replica, "k")).await;
    // It wants to have heard from the replica first.
    let failover = ["SENTINEL", "FAILOVER", "mymaster"];
    until("the sentinel begins", async || super::try_raw(&sentinel, &failover).ok()).await;
    // Both stay up, and the old one takes no more writes: nothing but READONLY tells.
    until("the old leader follows", async || {
        let info: String = redis::from_redis_value(raw(&old, &["INFO", "replication"])).unwrap();
        info.contains("role:slave").then_some(())
    })
    .await;
    until("writes go to the new one", async || redis.set("k", text("w"), None).await.ok()).await;
    assert!(raw_bytes(&replica, "k").is_some_and(|bytes| bytes.ends_with(b"w")));
}

//! A cluster of three servers: keys of every server, in bulk and one by one.

use std::time::Duration;

use larder::backend::{Backend, Stored, flags};

use super::{builder, open, raw, raw_number, real, text};

pub struct Cluster {
    pub servers: Vec<real::Redis>,
}

impl Cluster {
    pub fn start() -> Self {
        // The servers would learn the address that connections come from, which is not the one they listen on.
        let host = real::own_host().to_string();
        let arguments = ["--cluster-enabled", "yes", "--cluster-node-timeout", "30000", "--cluster-announce-ip", &host];
        let servers: Vec<_> = (0..3).map(|_| real::Redis::with(&arguments)).collect();
        let share = 16384 / 3;
        for (number, server) in servers.iter().enumerate() {
            let (first, last) = (number * share, if number == 2 { 16383 } else { (number + 1) * share - 1 });
            raw(server, &["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]);
            raw(server, &["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()]);
        }
        for server in &servers[1..] {
            let address = server.socket_address();
            raw(&servers[0], &["CLUSTER", "MEET", &address.ip().to_string(), &address.port().to_string()]);
        }
        let end = std::time::Instant::now() + Duration::from_secs(120);
        while !servers.iter().all(Self::is_whole) {
            assert!(std::time::Instant::now() < end, "the cluster does not come together");
            std::thread::sleep(Duration::from_millis(50));
        }
        Cluster { servers }
    }

    fn is_whole(server: &real::Redis) -> bool {
        let info: String = redis::from_redis_value(raw(server, &["CLUSTER", "INFO"])).unwrap();
        info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3") && info.contains("cluster_size:3")
    }

    pub fn url(&self) -> String {
        let hosts: Vec<String> = self.servers.iter().map(|server| server.socket_address().to_string()).collect();
        format!("redis+cluster://{}", hosts.join(","))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_every_server_are_found_in_bulk_and_cleared_by_prefix() {
    let cluster = Cluster::start();
    // One host will do to find the others.
    let redis = open(&format!("redis+cluster://{}", cluster.servers[1].socket_address()));
    let entries: Vec<(String, Stored)> = (0..300)
        .map(|number| (format!("blog:1:{number}"), Stored { data: number.to_string().into(), flags: flags::TEXT }))
        .collect();
    let keys: Vec<String> = entries.iter().map(|(key, _)| key.clone()).collect();
    assert_eq!(redis.set_many(&entries, Some(Duration::from_secs(600))).await.unwrap(), Vec::<usize>::new());
    for server in &cluster.servers {
        assert!(raw_number(server, &["DBSIZE"]) > 50, "every server has a part of the keys");
    }
    let found = redis.get_many(&keys).await.unwrap();
    assert_eq!(found, entries.iter().map(|(_, value)| Some(value.clone())).collect::<Vec<_>>());
    redis.delete_many(&keys[..100]).await.unwrap();
    assert_eq!(redis.get_many(&keys).await.unwrap().iter().flatten().count(), 200);

    redis.set("shop:1:a", text("stays"), None).await.unwrap();
    redis.clear("blog:").await.unwrap();
    assert_eq!(redis.get_many(&keys).await.unwrap().iter().flatten().count(), 0);
    assert_eq!(redis.get("shop:1:a").await.unwrap(), Some(text("stays")));
    redis.clear("").await.unwrap();
    assert!(cluster.servers.iter().all(|server| raw_number(server, &["DBSIZE"]) == 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_the_cluster_that_restarts_is_found_again() {
    let cluster = Cluster::start();
    let redis = builder(&cluster.url()).build().unwrap();
    let keys: Vec<String> = (0..30).map(|number| format!(":1:{number}")).collect();
    for key in &keys {
        redis.set(key, text("v"), None).await.unwrap();
    }
    cluster.servers[0].restart();
    super::until("every key can be written again", async || {
        for key in &keys {
            redis.set(key, text("w"), None).await.ok()?;
        }
        Some(())
    })
    .await;
    assert_eq!(redis.get_many(&keys).await.unwrap().iter().flatten().count(), 30);
}

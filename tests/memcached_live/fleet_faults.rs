//! A fleet with a server that is down: its keys fail and name it, or move on; the other servers' keys never notice.

use std::time::Duration;

use bytes::Bytes;
use larder::memcached::{Client, Distribution, Expiry, WhenDown};

use super::real::Memcached;
use super::{PATIENCE, healed, is_server_trouble};

const NEVER: Expiry = Expiry::Never;

fn client(servers: &[Memcached], when_down: WhenDown, distribution: Distribution) -> Client {
    let addresses = servers.iter().map(Memcached::address);
    let builder = Client::builder().servers(addresses).when_down(when_down).distribution(distribution);
    builder.connect_timeout(Duration::from_secs(5)).timeout(Duration::from_secs(5)).build().unwrap()
}

fn keys() -> Vec<String> {
    (0..300).map(|number| format!("key:{number}")).collect()
}

async fn fill(client: &Client) {
    let entries: Vec<(String, Bytes, u32)> = keys().into_iter().map(|key| (key.clone(), key.into(), 0)).collect();
    for outcome in client.set_many(&entries, NEVER).await.unwrap() {
        outcome.unwrap();
    }
}

#[tokio::test]
async fn keys_of_a_server_that_is_down_fail_and_name_it() {
    let servers = [Memcached::start(), Memcached::start(), Memcached::start()];
    let client = client(&servers, WhenDown::Fail, Distribution::Rendezvous);
    fill(&client).await;
    let gone = servers[1].address();
    servers[1].stop();
    let (lost, kept): (Vec<String>, Vec<String>) =
        keys().into_iter().partition(|key| client.server_of(key).unwrap().name() == gone);
    assert!(lost.len() > 50 && kept.len() > 100, "{} {}", lost.len(), kept.len());
    for key in &lost {
        for error in [
            client.get(key).await.unwrap_err(),
            client.set(key, "x", 0, NEVER).await.unwrap_err(),
            client.delete(key).await.unwrap_err(),
        ] {
            assert!(is_server_trouble(&error) && error.to_string().contains(&gone), "{error}");
        }
    }
    for key in &kept {
        assert_eq!(client.get(key).await.unwrap().unwrap().data, *key);
    }
    assert!(client.get_many(&kept).await.unwrap().iter().all(Option::is_some));
    let error = client.get_many(&keys()).await.unwrap_err();
    assert!(is_server_trouble(&error) && error.to_string().contains(&gone), "{error}");
    let entries: Vec<(String, Bytes, u32)> = keys().into_iter().map(|key| (key.clone(), key.into(), 0)).collect();
    let outcomes = client.set_many(&entries, NEVER).await.unwrap();
    for ((key, ..), outcome) in entries.iter().zip(outcomes) {
        assert_eq!(outcome.is_err(), lost.contains(key), "{key}");
    }
    let down: Vec<&str> = client.servers().filter(|server| server.is_down()).map(|server| server.name()).collect();
    assert_eq!(down, [gone.as_str()]);

    servers[1].start_again();
    healed(|| client.set(&lost[0], lost[0].clone(), 0, NEVER)).await;
    fill(&client).await;
    assert!(client.get_many(&keys()).await.unwrap().iter().all(Option::is_some));
}

#[tokio::test]
async fn keys_of_a_server_that_is_down_move_on_where_that_is_asked_for() {
    for distribution in Distribution::ALL {
        let servers = [Memcached::start(), Memcached::start(), Memcached::start()];
        let client = client(&servers, WhenDown::NextServer, distribution);
        fill(&client).await;
        let gone = servers[2].address();
        servers[2].stop();
        let lost: Vec<String> =
            keys().into_iter().filter(|key| client.server_of(key).unwrap().name() == gone).collect();
        assert!(lost.len() > 20, "{distribution:?}: {}", lost.len());
        // The first calls may be lost with the server; then its keys live elsewhere, at first as misses.
        assert_eq!(healed(|| client.get(&lost[0])).await, None);
        let deadline = tokio::time::Instant::now() + PATIENCE;
        // A probe of the server that is down may fail one call now and then.
        while client.get_many(&keys()).await.is_err() {
            assert!(tokio::time::Instant::now() < deadline, "{distribution:?}: its keys do not move on");
        }
        for key in &lost {
            healed(|| client.set(key, key.clone(), 0, NEVER)).await;
            assert_eq!(healed(|| client.get(key)).await.expect("it moved on").data, *key, "{distribution:?}");
        }
        for key in keys() {
            assert_eq!(healed(|| client.get(&key)).await.expect("it is somewhere").data, key, "{distribution:?}");
        }
        // Back at home, the server is empty: what stood in for it is not asked any more.
        servers[2].start_again();
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while client.servers().any(|server| server.is_down()) {
            let _ = client.get(&lost[0]).await;
            assert!(tokio::time::Instant::now() < deadline, "{distribution:?}: it does not come back");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        healed(|| client.set(&lost[0], "home", 0, NEVER)).await;
        assert_eq!(servers[2].stat("curr_items"), 1, "{distribution:?}");
        assert_eq!(client.get(&lost[1]).await.unwrap(), None, "{distribution:?}");
    }
}

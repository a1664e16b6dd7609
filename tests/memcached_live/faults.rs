//! Servers and networks that fail: restarted under load, stopped, half-open, cut off in the middle of an answer.
//! Errors are typed and come in time, nothing hangs, no failure looks like a miss, and the client heals by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use larder::memcached::{Client, ClientBuilder, Error, Expiry};

use super::real::{Dice, Fault, Memcached, Proxy, next_address};
use super::{healed, is_server_trouble, patient};

const NEVER: Expiry = Expiry::Never;

/// The deadline of these clients for connecting and for each operation.
const DEADLINE: Duration = Duration::from_millis(500);

/// Within this an operation must have ended: connecting, asking, once more after a connection broke, and a busy machine.
const NO_HANG: Duration = Duration::from_secs(20);

fn impatient(address: impl Into<String>) -> ClientBuilder {
    Client::builder().server(address).connect_timeout(DEADLINE).timeout(DEADLINE)
}

/// Waits for an operation, which must not hang, and whose error must be that of a failing server.
async fn in_time<T>(operation: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let outcome = tokio::time::timeout(NO_HANG, operation).await.expect("an operation hangs");
    if let Err(error) = &outcome {
        assert!(is_server_trouble(error), "{error:?}");
        assert!(error.to_string().contains("127."), "the error names no server: {error}");
    }
    outcome
}

/// Keys with values that say so, set by a client that waits.
async fn fill(address: String, count: usize) -> Vec<String> {
    let client = patient(address).build().unwrap();
    let keys: Vec<String> = (0..count).map(|number| format!("key:{number}")).collect();
    for key in &keys {
        client.set(key, key.clone(), 0, NEVER).await.unwrap();
    }
    keys
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_may_be_restarted_in_the_middle_of_load() {
    let server = Memcached::start();
    let client = impatient(server.address()).build().unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let (answered, failed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let tasks: Vec<_> = (0..16)
        .map(|task| {
            let (client, is_over) = (client.clone(), Arc::clone(&is_over));
            let (answered, failed) = (Arc::clone(&answered), Arc::clone(&failed));
            tokio::spawn(async move {
                let dice = Dice::seeded(task);
                while !is_over.load(Ordering::Relaxed) {
                    let key = format!("key:{}", dice.within(0..50));
                    let outcome = match dice.within(0..4) {
                        0 => in_time(client.set(&key, key.clone(), 0, NEVER)).await,
                        1 => in_time(client.get_many(&[&key, &key])).await.map(|values| {
                            values.iter().flatten().for_each(|value| assert_eq!(value.data, key));
                        }),
                        _ => in_time(client.get(&key)).await.map(|value| {
                            value.iter().for_each(|value| assert_eq!(value.data, key));
                        }),
                    };
                    if outcome.is_err() {
                        failed.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    } else {
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        tokio::task::block_in_place(|| server.stop());
        tokio::time::sleep(Duration::from_millis(100)).await;
        tokio::task::block_in_place(|| server.start_again());
        let before = answered.load(Ordering::Relaxed);
        healed(|| client.set("healed", "yes", 0, NEVER)).await;
        healed(|| async {
            tokio::task::yield_now().await;
            assert!(client.get("healed").await?.is_some(), "what was stored after the restart is there");
            Ok(())
        })
        .await;
        while answered.load(Ordering::Relaxed) < before + 100 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    is_over.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    assert!(failed.load(Ordering::Relaxed) > 0, "the load did not notice that the server was gone");
}

/// What was idle while the server was restarted loses no request, not even one that must not be sent twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_client_does_not_notice_a_restart() {
    let server = Memcached::start();
    let client = patient(server.address()).build().unwrap();
    for round in 0..10 {
        client.set("counter", "5", 0, NEVER).await.unwrap();
        client.set("large", vec![b'x'; 100_000], 0, NEVER).await.unwrap();
        assert!(client.get("large").await.unwrap().is_some());
        tokio::task::block_in_place(|| server.restart());
        // The system has told of the closed connections by now; a runtime that was busy gets to hear it.
        tokio::time::sleep(Duration::from_millis(50)).await;
        match round % 5 {
            0 => assert_eq!(client.get("counter").await.unwrap(), None),
            1 => assert_eq!(client.incr("counter", 1).await.unwrap(), None),
            2 => assert!(client.add("counter", "6", 0, NEVER).await.unwrap()),
            3 => assert_eq!(client.get_many(&["counter", "large"]).await.unwrap(), [None, None]),
            _ => client.set("large", vec![b'y'; 100_000], 0, NEVER).await.unwrap(),
        }
    }
}

#[tokio::test]
async fn a_stopped_process_costs_a_deadline_and_no_value() {
    let server = Memcached::start();
    let keys = fill(server.address(), 200).await;
    let client = impatient(server.address()).build().unwrap();
    healed(|| client.get("key:1")).await;
    server.pause();
    let stopped = Instant::now();
    let mut rounds = 0;
    while stopped.elapsed() < Duration::from_secs(2) {
        let asked = Instant::now();
        let (value, values, set) = tokio::join!(
            in_time(client.get("key:1")),
            in_time(client.get_many(&keys)),
            in_time(client.set("key:2", "key:2", 0, NEVER)),
        );
        assert!(value.is_err() && values.is_err() && set.is_err(), "{value:?} {set:?}");
        // One deadline for asking and one for connecting again, on a machine that may be busy.
        assert!(asked.elapsed() < 2 * DEADLINE + Duration::from_secs(5), "{:?}", asked.elapsed());
        rounds += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // A server that is known to be down costs no deadline at all.
    assert!(rounds > 4, "{rounds} rounds in two seconds");
    server.resume();
    let values = healed(|| client.get_many(&keys)).await;
    for (key, value) in keys.iter().zip(values) {
        assert_eq!(value.expect("nothing was lost").data, *key);
    }
}

#[tokio::test]
async fn a_network_that_passes_nothing_on_costs_a_deadline_and_no_value() {
    let server = Memcached::start();
    let keys = fill(server.address(), 50).await;
    let proxy = Proxy::to(server.socket_address()).await;
    let client = impatient(proxy.address()).build().unwrap();
    healed(|| client.get("key:1")).await;
    for _ in 0..3 {
        proxy.set(Fault::Silence);
        for key in keys.iter().take(5) {
            assert!(in_time(client.get(key)).await.is_err());
        }
        proxy.set(Fault::None);
        let values = healed(|| client.get_many(&keys)).await;
        assert!(keys.iter().zip(values).all(|(key, value)| value.is_some_and(|value| value.data == *key)));
    }
}

/// As when a router forgot the connection: nobody closes it, and new ones work.
#[tokio::test]
async fn a_half_open_connection_is_replaced() {
    let server = Memcached::start();
    let keys = fill(server.address(), 50).await;
    let proxy = Proxy::to(server.socket_address()).await;
    let client = impatient(proxy.address()).build().unwrap();
    for round in 1..=4 {
        let values = healed(|| client.get_many(&keys)).await;
        assert!(keys.iter().zip(values).all(|(key, value)| value.is_some_and(|value| value.data == *key)));
        let opened = proxy.opened();
        proxy.forsake();
        if round % 2 == 0 {
            // Several wait on it at once.
            let (a, b, c) = tokio::join!(
                in_time(client.get("key:1")),
                in_time(client.get("key:2")),
                in_time(client.set("key:3", "key:3", 0, NEVER))
            );
            for (value, key) in [(a, "key:1"), (b, "key:2")] {
                assert!(value.is_err() || value.is_ok_and(|value| value.is_some_and(|value| value.data == key)));
            }
            let _ = c;
        }
        assert_eq!(healed(|| client.get("key:7")).await.unwrap().data, "key:7");
        assert!(proxy.opened() > opened, "no new connection was opened");
    }
}

/// Every place in the answer to a get: an end of file is an error, never a miss, never half a value.
#[tokio::test]
async fn an_answer_that_ends_early_is_an_error_wherever_it_ends() {
    let server = Memcached::start();
    let keys = fill(server.address(), 3).await;
    let proxy = Proxy::to(server.socket_address()).await;
    let mut whole = 0;
    for bytes in 0..90 {
        proxy.set(Fault::CloseAfter(bytes));
        let client = patient(proxy.address()).build().unwrap();
        match in_time(client.get("key:1")).await {
            Ok(value) => {
                assert_eq!(value.expect("the end of a connection is no miss").data, "key:1");
                whole += 1;
            }
            Err(error) => assert!(matches!(error, Error::Connection { .. } | Error::Down { .. }), "{error:?}"),
        }
        let client = patient(proxy.address()).build().unwrap();
        if let Ok(values) = in_time(client.get_many(&keys)).await {
            assert!(
                keys.iter().zip(values).all(|(key, value)| value.is_some_and(|value| value.data == *key)),
                "{bytes}"
            );
        }
        let client = patient(proxy.address()).build().unwrap();
        if let Ok(counted) = in_time(client.incr("missing", 1)).await {
            assert_eq!(counted, None, "{bytes}");
        }
    }
    // The whole answer has 4 bytes of greeting, and about 20 of value.
    assert!((40..80).contains(&whole), "{whole} answers were whole");
}

#[tokio::test]
async fn a_large_value_that_ends_early_or_stalls_is_an_error() {
    let server = Memcached::start();
    let value = vec![b'v'; 500_000];
    patient(server.address()).build().unwrap().set("large", value.clone(), 0, NEVER).await.unwrap();
    let proxy = Proxy::to(server.socket_address()).await;
    let client = impatient(proxy.address()).build().unwrap();
    for bytes in [5, 100, 16_384, 65_536, 65_537, 250_000, 499_999, 500_010] {
        for fault in [Fault::CloseAfter(bytes), Fault::StallAfter(bytes)] {
            proxy.set(fault);
            proxy.cut();
            assert!(in_time(client.get("large")).await.is_err(), "{bytes}");
            proxy.set(Fault::None);
            assert!(healed(|| client.get("large")).await.expect("it is there").data == value, "{bytes}");
        }
    }
}

/// A write whose answer is lost is an error: it happened or did not, and what is read afterwards is one of the two.
#[tokio::test]
async fn a_write_whose_answer_is_lost_is_an_error_and_never_sent_twice() {
    let server = Memcached::start();
    let plain = patient(server.address()).build().unwrap();
    let proxy = Proxy::to(server.socket_address()).await;
    let mut lost = 0;
    for round in 0..20_u64 {
        plain.set("counter", "100", 0, NEVER).await.unwrap();
        let client = patient(proxy.address()).build().unwrap();
        proxy.set(Fault::None);
        client.get("warm").await.unwrap();
        // Half of them lose the answer, half the connection before the question.
        proxy.set(if round % 2 == 0 { Fault::CloseAfter(0) } else { Fault::Close });
        match in_time(client.incr("counter", 1)).await {
            Ok(counted) => assert_eq!(counted, Some(101)),
            Err(_) => lost += 1,
        }
        let counted = plain.incr("counter", 0).await.unwrap().unwrap();
        assert!(counted <= 101, "it was sent twice: {counted}");
    }
    assert_eq!(lost, 20);
}

#[tokio::test]
async fn a_server_that_was_never_there_is_found_when_it_comes() {
    let address = next_address();
    let client = impatient(address.to_string()).build().unwrap();
    let mut last = None;
    for _ in 0..20 {
        let start = Instant::now();
        let error = in_time(client.get("a")).await.unwrap_err();
        assert!(
            error.to_string().contains(&address.to_string()) && start.elapsed() < DEADLINE + Duration::from_secs(5)
        );
        last = Some(error);
    }
    // After some failures nobody is kept waiting any more, and the error says why.
    let Some(Error::Down { cause, .. }) = last else { panic!("{last:?}") };
    assert!(matches!(*cause, Error::Connection { .. }), "{cause:?}");
    assert!(client.servers().all(|server| server.is_down()));
    // memcached comes up at that very address.
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let server = Memcached::start();
    let passing = tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut server = tokio::net::TcpStream::connect(server.socket_address()).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut client, &mut server).await });
        }
    });
    healed(|| client.set("a", "1", 0, NEVER)).await;
    assert!(client.get("a").await.unwrap().is_some() && client.servers().all(|server| !server.is_down()));
    passing.abort();
}

/// A slow answer is a timeout for its caller alone: it comes later, is thrown away, and the next caller gets its own.
#[tokio::test]
async fn a_late_answer_reaches_nobody() {
    let server = Memcached::start();
    let keys = fill(server.address(), 40).await;
    let proxy = Proxy::to(server.socket_address()).await;
    let client = Client::builder()
        .server(proxy.address())
        .connect_timeout(NO_HANG)
        .read_timeout(Duration::from_millis(100))
        .write_timeout(NO_HANG)
        .build()
        .unwrap();
    client.get("warm").await.unwrap();
    let mut late = 0;
    for pair in keys.chunks(2) {
        proxy.set(Fault::Silence);
        if in_time(client.get(&pair[0])).await.is_err() {
            late += 1;
        }
        proxy.set(Fault::None);
        let value = healed(|| client.get(&pair[1])).await;
        assert_eq!(value.expect("it is there").data, pair[1]);
    }
    assert!(late > 0);
}

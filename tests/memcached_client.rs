//! The memcached client by its public operations, against real servers of every kind.
#![allow(missing_docs)]

mod real;

use std::time::{Duration, Instant};

use bytes::Bytes;
use larder::memcached::{CasOutcome, Client, ClientBuilder, Error, Expiry, Tls, WhenDown};
use real::{Fault, Memcached, Proxy};

/// Patient: the machine may be busy, and these tests are not about time.
fn patient(address: &str) -> ClientBuilder {
    Client::builder().server(address).timeout(Duration::from_secs(20)).connect_timeout(Duration::from_secs(20))
}

async fn text(client: &Client, key: &str) -> Option<String> {
    let value = client.get(key).await.unwrap();
    value.map(|value| String::from_utf8(value.data.to_vec()).unwrap())
}

/// Every operation once, and what it answers when there is nothing, or something else.
async fn every_operation(client: &Client) -> Result<(), Error> {
    let (minute, never) = (Expiry::In(Duration::from_secs(60)), Expiry::Never);
    assert_eq!(client.get("a").await?, None);
    client.set("a", "hello", 16, minute).await?;
    let value = client.get_with_cas("a").await?.unwrap();
    assert_eq!((&value.data[..], value.flags), (&b"hello"[..], 16));
    let cas = value.cas.unwrap();
    assert_eq!(client.cas("a", "other", 0, never, cas.wrapping_add(1)).await?, CasOutcome::Changed);
    assert_eq!(client.cas("a", "world", !8, minute, cas).await?, CasOutcome::Stored);
    assert_eq!(client.cas("none", "world", 0, never, cas).await?, CasOutcome::Missing);

    assert!(client.append("a", "!").await? && client.prepend("a", ">").await?);
    assert!(!client.append("none", "!").await? && !client.prepend("none", ">").await?);
    let value = client.get("a").await?.unwrap();
    assert_eq!((&value.data[..], value.flags), (&b">world!"[..], !8));

    assert!(client.add("new", "1", 0, never).await? && !client.add("new", "2", 0, never).await?);
    assert!(client.replace("new", "10", 0, never).await? && !client.replace("none", "1", 0, never).await?);
    assert_eq!((client.incr("new", 5).await?, client.decr("new", 7).await?), (Some(15), Some(8)));
    assert_eq!((client.decr("new", 100).await?, client.incr("none", 1).await?), (Some(0), None));
    client.set("new", u64::MAX.to_string(), 0, never).await?;
    assert_eq!(client.incr("new", 3).await?, Some(2));
    let error = client.incr("a", 1).await.unwrap_err();
    assert!(matches!(&error, Error::NotANumber { key } if key == "a"), "{error}");

    assert!(client.touch("a", minute).await? && !client.touch("none", minute).await?);
    assert!(client.get_and_touch("a", minute).await?.is_some() && client.get_and_touch("none", never).await?.is_none());
    assert!(client.touch("a", Expiry::In(Duration::ZERO)).await?);
    assert_eq!(client.get("a").await?, None);
    client.set("gone", "x", 0, Expiry::At(std::time::UNIX_EPOCH)).await?;
    assert_eq!(client.get("gone").await?, None);
    client.set("far", "x", 0, Expiry::In(Duration::from_secs(40 * 86_400))).await?;
    assert_eq!(text(client, "far").await.as_deref(), Some("x"));

    client.set("empty", "", 0, never).await?;
    let found = client.get_many(&["empty", "none", "far", "empty"]).await?;
    let found: Vec<Option<&[u8]>> = found.iter().map(|value| value.as_ref().map(|value| &value.data[..])).collect();
    assert_eq!(found, [Some(&b""[..]), None, Some(b"x"), Some(b"")]);
    assert_eq!(client.get_many::<&str>(&[]).await?, []);
    assert_eq!(client.delete_many(&["far", "none", "empty"]).await?, [true, false, true]);
    assert!(client.delete("new").await? && !client.delete("new").await?);
    every_size(client).await
}

/// Values of every size up to the limit, and many keys at once.
async fn every_size(client: &Client) -> Result<(), Error> {
    for size in [1, 100, 4_000, 16_384, 65_536, 1_000_000] {
        let data: Vec<u8> = (0..size).map(|position: u32| (position % 251) as u8).collect();
        client.set("sized", data.clone(), 0, Expiry::Never).await?;
        assert!(client.get("sized").await?.unwrap().data == data, "{size}");
        assert!(client.get_many(&["none", "sized"]).await?[1].as_ref().unwrap().data == data, "{size}");
    }
    let keys: Vec<String> = (0..3000).map(|number| format!("{number:0>20}")).collect();
    let entries: Vec<(&String, Bytes, u32)> =
        keys.iter().enumerate().map(|(number, key)| (key, Bytes::from(key.clone()), number as u32 & !8)).collect();
    for outcome in client.set_many(&entries, Expiry::Never).await? {
        outcome?;
    }
    for ((key, _, flags), value) in entries.iter().zip(client.get_many(&keys).await?) {
        let value = value.unwrap();
        assert_eq!((&value.data[..], value.flags), (key.as_bytes(), *flags));
    }
    Ok(())
}

#[tokio::test]
async fn every_operation_over_tcp() {
    let server = Memcached::start();
    every_operation(&patient(&server.address()).build().unwrap()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_over_a_unix_socket_and_many_threads() {
    let server = Memcached::with(&[]).unix_socket().start();
    every_operation(&patient(&server.address()).build().unwrap()).await.unwrap();
}

#[tokio::test]
async fn every_operation_over_tls() {
    let server = Memcached::with(&[]).tls().start();
    let authority = std::fs::read(&server.certificates().authority).unwrap();
    let tls = Tls::new().without_system_authorities().certificate_authority(authority);
    every_operation(&patient(&server.address()).tls(tls).build().unwrap()).await.unwrap();
}

/// memcached forgets what stands behind a value in one TLS record; so no record may hold it.
#[tokio::test]
async fn values_of_every_length_side_by_side_over_tls() {
    let server = Memcached::with(&[]).tls().start();
    let authority = std::fs::read(&server.certificates().authority).unwrap();
    let tls = Tls::new().without_system_authorities().certificate_authority(authority);
    let client = patient(&server.address()).tls(tls).build().unwrap();
    for round in 0..20usize {
        let length = |number: usize| (number * 37 + round * 1009) % 300 + if number % 50 == 7 { 12_000 } else { 0 };
        let entries: Vec<(String, Bytes, u32)> =
            (0..300).map(|number| (format!("key:{number}"), Bytes::from(vec![b'x'; length(number)]), 0)).collect();
        for outcome in client.set_many(&entries, Expiry::Never).await.unwrap() {
            outcome.unwrap();
        }
        let keys: Vec<String> = (0..1200).map(|number| format!("{number:0>30}")).collect();
        assert_eq!(client.get_many(&keys).await.unwrap().len(), keys.len());
        let found = client.get_many(&entries.iter().map(|(key, ..)| key).collect::<Vec<_>>()).await.unwrap();
        assert!(found.iter().zip(&entries).all(|(found, (_, data, _))| found.as_ref().unwrap().data == data));
    }
}

#[tokio::test]
async fn every_operation_after_a_login_in_text() {
    let server = Memcached::with(&[]).ascii_auth("larder", "s3cret").start();
    every_operation(&patient(&server.address()).auth("larder", "s3cret").build().unwrap()).await.unwrap();
}

#[tokio::test]
async fn every_operation_in_the_binary_protocol_after_a_login_by_sasl() {
    let server = Memcached::with(&[]).sasl("larder", "s3cret").start();
    every_operation(&patient(&server.address()).sasl("larder", "s3cret").build().unwrap()).await.unwrap();
}

#[tokio::test]
async fn every_operation_on_a_fleet() {
    let servers = [Memcached::start(), Memcached::start(), Memcached::start()];
    let addresses: Vec<String> = servers.iter().map(Memcached::address).collect();
    let client = patient(&addresses[0]).servers(&addresses[1..]).build().unwrap();
    every_operation(&client).await.unwrap();
    // All of them took part.
    assert!(servers.iter().all(|server| server.stat("curr_items") > 500));
    assert_eq!(client.servers().map(|server| server.name().to_owned()).collect::<Vec<_>>(), addresses);
}

#[tokio::test]
async fn what_is_too_large_is_refused_by_name() {
    let server = Memcached::start();
    let client = patient(&server.address()).build().unwrap();
    client.set("page", "old", 0, Expiry::Never).await.unwrap();
    let over = client.set("page", vec![0; 1024 * 1024 + 1], 0, Expiry::Never).await.unwrap_err();
    assert!(matches!(&over, Error::TooLarge { key, size: 1_048_577, limit: 1_048_576 } if key == "page"), "{over}");
    // Refused before it was sent: what was there is there.
    assert_eq!(text(&client, "page").await.as_deref(), Some("old"));
    // It fits the limit but not with its key: the server refuses it, and has forgotten the old one.
    let full = client.set("page", vec![0; 1024 * 1024], 0, Expiry::Never).await.unwrap_err();
    assert!(matches!(full, Error::TooLarge { .. }), "{full}");
    assert_eq!(client.get("page").await.unwrap(), None);
}

#[tokio::test]
async fn a_silent_restart_costs_nobody_an_error() {
    let server = Memcached::start();
    let client = patient(&server.address()).build().unwrap();
    client.set("large", vec![b'x'; 100_000], 0, Expiry::Never).await.unwrap();
    for round in 0..3 {
        client.set("key", "value", 0, Expiry::Never).await.unwrap();
        assert_eq!(text(&client, "key").await.as_deref(), Some("value"));
        // It holds up the only thread, so that the client cannot hear of it meanwhile.
        server.restart();
        std::thread::sleep(Duration::from_millis(600));
        match round {
            0 => client.set("other", "value", 0, Expiry::Never).await.unwrap(),
            1 => assert_eq!(client.get("key").await.unwrap(), None),
            _ => assert_eq!(client.incr("key", 1).await.unwrap(), None),
        }
        client.set("large", vec![b'x'; 100_000], 0, Expiry::Never).await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_is_down_fails_fast_and_comes_back_by_itself() {
    let server = Memcached::start();
    let client = patient(&server.address()).build().unwrap();
    client.set("key", "value", 0, Expiry::Never).await.unwrap();
    server.stop();
    let mut errors = Vec::new();
    while !matches!(errors.last(), Some(Error::Down { .. })) {
        errors.push(client.get("key").await.unwrap_err());
        assert!(errors.len() < 20, "{errors:?}");
    }
    assert!(errors.iter().all(|error| error.to_string().contains(&server.address())), "{errors:?}");
    assert!(client.servers().all(|server| server.is_down()));
    server.start_again();
    let deadline = Instant::now() + Duration::from_secs(60);
    while client.get("key").await.is_err() {
        assert!(Instant::now() < deadline, "it stays down");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    client.set("key", "value", 0, Expiry::Never).await.unwrap();
    assert!(!client.servers().any(|server| server.is_down()));
}

#[tokio::test]
async fn keys_of_a_server_that_is_down_fail_or_move_as_was_asked() {
    let (here, gone) = (Memcached::start(), Memcached::start());
    let builder = patient(&here.address()).server(gone.address());
    let (strict, moving) = (builder.clone().build().unwrap(), builder.when_down(WhenDown::NextServer).build().unwrap());
    let keys: Vec<String> = (0..200).map(|number| format!("key:{number}")).collect();
    gone.stop();
    for client in [&strict, &moving] {
        for _ in 0..10 {
            let key = keys.iter().find(|key| client.server_of(key).unwrap().name() == gone.address()).unwrap();
            let _trouble = client.get(key).await;
        }
    }
    let error = strict.get_many(&keys).await.unwrap_err();
    assert!(error.to_string().contains(&gone.address()), "{error}");
    for key in &keys {
        moving.set(key, "moved", 0, Expiry::Never).await.unwrap();
        assert_eq!(text(&moving, key).await.as_deref(), Some("moved"));
    }
    assert!(moving.get_many(&keys).await.unwrap().iter().all(Option::is_some));
    assert_eq!(here.stat("curr_items"), 200);
}

#[tokio::test]
async fn a_connection_that_goes_silent_is_given_up_and_replaced() {
    let server = Memcached::start();
    let proxy = Proxy::to(server.socket_address()).await;
    let client = Client::builder()
        .server(proxy.address())
        .connect_timeout(Duration::from_secs(20))
        .timeout(Duration::from_millis(300))
        .build()
        .unwrap();
    // A busy machine may take its time for the first one.
    let deadline = Instant::now() + Duration::from_secs(60);
    while client.set("key", "value", 0, Expiry::Never).await.is_err() {
        assert!(Instant::now() < deadline);
    }
    proxy.set(Fault::StallAfter(0));
    let error = client.get("key").await.unwrap_err();
    assert!(matches!(error, Error::Timeout { operation: "get", .. } | Error::Connection { .. }), "{error}");
    proxy.set(Fault::None);
    let deadline = Instant::now() + Duration::from_secs(60);
    while client.get("key").await.ok().flatten().is_none() {
        assert!(Instant::now() < deadline, "it does not heal");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn garbage_is_an_error_of_the_protocol_and_reaches_nobody() {
    let server = Memcached::start();
    let proxy = Proxy::to(server.socket_address()).await;
    for garbage in ["HTTP/1.1 400 Bad Request\r\n\r\n", "VA 5 f0 O99\r\nhello\r\n", "HD O1\r\n", "\0\0\0\0\0\0\0\0\r\n"]
    {
        let client = patient(&proxy.address()).build().unwrap();
        client.set("key", "value", 0, Expiry::Never).await.unwrap();
        proxy.set(Fault::Speak(garbage.into()));
        let error = client.get("key").await.unwrap_err();
        assert!(matches!(&error, Error::Protocol { .. }), "{garbage:?}: {error}");
        assert!(error.to_string().contains(&proxy.address()), "{error}");
        proxy.set(Fault::None);
        assert_eq!(text(&client, "key").await.as_deref(), Some("value"));
    }
}

#[tokio::test]
async fn what_is_no_memcached_is_found_out_at_the_greeting() {
    let server = Memcached::start();
    let proxy = Proxy::to(server.socket_address()).await;
    proxy.set(Fault::Speak(b"ERROR\r\n".to_vec()));
    let error = patient(&proxy.address()).build().unwrap().get("key").await.unwrap_err();
    assert!(error.to_string().contains("memcached 1.6 or newer"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_go_away_leave_nobody_anothers_value() {
    let server = Memcached::start();
    let proxy = Proxy::to(server.socket_address()).await;
    proxy.set(Fault::Delay(Duration::from_millis(3)));
    let client = patient(&proxy.address()).build().unwrap();
    let tasks: Vec<_> = (0..16)
        .map(|task| {
            let client = client.clone();
            tokio::spawn(async move {
                for round in 0..60u64 {
                    let key = format!("{task}:{}", round % 5);
                    // Some give up early, wherever they are.
                    let patience = Duration::from_micros(if round % 4 == 0 { 500 } else { 60_000_000 });
                    let _given_up =
                        tokio::time::timeout(patience, client.set(&key, key.clone(), 0, Expiry::Never)).await;
                    let found = tokio::time::timeout(patience, client.get(&key)).await;
                    if let Ok(found) = found {
                        assert!(found.unwrap().is_none_or(|value| value.data == key));
                    }
                    if let Ok(found) = tokio::time::timeout(patience, client.get_many(&[&key, "none"])).await {
                        assert!(found.unwrap()[0].as_ref().is_none_or(|value| value.data == key));
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(proxy.opened(), 2, "nobody's going away cost a connection");
}

#[tokio::test]
async fn closing_lets_go_of_connections_and_the_next_call_opens_them_again() {
    let server = Memcached::start();
    let client = patient(&server.address()).build().unwrap();
    client.set("key", "value", 0, Expiry::Never).await.unwrap();
    let before = server.stat("curr_connections");
    client.close().await;
    let deadline = Instant::now() + Duration::from_secs(60);
    while server.stat("curr_connections") >= before {
        assert!(Instant::now() < deadline, "it stays connected");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(text(&client, "key").await.as_deref(), Some("value"));
}

/// A client outlives the runtime that it was first used on.
#[test]
fn another_runtime_opens_connections_of_its_own() {
    let server = Memcached::start();
    let client = patient(&server.address()).build().unwrap();
    for _ in 0..3 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(client.set("key", "value", 0, Expiry::Never)).unwrap();
        assert!(runtime.block_on(client.get("key")).unwrap().is_some());
    }
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let message = |builder: ClientBuilder| builder.build().unwrap_err().to_string();
    assert!(message(Client::builder()).contains("at least one server"));
    assert!(message(Client::builder().server("a").timeout(Duration::ZERO)).contains("read timeout"));
    assert!(message(Client::builder().server("a").connect_timeout(Duration::MAX)).contains("at most"));
    assert!(message(Client::builder().server("a b")).contains("a b"));
}

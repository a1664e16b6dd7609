//! Every way in: TCP over IPv4 and IPv6, unix sockets, TLS, SASL and ASCII auth; and what is said at a door that stays shut.

use std::time::{Duration, Instant};

use bytes::Bytes;
use larder::memcached::{CasOutcome, Client, ClientBuilder, Error, Expiry, Tls};

use super::real::{Memcached, Proxy};
use super::{PATIENCE, patient};

const NEVER: Expiry = Expiry::Never;

/// Every operation, once.
async fn works(client: &Client) -> Result<(), Error> {
    client.set("a", "1", 16, NEVER).await?;
    let value = client.get_with_cas("a").await?.unwrap();
    assert_eq!((value.data, value.flags), (Bytes::from("1"), 16));
    let cas = value.cas.unwrap();
    assert_eq!(client.cas("a", "2", 0, NEVER, cas).await?, CasOutcome::Stored);
    assert_eq!(client.cas("a", "3", 0, NEVER, cas).await?, CasOutcome::Changed);
    assert_eq!(client.cas("missing", "3", 0, NEVER, cas).await?, CasOutcome::Missing);
    assert_eq!((client.add("a", "x", 0, NEVER).await?, client.add("b", "x", 0, NEVER).await?), (false, true));
    assert_eq!((client.replace("a", "7", 0, NEVER).await?, client.replace("c", "x", 0, NEVER).await?), (true, false));
    assert_eq!((client.incr("a", 5).await?, client.decr("a", 20).await?), (Some(12), Some(0)));
    assert_eq!((client.incr("missing", 1).await?, client.decr("missing", 1).await?), (None, None));
    assert!(matches!(client.incr("b", 1).await, Err(Error::NotANumber { key }) if key == "b"));
    client.set("n", u64::MAX.to_string(), 0, NEVER).await?;
    assert_eq!(client.incr("n", 2).await?, Some(1));
    assert_eq!((client.append("b", "y").await?, client.prepend("b", "w").await?), (true, true));
    assert_eq!((client.append("c", "y").await?, client.prepend("c", "w").await?), (false, false));
    let found = client.get_many(&["b", "missing", "a", "b"]).await?;
    let data: Vec<Option<&[u8]>> = found.iter().map(|value| value.as_ref().map(|value| &value.data[..])).collect();
    // A number that got shorter keeps its length on the server: memcached fills it up with blanks (MEM-6).
    assert_eq!(data, [Some(&b"wxy"[..]), None, Some(&b"0 "[..]), Some(&b"wxy"[..])]);
    let hour = Expiry::In(Duration::from_secs(3600));
    assert_eq!((client.touch("a", hour).await?, client.touch("missing", hour).await?), (true, false));
    assert!(client.get_and_touch("a", hour).await?.is_some() && client.get_and_touch("missing", hour).await?.is_none());
    let entries: Vec<(String, Bytes, u32)> =
        (0..50).map(|n| (format!("m{n}"), Bytes::from(n.to_string()), n * 16)).collect();
    for outcome in client.set_many(&entries, hour).await? {
        outcome?;
    }
    let keys: Vec<&String> = entries.iter().map(|(key, ..)| key).collect();
    for ((_, data, flags), value) in entries.iter().zip(client.get_many(&keys).await?) {
        let value = value.unwrap();
        assert_eq!((value.data, value.flags), (data.clone(), *flags));
    }
    assert_eq!(client.delete_many(&["m1", "missing", "m2"]).await?, [true, false, true]);
    assert_eq!((client.delete("a").await?, client.delete("a").await?), (true, false));
    // At once, and in the past.
    client.set("b", "x", 0, Expiry::In(Duration::ZERO)).await?;
    assert_eq!(client.get("b").await?, None);
    let big = Bytes::from(vec![b'x'; 900_000]);
    client.set("big", big.clone(), 0, hour).await?;
    assert!(client.get("big").await?.unwrap().data == big);
    client.close().await;
    assert!(client.get("m3").await?.is_some());
    Ok(())
}

async fn opens(builder: ClientBuilder) {
    works(&builder.build().unwrap()).await.unwrap();
}

#[tokio::test]
async fn every_operation_works_over_tcp_and_unix_sockets() {
    let server = Memcached::start();
    opens(patient(server.address())).await;
    let six = Memcached::with(&[]).host("::1".parse().unwrap()).start();
    opens(patient(six.address())).await;
    let unix = Memcached::with(&[]).unix_socket().start();
    opens(patient(unix.address())).await;
    works(&Client::from_url(&format!("{}?timeout=60s&connect_timeout=60s", unix.url())).unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_host_name_with_several_addresses_is_tried_at_each() {
    // `localhost` is often ::1 first; the server listens on 127.0.0.1 alone.
    let server = Memcached::with(&[]).host("127.0.0.1".parse().unwrap()).start();
    opens(patient(format!("localhost:{}", server.socket_address().port()))).await;
}

#[tokio::test]
async fn every_operation_works_after_sasl() {
    let server = Memcached::with(&[]).sasl("user", "p@ss word/ä").start();
    opens(patient(server.address()).sasl("user", "p@ss word/ä")).await;
    let url = format!("memcached://user:p%40ss%20word%2F%C3%A4@{}?timeout=60s&connect_timeout=60s", server.address());
    works(&Client::from_url(&url).unwrap()).await.unwrap();
}

#[tokio::test]
async fn every_operation_works_after_ascii_auth() {
    let server = Memcached::with(&[]).ascii_auth("user", "secret").start();
    opens(patient(server.address()).auth("user", "secret")).await;
    let url = format!("memcached://user:secret@{}?auth=ascii&timeout=60s&connect_timeout=60s", server.address());
    works(&Client::from_url(&url).unwrap()).await.unwrap();
}

#[tokio::test]
async fn every_operation_works_over_tls() {
    let server = Memcached::with(&[]).tls().start();
    let authority = std::fs::read(&server.certificates().authority).unwrap();
    opens(patient(server.address()).tls(Tls::new().certificate_authority(&authority))).await;
    let alone = Tls::new().certificate_authority(&authority).without_system_authorities();
    opens(patient(server.address()).tls(alone)).await;
    opens(patient(server.address()).tls(Tls::new().accept_any_certificate())).await;
    let ca = server.certificates().authority.display().to_string();
    let url = format!("{}?ca={ca}&timeout=60s&connect_timeout=60s", server.url());
    works(&Client::from_url(&url).unwrap()).await.unwrap();
}

/// The error of the first question; it names the server, never the password, and comes soon.
async fn stays_shut(builder: ClientBuilder, server: &Memcached) -> Error {
    let client = builder.build().unwrap();
    let start = Instant::now();
    let error = client.get("a").await.unwrap_err();
    assert!(start.elapsed() < PATIENCE, "it hung");
    assert!(error.to_string().contains(&server.address()), "{error}");
    assert!(!format!("{error} {error:?} {client:?}").contains("wrong"), "{error:?} {client:?}");
    assert!(client.set("a", "1", 0, NEVER).await.is_err());
    error
}

#[tokio::test]
async fn a_wrong_password_is_an_error_of_its_own() {
    let sasl = Memcached::with(&[]).sasl("user", "secret").start();
    for (user, password) in [("user", "wrong"), ("nobody", "wrong"), ("user", "")] {
        let error = stays_shut(patient(sasl.address()).sasl(user, password), &sasl).await;
        assert!(matches!(error, Error::Auth { .. }), "{error}");
    }
    let ascii = Memcached::with(&[]).ascii_auth("user", "secret").start();
    for (user, password) in [("user", "wrong"), ("nobody", "wrong"), ("user", "")] {
        let error = stays_shut(patient(ascii.address()).auth(user, password), &ascii).await;
        assert!(matches!(error, Error::Auth { .. }), "{error}");
    }
}

/// A SASL server answers nothing to text; the other way round nobody understands. All of it ends soon, in an error.
#[tokio::test]
async fn the_wrong_way_in_is_an_error_and_hangs_nowhere() {
    let soon =
        |address: String| patient(address).connect_timeout(Duration::from_secs(1)).timeout(Duration::from_secs(1));
    let sasl = Memcached::with(&[]).sasl("user", "secret").start();
    stays_shut(soon(sasl.address()), &sasl).await;
    stays_shut(soon(sasl.address()).auth("user", "wrong"), &sasl).await;
    let ascii = Memcached::with(&[]).ascii_auth("user", "secret").start();
    stays_shut(soon(ascii.address()), &ascii).await;
    stays_shut(soon(ascii.address()).sasl("user", "wrong"), &ascii).await;
    let plain = Memcached::start();
    stays_shut(soon(plain.address()).sasl("user", "wrong"), &plain).await;
    stays_shut(soon(plain.address()).tls(Tls::new()), &plain).await;
    let tls = Memcached::with(&[]).tls().start();
    stays_shut(soon(tls.address()), &tls).await;
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_or_for_another_name_is_refused() {
    let server = Memcached::with(&[]).tls().start();
    stays_shut(patient(server.address()).tls(Tls::new()), &server).await;
    let authority = std::fs::read(&server.certificates().authority).unwrap();
    let elsewhere = Tls::new().certificate_authority(&authority).server_name("cache.example.com");
    let error = stays_shut(patient(server.address()).tls(elsewhere), &server).await;
    assert!(error.to_string().contains("cache.example.com") || error.to_string().contains("certificate"), "{error}");
    let here = Tls::new().certificate_authority(&authority).server_name("localhost");
    opens(patient(server.address()).tls(here)).await;
}

/// One client for a whole program: its tasks share two connections for what is small.
#[tokio::test]
async fn tasks_share_two_connections() {
    let server = Memcached::start();
    let proxy = Proxy::to(server.socket_address()).await;
    let client = patient(proxy.address()).build().unwrap();
    let tasks: Vec<_> = (0..64)
        .map(|task| {
            let client = client.clone();
            tokio::spawn(async move {
                for round in 0..20 {
                    let key = format!("{task}:{round}");
                    client.set(&key, key.clone(), 0, NEVER).await.unwrap();
                    assert_eq!(client.get(&key).await.unwrap().unwrap().data, key);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(proxy.opened(), 2);
}

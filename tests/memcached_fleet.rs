//! What stands around the heart of the memcached client, against real servers: logins, TLS, addresses of every kind,
//! compressed values, and a server of a fleet that is away.
#![allow(missing_docs)]

mod real;

use std::time::Duration;

use bytes::Bytes;
use larder::memcached::{CasOutcome, Client, ClientBuilder, Distribution, Error, Expiry, Tls, WhenDown};
use real::Memcached;

const USER: &str = "larder";
const PASSWORD: &str = "p@ss:w/rd%?";
/// The same in a URL.
const ENCODED: &str = "p%40ss%3Aw%2Frd%25%3F";

fn builder() -> ClientBuilder {
    Client::builder().timeout(Duration::from_secs(20)).connect_timeout(Duration::from_secs(20))
}

/// The client of a URL, with the patience of a busy machine.
fn client_of(url: &str) -> Client {
    let builder = ClientBuilder::from_url(url).unwrap_or_else(|error| panic!("{url}: {error}"));
    builder.timeout(Duration::from_secs(20)).connect_timeout(Duration::from_secs(20)).build().unwrap()
}

/// Every operation, with small, large and odd values.
async fn work(client: &Client) -> Result<(), Error> {
    let minute = Expiry::In(Duration::from_secs(60));
    client.set("a", "hello", 16, minute).await?;
    let value = client.get_with_cas("a").await?.unwrap();
    let cas = value.cas.unwrap();
    assert_eq!((&value.data[..], value.flags), (&b"hello"[..], 16));
    assert_eq!(client.cas("a", "lost", 0, minute, cas + 1).await?, CasOutcome::Changed);
    assert_eq!(client.cas("a", "lost", 0, minute, 0).await?, CasOutcome::Changed);
    assert_eq!(client.cas("a", "world", 16, minute, cas).await?, CasOutcome::Stored);
    assert_eq!(client.cas("none", "lost", 0, minute, cas).await?, CasOutcome::Missing);
    assert!(client.append("a", "!").await? && client.prepend("a", "> ").await?);
    assert!(!client.append("none", "!").await? && !client.prepend("none", "> ").await?);
    let value = client.get("a").await?.unwrap();
    assert_eq!((&value.data[..], value.flags), (&b"> world!"[..], 16));
    assert!(!client.add("a", "lost", 0, minute).await? && !client.replace("none", "lost", 0, minute).await?);
    assert!(client.add("b", "41", 2, minute).await? && client.replace("b", "9", 2, minute).await?);
    assert_eq!((client.incr("b", 1).await?, client.decr("b", 99).await?), (Some(10), Some(0)));
    assert_eq!((client.incr("none", 1).await?, client.decr("none", 1).await?), (None, None));
    assert!(matches!(client.incr("a", 1).await, Err(Error::NotANumber { key }) if key == "a"));
    assert!(client.touch("a", minute).await? && !client.touch("none", minute).await?);
    assert_eq!(client.get_and_touch("a", minute).await?.unwrap().data, "> world!");
    assert_eq!(client.get_and_touch("none", minute).await?, None);
    let odd = Bytes::from_static(b"\r\n\0END\r\n\x80\x81");
    let large: Bytes = (0..900_000_u32).map(|number| (number % 251) as u8).collect();
    client.set("odd", odd.clone(), u32::MAX ^ 8, minute).await?;
    client.set("large", large.clone(), 0, minute).await?;
    let found = client.get_many(&["odd", "none", "large", "a", "odd"]).await?;
    let found: Vec<Option<Bytes>> = found.into_iter().map(|value| value.map(|value| value.data)).collect();
    assert!(found == [Some(odd.clone()), None, Some(large), Some(Bytes::from_static(b"> world!")), Some(odd)]);
    client.set("gone", "x", 0, Expiry::In(Duration::ZERO)).await?;
    assert_eq!(client.get("gone").await?, None);
    let error = client.set("a", vec![b'x'; 1024 * 1024 + 1], 0, minute).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    assert_eq!(client.delete_many(&["a", "none", "b", "large"]).await?, [true, false, true, true]);
    assert_eq!(client.get("a").await?, None);
    Ok(())
}

#[tokio::test]
async fn every_kind_of_address_and_login_serves_every_operation() -> Result<(), Error> {
    let plain = Memcached::start();
    work(&client_of(&plain.url())).await?;
    let ipv6 = Memcached::with(&[]).host("::1".parse().unwrap()).start();
    work(&client_of(&ipv6.url())).await?;
    let socket = Memcached::with(&[]).unix_socket().start();
    work(&client_of(&socket.url())).await?;
    work(&builder().server(socket.address()).build()?).await?;
    let sasl = Memcached::with(&[]).sasl(USER, PASSWORD).start();
    work(&client_of(&format!("memcached://{USER}:{ENCODED}@{}", sasl.address()))).await?;
    work(&builder().server(sasl.address()).sasl(USER, PASSWORD).build()?).await?;
    let ascii = Memcached::with(&[]).ascii_auth(USER, PASSWORD).start();
    work(&client_of(&format!("memcached://{USER}:{ENCODED}@{}?auth=ascii", ascii.address()))).await?;
    work(&builder().server(ascii.address()).auth(USER, PASSWORD).build()?).await
}

#[tokio::test]
async fn a_wrong_password_is_an_error_of_its_own_that_does_not_repeat_it() {
    let sasl = Memcached::with(&[]).sasl(USER, PASSWORD).start();
    let ascii = Memcached::with(&[]).ascii_auth(USER, PASSWORD).start();
    for (client, server) in [
        (builder().server(sasl.address()).sasl(USER, "hunter2").build(), &sasl),
        (builder().server(sasl.address()).sasl("nobody", "hunter2").build(), &sasl),
        (builder().server(ascii.address()).auth(USER, "hunter2").build(), &ascii),
    ] {
        let client = client.unwrap();
        let error = client.get("a").await.unwrap_err();
        assert!(matches!(&error, Error::Auth { server: named, .. } if *named == server.address()), "{error:?}");
        assert!(!format!("{error} {error:?} {client:?}").contains("hunter2"), "{error:?} {client:?}");
    }
    let plain = Memcached::start();
    let error = builder().server(plain.address()).sasl(USER, PASSWORD).build().unwrap().get("a").await.unwrap_err();
    assert!(matches!(&error, Error::Auth { said, .. } if said.contains("without -S")), "{error:?}");
    // It would store what it is told as the value under a key, for everybody to read.
    let error = builder().server(plain.address()).auth(USER, "hunter2").build().unwrap().get("a").await.unwrap_err();
    assert!(matches!(&error, Error::Auth { said, .. } if said.contains("without -Y")), "{error:?}");
    assert_eq!(plain.stat("cmd_set"), 0);
}

#[tokio::test]
async fn a_server_that_wants_a_login_is_never_taken_for_an_empty_one() {
    let ascii = Memcached::with(&[]).ascii_auth(USER, PASSWORD).start();
    let error = builder().server(ascii.address()).build().unwrap().get("a").await.unwrap_err();
    assert!(matches!(&error, Error::Auth { said, .. } if said.contains("-Y")), "{error:?}");
    let sasl = Memcached::with(&[]).sasl(USER, PASSWORD).start();
    // It does not understand the question, and says nothing: only the deadline ends that.
    let client = builder().server(sasl.address()).connect_timeout(Duration::from_secs(1)).build().unwrap();
    let error = client.get("a").await.unwrap_err();
    assert!(matches!(error, Error::Timeout { .. } | Error::Connection { .. }), "{error:?}");
}

#[tokio::test]
async fn tls_is_spoken_with_servers_that_can_be_trusted_and_with_no_others() -> Result<(), Error> {
    let server = Memcached::with(&[]).tls().start();
    let files = server.certificates();
    let authority = std::fs::read(&files.authority).unwrap();
    let trusting = || Tls::new().certificate_authority(&authority);
    let client = |tls: Tls| builder().server(server.address()).tls(tls).build();
    work(&client_of(&format!("{}?ca={}", server.url(), files.authority.display()))).await?;
    work(&client_of(&format!("{}?verify=no", server.url()))).await?;
    work(&client(trusting().without_system_authorities())?).await?;
    work(&client(trusting().server_name("localhost"))?).await?;

    let problem = |error: Error| {
        assert!(matches!(&error, Error::Connection { server: named, .. } if *named == server.address()), "{error:?}");
        error.to_string()
    };
    let stranger = client(trusting().server_name("other.example"))?.get("a").await.unwrap_err();
    assert!(problem(stranger).contains("not valid for name"));
    let key = rcgen::KeyPair::generate().unwrap();
    let other = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap().pem();
    let distrusting = Tls::new().without_system_authorities().certificate_authority(other);
    let unknown = client(distrusting)?.get("a").await.unwrap_err();
    assert!(problem(unknown).contains("certificate"));
    let plain = Memcached::start();
    let error = builder().server(plain.address()).tls(trusting()).build()?.get("a").await.unwrap_err();
    assert!(matches!(error, Error::Connection { .. }), "{error:?}");
    Ok(())
}

#[test]
fn certificates_that_are_none_are_found_when_the_client_is_built() {
    for (tls, part) in [
        (Tls::new().certificate_authority("not a certificate"), "certificate authority"),
        (Tls::new().without_system_authorities(), "trusts nobody"),
        (Tls::new().server_name("a b"), "server name"),
        (Tls::new().accept_any_certificate().client_certificate("x", "y"), "client certificate"),
    ] {
        let error = builder().server("cache").tls(tls).build().unwrap_err();
        assert!(matches!(&error, Error::Config(what) if what.contains(part)), "{error}");
    }
}

#[tokio::test]
async fn large_values_are_stored_compressed_where_that_was_asked_for_and_read_always() -> Result<(), Error> {
    let server = Memcached::start();
    let packing = client_of(&format!("{}?compress_over=1000", server.url()));
    let plain = client_of(&server.url());
    let page = Bytes::from("<p>A page of a site.</p>".repeat(100_000));
    packing.set("page", page.clone(), 16, Expiry::Never).await?;
    assert!(server.say("get page\r\n").starts_with(b"VALUE page 24 "));
    for client in [&packing, &plain] {
        let value = client.get("page").await?.unwrap();
        assert!(value.data == page && value.flags == 16);
        assert!(client.get_many(&["page"]).await?[0].as_ref().is_some_and(|value| value.data == page));
    }
    packing.set("count", "7", 2, Expiry::Never).await?;
    assert_eq!(plain.incr("count", 1).await?, Some(8));
    // Uncompressed it is too large for the server, and for the client.
    assert!(matches!(plain.set("page", page.clone(), 16, Expiry::Never).await, Err(Error::TooLarge { .. })));
    server.say("set odd 24 0 5\r\nhello\r\n");
    let error = plain.get("odd").await.unwrap_err();
    assert!(matches!(&error, Error::Unreadable { key, .. } if key == "odd"), "{error}");
    let copying = builder().server(server.address()).leave_compressed(true).build()?;
    let value = copying.get("odd").await?.unwrap();
    assert_eq!((&value.data[..], value.flags), (&b"hello"[..], 24));
    assert!(copying.get("page").await?.is_some_and(|value| value.flags == 24 && value.data.len() < page.len() / 10));
    Ok(())
}

#[tokio::test]
async fn the_keys_of_a_server_that_is_away_fail_or_move_as_the_client_was_told() -> Result<(), Error> {
    for distribution in Distribution::ALL {
        let servers = [Memcached::start(), Memcached::start(), Memcached::start()];
        let fleet = |when_down| {
            let addresses = servers.iter().map(Memcached::address);
            builder().servers(addresses).distribution(distribution).when_down(when_down).build()
        };
        let (failing, moving) = (fleet(WhenDown::Fail)?, fleet(WhenDown::NextServer)?);
        let keys: Vec<String> = (0..60).map(|number| format!("key:{number}")).collect();
        for key in &keys {
            failing.set(key, key.clone(), 0, Expiry::Never).await?;
        }
        servers[1].stop();
        let away = servers[1].address();
        for key in &keys {
            let is_away = failing.server_of(key)?.name() == away;
            assert_eq!(failing.get(key).await.is_err(), is_away, "{distribution} {key}");
        }
        // It takes a few failures until the server counts as down and its keys move.
        let mut last = Ok(());
        for _ in 0..100 {
            last = Ok(());
            for key in &keys {
                if let Err(error) = moving.set(key, key.clone(), 0, Expiry::Never).await {
                    last = Err(error);
                }
            }
            if last.is_ok() {
                break;
            }
        }
        last?;
        let values = moving.get_many(&keys).await?;
        for (key, value) in keys.iter().zip(values) {
            assert_eq!(value.map(|value| value.data), Some(Bytes::from(key.clone())), "{distribution} {key}");
        }
    }
    Ok(())
}

/// memcached ends its TLS connections without a farewell; that is no failure.
#[tokio::test]
async fn a_server_over_tls_that_restarts_while_nobody_asks_costs_no_error() -> Result<(), Error> {
    let server = Memcached::with(&[]).tls().start();
    let client = client_of(&format!("{}?verify=no", server.url()));
    // Enough for all of its connections.
    let keys: Vec<String> = (0..100).map(|number| format!("key:{number}")).collect();
    for _ in 0..8 {
        client.get_many(&keys).await?;
    }
    client.set("a", "1", 0, Expiry::Never).await?;
    server.restart();
    for _ in 0..20 {
        assert_eq!(client.get("a").await?, None);
        client.get_many(&keys).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_server_that_asks_for_a_certificate_is_shown_ours() -> Result<(), Error> {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(["client.internal".to_owned()]).unwrap().self_signed(&key).unwrap();
    let folder = real::new_folder("client");
    let file = folder.join("client.pem");
    std::fs::write(&file, certificate.pem()).unwrap();
    let server = Memcached::with(&["-o", &format!("ssl_verify_mode=2,ssl_ca_cert={}", file.display())]).tls().start();
    let trusting = Tls::new().certificate_authority(std::fs::read(&server.certificates().authority).unwrap());
    let ours = trusting.clone().client_certificate(certificate.pem(), key.serialize_pem());
    work(&builder().server(server.address()).tls(ours).build()?).await?;
    let error = builder().server(server.address()).tls(trusting).build()?.get("a").await.unwrap_err();
    assert!(matches!(error, Error::Connection { .. }), "{error:?}");
    Ok(())
}

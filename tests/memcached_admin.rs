//! What an operator asks of a real memcached: versions, counters, the names of all items, flushing; and what becomes of a
//! dump that is refused, cut, stalled, or slowly taken.
#![allow(missing_docs)]

mod real;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use larder::memcached::{Client, ClientBuilder, Error, Expiry, ItemInfo, Server};
use real::{Fault, Memcached, Proxy};

/// Generous: nothing here is about how fast a busy machine is.
const PATIENCE: Duration = Duration::from_secs(60);

fn patient(builder: ClientBuilder) -> Client {
    builder.connect_timeout(PATIENCE).timeout(PATIENCE).admin_timeout(PATIENCE).build().unwrap()
}

fn client_of(memcached: &Memcached) -> Client {
    patient(Client::builder().server(memcached.address()))
}

fn server(client: &Client) -> &Server {
    client.servers().next().unwrap()
}

async fn fill(client: &Client, items: usize) -> BTreeSet<Vec<u8>> {
    let keys: Vec<String> = (0..items).map(|number| format!(":1:page:{number}:caf\u{e9}%25")).collect();
    for batch in keys.chunks(1_000) {
        let entries: Vec<(&String, Bytes, u32)> = batch.iter().map(|key| (key, Bytes::from_static(b"x"), 0)).collect();
        for stored in client.set_many(&entries, Expiry::In(Duration::from_secs(10_000))).await.unwrap() {
            stored.unwrap();
        }
    }
    keys.into_iter().map(String::into_bytes).collect()
}

async fn dump(server: &Server) -> Result<Vec<ItemInfo>, Error> {
    let mut dump = server.metadump().await?;
    let mut items = Vec::new();
    while let Some(item) = dump.next().await? {
        items.push(item);
    }
    assert!(dump.next().await?.is_none(), "the end stays the end");
    Ok(items)
}

fn keys_of(items: &[ItemInfo]) -> BTreeSet<Vec<u8>> {
    items.iter().map(|item| item.key.clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_lists_every_key_as_it_was_written() {
    let memcached = Memcached::start();
    let client = client_of(&memcached);
    let keys = fill(&client, 30_000).await;
    let items = dump(server(&client)).await.unwrap();
    assert_eq!(items.len(), keys.len());
    assert!(keys_of(&items) == keys);
}

#[tokio::test]
async fn an_item_is_told_of_with_its_times_and_its_size() {
    let memcached = Memcached::start();
    let client = client_of(&memcached);
    assert_eq!(dump(server(&client)).await.unwrap(), []);
    client.set("short", vec![b'x'; 5_000], 16, Expiry::In(Duration::from_secs(1_000))).await.unwrap();
    client.set("long", "x", 0, Expiry::Never).await.unwrap();
    client.get("long").await.unwrap();
    let items = dump(server(&client)).await.unwrap();
    let item = |key: &str| items.iter().find(|item| item.key == key.as_bytes()).unwrap();
    let left = item("short").expires_at.unwrap().duration_since(SystemTime::now()).unwrap();
    assert!((900..=1_001).contains(&left.as_secs()), "{left:?}");
    assert_eq!((item("short").was_read, item("long").was_read), (false, true));
    assert_eq!(item("long").expires_at, None);
    assert!((5_000..5_200).contains(&item("short").size), "{}", item("short").size);
}

#[tokio::test]
async fn versions_counters_and_flushing() {
    let memcached = Memcached::start();
    let client = client_of(&memcached);
    let server = server(&client);
    assert!(server.version().await.unwrap().starts_with("1."));
    client.set("a", "1", 0, Expiry::Never).await.unwrap();
    let stats = server.stats(None).await.unwrap();
    assert!(stats.contains(&("curr_items".to_owned(), "1".to_owned())), "{stats:?}");
    let items = server.stats(Some("items")).await.unwrap();
    assert!(items.contains(&("items:1:number".to_owned(), "1".to_owned())), "{items:?}");
    let refused = server.stats(Some("weather")).await.unwrap_err();
    assert!(matches!(&refused, Error::Server { said, .. } if said == "ERROR"), "{refused}");
    let refused = server.stats(Some("items\r\nflush_all")).await.unwrap_err();
    assert!(matches!(refused, Error::Config(_)), "{refused}");

    let days = |days: u64| Duration::from_secs(days * 86_400);
    for delay in [Duration::from_secs(1_000), days(40)] {
        server.flush(delay).await.unwrap();
        assert!(client.get("a").await.unwrap().is_some());
    }
    let refused = server.flush(days(365 * 200)).await.unwrap_err();
    assert!(matches!(refused, Error::Config(_)) && client.get("a").await.unwrap().is_some(), "{refused}");
    server.flush(Duration::ZERO).await.unwrap();
    assert!(client.get("a").await.unwrap().is_none());
}

#[tokio::test]
async fn a_server_with_sasl_answers_all_but_a_dump() {
    let memcached = Memcached::with(&[]).sasl("anna", "s3cret word").start();
    let client = patient(Client::builder().server(memcached.address()).sasl("anna", "s3cret word"));
    let server = server(&client);
    assert!(server.version().await.unwrap().starts_with("1."));
    client.set("a", "1", 0, Expiry::Never).await.unwrap();
    let stats = server.stats(None).await.unwrap();
    assert!(stats.contains(&("curr_items".to_owned(), "1".to_owned())), "{stats:?}");
    assert!(server.stats(Some("settings")).await.unwrap().iter().any(|(name, _)| name == "maxbytes"));
    assert!(server.stats(Some("weather")).await.is_err());
    let refused = server.metadump().await.unwrap_err();
    assert!(refused.to_string().contains("SASL"), "{refused}");
    server.flush(Duration::from_secs(1_000)).await.unwrap();
    server.flush(Duration::ZERO).await.unwrap();
    assert!(client.get("a").await.unwrap().is_none());

    let stranger = patient(Client::builder().server(memcached.address()).sasl("anna", "wrong"));
    let refused = stranger.servers().next().unwrap().stats(None).await.unwrap_err();
    assert!(matches!(refused, Error::Auth { .. }) && !refused.to_string().contains("wrong"), "{refused}");
}

#[tokio::test]
async fn a_server_with_ascii_auth_or_a_socket_answers_everything() {
    let locked = Memcached::with(&[]).ascii_auth("anna", "s3cret").start();
    let client = patient(Client::builder().server(locked.address()).auth("anna", "s3cret"));
    client.set("a", "1", 0, Expiry::Never).await.unwrap();
    assert!(dump(server(&client)).await.unwrap().iter().any(|item| item.key == b"a"));

    let socket = Memcached::with(&[]).unix_socket().start();
    let client = client_of(&socket);
    let keys = fill(&client, 10).await;
    assert!(keys_of(&dump(server(&client)).await.unwrap()) == keys);
}

#[tokio::test]
async fn what_a_server_was_told_not_to_do_is_an_error_in_its_words() {
    let memcached = Memcached::with(&["-X", "-F"]).start();
    let client = client_of(&memcached);
    let refused = server(&client).metadump().await.unwrap_err();
    assert!(matches!(&refused, Error::Server { .. }), "{refused}");
    let refused = server(&client).flush(Duration::ZERO).await.unwrap_err();
    assert!(matches!(&refused, Error::Server { .. }), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dumps_of_one_program_take_turns_and_one_of_another_is_an_error() {
    let memcached = Memcached::start();
    let client = client_of(&memcached);
    let keys = fill(&client, 20_000).await;
    let mut dumps = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let client = if dumps.len() % 2 == 0 { client.clone() } else { client_of(&memcached) };
        dumps.spawn(async move { dump(server(&client)).await.map(|items| items.len()) });
    }
    while let Some(dumped) = dumps.join_next().await {
        assert_eq!(dumped.unwrap().unwrap(), keys.len());
    }

    // Another program's dump, not read to its end: what the kernel's buffers take is far less than all of it.
    let mut other = TcpStream::connect(memcached.socket_address()).unwrap();
    other.write_all(b"lru_crawler metadump all\r\n").unwrap();
    other.read_exact(&mut [0; 1_000]).unwrap();
    match server(&client).metadump().await {
        // The kernel took all of it after all, and there is nothing to be busy with.
        Ok(_) => {}
        Err(busy) => assert!(matches!(&busy, Error::Server { said, .. } if said.starts_with("BUSY")), "{busy}"),
    }
}

/// A reader who takes its time does not keep the server from telling everything.
#[tokio::test(flavor = "multi_thread")]
async fn a_dump_is_drained_whether_it_is_taken_or_not() {
    let memcached = Memcached::start();
    let client = client_of(&memcached);
    let keys = fill(&client, 30_000).await;
    let mut slow = server(&client).metadump().await.unwrap();
    let first = slow.next().await.unwrap().unwrap();
    // The next dump gets its turn only once the server has told all of the first one.
    assert!(keys_of(&dump(server(&client)).await.unwrap()) == keys);
    let mut taken = BTreeSet::from([first.key]);
    while let Some(item) = slow.next().await.unwrap() {
        taken.insert(item.key);
    }
    assert!(taken == keys);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_dump_gives_its_turn_back() {
    let memcached = Memcached::start();
    let client = client_of(&memcached);
    let keys = fill(&client, 30_000).await;
    let proxy = Proxy::to(memcached.socket_address()).await;
    proxy.set(Fault::StallAfter(10_000));
    let stalled = patient(Client::builder().server(proxy.address()));
    let mut dropped = server(&stalled).metadump().await.unwrap();
    assert!(dropped.next().await.unwrap().is_some());
    drop(dropped);
    proxy.set(Fault::None);
    proxy.cut();
    assert!(keys_of(&dump_when_free(&stalled).await) == keys);
}

/// The server needs a moment to notice that the reader of its dump is gone.
async fn dump_when_free(client: &Client) -> Vec<ItemInfo> {
    for _ in 0..600 {
        match dump(server(client)).await {
            Err(Error::Server { said, .. }) if said.starts_with("BUSY") => {
                tokio::time::sleep(Duration::from_millis(100)).await
            }
            dumped => return dumped.unwrap(),
        }
    }
    panic!("the server is still busy after a minute");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_that_is_cut_or_stalls_is_an_error_and_no_short_list() {
    let memcached = Memcached::start();
    fill(&client_of(&memcached), 5_000).await;
    let proxy = Proxy::to(memcached.socket_address()).await;
    let hasty = Client::builder().server(proxy.address()).connect_timeout(PATIENCE).timeout(PATIENCE);
    let hasty = hasty.admin_timeout(Duration::from_millis(300)).build().unwrap();

    proxy.set(Fault::CloseAfter(20_000));
    let cut = dump(server(&hasty)).await.unwrap_err();
    assert!(matches!(cut, Error::Connection { .. }), "{cut}");

    proxy.set(Fault::StallAfter(20_000));
    let stalled = dump(server(&hasty)).await.unwrap_err();
    assert!(matches!(stalled, Error::Timeout { .. }), "{stalled}");
    assert!(stalled.to_string().contains(&proxy.address()), "{stalled}");

    proxy.set(Fault::Silence);
    let silent = server(&hasty).version().await.unwrap_err();
    assert!(matches!(silent, Error::Timeout { .. }), "{silent}");

    let garbage: [&[u8]; 4] =
        [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"key=%zz\nEND\r\n", b"\0\xff\n", b"VALUE a 0 6\r\nsecret\r\n"];
    for garbage in garbage {
        proxy.set(Fault::Speak(garbage.to_vec()));
        let broken = dump(server(&hasty)).await.unwrap_err();
        assert!(matches!(broken, Error::Protocol { .. }), "{broken}");
        assert!(!broken.to_string().contains("secret"), "{broken}");
        assert!(server(&hasty).stats(None).await.is_err() && server(&hasty).version().await.is_err());
    }
}

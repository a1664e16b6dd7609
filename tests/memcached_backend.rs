//! The memcached backend on real servers: the contract, what lies there, and what a visitor notices of a server that is
//! down.

#[path = "world/in_process.rs"]
mod chosen;
mod log;
mod real;
mod world;

use std::time::{Duration, Instant};

use larder::backend::conformance::{Exceptions, check};
use larder::backend::memcached::Memcached;
use larder::backend::{Backend, Stored, flags};
use larder::{Cache, CacheLayer, Error, KeyScheme, Timeout, memcached};
use log::Log;
use serde::{Deserialize, Serialize};
use tower::Layer;
use tracing::Level;
use world::{Handler, ask, get, get_with};

/// Generous: these tests run on machines that are busy with others.
const PATIENT: &str = "connect_timeout=20s&get_timeout=20s&set_timeout=20s";

fn client(servers: &[&real::Memcached]) -> memcached::Client {
    let patient = Duration::from_secs(20);
    let builder = memcached::Client::builder().servers(servers.iter().map(|server| server.address()));
    builder.connect_timeout(patient).timeout(patient).build().unwrap()
}

async fn connect(server: &real::Memcached, options: &str) -> Cache {
    Cache::connect(&format!("memcached://{}?{PATIENT}&{options}", server.address())).await.unwrap()
}

const EXCEPTIONS: fn() -> Exceptions = || Exceptions::none().real_time().clears_everything().counts_unsigned();

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_server_keeps_the_contract() {
    let server = real::Memcached::start();
    let report = check(async |_| Memcached::new(client(&[&server])), EXCEPTIONS()).await.unwrap();
    assert_eq!(report.kept.len(), 16, "{report}");
    // Those of the injected clock, and the documented exceptions.
    let on_the_clock = 7;
    let exceptions = [
        "incr counts integers",
        "incr leaves alone what it cannot count",
        "any text is a key",
        "clear of a prefix keeps to it",
    ];
    assert!(exceptions.iter().all(|rule| report.left_out.contains(rule)), "{report}");
    assert_eq!(report.left_out.len(), on_the_clock + exceptions.len(), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_fleet_keeps_the_contract() {
    let servers = [real::Memcached::start(), real::Memcached::start(), real::Memcached::start()];
    let client = client(&servers.each_ref());
    let report = check(async |_| Memcached::new(client.clone()), EXCEPTIONS()).await.unwrap();
    assert_eq!(report.kept.len(), 16, "{report}");
    assert!(servers.iter().all(|server| server.stat("cmd_set") > 100), "every server has its share");
}

/// The bytes on the wire are those of Django's default client, so that the two read each other's values.
#[tokio::test]
async fn values_lie_there_as_django_has_them() -> Result<(), Error> {
    let server = real::Memcached::start();
    let cache = connect(&server, "prefix=shop&version=3").await;
    let lies = |key: &str| String::from_utf8_lossy(&server.say(format!("get shop:3:{key}\r\n"))).into_owned();
    cache.set("number", -42, 30).await?;
    cache.set("text", "é", 30).await?;
    cache.set("bytes", b"\xff\x00", 30).await?;
    assert_eq!(lies("number"), "VALUE shop:3:number 2 3\r\n-42\r\nEND\r\n");
    assert_eq!(lies("text"), "VALUE shop:3:text 16 2\r\né\r\nEND\r\n");
    assert!(lies("bytes").starts_with("VALUE shop:3:bytes 0 2\r\n"));
    Ok(())
}

#[tokio::test]
async fn what_django_has_no_form_for_is_none_to_it() -> Result<(), Error> {
    #[derive(Debug, Deserialize, PartialEq, Serialize)]
    struct User {
        name: String,
    }
    let server = real::Memcached::start();
    let cache = connect(&server, "").await;
    let ada = User { name: "Ada".to_owned() };
    cache.set("user", &ada, 30).await?;
    cache.set("true", true, 30).await?;
    assert_eq!(cache.get::<User>("user").await?, Some(ada));
    assert_eq!(cache.get::<bool>("true").await?, Some(true));
    for key in ["user", "true"] {
        let lies = server.say(format!("get :1:{key}\r\n"));
        assert!(lies.starts_with(format!("VALUE :1:{key} 33 ").as_bytes()), "{:?}", String::from_utf8_lossy(&lies));
        assert!(lies.windows(6).any(|bytes| bytes == b"\r\n\x80\x04N."), "{:?}", String::from_utf8_lossy(&lies));
    }
    Ok(())
}

#[tokio::test]
async fn what_djangos_clients_store_is_read() -> Result<(), Error> {
    let server = real::Memcached::start();
    let cache = connect(&server, "").await;
    // pylibmc's integer; an integer that became shorter on the server; pylibmc's compressed text; a pickle.
    server.say("set :1:long 4 0 2\r\n42\r\n");
    assert_eq!(cache.get::<i64>("long").await?, Some(42));
    assert_eq!(cache.incr("long", 1).await?, 43);
    server.say("set :1:short 2 0 3\r\n100\r\n");
    assert_eq!(cache.decr("short", 1).await?, 99);
    assert_eq!(cache.get::<i64>("short").await?, Some(99));
    let compressed = hex::decode("789ccb492c4a492d52c819a5502900418f6811").unwrap();
    let set = [format!("set :1:deflated 24 0 {}\r\n", compressed.len()).as_bytes(), &compressed, b"\r\n"].concat();
    server.say(set);
    assert_eq!(cache.get::<String>("deflated").await?, Some("larder ".repeat(40)));
    server.say(b"set :1:python 1 0 5\r\n\x80\x04K\x01.\r\n");
    let error = cache.get::<i64>("python").await.unwrap_err();
    assert!(matches!(&error, Error::Decode { key, .. } if key == "python"), "{error}");
    assert!(error.to_string().contains("pickle"), "{error}");
    Ok(())
}

#[tokio::test]
async fn counting_is_the_servers_and_stops_at_zero() -> Result<(), Error> {
    let server = real::Memcached::start();
    let cache = connect(&server, "").await;
    cache.set("n", 1, 30).await?;
    assert_eq!(cache.decr("n", 5).await?, 0);
    assert_eq!(server.stat("incr_hits") + server.stat("decr_hits"), 1);
    assert!(matches!(cache.incr("missing", 1).await, Err(Error::Missing { key }) if key == "missing"));
    cache.set("text", "five", 30).await?;
    assert!(matches!(cache.incr("text", 1).await, Err(Error::NotANumber { key }) if key == "text"));
    cache.set("negative", -5, 30).await?;
    let error = cache.incr("negative", 1).await.unwrap_err().to_string();
    assert!(error.contains("below zero"), "{error}");
    cache.set("most", i64::MAX, 30).await?;
    assert!(matches!(cache.incr("most", 1).await, Err(Error::Overflow { key }) if key == "most"));
    assert_eq!(cache.get::<i64>("most").await?, Some(i64::MAX));
    Ok(())
}

#[tokio::test]
async fn timeouts_are_sent_as_django_sends_them() -> Result<(), Error> {
    let server = real::Memcached::start();
    let cache = connect(&server, "timeout=never").await;
    let left = |key: &str| {
        let answer = String::from_utf8_lossy(&server.say(format!("mg :1:{key} t\r\n"))).into_owned();
        answer.trim_end().rsplit('t').next().and_then(|seconds| seconds.parse::<i64>().ok())
    };
    cache.set("default", 1, Timeout::Default).await?;
    cache.set("short", 1, Duration::from_millis(500)).await?;
    cache.set("month", 1, 2_592_000).await?;
    cache.set("months", 1, 5_184_000).await?;
    assert_eq!(left("default"), Some(-1));
    assert_eq!(cache.get::<i32>("short").await?, None);
    for (key, seconds) in [("month", 2_592_000), ("months", 5_184_000)] {
        let left = left(key).unwrap();
        assert!((seconds - 100..=seconds).contains(&left), "{key}: {left}");
    }
    Ok(())
}

/// MEM-4.
#[tokio::test]
async fn a_refused_value_leaves_nothing_behind() -> Result<(), Error> {
    let server = real::Memcached::start();
    let cache = connect(&server, "").await;
    let limit = cache.backend().largest_value();
    let longest = "k".repeat(250 - cache.make_key("").len());
    cache.set(&longest, vec![1_u8; limit], 30).await?;
    assert_eq!(cache.get::<Vec<u8>>(&longest).await?.map(|value| value.len()), Some(limit));
    let error = cache.set(&longest, vec![1_u8; limit + 1], 30).await.unwrap_err();
    assert!(
        matches!(error, Error::TooLarge { size, limit: most, .. } if (size, most) == (limit + 1, limit)),
        "{error}"
    );
    assert!(!cache.contains(&longest).await?);

    // A server with a smaller limit than it is thought to have.
    let cache = connect(&server, "largest_value=4194304").await;
    for key in ["a", "b"] {
        cache.set(key, "old", 30).await?;
    }
    assert!(matches!(cache.set("a", "x".repeat(2 << 20), 30).await, Err(Error::TooLarge { .. })));
    assert!(!cache.contains("a").await?);
    assert_eq!(cache.set_many([("b", "x".repeat(2 << 20)), ("c", "c".to_owned())], 30).await?, ["b"]);
    assert!(!cache.contains("b").await? && cache.contains("c").await?);
    Ok(())
}

#[tokio::test]
async fn a_key_that_memcached_cannot_take_is_an_error_before_anything_is_sent() {
    let server = real::Memcached::start();
    let cache = connect(&server, "").await;
    let before = server.stat("cmd_get");
    for key in ["a b", "a\r\nflush_all", &"x".repeat(250), &"é".repeat(124)] {
        let error = cache.get::<i32>(key).await.unwrap_err();
        assert!(matches!(error, Error::Key { .. }), "{key:?}: {error}");
        assert!(cache.get_many::<i32>(["good", key]).await.is_err());
        assert!(cache.set(key, 1, 30).await.is_err());
    }
    assert_eq!(server.stat("cmd_get"), before);
}

#[tokio::test]
async fn pages_are_kept_under_the_keys_of_django_and_a_hit_is_one_request() {
    let server = real::Memcached::start();
    let cache = connect(&server, "").await;
    let handler = Handler::saying(&[("vary", "accept-language")]);
    let layer = CacheLayer::per_site().cache(&cache).key_scheme(KeyScheme::Django52).cache_status("larder");
    let site = layer.layer(handler.clone());
    let request = || get_with("http://example.com/path/", &[("accept-language", "en")]);
    for _ in 0..3 {
        assert_eq!(ask(&site, request()).await.body, "answer 1");
    }
    let response = ask(&site, request()).await;
    let keys = layer.pages().keys(&request(), &response.headers).unwrap();
    for key in [&keys.header, &keys.get] {
        let lies = server.say(format!("get :1:{key}\r\n"));
        assert!(lies.starts_with(format!("VALUE :1:{key}").as_bytes()), "{key}");
        // What Django's clients unpickle, and get None.
        assert!(lies.windows(6).any(|bytes| bytes == b"\r\n\x80\x04N."), "{key}");
    }
    assert!(layer.pages().delete("http://example.com/path/").await.is_ok());
    assert_eq!(ask(&site, request()).await.body, "answer 2");

    // What Django stored there is a miss, and makes way.
    server.say(format!("set :1:{} 1 0 4\r\n\u{1}K\u{1}.\r\n", keys.header));
    assert_eq!(ask(&site, request()).await.body, "answer 3");
    assert_eq!(ask(&site, request()).await.body, "answer 3");
}

/// Rule 21: what is damaged is a miss for pages, and makes way; as a value it is an error, and takes no other away.
#[tokio::test]
async fn what_says_it_is_compressed_and_is_not_is_a_miss() -> Result<(), Error> {
    let server = real::Memcached::start();
    let cache = connect(&server, "").await;
    server.say("set :1:damaged 24 0 3\r\nabc\r\n");
    assert!(matches!(cache.get::<String>("damaged").await, Err(Error::Decode { key, .. }) if key == "damaged"));
    assert!(cache.contains("damaged").await?);
    cache.set("whole", "whole", 30).await?;
    assert_eq!(
        cache.backend().get_many(&[":1:damaged".to_owned(), ":1:whole".to_owned()]).await?[1]
            .as_ref()
            .map(|stored| &stored.data[..]),
        Some(&b"whole"[..])
    );

    let handler = Handler::saying(&[]);
    // With nobody to wait for, a page is stored before its response.
    let layer = CacheLayer::per_site().coalesce(false).cache(&cache).key_scheme(KeyScheme::Django52);
    let site = layer.layer(handler.clone());
    ask(&site, get("http://example.com/")).await;
    let keys = layer.pages().keys(&get("http://example.com/"), &Default::default()).unwrap();
    for (call, key) in [(2, &keys.header), (3, &keys.get)] {
        server.say(format!("set :1:{key} 73 0 3\r\nabc\r\n"));
        for _ in 0..2 {
            assert_eq!(ask(&site, get("http://example.com/")).await.body, format!("answer {call}"), "{key}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn clear_empties_the_servers_whatever_the_prefix() -> Result<(), Error> {
    let servers = [real::Memcached::start(), real::Memcached::start()];
    let backend = Memcached::new(client(&servers.each_ref()));
    let ours = Cache::builder(backend.clone()).key_prefix("ours").build();
    let theirs = Cache::builder(backend).key_prefix("theirs").build();
    for number in 0..20 {
        theirs.set(format!("k{number}"), number, 30).await?;
    }
    ours.clear().await?;
    assert!(theirs.get_many::<i32>((0..20).map(|number| format!("k{number}"))).await?.is_empty());
    ours.set("k", 1, 30).await?;
    assert_eq!(ours.get::<i32>("k").await?, Some(1));
    Ok(())
}

/// By a unix socket, with SASL, with ASCII auth, over TLS: each does all that the others do.
#[tokio::test]
async fn every_door_leads_to_the_same() {
    let servers = [
        real::Memcached::with(&[]).unix_socket().start(),
        real::Memcached::with(&[]).sasl("me", "pass word").start(),
        real::Memcached::with(&[]).ascii_auth("me", "p@ssword").start(),
        real::Memcached::with(&[]).tls().start(),
    ];
    let logins = [("", ""), ("me:pass%20word@", ""), ("me:p%40ssword@", "&auth=ascii"), ("", "&verify=no")];
    for (server, (login, more)) in servers.iter().zip(logins) {
        let url = format!("{}?{PATIENT}{more}", server.url().replace("://", &format!("://{login}")));
        let cache = Cache::connect(&url).await.unwrap_or_else(|error| panic!("{url}: {error}"));
        cache.set("n", 41, 30).await.unwrap_or_else(|error| panic!("{url}: {error}"));
        assert_eq!(cache.incr("n", 1).await.unwrap_or_else(|error| panic!("{url}: {error}")), 42);
        cache.set_many([("a", "1"), ("b", "2")], 30).await.unwrap();
        assert_eq!(cache.get_many::<String>(["a", "b", "c"]).await.unwrap().len(), 2, "{url}");
        assert!(!cache.add("a", "3", 30).await.unwrap() && cache.touch("a", 60).await.unwrap(), "{url}");
        assert!(cache.delete("a").await.unwrap() && !cache.delete("a").await.unwrap(), "{url}");
        assert!(matches!(cache.incr("b ", 1).await, Err(Error::Key { .. })));
        cache.set("large", vec![7_u8; 1 << 19], 30).await.unwrap();
        assert_eq!(cache.get::<Vec<u8>>("large").await.unwrap().map(|value| value.len()), Some(1 << 19), "{url}");
        cache.clear().await.unwrap_or_else(|error| panic!("{url}: {error}"));
        assert!(!cache.contains("b").await.unwrap(), "{url}");
    }
}

#[tokio::test]
async fn a_server_that_is_down_is_a_typed_error_and_for_pages_a_miss() {
    let log = Log::default();
    let _reading = log.read_along();
    let server = real::Memcached::start();
    let url = format!("memcached://{}?connect_timeout=2s&get_timeout=1s", server.address());
    let cache = Cache::connect(&url).await.unwrap();
    let handler = Handler::saying(&[]);
    let site = CacheLayer::per_site().cache(&cache).layer(handler.clone());
    ask(&site, get("/")).await;
    ask(&site, get("/")).await;
    assert_eq!(handler.calls(), 1);
    server.stop();
    let began = Instant::now();
    for _ in 0..200 {
        assert_eq!(ask(&site, get("/")).await.status, 200);
    }
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    let error = cache.get::<i32>("k").await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. } | Error::Backend { .. }), "{error:?}");
    assert!(error.to_string().contains(&server.address()), "{error}");
    // One word of the client about the server, one of the layer about its pages.
    assert!(log.at(Level::WARN).len() <= 2, "{:#?}", log.at(Level::WARN));
    server.start_again();
    let deadline = Instant::now() + Duration::from_secs(60);
    while cache.set("k", 1, 30).await.is_err() {
        assert!(Instant::now() < deadline, "it does not heal");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let calls = handler.calls();
    ask(&site, get("/new")).await;
    ask(&site, get("/new")).await;
    assert_eq!(handler.calls(), calls + 1);
}

#[tokio::test]
async fn many_entries_of_which_none_is_stored_are_an_error_and_some_a_list() {
    let servers = [real::Memcached::start(), real::Memcached::start()];
    let backend = Memcached::new(client(&servers.each_ref()));
    let entries: Vec<(String, Stored)> =
        (0..50).map(|number| (format!("k{number}"), Stored { data: "v".into(), flags: flags::TEXT })).collect();
    assert_eq!(backend.set_many(&entries, None).await.unwrap(), [0; 0]);
    servers[0].stop();
    let failed = backend.set_many(&entries, None).await.unwrap();
    assert!((1..50).contains(&failed.len()), "{failed:?}");
    servers[1].stop();
    let error = backend.set_many(&entries, None).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. } | Error::Backend { .. }), "{error:?}");
}

#[tokio::test]
async fn a_paused_server_is_a_timeout_that_names_it() {
    let server = real::Memcached::start();
    let cache = Cache::connect(&format!("memcached://{}?get_timeout=200ms", server.address())).await.unwrap();
    cache.set("k", 1, 30).await.unwrap();
    server.pause();
    let error = cache.get::<i32>("k").await.unwrap_err();
    server.resume();
    assert!(
        matches!(&error, Error::Timeout { backend: "memcached", server: Some(at), operation: "get", .. } if *at == server.address()),
        "{error:?}"
    );
}

#[tokio::test]
async fn urls_are_understood_and_nothing_else() {
    for url in [
        "memcached://127.0.0.1",
        "memcached://a:11211,b:11211*2?distribution=ketama&prefix=shop&timeout=60&version=2",
        "MEMCACHED://[::1]:11211?TIMEOUT=never&COMPRESS_OVER=1000",
        "memcached+unix:///run/memcached.sock?key_prefix=x&get_timeout=1s",
        "memcached://user:p%40ss@a?auth=ascii&when_down=next_server&largest_value=2097152",
    ] {
        let cache = Cache::connect(url).await.unwrap_or_else(|error| panic!("{url}: {error}"));
        assert_eq!(cache.backend().name(), "memcached");
    }
    for (url, said) in [
        ("memcached://a?max_entries=5", "no bound of its own"),
        ("memcached://a?distribution=ring", "rendezvous"),
        ("memcached://a?read_timeout=1s", "get_timeout"),
        ("memcached://a?breaker_failures=3", "breaker_failures"),
        ("memcached://", "names no server"),
        ("memcached://me:secret@a?verify=no", "memcached+tls"),
        ("memcached://me:secret@a?get_timeout=soon", "get_timeout"),
        ("memcached+unix://run/x.sock", "slash"),
    ] {
        let error = Cache::connect(url).await.unwrap_err();
        assert!(matches!(error, Error::Config(_)), "{url}: {error:?}");
        assert!(error.to_string().contains(said) && !error.to_string().contains("secret"), "{url}: {error}");
    }
}

#[test]
fn plain_flags_are_the_ones_that_are_written_down() {
    assert_eq!((flags::BYTES, flags::INTEGER, flags::TEXT, flags::PAGE, flags::HEADER_LISTS), (0, 2, 16, 65, 129));
    let _: fn(&Memcached, &str, Stored) = |backend, key, value| drop(backend.set(key, value, None));
}

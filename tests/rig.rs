//! The real servers of `tests/real/` do what other tests rely on: they answer, pause, restart, and end with the test.
#![allow(missing_docs)]

mod real;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use real::{Django, Fault, MariaDb, Memcached, Postgres, Proxy, Redis};
use serde_json::json;

#[test]
fn memcached_answers_in_every_dress() {
    let plain = Memcached::start();
    assert!(plain.say("version\r\n").starts_with(b"VERSION 1."));
    let second = Memcached::start();
    assert_ne!(plain.address(), second.address());
    let unix = Memcached::with(&["-m", "16"]).unix_socket().start();
    assert!(unix.say("stats\r\n").windows(27).any(|line| line == b"STAT limit_maxbytes 1677721"));
    let six = Memcached::with(&[]).host("::1".parse().unwrap()).start();
    assert!(six.address().starts_with("[::1]:"));
    let ascii = Memcached::with(&[]).ascii_auth("user", "secret").start();
    let mut stranger = TcpStream::connect(ascii.socket_address()).unwrap();
    stranger.write_all(b"get a\r\n").unwrap();
    let mut answer = [0; 28];
    stranger.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"CLIENT_ERROR unauthenticated");
    let answer = ascii.say("set auth 0 0 11\r\nuser secret\r\nget a\r\n");
    assert_eq!(String::from_utf8_lossy(&answer), "STORED\r\nEND\r\n");
    Memcached::with(&[]).tls().start();
}

#[test]
fn memcached_with_sasl_lets_in_who_knows_the_password() {
    let server = Memcached::with(&[]).sasl("user", "secret").start();
    assert_eq!(sasl_status(&server, "secret"), 0);
    assert_eq!(sasl_status(&server, "wrong"), 0x20);
}

/// The status that the binary protocol answers to SASL PLAIN.
fn sasl_status(server: &Memcached, password: &str) -> u16 {
    let body = format!("PLAIN\0user\0{password}");
    let mut request = vec![0x80, 0x21, 0, 5, 0, 0, 0, 0];
    request.extend((body.len() as u32).to_be_bytes());
    request.extend([0; 12]);
    request.extend(body.as_bytes());
    let mut stream = TcpStream::connect(server.socket_address()).unwrap();
    stream.write_all(&request).unwrap();
    let mut answer = [0; 24];
    stream.read_exact(&mut answer).unwrap();
    u16::from_be_bytes([answer[6], answer[7]])
}

#[test]
fn a_paused_server_is_silent_and_a_restarted_one_is_empty() {
    let server = Memcached::start();
    server.say("set a 0 0 1\r\n1\r\n");
    server.pause();
    let mut stream = TcpStream::connect(server.socket_address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    stream.write_all(b"get a\r\n").unwrap();
    assert!(stream.read(&mut [0; 8]).is_err());
    server.resume();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    assert!(stream.read(&mut [0; 8]).unwrap() > 0);
    let before = server.address();
    server.restart();
    assert_eq!(server.address(), before);
    assert!(server.say("get a\r\n").starts_with(b"END"));
    server.stop();
    assert!(TcpStream::connect(server.socket_address()).is_err());
    server.start_again();
    assert_eq!(server.stat("curr_items"), 0);
}

#[test]
fn redis_answers_with_and_without_a_password() {
    let redis = Redis::with(&["--requirepass", "secret", "--maxmemory", "8mb"]);
    assert!(redis.url().starts_with("redis://:secret@127."));
    let mut stream = TcpStream::connect(redis.socket_address()).unwrap();
    stream.write_all(b"PING\r\nAUTH secret\r\nPING\r\nQUIT\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("-NOAUTH") && answer.ends_with("+OK\r\n+PONG\r\n+OK\r\n"), "{answer}");
    assert!(redis.unix_socket().exists());
    redis.restart();
    Redis::with_tls(&[]);
}

#[test]
fn the_databases_give_each_test_a_database_and_keep_it_over_a_restart() {
    let postgres = Postgres::start();
    let (first, second) = (postgres.new_database(), postgres.new_database());
    assert_ne!(first, second);
    let name = first.rsplit('/').next().unwrap();
    postgres.say(name, "CREATE TABLE t (a int); INSERT INTO t VALUES (7)");
    postgres.restart();
    assert_eq!(postgres.say(name, "SELECT a FROM t"), "7\n");

    let mariadb = MariaDb::start();
    let name = mariadb.new_database();
    let name = name.rsplit('/').next().unwrap();
    mariadb.say(name, "CREATE TABLE t (a int); INSERT INTO t VALUES (7)");
    mariadb.restart();
    assert_eq!(mariadb.say(name, "SELECT a FROM t"), "7\n");
}

#[test]
fn django_speaks_with_memcached_through_both_clients() {
    let server = Memcached::start();
    let mut django = Django::start();
    for backend in ["PyMemcacheCache", "PyLibMCCache"] {
        django.make_cache(backend, backend, json!({"LOCATION": [server.address()], "KEY_PREFIX": backend}));
        django.call(backend, "set", json!(["a", {"bytes": "00ff"}]));
        assert_eq!(django.call(backend, "get", json!(["a"])), json!({"bytes": "00ff"}));
    }
    assert!(django.try_ask(json!({"do": "call", "cache": "?", "method": "get", "arguments": []})).is_err());
}

#[tokio::test]
async fn a_proxy_records_and_breaks() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = Memcached::start();
    server.say("set a 0 0 5\r\nvalue\r\n");
    let proxy = Proxy::to(server.socket_address()).await;
    let ask = async || {
        let mut stream = tokio::net::TcpStream::connect(proxy.socket_address()).await.unwrap();
        stream.write_all(b"get a\r\nquit\r\n").await.unwrap();
        let mut answer = Vec::new();
        let read = tokio::time::timeout(Duration::from_millis(300), stream.read_to_end(&mut answer)).await;
        (String::from_utf8(answer).unwrap(), read.is_ok())
    };
    let whole = "VALUE a 0 5\r\nvalue\r\nEND\r\n";
    assert_eq!(ask().await, (whole.to_owned(), true));
    assert_eq!(proxy.asked(), b"get a\r\nquit\r\n");
    assert_eq!(proxy.recorded()[0].answered, whole.as_bytes());
    proxy.set(Fault::CloseAfter(15));
    assert_eq!(ask().await.0, &whole[..15]);
    proxy.set(Fault::StallAfter(15));
    assert_eq!(ask().await, (whole[..15].to_owned(), false));
    proxy.set(Fault::Silence);
    assert_eq!(ask().await, (String::new(), false));
    proxy.set(Fault::Speak(b"BOO\r\n".to_vec()));
    assert!(ask().await.0.starts_with("BOO"));
    proxy.set(Fault::Rewrite(std::sync::Arc::new(|said| said.to_ascii_lowercase())));
    assert_eq!(ask().await.0, whole.to_lowercase());
    proxy.set(Fault::Close);
    assert_eq!(ask().await.0, "");
    proxy.set(Fault::Delay(Duration::from_millis(2)));
    assert_eq!(ask().await, (whole.to_owned(), true));
    assert_eq!(proxy.opened(), 8);
}

/// A test process that is killed takes its servers with it. The process is this very test again, told to wait.
#[test]
fn servers_end_with_a_killed_test_process() {
    if std::env::var_os("LARDER_WAITS_TO_BE_KILLED").is_some() {
        wait_to_be_killed();
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "servers_end_with_a_killed_test_process", "--nocapture"])
        .env("LARDER_WAITS_TO_BE_KILLED", "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let line = said.find_map(|line| line.split_once("started: ").map(|(_, rest)| rest.to_owned())).unwrap();
    let started: Vec<&str> = line.split(' ').collect();
    let address: SocketAddr = started[0].parse().unwrap();
    assert!(TcpStream::connect(address).is_ok());
    child.kill().unwrap();
    child.wait().unwrap();
    let start = Instant::now();
    let is_gone =
        || TcpStream::connect(address).is_err() && started[1..].iter().all(|folder| !Path::new(folder).exists());
    while !is_gone() {
        assert!(start.elapsed() < Duration::from_secs(60), "a server outlives its test: {line}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn wait_to_be_killed() -> ! {
    let (memcached, redis) = (Memcached::start(), Redis::start());
    memcached.pause();
    println!("started: {} {} {}", memcached.socket_address(), memcached.folder().display(), redis.folder().display());
    std::thread::sleep(Duration::from_secs(600));
    panic!("nobody killed it");
}

//! Two processes of one site share a store: a page that one of them filled is a hit in the other, and what one forgets the
//! other has forgotten. The site is `examples/site.rs`, the store what `CACHE_URL` says.

#[cfg(any(feature = "database", feature = "file", feature = "memcached", feature = "redis"))]
mod real;
#[expect(dead_code, reason = "its `main` is the example's")]
#[path = "../examples/site.rs"]
mod site;

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};

/// Where the site listens stands behind it on a line of its own.
const LISTENS: &str = "the site listens on ";

/// The site, in a process of its own, until its standard input ends, as it does with the process of the test.
#[test]
#[ignore = "the tests below run it in processes of its own"]
fn a_site() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.spawn(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("\n{LISTENS}{}", listener.local_addr().unwrap());
        axum::serve(listener, site::site()).await.unwrap();
    });
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

struct Site {
    process: Child,
    address: SocketAddr,
    /// Read no further, and open as long as the process may have something to say.
    _output: Lines<BufReader<ChildStdout>>,
}

impl Site {
    fn start(cache_url: &str) -> Site {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_site", "--ignored", "--nocapture"])
            .env("CACHE_URL", cache_url)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut lines = output.by_ref().map_while(Result::ok);
        let address = lines.find_map(|line| line.strip_prefix(LISTENS)?.parse().ok()).expect("the site starts");
        Site { process, address, _output: output }
    }

    fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        write!(stream, "{request} HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// The server may be busy with other tests, and the first connection takes its time.
#[cfg(any(feature = "database", feature = "file", feature = "memcached", feature = "redis"))]
const PATIENT: &str = "connect_timeout=30s&get_timeout=30s&set_timeout=30s";

#[cfg_attr(
    not(any(feature = "database", feature = "file", feature = "memcached", feature = "redis")),
    expect(dead_code)
)]
fn share(cache_url: &str) {
    let (one, other) = (Site::start(cache_url), Site::start(cache_url));
    for path in ["/", "/greeting", "/price"] {
        let filled = one.ask(&format!("GET {path}"));
        assert!(filled.contains("cache-status: larder; fwd=uri-miss; stored\r\n"), "{filled}");
        for site in [&one, &other, &other] {
            let hit = site.ask(&format!("GET {path}"));
            assert!(hit.contains("cache-status: larder; hit; ttl="), "{path}: {hit}");
            let body = |answer: &str| answer.split("\r\n\r\n").nth(1).map(str::to_owned);
            assert_eq!(body(&hit), body(&filled), "{path}");
        }
    }
    let forgotten = other.ask("POST /purge?page=/");
    assert!(forgotten.contains("forgotten"), "{forgotten}");
    let anew = one.ask("GET /");
    assert!(anew.contains("fwd=uri-miss; stored"), "{anew}");
    assert!(other.ask("GET /").contains("hit; ttl="));
}

#[cfg(feature = "memcached")]
#[test]
fn by_memcached() {
    let servers = [real::Memcached::start(), real::Memcached::start()];
    share(&format!("memcached://{},{}?{PATIENT}", servers[0].address(), servers[1].address()));
}

#[cfg(feature = "file")]
#[test]
fn by_files() {
    let folder = tempfile::tempdir().unwrap();
    share(&format!("file://{}/pages?{PATIENT}", folder.path().display()));
}

#[cfg(feature = "database")]
#[test]
fn by_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    share(&format!("sqlite://{}/pages.db?create_table=yes&{PATIENT}", folder.path().display()));
}

#[cfg(feature = "redis")]
#[test]
fn by_redis() {
    let server = real::Redis::start();
    share(&format!("{}?{PATIENT}", server.url()));
}

//! The hit bench over HTTP: the contestants behind hyper on a loopback socket, asked over keep-alive connections.
//! `benches/hit.rs` calls it with `--http`. The kernel, hyper and the client take most of the time.

use std::net::SocketAddr;
use std::time::Instant;

use axum::body::{Body, Bytes};
use http::{Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower::{Service, ServiceExt};

use super::contestants::{BODIES, bare, inside, outside, router};
use super::median;

const CONNECTIONS: usize = 32;
const REQUESTS: usize = 20_000;

/// Requests per second of each, medians over interleaved rounds; server and client share the machine.
pub fn compare(rounds: usize) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        for body in BODIES {
            let page = Bytes::from(vec![b'x'; body]);
            let servers = [
                ("axum route", serve(router(page.clone())).await),
                ("tower service", serve(bare(page.clone())).await),
                ("larder outside", serve(outside(page.clone())).await),
                ("larder inside", serve(inside(page)).await),
            ];
            let mut rates = vec![Vec::new(); servers.len()];
            for round in 0..=rounds {
                for ((_, address), rates) in servers.iter().zip(&mut rates) {
                    let rate = rate(*address).await;
                    if round > 0 {
                        rates.push(rate);
                    }
                }
            }
            println!("\nHTTP over loopback, body {} KiB, {CONNECTIONS} connections, {rounds} rounds", body / 1024);
            println!("{:<16}{:>14}{:>8}", "", "requests/s", "x axum");
            for ((name, _), mine) in servers.iter().zip(&rates) {
                let against: Vec<f64> = mine.iter().zip(&rates[0]).map(|(mine, base)| mine / base).collect();
                println!("{name:<16}{:>14.0}{:>8.2}", median(mine), median(&against));
            }
        }
    });
}

async fn serve<S, B>(service: S) -> SocketAddr
where
    S: Service<Request<Body>, Response = Response<B>, Error = std::convert::Infallible, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static,
    B: http_body::Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound socket has an address");
    // axum::serve wants axum's own body.
    let service = service.map_response(|response| response.map(Body::new));
    tokio::spawn(async move { axum::serve(listener, tower::make::Shared::new(service)).await });
    address
}

async fn rate(address: SocketAddr) -> f64 {
    let started = Instant::now();
    let mut connections = tokio::task::JoinSet::new();
    for _ in 0..CONNECTIONS {
        connections.spawn(ask(address, REQUESTS / CONNECTIONS));
    }
    connections.join_all().await;
    REQUESTS as f64 / started.elapsed().as_secs_f64()
}

/// Asks over one connection and reads each answer to its last byte, which the first answer's length tells.
async fn ask(address: SocketAddr, requests: usize) {
    let mut stream = TcpStream::connect(address).await.expect("the server listens");
    stream.set_nodelay(true).expect("a TCP socket");
    let request =
        "GET /articles/2026/a-page HTTP/1.1\r\nhost: www.example.com\r\naccept: */*\r\naccept-encoding: gzip\r\n\r\n";
    let mut buffer = vec![0; 128 * 1024];
    for _ in 0..requests {
        stream.write_all(request.as_bytes()).await.expect("the server reads");
        let mut filled = 0;
        let mut length = None;
        while length.is_none_or(|length| filled < length) {
            let read = stream.read(&mut buffer[filled..]).await.expect("the server answers");
            assert_ne!(read, 0, "the server closed the connection");
            filled += read;
            length = length.or_else(|| response_length(&buffer[..filled]));
        }
    }
}

/// Bytes of the response that begins here, once its head is there.
fn response_length(bytes: &[u8]) -> Option<usize> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..end]).expect("the head is text").to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 200"), "{head}");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a Content-Length");
    Some(end + length.trim().parse::<usize>().expect("a number"))
}

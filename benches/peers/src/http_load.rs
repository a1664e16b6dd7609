//! Requests per second over HTTP: everybody behind axum's server on a loopback socket, asked by `wrk` over 64 keep-alive
//! connections. `main.rs` runs it. The server has one core and one thread, `wrk` another core; the kernel and hyper take
//! most of the time.

use std::convert::Infallible;
use std::fmt::Debug;
use std::net::SocketAddr;
use std::process::Command;

use axum::body::{Body, Bytes};
use http::{Request, Response};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tower::{Service, ServiceExt};

use super::contestants::{BoxError, Meet, Who, each};
use super::origin::{Origin, PATH};
use super::{median, median_ratio};

const CONNECTIONS: usize = 64;
const SECONDS: usize = 2;
const SIZES: [usize; 2] = [1024, 64 * 1024];

pub fn compare(rounds: usize) {
    let is_there = Command::new("wrk").arg("--version").output().is_ok();
    if !is_there {
        eprintln!("the HTTP rounds need wrk: apt-get install wrk");
        std::process::exit(1);
    }
    println!("\n{}", keep_to_one_core());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime starts");
    for size in SIZES {
        let origin = Origin::quick(size);
        let mut servers = Servers { runtime: &runtime, addresses: Vec::new() };
        each(&origin, Who::Around, &mut servers);
        let addresses = servers.addresses;
        let mut rates = vec![Vec::new(); addresses.len()];
        // The first round warms up.
        for round in 0..=rounds {
            for ((name, address), rates) in addresses.iter().zip(&mut rates) {
                let rate = load(name, *address, if round == 0 { 1 } else { SECONDS });
                if round > 0 {
                    rates.push(rate);
                }
            }
        }
        let kib = size / 1024;
        println!(
            "\nHTTP over loopback, body {kib} KiB, wrk, {CONNECTIONS} connections, {rounds} rounds of {SECONDS} s"
        );
        println!("{:<34}{:>14}{:>8}", "", "requests/s", "x axum");
        for ((name, _), mine) in addresses.iter().zip(&rates) {
            println!("{name:<34}{:>14.0}{:>8.2}", median(mine), median_ratio(mine, &rates[0]));
        }
    }
}

struct Servers<'a> {
    runtime: &'a Runtime,
    addresses: Vec<(&'static str, SocketAddr)>,
}

impl Meet for Servers<'_> {
    fn meet<S, B>(&mut self, name: &'static str, service: S)
    where
        S: Service<Request<Body>, Response = Response<B>, Error: Debug, Future: Send> + Clone + Send + Sync + 'static,
        B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        // axum::serve wants axum's own body and a service that cannot fail.
        let service = service
            .map_response(|response| response.map(Body::new))
            .map_err(|error| -> Infallible { panic!("no cache fails here: {error:?}") });
        let listener = self.runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
        self.addresses.push((name, listener.local_addr().expect("a bound socket has an address")));
        self.runtime.spawn(async move { axum::serve(listener, tower::make::Shared::new(service)).await });
    }
}

/// Requests per second, as wrk says.
fn load(name: &str, address: SocketAddr, seconds: usize) -> f64 {
    let (connections, duration) = (CONNECTIONS.to_string(), format!("{seconds}s"));
    let url = format!("http://{address}{PATH}");
    let arguments = ["-t", "1", "-c", &connections, "-d", &duration, "-H", "accept-encoding: gzip, deflate, br", &url];
    let output = match has_two_cores() {
        true => Command::new("taskset").args(["-c", "1", "wrk"]).args(arguments).output(),
        false => Command::new("wrk").args(arguments).output(),
    };
    let output = output.expect("wrk was there before");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(!said.contains("Non-2xx") && !said.contains("Socket errors"), "{name}: {said}");
    let rate = said.lines().find_map(|line| line.strip_prefix("Requests/sec:")?.trim().parse().ok());
    rate.unwrap_or_else(|| panic!("{name}: wrk says {said}{}", String::from_utf8_lossy(&output.stderr)))
}

/// Leaves the second core to wrk.
fn keep_to_one_core() -> &'static str {
    let pid = std::process::id().to_string();
    if has_two_cores() && Command::new("taskset").args(["-a", "-p", "-c", "0", &pid]).output().is_ok() {
        "server on core 0, wrk on core 1"
    } else {
        "server and wrk share all cores"
    }
}

fn has_two_cores() -> bool {
    use std::sync::OnceLock;
    // Asked once, before this process keeps to one core.
    static HAS_TWO: OnceLock<bool> = OnceLock::new();
    *HAS_TWO.get_or_init(|| {
        let has_taskset = Command::new("taskset").arg("--version").output().is_ok();
        has_taskset && std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1)
    })
}

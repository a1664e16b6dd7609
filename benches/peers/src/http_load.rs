//! Requests per second over HTTP: everybody behind axum's server on a loopback socket, asked by `wrk` over 64 keep-alive
//! connections. `main.rs` runs it. The server has one core and one thread, `wrk` another core; the kernel and hyper take
//! most of the time. `wrk` is busy to nine tenths with the fastest, and has more to read where a head is longer: so beside
//! the rate stands what a request takes of the server's processor.

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
        let mut costs = vec![Vec::new(); addresses.len()];
        // The first round warms up.
        for round in 0..=rounds {
            for ((name, address), (rates, costs)) in addresses.iter().zip(rates.iter_mut().zip(&mut costs)) {
                let Load { rate, cost } = load(name, *address, if round == 0 { 1 } else { SECONDS });
                if round > 0 {
                    rates.push(rate);
                    costs.push(cost);
                }
            }
        }
        let kib = size / 1024;
        println!(
            "\nHTTP over loopback, body {kib} KiB, wrk, {CONNECTIONS} connections, {rounds} rounds of {SECONDS} s"
        );
        println!("{:<34}{:>14}{:>8}{:>14}{:>8}", "", "requests/s", "x axum", "server, us", "x axum");
        for ((name, _), (mine, cost)) in addresses.iter().zip(rates.iter().zip(&costs)) {
            let ratios = [median_ratio(mine, &rates[0]), median_ratio(cost, &costs[0])];
            println!("{name:<34}{:>14.0}{:>8.2}{:>14.2}{:>8.2}", median(mine), ratios[0], median(cost), ratios[1]);
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

/// What a server was loaded with.
struct Load {
    /// Requests per second, as wrk says.
    rate: f64,
    /// Microseconds of the server's processor that a request took, the kernel's work for it included.
    cost: f64,
}

fn load(name: &str, address: SocketAddr, seconds: usize) -> Load {
    let before = processor_time();
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
    let count = said.lines().find_map(|line| line.trim().split_once(" requests in ")?.0.parse::<f64>().ok());
    let (Some(rate), Some(count)) = (rate, count) else {
        panic!("{name}: wrk says {said}{}", String::from_utf8_lossy(&output.stderr))
    };
    Load { rate, cost: (processor_time() - before) * 1e6 / count }
}

/// Seconds that this process, which is the server, has had of a processor. Linux counts them in hundredths.
fn processor_time() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux tells what a process took");
    let behind_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: f64 = behind_name.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    ticks / 100.0
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

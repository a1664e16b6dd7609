//! larder beside the released caches for tower and axum, in one run: axum-response-cache, hitbox-tower,
//! http-cache-tower-server, tower-http-cache, tower-http-cache-plus and tower-resilience-cache, each with its store in
//! memory, around the router ("outside") and as `Router::layer` ("inside"), against the bare axum route and a bare service.
//!
//! `cargo run --release --manifest-path benches/peers/Cargo.toml [-- MODE] [--quick]`
//!
//! - without a mode: a warm hit through `tower::Service::call`, the body read to its end, for pages of 1 KiB and 64 KiB,
//!   with one task and with two at once, and the allocations of one hit. Rounds are interleaved, ratios are taken within a
//!   round, medians are printed. Before that, every contestant is asked whether it truly answers hits.
//! - `--http`: requests per second over loopback from `wrk` with 64 connections, keep-alive; the server has one core and
//!   one thread, `wrk` the other. Needs `wrk` (Debian: `apt-get install wrk`).
//! - `--stampede`: 200 requests at once for a cold page whose handler takes 50 ms, storable or not: how often the handler
//!   runs, and how long it takes until everybody has the answer.
//! - `--all`: all three. `--quick`: few rounds, to see that it works.

mod contestants;
#[path = "../../counting.rs"]
mod counting;
mod hit;
mod http_load;
mod origin;
mod stampede;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let modes = ["--all", "--http", "--stampede", "--quick"];
    if let Some(unknown) = arguments.iter().find(|argument| !modes.contains(&argument.as_str())) {
        eprintln!("no {unknown}: there are {}", modes.join(", "));
        std::process::exit(2);
    }
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let (is_quick, is_all) = (has("--quick"), has("--all"));
    if is_all || !(has("--http") || has("--stampede")) {
        hit::compare(if is_quick { 3 } else { 30 });
    }
    if is_all || has("--stampede") {
        stampede::compare(if is_quick { 1 } else { 5 });
    }
    // Last: it keeps this process to one core.
    if is_all || has("--http") {
        http_load::compare(if is_quick { 1 } else { 5 });
    }
}

pub(crate) fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Medians of the ratios of each round.
pub(crate) fn median_ratio(mine: &[f64], base: &[f64]) -> f64 {
    median(&mine.iter().zip(base).map(|(mine, base)| mine / base).collect::<Vec<_>>())
}

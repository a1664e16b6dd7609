//! What a store costs through larder: a page hit, a get and a set on each backend, beside the get of the raw client library
//! on the same server. Run it with `cargo bench --all-features --bench backends`; servers are started by the bench.
//!
//! One process, interleaved rounds: in each round every contestant of a store makes the same number of calls one after the
//! other, and then 64 tasks make them at once. The value is a stored page of 1 KiB for all of them, so that the same
//! bytes travel. Ratios are taken within a round; what is printed are medians of rounds, and percentiles of single calls.

#[path = "backends/contestants.rs"]
mod contestants;
#[path = "../tests/real/mod.rs"]
mod real;

use std::time::{Duration, Instant};

use contestants::{Ask, Contestants, all};

/// Calls of one contestant in one round.
const CALLS: usize = 400;
const TASKS: usize = 64;

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let rounds = arguments.iter().position(|argument| argument == "--rounds").and_then(|at| arguments.get(at + 1));
    let rounds = rounds.and_then(|rounds| rounds.parse().ok()).unwrap_or(20);
    println!(
        "a stored page of 1 KiB, {rounds} rounds of {CALLS} calls; microseconds, and pages per second of {TASKS} tasks"
    );
    println!(
        "{:<12}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}{:>12}{:>10}",
        "", "raw p50", "get p50", "p99", "set p50", "p99", "hit p50", "p99", "hits/s", "x raw"
    );
    for store in all().await {
        compare(&store, rounds).await;
    }
}

async fn compare(store: &Contestants, rounds: usize) {
    let [mut raw, mut get, mut set, mut hit] = [const { Vec::<Duration>::new() }; 4];
    let [mut hits, mut ratios] = [const { Vec::new() }; 2];
    for round in 0..=rounds {
        let times = [
            one_by_one(&store.raw_get).await,
            one_by_one(&store.get).await,
            one_by_one(&store.set).await,
            one_by_one(&store.hit).await,
        ];
        let at_once = [side_by_side(&store.raw_get).await, side_by_side(&store.hit).await];
        // The first round warms up.
        if round > 0 {
            for (all, these) in [&mut raw, &mut get, &mut set, &mut hit].into_iter().zip(times) {
                all.extend(these);
            }
            hits.push(at_once[1]);
            ratios.push(at_once[1] / at_once[0]);
        }
    }
    println!(
        "{:<12}{:>10.1}{:>10.1}{:>10.1}{:>10.1}{:>10.1}{:>10.1}{:>10.1}{:>12.0}{:>10.2}",
        store.name,
        percentile(&mut raw, 50),
        percentile(&mut get, 50),
        percentile(&mut get, 99),
        percentile(&mut set, 50),
        percentile(&mut set, 99),
        percentile(&mut hit, 50),
        percentile(&mut hit, 99),
        median(&mut hits),
        median(&mut ratios),
    );
}

async fn one_by_one(ask: &Ask) -> Vec<Duration> {
    let mut times = Vec::with_capacity(CALLS);
    for _ in 0..CALLS {
        let started = Instant::now();
        ask().await;
        times.push(started.elapsed());
    }
    times
}

/// Calls per second.
async fn side_by_side(ask: &Ask) -> f64 {
    let started = Instant::now();
    let tasks = (0..TASKS).map(|_| {
        let ask = ask.clone();
        tokio::spawn(async move {
            for _ in 0..CALLS.div_ceil(8) {
                ask().await;
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("a task that measures does not panic");
    }
    (TASKS * CALLS.div_ceil(8)) as f64 / started.elapsed().as_secs_f64()
}

/// In microseconds.
fn percentile(times: &mut [Duration], percent: usize) -> f64 {
    times.sort_unstable();
    times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e6
}

fn median(numbers: &mut [f64]) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

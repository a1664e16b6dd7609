//! What a warm hit costs: the same page from a bare axum route, a bare tower service, and larder outside and inside the
//! router. Run it with `cargo bench --bench hit`; `-- --http` adds requests over loopback, `-- --only NAME` serves one
//! contestant for a profiler.
//!
//! One process, interleaved rounds. Each round times every contestant on the same prepared requests, in short batches that
//! take turns; its time is that of the batch in the middle, since one that was interrupted says nothing of a hit. Each
//! ratio is taken within a round; what is printed are medians. A request's life is: clone the service (as axum and hyper do),
//! `poll_ready`, `call`, read the body to its end, drop the response. Making the request is not in it.
//!
//! Where the time goes, outside of the router (callgrind, instructions of a hit on the page of 1 KiB; the same for every
//! size): 3,790 in `call`, of which 1,200 make the answer (the clone of a head of nine headers 570, the rest is its body,
//! its `Age` and putting it where it stays), 850 drop the request, 730 find the page (its variant 300, hash and hot set
//! 180, the shelf the rest), 220 read its origin, 190 write its address, 170 go through its headers, 60 read the clock.
//! What instructions do not show are some fourteen atomic counters (counted in the code, not measured): of the service, the
//! hot set, the body, the values of headers that are not static. Inside of the router axum adds what it takes for any
//! route: it boxes the service, the future and the body, and puts a `Content-Length` where a hit has none. A hit there is
//! 270 instructions more than the bare route, which puts its six headers together for every request.

#[path = "hit/contestants.rs"]
mod contestants;
mod counting;
#[path = "hit/http.rs"]
mod http_rounds;

use std::sync::Barrier;
use std::time::{Duration, Instant};

use contestants::{BODIES, Contestant, all};

/// Few enough to stay in the processor's cache, as the one request of a real server does.
const BATCH: usize = 32;
const BATCHES: usize = 250;

/// The most that design.md lets larder take: name, what of the bare axum route with one task, and with two.
const BUDGETS: [(&str, f64, f64); 2] = [("larder outside", 0.60, 0.85), ("larder inside", 1.00, 1.00)];
const MOST_ALLOCATIONS: u64 = 4;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let value =
        |name: &str| arguments.iter().position(|argument| argument == name).and_then(|at| arguments.get(at + 1));
    if let Some(name) = value("--only") {
        return serve_only(name);
    }
    let rounds = value("--rounds").and_then(|rounds| rounds.parse().ok()).unwrap_or(40);
    for body in BODIES {
        compare(body, rounds);
    }
    if has("--http") {
        http_rounds::compare(rounds.min(10));
    }
}

fn compare(body: usize, rounds: usize) {
    let contestants = all(body);
    let allocations: Vec<u64> = contestants.iter().map(Contestant::allocations_of_a_hit).collect();
    let mut alone = vec![Vec::new(); contestants.len()];
    let mut in_two = vec![Vec::new(); contestants.len()];
    for round in 0..=rounds {
        let one = time_alone(&contestants);
        let two: Vec<f64> = contestants.iter().map(time_in_two).collect();
        // The first round warms up.
        if round > 0 {
            for position in 0..contestants.len() {
                alone[position].push(one[position]);
                in_two[position].push(two[position]);
            }
        }
    }
    println!("\nwarm hit, body {} KiB, {rounds} rounds, nanoseconds per request", body / 1024);
    println!(
        "{:<16}{:>8}{:>8}{:>8}{:>10}{:>8}{:>8}{:>13}{:>8}",
        "", "1 task", "x axum", "budget", "2 tasks", "x axum", "budget", "allocations", "budget"
    );
    for (position, contestant) in contestants.iter().enumerate() {
        let budget = BUDGETS.iter().find(|(name, ..)| *name == contestant.name);
        let shown = |budget: Option<f64>| budget.map_or("-".to_owned(), |budget| format!("{budget:.2}"));
        let most = if contestant.name == "larder outside" { MOST_ALLOCATIONS.to_string() } else { "-".into() };
        println!(
            "{:<16}{:>8.0}{:>8.2}{:>8}{:>10.0}{:>8.2}{:>8}{:>13}{:>8}",
            contestant.name,
            median(&alone[position]),
            median(&ratios(&alone[position], &alone[0])),
            shown(budget.map(|budget| budget.1)),
            median(&in_two[position]),
            median(&ratios(&in_two[position], &in_two[0])),
            shown(budget.map(|budget| budget.2)),
            allocations[position],
            most
        );
    }
}

/// Nanoseconds per request of one task, for each contestant.
fn time_alone(contestants: &[Contestant]) -> Vec<f64> {
    let mut times = vec![Vec::with_capacity(BATCHES); contestants.len()];
    for _ in 0..BATCHES {
        for (contestant, times) in contestants.iter().zip(&mut times) {
            let requests = contestant.requests(BATCH);
            let started = Instant::now();
            contestant.answer(requests);
            times.push(per_request(started.elapsed()));
        }
    }
    times.iter().map(|times| median(times)).collect()
}

/// Nanoseconds per request of each of two tasks that ask at the same time.
fn time_in_two(contestant: &Contestant) -> f64 {
    let barrier = Barrier::new(2);
    std::thread::scope(|scope| {
        let task = || {
            let mut times = Vec::with_capacity(BATCHES);
            for _ in 0..BATCHES {
                let requests = contestant.requests(BATCH);
                barrier.wait();
                let started = Instant::now();
                contestant.answer(requests);
                times.push(per_request(started.elapsed()));
            }
            median(&times)
        };
        let tasks = [scope.spawn(task), scope.spawn(task)];
        let [one, two] = tasks.map(|task| task.join().expect("a task that measures does not panic"));
        (one + two) / 2.0
    })
}

fn per_request(batch: Duration) -> f64 {
    batch.as_nanos() as f64 / BATCH as f64
}

fn ratios(times: &[f64], base: &[f64]) -> Vec<f64> {
    times.iter().zip(base).map(|(time, base)| time / base).collect()
}

pub(crate) fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Answers two million requests and nothing else, so that a profile shows the hit.
fn serve_only(name: &str) {
    let contestants = all(BODIES[0]);
    let Some(contestant) = contestants.iter().find(|contestant| contestant.name == name) else {
        let names: Vec<&str> = contestants.iter().map(|contestant| contestant.name).collect();
        eprintln!("no contestant {name:?}; there are {names:?}");
        std::process::exit(2);
    };
    let requests = std::env::var("REQUESTS").ok().and_then(|requests| requests.parse().ok()).unwrap_or(2_000_000);
    for _ in 0..requests / BATCH {
        contestant.answer(contestant.requests(BATCH));
    }
}

//! What a store costs through larder: a page hit, a get and a set on each backend, beside the raw client library on the same
//! server. Run it with `cargo bench --all-features --bench backends`; servers are started by the bench.
//!
//! One process, interleaved rounds: in each round every contestant of a store makes the same number of calls one after the
//! other, and then 64 tasks make them at once. The page of 1 KiB is the same bytes for all of them. Ratios are taken within a
//! round; what is printed are medians of rounds, and percentiles of single calls.
//!
//! A hit asks for three keys in one round trip: what is known of its URL, the stamp that purges take away, and the page.
//! Beside it stand two fetches of the raw client: of the page's key alone, and of the very keys the hit asks for, which is
//! what a program without larder pays for the same promises.
//!
//! 64 visitors of one page share reads: larder reads a page that many look for once at a time. How it is where hardly anybody
//! shares stands in the last columns, where each call is for another one of 64 pages.
//!
//! Where the time of a hit goes, as instructions under callgrind, 64 tasks on memcached, each call for another page:
//!
//! | | instructions |
//! |---|---:|
//! | the raw client's fetch of the three keys | 17,900 |
//! | the address, its textual keys recalled, and what else a visit takes down before it looks | 1,700 |
//! | the three keys in the cache's scope | 2,400 |
//! | who else reads them now | 3,000 |
//! | the frame recalled by its bytes, whether it is for this visitor, and the rest of the look-up | 3,600 |
//! | the response, and what is dropped | 2,600 |
//! | a hit | 31,200 |
//! | a hit that shares its reads | 13,000 |
//!
//! A page that is not recalled takes some 8,000 more, for the digest of its URL, the checksum and the pieces of its frame, and
//! a map of its headers. A hit makes no system call that the raw fetch does not make.
//!
//! `--rounds N` is how long to measure, `--only redis,sqlite` which stores. For a profiler: `--ask hit --times 20000
//! --tasks 64` makes just these calls (`raw`, `keys`, `get`, `set`, `hit`, `keys-apart` and `hit-apart` are known) and ends.

#[path = "backends/contestants.rs"]
mod contestants;
#[path = "../tests/world/forward.rs"]
mod forward;
#[path = "../tests/real/mod.rs"]
mod real;
#[path = "backends/recording.rs"]
mod recording;

use std::time::{Duration, Instant};

use contestants::{Ask, Contestants, STORES};

/// Calls of one contestant in one round.
const CALLS: usize = 400;
const TASKS: usize = 64;
/// Calls of each of these tasks in one round.
const CALLS_OF_A_TASK: usize = 50;
/// The least share of the raw client's speed that a store is to have through larder.
const TARGET: f64 = 0.90;

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let option =
        |name: &str| arguments.iter().position(|argument| argument == name).and_then(|at| arguments.get(at + 1));
    let number = |name: &str| option(name).and_then(|number| number.parse::<usize>().ok());
    let only = option("--only");
    let stores = STORES.iter().filter(|store| only.is_none_or(|only| only.split(',').any(|name| name == **store)));
    if let Some(ask) = option("--ask") {
        for store in stores {
            let contestants = Contestants::on(store).await;
            let (times, tasks) = (number("--times").unwrap_or(10_000), number("--tasks").unwrap_or(1));
            at_once(contestants.named(ask), tasks, times / tasks).await;
            assert_eq!(contestants.missed(), 0, "each call is a hit");
        }
        return;
    }
    let rounds = number("--rounds").unwrap_or(20);
    println!("a stored page of 1 KiB, {rounds} rounds; the target of each ratio is {TARGET:.2}");
    println!(
        "{:<11} | {:<62} | {:<24} | {:<35} | {:<34}",
        "", "one task: microseconds, p50 (p99)", "raw / larder", "64 tasks: calls a second", "larder / raw"
    );
    println!(
        "{:<11} | {:>8} {:>8} {:>14} {:>14} {:>14} | {:>7} {:>7} {:>8} | {:>8} {:>8} {:>8} {:>8} | {:>7} {:>7} {:>8} {:>8}",
        "",
        "raw",
        "raw keys",
        "get",
        "set",
        "hit",
        "get/raw",
        "hit/raw",
        "hit/keys",
        "raw",
        "raw keys",
        "hits",
        "apart",
        "get/raw",
        "hit/raw",
        "hit/keys",
        "apart",
    );
    for store in stores {
        compare(store, &Contestants::on(store).await, rounds).await;
    }
}

/// What the calls of one contestant took, round by round.
#[derive(Default)]
struct Times {
    single: Vec<Duration>,
    median: Vec<f64>,
    per_second: Vec<f64>,
}

async fn compare(name: &str, store: &Contestants, rounds: usize) {
    let Contestants { raw_get, raw_keys, get, set, hit, raw_keys_apart, hit_apart, .. } = store;
    let asks = [raw_get, raw_keys, get, set, hit, raw_keys_apart, hit_apart];
    let mut times: [Times; 7] = Default::default();
    for round in 0..=rounds {
        // Who goes first is another one each time: what comes behind a pause finds a cold processor.
        for turn in 0..asks.len() {
            let who = (round + turn) % asks.len();
            let mut singles = one_by_one(asks[who]).await;
            // The first round warms up.
            if round > 0 {
                times[who].median.push(percentile(&mut singles, 50));
                times[who].single.extend(singles);
            }
        }
        for turn in 0..asks.len() {
            let who = (round + turn) % asks.len();
            let per_second = at_once(asks[who], TASKS, CALLS_OF_A_TASK).await;
            if round > 0 {
                times[who].per_second.push(per_second);
            }
        }
    }
    assert_eq!(store.missed(), 0, "each call is a hit");
    let [raw, keys, get, set, hit, keys_apart, hit_apart] = &mut times;
    let of_times =
        |one: &Times, other: &Times| median(one.median.iter().zip(&other.median).map(|(one, other)| other / one));
    let of_rates = |one: &Times, other: &Times| {
        median(one.per_second.iter().zip(&other.per_second).map(|(one, other)| one / other))
    };
    let ratios = [of_times(get, raw), of_times(hit, raw), of_times(hit, keys)];
    let rates = [of_rates(get, raw), of_rates(hit, raw), of_rates(hit, keys), of_rates(hit_apart, keys_apart)];
    let rate = |who: &Times| median(who.per_second.iter().copied());
    let [raw_rate, keys_rate, hit_rate, apart_rate] = [rate(raw), rate(keys), rate(hit), rate(hit_apart)];
    let both =
        |who: &mut Times| format!("{:.1} ({:.1})", percentile(&mut who.single, 50), percentile(&mut who.single, 99));
    println!(
        "{name:<11} | {:>8.1} {:>8.1} {:>14} {:>14} {:>14} | {:>7.2} {:>7.2} {:>8.2} | {raw_rate:>8.0} {keys_rate:>8.0} \
         {hit_rate:>8.0} {apart_rate:>8.0} | {:>7.2} {:>7.2} {:>8.2} {:>8.2}",
        percentile(&mut raw.single, 50),
        percentile(&mut keys.single, 50),
        both(get),
        both(set),
        both(hit),
        ratios[0],
        ratios[1],
        ratios[2],
        rates[0],
        rates[1],
        rates[2],
        rates[3],
    );
}

async fn one_by_one(ask: &Ask) -> Vec<Duration> {
    let ask = ask.clone();
    // On a thread of the runtime, as the tasks of a server are: the main thread would be woken by it for each call.
    let calls = tokio::spawn(async move {
        let mut times = Vec::with_capacity(CALLS);
        for _ in 0..CALLS {
            let started = Instant::now();
            ask().await;
            times.push(started.elapsed());
        }
        times
    });
    calls.await.expect("a task that measures does not panic")
}

/// Calls per second.
async fn at_once(ask: &Ask, tasks: usize, calls: usize) -> f64 {
    let started = Instant::now();
    let running = (0..tasks).map(|_| {
        let ask = ask.clone();
        tokio::spawn(async move {
            for _ in 0..calls {
                ask().await;
            }
        })
    });
    for task in running.collect::<Vec<_>>() {
        task.await.expect("a task that measures does not panic");
    }
    (tasks * calls) as f64 / started.elapsed().as_secs_f64()
}

/// In microseconds.
fn percentile(times: &mut [Duration], percent: usize) -> f64 {
    times.sort_unstable();
    times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e6
}

fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

//! The soak: the chaos of `tests/chaos/` in memory for ten minutes, beside a flood of pages that nobody asks for again; the
//! resident memory of the process is printed every minute and must stay flat. Run it by hand, Linux only:
//!
//! `cargo bench --bench soak [-- --minutes 10]`

#![allow(missing_docs)]

#[path = "../tests/chaos/mod.rs"]
mod chaos;
#[path = "../tests/real/mod.rs"]
mod real;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use chaos::ledger::Ledger;
use chaos::{Beside, Chaos, seed};
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use larder::backend::Memory;
use larder::{Cache, CacheLayer, ManualClock, Timestamp};
use tower::{Layer, ServiceExt, service_fn};

const BUDGET: usize = 32 << 20;
/// What the process may grow by once the store is full: the allocator's fragments.
const MOST_GROWTH: u64 = 16 << 20;
const MINUTE: Duration = Duration::from_secs(60);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let minutes = match arguments.as_slice() {
        [] => 10,
        [name, minutes] if name == "--minutes" => minutes.parse().expect("--minutes is a number"),
        _ => panic!("{arguments:?}: only --minutes N is known"),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime starts");
    let residents = runtime.block_on(soak(minutes));
    // The store fills within the first minutes.
    let [.., last] = residents.as_slice() else { panic!("less than a minute") };
    let full = residents[(residents.len() / 5).min(residents.len() - 1)];
    println!("resident: {} MiB when full, {} MiB at the end", full >> 20, last >> 20);
    assert!(*last < full + MOST_GROWTH, "memory grew from {full} to {last} bytes");
}

/// Resident bytes at the end of each minute.
async fn soak(minutes: u32) -> Vec<u64> {
    let hands = ManualClock::at(Timestamp::from_secs(1_700_000_000));
    let memory = Memory::builder().max_bytes(BUDGET).clock(hands.clock()).build();
    let cache = Cache::builder(memory.clone()).key_prefix("chaos").build();
    let residents = Arc::new(std::sync::Mutex::new(Vec::new()));
    let beside: Beside = {
        // Apart: the chaos clears its cache again and again, and the store is to be full.
        let flooded_cache = Cache::builder(memory.clone()).key_prefix("flood").build();
        let residents = Arc::clone(&residents);
        Box::new(move |ledger, _, end| {
            let flooded = Arc::new(AtomicU64::new(0));
            tokio::spawn(flood(flooded_cache, Arc::clone(&flooded), end));
            tokio::spawn(async move {
                for minute in 1..=minutes {
                    tokio::time::sleep_until((end - MINUTE * (minutes - minute)).into()).await;
                    let resident = resident();
                    residents.lock().unwrap().push(resident);
                    tell(minute, resident, &memory, &flooded, &ledger);
                }
            })
        })
    };
    let length = MINUTE * minutes;
    let chaos = Chaos { name: "soak", seed: seed(), length, caches: vec![cache], hands: Some(hands), can_clear: true };
    chaos.run(Some(beside)).await;
    let residents = residents.lock().unwrap();
    residents.clone()
}

fn tell(minute: u32, resident: u64, memory: &Memory, flooded: &AtomicU64, ledger: &Ledger) {
    let count = &ledger.count;
    println!(
        "minute {minute:>3}: {:>5} MiB resident, store {:>3} MiB in {:>6} entries, {:>9} asked, {:>8} hits, {:>9} flooded",
        resident >> 20,
        memory.usage() >> 20,
        memory.entries(),
        count.asked.load(Relaxed),
        count.hits.load(Relaxed),
        flooded.load(Relaxed)
    );
}

/// Pages of all sizes that nobody asks for again, in the same store.
async fn flood(cache: Cache, flooded: Arc<AtomicU64>, end: Instant) {
    let handler = service_fn(|request: Request<Empty<Bytes>>| async move {
        let number: usize = request.uri().query().and_then(|query| query.parse().ok()).unwrap_or_default();
        let size = if number.is_multiple_of(200) { 200_000 } else { number * 37 % 4_000 };
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(vec![b'x'; size]))))
    });
    let site = CacheLayer::per_site().cache(&cache).layer(handler);
    while Instant::now() < end {
        let number = flooded.fetch_add(1, Relaxed);
        let request = Request::get(format!("http://flood.example/?{number}")).body(Empty::new()).expect("a request");
        let Ok(response) = site.clone().oneshot(request).await;
        let _ = response.into_body().collect().await;
        if number.is_multiple_of(100) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux has /proc/self/statm");
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.expect("the second number of statm is the resident pages") * 4096
}

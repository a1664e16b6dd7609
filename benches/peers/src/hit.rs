//! The warm hit: everybody answers the same prepared requests, in short batches that take turns. `main.rs` runs it.
//!
//! A request's life is: clone the service (as axum and hyper do), `poll_ready`, `call`, read the body to its end, drop the
//! response. Making the request is not in it. A round's time is that of the batch in the middle.

use std::fmt::Debug;
use std::pin::pin;
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use http::{Request, Response};
use http_body_util::BodyExt;
use tower::Service;

use super::contestants::{BoxError, Meet, Who, each};
use super::origin::{Origin, PATH, request};
use super::{counting, median, median_ratio};

const SIZES: [usize; 2] = [1024, 64 * 1024];
/// Few enough to stay in the processor's cache, as the one request of a real server does.
const BATCH: usize = 32;
/// Asked first in every turn: the others have left their own data in that cache.
const WARM_UP: usize = 8;
/// Turns of a round. Who needs long for a batch gets every n-th turn only.
const TURNS: usize = 150;
const LONG: Duration = Duration::from_micros(100);
/// Some peers store in the background.
const PATIENCE: Duration = Duration::from_secs(10);

pub fn compare(rounds: usize) {
    // Some peers spawn tasks.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime starts");
    let _entered = runtime.enter();
    for size in SIZES {
        let origin = Origin::quick(size);
        let mut all = Collected { origin: origin.clone(), runtime: runtime.handle().clone(), contestants: Vec::new() };
        each(&origin, Who::Everybody, &mut all);
        time(&all.contestants, size, rounds);
    }
}

struct Contestant {
    name: &'static str,
    answer: Box<dyn Fn(Vec<Request<Body>>) + Send + Sync>,
    allocations: u64,
    /// Takes part in every so many turns.
    every: usize,
}

struct Collected {
    origin: Origin,
    runtime: tokio::runtime::Handle,
    contestants: Vec<Contestant>,
}

impl Meet for Collected {
    fn meet<S, B>(&mut self, name: &'static str, service: S)
    where
        S: Service<Request<Body>, Response = Response<B>, Error: Debug, Future: Send> + Clone + Send + Sync + 'static,
        B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let (size, runtime) = (self.origin.size(), self.runtime.clone());
        let answer = Box::new(move |requests: Vec<Request<Body>>| {
            let _entered = runtime.enter();
            finish(async {
                for request in requests {
                    assert_eq!(ask(service.clone(), request).await, size, "{name}");
                }
            });
        });
        let is_cache = !matches!(name, super::contestants::BASE | "tower service");
        let started = Instant::now();
        loop {
            self.origin.start_counting();
            answer(requests(BATCH));
            let executions = self.origin.executions();
            if !is_cache || executions == 0 {
                break;
            }
            assert!(started.elapsed() < PATIENCE, "{name} answers no hits: the handler ran {executions} times");
            std::thread::sleep(Duration::from_millis(10));
        }
        let one = vec![request(PATH)];
        let before = counting::allocations();
        answer(one);
        let allocations = counting::allocations() - before;
        let requests = requests(BATCH);
        let started = Instant::now();
        answer(requests);
        let every = (started.elapsed().as_nanos() / LONG.as_nanos()).clamp(1, 75) as usize;
        self.contestants.push(Contestant { name, answer, allocations, every });
    }
}

fn requests(count: usize) -> Vec<Request<Body>> {
    (0..count).map(|_| request(PATH)).collect()
}

fn time(contestants: &[Contestant], size: usize, rounds: usize) {
    let mut alone = vec![Vec::new(); contestants.len()];
    let mut in_two = vec![Vec::new(); contestants.len()];
    // The first round warms up.
    for round in 0..=rounds {
        let one = time_alone(contestants);
        let two: Vec<f64> = contestants.iter().map(time_in_two).collect();
        if round > 0 {
            for position in 0..contestants.len() {
                alone[position].push(one[position]);
                in_two[position].push(two[position]);
            }
        }
    }
    println!("\nwarm hit, body {} KiB, {rounds} rounds, nanoseconds per request", size / 1024);
    println!("{:<34}{:>9}{:>8}{:>10}{:>8}{:>13}", "", "1 task", "x axum", "2 tasks", "x axum", "allocations");
    for (position, contestant) in contestants.iter().enumerate() {
        println!(
            "{:<34}{:>9.0}{:>8.2}{:>10.0}{:>8.2}{:>13}",
            contestant.name,
            median(&alone[position]),
            median_ratio(&alone[position], &alone[0]),
            median(&in_two[position]),
            median_ratio(&in_two[position], &in_two[0]),
            contestant.allocations
        );
    }
}

/// Nanoseconds per request of one task, for each contestant.
fn time_alone(contestants: &[Contestant]) -> Vec<f64> {
    let mut times = vec![Vec::with_capacity(TURNS); contestants.len()];
    for turn in 0..TURNS {
        for (contestant, times) in contestants.iter().zip(&mut times) {
            if turn % contestant.every == 0 {
                let (warm_up, requests) = (requests(WARM_UP), requests(BATCH));
                (contestant.answer)(warm_up);
                let started = Instant::now();
                (contestant.answer)(requests);
                times.push(per_request(started.elapsed()));
            }
        }
    }
    times.iter().map(|times| median(times)).collect()
}

/// Nanoseconds per request of each of two tasks that ask at the same time.
fn time_in_two(contestant: &Contestant) -> f64 {
    let barrier = Barrier::new(2);
    std::thread::scope(|scope| {
        let task = || {
            let mut times = Vec::with_capacity(TURNS);
            for _ in (0..TURNS).step_by(contestant.every) {
                let requests = requests(BATCH);
                barrier.wait();
                let started = Instant::now();
                (contestant.answer)(requests);
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

async fn ask<S, B>(mut service: S, request: Request<Body>) -> usize
where
    S: Service<Request<Body>, Response = Response<B>, Error: Debug>,
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>>,
{
    std::future::poll_fn(|context| service.poll_ready(context)).await.expect("it is ready");
    let response = service.call(request).await.expect("it answers");
    let mut body = pin!(response.into_body());
    let mut size = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.unwrap_or_else(|error| panic!("a body from memory fails: {}", error.into()));
        size += frame.data_ref().map_or(0, Bytes::len);
    }
    size
}

/// Runs a future on this thread. No hit waits, so that no runtime is in the measurement; a fill may.
fn finish<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let mut future = pin!(future);
    if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        return output;
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park_timeout(Duration::from_millis(100)),
        }
    }
}

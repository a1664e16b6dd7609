//! How those who wait for a page should get it: when it is done, as larder does it, or piece by piece as it comes. Run it
//! with `cargo bench --bench stampede`.
//!
//! A thousand tasks wait for one cold page, on a runtime with two threads. Its handler gives the body in 16 pieces, one
//! after the other, with a pause before each. "When done" is the real thing: a cache layer over memory, where those who
//! wait look for the page when it is stored. "As it comes" is the least that streaming could cost: pieces shared behind a
//! lock, each reader woken for each piece, and no look at whether the page is for him.
//!
//! The columns are medians, counted from the moment the handler is let go: until half of the waiters have the first byte,
//! until the last one has the last byte, and the processor time of it all. On two cores with other work on them:
//!
//! ```text
//!                                         first byte       last byte       processor
//! 1 KiB, 0 ms a piece, when done             2.37 ms         4.49 ms         8.43 ms
//! 1 KiB, 0 ms a piece, as it comes           1.33 ms         2.97 ms         3.79 ms
//! 1 KiB, 5 ms a piece, when done           109.91 ms       114.56 ms        10.45 ms
//! 1 KiB, 5 ms a piece, as it comes           6.76 ms       124.28 ms        15.93 ms
//! 1 MiB, 0 ms a piece, when done             3.62 ms        14.42 ms         8.73 ms
//! 1 MiB, 0 ms a piece, as it comes           1.55 ms         3.33 ms         4.13 ms
//! 1 MiB, 5 ms a piece, when done           109.80 ms       111.18 ms         9.85 ms
//! 1 MiB, 5 ms a piece, as it comes           6.88 ms       135.39 ms        17.88 ms
//! ```
//!
//! A body that is there at once, as most are, takes 4 to 14 µs a waiter when done, and 3 as it comes. One that comes slowly
//! is complete for everybody sooner, and for half to two thirds of the work, when it is done; what streaming has before it is
//! the first byte. That does not weigh against what it would give up: who is given half a page cannot be given another when the handler fails, is short
//! of its length or turns out too large (safety rule 18), and every rule of a hit, from `Age` and 304 to variants and
//! purges, would have to hold once more for pages under way.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty};
use larder::{Cache, CacheLayer};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tower::{Layer, ServiceExt, service_fn};

const WAITERS: usize = 1_000;
const PIECES: usize = 16;
const ROUNDS: usize = 15;

fn main() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    println!("{:<34}{:>16}{:>16}{:>16}", "", "first byte", "last byte", "processor");
    for (size, name) in [(1_024, "1 KiB"), (1_048_576, "1 MiB")] {
        for pause in [Duration::ZERO, Duration::from_millis(5)] {
            let what = format!("{name}, {} ms a piece", pause.as_millis());
            row(&format!("{what}, when done"), || runtime.block_on(when_done(size, pause)));
            row(&format!("{what}, as it comes"), || runtime.block_on(as_it_comes(size, pause)));
        }
    }
}

/// Until half have the first byte, until all have the last one.
type Times = [Duration; 2];

fn row(name: &str, round: impl Fn() -> Times) {
    let mut columns: [Vec<Duration>; 3] = Default::default();
    for _ in 0..ROUNDS {
        let before = processor_time();
        let [first, last] = round();
        for (column, time) in columns.iter_mut().zip([first, last, processor_time() - before]) {
            column.push(time);
        }
    }
    let medians = columns.map(|mut column| {
        column.sort();
        format!("{:.2} ms", column[ROUNDS / 2].as_secs_f64() * 1e3)
    });
    println!("{name:<34}{:>16}{:>16}{:>16}", medians[0], medians[1], medians[2]);
}

/// What this process has used of the processors so far, as Linux tells it.
fn processor_time() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let spent = threads.filter_map(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        stat.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(spent.sum())
}

/// A body in pieces, with a pause before each.
struct Slow {
    pieces: usize,
    size: usize,
    pause: Duration,
    sleep: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Slow {
    fn new(size: usize, pause: Duration) -> Self {
        Slow { pieces: PIECES, size, pause, sleep: None }
    }

    fn piece(&self) -> Bytes {
        Bytes::from(vec![b'x'; self.size / PIECES])
    }
}

impl Body for Slow {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.pieces == 0 {
            return Poll::Ready(None);
        }
        let pause = self.pause;
        if !pause.is_zero() {
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
            ready!(sleep.as_mut().poll(context));
            self.sleep = None;
        }
        self.pieces -= 1;
        Poll::Ready(Some(Ok(Frame::data(self.piece()))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact((self.pieces * (self.size / PIECES)) as u64)
    }
}

async fn when_done(size: usize, pause: Duration) -> Times {
    let (gate, open) = watch::channel(false);
    let handler = service_fn(move |_: Request<Empty<Bytes>>| {
        let mut open = open.clone();
        async move {
            let _ = open.wait_for(|open| *open).await;
            Ok::<_, Infallible>(Response::new(Slow::new(size, pause)))
        }
    });
    let site = CacheLayer::per_site().cache(&Cache::memory()).layer(handler);
    let begun: Arc<Mutex<Option<Instant>>> = Arc::default();
    let mut waiters = JoinSet::new();
    for _ in 0..=WAITERS {
        let (site, begun) = (site.clone(), Arc::clone(&begun));
        waiters.spawn(async move {
            let request = Request::get("http://localhost/").body(Empty::new()).expect("a request");
            let Ok(response) = site.oneshot(request).await;
            times(response.into_body(), &begun).await
        });
    }
    settle().await;
    *begun.lock().expect("no panic") = Some(Instant::now());
    gate.send_replace(true);
    summary(waiters.join_all().await)
}

/// The pieces so far, behind a number that all readers watch.
async fn as_it_comes(size: usize, pause: Duration) -> Times {
    let pieces: Arc<Mutex<Vec<Bytes>>> = Arc::default();
    let (came, comes) = watch::channel(0usize);
    let begun: Arc<Mutex<Option<Instant>>> = Arc::default();
    let mut waiters = JoinSet::new();
    for _ in 0..=WAITERS {
        let (pieces, mut comes, begun) = (Arc::clone(&pieces), comes.clone(), Arc::clone(&begun));
        waiters.spawn(async move {
            let (mut taken, mut first) = (0, None);
            while taken < PIECES {
                let _ = comes.wait_for(|came| *came > taken).await;
                let piece = pieces.lock().expect("no panic").get(taken).cloned();
                std::hint::black_box(piece);
                taken += 1;
                first.get_or_insert_with(Instant::now);
            }
            let begun = begun.lock().expect("no panic").expect("it has begun");
            [first.expect("a piece") - begun, begun.elapsed()]
        });
    }
    settle().await;
    *begun.lock().expect("no panic") = Some(Instant::now());
    let mut body = Slow::new(size, pause);
    while let Some(Ok(frame)) = body.frame().await {
        pieces.lock().expect("no panic").extend(frame.into_data().ok());
        came.send_modify(|came| *came += 1);
    }
    summary(waiters.join_all().await)
}

async fn times<B: Body<Error: std::fmt::Debug> + Unpin>(mut body: B, begun: &Mutex<Option<Instant>>) -> Times {
    let mut first = None;
    while let Some(frame) = body.frame().await {
        std::hint::black_box(frame.expect("the body is well").is_data());
        first.get_or_insert_with(Instant::now);
    }
    let begun = begun.lock().expect("no panic").expect("it has begun");
    [first.expect("a piece") - begun, begun.elapsed()]
}

/// All tasks have come as far as they can.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}

fn summary(mut times: Vec<Times>) -> Times {
    times.sort_by_key(|[first, _]| *first);
    let half = times[times.len() / 2][0];
    [half, times.iter().map(|[_, last]| *last).max().unwrap_or_default()]
}

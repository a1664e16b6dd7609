//! The stampede: 200 requests at once for a page that nobody has, whose handler takes 50 ms. `main.rs` runs it.
//!
//! A page that may not be stored is asked for twice by everybody: a cache that lets its visitors wait for each other may
//! learn from the first time that there is nothing to wait for. And once more, 200 with `no-store`: who stores it anyway?

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use http::{Request, Response};
use http_body_util::BodyExt;
use tokio::runtime::Runtime;
use tokio::sync::Barrier;
use tower::{Service, ServiceExt};

use super::contestants::{BoxError, Meet, Who, each};
use super::median;
use super::origin::{Answer, Origin, request};

const VISITORS: usize = 200;
const DELAY: Duration = Duration::from_millis(50);
const SIZE: usize = 1024;

pub fn compare(rounds: usize) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime starts");
    let mut tables = Vec::new();
    for answer in [Answer::Storable, Answer::NotStorable, Answer::NoStore] {
        let origin = Origin::slow(SIZE, DELAY, answer);
        let _entered = runtime.enter();
        let mut run = Run { origin: origin.clone(), answer, rounds, runtime: &runtime, rows: Vec::new() };
        each(&origin, Who::Around, &mut run);
        tables.push(run.rows);
    }
    println!("\n{VISITORS} requests at once for a cold page, handler {} ms, medians of {rounds}", DELAY.as_millis());
    println!("{:<34}{:^20}{:^20}{:^20}{:>14}", "", "storable", "404, not storable", "the same again", "200 no-store");
    println!("{:<34}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}", "", "runs", "ms", "runs", "ms", "runs", "ms");
    for ((storable, not), no_store) in tables[0].iter().zip(&tables[1]).zip(&tables[2]) {
        let waves = [&storable.first, &not.first, &not.again];
        let shown: String =
            waves.iter().map(|wave| format!("{:>10.0}{:>10.0}", wave.runs, wave.milliseconds)).collect();
        let kept = if no_store.is_kept { "is stored" } else { "-" };
        println!("{:<34}{shown}{kept:>14}", storable.name);
    }
}

struct Run<'a> {
    origin: Origin,
    answer: Answer,
    rounds: usize,
    runtime: &'a Runtime,
    rows: Vec<Row>,
}

struct Row {
    name: &'static str,
    first: Wave,
    again: Wave,
    /// Whether a last request was answered without the handler.
    is_kept: bool,
}

/// What one stampede took.
#[derive(Clone, Copy)]
struct Wave {
    runs: f64,
    milliseconds: f64,
}

impl Meet for Run<'_> {
    fn meet<S, B>(&mut self, name: &'static str, service: S)
    where
        S: Service<Request<Body>, Response = Response<B>, Error: Debug, Future: Send> + Clone + Send + Sync + 'static,
        B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let (mut first, mut again, mut is_kept) = (Vec::new(), Vec::new(), true);
        for round in 0..self.rounds {
            let target = format!("/cold/{round}");
            first.push(self.wave(&service, &target));
            if self.answer != Answer::Storable {
                again.push(self.wave(&service, &target));
            }
            self.origin.start_counting();
            self.runtime.block_on(visit(service.clone(), request(&target)));
            is_kept &= self.origin.executions() == 0;
        }
        self.rows.push(Row { name, first: middle(&first), again: middle(&again), is_kept });
    }
}

impl Run<'_> {
    fn wave<S, B>(&self, service: &S, target: &str) -> Wave
    where
        S: Service<Request<Body>, Response = Response<B>, Error: Debug, Future: Send> + Clone + Send + Sync + 'static,
        B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        self.origin.start_counting();
        let took = self.runtime.block_on(async {
            let barrier = Arc::new(Barrier::new(VISITORS));
            let visitors: Vec<_> = (0..VISITORS)
                .map(|_| {
                    let (service, barrier, request) = (service.clone(), barrier.clone(), request(target));
                    tokio::spawn(async move {
                        barrier.wait().await;
                        let started = Instant::now();
                        visit(service, request).await;
                        (started, Instant::now())
                    })
                })
                .collect();
            let mut took: Option<(Instant, Instant)> = None;
            for visitor in visitors {
                let (started, ended) = visitor.await.expect("no visitor fails");
                took = Some(took.map_or((started, ended), |(first, last)| (first.min(started), last.max(ended))));
            }
            took.map_or(Duration::ZERO, |(first, last)| last - first)
        });
        Wave { runs: self.origin.executions() as f64, milliseconds: took.as_secs_f64() * 1000.0 }
    }
}

async fn visit<S, B>(service: S, request: Request<Body>)
where
    S: Service<Request<Body>, Response = Response<B>, Error: Debug>,
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>>,
{
    let response = service.oneshot(request).await.expect("it answers");
    let body = response.into_body().collect().await.map_err(Into::into).expect("the body is whole");
    assert_eq!(body.to_bytes().len(), SIZE);
}

fn middle(waves: &[Wave]) -> Wave {
    Wave {
        runs: median(&waves.iter().map(|wave| wave.runs).collect::<Vec<_>>()),
        milliseconds: median(&waves.iter().map(|wave| wave.milliseconds).collect::<Vec<_>>()),
    }
}

//! What is asked of the clients, and how it is counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;

/// How many keys there are.
pub const KEYS: usize = 400;
/// How many keys a get of many has.
pub const MANY: usize = 100;

/// What one operation is; sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Work {
    Get(usize),
    Set(usize),
    GetMany(usize),
}

impl Work {
    pub fn size(self) -> usize {
        match self {
            Work::Get(size) | Work::Set(size) | Work::GetMany(size) => size,
        }
    }

    pub fn name(self) -> String {
        let size = self.size() / 1024;
        match self {
            Work::Get(_) => format!("get {size} KiB"),
            Work::Set(_) => format!("set {size} KiB"),
            Work::GetMany(_) => format!("get {MANY} of {size} KiB"),
        }
    }
}

pub fn key_of(number: usize) -> String {
    format!("bench:key:{number}")
}

pub fn value_of(size: usize) -> Bytes {
    Bytes::from(vec![b'v'; size])
}

/// A client that tasks share.
pub trait Contestant: Clone + Send + 'static {
    fn get(&self, key: &str) -> impl Future<Output = usize> + Send;
    fn get_many(&self, keys: &[String]) -> impl Future<Output = usize> + Send;
    fn set(&self, key: &str, value: Bytes) -> impl Future<Output = ()> + Send;
}

/// A client that threads share.
pub trait BlockingContestant: Sync {
    fn get(&self, key: &str) -> usize;
    fn get_many(&self, keys: &[String]) -> usize;
    fn set(&self, key: &str, value: Bytes);
}

/// The keys of a task, each in its turn.
struct Turn {
    keys: Vec<String>,
    next: usize,
}

impl Turn {
    fn of(task: usize) -> Self {
        Turn { keys: (0..KEYS).map(key_of).collect(), next: task * 37 }
    }

    fn key(&mut self) -> &str {
        self.next += 1;
        &self.keys[self.next % KEYS]
    }

    fn many(&mut self) -> &[String] {
        self.next += 1;
        let start = self.next % (KEYS - MANY);
        &self.keys[start..start + MANY]
    }
}

/// What a round showed.
#[derive(Clone, Copy)]
pub struct Pace {
    /// Operations per second.
    pub rate: f64,
    /// How long one of the quickest tenth of all operations took, which a busy machine hardly changes.
    pub quick: Duration,
}

/// The pace of so many tasks, after a warm-up of a fifth of the time.
pub async fn measure<C: Contestant>(client: C, work: Work, tasks: usize, time: Duration) -> Pace {
    let value = value_of(work.size());
    let start = Instant::now() + time / 5;
    let end = start + time;
    let running: Vec<_> = (0..tasks)
        .map(|task| {
            let (client, value) = (client.clone(), value.clone());
            tokio::spawn(async move {
                let (mut turn, mut took) = (Turn::of(task), Vec::new());
                let mut began = Instant::now();
                loop {
                    match work {
                        Work::Get(size) => assert_eq!(client.get(turn.key()).await, size),
                        Work::GetMany(size) => assert_eq!(client.get_many(turn.many()).await, size * MANY),
                        Work::Set(_) => client.set(turn.key(), value.clone()).await,
                    }
                    let now = Instant::now();
                    if now >= end {
                        return took;
                    }
                    if now >= start {
                        took.push(now - began);
                    }
                    began = now;
                }
            })
        })
        .collect();
    let mut took = Vec::new();
    for task in running {
        took.extend(task.await.expect("no task fails"));
    }
    took.sort_unstable();
    let quick = took.get(took.len() / 10).copied().unwrap_or_default();
    Pace { rate: took.len() as f64 / time.as_secs_f64(), quick }
}

/// The same with threads.
pub fn measure_threads<C: BlockingContestant>(client: &C, work: Work, threads: usize, time: Duration) -> Pace {
    let value = value_of(work.size());
    let start = Instant::now() + time / 5;
    let end = start + time;
    let count = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (value, count) = (&value, &count);
            scope.spawn(move || {
                let mut turn = Turn::of(thread);
                loop {
                    match work {
                        Work::Get(size) => assert_eq!(client.get(turn.key()), size),
                        Work::GetMany(size) => assert_eq!(client.get_many(turn.many()), size * MANY),
                        Work::Set(_) => client.set(turn.key(), value.clone()),
                    }
                    let now = Instant::now();
                    if now >= end {
                        return;
                    }
                    count.fetch_add(u64::from(now >= start), Ordering::Relaxed);
                }
            });
        }
    });
    Pace { rate: count.into_inner() as f64 / time.as_secs_f64(), quick: Duration::ZERO }
}

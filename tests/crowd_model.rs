//! Many who ask one cache for a few pages at one time, hang up in the middle, and purge: thousands of orders of their steps,
//! each thrown by a seed. Nobody gets what is not his, half of it, or what was purged before he asked; and nobody waits
//! in vain, since time stands still unless all wait for it.
//!
//! `LARDER_MODEL_TIMES=100` tries a hundred times as many, `LARDER_MODEL_SEED=7` that one alone. Some steps hang on random
//! hashes as well: to see a failure again, its seed may have to be tried a few times.
#![allow(missing_docs)]

#[path = "world/in_process.rs"]
mod chosen;
#[path = "real/dice.rs"]
mod dice;
mod world;

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::env;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use dice::Dice;
use futures_util::future::{Either, select};
use http::{HeaderValue, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use larder::backend::{Backend, Memory, Reply, Stored, backend_error};
use larder::page::PageBody;
use larder::{Cache, CacheLayer, ManualClock, Pages, Tags, Timestamp};
use tokio::task::yield_now;
use tokio::time::Instant;
use tower::util::BoxCloneSyncService;
use tower::{Layer, service_fn};
use world::{Answer, Plain, Text, ask, forward, get_with};

/// What pages there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Path {
    Plain,
    /// For each visitor another one.
    Varied,
    /// Not to be stored.
    Private,
    /// Soon stale, and its handler fails now and then.
    Failing,
}

const PATHS: [Path; 4] = [Path::Plain, Path::Varied, Path::Private, Path::Failing];

const TAGGED: [Path; 2] = [Path::Varied, Path::Failing];

impl Path {
    fn url(self) -> String {
        format!("http://example.com/{self:?}")
    }
}

/// What a page is made of: a number that changes before every purge, and the last one whose purge is over.
#[derive(Default)]
struct Truth {
    current: AtomicU64,
    purged: AtomicU64,
}

/// One run: its dice, the pages' truths, and how often something was seen.
struct Run {
    dice: Dice,
    truths: [Truth; PATHS.len()],
    hands: ManualClock,
    is_ending: AtomicBool,
    seen: Mutex<BTreeMap<String, usize>>,
}

impl Run {
    fn truth(&self, path: Path) -> &Truth {
        &self.truths[path as usize]
    }

    fn saw(&self, what: impl Into<String>) {
        *self.seen.lock().unwrap().entry(what.into()).or_default() += 1;
    }

    /// Lets others go first, for so many steps at most.
    async fn dawdle(&self, most: u64) {
        for _ in 0..self.dice.within(0..most + 1) {
            yield_now().await;
        }
    }

    fn one_of(&self, paths: &[Path]) -> Path {
        paths[self.dice.within(0..paths.len() as u64) as usize]
    }
}

/// A store that takes its time before and after every call, each key of several included.
struct Dawdling {
    text: Text,
    run: Arc<Run>,
    /// So many calls in a hundred fail, until the end of the run.
    failing: u64,
}

impl Dawdling {
    fn slowly<'a, T: Send + 'a>(&'a self, reply: Reply<'a, T>) -> Reply<'a, T> {
        Reply::pending(async move {
            self.run.dawdle(3).await;
            let fails = self.run.dice.percent(self.failing) && !self.run.is_ending.load(SeqCst);
            let answer = if fails { Err(backend_error("dawdling", "it is tired")) } else { reply.await };
            self.run.dawdle(3).await;
            answer
        })
    }
}

impl Backend for Dawdling {
    fn name(&self) -> &'static str {
        "dawdling"
    }

    forward!(text: clock);

    fn get<'a>(&'a self, key: &'a str) -> Reply<'a, Option<Stored>> {
        self.slowly(self.text.get(key))
    }

    fn set<'a>(&'a self, key: &'a str, value: Stored, ttl: Option<Duration>) -> Reply<'a, ()> {
        self.slowly(self.text.set(key, value, ttl))
    }

    fn add<'a>(&'a self, key: &'a str, value: Stored, ttl: Option<Duration>) -> Reply<'a, bool> {
        self.slowly(self.text.add(key, value, ttl))
    }

    fn touch<'a>(&'a self, key: &'a str, ttl: Option<Duration>) -> Reply<'a, bool> {
        self.slowly(self.text.touch(key, ttl))
    }

    fn delete<'a>(&'a self, key: &'a str) -> Reply<'a, bool> {
        self.slowly(self.text.delete(key))
    }

    fn incr<'a>(&'a self, key: &'a str, delta: i64) -> Reply<'a, Option<i64>> {
        self.slowly(self.text.incr(key, delta))
    }

    fn clear<'a>(&'a self, prefix: &'a str) -> Reply<'a, ()> {
        self.slowly(self.text.clear(prefix))
    }
}

type Site = BoxCloneSyncService<Plain, Response<PageBody<Paced>>, Infallible>;

/// A site on the cache. Each page says for whom it was made, of what, and where it ends.
fn site(run: &Arc<Run>, cache: &Cache, finishes_fills: bool) -> (Site, Pages) {
    let layer = CacheLayer::per_site().cache(cache).cache_status("larder").finish_fills(finishes_fills);
    let run = Arc::clone(run);
    let handler = service_fn(move |request: Plain| {
        let run = Arc::clone(&run);
        async move {
            let path = PATHS.into_iter().find(|path| request.uri().path().ends_with(&format!("{path:?}"))).unwrap();
            run.dawdle(4).await;
            let read = run.truth(path).current.load(SeqCst);
            run.dawdle(4).await;
            let mut response = Response::new(());
            let (headers, mut who) = (response.headers_mut(), "all");
            match path {
                Path::Plain => {}
                Path::Varied => {
                    headers.insert(header::VARY, HeaderValue::from_static("x-who"));
                    who = request.headers()["x-who"].to_str().unwrap();
                }
                Path::Private => {
                    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private"));
                    who = request.headers()["x-who"].to_str().unwrap();
                }
                Path::Failing => {
                    let grace = "max-age=1, stale-while-revalidate=2, stale-if-error=60";
                    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(grace));
                }
            }
            let pieces = [format!("{path:?} {who}"), format!(" {read}"), " end".to_owned()].map(Bytes::from);
            if TAGGED.contains(&path) {
                response.extensions_mut().insert(Tags::new(["tag"]));
            }
            if path == Path::Failing && run.dice.percent(50) {
                *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            }
            Ok::<_, Infallible>(response.map(|()| Paced::new(&run, pieces)))
        }
    });
    (BoxCloneSyncService::new(layer.clone().layer(handler)), layer.pages())
}

/// A body of which each piece comes after so many steps.
struct Paced(VecDeque<(u64, Bytes)>);

impl Paced {
    fn new(run: &Run, pieces: impl IntoIterator<Item = Bytes>) -> Self {
        let is_there = run.dice.percent(50);
        Paced(pieces.into_iter().map(|piece| (if is_there { 0 } else { run.dice.within(0..4) }, piece)).collect())
    }
}

impl Body for Paced {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.0.front_mut() {
            Some((steps, _)) if *steps > 0 => {
                *steps -= 1;
                context.waker().wake_by_ref();
                Poll::Pending
            }
            _ => Poll::Ready(self.0.pop_front().map(|(_, piece)| Ok(Frame::data(piece)))),
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.iter().map(|(_, piece)| piece.len() as u64).sum())
    }
}

/// Asks as a visitor, and looks at what comes.
async fn visit(run: &Run, site: &Site, who: &str, path: Path) -> Answer {
    let purged = run.truth(path).purged.load(SeqCst);
    let answer = ask(site, get_with(&path.url(), &[("x-who", who)])).await;
    let words: Vec<_> = answer.text().split(' ').collect();
    let [its_path, its_visitor, read, "end"] = words[..] else { panic!("half a page: {answer:?}") };
    assert_eq!(its_path, format!("{path:?}"), "{answer:?}");
    let mine = if matches!(path, Path::Varied | Path::Private) { who } else { "all" };
    assert_eq!(its_visitor, mine, "{answer:?}");
    assert!(read.parse::<u64>().unwrap() >= purged, "a page from before the purge of {purged}: {answer:?}");
    let status = answer.cache_status();
    run.saw(match (status.detail, status.is_hit, status.is_collapsed) {
        (Some(detail), ..) => detail,
        (None, true, _) => "hit".to_owned(),
        (None, false, true) => "collapsed".to_owned(),
        (None, false, false) => "forwarded".to_owned(),
    });
    answer
}

/// `None` where so many steps are over before it is.
async fn within_steps<T>(run: &Run, most: u64, work: impl Future<Output = T>) -> Option<T> {
    match select(pin!(work), pin!(run.dawdle(most))).await {
        Either::Left((done, _)) => Some(done),
        Either::Right(_) => None,
    }
}

/// Changes what pages are made of, and purges them.
async fn purge(run: &Run, cache: &Cache, pages: &Pages) {
    let one = [run.one_of(&PATHS)];
    let by_tag = run.dice.percent(50);
    let changed = if by_tag { &TAGGED[..] } else { &one[..] };
    let numbers: Vec<_> = changed.iter().map(|path| run.truth(*path).current.fetch_add(1, SeqCst) + 1).collect();
    let purged = if by_tag { cache.purge_tag("tag").await } else { pages.delete(one[0].url()).await.map(drop) };
    if purged.is_err() {
        return run.saw("could not be purged");
    }
    for (path, number) in changed.iter().zip(numbers) {
        run.truth(*path).purged.fetch_max(number, SeqCst);
    }
}

async fn explore(run: Arc<Run>, cache: Cache, finishes_fills: bool) {
    let (site, pages) = site(&run, &cache, finishes_fills);
    let begun = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for visitor in 0..8 {
        let (run, site) = (Arc::clone(&run), site.clone());
        tasks.spawn(async move {
            for _ in 0..3 {
                run.dawdle(10).await;
                // Mostly the same page, by one of few.
                let path = if run.dice.percent(40) { Path::Plain } else { run.one_of(&PATHS) };
                let visited = visit(&run, &site, ["a", "b"][visitor % 2], path);
                if run.dice.percent(70) {
                    visited.await;
                } else if within_steps(&run, 20, visited).await.is_none() {
                    run.saw("hung up");
                }
            }
        });
    }
    for _ in 0..2 {
        let (run, cache, pages) = (Arc::clone(&run), cache.clone(), pages.clone());
        tasks.spawn(async move {
            for _ in 0..2 {
                run.dawdle(40).await;
                purge(&run, &cache, &pages).await;
            }
        });
    }
    let clock = Arc::clone(&run);
    tasks.spawn(async move {
        let pace = clock.dice.within(10..80);
        for _ in 0..6 {
            clock.dawdle(pace).await;
            clock.hands.advance(Duration::from_secs(1));
        }
    });
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    run.is_ending.store(true, SeqCst);
    // Whatever happened, a page can be stored now, and found.
    for path in [Path::Plain, Path::Varied] {
        for who in ["a", "b"] {
            let first = visit(&run, &site, who, path).await;
            cache.close().await.unwrap();
            let second = visit(&run, &site, who, path).await;
            assert!(second.is_hit(), "not stored: {first:?}, {second:?}");
        }
    }
    assert_eq!(begun.elapsed(), Duration::ZERO, "somebody waited for what did not come");
}

/// Tells which run it was.
struct Seeded(u64);

impl Drop for Seeded {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("to see it again: LARDER_MODEL_SEED={}", self.0);
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok().map(|number| number.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

/// What was seen in all of the runs.
fn explore_all(runs: u64, cache: impl Fn(&Arc<Run>) -> Cache) -> BTreeMap<String, usize> {
    let seeds = match number("LARDER_MODEL_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..runs * number("LARDER_MODEL_TIMES").unwrap_or(1),
    };
    let (mut seen, seeds_are_many) = (BTreeMap::new(), seeds.end - seeds.start > 1);
    for seed in seeds {
        let _seeded = Seeded(seed);
        let (dice, hands) = (Dice::seeded(seed), ManualClock::at(Timestamp::from_secs(1_700_000_000)));
        let (truths, is_ending, seen_now) = Default::default();
        let run = Arc::new(Run { dice, truths, hands, is_ending, seen: seen_now });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(explore(Arc::clone(&run), cache(&run), seed % 4 == 0));
        for (what, times) in std::mem::take(&mut *run.seen.lock().unwrap()) {
            *seen.entry(what).or_default() += times;
        }
    }
    println!("{seen:?}");
    if seeds_are_many {
        for what in [
            "hit",
            "collapsed",
            "forwarded",
            "hung up",
            "private",
            "purged",
            "stale-while-revalidate",
            "stale-if-error",
        ] {
            assert!(seen.contains_key(what), "{what} is not among what was seen: {seen:?}");
        }
    }
    seen
}

#[test]
fn in_memory() {
    explore_all(1_000, |run| Cache::new(Memory::with_clock(run.hands.clock())));
}

fn dawdling(run: &Arc<Run>, failing: u64) -> Cache {
    Cache::new(Dawdling { text: Text::new(run.hands.clock()), run: Arc::clone(run), failing })
}

#[test]
fn in_a_store_that_answers_later() {
    explore_all(1_000, |run| dawdling(run, 0));
}

#[test]
fn in_a_store_that_fails_now_and_then() {
    let seen = explore_all(1_000, |run| dawdling(run, 5));
    assert!(seen.contains_key("backend") && seen.contains_key("could not be purged"), "{seen:?}");
}

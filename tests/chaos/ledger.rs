//! What is true of every URL: how often it was purged, and which purges somebody has seen complete.
//! The origin answers the version, the purgers raise it, the visitors hold what they get against it.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// How many URLs there are. Few, so that everything happens to each of them.
pub const URLS: u64 = 24;
/// How many tags there are.
pub const TAGS: u64 = 4;

#[derive(Default)]
pub struct Ledger {
    pages: [Entry; URLS as usize],
    violations: Mutex<Vec<String>>,
    /// Why purges failed, and how often.
    troubles: Mutex<BTreeMap<String, u64>>,
    pub count: Counts,
}

#[derive(Default)]
struct Entry {
    /// The version that a handler which begins now answers.
    version: AtomicU64,
    /// The smallest version that a visitor who comes now may see.
    least: AtomicU64,
}

/// What happened, so that a run that did nothing is not taken for a good one.
#[derive(Default, Debug)]
pub struct Counts {
    pub asked: AtomicU64,
    pub hits: AtomicU64,
    pub not_modified: AtomicU64,
    pub stale: AtomicU64,
    pub cancelled: AtomicU64,
    pub failed: AtomicU64,
    pub broken_bodies: AtomicU64,
    pub handled: AtomicU64,
    pub deleted: AtomicU64,
    pub purged: AtomicU64,
    pub cleared: AtomicU64,
    pub purges_failed: AtomicU64,
    pub restarts: AtomicU64,
}

pub fn raise(count: &AtomicU64) {
    count.fetch_add(1, SeqCst);
}

impl Ledger {
    pub fn version(&self, url: u64) -> u64 {
        self.pages[url as usize].version.load(SeqCst)
    }

    pub fn least(&self, url: u64) -> u64 {
        self.pages[url as usize].least.load(SeqCst)
    }

    /// A purge of this URL begins; what it must be `seen` with once it is complete.
    pub fn begin_purge(&self, url: u64) -> u64 {
        self.pages[url as usize].version.fetch_add(1, SeqCst) + 1
    }

    /// The purge was seen complete: no older page may be seen by who asks from now on.
    pub fn end_purge(&self, url: u64, version: u64) {
        self.pages[url as usize].least.fetch_max(version, SeqCst);
    }

    pub fn purge_failed(&self, error: &dyn std::error::Error) {
        raise(&self.count.purges_failed);
        let why = std::iter::successors(error.source(), |error| error.source()).map(|error| format!(": {error}"));
        let why = format!("{error}{}", why.collect::<String>());
        *self.troubles.lock().unwrap().entry(why).or_default() += 1;
    }

    pub fn troubles(&self) -> BTreeMap<String, u64> {
        self.troubles.lock().unwrap().clone()
    }

    pub fn violation(&self, what: String) {
        let mut violations = self.violations.lock().unwrap();
        if violations.len() < 20 {
            violations.push(what);
        }
    }

    pub fn has_violations(&self) -> bool {
        !self.violations.lock().unwrap().is_empty()
    }

    pub fn violations(&self) -> Vec<String> {
        self.violations.lock().unwrap().clone()
    }
}

/// The tags of a page; some have none.
pub fn tags_of(url: u64) -> Vec<u64> {
    if url % 6 == 5 { Vec::new() } else { vec![url % TAGS, (url / TAGS) % TAGS] }
}

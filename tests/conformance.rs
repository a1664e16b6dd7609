//! Our backends against the conformance suite, and the suite against backends that break one rule each.

use std::time::Duration;

use larder::backend::conformance::{Exceptions, check};
use larder::backend::{Backend, Dummy, Memory, Reply, Stored, flags};
use larder::{Clock, Error};

fn memory(clock: Clock) -> Memory {
    Memory::builder().max_bytes(16 << 20).clock(clock).build()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn memory_keeps_the_contract() {
    let report = check(async |clock| memory(clock), Exceptions::none()).await.unwrap();
    assert_eq!(report.kept.len(), 25);
    assert_eq!(report.left_out, ["entries expire in real time"]);
}

#[tokio::test]
async fn a_handle_on_one_store_will_do_for_the_whole_suite() {
    let hands = larder::ManualClock::at(larder::Timestamp::from_secs(1_800_000_000));
    let one = memory(hands.clock());
    let broken = check(async |_| one.clone(), Exceptions::none()).await.unwrap_err();
    // Its clock is not the one that was given, so that nothing ever expires: those rules, and only those.
    assert!(broken.rules.iter().any(|(rule, _)| rule.contains("the clock that was given")), "{broken}");
    let others = ["comes back", "one wins", "lose nothing", "clear of"];
    assert!(!broken.rules.iter().any(|(rule, _)| others.iter().any(|other| rule.contains(other))), "{broken}");
}

#[tokio::test]
async fn dummy_keeps_nothing_everywhere() {
    let report = check(async |clock| Dummy::with_clock(clock), Exceptions::none().stores_nothing()).await.unwrap();
    assert_eq!(report.kept.len(), 1);
}

#[tokio::test]
async fn a_store_that_keeps_nothing_breaks_the_contract_of_one_that_does() {
    let broken = check(async |clock| Dummy::with_clock(clock), Exceptions::none()).await.unwrap_err();
    assert!(broken.to_string().starts_with("the backend \"dummy\" breaks"), "{broken}");
}

/// How a backend is broken.
#[derive(Clone, Copy, Default)]
struct Fault {
    resets_ttl_on_incr: bool,
    counts_without_lock: bool,
    adds_without_lock: bool,
    drops_flags: bool,
    alive_at_the_end: bool,
    clears_everything: bool,
    mixes_up_keys: bool,
    counts_text: bool,
    slow: bool,
}

/// The memory store with a fault.
struct Faulty(Memory, Fault);

impl Faulty {
    fn key(&self, key: &str) -> String {
        if self.1.mixes_up_keys { key.trim().to_lowercase() } else { key.to_owned() }
    }

    fn ttl(&self, ttl: Option<Duration>) -> Option<Duration> {
        ttl.map(|ttl| if self.1.alive_at_the_end { ttl + Duration::from_nanos(1) } else { ttl })
    }

    fn reply<'a, T: Send + 'a>(&self, call: impl Future<Output = Result<T, Error>> + Send + 'a) -> Reply<'a, T> {
        let slow = self.1.slow || self.1.counts_without_lock || self.1.adds_without_lock;
        Reply::pending(async move {
            if slow {
                tokio::task::yield_now().await;
            }
            call.await
        })
    }
}

impl Backend for Faulty {
    fn name(&self) -> &'static str {
        "faulty"
    }

    fn clock(&self) -> Clock {
        self.0.clock()
    }

    fn largest_value(&self) -> usize {
        self.0.largest_value()
    }

    fn get<'a>(&'a self, key: &'a str) -> Reply<'a, Option<Stored>> {
        self.reply(async move { self.0.get(&self.key(key)).await })
    }

    fn set<'a>(&'a self, key: &'a str, mut value: Stored, ttl: Option<Duration>) -> Reply<'a, ()> {
        if self.1.drops_flags && value.flags > flags::SERDE {
            value.flags = 0;
        }
        self.reply(async move { self.0.set(&self.key(key), value, self.ttl(ttl)).await })
    }

    fn add<'a>(&'a self, key: &'a str, value: Stored, ttl: Option<Duration>) -> Reply<'a, bool> {
        self.reply(async move {
            let key = &self.key(key);
            if !self.1.adds_without_lock {
                return self.0.add(key, value, self.ttl(ttl)).await;
            }
            if self.0.contains(key).await? {
                return Ok(false);
            }
            tokio::task::yield_now().await;
            self.0.set(key, value, ttl).await.map(|()| true)
        })
    }

    fn touch<'a>(&'a self, key: &'a str, ttl: Option<Duration>) -> Reply<'a, bool> {
        self.reply(async move { self.0.touch(&self.key(key), self.ttl(ttl)).await })
    }

    fn delete<'a>(&'a self, key: &'a str) -> Reply<'a, bool> {
        self.reply(async move { self.0.delete(&self.key(key)).await })
    }

    fn incr<'a>(&'a self, key: &'a str, delta: i64) -> Reply<'a, Option<i64>> {
        self.reply(async move {
            let key = &self.key(key);
            if self.1.counts_text
                && let Some(stored) = self.0.get(key).await?
            {
                let number = Stored { flags: flags::INTEGER, ..stored };
                self.0.set(key, number, None).await?;
            }
            if self.1.counts_without_lock {
                let Some(stored) = self.0.get(key).await? else { return Ok(None) };
                let (number, next) = larder::backend::counted(key, &stored, delta)?;
                tokio::task::yield_now().await;
                self.0.set(key, next, None).await?;
                return Ok(Some(number));
            }
            let number = self.0.incr(key, delta).await?;
            if self.1.resets_ttl_on_incr {
                self.0.touch(key, Some(Duration::from_secs(300))).await?;
            }
            Ok(number)
        })
    }

    fn clear<'a>(&'a self, prefix: &'a str) -> Reply<'a, ()> {
        self.0.clear(if self.1.clears_everything { "" } else { prefix })
    }
}

async fn rules_broken_by(fault: Fault, exceptions: Exceptions) -> Vec<&'static str> {
    match check(async |clock| Faulty(memory(clock), fault), exceptions).await {
        Ok(_) => Vec::new(),
        Err(broken) => broken.rules.into_iter().map(|(rule, _)| rule).collect(),
    }
}

#[tokio::test]
async fn a_backend_that_answers_later_keeps_the_contract_too() {
    let fault = Fault { slow: true, ..Fault::default() };
    assert_eq!(rules_broken_by(fault, Exceptions::none()).await, <[&str; 0]>::default());
}

#[tokio::test]
async fn the_suite_notices_each_fault() {
    let faults = [
        (Fault { resets_ttl_on_incr: true, ..Fault::default() }, "incr and a failing add keep the lifetime"),
        (Fault { counts_without_lock: true, ..Fault::default() }, "concurrent incrs lose nothing"),
        (Fault { adds_without_lock: true, ..Fault::default() }, "of concurrent adds one wins"),
        (Fault { drops_flags: true, ..Fault::default() }, "what was stored comes back, bytes and flags"),
        (Fault { alive_at_the_end: true, ..Fault::default() }, "an entry is dead from the very instant on"),
        (Fault { clears_everything: true, ..Fault::default() }, "clear of a prefix keeps to it"),
        (Fault { mixes_up_keys: true, ..Fault::default() }, "any text is a key"),
        (Fault { counts_text: true, ..Fault::default() }, "incr leaves alone what it cannot count"),
    ];
    for (fault, rule) in faults {
        let broken = rules_broken_by(fault, Exceptions::none()).await;
        assert!(broken.contains(&rule), "{rule:?} is not among {broken:?}");
        assert!(broken.len() < 8, "one fault, {broken:?}");
    }
}

#[tokio::test]
async fn a_documented_exception_is_left_out_and_named() {
    let fault = Fault { clears_everything: true, ..Fault::default() };
    let make = async |clock| Faulty(memory(clock), fault);
    let report = check(make, Exceptions::none().clears_everything()).await.unwrap();
    assert_eq!(report.left_out, ["entries expire in real time", "clear of a prefix keeps to it"]);
}

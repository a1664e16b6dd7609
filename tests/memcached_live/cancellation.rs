//! Calls that are dropped while they are under way: what they leave behind must never reach another call.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use larder::memcached::{CasOutcome, Client, Error, Expiry, Value};

use super::patient;
use super::real::{Dice, Fault, Memcached, Proxy};

const NEVER: Expiry = Expiry::Never;
const TASKS: u64 = 32;
/// Few enough that tasks meet on them.
const KEYS: u64 = 120;

/// A value that says which key it was made for. Every tenth key has large ones, which take lanes of their own.
fn value_of(key: u64, dice: &Dice) -> Bytes {
    let name = format!("<{}>", key_of(key));
    let copies = match key % 10 {
        0 => dice.within(2_000..4_000),
        _ => dice.within(1..20),
    };
    Bytes::from(name.repeat(copies as usize))
}

fn key_of(key: u64) -> String {
    format!("key:{key}")
}

/// Panics if the value was not made for this key, or is not whole.
fn check(key: u64, value: Option<&Value>) {
    let Some(value) = value else { return };
    let name = format!("<{}>", key_of(key));
    let is_its_own = value.data.chunks(name.len()).all(|chunk| chunk == name.as_bytes());
    assert!(is_its_own, "{} was given {:?}", key_of(key), &value.data[..value.data.len().min(64)]);
    assert_eq!(value.flags, key as u32 * 16, "{}", key_of(key));
}

/// One operation of a task, whose answer is checked.
async fn one(client: &Client, task: u64, dice: &Dice) -> Result<(), Error> {
    let key = dice.within(0..KEYS);
    let name = key_of(key);
    let flags = key as u32 * 16;
    match dice.within(0..100) {
        0..40 => check(key, client.get(&name).await?.as_ref()),
        40..55 => {
            let keys: Vec<u64> = (0..dice.within(2..10)).map(|_| dice.within(0..KEYS)).collect();
            let names: Vec<String> = keys.iter().map(|key| key_of(*key)).collect();
            let values = client.get_many(&names).await?;
            assert_eq!(values.len(), keys.len());
            keys.iter().zip(&values).for_each(|(key, value)| check(*key, value.as_ref()));
        }
        55..70 => client.set(&name, value_of(key, dice), flags, NEVER).await?,
        70..75 => {
            client.delete(&name).await?;
        }
        75..80 => {
            client.add(&name, value_of(key, dice), flags, NEVER).await?;
        }
        80..84 => check(key, client.get_and_touch(&name, NEVER).await?.as_ref()),
        84..86 => {
            client.touch(&name, NEVER).await?;
        }
        86..92 => {
            let before = client.get_with_cas(&name).await?;
            check(key, before.as_ref());
            if let Some(cas) = before.and_then(|value| value.cas) {
                let outcome = client.cas(&name, value_of(key, dice), flags, NEVER, cas).await?;
                assert!(matches!(outcome, CasOutcome::Stored | CasOutcome::Changed | CasOutcome::Missing));
            }
        }
        92..95 => {
            let entries: Vec<(String, Bytes, u32)> = (0..5)
                .map(|_| dice.within(0..KEYS))
                .map(|key| (key_of(key), value_of(key, dice), key as u32 * 16))
                .collect();
            for outcome in client.set_many(&entries, NEVER).await? {
                outcome?;
            }
        }
        _ => {
            // A counter of the task's own, which is never missing and only grows.
            let counted = client.incr(format!("counter:{task}"), 1).await?;
            assert!(counted.is_some_and(|count| count <= 2000), "counter {task}: {counted:?}");
        }
    }
    Ok(())
}

/// Polls an operation to its end, or drops it at a random point: after so many polls, or so much time.
async fn perhaps_dropped(client: &Client, task: u64, dice: &Dice, dropped: &AtomicUsize) -> Result<(), Error> {
    let operation = one(client, task, dice);
    if !dice.percent(10) {
        return operation.await;
    }
    let time = match dice.within(0..3) {
        0 => Duration::ZERO,
        1 => Duration::from_micros(dice.within(0..2_000)),
        _ => Duration::from_millis(dice.within(0..30)),
    };
    tokio::time::timeout(time, operation).await.unwrap_or_else(|_| {
        dropped.fetch_add(1, Ordering::Relaxed);
        Ok(())
    })
}

async fn tasks_never_get_each_others_values(server: &Memcached, operations: u64, has_sasl: bool) {
    let proxy = Proxy::to(server.socket_address()).await;
    proxy.set(Fault::Delay(Duration::from_millis(1)));
    let mut builder = patient(proxy.address());
    if has_sasl {
        builder = builder.sasl("user", "secret");
    }
    let client = builder.build().unwrap();
    let dropped = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let (client, dropped) = (client.clone(), Arc::clone(&dropped));
            tokio::spawn(async move {
                let dice = Dice::seeded(0x1a2d_e200 + task);
                client.set(format!("counter:{task}"), "0", 0, NEVER).await.unwrap();
                for _ in 0..operations {
                    // A client whose calls nobody drops would have had no error at all: the server is well.
                    perhaps_dropped(&client, task, &dice, &dropped).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let dropped = dropped.load(Ordering::Relaxed) as u64;
    assert!(dropped > TASKS * operations / 50, "only {dropped} calls were dropped");
    // Nothing that was dropped broke a connection: there are as many as lanes.
    assert!(proxy.opened() <= 6, "{} connections were opened", proxy.opened());
    let keys: Vec<String> = (0..KEYS).map(key_of).collect();
    let found: HashMap<u64, Option<Value>> = (0..).zip(client.get_many(&keys).await.unwrap()).collect();
    found.iter().for_each(|(key, value)| check(*key, value.as_ref()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_call_gives_nobody_another_keys_value() {
    let server = Memcached::with(&["-m", "256"]).start();
    tasks_never_get_each_others_values(&server, 2000, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_call_gives_nobody_another_keys_value_over_the_binary_protocol() {
    let server = Memcached::with(&["-m", "256"]).sasl("user", "secret").start();
    tasks_never_get_each_others_values(&server, 500, true).await;
}

/// The connection writes to its end what a caller left in the middle, and then serves the next.
#[tokio::test]
async fn callers_who_go_away_while_their_values_are_half_written_leave_whole_ones_behind() {
    const LENGTH: usize = 1_000_000;
    let server = Memcached::with(&["-m", "256"]).start();
    let proxy = Proxy::to(server.socket_address()).await;
    let client = patient(proxy.address()).build().unwrap();
    client.set("large", vec![b'a'; LENGTH], 0, NEVER).await.unwrap();
    assert!(client.get("large").await.unwrap().is_some_and(|value| value.data.len() == LENGTH));
    let opened = proxy.opened();
    for round in 0..3 {
        proxy.set(Fault::Silence);
        // More than all the buffers on the way hold: one of them is half written, and those behind it wait.
        let writes = (b'b'..=b'z').map(|letter| client.set("large", vec![letter; LENGTH], 0, NEVER));
        let writes = futures_util::future::join_all(writes);
        assert!(tokio::time::timeout(Duration::from_millis(50), writes).await.is_err(), "nobody passed it on");
        // One more takes the lane that they left.
        let (touched, ()) = tokio::join!(biased; client.touch("large", NEVER), async { proxy.set(Fault::None) });
        assert!(touched.unwrap(), "round {round}");
        let value = client.get("large").await.unwrap().expect("it is there");
        let first = value.data[0];
        assert!(value.data.len() == LENGTH && value.data.iter().all(|byte| *byte == first), "half a value was stored");
        assert!(first > b'a', "what was entered is written");
    }
    assert_eq!(proxy.opened(), opened, "a connection was given up");
}

/// A value on its way belongs to the caller who went away: the next one on the connection gets its own.
#[tokio::test]
async fn a_caller_who_goes_away_in_the_middle_of_a_large_answer_leaves_the_next_one_its_own() {
    const LENGTH: usize = 64 * 1024;
    let server = Memcached::start();
    let proxy = Proxy::to(server.socket_address()).await;
    let client = patient(proxy.address()).build().unwrap();
    for letter in b'a'..=b'e' {
        client.set([letter], vec![letter; LENGTH], 0, NEVER).await.unwrap();
    }
    // What the proxy counts begins with each connection; these have a greeting and an answer or two behind them.
    for stalled in [0, 10, 1_000, LENGTH / 2, LENGTH - 1] {
        proxy.cut();
        proxy.set(Fault::StallAfter(4 + stalled));
        for (gone, next) in [(b'a', b'b'), (b'c', b'd')] {
            let left = tokio::time::timeout(Duration::from_millis(20), client.get([gone])).await;
            assert!(left.is_err(), "the answer was held: {left:?}");
            let resume = async { proxy.set(Fault::None) };
            let (value, ()) = tokio::join!(biased; client.get([next]), resume);
            let value = value.unwrap().expect("it is there");
            assert!(value.data.len() == LENGTH && value.data.iter().all(|byte| *byte == next), "after {stalled}");
            proxy.cut();
            proxy.set(Fault::StallAfter(4 + stalled));
        }
    }
}

/// What was dropped happened or did not, and never twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_call_happens_once_or_not_at_all() {
    let server = Memcached::start();
    let proxy = Proxy::to(server.socket_address()).await;
    proxy.set(Fault::Delay(Duration::from_millis(1)));
    let client = patient(proxy.address()).build().unwrap();
    client.set("counter", "0", 0, NEVER).await.unwrap();
    let (mut done, mut dropped) = (0, 0);
    let dice = Dice::seeded(7);
    for _ in 0..1000 {
        let time = Duration::from_micros(dice.within(0..4_000));
        match tokio::time::timeout(time, client.incr("counter", 1)).await {
            Ok(counted) => {
                done += 1;
                let counted = counted.unwrap().unwrap();
                assert!((done..=done + dropped).contains(&counted), "{counted}: {done} done, {dropped} dropped");
            }
            Err(_) => dropped += 1,
        }
    }
    let counted = client.incr("counter", 0).await.unwrap().unwrap();
    assert!((done..=done + dropped).contains(&counted), "{counted}: {done} done, {dropped} dropped");
    assert!(done > 0 && dropped > 0, "{done} done, {dropped} dropped");
}

/// A client that is dropped with calls under way leaves no connection behind.
#[tokio::test]
async fn a_dropped_client_closes_its_connections() {
    let server = Memcached::start();
    let before = server.stat("curr_connections");
    let client = patient(server.address()).build().unwrap();
    client.set("a", "1", 0, NEVER).await.unwrap();
    let pending = tokio::time::timeout(Duration::ZERO, client.get("a")).await;
    drop((pending, client));
    let deadline = std::time::Instant::now() + super::PATIENCE;
    while server.stat("curr_connections") > before {
        assert!(std::time::Instant::now() < deadline, "connections stay open");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

//! The memory store's bounds and its objects: never more bytes than the budget, exact purges, one table for both kinds.

use std::sync::Arc;
use std::thread;

use larder::backend::{Backend, Memory, Object, Objects, Stored};
use larder::{Error, ManualClock, Timestamp};

fn stored(size: usize) -> Stored {
    Stored { data: vec![7; size].into(), flags: 0 }
}

struct Page {
    weight: usize,
    expires_at: Timestamp,
}

impl Object for Page {
    fn weight(&self) -> usize {
        self.weight
    }

    fn expires_at(&self) -> Timestamp {
        self.expires_at
    }
}

fn page(weight: usize) -> Option<Arc<dyn Object>> {
    Some(Arc::new(Page { weight, expires_at: Timestamp::NEVER }))
}

fn objects(memory: &Memory) -> &dyn Objects {
    memory.objects().expect("it lives in this process")
}

fn object_key(text: &str, rest: &str) -> Vec<u8> {
    [&[0xFF], text.as_bytes(), &[0xFF], rest.as_bytes()].concat()
}

/// Fewer in a debug build, where each is slower; still a hundred times what the budget has room for.
const KEYS: u32 = if cfg!(debug_assertions) { 100_000 } else { 1_000_000 };

#[tokio::test]
async fn rule_22_a_million_distinct_keys_stay_within_the_bytes() -> Result<(), Error> {
    const BUDGET: u64 = KEYS as u64 * 4;
    let memory = Memory::builder().max_bytes(BUDGET as usize).build();
    memory.set("asked for again and again", stored(100), None).await?;
    for number in 0..KEYS {
        memory.set(&format!(":1:page?q={number}"), stored(64), None).await?;
        if number % 50 == 0 {
            memory.get("asked for again and again").await?;
        }
        if number % (KEYS / 20) == 0 {
            assert!(memory.usage() <= BUDGET, "{} bytes after {number} keys", memory.usage());
        }
    }
    assert!(memory.usage() <= BUDGET && memory.usage() > BUDGET / 2);
    assert!(memory.contains("asked for again and again").await?);
    Ok(())
}

#[test]
fn rule_22_long_keys_and_objects_count_too() {
    const BUDGET: u64 = 1 << 20;
    let memory = Memory::builder().max_bytes(BUDGET as usize).build();
    for number in 0..2_000 {
        let key = object_key(":1:", &format!("{number}{}", "x".repeat(2_000)));
        objects(&memory).update(&key, &mut |_| page(2_000));
    }
    assert!(memory.usage() <= BUDGET, "{}", memory.usage());
    assert!(memory.entries() <= BUDGET / 4_000, "{}", memory.entries());
}

#[tokio::test]
async fn a_value_over_the_budget_is_refused_and_leaves_nothing() -> Result<(), Error> {
    let memory = Memory::builder().max_bytes(10_000).build();
    memory.set("k", stored(10), None).await?;
    match memory.set("k", stored(10_000), None).await {
        Err(Error::TooLarge { key, size, limit }) => assert!(key == "k" && size == 10_000 && limit < size),
        other => panic!("{other:?}"),
    }
    assert!(!memory.contains("k").await?);
    assert!(matches!(memory.add("k", stored(10_000), None).await, Err(Error::TooLarge { .. })));
    let largest = memory.largest_value() - 1;
    memory.set("k", stored(largest), None).await?;
    assert!(memory.usage() <= 10_000);
    assert!(memory.contains("k").await?);
    let nothing = Memory::builder().max_bytes(0).build();
    assert!(matches!(nothing.set("k", stored(0), None).await, Err(Error::TooLarge { .. })));
    Ok(())
}

#[tokio::test]
async fn the_dead_come_back_to_the_budget_when_they_are_met() -> Result<(), Error> {
    let hands = ManualClock::at(Timestamp::from_secs(1_700_000_000));
    let memory = Memory::with_clock(hands.clock());
    let ttl = Some(std::time::Duration::from_secs(10));
    for key in ["a", "b", "c", "d"] {
        memory.set(key, stored(1000), ttl).await?;
    }
    hands.advance(std::time::Duration::from_secs(10));
    assert_eq!(memory.dump(), []);
    assert_eq!(memory.entries(), 4);
    memory.get("a").await?;
    assert_eq!(memory.entries(), 3);
    memory.contains("b").await?;
    assert_eq!(memory.entries(), 2);
    memory.delete("c").await?;
    assert_eq!(memory.entries(), 1);
    memory.incr("d", 1).await?;
    assert_eq!((memory.entries(), memory.usage()), (0, 0));
    Ok(())
}

#[tokio::test]
async fn rule_22_what_grows_or_shrinks_before_it_is_deleted_is_forgotten_whole() -> Result<(), Error> {
    // The table learns of a new weight some writes later than of the entry, and of the end by the last weight.
    for sizes in [[10, 5_000], [5_000, 10]] {
        let memory = Memory::new();
        memory.set("other", stored(10_000), None).await?;
        let usage = memory.usage();
        let key = object_key("", "k");
        for _ in 0..10 {
            for [delete, clear] in [[true, false], [false, true], [false, false]] {
                memory.set("k", stored(sizes[0]), None).await?;
                objects(&memory).update(&key, &mut |_| page(sizes[0]));
                memory.usage();
                memory.set("k", stored(sizes[1]), None).await?;
                let present = objects(&memory).get(&key).unwrap();
                objects(&memory).refine(&key, &present, page(sizes[1]).unwrap());
                if delete {
                    memory.delete("k").await?;
                    objects(&memory).remove(&key);
                } else if clear {
                    memory.clear("k").await?;
                    objects(&memory).update(&key, &mut |_| None);
                } else {
                    memory.set("k", stored(3 * sizes[1]), None).await?;
                    objects(&memory).update(&key, &mut |_| page(usize::MAX));
                    memory.delete("k").await?;
                }
                assert_eq!((memory.entries(), memory.usage()), (1, usage), "{sizes:?} {delete} {clear}");
            }
        }
    }
    Ok(())
}

#[test]
fn objects_are_kept_beside_the_bytes() {
    let memory = Memory::new();
    let objects = objects(&memory);
    let key = object_key("pre:1:", "GET /");
    assert!(objects.get(&key).is_none());
    objects.update(&key, &mut |present| {
        assert!(present.is_none());
        page(100)
    });
    assert_eq!(objects.get(&key).unwrap().weight(), 100);
    objects.update(&key, &mut |present| page(present.unwrap().weight() + 1));
    assert_eq!(objects.get(&key).unwrap().weight(), 101);
    assert_eq!(memory.dump(), []);
    assert_eq!(memory.entries(), 1);
    assert!(objects.remove(&key));
    assert!(!objects.remove(&key));
    objects.update(&key, &mut |_| page(1));
    objects.update(&key, &mut |_| None);
    assert!(objects.get(&key).is_none());
    assert_eq!(memory.entries(), 0);
}

#[test]
fn an_object_over_the_budget_is_not_kept_and_neither_is_the_one_before() {
    let memory = Memory::builder().max_bytes(10_000).build();
    let key = object_key("", "k");
    objects(&memory).update(&key, &mut |_| page(10));
    objects(&memory).update(&key, &mut |_| page(usize::MAX));
    assert!(objects(&memory).get(&key).is_none());
    assert_eq!(memory.entries(), 0);
}

#[test]
fn no_update_of_an_object_is_lost() {
    let memory = Memory::new();
    let key = object_key(":1:", "k");
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..1000 {
                    objects(&memory).update(&key, &mut |present| page(present.map_or(0, |page| page.weight()) + 1));
                }
            });
        }
    });
    assert_eq!(objects(&memory).get(&key).unwrap().weight(), 8000);
}

#[tokio::test]
async fn clear_takes_the_objects_of_the_prefix_too() -> Result<(), Error> {
    let memory = Memory::new();
    let [inside, outside] = ["blog:1:", "blogs:1:"].map(|scope| object_key(scope, "GET /blog:"));
    for key in [&inside, &outside] {
        objects(&memory).update(key, &mut |_| page(1));
    }
    memory.set("blog:1:k", stored(1), None).await?;
    memory.clear("blog:").await?;
    assert!(objects(&memory).get(&inside).is_none());
    assert!(objects(&memory).get(&outside).is_some());
    assert!(!memory.contains("blog:1:k").await?);
    memory.clear("").await?;
    assert_eq!(memory.entries(), 0);
    Ok(())
}

#[test]
fn clear_is_exact_while_others_write() {
    let memory = Memory::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for round in 0..if cfg!(debug_assertions) { 6 } else { 20 } {
        for number in 0..2000 {
            runtime.block_on(memory.set(&format!("old:{number}"), stored(8), None)).unwrap();
        }
        thread::scope(|scope| {
            // Inserts enough to make the table grow while it is walked.
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                for number in 0..5000 {
                    runtime.block_on(memory.set(&format!("new:{round}:{number}"), stored(8), None)).unwrap();
                }
            });
            runtime.block_on(memory.clear("old:")).unwrap();
            for number in 0..2000 {
                assert!(!runtime.block_on(memory.contains(&format!("old:{number}"))).unwrap(), "old:{number}");
            }
        });
    }
}

#[tokio::test]
async fn a_clone_is_the_same_store() -> Result<(), Error> {
    let memory = Memory::new();
    memory.clone().set("k", stored(1), None).await?;
    assert!(memory.contains("k").await?);
    Ok(())
}

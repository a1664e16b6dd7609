//! The memory store under threads: what was overwritten, deleted or cleared is never seen again, by anybody.
//! Each key has one writer that counts its writes; readers compare what they see with what they know to have happened.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use larder::Timestamp;
use larder::backend::{Backend, Memory, Object, Objects, Reply, Stored};

/// How long each test races, at most.
const RACE: Duration = Duration::from_millis(1_500);

/// One of a writer's doings; each has a number, and the higher is the later.
#[derive(Clone, Copy, Debug)]
enum Write {
    Put,
    Refine,
    Remove,
    Clear,
}

/// A kind of entry of the store, as versions under numbers.
trait Kind: Sync {
    fn get(&self, memory: &Memory, key: usize) -> Option<u64>;
    fn write(&self, memory: &Memory, key: usize, version: u64, write: Write);
}

fn now<T>(reply: Reply<'_, T>) -> T {
    reply.try_ready().unwrap_or_else(|_| panic!("memory answers at once")).unwrap()
}

/// Values under text keys, of this many bytes beside the version.
struct Values(usize);

impl Values {
    fn key(key: usize) -> String {
        format!("k{key}:")
    }
}

impl Kind for Values {
    fn get(&self, memory: &Memory, key: usize) -> Option<u64> {
        now(memory.get(&Values::key(key))).map(|stored| u64::from_le_bytes(stored.data[..8].try_into().unwrap()))
    }

    fn write(&self, memory: &Memory, key: usize, version: u64, write: Write) {
        let key = Values::key(key);
        let mut data = version.to_le_bytes().to_vec();
        data.resize(8 + self.0, 0);
        let stored = Stored { data: data.into(), flags: 0 };
        match write {
            Write::Put => now(memory.set(&key, stored, None)),
            Write::Refine => {
                now(memory.delete(&key));
                now(memory.add(&key, stored, None));
            }
            Write::Remove => {
                now(memory.delete(&key));
            }
            Write::Clear => now(memory.clear(&key)),
        }
    }
}

/// Objects, of this many bytes and a few more.
struct Things(usize);

struct Thing(u64, usize);

impl Object for Thing {
    fn weight(&self) -> usize {
        self.1
    }

    fn expires_at(&self) -> Timestamp {
        Timestamp::NEVER
    }
}

impl Things {
    fn key(key: usize) -> Vec<u8> {
        [&[0xFF], Values::key(key).as_bytes(), &[0xFF]].concat()
    }
}

fn objects(memory: &Memory) -> &dyn Objects {
    memory.objects().unwrap()
}

impl Kind for Things {
    fn get(&self, memory: &Memory, key: usize) -> Option<u64> {
        let thing = objects(memory).get(&Things::key(key))?;
        Some((&*thing as &dyn std::any::Any).downcast_ref::<Thing>().unwrap().0)
    }

    fn write(&self, memory: &Memory, key: usize, version: u64, write: Write) {
        // Each of another weight than the one before.
        let thing = || Arc::new(Thing(version, self.0 + version as usize % 7 * 100)) as Arc<dyn Object>;
        let (text, key) = (Values::key(key), Things::key(key));
        match write {
            Write::Put => {
                objects(memory).update(&key, &mut |_| Some(thing()));
            }
            Write::Refine => match objects(memory).get(&key) {
                Some(present) => objects(memory).refine(&key, &present, thing()),
                None => {
                    objects(memory).update(&key, &mut |_| Some(thing()));
                }
            },
            Write::Remove => {
                objects(memory).remove(&key);
            }
            Write::Clear => now(memory.clear(&text)),
        }
    }
}

/// What is known of a key, by whoever looks.
#[derive(Default)]
struct Known {
    /// The number of the last write that has begun.
    begun: AtomicU64,
    /// The number of the last write that has ended.
    ended: AtomicU64,
    /// The latest version that anybody has seen.
    seen: AtomicU64,
    /// The number of the last write that took the value away and has begun.
    taken: AtomicU64,
}

fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Races two writers of half the keys each against readers of all, in a store that may or may not have to evict.
fn race(kind: &dyn Kind, memory: &Memory, keys: usize, evicts: bool, writes: &[Write]) {
    let known: Vec<Known> = (0..keys).map(|_| Known::default()).collect();
    let is_over = AtomicBool::new(false);
    let reads = AtomicU64::new(0);
    let end = Instant::now() + RACE;
    thread::scope(|scope| {
        for writer in 0..2 {
            let (known, is_over) = (&known, &is_over);
            scope.spawn(move || {
                let mut state = 0x9E37_79B9_7F4A_7C15 + writer as u64;
                let mut version = 0;
                while !is_over.load(SeqCst) {
                    let key = (random(&mut state) as usize % keys) / 2 * 2 + writer;
                    let write = writes[random(&mut state) as usize % writes.len()];
                    let Some(known) = known.get(key) else { continue };
                    version += 1;
                    known.begun.store(version, SeqCst);
                    if matches!(write, Write::Remove | Write::Clear) || (matches!(write, Write::Refine)) {
                        known.taken.store(version, SeqCst);
                    }
                    kind.write(memory, key, version, write);
                    known.ended.store(version, SeqCst);
                }
            });
        }
        for reader in 0..3 {
            let (known, is_over, reads) = (&known, &is_over, &reads);
            scope.spawn(move || {
                let mut state = 0xD1B5_4A32_D192_ED03 + reader;
                let mut count = 0;
                // A failed reader ends the race too.
                let stop = StopOnDrop(is_over);
                while !is_over.load(SeqCst) {
                    let key = random(&mut state) as usize % keys;
                    // Long enough at one key to have it promoted.
                    for _ in 0..random(&mut state) % 48 {
                        count += 1;
                        let known = &known[key];
                        let (ended, seen) = (known.ended.load(SeqCst), known.seen.load(SeqCst));
                        match kind.get(memory, key) {
                            Some(version) => {
                                known.seen.fetch_max(version, SeqCst);
                                assert!(version >= ended, "key {key}: {version} seen after write {ended} had ended");
                                assert!(version >= seen, "key {key}: {version} seen after {seen} had been seen");
                                assert!(version <= known.begun.load(SeqCst), "key {key}: from nowhere");
                            }
                            None if evicts || ended == 0 => {}
                            None => {
                                let taken = known.taken.load(SeqCst);
                                assert!(taken >= ended, "key {key}: nothing there after write {ended}");
                            }
                        }
                    }
                    if Instant::now() > end {
                        break;
                    }
                }
                drop(stop);
                reads.fetch_add(count, SeqCst);
            });
        }
    });
    assert!(reads.load(SeqCst) > 1_000, "it was a race");
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

const ALL: [Write; 6] = [Write::Put, Write::Put, Write::Put, Write::Refine, Write::Remove, Write::Clear];

#[test]
fn nobody_sees_a_value_again_that_was_overwritten() {
    race(&Values(0), &Memory::new(), 4, false, &[Write::Put]);
}

#[test]
fn nobody_sees_an_object_again_that_was_overwritten() {
    race(&Things(10), &Memory::new(), 4, false, &[Write::Put]);
}

#[test]
fn nobody_sees_a_value_again_that_was_deleted_or_cleared() {
    race(&Values(0), &Memory::new(), 16, false, &ALL);
}

#[test]
fn nobody_sees_an_object_again_that_was_removed_refined_or_cleared() {
    race(&Things(10), &Memory::new(), 64, false, &ALL);
}

#[test]
fn nobody_sees_an_old_value_where_most_are_evicted() {
    // Room for ten of a hundred.
    let memory = Memory::builder().max_bytes(20_000).build();
    race(&Values(1_500), &memory, 100, true, &ALL);
    assert!(memory.usage() <= 20_000);
}

#[test]
fn nobody_sees_an_old_object_where_most_are_evicted() {
    let memory = Memory::builder().max_bytes(20_000).build();
    race(&Things(1_500), &memory, 100, true, &ALL);
    assert!(memory.usage() <= 20_000);
}

#[test]
fn what_is_left_after_a_race_weighs_what_it_is() {
    for evicts in [false, true] {
        let memory = if evicts { Memory::builder().max_bytes(20_000).build() } else { Memory::new() };
        let things = Things(1_500);
        race(&things, &memory, 32, evicts, &ALL);
        let left = (0..32).filter(|key| things.get(&memory, *key).is_some()).count() as u64;
        assert_eq!(memory.entries(), left, "and none of them is in front of the table only");
        let weight = |memory: &Memory, key| {
            let key = Things::key(key);
            objects(memory).get(&key).map_or(0, |thing| (thing.weight() + key.len()) as u64)
        };
        let alone = Memory::new();
        things.write(&alone, 0, 1, Write::Put);
        let bookkeeping = alone.usage() - weight(&alone, 0);
        let all: u64 = (0..32).map(|key| weight(&memory, key)).sum();
        assert_eq!(memory.usage(), all + left * bookkeeping);
        now(memory.clear(""));
        assert_eq!((memory.entries(), memory.usage()), (0, 0));
        assert!((0..32).all(|key| things.get(&memory, key).is_none()));
    }
}

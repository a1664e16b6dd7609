//! Several processes on one table, played by backends with connections of their own.

use std::sync::{Arc, Barrier};
use std::time::Duration;

use larder::Clock;
use larder::backend::{Backend, Database};
use tokio::task::JoinSet;

use super::stores::{Place, made, number, text};

const TASKS: usize = 64;

async fn two(place: &Place) -> [Arc<Database>; 2] {
    let clock = Clock::system();
    [made(place.builder(), clock.clone()).await, made(place.builder(), clock).await].map(Arc::new)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_sixty_four_adds_one_wins() {
    for place in Place::all().await {
        let backends = two(&place).await;
        for round in 0..5 {
            let key = format!("k{round}");
            if round % 2 == 1 {
                // A dead row is there already.
                backends[0].set(&key, text("dead"), Some(Duration::from_micros(1))).await.unwrap();
            }
            let mut tasks = JoinSet::new();
            for task in 0..TASKS {
                let (backend, key) = (Arc::clone(&backends[task % 2]), key.clone());
                let value = number(task as i64);
                tasks.spawn(async move {
                    backend.add(&key, value, Some(Duration::from_secs(600))).await.unwrap().then_some(task)
                });
            }
            let winners: Vec<usize> = tasks.join_all().await.into_iter().flatten().collect();
            let [winner] = winners[..] else { panic!("{winners:?} won in {}", place.url) };
            assert_eq!(backends[1].get(&key).await.unwrap(), Some(number(winner as i64)));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn counting_together_loses_nothing() {
    for place in Place::all().await {
        let backends = two(&place).await;
        backends[0].set("n", number(0), Some(Duration::from_secs(600))).await.unwrap();
        let mut tasks = JoinSet::new();
        for task in 0..16 {
            let backend = Arc::clone(&backends[task % 2]);
            tasks.spawn(async move {
                for _ in 0..20 {
                    backend.incr("n", 1).await.unwrap().unwrap();
                }
            });
        }
        tasks.join_all().await;
        assert_eq!(backends[0].incr("n", 0).await.unwrap(), Some(320), "{}", place.url);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_of_the_same_entries_do_not_stop_each_other() {
    for place in Place::all().await {
        let backends = two(&place).await;
        let mut tasks = JoinSet::new();
        for task in 0..16_usize {
            let backend = Arc::clone(&backends[task % 2]);
            tasks.spawn(async move {
                let mut entries: Vec<_> = (0..50).map(|key| (format!("k{key}"), number(task as i64))).collect();
                entries.rotate_left(task * 3);
                let keys: Vec<String> = entries.iter().map(|(key, _)| key.clone()).collect();
                for _ in 0..5 {
                    assert!(backend.set_many(&entries, None).await.unwrap().is_empty());
                    backend.get_many(&keys).await.unwrap();
                    backend.delete_many(&keys[..10]).await.unwrap();
                }
                backend.set_many(&entries, None).await.unwrap();
            });
        }
        tasks.join_all().await;
        let keys: Vec<String> = (0..50).map(|key| format!("k{key}")).collect();
        assert!(backends[0].get_many(&keys).await.unwrap().iter().flatten().count() >= 40, "{}", place.url);
    }
}

/// Calls that are dropped at any moment: what is answered later is never another call's, and no connection is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn dropped_calls_hand_nobody_anothers_answer() {
    for place in Place::all().await {
        let backend = Arc::new(made(place.builder().pool_size(3), Clock::system()).await);
        for key in 0..20 {
            backend.set(&format!("k{key}"), text(&format!("value of k{key}")), None).await.unwrap();
        }
        let mut tasks = JoinSet::new();
        for task in 0..16_u64 {
            let backend = Arc::clone(&backend);
            tasks.spawn(async move {
                for round in 0..60_u64 {
                    let key = format!("k{}", (task * 7 + round) % 20);
                    let call = backend.get(&key);
                    let found = if round % 4 == 0 {
                        let patience = Duration::from_micros(37 * (task + 1) + 11 * round);
                        tokio::time::timeout(patience, call).await.ok()
                    } else {
                        Some(call.await)
                    };
                    if let Some(found) = found {
                        assert_eq!(found.unwrap(), Some(text(&format!("value of {key}"))));
                    }
                }
            });
        }
        tasks.join_all().await;
    }
}

#[test]
fn programs_that_begin_on_a_new_file_at_once_all_store() {
    const PROGRAMS: usize = 6;
    for turn in 0..100 {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("cache.db").display());
        let all_at_once = Barrier::new(PROGRAMS);
        std::thread::scope(|scope| {
            for program in 0..PROGRAMS {
                let (url, all_at_once) = (&url, &all_at_once);
                scope.spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    runtime.block_on(async {
                        let store = Database::builder(url).unwrap().create_table(true).build().unwrap();
                        let (key, value) = (format!("k{program}"), text("stored"));
                        all_at_once.wait();
                        store.set(&key, value.clone(), None).await.unwrap_or_else(|error| panic!("{turn}: {error:?}"));
                        assert_eq!(store.get(&key).await.unwrap(), Some(value));
                    });
                });
            }
        });
    }
}

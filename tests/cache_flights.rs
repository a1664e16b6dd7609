//! Many callers at once: `add`, `incr` and above all `get_or_set`, whose closure runs once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use larder::backend::Memory;
use larder::{Cache, Error};
use tokio::sync::{Notify, oneshot};
use tokio::task::{JoinSet, yield_now};

const TASKS: usize = 64;

/// Gives every task of this thread the chance to get as far as it can.
async fn all_aboard() {
    for _ in 0..10 * TASKS {
        yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_64_adds_one_wins() -> Result<(), Error> {
    let cache = Cache::memory();
    for round in 0..100 {
        let mut tasks = JoinSet::new();
        for task in 0..TASKS {
            let cache = cache.clone();
            tasks.spawn(async move { cache.add(format!("k{round}"), task, 30).await.unwrap() });
        }
        assert_eq!(tasks.join_all().await.into_iter().filter(|won| *won).count(), 1);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_count_is_lost() -> Result<(), Error> {
    let cache = Cache::memory();
    cache.set("hits", 0, 30).await?;
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let cache = cache.clone();
        tasks.spawn(async move {
            for _ in 0..1000 {
                cache.incr("hits", 1).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(cache.get::<usize>("hits").await?, Some(TASKS * 1000));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_set_among_counts_is_not_lost() -> Result<(), Error> {
    // After a set of 1,000,000 every number is beyond it: a count never writes over it what it had read before.
    for _ in 0..200 {
        let cache = Cache::memory();
        cache.set("hits", 0, 30).await?;
        let counter = cache.clone();
        let counting = tokio::spawn(async move {
            for _ in 0..200 {
                counter.incr("hits", 1).await.unwrap();
            }
        });
        cache.set("hits", 1_000_000, 30).await?;
        counting.await.unwrap();
        assert!(cache.get::<u32>("hits").await?.unwrap() >= 1_000_000);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn get_or_set_runs_its_closure_once_for_64_callers() -> Result<(), Error> {
    for _ in 0..50 {
        let cache = Cache::memory();
        let (runs, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let mut tasks = JoinSet::new();
        for _ in 0..TASKS {
            let (cache, runs, go) = (cache.clone(), Arc::clone(&runs), Arc::clone(&go));
            tasks.spawn(async move {
                let make = || async {
                    runs.fetch_add(1, Ordering::SeqCst);
                    go.notified().await;
                    "made".to_owned()
                };
                cache.get_or_set::<String, _, _>("k", 30, make).await.unwrap()
            });
        }
        // Some callers wait for the leader, some come when it has just landed, some find the value.
        yield_now().await;
        go.notify_one();
        assert!(tasks.join_all().await.into_iter().all(|value| value == "made"));
        assert_eq!(runs.load(Ordering::SeqCst), 1);
        assert_eq!(cache.in_flight(), 0);
    }
    Ok(())
}

/// On one thread the order is certain: all callers wait before the leader lands.
#[tokio::test]
async fn waiters_get_the_value_even_if_it_is_kept_for_no_time() -> Result<(), Error> {
    for cache in [Cache::memory(), Cache::dummy()] {
        let (runs, go) = (AtomicUsize::new(0), Notify::new());
        let caller = || async {
            let make = || async {
                runs.fetch_add(1, Ordering::SeqCst);
                go.notified().await;
                vec![1_u32, 2, 3]
            };
            cache.get_or_set::<Vec<u32>, _, _>("k", 0, make).await.unwrap()
        };
        let (first, second, third, ()) = tokio::join!(caller(), caller(), caller(), async {
            all_aboard().await;
            go.notify_one();
        });
        assert_eq!((&first, &second), (&second, &third));
        assert_eq!(runs.load(Ordering::SeqCst), 1);
        assert_eq!(cache.in_flight(), 0);
    }
    Ok(())
}

#[tokio::test]
async fn a_cancelled_leader_hands_over_to_the_next() -> Result<(), Error> {
    let cache = Cache::memory();
    let leader = tokio::spawn({
        let cache = cache.clone();
        async move { cache.get_or_set::<u32, _, _>("k", 30, std::future::pending).await }
    });
    all_aboard().await;
    let next = tokio::spawn({
        let cache = cache.clone();
        async move { cache.get_or_set("k", 30, || async { 2_u32 }).await }
    });
    all_aboard().await;
    assert_eq!(cache.in_flight(), 1);
    leader.abort();
    assert!(leader.await.unwrap_err().is_cancelled());
    assert_eq!(next.await.unwrap()?, 2);
    assert_eq!(cache.in_flight(), 0);
    Ok(())
}

#[tokio::test]
async fn a_leader_that_panics_hands_over_to_the_next() -> Result<(), Error> {
    let cache = Cache::memory();
    let (go, wait) = oneshot::channel::<()>();
    let leader = tokio::spawn({
        let cache = cache.clone();
        async move {
            let make = || async {
                let _ = wait.await;
                panic!("the database is on fire")
            };
            cache.get_or_set::<u32, _, _>("k", 30, make).await
        }
    });
    all_aboard().await;
    let next = tokio::spawn({
        let cache = cache.clone();
        async move { cache.get_or_set("k", 30, || async { 2_u32 }).await }
    });
    all_aboard().await;
    go.send(()).unwrap();
    assert!(leader.await.unwrap_err().is_panic());
    assert_eq!(next.await.unwrap()?, 2);
    assert_eq!(cache.in_flight(), 0);
    Ok(())
}

#[tokio::test]
async fn an_error_is_the_leaders_own_and_the_next_one_tries() -> Result<(), Box<dyn std::error::Error>> {
    let cache = Cache::memory();
    let tries = AtomicUsize::new(0);
    let caller = || async {
        let make = || async {
            let number = tries.fetch_add(1, Ordering::SeqCst);
            yield_now().await;
            if number == 0 { Err("no connection".into()) } else { Ok(number) }
        };
        cache.get_or_try_set::<usize, Box<dyn std::error::Error>, _, _>("k", 30, make).await
    };
    let (first, second, third) = tokio::join!(caller(), caller(), caller());
    assert_eq!(first.unwrap_err().to_string(), "no connection");
    assert_eq!((second?, third?), (1, 1));
    assert_eq!(cache.get::<usize>("k").await?, Some(1));
    assert_eq!(cache.in_flight(), 0);
    Ok(())
}

#[tokio::test]
async fn nothing_is_left_behind_by_waiters_that_give_up() -> Result<(), Error> {
    let cache = Cache::memory();
    let mut tasks = JoinSet::new();
    for number in 0..TASKS {
        let cache = cache.clone();
        tasks.spawn(async move {
            let key = format!("k{}", number % 4);
            cache.get_or_set::<u32, _, _>(key, 30, std::future::pending).await
        });
    }
    all_aboard().await;
    assert_eq!(cache.in_flight(), 4);
    tasks.shutdown().await;
    assert_eq!(cache.in_flight(), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_left_behind_when_all_give_up_at_once() {
    let cache = Cache::memory();
    for _ in 0..200 {
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let cache = cache.clone();
                tokio::spawn(async move { cache.get_or_set::<u32, _, _>("k", 30, std::future::pending).await })
            })
            .collect();
        yield_now().await;
        tasks.iter().for_each(|task| task.abort());
        for task in tasks {
            let _ = task.await;
        }
        assert_eq!(cache.in_flight(), 0);
    }
}

#[tokio::test]
async fn a_value_that_another_writer_stored_meanwhile_wins() -> Result<(), Error> {
    let cache = Cache::memory();
    let value = cache
        .get_or_set("k", 30, || async {
            cache.set("k", "theirs", 30).await.unwrap();
            "ours".to_owned()
        })
        .await?;
    assert_eq!(value, "theirs");
    Ok(())
}

#[tokio::test]
async fn whoever_comes_after_a_delete_is_not_given_the_deleted_value() -> Result<(), Error> {
    let cache = Cache::memory();
    let (go, waiter_go) = (Notify::new(), Notify::new());
    let leader = async {
        let make = || async {
            go.notified().await;
            1_u32
        };
        let value = cache.get_or_set("k", 30, make).await.unwrap();
        cache.delete("k").await.unwrap();
        let later = cache.get_or_set("k", 30, || async { 2_u32 }).await.unwrap();
        waiter_go.notify_one();
        (value, later)
    };
    let waiter = cache.get_or_set("k", 30, || async { 3_u32 });
    let ((value, later), waited, ()) = tokio::join!(leader, waiter, async {
        all_aboard().await;
        go.notify_one();
    });
    assert_eq!((value, later, waited?), (1, 2, 1));
    Ok(())
}

#[tokio::test]
async fn keys_versions_and_prefixes_fly_apart() -> Result<(), Error> {
    let memory = Memory::new();
    let cache = Cache::builder(memory).build();
    let one =
        cache.get_or_set("k", 30, || async { cache.version(2).get_or_set("k", 30, || async { 2 }).await.unwrap() });
    assert_eq!(one.await?, 2);
    Ok(())
}

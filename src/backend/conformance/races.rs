//! Many tasks at once, and calls that nobody waits for any more.
//! The suite runs them one by one.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use tokio::task::JoinSet;

use super::{Checked, Trial, answers, seconds, stored};
use crate::backend::{Backend, flags};

const TASKS: usize = 64;
const COUNTS: usize = 100;

pub(super) async fn add<B: Backend>(trial: &Trial<B>) -> Checked {
    for round in 0..20 {
        let key = trial.key(&round.to_string());
        let mut tasks = JoinSet::new();
        for task in 0..TASKS {
            let (backend, key) = (Arc::clone(&trial.backend), key.clone());
            tasks.spawn(async move {
                let won = backend.add(&key, stored(task.to_string(), flags::INTEGER), Some(seconds(60))).await;
                won.map(|won| won.then_some(task))
            });
        }
        let mut winners = Vec::new();
        for outcome in tasks.join_all().await {
            winners.extend(outcome?);
        }
        answers!(winners.len(), 1, "winners of {TASKS} adds of one key");
        let value = stored(winners[0].to_string(), flags::INTEGER);
        answers!(trial.backend.get(&key).await?, Some(value), "get of what the winner added");
    }
    Ok(())
}

pub(super) async fn incr<B: Backend>(trial: &Trial<B>) -> Checked {
    let key = trial.key("k");
    trial.backend.set(&key, stored("0", flags::INTEGER), Some(seconds(600))).await?;
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let (backend, key) = (Arc::clone(&trial.backend), key.clone());
        tasks.spawn(async move {
            let mut numbers = Vec::with_capacity(COUNTS);
            for _ in 0..COUNTS {
                numbers.push(backend.incr(&key, 1).await?);
            }
            Ok::<_, crate::error::Error>(numbers)
        });
    }
    let mut numbers = Vec::new();
    for outcome in tasks.join_all().await {
        numbers.extend(outcome?);
    }
    numbers.sort_unstable();
    numbers.dedup();
    answers!(numbers.len(), TASKS * COUNTS, "different numbers from {TASKS} tasks that counted {COUNTS} times each");
    answers!(trial.backend.incr(&key, 0).await?, Some((TASKS * COUNTS) as i64), "the number after them");
    Ok(())
}

pub(super) async fn dropped<B: Backend>(trial: &Trial<B>) -> Checked {
    let backend = &trial.backend;
    let value = |number: usize| stored(format!("value {number}"), flags::TEXT);
    for number in 0..32 {
        backend.set(&trial.key(&number.to_string()), value(number), Some(seconds(600))).await?;
    }
    for number in 0..32 {
        let (key, next) = (trial.key(&number.to_string()), trial.key(&((number + 1) % 32).to_string()));
        // Begun, and then dropped while its answer is on its way.
        let mut context = Context::from_waker(Waker::noop());
        let _ = pin!(backend.get(&key)).as_mut().poll(&mut context);
        let _ = pin!(backend.set(&trial.key("other"), value(99), None)).as_mut().poll(&mut context);
        let _ = pin!(backend.get_many(&[key.clone(), next.clone()])).as_mut().poll(&mut context);
        answers!(backend.get(&next).await?, Some(value((number + 1) % 32)), "get after dropped calls");
        answers!(backend.delete(&trial.key("missing")).await?, false, "delete after dropped calls");
    }
    Ok(())
}

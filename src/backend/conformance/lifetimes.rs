//! When an entry is there and when it is not, with a clock that is turned by hand.
//! The suite runs them one by one; the last one waits, for backends whose clock cannot be turned.

use super::{Checked, Trial, answers, seconds, stored};
use crate::backend::{Backend, flags};
use std::time::Duration;

const NANOSECOND: Duration = Duration::from_nanos(1);

pub(super) async fn clock<B: Backend>(trial: &Trial<B>) -> Checked {
    answers!(trial.backend.clock().now(), trial.hands.clock().now(), "the time of its clock");
    trial.advance(seconds(1));
    answers!(trial.backend.clock().now(), trial.hands.clock().now(), "the time of its clock, a second later");
    Ok(())
}

pub(super) async fn exact<B: Backend>(trial: &Trial<B>) -> Checked {
    let (backend, key) = (&trial.backend, &trial.key("k"));
    let value = stored("v", flags::TEXT);
    for ttl in [seconds(10), Duration::from_millis(500), Duration::from_millis(1)] {
        backend.set(key, value.clone(), Some(ttl)).await?;
        trial.advance(ttl - NANOSECOND);
        answers!(backend.get(key).await?, Some(value.clone()), "get a nanosecond before the end of {ttl:?}");
        trial.advance(NANOSECOND);
        answers!(backend.get(key).await?, None, "get at the end of {ttl:?}");
        trial.advance(seconds(1_000_000));
        answers!(backend.get(key).await?, None, "get long after the end of {ttl:?}");
    }
    Ok(())
}

pub(super) async fn never<B: Backend>(trial: &Trial<B>) -> Checked {
    let (backend, key) = (&trial.backend, &trial.key("k"));
    backend.set(key, stored("v", flags::TEXT), None).await?;
    answers!(backend.add(&trial.key("added"), stored("v", flags::TEXT), None).await?, true, "add");
    backend.set_many(&[(trial.key("many"), stored("v", flags::TEXT))], None).await?;
    trial.advance(seconds(100 * 365 * 86_400));
    for key in ["k", "added", "many"] {
        answers!(backend.contains(&trial.key(key)).await?, true, "contains of {key:?} after a hundred years");
    }
    Ok(())
}

pub(super) async fn long<B: Backend>(trial: &Trial<B>) -> Checked {
    let (backend, key) = (&trial.backend, &trial.key("k"));
    // memcached takes more than thirty days for a date.
    for days in [30, 31, 365] {
        let ttl = seconds(days * 86_400);
        backend.set(key, stored("v", flags::TEXT), Some(ttl)).await?;
        trial.advance(ttl - seconds(1));
        answers!(backend.contains(key).await?, true, "contains a second before the end of {days} days");
        trial.advance(seconds(1));
        answers!(backend.contains(key).await?, false, "contains at the end of {days} days");
    }
    Ok(())
}

pub(super) async fn touch<B: Backend>(trial: &Trial<B>) -> Checked {
    let (backend, key) = (&trial.backend, &trial.key("k"));
    let value = stored("v", flags::SERDE);
    backend.set(key, value.clone(), Some(seconds(10))).await?;
    trial.advance(seconds(5));
    answers!(backend.touch(key, Some(seconds(10))).await?, true, "touch of a live entry");
    trial.advance(seconds(9));
    answers!(backend.get(key).await?, Some(value.clone()), "get 9 s after a touch for 10 s");
    answers!(backend.touch(key, None).await?, true, "touch for ever");
    trial.advance(seconds(1_000_000));
    answers!(backend.get(key).await?, Some(value), "get long after a touch for ever");
    answers!(backend.touch(key, None).await?, true, "touch for ever of what never expires");
    answers!(backend.touch(key, Some(seconds(1))).await?, true, "touch for 1 s of what never expires");
    trial.advance(seconds(1));
    answers!(backend.get(key).await?, None, "get 1 s after a touch for 1 s");
    Ok(())
}

pub(super) async fn kept<B: Backend>(trial: &Trial<B>) -> Checked {
    let backend = &trial.backend;
    let [limited, unlimited] = ["limited", "unlimited"].map(|key| trial.key(key));
    backend.set(&limited, stored("1", flags::INTEGER), Some(seconds(10))).await?;
    backend.set(&unlimited, stored("1", flags::INTEGER), None).await?;
    trial.advance(seconds(6));
    for key in [&limited, &unlimited] {
        answers!(backend.incr(key, 1).await?, Some(2), "incr");
        answers!(backend.add(key, stored("x", flags::TEXT), Some(seconds(60))).await?, false, "add");
    }
    trial.advance(seconds(4));
    answers!(backend.contains(&limited).await?, false, "contains 10 s after a set for 10 s, counted meanwhile");
    trial.advance(seconds(1_000_000));
    answers!(backend.contains(&unlimited).await?, true, "contains of what never expires, counted meanwhile");
    Ok(())
}

pub(super) async fn dead_is_absent<B: Backend>(trial: &Trial<B>) -> Checked {
    let backend = &trial.backend;
    let calls = ["get", "contains", "touch", "delete", "incr", "add", "get_many", "set"];
    let [get, contains, touch, delete, incr, add, get_many, set] = calls.map(|call| trial.key(call));
    for call in calls {
        backend.set(&trial.key(call), stored("1", flags::INTEGER), Some(seconds(10))).await?;
    }
    trial.advance(seconds(10));
    answers!(backend.get(&get).await?, None, "get of a dead entry");
    answers!(backend.contains(&contains).await?, false, "contains of a dead entry");
    answers!(backend.touch(&touch, Some(seconds(60))).await?, false, "touch of a dead entry");
    answers!(backend.get(&touch).await?, None, "get of a dead entry after touch");
    answers!(backend.delete(&delete).await?, false, "delete of a dead entry");
    answers!(backend.incr(&incr, 1).await?, None, "incr of a dead entry");
    answers!(backend.get(&incr).await?, None, "get of a dead entry after incr");
    answers!(backend.get_many(&[get_many]).await?, vec![None], "get_many of a dead entry");
    let new = stored("new", flags::TEXT);
    answers!(backend.add(&add, new.clone(), Some(seconds(60))).await?, true, "add over a dead entry");
    answers!(backend.get(&add).await?, Some(new.clone()), "get after an add over a dead entry");
    backend.set(&set, new.clone(), Some(seconds(60))).await?;
    answers!(backend.get(&set).await?, Some(new), "get after a set over a dead entry");
    Ok(())
}

pub(super) async fn real_time<B: Backend>(trial: &Trial<B>) -> Checked {
    let backend = &trial.backend;
    let [short, long, touched, counted, never] =
        ["short", "long", "touched", "counted", "never"].map(|key| trial.key(key));
    let one = stored("1", flags::INTEGER);
    for (key, ttl) in
        [(&short, Some(2)), (&long, Some(31 * 86_400)), (&touched, Some(2)), (&counted, Some(2)), (&never, None)]
    {
        backend.set(key, one.clone(), ttl.map(seconds)).await?;
    }
    answers!(backend.touch(&touched, Some(seconds(60))).await?, true, "touch for 60 s");
    answers!(backend.incr(&counted, 1).await?, Some(2), "incr");
    answers!(backend.contains(&short).await?, true, "contains at the beginning of 2 s");
    tokio::time::sleep(seconds(4)).await;
    for (key, there) in [(&short, false), (&long, true), (&touched, true), (&counted, false), (&never, true)] {
        answers!(backend.contains(key).await?, there, "contains of {key:?} after 4 s");
    }
    answers!(backend.delete(&short).await?, false, "delete of a dead entry");
    answers!(backend.add(&short, one, None).await?, true, "add over a dead entry");
    Ok(())
}

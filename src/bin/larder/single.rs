//! The commands on single values: get, has, set, add, touch, incr, decr, delete, clear, over any cache.
//! `main` calls them; they do what the calls of [`Cache`](larder::Cache) of the same names do.

use larder::Timeout;

use super::arguments::{Clear, Count, Delete, Get, Has, LifetimeArguments, PlaceArguments, Set, Touch};
use super::ask::confirm;
use super::failure::{Failure, worse};
use super::place::final_key;
use super::print::{Out, counted};
use super::show::{Form, show};
use super::value::Given;

/// Which way to count.
#[derive(Clone, Copy)]
pub enum Direction {
    Up,
    Down,
}

pub async fn get(place: &PlaceArguments, arguments: Get) -> Result<(), Failure> {
    let cache = place.scoped(&arguments.scope).await?;
    let final_keys: Vec<String> = arguments.keys.iter().map(|key| final_key(&cache, key)).collect::<Result<_, _>>()?;
    let found = cache.backend().get_many(&final_keys).await?;
    let form = match (arguments.json, arguments.bytes) {
        (true, _) => Form::Json,
        (_, true) => Form::Bytes,
        _ => Form::Plain,
    };
    let mut out = Out::new();
    let mut outcome = Ok(());
    for (key, stored) in arguments.keys.iter().zip(found) {
        let shown = match &stored {
            Some(stored) => show(&mut out, key, stored, form),
            None => Err(Failure::Missing(Some(format!("no value under the key {key:?} in {}", place.name()?)))),
        };
        outcome = worse(outcome, shown)?;
    }
    out.finish()?;
    outcome
}

pub async fn has(place: &PlaceArguments, arguments: Has) -> Result<(), Failure> {
    let cache = place.scoped(&arguments.scope).await?;
    for key in &arguments.keys {
        if !cache.contains(key).await? {
            return Err(Failure::Missing(None));
        }
    }
    Ok(())
}

pub async fn set(place: &PlaceArguments, arguments: Set) -> Result<(), Failure> {
    let value = Given::read(&arguments)?;
    let cache = place.scoped(&arguments.scope).await?;
    Ok(cache.set(&arguments.key, value, timeout(&arguments.lifetime)).await?)
}

pub async fn add(place: &PlaceArguments, arguments: Set) -> Result<(), Failure> {
    let value = Given::read(&arguments)?;
    let cache = place.scoped(&arguments.scope).await?;
    let key = &arguments.key;
    if cache.add(key, value, timeout(&arguments.lifetime)).await? {
        return Ok(());
    }
    Err(Failure::Missing(Some(format!("something is under the key {key:?} in {}: it was left alone", place.name()?))))
}

pub async fn touch(place: &PlaceArguments, arguments: Touch) -> Result<(), Failure> {
    let cache = place.scoped(&arguments.scope).await?;
    let mut outcome = Ok(());
    for key in &arguments.keys {
        let is_there = cache.touch(key, timeout(&arguments.lifetime)).await?;
        outcome = worse(outcome, if is_there { Ok(()) } else { missing(key) })?;
    }
    outcome
}

pub async fn count(place: &PlaceArguments, arguments: Count, direction: Direction) -> Result<(), Failure> {
    let cache = place.scoped(&arguments.scope).await?;
    let number = match direction {
        Direction::Up => cache.incr(&arguments.key, arguments.delta).await?,
        Direction::Down => cache.decr(&arguments.key, arguments.delta).await?,
    };
    let mut out = Out::new();
    out.line(number.to_string())?;
    Ok(out.finish()?)
}

pub async fn delete(place: &PlaceArguments, arguments: Delete) -> Result<(), Failure> {
    let cache = place.scoped(&arguments.scope).await?;
    // All keys are checked before the first one goes.
    for key in &arguments.keys {
        final_key(&cache, key)?;
    }
    if let [first, .., last] = &arguments.keys[..] {
        let many = counted(arguments.keys.len() as u64, "key");
        let deed = format!("This deletes {many}, {first:?} to {last:?}, from {}.", place.name()?);
        confirm(&arguments.confirmation, &deed)?;
    }
    let mut outcome = Ok(());
    for key in &arguments.keys {
        let was_there = cache.delete(key).await?;
        outcome = worse(outcome, if was_there { Ok(()) } else { missing(key) })?;
    }
    outcome
}

pub async fn clear(place: &PlaceArguments, arguments: Clear) -> Result<(), Failure> {
    let cache = place.cache().await?;
    let name = place.name()?;
    let prefix = cache.key_prefix();
    let deed = match cache.backend().name() {
        "memcached" => format!(
            "This deletes EVERYTHING in {name}, whoever stored it: memcached cannot tell the keys of one prefix from others."
        ),
        _ if prefix.is_empty() => format!(
            "This deletes EVERYTHING in {name}, whoever stored it: the cache has no key_prefix that would set its keys apart."
        ),
        _ => format!("This deletes all keys that begin with \"{prefix}:\" from {name}, of every version."),
    };
    confirm(&arguments.confirmation, &deed)?;
    Ok(cache.clear().await?)
}

fn timeout(lifetime: &LifetimeArguments) -> Timeout {
    lifetime.timeout.map_or(Timeout::Default, Timeout::from)
}

fn missing(key: &str) -> Result<(), Failure> {
    Err(Failure::Missing(Some(format!("no value under the key {key:?}"))))
}

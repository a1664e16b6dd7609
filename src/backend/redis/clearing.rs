//! Deleting what begins with a prefix, in batches, since Redis has no command for it.
//! The backend calls it for a cache with a key prefix.

use std::collections::VecDeque;

use ::redis::{ErrorKind, FromRedisValue, RedisError, RedisResult, Value, cmd};

use super::servers::{Does, Servers};
use super::wire::{Place, Request};

/// About how many keys a server looks at before it answers: some ten microseconds of its time.
const BATCH: usize = 1000;

/// Deletes every key that begins with `prefix`, of every leader.
///
/// A key that is written meanwhile may stay, one that was there from beginning to end does not; unless the server is
/// restarted or replaced in the middle, since a scan goes on elsewhere only in part. Other callers are served between two
/// batches.
pub(super) async fn clear(servers: &Servers, prefix: &str) -> RedisResult<()> {
    let pattern = format!("{}*", literal(prefix));
    let scan = |cursor: u64| {
        let mut scan = cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(BATCH);
        scan
    };
    let first = servers.ask(Does::Put, &Request::EveryLeader(scan(0))).await?;
    let mut batches: VecDeque<(Place, Value)> = of_each_leader(first)?.into();
    while let Some((place, batch)) = batches.pop_front() {
        let (cursor, keys) = <(u64, Vec<Vec<u8>>)>::from_redis_value(batch.extract_error()?)?;
        if !keys.is_empty() {
            let mut unlink = cmd("UNLINK");
            unlink.arg(keys);
            servers.ask(Does::Put, &Request::Command(unlink)).await?;
        }
        if cursor != 0 {
            let next = servers.ask(Does::Put, &Request::At(scan(cursor), place.clone())).await?;
            batches.push_back((place, next));
        }
    }
    Ok(())
}

/// What every leader answered, and where it is.
fn of_each_leader(answer: Value) -> RedisResult<Vec<(Place, Value)>> {
    let Value::Map(answers) = answer else { return Ok(vec![(None, answer)]) };
    let of_each = answers.into_iter().map(|(place, answer)| {
        let place = String::from_redis_value(place)?;
        let parts = place.rsplit_once(':').and_then(|(host, port)| Some((host.to_owned(), port.parse().ok()?)));
        match parts {
            Some(parts) => Ok((Some(parts), answer)),
            None => Err(RedisError::from((ErrorKind::Client, "a cluster's server without an address", place))),
        }
    });
    of_each.collect()
}

/// A pattern that stands for this very text.
fn literal(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_stands_for_the_text_itself() {
        assert_eq!(literal("blog:1:"), "blog:1:");
        assert_eq!(literal(r"a*b?c[d]e\f"), r"a\*b\?c\[d\]e\\f");
    }
}

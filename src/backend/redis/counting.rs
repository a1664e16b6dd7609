//! What Redis is asked in its own language, where no single command does what the contract says; and how its answer reads.
//! The backend sends these scripts, each in one round trip.

use bytes::Bytes;

use ::redis::{RedisError, Value};

use crate::backend::{Stored, counted, envelope};
use crate::error::Error;

/// Adds to the integer under a key that is there, and keeps its lifetime. Answers the sum as text, since a script's own
/// numbers are not whole beyond 2^53; nothing where no key is; the beginning of what could not be counted in a list.
pub(super) const COUNT: &str = "\
if redis.call('EXISTS', KEYS[1]) == 0 then return false end
local sum = redis.pcall('INCRBY', KEYS[1], ARGV[1])
if type(sum) == 'number' then return redis.call('GET', KEYS[1]) end
if string.find(sum.err, 'not an integer') or string.find(sum.err, 'overflow') then
  return {redis.call('GETRANGE', KEYS[1], 0, 63)}
end
return sum";

/// Takes the lifetime from a key that is there, and says whether there was one, which PERSIST does not (RED-4).
pub(super) const PERSIST: &str = "\
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('PERSIST', KEYS[1])
return 1";

/// How much of a value tells whether it is one of ours.
pub(super) const HEAD: usize = 64;

/// The number that [`COUNT`] answered.
///
/// # Errors
/// [`Error::NotANumber`], [`Error::Overflow`]; and the answer itself where it is none that was expected.
pub(super) fn read_count(key: &str, delta: i64, answer: Value) -> Result<Option<i64>, Result<Error, Value>> {
    match answer {
        Value::Nil => Ok(None),
        Value::BulkString(sum) => {
            let number = std::str::from_utf8(&sum).ok().and_then(|sum| sum.parse().ok());
            number.map(Some).ok_or(Err(Value::BulkString(sum)))
        }
        Value::Array(mut uncounted) => match uncounted.pop() {
            Some(Value::BulkString(head)) => Err(Ok(why_uncounted(key, delta, head))),
            other => Err(Err(Value::Array(other.into_iter().collect()))),
        },
        other => Err(Err(other)),
    }
}

/// Why Redis could not count what begins like this.
fn why_uncounted(key: &str, delta: i64, head: Vec<u8>) -> Error {
    let nothing = Stored { data: Bytes::new(), flags: 0 };
    let stored = envelope::open(&head.into()).unwrap_or(nothing);
    match counted(key, &stored, delta) {
        Err(error) => error,
        Ok(_) => Error::NotANumber { key: key.to_owned() },
    }
}

/// Whether a key holds one of Redis's lists, sets or the like, which are none of ours.
pub(super) fn is_of_another_type(error: &RedisError) -> bool {
    error.code() == Some("WRONGTYPE")
}

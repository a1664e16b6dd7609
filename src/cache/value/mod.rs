//! How a value becomes bytes and flags, and back: integers as decimal text, text and bytes raw, the rest as MessagePack.
//! The typed calls of the cache use it; no backend does.

mod read;
mod write;

use bytes::Bytes;
use serde::Serialize;
use serde::de::{DeserializeOwned, Error as _};

use crate::backend::{Stored, flags};
use crate::error::Error;

/// The bytes and flags of `value`.
///
/// # Errors
/// [`Error::Encode`] with the caller's `key` (LOW-22).
pub(super) fn encode<V: Serialize + ?Sized>(key: &str, value: &V) -> Result<Stored, Error> {
    match value.serialize(write::Classify) {
        Ok(stored) => Ok(stored),
        Err(write::Unplain::Message(message)) => Err(Error::Encode { key: key.to_owned(), source: message.into() }),
        Err(write::Unplain::Structured) => {
            let data = rmp_serde::to_vec_named(value);
            let data = data.map_err(|source| Error::Encode { key: key.to_owned(), source: source.into() })?;
            Ok(Stored { data: Bytes::from(data), flags: flags::SERDE })
        }
    }
}

/// The value of what is stored.
///
/// # Errors
/// [`Error::Decode`] with the caller's `key`, where it is not a `T`, is damaged, or has flags that no value of ours has.
pub(super) fn decode<T: DeserializeOwned>(key: &str, stored: &Stored) -> Result<T, Error> {
    read::value(stored).map_err(|source| Error::Decode { key: key.to_owned(), source: source.into() })
}

/// What the reading side says of a value it cannot give.
type Refusal = rmp_serde::decode::Error;

fn refusal(message: impl std::fmt::Display) -> Refusal {
    Refusal::custom(message)
}

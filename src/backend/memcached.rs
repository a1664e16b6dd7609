//! Values on memcached servers, in the form of Django's default client. `Cache::connect("memcached://…")` makes one, or a
//! program that has set up a [`Client`] of its own.
//!
//! # What lies there
//!
//! | value | flags | to Django |
//! |---|---|---|
//! | bytes, text, integers | 0, 16, 2 | the same; integers of pylibmc, flags 4, are read too |
//! | pages | 65, 129 | `None`, a miss |
//! | anything else | 33 | `None`, a miss |
//!
//! What Django compressed is read. Its pickles are not: a page under a key of theirs is a miss, a value is
//! [`Error::Decode`].
//!
//! # What memcached cannot do
//!
//! - Lifetimes are whole seconds: fractions are cut off, and less than a second is nothing (MEM-2).
//! - The server counts by itself, as for Django: not below zero, where it stops (MEM-6), and not what is below zero already;
//!   digits that were stored as text or bytes are counted too (MEM-14). Sums beyond 63 bits are taken back.
//! - `clear` empties the servers, whoever put something there: memcached cannot tell keys apart (MEM-9).
//! - Keys have 250 bytes at most, no blanks and no control characters.
//! - A value and its key have a mebibyte at most, less about a kibibyte that the server may need itself.
//! - A server removes what it likes when it needs room.
//!
//! How long calls may take, and when a server is left alone, is the client's affair: each server is watched by itself, so
//! that one that is down takes only its own keys away.

use std::time::Duration;

use bytes::Bytes;

use super::url::StoreUrl;
use super::{Backend, KeyRule, Reply, Stored, backend_error, envelope, flags};
use crate::error::{Error, KeyProblem};
use crate::memcached::{self, Client, ClientBuilder, Expiry};

/// The options of its URLs beside those that every URL has: its client reads them.
pub(crate) const OPTIONS: &[&str] = &[
    "distribution",
    "hash",
    "largest_value",
    "compress_over",
    "when_down",
    "auth",
    "ca",
    "cert",
    "cert_key",
    "server_name",
    "verify",
];

/// What of an item is not its value: the key, and the server's own notes, in bytes.
const ROOM_FOR_NOTES: usize = 1024;

/// The flag of pylibmc's integers.
const LONG: u32 = 4;

/// The flags of values that Django's clients have no form for: sealed, so that they take them for `None`.
const SEALED: u32 = flags::SERDE + 1;

/// The flags of what says it is compressed and is not: something is there, and no type of ours. They are Django's flag for
/// what is compressed, without what it is.
const UNREADABLE: u32 = 8;

/// A store on memcached servers. See the [module](self) for what lies there, and what it cannot do.
///
/// ```no_run
/// use larder::Cache;
/// use larder::backend::memcached::Memcached;
/// use larder::memcached::{Client, Distribution};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // The servers and the distribution of a Django site with PyLibMCCache.
/// let client = Client::builder().servers(["10.0.0.1", "10.0.0.2"]).distribution(Distribution::Modula).build()?;
/// let cache = Cache::builder(Memcached::new(client)).key_prefix("shop").build();
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Memcached {
    client: Client,
}

impl Memcached {
    /// A store on the servers of this client.
    pub fn new(client: Client) -> Self {
        Memcached { client }
    }

    /// The client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The store that a URL names. Nothing is connected yet.
    ///
    /// # Errors
    /// [`Error::Config`] says what is wrong with the URL.
    pub(crate) fn of_url(url: &mut StoreUrl) -> Result<Self, Error> {
        let (get, set) = (url.take_time("get_timeout")?, url.take_time("set_timeout")?);
        let builder =
            ClientBuilder::from_url(&url.for_library(&[OPTIONS, &["connect_timeout"]].concat())).map_err(of)?;
        let builder = match get {
            Some(time) => builder.read_timeout(time),
            None => builder,
        };
        let builder = match set {
            Some(time) => builder.write_timeout(time),
            None => builder,
        };
        Ok(Memcached::new(builder.build().map_err(of)?))
    }

    /// The store that the variables of a hosting platform name, if they name one.
    ///
    /// # Errors
    /// [`Error::Config`] names the variable that cannot be used.
    pub(crate) fn of_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, Error> {
        let builder = ClientBuilder::from_variables(|name| Ok(variable(name))).map_err(of)?;
        builder.map(|builder| Ok(Memcached::new(builder.build().map_err(of)?))).transpose()
    }

    async fn get_one(&self, key: &str) -> Result<Option<Stored>, Error> {
        match self.client.get(key).await {
            Ok(value) => Ok(value.map(read)),
            Err(memcached::Error::Unreadable { .. }) => Ok(Some(Stored { data: Bytes::new(), flags: UNREADABLE })),
            Err(error) => Err(of(error)),
        }
    }

    async fn set_or_delete(&self, key: &str, value: Stored, expiry: Expiry) -> Result<(), Error> {
        let outcome = match self.fits(key, &value) {
            Ok(()) => {
                let (data, flags) = sent(value);
                self.client.set(key, data, flags, expiry).await.map_err(of)
            }
            Err(error) => Err(error),
        };
        if outcome.as_ref().is_err_and(was_refused) {
            // What was there is out of date (MEM-4). That it cannot be deleted either would be the same news.
            let _ = self.client.delete(key).await;
        }
        outcome
    }

    fn fits(&self, key: &str, value: &Stored) -> Result<(), Error> {
        let (size, limit) = (value.data.len(), self.largest_value());
        if size > limit { Err(Error::TooLarge { key: key.to_owned(), size, limit }) } else { Ok(()) }
    }

    async fn count(&self, key: &str, delta: i64) -> Result<Option<i64>, Error> {
        let by = delta.unsigned_abs();
        let counted = if delta < 0 { self.client.decr(key, by).await } else { self.client.incr(key, by).await };
        let sum = match counted {
            Ok(Some(sum)) => sum,
            Ok(None) => return Ok(None),
            Err(memcached::Error::NotANumber { .. }) => return Err(self.why_not_counted(key).await),
            Err(error) => return Err(of(error)),
        };
        let went_round = delta > 0 && sum < by;
        match i64::try_from(sum) {
            Ok(sum) if !went_round => Ok(Some(sum)),
            _ => {
                // The server counts up modulo 2^64, and back by the same way.
                let back = if delta < 0 { by } else { by.wrapping_neg() };
                self.client.incr(key, back).await.map_err(of)?;
                Err(Error::Overflow { key: key.to_owned() })
            }
        }
    }

    /// Why the server could not count what is under a key.
    async fn why_not_counted(&self, key: &str) -> Error {
        let stored = match self.client.get(key).await {
            Ok(stored) => stored.map(read),
            Err(error) => return of(error),
        };
        match stored {
            Some(Stored { data, flags: flags::INTEGER }) if data.starts_with(b"-") => backend_error(
                "memcached",
                format!(
                    "the number under the key {key:?} is below zero, and memcached cannot count such numbers: set it anew"
                ),
            ),
            Some(Stored { data, flags: flags::INTEGER }) if data.iter().all(u8::is_ascii_digit) && !data.is_empty() => {
                Error::Overflow { key: key.to_owned() }
            }
            _ => Error::NotANumber { key: key.to_owned() },
        }
    }

    async fn flush(&self) -> Result<(), Error> {
        let mut outcome = Ok(());
        for server in self.client.servers() {
            let flushed = server.flush(Duration::ZERO).await.map_err(of);
            outcome = outcome.and(flushed);
        }
        outcome
    }
}

/// Bytes and flags as they are sent.
fn sent(stored: Stored) -> (Bytes, u32) {
    match stored.flags {
        flags::BYTES | flags::TEXT | flags::INTEGER | flags::PAGE | flags::HEADER_LISTS | flags::STAMP => {
            (stored.data, stored.flags)
        }
        _ => (envelope::seal(&stored), SEALED),
    }
}

/// What was sent so, or stored by another client.
fn read(value: memcached::Value) -> Stored {
    let memcached::Value { data, flags, .. } = value;
    match flags {
        flags::INTEGER | LONG => {
            // The server pads a number that became shorter with blanks (MEM-6).
            let end = data.trim_ascii_end().len();
            Stored { data: data.slice(..end), flags: flags::INTEGER }
        }
        SEALED => envelope::open(&data).unwrap_or(Stored { data, flags }),
        _ => Stored { data, flags },
    }
}

fn expiry(ttl: Option<Duration>) -> Expiry {
    ttl.map_or(Expiry::Never, Expiry::In)
}

/// Whether the server would not take a value, rather than not be there.
fn was_refused(error: &Error) -> bool {
    match error {
        Error::TooLarge { .. } => true,
        Error::Backend { source, .. } => {
            matches!(source.downcast_ref(), Some(memcached::Error::Server { .. }))
        }
        _ => false,
    }
}

/// A client's error as the cache's.
fn of(error: memcached::Error) -> Error {
    use memcached::{Error as E, KeyProblem as P};
    const BACKEND: &str = "memcached";
    match error {
        E::Key { key, problem: P::TooLong { .. } } => Error::Key { key, problem: KeyProblem::TooLong },
        E::Key { key, problem: P::BadByte } => Error::Key { key, problem: KeyProblem::BadCharacters },
        E::TooLarge { key, size, limit } => Error::TooLarge { key, size, limit },
        E::NotANumber { key } => Error::NotANumber { key },
        E::Timeout { server, operation, after } => {
            Error::Timeout { backend: BACKEND, server: Some(server), operation, after }
        }
        E::Down { server, cause, .. } => {
            Error::Unavailable { backend: BACKEND, server: Some(server), cause: cause.to_string() }
        }
        E::Unreadable { key, what } => Error::Decode { key, source: what.into() },
        E::Config(message) => Error::Config(message),
        other => backend_error(BACKEND, other),
    }
}

impl Backend for Memcached {
    fn name(&self) -> &'static str {
        "memcached"
    }

    fn key_rule(&self) -> KeyRule {
        KeyRule::Refuse
    }

    fn largest_value(&self) -> usize {
        self.client.largest_plain_value().map_or(usize::MAX, |bytes| bytes.saturating_sub(ROOM_FOR_NOTES))
    }

    fn get<'a>(&'a self, key: &'a str) -> Reply<'a, Option<Stored>> {
        Reply::pending(self.get_one(key))
    }

    fn set<'a>(&'a self, key: &'a str, value: Stored, ttl: Option<Duration>) -> Reply<'a, ()> {
        Reply::pending(self.set_or_delete(key, value, expiry(ttl)))
    }

    fn add<'a>(&'a self, key: &'a str, value: Stored, ttl: Option<Duration>) -> Reply<'a, bool> {
        Reply::pending(async move {
            self.fits(key, &value)?;
            let (data, flags) = sent(value);
            self.client.add(key, data, flags, expiry(ttl)).await.map_err(of)
        })
    }

    fn touch<'a>(&'a self, key: &'a str, ttl: Option<Duration>) -> Reply<'a, bool> {
        Reply::pending(async move { self.client.touch(key, expiry(ttl)).await.map_err(of) })
    }

    fn delete<'a>(&'a self, key: &'a str) -> Reply<'a, bool> {
        Reply::pending(async move { self.client.delete(key).await.map_err(of) })
    }

    fn incr<'a>(&'a self, key: &'a str, delta: i64) -> Reply<'a, Option<i64>> {
        Reply::pending(self.count(key, delta))
    }

    /// Empties every server, whoever put something there, whatever the prefix (MEM-9).
    fn clear<'a>(&'a self, _: &'a str) -> Reply<'a, ()> {
        Reply::pending(self.flush())
    }

    fn get_many<'a>(&'a self, keys: &'a [String]) -> Reply<'a, Vec<Option<Stored>>> {
        Reply::pending(async move {
            match self.client.get_many(keys).await {
                Ok(values) => {
                    // Not collected in place: that would move them again, into less room.
                    let mut found = Vec::with_capacity(values.len());
                    found.extend(values.into_iter().map(|value| value.map(read)));
                    Ok(found)
                }
                // One value that cannot be read must not take the others away.
                Err(memcached::Error::Unreadable { .. }) => {
                    let mut values = Vec::with_capacity(keys.len());
                    for key in keys {
                        // A box of its own, so that the usual call needs no room for it.
                        values.push(Box::pin(self.get_one(key)).await?);
                    }
                    Ok(values)
                }
                Err(error) => Err(of(error)),
            }
        })
    }

    fn set_many<'a>(&'a self, entries: &'a [(String, Stored)], ttl: Option<Duration>) -> Reply<'a, Vec<usize>> {
        Reply::pending(async move {
            let mut outcomes: Vec<Result<(), Error>> =
                entries.iter().map(|(key, value)| self.fits(key, value)).collect();
            let mut positions = Vec::new();
            let mut fitting = Vec::new();
            for (position, (key, value)) in entries.iter().enumerate() {
                if outcomes[position].is_ok() {
                    let (data, flags) = sent(value.clone());
                    fitting.push((key, data, flags));
                    positions.push(position);
                }
            }
            let stored = self.client.set_many(&fitting, expiry(ttl)).await.map_err(of)?;
            for (position, outcome) in positions.into_iter().zip(stored) {
                outcomes[position] = outcome.map_err(of);
            }
            let refused = |outcome: &Result<(), Error>| outcome.as_ref().is_err_and(was_refused);
            let out_of_date: Vec<&String> = entries
                .iter()
                .zip(&outcomes)
                .filter(|(_, outcome)| refused(outcome))
                .map(|((key, _), _)| key)
                .collect();
            if !out_of_date.is_empty() {
                let _ = self.client.delete_many(&out_of_date).await;
            }
            super::refused(outcomes)
        })
    }

    fn delete_many<'a>(&'a self, keys: &'a [String]) -> Reply<'a, ()> {
        Reply::pending(async move { self.client.delete_many(keys).await.map(drop).map_err(of) })
    }

    fn close(&self) -> Reply<'_, ()> {
        Reply::pending(async move {
            self.client.close().await;
            Ok(())
        })
    }
}

//! The client: every operation of memcached, on whichever server keeps the key. Programs and the memcached backend call it.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

use super::builder::ClientBuilder;
use super::codec::{Direction, Refusal, Reply, Request, Store};
use super::compression::Compression;
use super::error::Error;
use super::fleet::{Fleet, odd};
use super::key;
use super::server::Server;
use super::together::together;
use super::value::{Expiry, ExpiryTime, Value};

/// How many of many writes are under way at once, so that the last of them does not wait for all others in its time.
const WRITES_AT_ONCE: usize = 500;

/// What became of [`Client::cas`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CasOutcome {
    /// It was stored.
    Stored,
    /// Somebody else wrote since; nothing was stored.
    Changed,
    /// Nothing is under the key any more; nothing was stored.
    Missing,
}

/// A client for one memcached server or a fleet of them. Clones share their connections; any number of tasks may use one.
///
/// It needs a tokio runtime with time and I/O. Connections open on first use, and again after they broke. Dropping a
/// pending call is safe: what was asked happens or does not, and no other call ever gets its answer.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    fleet: Fleet,
    /// The largest value that is sent, in bytes.
    largest_value: usize,
    compression: Compression,
}

impl Client {
    pub(crate) fn new(fleet: Fleet, largest_value: usize, compression: Compression) -> Client {
        Client { inner: Arc::new(Inner { fleet, largest_value, compression }) }
    }

    /// Sets one up by hand.
    #[must_use]
    pub fn builder() -> ClientBuilder {
        ClientBuilder::new()
    }

    /// Sets one up from a URL, see [`ClientBuilder::from_url`]. Nothing is connected yet: connections open on first use.
    ///
    /// # Errors
    /// [`Error::Config`] says what is wrong with the URL.
    pub fn from_url(url: &str) -> Result<Client, Error> {
        ClientBuilder::from_url(url)?.build()
    }

    /// Sets one up from the environment variables of platforms such as Heroku, if there are any; see
    /// [`ClientBuilder::from_env`].
    ///
    /// # Errors
    /// [`Error::Config`] names the variable and what is wrong with it.
    pub fn from_env() -> Result<Option<Client>, Error> {
        ClientBuilder::from_env()?.map(ClientBuilder::build).transpose()
    }

    /// The value under a key.
    ///
    /// # Errors
    /// Every kind of [`Error`] but `TooLarge`, `NotANumber` and `Config`. A server that fails is an error, never a miss.
    pub async fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Value>, Error> {
        let key = key.as_ref();
        self.value(key, Request::Get { key, with_cas: false }).await
    }

    /// The value under a key, with its version for [`Client::cas`].
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn get_with_cas(&self, key: impl AsRef<[u8]>) -> Result<Option<Value>, Error> {
        let key = key.as_ref();
        self.value(key, Request::Get { key, with_cas: true }).await
    }

    /// The value under a key, which gets a new lifetime.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn get_and_touch(&self, key: impl AsRef<[u8]>, expiry: Expiry) -> Result<Option<Value>, Error> {
        let key = key.as_ref();
        self.value(key, Request::GetAndTouch { key, expiry: counted(expiry) }).await
    }

    /// The values under several keys, in their order; a key may come twice. Each server is asked once (for every 1,000
    /// keys), all in parallel.
    ///
    /// # Errors
    /// As [`Client::get`]; one server that fails fails the call.
    pub async fn get_many<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<Vec<Option<Value>>, Error> {
        let mut values = self.inner.fleet.get_many(keys).await?;
        for (key, value) in keys.iter().zip(&mut values) {
            if let Some(stored) = value.take() {
                *value = Some(self.inner.compression.inflate(key.as_ref(), stored)?);
            }
        }
        Ok(values)
    }

    /// Stores a value over whatever was there. The flags are yours but for the bit 8, which says that the data is
    /// compressed by zlib: readers, this client among them, take its word for it.
    ///
    /// # Errors
    /// Every kind of [`Error`] but `NotANumber` and `Config`. Whatever lay under the key before may be gone or still there.
    pub async fn set(
        &self,
        key: impl AsRef<[u8]>,
        data: impl Into<Bytes>,
        flags: u32,
        expiry: Expiry,
    ) -> Result<(), Error> {
        self.set_until(key.as_ref(), data.into(), flags, counted(expiry)).await
    }

    /// Stores a value where nothing is; says whether it did.
    ///
    /// # Errors
    /// As [`Client::set`].
    pub async fn add(
        &self,
        key: impl AsRef<[u8]>,
        data: impl Into<Bytes>,
        flags: u32,
        expiry: Expiry,
    ) -> Result<bool, Error> {
        self.store_if(Store::Add, key.as_ref(), data.into(), flags, expiry).await
    }

    /// Stores a value where something is; says whether it did.
    ///
    /// # Errors
    /// As [`Client::set`].
    pub async fn replace(
        &self,
        key: impl AsRef<[u8]>,
        data: impl Into<Bytes>,
        flags: u32,
        expiry: Expiry,
    ) -> Result<bool, Error> {
        self.store_if(Store::Replace, key.as_ref(), data.into(), flags, expiry).await
    }

    /// Puts bytes behind a value, which keeps its flags and its lifetime; says whether there was one.
    ///
    /// # Errors
    /// As [`Client::set`].
    pub async fn append(&self, key: impl AsRef<[u8]>, data: impl Into<Bytes>) -> Result<bool, Error> {
        self.extend(Store::Append, key.as_ref(), data.into()).await
    }

    /// Puts bytes before a value, which keeps its flags and its lifetime; says whether there was one.
    ///
    /// # Errors
    /// As [`Client::set`].
    pub async fn prepend(&self, key: impl AsRef<[u8]>, data: impl Into<Bytes>) -> Result<bool, Error> {
        self.extend(Store::Prepend, key.as_ref(), data.into()).await
    }

    /// Stores a value if nobody wrote since [`Client::get_with_cas`] gave this `cas`.
    ///
    /// # Errors
    /// As [`Client::set`].
    pub async fn cas(
        &self,
        key: impl AsRef<[u8]>,
        data: impl Into<Bytes>,
        flags: u32,
        expiry: Expiry,
        cas: u64,
    ) -> Result<CasOutcome, Error> {
        let (key, (data, flags)) = (key.as_ref(), self.inner.compression.deflate(data.into(), flags));
        match self.store(Store::Cas(cas), key, &data, flags, counted(expiry)).await? {
            (_, Reply::Done) => Ok(CasOutcome::Stored),
            (_, Reply::Changed | Reply::NotStored) => Ok(CasOutcome::Changed),
            (_, Reply::Missing) => Ok(CasOutcome::Missing),
            (server, reply) => Err(odd(server, &reply)),
        }
    }

    /// Gives an item a new lifetime; says whether there was one.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn touch(&self, key: impl AsRef<[u8]>, expiry: Expiry) -> Result<bool, Error> {
        let key = key.as_ref();
        self.change(key, Request::Touch { key, expiry: counted(expiry) }).await
    }

    /// Removes an item; says whether there was one.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn delete(&self, key: impl AsRef<[u8]>) -> Result<bool, Error> {
        let key = key.as_ref();
        self.change(key, Request::Delete { key }).await
    }

    /// Counts up; the new number, or `None` where nothing is under the key. Past 2^64 - 1 it goes on from 0.
    ///
    /// # Errors
    /// As [`Client::get`], and [`Error::NotANumber`].
    pub async fn incr(&self, key: impl AsRef<[u8]>, delta: u64) -> Result<Option<u64>, Error> {
        self.count(key.as_ref(), Direction::Up, delta).await
    }

    /// Counts down, to 0 at most; the new number, or `None` where nothing is under the key.
    ///
    /// # Errors
    /// As [`Client::get`], and [`Error::NotANumber`].
    pub async fn decr(&self, key: impl AsRef<[u8]>, delta: u64) -> Result<Option<u64>, Error> {
        self.count(key.as_ref(), Direction::Down, delta).await
    }

    /// Stores several values with their flags; the outcome of each, in their order.
    ///
    /// # Errors
    /// [`Error::Key`] for a key that memcached cannot take; nothing was sent then.
    pub async fn set_many<K: AsRef<[u8]>>(
        &self,
        entries: &[(K, Bytes, u32)],
        expiry: Expiry,
    ) -> Result<Vec<Result<(), Error>>, Error> {
        entries.iter().try_for_each(|(key, ..)| key::check(key.as_ref()))?;
        let expiry = counted(expiry);
        let mut outcomes = Vec::with_capacity(entries.len());
        for some in entries.chunks(WRITES_AT_ONCE) {
            let writes =
                some.iter().map(|(key, data, flags)| self.set_until(key.as_ref(), data.clone(), *flags, expiry));
            outcomes.extend(together(writes).await);
        }
        Ok(outcomes)
    }

    /// Removes several items; says of each whether there was one, in their order.
    ///
    /// # Errors
    /// As [`Client::get`]; one server that fails fails the call, once all the others have answered.
    pub async fn delete_many<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<Vec<bool>, Error> {
        keys.iter().try_for_each(|key| key::check(key.as_ref()))?;
        let mut outcomes = Vec::with_capacity(keys.len());
        for some in keys.chunks(WRITES_AT_ONCE) {
            outcomes.extend(together(some.iter().map(|key| self.delete(key))).await);
        }
        outcomes.into_iter().collect()
    }

    /// Its servers, in the order in which they were named.
    pub fn servers(&self) -> impl Iterator<Item = &Server> {
        self.inner.fleet.servers().iter()
    }

    /// The server that keeps a key, whether it is up or not.
    ///
    /// # Errors
    /// [`Error::Key`] for a key that memcached cannot take.
    pub fn server_of(&self, key: impl AsRef<[u8]>) -> Result<&Server, Error> {
        key::check(key.as_ref())?;
        Ok(self.inner.fleet.home(key.as_ref()))
    }

    /// The largest value that is sent as it is, in bytes; `None` where values are compressed before, so that nothing can be
    /// said of their size.
    pub(crate) fn largest_plain_value(&self) -> Option<usize> {
        self.inner.compression.from.is_none().then_some(self.inner.largest_value)
    }

    /// Closes the connections as soon as the answers that are owed on them are there; the next call opens new ones.
    #[allow(clippy::unused_async)] // Callers may one day have to wait for it.
    pub async fn close(&self) {
        self.servers().for_each(Server::close);
    }

    async fn value(&self, key: &[u8], request: Request<'_>) -> Result<Option<Value>, Error> {
        match self.inner.fleet.ask(key, &request).await? {
            (_, Reply::Value(value)) => self.inner.compression.inflate(key, value).map(Some),
            (_, Reply::Missing) => Ok(None),
            (server, reply) => Err(odd(server, &reply)),
        }
    }

    async fn set_until(&self, key: &[u8], data: Bytes, flags: u32, expiry: ExpiryTime) -> Result<(), Error> {
        let (data, flags) = self.inner.compression.deflate(data, flags);
        match self.store(Store::Set, key, &data, flags, expiry).await? {
            (_, Reply::Done) => Ok(()),
            (server, Reply::NotStored) => {
                Err(Error::Server { server: server.name().to_owned(), said: "it was not stored".to_owned() })
            }
            (server, reply) => Err(odd(server, &reply)),
        }
    }

    async fn store_if(&self, how: Store, key: &[u8], data: Bytes, flags: u32, expiry: Expiry) -> Result<bool, Error> {
        let (data, flags) = self.inner.compression.deflate(data, flags);
        was_stored(self.store(how, key, &data, flags, counted(expiry)).await?)
    }

    async fn extend(&self, how: Store, key: &[u8], data: Bytes) -> Result<bool, Error> {
        was_stored(self.store(how, key, &data, 0, counted(Expiry::Never)).await?)
    }

    async fn store(
        &self,
        how: Store,
        key: &[u8],
        data: &Bytes,
        flags: u32,
        expiry: ExpiryTime,
    ) -> Result<(&Server, Reply), Error> {
        key::check(key)?;
        let (size, limit) = (data.len(), self.inner.largest_value);
        let too_large = || Error::TooLarge { key: key::shown(key), size, limit };
        if size > limit {
            return Err(too_large());
        }
        match self.inner.fleet.ask(key, &Request::Store { how, key, data, flags, expiry }).await? {
            (_, Reply::Refused(Refusal::TooLarge)) => Err(too_large()),
            answered => Ok(answered),
        }
    }

    async fn change(&self, key: &[u8], request: Request<'_>) -> Result<bool, Error> {
        match self.inner.fleet.ask(key, &request).await? {
            (_, Reply::Done) => Ok(true),
            (_, Reply::Missing) => Ok(false),
            (server, reply) => Err(odd(server, &reply)),
        }
    }

    async fn count(&self, key: &[u8], direction: Direction, delta: u64) -> Result<Option<u64>, Error> {
        match self.inner.fleet.ask(key, &Request::Count { key, direction, delta }).await? {
            (_, Reply::Number(number)) => Ok(Some(number)),
            (_, Reply::Missing) => Ok(None),
            (_, Reply::Refused(Refusal::NotANumber)) => Err(Error::NotANumber { key: key::shown(key) }),
            (server, reply) => Err(odd(server, &reply)),
        }
    }
}

fn counted(expiry: Expiry) -> ExpiryTime {
    expiry.at(SystemTime::now())
}

/// Whether a write that has a condition was done.
fn was_stored((server, reply): (&Server, Reply)) -> Result<bool, Error> {
    match reply {
        Reply::Done => Ok(true),
        Reply::NotStored => Ok(false),
        reply => Err(odd(server, &reply)),
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("servers", &self.inner.fleet.servers()).finish_non_exhaustive()
    }
}

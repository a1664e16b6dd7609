//! What is asked of a server and what it answers, apart from how it is written down: the meta text protocol and the binary
//! protocol. The connection calls a [`Codec`]; nothing here does I/O.

pub(crate) mod binary;
pub(crate) mod meta;
mod output;

use bytes::{Bytes, BytesMut};

use super::value::{ExpiryTime, Value};

pub(crate) use output::Output;

/// One question to one server. Keys are checked before; values fit.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Request<'a> {
    /// The value under a key; [`Reply::Value`] or [`Reply::Missing`].
    Get {
        key: &'a [u8],
        /// Its version as well.
        with_cas: bool,
    },
    /// The value under a key, which gets a new lifetime; [`Reply::Value`] or [`Reply::Missing`].
    GetAndTouch { key: &'a [u8], expiry: ExpiryTime },
    /// The values under several keys (at least one); [`Reply::Values`]. They arrive as [`Asked::Many`].
    GetMany { keys: &'a Keys },
    /// Writes; [`Reply::Done`], [`Reply::NotStored`] (add, replace, append, prepend), or for cas [`Reply::Changed`] and
    /// [`Reply::Missing`]. Append and prepend keep the item's own flags and lifetime.
    Store { how: Store, key: &'a [u8], data: &'a Bytes, flags: u32, expiry: ExpiryTime },
    /// A new lifetime; [`Reply::Done`] or [`Reply::Missing`].
    Touch { key: &'a [u8], expiry: ExpiryTime },
    /// [`Reply::Done`] or [`Reply::Missing`].
    Delete { key: &'a [u8] },
    /// Counts; [`Reply::Number`] or [`Reply::Missing`]. Never makes an item. Down stops at 0; up goes round at 2^64.
    Count { key: &'a [u8], direction: Direction, delta: u64 },
    /// Is anybody there? [`Reply::Done`].
    Nothing,
}

/// How [`Request::Store`] writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    /// Over whatever is there.
    Set,
    /// Where nothing is.
    Add,
    /// Where something is.
    Replace,
    /// Behind what is there.
    Append,
    /// Before what is there.
    Prepend,
    /// Where the version is still this one.
    Cas(u64),
}

/// Up or down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Up,
    Down,
}

/// What a server answered to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// The value.
    Value(Value),
    /// The values, in the order of the keys.
    Values(Vec<Option<Value>>),
    /// Nothing is under the key.
    Missing,
    /// It was done.
    Done,
    /// It was not stored: something is there already, or nothing is.
    NotStored,
    /// The version is another one by now.
    Changed,
    /// What the counter says now.
    Number(u64),
    /// The server refused this one request, and the connection is none the worse for it.
    Refused(Refusal),
}

/// Why a server refused a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The item is too large.
    TooLarge,
    /// It cannot be counted.
    NotANumber,
    /// Anything else, in the server's words.
    Said(String),
}

/// What is remembered of a request until its reply is there: enough to check that the reply is its own.
#[derive(Debug)]
pub(crate) enum Asked {
    /// [`Request::Get`] and [`Request::GetAndTouch`].
    Value,
    /// [`Request::GetMany`]: these keys.
    Many(Keys),
    /// [`Request::Store`].
    Store,
    /// [`Request::Touch`] and [`Request::Delete`].
    Change,
    /// [`Request::Count`].
    Count,
    /// [`Request::Nothing`].
    Nothing,
}

impl Request<'_> {
    /// What is to be remembered of it.
    pub(crate) fn asked(&self) -> Asked {
        match self {
            Request::Get { .. } | Request::GetAndTouch { .. } => Asked::Value,
            Request::GetMany { keys } => Asked::Many((*keys).clone()),
            Request::Store { .. } => Asked::Store,
            Request::Touch { .. } | Request::Delete { .. } => Asked::Change,
            Request::Count { .. } => Asked::Count,
            Request::Nothing => Asked::Nothing,
        }
    }

    /// Its key, if it has just one.
    pub(crate) fn key(&self) -> Option<&[u8]> {
        match self {
            Request::Get { key, .. }
            | Request::GetAndTouch { key, .. }
            | Request::Store { key, .. }
            | Request::Touch { key, .. }
            | Request::Delete { key }
            | Request::Count { key, .. } => Some(key),
            Request::GetMany { .. } | Request::Nothing => None,
        }
    }

    /// Whether it asks for a value.
    pub(crate) fn is_read(&self) -> bool {
        matches!(self, Request::Get { .. } | Request::GetAndTouch { .. } | Request::GetMany { .. } | Request::Nothing)
    }

    /// Whether asking twice does no harm.
    pub(crate) fn is_harmless(&self) -> bool {
        matches!(
            self,
            Request::Get { .. }
                | Request::GetAndTouch { .. }
                | Request::GetMany { .. }
                | Request::Touch { .. }
                | Request::Nothing
        )
    }

    /// Its name in errors.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Request::Get { .. } => "get",
            Request::GetAndTouch { .. } => "get and touch",
            Request::GetMany { .. } => "get of several keys",
            Request::Store { how, .. } => match how {
                Store::Set => "set",
                Store::Add => "add",
                Store::Replace => "replace",
                Store::Append => "append",
                Store::Prepend => "prepend",
                Store::Cas(_) => "cas",
            },
            Request::Touch { .. } => "touch",
            Request::Delete { .. } => "delete",
            Request::Count { direction: Direction::Up, .. } => "incr",
            Request::Count { direction: Direction::Down, .. } => "decr",
            Request::Nothing => "ping",
        }
    }
}

/// Keys one after the other in one piece of memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keys {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Keys {
    /// None yet, with room for so many of a usual length.
    pub(crate) fn with_capacity(keys: usize) -> Keys {
        Keys { bytes: Vec::with_capacity(keys * 32), ends: Vec::with_capacity(keys) }
    }

    pub(crate) fn push(&mut self, key: &[u8]) {
        self.bytes.extend_from_slice(key);
        self.ends.push(self.bytes.len());
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The bytes of all of them together.
    pub(crate) fn total_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The key at a position.
    pub(crate) fn get(&self, position: usize) -> Option<&[u8]> {
        let end = *self.ends.get(position)?;
        let start = if position == 0 { 0 } else { self.ends[position - 1] };
        self.bytes.get(start..end)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).filter_map(|position| self.get(position))
    }
}

/// A protocol. `token` goes with a request and comes back with its reply (the protocols call it opaque), so that a reply to
/// another request is noticed; replies come in the order of the requests.
pub(crate) trait Codec: Send + Sync + 'static {
    /// Writes a request down.
    fn encode(&self, request: &Request<'_>, token: u32, output: &mut Output);

    /// What reads the replies of one connection.
    fn decoder(&self) -> Box<dyn Decoder>;
}

/// Reads replies off what has arrived. It may remember half a reply from one call to the next.
pub(crate) trait Decoder: Send {
    /// Takes the reply to `asked` off the front of `input`, if all of it is there. Until it is, the call is repeated with
    /// the same `asked` and `token` and more input; bytes already taken off are not seen again.
    ///
    /// Values are parts of `input` ([`BytesMut::split_to`]), not copies. It never takes what belongs to the next reply.
    fn decode(&mut self, input: &mut BytesMut, asked: &Asked, token: u32) -> Result<Step, Broken>;
}

/// How far a [`Decoder`] got.
#[derive(Debug)]
pub(crate) enum Step {
    /// The reply is complete.
    Reply(Reply),
    /// At least so many more bytes are needed (a lower bound, never 0; large only where the server announced it and the
    /// announcement was checked against [`MOST_ANNOUNCED`]).
    More(usize),
}

/// The connection cannot be used any more: what arrived is no reply to what was asked. Says what was wrong, without data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broken(pub(crate) String);

/// What a server said, as far as errors may show it: its own words about an error, and otherwise only how much it was,
/// because it may be the value of another visitor.
pub(crate) fn shown(said: &[u8]) -> String {
    const LONGEST: usize = 100;
    let line = said.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii_end();
    let errors: [&[u8]; 3] = [b"ERROR", b"SERVER_ERROR", b"CLIENT_ERROR"];
    if errors.iter().any(|error| line.starts_with(error)) {
        format!("{:?}", String::from_utf8_lossy(&line[..line.len().min(LONGEST)]))
    } else if line.starts_with(b"HTTP/") {
        "an answer of HTTP".to_owned()
    } else {
        format!("{} bytes", said.len())
    }
}

/// The largest value a server may announce, in bytes: memcached's own maximum for `-I`. A larger one is garbage.
pub(crate) const MOST_ANNOUNCED: usize = 1024 * 1024 * 1024;

/// The longest line before a value: the largest key and every number at its longest fit several times over.
pub(crate) const LONGEST_LINE: usize = 2048;

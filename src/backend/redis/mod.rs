//! Values in Redis, or in anything that speaks its protocol (Valkey, KeyDB, Dragonfly): one server, a leader with
//! replicas, a cluster, or whoever the sentinels say leads. The cache floor calls it; feature `redis`.
//!
//! - Keys are the final keys, as UTF-8. Those with blanks, control characters or more than 250 characters are refused before
//!   anything is sent, where Django warns (RED-9). Integers lie there as decimal text, as Django's `RedisCache`
//!   has them, so that both sides can count them; everything else lies in an [`envelope`] that
//!   Django reads as `None`. What Django pickled is a miss here.
//! - Entries expire by the server's clock, to the millisecond (Django: to the second, RED-2).
//! - A call is one round trip; `get_many` and `set_many` too, in a cluster one to each server, all at once.
//! - [`clear`](Backend::clear) of a prefix deletes the keys that begin with it, batch by batch; where a server is restarted
//!   in the middle, some may stay. Without a prefix it is
//!   `FLUSHDB` (RED-7): it **empties the database**, of every application that uses it. In a cluster: of every server.
//! - One connection is shared by all callers, opened by the first call, and opened anew by the next call after it broke.
//!   Calls that may happen twice (all but `add`, `incr` and `delete`) are then sent again at once, so that a server's
//!   restart is not noticed. In a cluster the client library sends `add` and `incr` again too: one whose connection broke
//!   before its answer came may have happened twice.
//! - A call that is dropped is answered to nobody.
//!
//! The client under it is the crate `redis`. Its peer, `fred`, has the same range, and has had no release since Redis 8
//! came (its issue 377), where `redis` has had one or two a month. Of `redis`, the connection manager is left out: it hides
//! from its caller whether a connection was known to be dead before a command was sent over it.

mod address;
mod builder;
mod clearing;
mod counting;
mod line;
mod servers;
mod target;
mod wire;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ::redis::{Cmd, FromRedisValue, RedisError, RedisResult, Value, cmd, pipe};
use bytes::Bytes;
use tokio::task::JoinSet;

use self::servers::{Does, Servers};
use self::wire::Request;
use super::url::StoreUrl;
use super::{Backend, KeyRule, Patience, Reply, Stored, backend_error, envelope};
use crate::clock::Clock;
use crate::error::Error;

pub(crate) use self::builder::OPTIONS;
pub use self::builder::RedisBuilder;

const NAME: &str = "redis";
/// The longest string that Redis takes, unless its `proto-max-bulk-len` says otherwise.
const LONGEST_STRING: usize = 512 << 20;
/// The longest lifetime that is told to a server, in milliseconds: some 285,000 years. More would overflow its clock.
const LONGEST_LIFE: u64 = 9_000_000_000_000_000;

/// Keeps values in Redis. See the [module](self) for what lies there and what it promises.
///
/// ```no_run
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), larder::Error> {
/// use larder::Cache;
/// use larder::backend::Redis;
///
/// let cache = Cache::connect("redis://:s3cret@127.0.0.1:6379/1?key_prefix=blog").await?;
/// cache.set("visits", 41, 60).await?;
/// assert_eq!(cache.incr("visits", 1).await?, 42);
///
/// // With settings that a URL has no option for.
/// let redis = Redis::builder("rediss://cache.example:6380")?.tls_ca("/etc/ssl/redis-ca.pem")?.build()?;
/// let cache = Cache::builder(redis).key_prefix("blog").build();
/// # Ok(()) }
/// ```
pub struct Redis {
    servers: Arc<Servers>,
    is_cluster: bool,
    clock: Clock,
}

impl Redis {
    /// The store that a URL names. Nothing is connected until the first call.
    ///
    /// | URL | servers |
    /// |---|---|
    /// | `redis://user:password@host:6379/0` | one; `/0` is the database |
    /// | `redis://leader,replica1,replica2:6380` | the first is written to, the others may be read from |
    /// | `redis+unix:///run/redis.sock?db=0` | one, through a socket |
    /// | `redis+cluster://host1,host2:6380` | a cluster, found through any of these |
    /// | `redis+sentinel://host1,host2:26380/mymaster/0` | the one that these sentinels name |
    ///
    /// With TLS: `rediss`, `rediss+cluster`, `rediss+sentinel`.
    ///
    /// | option | meaning | default |
    /// |---|---|---|
    /// | `db` | the number of the database | 0 |
    /// | `read_from_replicas` | see [`RedisBuilder::read_from_replicas`] | no |
    /// | `tls_ca` | a PEM file with the authority to trust | the system's |
    /// | `tls_cert`, `tls_key` | PEM files with this client's certificate | none |
    /// | `sentinel_user`, `sentinel_password` | what the sentinels ask for | none |
    ///
    /// # Errors
    /// [`Error::Config`] for a URL or option that cannot be read.
    pub fn open(url: &str) -> Result<Self, Error> {
        Redis::builder(url)?.build()
    }

    /// A store with other settings than those of [`Redis::open`], which it takes as well.
    ///
    /// # Errors
    /// [`Error::Config`] for a URL or option that cannot be read.
    pub fn builder(url: &str) -> Result<RedisBuilder, Error> {
        let mut url = StoreUrl::parse(url)?;
        const SCHEMES: [&str; 7] =
            ["redis", "rediss", "redis+unix", "redis+cluster", "rediss+cluster", "redis+sentinel", "rediss+sentinel"];
        if !SCHEMES.contains(&url.scheme()) {
            return Err(url.refuse(format_args!("known are the schemes {}", SCHEMES.join(", "))));
        }
        if let Some(unknown) = url.options().find(|option| !OPTIONS.contains(option)) {
            return Err(url.refuse(format_args!("unknown option {unknown:?}: known are {}", OPTIONS.join(", "))));
        }
        RedisBuilder::read(&mut url)
    }

    /// The error of an answer that is none to what was asked. Question and answer may be out of step on that connection: it
    /// is let go.
    fn strange(&self, answer: &Value) -> Error {
        self.servers.close();
        let kind = match answer {
            Value::ServerError(error) => return failed(RedisError::from(error.clone())),
            Value::Array(_) => "a list",
            Value::Int(_) => "a number",
            Value::BulkString(_) | Value::SimpleString(_) => "a text",
            _ => "something",
        };
        backend_error(NAME, format!("the server answered {kind} where nothing of the kind was asked for"))
    }

    async fn ask(&self, does: Does, command: Cmd) -> RedisResult<Value> {
        self.servers.ask(does, &Request::Command(command)).await
    }

    /// Stores without a word; where the server refuses, what lay there goes (MEM-4).
    async fn put(&self, key: &str, value: &Stored, ttl: Option<Duration>) -> Result<(), Error> {
        let refused = match sealed(key, value) {
            Ok(sealed) => match self.ask(Does::Put, set(key, &sealed, ttl)).await {
                Ok(Value::Okay) => return Ok(()),
                Ok(other) => return Err(self.strange(&other)),
                Err(error) if is_refusal(&error) => failed(error),
                Err(error) => return Err(failed(error)),
            },
            Err(too_large) => too_large,
        };
        self.forget(&[key]).await;
        Err(refused)
    }

    /// Removes old values under keys whose new ones were refused. The refusal is told, whatever comes of this.
    async fn forget(&self, keys: &[&str]) {
        if let Err(error) = self.ask(Does::Put, unlink(keys)).await {
            tracing::debug!(target: "larder", %error, "the old value of a refused one could not be removed");
        }
    }

    /// Stores in one round trip; the positions of what could not be stored.
    async fn put_all(&self, entries: &[(String, Stored)], ttl: Option<Duration>) -> Result<Vec<usize>, Error> {
        let mut outcomes = Vec::with_capacity(entries.len());
        let mut commands = Vec::with_capacity(entries.len());
        let mut to_forget = Vec::new();
        for (position, (key, value)) in entries.iter().enumerate() {
            outcomes.push(sealed(key, value).map(|sealed| commands.push((position, set(key, &sealed, ttl)))));
            if outcomes[position].is_err() {
                to_forget.push(key.as_str());
            }
        }
        let answers = if self.is_cluster { self.each(commands).await } else { self.all(commands).await };
        for (position, answer) in answers.map_err(failed)? {
            let Err(error) = answer else { continue };
            if is_refusal(&error) {
                to_forget.push(&entries[position].0);
            }
            outcomes[position] = Err(failed(error));
        }
        if !to_forget.is_empty() {
            self.forget(&to_forget).await;
        }
        super::refused(outcomes)
    }

    /// Sends commands as one.
    async fn all(&self, commands: Vec<(usize, Cmd)>) -> RedisResult<Vec<(usize, RedisResult<()>)>> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let (positions, commands): (Vec<usize>, Vec<Cmd>) = commands.into_iter().unzip();
        let mut several = pipe();
        several.ignore_errors();
        for command in commands {
            several.add_command(command);
        }
        let answer = self.servers.ask(Does::Put, &Request::Several(several)).await?;
        let outcomes = Vec::<RedisResult<()>>::from_redis_value(answer)?;
        Ok(positions.into_iter().zip(outcomes).collect())
    }

    /// Sends commands at once, each to where its key is. Of several for one key, the last one goes.
    async fn each(&self, commands: Vec<(usize, Cmd)>) -> RedisResult<Vec<(usize, RedisResult<()>)>> {
        let mut last_of_key = std::collections::HashMap::new();
        for (position, command) in &commands {
            last_of_key.insert(key_of(command), *position);
        }
        let lasting: std::collections::HashSet<usize> = last_of_key.into_values().collect();
        let mut tasks = JoinSet::new();
        for (position, command) in commands.into_iter().filter(|(position, _)| lasting.contains(position)) {
            let servers = Arc::clone(&self.servers);
            tasks.spawn(async move {
                let outcome = servers.ask(Does::Put, &Request::Command(command)).await;
                (position, outcome.map(|_| ()))
            });
        }
        Ok(tasks.join_all().await)
    }
}

/// The key of a command with one key.
fn key_of(command: &Cmd) -> Vec<u8> {
    let key = command.args_iter().nth(1);
    match key {
        Some(::redis::Arg::Simple(key)) => key.to_vec(),
        _ => Vec::new(),
    }
}

/// The bytes to send.
fn sealed(key: &str, value: &Stored) -> Result<Bytes, Error> {
    let (size, limit) = (value.data.len(), LARGEST_VALUE);
    if size > limit {
        return Err(Error::TooLarge { key: key.to_owned(), size, limit });
    }
    Ok(envelope::seal(value))
}

const LARGEST_VALUE: usize = LONGEST_STRING - envelope::OVERHEAD;

fn set(key: &str, sealed: &Bytes, ttl: Option<Duration>) -> Cmd {
    let mut set = cmd("SET");
    set.arg(key).arg(&sealed[..]);
    if let Some(ttl) = ttl {
        set.arg("PX").arg(milliseconds(ttl));
    }
    set
}

fn unlink(keys: &[impl ::redis::ToRedisArgs]) -> Cmd {
    let mut unlink = cmd("UNLINK");
    unlink.arg(keys);
    unlink
}

fn script(text: &str, key: &str) -> Cmd {
    let mut script = cmd("EVAL");
    script.arg(text).arg(1).arg(key);
    script
}

/// A lifetime as Redis takes it. What is left of the last millisecond is cut off: better too short than too long.
fn milliseconds(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).clamp(1, LONGEST_LIFE)
}

/// The value in an answer; nobody else's bytes. An answer of another kind comes back.
fn opened(answer: Value) -> Result<Option<Stored>, Value> {
    match answer {
        Value::Nil => Ok(None),
        Value::BulkString(sealed) => Ok(envelope::open_own(Bytes::from(sealed))),
        other => Err(other),
    }
}

fn failed(error: RedisError) -> Error {
    backend_error(NAME, error)
}

/// Whether the server got the command and would not do it.
fn is_refusal(error: &RedisError) -> bool {
    error.code().is_some()
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("is_cluster", &self.is_cluster).finish_non_exhaustive()
    }
}

impl Backend for Redis {
    fn name(&self) -> &'static str {
        NAME
    }

    fn clock(&self) -> Clock {
        self.clock.clone()
    }

    /// What Redis itself would take: but one rule holds for all stores behind a socket (safety rule 11), so that a cache can
    /// move from one to the other.
    fn key_rule(&self) -> KeyRule {
        KeyRule::Refuse
    }

    fn largest_value(&self) -> usize {
        LARGEST_VALUE
    }

    fn patience(&self) -> Option<Patience> {
        Some(Patience::default())
    }

    fn get<'a>(&'a self, key: &'a str) -> Reply<'a, Option<Stored>> {
        Reply::pending(async move {
            let mut get = cmd("GET");
            get.arg(key);
            match self.ask(Does::Read, get).await {
                Ok(answer) => opened(answer).map_err(|answer| self.strange(&answer)),
                Err(error) if counting::is_of_another_type(&error) => Ok(None),
                Err(error) => Err(failed(error)),
            }
        })
    }

    fn set<'a>(&'a self, key: &'a str, value: Stored, ttl: Option<Duration>) -> Reply<'a, ()> {
        Reply::pending(async move { self.put(key, &value, ttl).await })
    }

    fn add<'a>(&'a self, key: &'a str, value: Stored, ttl: Option<Duration>) -> Reply<'a, bool> {
        Reply::pending(async move {
            let mut add = set(key, &sealed(key, &value)?, ttl);
            add.arg("NX");
            match self.ask(Does::Count, add).await.map_err(failed)? {
                Value::Okay => Ok(true),
                Value::Nil => Ok(false),
                other => Err(self.strange(&other)),
            }
        })
    }

    fn touch<'a>(&'a self, key: &'a str, ttl: Option<Duration>) -> Reply<'a, bool> {
        Reply::pending(async move {
            let touch = match ttl {
                None => script(counting::PERSIST, key),
                Some(ttl) => {
                    let mut touch = cmd("PEXPIRE");
                    touch.arg(key).arg(milliseconds(ttl));
                    touch
                }
            };
            let answer = self.ask(Does::Put, touch).await.map_err(failed)?;
            match answer {
                Value::Int(number) => Ok(number > 0),
                other => Err(self.strange(&other)),
            }
        })
    }

    fn delete<'a>(&'a self, key: &'a str) -> Reply<'a, bool> {
        Reply::pending(async move {
            let answer = self.ask(Does::Count, unlink(&[key])).await.map_err(failed)?;
            match answer {
                Value::Int(number) => Ok(number > 0),
                other => Err(self.strange(&other)),
            }
        })
    }

    fn incr<'a>(&'a self, key: &'a str, delta: i64) -> Reply<'a, Option<i64>> {
        Reply::pending(async move {
            let mut count = script(counting::COUNT, key);
            count.arg(delta);
            let answer = match self.ask(Does::Count, count).await {
                Err(error) if counting::is_of_another_type(&error) => {
                    return Err(Error::NotANumber { key: key.to_owned() });
                }
                answer => answer.map_err(failed)?,
            };
            counting::read_count(key, delta, answer).map_err(|why| why.unwrap_or_else(|answer| self.strange(&answer)))
        })
    }

    /// Without a prefix it is `FLUSHDB`, which empties the database of every application in it.
    fn clear<'a>(&'a self, prefix: &'a str) -> Reply<'a, ()> {
        Reply::pending(async move {
            if !prefix.is_empty() {
                return clearing::clear(&self.servers, prefix).await.map_err(failed);
            }
            let mut flush = cmd("FLUSHDB");
            flush.arg("ASYNC");
            self.ask(Does::Put, flush).await.map(|_| ()).map_err(failed)
        })
    }

    fn contains<'a>(&'a self, key: &'a str) -> Reply<'a, bool> {
        Reply::pending(async move {
            let mut head = cmd("GETRANGE");
            head.arg(key).arg(0).arg(counting::HEAD - 1);
            match self.ask(Does::Read, head).await {
                Ok(answer) => match opened(answer) {
                    Ok(stored) => Ok(stored.is_some()),
                    Err(answer) => Err(self.strange(&answer)),
                },
                Err(error) if counting::is_of_another_type(&error) => Ok(false),
                Err(error) => Err(failed(error)),
            }
        })
    }

    fn get_many<'a>(&'a self, keys: &'a [String]) -> Reply<'a, Vec<Option<Stored>>> {
        if keys.is_empty() {
            return Reply::ready(Ok(Vec::new()));
        }
        Reply::pending(async move {
            let mut get = cmd("MGET");
            get.arg(keys);
            match self.ask(Does::Read, get).await.map_err(failed)? {
                Value::Array(values) if values.len() == keys.len() => {
                    let values: Result<Vec<_>, Value> = values.into_iter().map(opened).collect();
                    values.map_err(|answer| self.strange(&answer))
                }
                other => Err(self.strange(&other)),
            }
        })
    }

    fn set_many<'a>(&'a self, entries: &'a [(String, Stored)], ttl: Option<Duration>) -> Reply<'a, Vec<usize>> {
        if entries.is_empty() {
            return Reply::ready(Ok(Vec::new()));
        }
        Reply::pending(self.put_all(entries, ttl))
    }

    fn delete_many<'a>(&'a self, keys: &'a [String]) -> Reply<'a, ()> {
        if keys.is_empty() {
            return Reply::ready(Ok(()));
        }
        Reply::pending(async move { self.ask(Does::Put, unlink(keys)).await.map(|_| ()).map_err(failed) })
    }

    fn close(&self) -> Reply<'_, ()> {
        self.servers.close();
        Reply::ready(Ok(()))
    }
}

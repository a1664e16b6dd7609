//! What a line leads to, and how it is opened: one server, a cluster, or whoever the sentinels say leads now.
//! A line calls it each time it must be opened.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::cluster::ClusterClient;
use ::redis::sentinel::SentinelClient;
use ::redis::{AsyncConnectionConfig, Client, ErrorKind, ProtocolVersion, RedisError, RedisResult};
use tokio::sync::Mutex;

use super::line::{LastWord, Pulse};
use super::wire::Wire;

/// How many commands may wait to be written before callers wait for room.
const QUEUE: usize = 1024;

/// What a line leads to.
pub(super) enum Target {
    Server(Box<Client>),
    Cluster(Box<ClusterClient>),
    /// Asked anew each time, since another server leads after a failover.
    Sentinel(Box<Mutex<SentinelClient>>),
}

impl Target {
    pub(super) async fn connect(&self, pulse: &Arc<Pulse>) -> RedisResult<Wire> {
        match self {
            Target::Server(client) => connect(client, pulse).await.map(Wire::One),
            Target::Sentinel(sentinels) => {
                let client = sentinels.lock().await.async_get_client().await?;
                connect(&client, pulse).await.map(Wire::One)
            }
            // It mends its connections to the servers of the cluster by itself.
            Target::Cluster(client) => client.get_async_connection().await.map(Wire::Cluster),
        }
    }
}

/// The address, without user and password.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Server(client) => client.get_connection_info().addr().fmt(f),
            Target::Cluster(_) => f.write_str("the cluster"),
            Target::Sentinel(_) => f.write_str("the server that the sentinels name"),
        }
    }
}

/// Connects to one server. By the third version of the protocol, the client says at once when a connection is gone; a
/// server that does not speak it (before Redis 6, and some proxies) is spoken to by the second.
async fn connect(client: &Client, pulse: &Arc<Pulse>) -> RedisResult<MultiplexedConnection> {
    let info = client.get_connection_info();
    let config = || {
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_pipeline_buffer_size(QUEUE);
        config.set_response_timeout(Some(LONGEST_ANSWER))
    };
    let third = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    let client_of_third = Client::open(info.clone().set_redis_settings(third))?;
    let talkative = config().set_push_sender(LastWord::to(pulse));
    match client_of_third.get_multiplexed_async_connection_with_config(&talkative).await {
        Err(error) if speaks_no_third(&error) => {
            drop(talkative);
            pulse.revive();
            client.get_multiplexed_async_connection_with_config(&config()).await
        }
        outcome => outcome,
    }
}

/// Whether the server's answer to `HELLO 3` was that it knows no such thing.
fn speaks_no_third(error: &RedisError) -> bool {
    error.kind() == ErrorKind::RESP3NotSupported
        || error.code() == Some("NOPROTO")
        || error.detail().is_some_and(|detail| detail.contains("unknown command"))
}

/// How long an answer may take at the very most. The deadlines of a cache are far below; this one is for calls without.
pub(super) const LONGEST_ANSWER: Duration = Duration::from_secs(10);

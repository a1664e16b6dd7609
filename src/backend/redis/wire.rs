//! What goes over a connection, whichever of the client library's two kinds it is: a single server's or a cluster's.
//! A line holds a wire and sends requests over it.

use ::redis::aio::{ConnectionLike, MultiplexedConnection};
use ::redis::cluster_async::ClusterConnection;
use ::redis::cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo, SingleNodeRoutingInfo};
use ::redis::{Cmd, ErrorKind, Pipeline, RedisError, RedisFuture, RedisResult, ServerErrorKind, Value};

/// An open connection; its clones share it, and answers find their callers whatever order these came in.
#[derive(Clone)]
pub(super) enum Wire {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// What is asked.
pub(super) enum Request {
    /// One command; in a cluster it goes where its keys are.
    Command(Cmd),
    /// Several at once, each with an answer or an error of its own.
    Several(Pipeline),
    /// One command to every leader of a cluster, or to the one server; the answer tells which said what.
    EveryLeader(Cmd),
    /// One command to the server at an address that [`Request::EveryLeader`] told.
    At(Cmd, Place),
}

/// Where a server of a cluster is; `None` where there is but one server.
pub(super) type Place = Option<(String, u16)>;

impl Request {
    pub(super) async fn send(&self, mut wire: Wire) -> RedisResult<Value> {
        match (self, &mut wire) {
            // Boxes of their own, so that the usual call needs no room for them.
            (Request::Several(commands), wire) => {
                let answers = Box::pin(commands.query_async(wire)).await?;
                demotion_in(&answers).map_or(Ok(answers), Err)
            }
            (Request::EveryLeader(command), Wire::Cluster(cluster)) => {
                let leaders = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
                Box::pin(cluster.route_command(command.clone(), leaders)).await
            }
            (Request::At(command, Some((host, port))), Wire::Cluster(cluster)) => {
                let there = SingleNodeRoutingInfo::ByAddress { host: host.clone(), port: *port };
                let routed = Box::pin(cluster.route_command(command.clone(), RoutingInfo::SingleNode(there)));
                routed.await?.extract_error()
            }
            (Request::Command(command) | Request::EveryLeader(command) | Request::At(command, _), wire) => {
                wire.req_packed_command(command).await?.extract_error()
            }
        }
    }
}

/// Whether the server is no longer the one to write to. Nothing happened then.
pub(super) fn is_demotion(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
}

/// A server that is not the one to write to refuses one command of several as it would all.
fn demotion_in(answers: &Value) -> Option<RedisError> {
    let Value::Array(answers) = answers else { return None };
    answers.iter().find_map(|answer| match answer {
        Value::ServerError(error) => Some(RedisError::from(error.clone())).filter(is_demotion),
        _ => None,
    })
}

impl ConnectionLike for Wire {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Wire::One(one) => one.req_packed_command(command),
            Wire::Cluster(cluster) => cluster.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        commands: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Wire::One(one) => one.req_packed_commands(commands, offset, count),
            Wire::Cluster(cluster) => cluster.req_packed_commands(commands, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Wire::One(one) => one.get_db(),
            Wire::Cluster(cluster) => cluster.get_db(),
        }
    }
}

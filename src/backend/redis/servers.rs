//! The servers of a store: the one that is written to, and those that may be read from instead.
//! The backend asks them; which of them answers is decided here.

use std::sync::atomic::{AtomicUsize, Ordering};

use ::redis::{RedisResult, Value};

use super::counting;
use super::line::Line;
use super::wire::Request;

/// What a request does, which says where it may go and whether it may be sent twice.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Does {
    /// Looks only: a replica will do.
    Read,
    /// Changes something, and no more when it happens twice.
    Put,
    /// Changes something each time, or answers something else the second time.
    Count,
}

/// The leader, and its replicas if they are to be read from.
pub(super) struct Servers {
    leader: Line,
    replicas: Vec<Line>,
    turn: AtomicUsize,
}

impl Servers {
    pub(super) fn new(leader: Line, replicas: Vec<Line>) -> Self {
        Servers { leader, replicas, turn: AtomicUsize::new(0) }
    }

    /// Sends a request to where it belongs. A replica that fails is asked no more for a while, and the leader instead.
    pub(super) async fn ask(&self, does: Does, request: &Request) -> RedisResult<Value> {
        if does == Does::Read
            && let Some(replica) = self.next_replica()
        {
            // A box of its own: most stores are not read from replicas.
            match Box::pin(replica.ask(request, true)).await {
                Ok(answer) => return Ok(answer),
                // It is well: that key holds a list or the like, on the leader too.
                Err(error) if counting::is_of_another_type(&error) => return Err(error),
                Err(error) => {
                    tracing::debug!(target: "larder", %error, "a Redis replica did not answer: its leader is asked");
                    replica.take_a_rest();
                }
            }
        }
        self.leader.ask(request, does != Does::Count).await
    }

    /// The replica whose turn it is.
    fn next_replica(&self) -> Option<&Line> {
        if self.replicas.is_empty() {
            return None;
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let of_turn =
            (0..self.replicas.len()).map(|next| &self.replicas[turn.wrapping_add(next) % self.replicas.len()]);
        of_turn.into_iter().find(|replica| !replica.rests())
    }

    /// Lets go of every connection.
    pub(super) fn close(&self) {
        self.leader.close();
        self.replicas.iter().for_each(Line::close);
    }
}

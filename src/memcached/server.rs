//! One memcached server as the client sees it: its lanes, and whether it is up. The client sends requests through it, and
//! tools ask it for its name and its state.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::codec::{Reply, Request};
use super::connection::Lost;
use super::door::Door;
use super::error::Error;
use super::health::Health;
use super::lanes::Lanes;

/// How often a request is tried that no byte of was sent, because its connection was closed at that very moment.
const MOST_TRIES: usize = 3;

/// One memcached server of a [`Client`](super::Client).
pub struct Server {
    door: Arc<Door>,
    health: Arc<Health>,
    lanes: Lanes,
    read_timeout: Duration,
    write_timeout: Duration,
}

/// Why a request was not answered.
pub(crate) struct Fault {
    pub(crate) error: Error,
    /// Whether any byte of it may have reached the server.
    pub(crate) was_sent: bool,
}

impl Server {
    pub(crate) fn new(door: Door, read_timeout: Duration, write_timeout: Duration) -> Server {
        Server {
            health: Arc::new(Health::new(Arc::clone(door.name()))),
            door: Arc::new(door),
            lanes: Lanes::new(),
            read_timeout,
            write_timeout,
        }
    }

    /// Its name, as errors and tools show it: `host:port`, or the path of its socket.
    #[must_use]
    pub fn name(&self) -> &str {
        self.door.name()
    }

    /// Whether it failed several times in a row and is left alone for a moment.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.health.is_down(Instant::now()).is_some()
    }

    /// How it is entered, for streams of their own.
    pub(crate) fn door(&self) -> &Door {
        &self.door
    }

    /// Whether requests to it fail at once just now.
    pub(crate) fn is_left_alone(&self) -> bool {
        self.health.is_left_alone(Instant::now())
    }

    /// Asks it, within the time that such a request may take; opening a connection has a time of its own.
    pub(crate) async fn ask(&self, request: &Request<'_>) -> Result<Reply, Fault> {
        let mut place = self.lanes.place(request);
        let lane = place.lane();
        let time = if request.is_read() { self.read_timeout } else { self.write_timeout };
        let (mut tries, mut was_ever_sent) = (0, false);
        loop {
            let connection = match lane.connection(&self.door, &self.health).await {
                Ok(connection) => connection,
                Err(error) => {
                    if !was_ever_sent {
                        place.never_sent();
                    }
                    return Err(Fault { error, was_sent: false });
                }
            };
            tries += 1;
            let lost = match timeout(time, connection.ask(request)).await {
                Ok(Ok(reply)) => {
                    self.health.answered();
                    place.answered(&reply);
                    return Ok(reply);
                }
                Ok(Err(lost)) => lost,
                Err(_) => {
                    let server = self.name().to_owned();
                    return Err(Fault {
                        error: Error::Timeout { server, operation: request.name(), after: time },
                        was_sent: true,
                    });
                }
            };
            lane.forget(&connection);
            was_ever_sent |= lost.was_sent;
            if !may_try_again(request, &lost, tries) {
                if !was_ever_sent {
                    place.never_sent();
                }
                return Err(self.fault(lost));
            }
        }
    }

    /// Closes its connections as soon as nothing is owed on them.
    pub(crate) fn close(&self) {
        self.lanes.close();
    }

    fn fault(&self, lost: Lost<Error>) -> Fault {
        let error = lost.error.unwrap_or_else(|| Error::Connection {
            server: self.name().to_owned(),
            source: Arc::new(std::io::Error::new(
                std::io::ErrorKind::ConnectionAborted,
                "it was closed before the answer was there",
            )),
        });
        Fault { error, was_sent: lost.was_sent }
    }
}

/// Whether a request whose connection ended is tried on another: if nothing of it was sent, and once if asking twice does
/// no harm. A server that breaks the protocol is not asked again.
fn may_try_again(request: &Request<'_>, lost: &Lost<Error>, tries: usize) -> bool {
    let broke_in_passing = match &lost.error {
        None => true,
        // One that was waited for in vain was waited for long enough.
        Some(Error::Connection { source, .. }) => source.kind() != std::io::ErrorKind::TimedOut,
        Some(_) => false,
    };
    if lost.was_sent { tries == 1 && broke_in_passing && request.is_harmless() } else { tries < MOST_TRIES }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("name", &self.name()).field("is_down", &self.is_down()).finish_non_exhaustive()
    }
}

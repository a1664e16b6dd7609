//! One memcached server as the client sees it: its lanes, and whether it is up. The client sends requests through it, and
//! tools ask it for its name and its state.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::codec::{Reply, Request};
use super::connection::Lost;
use super::door::Door;
use super::error::Error;
use super::health::Health;
use super::lane::Lane;
use super::sizes::{LARGE, Mark, Sizes};

/// Lanes for large values.
const LARGE_LANES: usize = 4;

/// From this many keys on, a request for several keys is a large one.
const MANY_KEYS: usize = 64;

/// How often a request is tried that no byte of was sent, because its connection was closed at that very moment.
const MOST_TRIES: usize = 3;

/// One memcached server of a [`Client`](super::Client).
pub struct Server {
    door: Arc<Door>,
    health: Arc<Health>,
    /// For everything but large values: one connection for all.
    small: Arc<Lane>,
    large: [LargeLane; LARGE_LANES],
    sizes: Sizes,
    read_timeout: Duration,
    write_timeout: Duration,
}

/// A lane for large values, and how many callers wait on it.
struct LargeLane {
    lane: Arc<Lane>,
    waiting: AtomicUsize,
}

/// A caller's place on a lane, until it is dropped.
struct Place<'a> {
    lane: &'a Arc<Lane>,
    waiting: Option<&'a AtomicUsize>,
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
            small: Lane::new(),
            large: std::array::from_fn(|_| LargeLane { lane: Lane::new(), waiting: AtomicUsize::new(0) }),
            sizes: Sizes::new(),
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
        let mark = request.key().map(Mark::of);
        let place = self.place(request, mark);
        let lane = place.lane;
        let time = if request.is_read() { self.read_timeout } else { self.write_timeout };
        let write = match request {
            Request::Store { data, .. } if data.len() >= LARGE => mark.map(|mark| self.sizes.write(mark)),
            _ => None,
        };
        let mut tries = 0;
        loop {
            let connection = match lane.connection(&self.door, &self.health).await {
                Ok(connection) => connection,
                Err(error) => return Err(Fault { error, was_sent: false }),
            };
            tries += 1;
            let lost = match timeout(time, connection.ask(request)).await {
                Ok(Ok(reply)) => {
                    self.health.answered();
                    if let Some(write) = write {
                        write.settle();
                    }
                    if let (Reply::Value(value), Some(mark)) = (&reply, mark) {
                        self.sizes.note(mark, value.data.len());
                    }
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
            if !may_try_again(request, &lost, tries) {
                return Err(self.fault(lost));
            }
        }
    }

    /// Closes its connections as soon as nothing is owed on them.
    pub(crate) fn close(&self) {
        self.small.close();
        self.large.iter().for_each(|large| large.lane.close());
    }

    /// The lane of a request. Writes to one key keep to one lane as long as its size class stays, so that a late write does
    /// not overtake what was asked after it.
    fn place(&self, request: &Request<'_>, mark: Option<Mark>) -> Place<'_> {
        // The first of the least busy: one that was just used is warm.
        let any = || match self.large.iter().min_by_key(|large| large.waiting.load(Ordering::Relaxed)) {
            Some(large) => large.place(),
            None => self.small_place(),
        };
        match (request, mark) {
            (Request::GetMany { keys }, _) if keys.len() >= MANY_KEYS => any(),
            (Request::Get { .. }, Some(mark)) if self.sizes.is_large(mark) => any(),
            (Request::Store { data, .. }, Some(mark)) => {
                // A value that was large keeps its lane for the write that makes it small.
                let was_large = self.sizes.is_written_large(mark);
                self.sizes.note(mark, data.len());
                if was_large || data.len() >= LARGE { self.large_place(mark) } else { self.small_place() }
            }
            (_, Some(mark)) if self.sizes.is_written_large(mark) => self.large_place(mark),
            _ => self.small_place(),
        }
    }

    fn small_place(&self) -> Place<'_> {
        Place { lane: &self.small, waiting: None }
    }

    /// Always the same one for a key.
    fn large_place(&self, mark: Mark) -> Place<'_> {
        self.large[mark.among(LARGE_LANES)].place()
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

impl LargeLane {
    fn place(&self) -> Place<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Place { lane: &self.lane, waiting: Some(&self.waiting) }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(waiting) = self.waiting {
            waiting.fetch_sub(1, Ordering::Relaxed);
        }
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

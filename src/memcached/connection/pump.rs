//! The task of one connection: it alone touches the socket, writes what callers entered, and reads what they are owed.
//! It reads while it writes, so that two full socket buffers never wait for each other, and while idle, so that a
//! connection that the server closed is noticed before a request is lost on it.

use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::time::{Instant, Sleep};

use super::super::codec::{Broken, Decoder, Output, Step, shown};
use super::super::error::Error;
use super::ledger::{Ledger, Owed, Taken};
use super::{End, Wire};

/// How much is read at a time, in bytes, unless a value needs more.
const READ_AT_A_TIME: usize = 64 * 1024;

/// How much is read at a time while large values arrive, in bytes.
const READ_LARGE_AT_A_TIME: usize = 256 * 1024;

/// The most that is made ready for one announced value at a time: what a server announces is not yet there.
const MOST_MADE_READY: usize = 2 * 1024 * 1024;

/// After being idle for so long, the system is asked once more whether the connection still stands before it is used.
const STALE: Duration = Duration::from_millis(500);

/// The most that goes into one record over TLS, in bytes.
///
/// memcached (1.6.18) reads half a value straight off TLS, and then waits for the socket although the rest of the same
/// record, with the requests behind that value, lies decrypted before it: they hang. So no record may hold the end of one
/// request and the beginning of another; and where a record ends within a long line of keys, the next must fit into the
/// server's 16 KiB beside the half line.
const LONGEST_RECORD: u64 = 8 * 1024;

/// Pieces handed to the system in one write.
const PIECES: usize = 16;

/// The future that serves a connection until it ends.
pub(super) struct Pump<S> {
    stream: S,
    /// Whether each write becomes a record of its own.
    is_tls: bool,
    /// The server's name, for errors.
    server: Arc<str>,
    decoder: Box<dyn Decoder>,
    ledger: Arc<Ledger<Wire>>,
    outgoing: Output,
    /// Bytes written since the connection began.
    written: u64,
    must_flush: bool,
    input: BytesMut,
    /// How many bytes are needed at least before the decoder can go on.
    missing: usize,
    /// Requests that were taken and not answered.
    owed: VecDeque<Owed<Wire>>,
    /// Replies paid that the ledger has not heard of.
    paid: usize,
    /// How many requests go out ahead of their replies.
    most_ahead: usize,
    /// How long the server may owe a reply without a sign of life.
    patience: Duration,
    /// The last sign of life.
    alive_at: Instant,
    alarm: Pin<Box<Sleep>>,
    /// Whether the system was asked since the connection was last idle.
    is_fresh: bool,
}

/// Whether anything moved.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Moved {
    Yes,
    No,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Pump<S> {
    pub(super) fn new(
        stream: S,
        is_tls: bool,
        server: Arc<str>,
        decoder: Box<dyn Decoder>,
        ledger: Arc<Ledger<Wire>>,
        most_ahead: usize,
        patience: Duration,
    ) -> Pump<S> {
        Pump {
            stream,
            is_tls,
            server,
            decoder,
            ledger,
            outgoing: Output::default(),
            written: 0,
            must_flush: false,
            input: BytesMut::new(),
            missing: 1,
            owed: VecDeque::new(),
            paid: 0,
            most_ahead,
            patience,
            alive_at: Instant::now(),
            alarm: Box::pin(tokio::time::sleep(patience)),
            is_fresh: true,
        }
    }

    /// Moves bytes until nothing moves any more.
    fn advance(&mut self, context: &mut Context<'_>) -> Poll<Ended> {
        loop {
            // Reading comes first: an end of the connection is seen before anything is written to it.
            let read = match self.read(context) {
                Ok(read) => read,
                Err(ended) => return Poll::Ready(ended),
            };
            if self.outgoing.is_empty() && !self.must_flush {
                if self.must_look_first(context) {
                    return Poll::Pending;
                }
                if self.take(context) == Taken::Finished && self.owed.is_empty() {
                    return Poll::Ready(Ended::InPeace);
                }
            }
            let written = match self.write(context) {
                Ok(written) => written,
                Err(error) => return Poll::Ready(Ended::Io(error)),
            };
            if read == Moved::No && written == Moved::No {
                return self.watch(context);
            }
        }
    }

    /// Whether the task is to come back first: a runtime that was busy elsewhere may not have heard yet that the server
    /// closed the connection, and does so while this task yields.
    fn must_look_first(&mut self, context: &mut Context<'_>) -> bool {
        if self.is_fresh || !self.owed.is_empty() {
            return false;
        }
        self.is_fresh = true;
        self.alive_at.elapsed() >= STALE && pin!(tokio::task::yield_now()).poll(context).is_pending()
    }

    fn take(&mut self, context: &mut Context<'_>) -> Taken {
        let was_idle = self.owed.is_empty();
        let taken = self.ledger.take(self.paid, &mut self.outgoing, &mut self.owed, context.waker());
        self.paid = 0;
        match taken {
            Taken::Requests if was_idle => self.alive_at = Instant::now(),
            Taken::Nothing if was_idle => self.is_fresh = false,
            _ => {}
        }
        taken
    }

    fn read(&mut self, context: &mut Context<'_>) -> Result<Moved, Ended> {
        let needed = self.missing.clamp(READ_AT_A_TIME / 16, MOST_MADE_READY);
        if self.input.capacity() - self.input.len() < needed {
            // Where one value is large, more will be: room for several saves moving half a value each time.
            let room = if needed > READ_AT_A_TIME / 4 { READ_LARGE_AT_A_TIME } else { READ_AT_A_TIME };
            self.input.reserve(needed.max(room));
        } else if self.input.is_empty() {
            // Where nobody holds on to what was read before, its memory is still warm.
            let _is_reclaimed = self.input.try_reclaim(READ_AT_A_TIME);
        }
        match pin!(self.stream.read_buf(&mut self.input)).poll(context) {
            Poll::Pending => Ok(Moved::No),
            Poll::Ready(Ok(0)) if self.owed.is_empty() && self.input.is_empty() => Err(Ended::InPeace),
            Poll::Ready(Ok(0)) => Err(Ended::Io(closed_early())),
            Poll::Ready(Ok(count)) => {
                self.alive_at = Instant::now();
                self.missing = self.missing.saturating_sub(count);
                if self.missing == 0 {
                    self.answer().map_err(Ended::Broken)?;
                }
                Ok(Moved::Yes)
            }
            Poll::Ready(Err(error)) => Err(Ended::Io(error)),
        }
    }

    /// Pays what can be paid from what was read.
    fn answer(&mut self) -> Result<(), Broken> {
        while let Some(first) = self.owed.front() {
            // Bytes can stay in the input while its value waits for more; none means none.
            // What arrives before any byte of the first request went out answers none.
            if self.input.is_empty() || first.begins_at >= self.written {
                break;
            }
            match self.decoder.decode(&mut self.input, &first.asked, first.token)? {
                Step::More(missing) => {
                    self.missing = missing;
                    return Ok(());
                }
                Step::Reply(reply) => {
                    if let Some(first) = self.owed.pop_front() {
                        first.pay(reply);
                        self.paid += 1;
                    }
                }
            }
        }
        self.missing = 1;
        if self.input.is_empty() {
            return Ok(());
        }
        Err(Broken(format!("it spoke without being asked: {}", shown(&self.input))))
    }

    fn write(&mut self, context: &mut Context<'_>) -> io::Result<Moved> {
        let mut moved = Moved::No;
        let writable = self.writable();
        if writable > 0 {
            let mut slices = [IoSlice::new(&[]); PIECES];
            let filled = self.outgoing.slices(&mut slices, writable);
            match Pin::new(&mut self.stream).poll_write_vectored(context, &slices[..filled]) {
                Poll::Pending => return Ok(Moved::No),
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(count)) => {
                    // A server that takes in the request it is to answer is alive; one that lets others pile up may not be.
                    if self.owed.front().is_some_and(|first| first.ends_at > self.written) {
                        self.alive_at = Instant::now();
                    }
                    self.outgoing.advance(count);
                    self.written += count as u64;
                    self.must_flush = true;
                    moved = Moved::Yes;
                }
                Poll::Ready(Err(error)) => return Err(error),
            }
        }
        if self.must_flush && self.writable() == 0 {
            match Pin::new(&mut self.stream).poll_flush(context) {
                Poll::Pending => {}
                Poll::Ready(flushed) => {
                    flushed?;
                    self.must_flush = false;
                    moved = Moved::Yes;
                }
            }
        }
        Ok(moved)
    }

    /// How much may be written at once, in bytes: everything that need not wait for a reply, but for a head start; over TLS
    /// as many whole requests of it as fit into a record, or a part of one that does not.
    fn writable(&self) -> usize {
        let open = match self.owed.get(self.most_ahead) {
            Some(waits) => usize::try_from(waits.begins_at.saturating_sub(self.written)).unwrap_or(usize::MAX),
            None => self.outgoing.len(),
        };
        if self.is_tls { open.min(self.fitting()) } else { open.min(self.head_start().unwrap_or(open)) }
    }

    /// How much goes out alone because a large value follows, in bytes: a server that owes nothing sleeps, and what stands
    /// before the value wakes it while the value is handed to the system. With one caller waking it is most of the time.
    fn head_start(&self) -> Option<usize> {
        let owes_nothing = self.owed.front().is_some_and(|first| first.begins_at == self.written);
        if owes_nothing { self.outgoing.before_a_large_value() } else { None }
    }

    /// How much goes into one record over TLS, in bytes.
    fn fitting(&self) -> usize {
        let limit = self.written + LONGEST_RECORD;
        let first = self.owed.partition_point(|owed| owed.ends_at <= self.written);
        let end = match self.owed.get(first) {
            Some(begun) if begun.begins_at < self.written => begun.ends_at.min(limit),
            _ => {
                let fitting = self.owed.partition_point(|owed| owed.ends_at <= limit);
                let last = fitting.checked_sub(1).filter(|last| *last >= first).and_then(|last| self.owed.get(last));
                last.map_or(limit, |last| last.ends_at)
            }
        };
        usize::try_from(end - self.written).unwrap_or(usize::MAX)
    }

    /// Sleeps, but not for ever while the server owes a reply.
    fn watch(&mut self, context: &mut Context<'_>) -> Poll<Ended> {
        if self.owed.is_empty() {
            // The alarm may still go off, and finds nothing owed.
            return Poll::Pending;
        }
        while self.alarm.as_mut().poll(context).is_ready() {
            let until = self.alive_at + self.patience;
            if Instant::now() >= until {
                return Poll::Ready(Ended::Silent(self.patience));
            }
            self.alarm.as_mut().reset(until);
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Future for Pump<S> {
    type Output = End;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<End> {
        let pump = self.get_mut();
        pump.advance(context).map(|ended| {
            let is_to_blame = matches!(ended, Ended::Silent(_) | Ended::Broken(_));
            let error = ended.error(&pump.server);
            pump.ledger.close(error.as_ref());
            for owed in pump.owed.drain(..) {
                let was_sent = owed.begins_at < pump.written;
                owed.lose(error.clone(), was_sent);
            }
            match error {
                None => End::InPeace,
                Some(error) if is_to_blame => End::Failed(error),
                Some(error) => End::Closed(error),
            }
        })
    }
}

/// Whoever stops the task early, a runtime at its end for example, leaves no caller waiting.
impl<S> Drop for Pump<S> {
    fn drop(&mut self) {
        self.ledger.close(None);
    }
}

fn closed_early() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed it before the answer was there")
}

/// How a connection ended.
enum Ended {
    /// Nothing was owed.
    InPeace,
    /// The system said so, or the server closed it.
    Io(io::Error),
    /// No sign of life for so long.
    Silent(Duration),
    /// The server broke the protocol.
    Broken(Broken),
}

impl Ended {
    fn error(self, server: &str) -> Option<Error> {
        let server = server.to_owned();
        let source = match self {
            Ended::InPeace => return None,
            Ended::Broken(Broken(what)) => return Some(Error::Protocol { server, what }),
            Ended::Io(error) => error,
            Ended::Silent(time) => {
                let said = format!("no sign of life for {time:?} while an answer was owed");
                io::Error::new(io::ErrorKind::TimedOut, said)
            }
        };
        Some(Error::Connection { server, source: Arc::new(source) })
    }
}

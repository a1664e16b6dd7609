//! One connection to a server, shared by any number of callers: each enters its request in the [ledger](ledger) and waits
//! for its own reply, and one task, the [pump](pump), moves the bytes. A server's lanes are made of these.

mod ledger;
mod pump;
/// The locks that the ledger is built on; its exploration puts others in their place.
mod sync {
    pub(crate) use std::sync::{Mutex, MutexGuard};
}

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use super::codec::{Asked, Codec, Output, Reply, Request};
use super::error::Error;
use ledger::{Ledger, Refused, Trade};
use pump::Pump;

pub(crate) use ledger::Lost;

/// An open connection. Dropping it closes it as soon as nothing is owed any more.
pub(crate) struct Connection {
    ledger: Arc<Ledger<Wire>>,
    codec: &'static dyn Codec,
}

/// How a connection ended.
#[derive(Debug)]
pub(crate) enum End {
    /// Nothing was owed.
    InPeace,
    /// The server or the network closed it, as a restart does; whether the server is well shows when the next one opens.
    Closed(Error),
    /// The server did not answer, or broke the protocol.
    Failed(Error),
}

/// The trade of a memcached connection.
pub(crate) struct Wire;

impl Trade for Wire {
    type Queue = Output;
    type Asked = Asked;
    type Reply = Reply;
    type Error = Error;

    const MOST_OWED: usize = 4096;
    const MOST_QUEUED: usize = 4 * 1024 * 1024;

    fn length(queue: &Output) -> usize {
        queue.len()
    }
}

impl Connection {
    /// A connection over a stream on which the greeting is done, and the task that serves it to its end.
    /// With `is_tls` each write to the stream becomes at least one record. `most_ahead` requests go out ahead of their
    /// replies, and `patience` is how long the server may owe one without a sign of life.
    pub(crate) fn new<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        stream: S,
        is_tls: bool,
        server: Arc<str>,
        codec: &'static dyn Codec,
        most_ahead: usize,
        patience: Duration,
    ) -> (Connection, impl Future<Output = End> + Send + 'static) {
        let ledger = Arc::new(Ledger::new());
        let pump = Pump::new(stream, is_tls, server, codec.decoder(), Arc::clone(&ledger), most_ahead, patience);
        (Connection { ledger, codec }, pump)
    }

    /// Takes no more requests; those under way are still answered.
    pub(crate) fn finish(&self) {
        self.ledger.finish();
    }

    /// Asks, and waits for the reply. Dropped early, the request may or may not reach the server, and its reply is thrown away.
    pub(crate) async fn ask(&self, request: &Request<'_>) -> Result<Reply, Lost<Error>> {
        let write = |token: u32, output: &mut Output| {
            self.codec.encode(request, token, output);
            request.asked()
        };
        let slip = match self.ledger.enter(write) {
            Err(Refused::Full) => self.ledger.enter_in_time(write).await,
            entered => entered,
        };
        match slip {
            Err(_) => Err(Lost { error: self.ledger.error(), was_sent: false }),
            Ok(slip) => match slip.await {
                Ok(outcome) => outcome,
                // Its task is gone without a word: the runtime it ran on is.
                Err(_) => Err(Lost { error: None, was_sent: true }),
            },
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.ledger.finish();
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::super::codec::{Keys, meta::Meta};
    use super::*;

    /// A miss of several keys carries no token: nothing but its place says whose it is.
    #[tokio::test]
    async fn what_arrives_before_its_request_went_out_answers_nobody() {
        let (ours, mut theirs) = duplex(10);
        let (connection, pump) = Connection::new(ours, false, "a:1".into(), &Meta, 10, Duration::from_secs(60));
        let mut keys = Keys::default();
        keys.push(b"a-key-that-fills-the-way-to-the-server");
        let request = Request::GetMany { keys: &keys };
        let asked = async { tokio::join!(connection.ask(&request), connection.ask(&request)) };
        // Both are entered, the beginning of the first goes out, and then the server speaks.
        let ((first, second), _, spoken) = tokio::join!(biased; asked, pump, theirs.write_all(b"END\r\nEND\r\n"));
        spoken.unwrap();
        assert_eq!(first.unwrap(), Reply::Values(vec![None]));
        let lost = second.unwrap_err();
        assert!(matches!(lost.error, Some(Error::Protocol { .. })) && !lost.was_sent, "{lost:?}");
    }

    #[tokio::test]
    async fn what_is_to_wait_for_a_reply_goes_out_when_it_is_there() {
        let (ours, mut theirs) = duplex(1024);
        let (connection, pump) = Connection::new(ours, false, "a:1".into(), &Meta, 2, Duration::from_secs(60));
        let ask = async |key: &[u8]| connection.ask(&Request::Delete { key }).await;
        let asked = async { tokio::join!(ask(b"a"), ask(b"b"), ask(b"c")) };
        let answered = async {
            let mut seen = Vec::new();
            for (expected, reply) in [("md a O0\r\nmd b O1\r\n", "HD O0\r\n"), ("md c O2\r\n", "HD O1\r\nHD O2\r\n")] {
                seen.clear();
                theirs.read_buf(&mut seen).await.unwrap();
                assert_eq!(String::from_utf8_lossy(&seen), expected);
                theirs.write_all(reply.as_bytes()).await.unwrap();
            }
        };
        let serving = tokio::spawn(pump);
        let ((first, second, third), ()) = tokio::join!(biased; asked, answered);
        assert_eq!([first.unwrap(), second.unwrap(), third.unwrap()], [Reply::Done, Reply::Done, Reply::Done]);
        drop(connection);
        assert!(matches!(serving.await.unwrap(), End::InPeace));
    }
}

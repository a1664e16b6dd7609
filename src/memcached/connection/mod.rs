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
    use std::io::{self, IoSlice};
    use std::pin::{Pin, pin};
    use std::sync::Mutex;
    use std::task::{Context, Poll, Waker};

    use bytes::Bytes;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadBuf, duplex};

    use super::super::codec::{Keys, Store, meta::Meta};
    use super::super::value::Expiry;
    use super::*;

    /// A stream to a server that never answers, and takes this much of the first writes and all of later ones.
    #[derive(Default)]
    struct Noted {
        takes: Vec<usize>,
        /// How much each write had, in bytes.
        writes: Arc<Mutex<Vec<usize>>>,
    }

    impl AsyncRead for Noted {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Noted {
        fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.poll_write_vectored(context, &[IoSlice::new(bytes)])
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let length: usize = slices.iter().map(|slice| slice.len()).sum();
            let mut writes = self.writes.lock().unwrap();
            let taken = self.takes.get(writes.len()).map_or(length, |most| length.min(*most));
            writes.push(length);
            Poll::Ready(Ok(taken))
        }

        fn is_write_vectored(&self) -> bool {
            true
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// How much goes out in each write when values are set one after the other, and nothing is answered; in bytes.
    fn writes_of(lengths: &[usize], takes: &[usize], is_tls: bool) -> Vec<usize> {
        let writes = Arc::default();
        let stream = Noted { takes: takes.to_vec(), writes: Arc::clone(&writes) };
        let (connection, pump) = Connection::new(stream, is_tls, "a:1".into(), &Meta, 10, Duration::from_secs(60));
        let mut context = Context::from_waker(Waker::noop());
        let mut pump = pin!(pump);
        for length in lengths {
            let (data, expiry) = (Bytes::from(vec![b'x'; *length]), Expiry::Never.at(std::time::UNIX_EPOCH));
            let request = Request::Store { how: Store::Set, key: b"k", data: &data, flags: 0, expiry };
            assert!(pin!(connection.ask(&request)).poll(&mut context).is_pending());
            // The caller has gone by now, and the pump carries on what it asked.
            assert!(pump.as_mut().poll(&mut context).is_pending());
        }
        writes.lock().unwrap().clone()
    }

    #[tokio::test]
    async fn what_stands_before_a_large_value_goes_ahead_of_it_to_a_server_that_owes_nothing() {
        // "ms k 65536 T0 O0\r\n"
        const LINE: usize = 18;
        const LARGE: usize = 64 * 1024;
        assert_eq!(writes_of(&[LARGE], &[], false), [LINE, LARGE + 2]);
        assert_eq!(writes_of(&[1000], &[], false), [LINE - 1 + 1000 + 2], "a small one goes out at once");
        assert_eq!(writes_of(&[LARGE, LARGE], &[], false), [LINE, LARGE + 2, LINE + LARGE + 2], "it is awake by then");
        assert_eq!(writes_of(&[1000, LARGE], &[], false), [LINE - 1 + 1000 + 2, LINE + LARGE + 2]);
        // A part of the line, the rest of it and a part of the value, and so on.
        let torn = [10, 1000, 1, 60_000];
        assert_eq!(writes_of(&[LARGE], &torn, false), [18, 8 + LARGE + 2, 64_546, 64_545, 4_545]);
        let records = writes_of(&[LARGE], &[], true);
        assert_eq!(records.iter().sum::<usize>(), LINE + LARGE + 2);
        assert!(records.iter().all(|record| *record <= 8 * 1024) && records.len() == 9, "{records:?}");
    }

    /// A server may refuse a value before it has seen any of it; it reads the value all the same.
    #[tokio::test]
    async fn a_value_that_was_refused_early_goes_out_to_its_end_before_what_follows() {
        let (ours, mut theirs) = duplex(1000);
        let (connection, pump) = Connection::new(ours, false, "a:1".into(), &Meta, 10, Duration::from_secs(60));
        let serving = tokio::spawn(pump);
        let data = Bytes::from(vec![b'x'; 64 * 1024]);
        let expiry = Expiry::Never.at(std::time::UNIX_EPOCH);
        let request = Request::Store { how: Store::Set, key: b"k", data: &data, flags: 0, expiry };
        let answering = async {
            let mut line = [0; 18];
            theirs.read_exact(&mut line).await.unwrap();
            assert_eq!(&line, b"ms k 65536 T0 O0\r\n");
            theirs.write_all(b"SERVER_ERROR object too large for cache\r\n").await.unwrap();
        };
        let (refused, ()) = tokio::join!(connection.ask(&request), answering);
        assert!(matches!(refused, Ok(Reply::Refused(_))), "{refused:?}");
        let answering = async {
            let mut value = vec![0; 64 * 1024 + 2];
            theirs.read_exact(&mut value).await.unwrap();
            assert!(value.strip_suffix(b"\r\n") == Some(&data[..]));
            let mut line = [0; 9];
            theirs.read_exact(&mut line).await.unwrap();
            assert_eq!(&line, b"md k O1\r\n");
            theirs.write_all(b"HD O1\r\n").await.unwrap();
        };
        let (deleted, ()) = tokio::join!(connection.ask(&Request::Delete { key: b"k" }), answering);
        assert_eq!(deleted.unwrap(), Reply::Done);
        drop(connection);
        assert!(matches!(serving.await.unwrap(), End::InPeace));
    }

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

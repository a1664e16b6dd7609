//! A metadump under way: a task drains the server, and the caller takes the items at leisure.
//! `Server::metadump` starts it.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::AbortHandle;

use super::conversation::{Conversation, Protocol};
use super::item::ItemInfo;
use crate::memcached::error::Error;

/// How much of a dump is kept for a caller who is slower than the server, in bytes: some ten million items.
const MOST_KEPT: usize = 1 << 30;

const END: &[u8] = b"END\r\n";

/// Every item of the hash table. A walk over the LRU lists, which older servers know alone, passes over items that the
/// server moves from list to list meanwhile.
const BY_HASH: &[u8] = b"lru_crawler metadump hash\r\n";
const BY_LIST: &[u8] = b"lru_crawler metadump all\r\n";

/// How long a server may be busy: its own crawler runs for moments now and then, and a dump is not quite over when its
/// last line is there. A dump of somebody else takes longer.
const BUSY: Duration = Duration::from_secs(1);
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// The items of a server, as it tells of them; see [`Server::metadump`](super::super::Server::metadump).
///
/// Dropping it ends the dump and closes its connection.
pub struct Metadump {
    server: String,
    arriving: mpsc::UnboundedReceiver<Result<Arrival, Error>>,
    kept: Arc<AtomicUsize>,
    lines: Bytes,
    is_over: bool,
    drain: AbortHandle,
}

/// What the draining task hands on.
enum Arrival {
    Lines(Bytes),
    /// The server has told everything.
    End,
}

impl Metadump {
    /// Asks for the dump. Its first line is awaited, so that a refusal is the caller's error and not the first item's.
    /// `turn` is given back when the server has told everything.
    pub(super) async fn start(
        mut conversation: Conversation,
        turn: Option<OwnedSemaphorePermit>,
    ) -> Result<Self, Error> {
        if conversation.protocol() == Protocol::Binary {
            return Err(Error::Config(
                "a server with SASL speaks the binary protocol, which cannot list keys: ask it without SASL, \
                 such as on another port or with -Y"
                    .to_owned(),
            ));
        }
        let first = first_lines(&mut conversation).await?;
        let (sender, arriving) = mpsc::unbounded_channel();
        let kept = Arc::new(AtomicUsize::new(0));
        let server = conversation.server().to_owned();
        let drain = tokio::spawn(drain(conversation, first, sender, Arc::clone(&kept), turn)).abort_handle();
        Ok(Metadump { server, arriving, kept, lines: Bytes::new(), is_over: false, drain })
    }

    /// The next item; `None` when the server has told everything. Dropping the call loses nothing.
    ///
    /// A caller may be as slow as it likes: up to 1 GiB of the dump (some ten million items) waits for it here.
    ///
    /// # Errors
    /// [`Error::Timeout`] and [`Error::Connection`] where the server stops in the middle, [`Error::Protocol`] for what is no
    /// item, [`Error::Config`] where more than 1 GiB would wait. [`Error::Connection`] also where the runtime on which the
    /// dump was begun ends before the dump does. After an error there is nothing more.
    pub async fn next(&mut self) -> Result<Option<ItemInfo>, Error> {
        while self.lines.is_empty() {
            if self.is_over {
                return Ok(None);
            }
            match self.arriving.recv().await {
                Some(Ok(Arrival::Lines(lines))) => {
                    self.kept.fetch_sub(lines.len(), Ordering::Relaxed);
                    self.lines = lines;
                }
                Some(Err(error)) => return Err(self.end_with(error)),
                Some(Ok(Arrival::End)) => self.is_over = true,
                None => return Err(self.cut_short()),
            }
        }
        let end = memchr::memchr(b'\n', &self.lines).unwrap_or(self.lines.len());
        let line = self.lines.split_to(end);
        self.lines.advance(1.min(self.lines.len()));
        match ItemInfo::read(&line) {
            Ok(item) => Ok(Some(item)),
            Err(what) => {
                let server = self.server.clone();
                Err(self.end_with(Error::Protocol { server, what }))
            }
        }
    }

    /// The task that drains the server is gone without a word: the runtime it ran on is.
    fn cut_short(&mut self) -> Error {
        let said = "the runtime on which the dump was begun ended before it";
        let source = Arc::new(io::Error::new(io::ErrorKind::ConnectionAborted, said));
        let server = self.server.clone();
        self.end_with(Error::Connection { server, source })
    }

    fn end_with(&mut self, error: Error) -> Error {
        self.is_over = true;
        self.lines = Bytes::new();
        self.arriving.close();
        error
    }
}

impl Drop for Metadump {
    fn drop(&mut self) {
        self.drain.abort();
    }
}

impl fmt::Debug for Metadump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metadump").field("server", &self.server).finish_non_exhaustive()
    }
}

/// Asks for the dump, and waits for its first lines.
async fn first_lines(conversation: &mut Conversation) -> Result<Bytes, Error> {
    let begun = Instant::now();
    let mut question = BY_HASH;
    loop {
        conversation.send(question).await?;
        let first = conversation.lines().await?;
        if first.starts_with(b"key=") || first.starts_with(END) {
            return Ok(first);
        }
        let line = String::from_utf8_lossy(first.split(|byte| *byte == b'\n').next().unwrap_or_default());
        match line.split_whitespace().next() {
            Some("BADCLASS" | "CLIENT_ERROR" | "ERROR") if question == BY_HASH => question = BY_LIST,
            Some("BUSY") if begun.elapsed() < BUSY => tokio::time::sleep(ASK_AGAIN).await,
            _ => return Err(conversation.refused_or_broken(line.trim_end())),
        }
    }
}

/// Reads everything that the server has to tell, whether anybody takes it or not.
async fn drain(
    mut conversation: Conversation,
    first: Bytes,
    sender: mpsc::UnboundedSender<Result<Arrival, Error>>,
    kept: Arc<AtomicUsize>,
    _turn: Option<OwnedSemaphorePermit>,
) {
    let mut lines = first;
    loop {
        let is_last = lines.ends_with(b"\nEND\r\n") || lines == END;
        if is_last {
            lines.truncate(lines.len() - END.len());
        }
        let waiting = kept.fetch_add(lines.len(), Ordering::Relaxed) + lines.len();
        if waiting > MOST_KEPT {
            let _ = sender.send(Err(Error::Config(format!(
                "more than {MOST_KEPT} bytes of the dump wait to be taken: take its items faster"
            ))));
            return;
        }
        // Nobody listens any more: closing the connection ends the dump.
        if sender.send(Ok(Arrival::Lines(lines))).is_err() {
            return;
        }
        if is_last {
            let _ = sender.send(Ok(Arrival::End));
            return;
        }
        match conversation.lines().await {
            Ok(more) => lines = more,
            Err(error) => {
                let _ = sender.send(Err(error));
                return;
            }
        }
    }
}

//! One connection for one question of an operator, in the text protocol or, with SASL, in the binary one.
//! The calls of `Server` in this room open it, ask, read the answer under a deadline, and close it.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::binary;
use crate::memcached::error::Error;
use crate::memcached::value::Expiry;

/// What a connection is made of.
pub(super) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// The protocol that a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Text,
    /// With SASL there is nothing else.
    Binary,
}

/// A connection, and what has arrived on it.
pub(super) struct Conversation {
    server: String,
    wire: Box<dyn Wire>,
    protocol: Protocol,
    silence: Duration,
    arrived: BytesMut,
}

/// The longest line that a server may answer: far more than a key and every number at their longest.
const LONGEST_LINE: usize = 64 << 10;

/// How much is read at once.
const CHUNK: usize = 64 << 10;

impl Conversation {
    pub(super) fn new(server: String, wire: Box<dyn Wire>, protocol: Protocol, silence: Duration) -> Self {
        Conversation { server, wire, protocol, silence, arrived: BytesMut::new() }
    }

    pub(super) fn server(&self) -> &str {
        &self.server
    }

    pub(super) fn protocol(&self) -> Protocol {
        self.protocol
    }

    pub(super) async fn version(mut self) -> Result<String, Error> {
        if self.protocol == Protocol::Binary {
            let answer = self.ask(binary::VERSION, &[], b"").await?;
            return Ok(String::from_utf8_lossy(&answer.value).into_owned());
        }
        self.send(b"version\r\n").await?;
        let line = self.line().await?;
        match line.strip_prefix("VERSION ") {
            Some(version) => Ok(version.to_owned()),
            None => Err(self.refused_or_broken(&line)),
        }
    }

    pub(super) async fn stats(mut self, kind: Option<&str>) -> Result<Vec<(String, String)>, Error> {
        let kind = kind.unwrap_or_default();
        if !kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_- ".contains(&byte)) {
            return Err(Error::Config(format!(
                "{kind:?} is no kind of stats: there are items, slabs, settings, conns ..."
            )));
        }
        let mut stats = Vec::new();
        if self.protocol == Protocol::Binary {
            self.send(&binary::request(binary::STAT, &[], kind.as_bytes())).await?;
            loop {
                let answer = self.answer(binary::STAT).await?;
                if answer.key.is_empty() {
                    return Ok(stats);
                }
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                stats.push((text(&answer.key), text(&answer.value)));
            }
        }
        let question = if kind.is_empty() { "stats\r\n".to_owned() } else { format!("stats {kind}\r\n") };
        self.send(question.as_bytes()).await?;
        loop {
            let line = self.line().await?;
            match line.strip_prefix("STAT ").map(|stat| stat.split_once(' ').unwrap_or((stat, ""))) {
                Some((name, value)) => stats.push((name.to_owned(), value.to_owned())),
                // `stats reset` has nothing to tell but that it was done.
                None if line == "END" || line == "RESET" => return Ok(stats),
                None => return Err(self.refused_or_broken(&line)),
            }
        }
    }

    pub(super) async fn flush(mut self, delay: Duration) -> Result<(), Error> {
        // Seconds from now, beyond 30 days a point in time: as the lifetimes of items.
        let seconds = match delay.as_secs() {
            0 => 0,
            _ => match Expiry::In(delay).at(SystemTime::now()).unsigned() {
                0 => return Err(Error::Config(format!("memcached cannot flush so late as {delay:?} from now"))),
                seconds => seconds,
            },
        };
        if self.protocol == Protocol::Binary {
            let extras = seconds.to_be_bytes();
            return self.ask(binary::FLUSH, if seconds == 0 { &[] } else { &extras }, b"").await.map(drop);
        }
        let question = if seconds == 0 { "flush_all\r\n".to_owned() } else { format!("flush_all {seconds}\r\n") };
        self.send(question.as_bytes()).await?;
        match self.line().await?.as_str() {
            "OK" => Ok(()),
            line => Err(self.refused_or_broken(line)),
        }
    }

    async fn ask(&mut self, opcode: u8, extras: &[u8], key: &[u8]) -> Result<binary::Answer, Error> {
        self.send(&binary::request(opcode, extras, key)).await?;
        self.answer(opcode).await
    }

    async fn answer(&mut self, opcode: u8) -> Result<binary::Answer, Error> {
        loop {
            match binary::Answer::read(&mut self.arrived, opcode) {
                Ok(Some(answer)) if answer.status == 0 => return Ok(answer),
                Ok(Some(answer)) => return Err(self.refused(&answer.why())),
                Ok(None) => self.read().await?,
                Err(what) => return Err(self.broken(what)),
            }
        }
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let sent = timeout(self.silence, async {
            self.wire.write_all(bytes).await?;
            self.wire.flush().await
        });
        match sent.await {
            Ok(sent) => sent.map_err(|source| self.lost(source)),
            Err(_) => Err(self.silent()),
        }
    }

    /// The next line, without its end.
    pub(super) async fn line(&mut self) -> Result<String, Error> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.arrived) {
                let mut line = self.arrived.split_to(end);
                self.arrived.advance(1);
                if line.ends_with(b"\r") {
                    line.truncate(line.len() - 1);
                }
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            if self.arrived.len() > LONGEST_LINE {
                return Err(self.broken("a line without an end"));
            }
            self.read().await?;
        }
    }

    /// Everything that has arrived up to the last end of a line; waits until there is one.
    pub(super) async fn lines(&mut self) -> Result<Bytes, Error> {
        loop {
            if let Some(end) = memchr::memrchr(b'\n', &self.arrived) {
                return Ok(self.arrived.split_to(end + 1).freeze());
            }
            if self.arrived.len() > LONGEST_LINE {
                return Err(self.broken("a line without an end"));
            }
            self.read().await?;
        }
    }

    async fn read(&mut self) -> Result<(), Error> {
        self.arrived.reserve(CHUNK);
        match timeout(self.silence, self.wire.read_buf(&mut self.arrived)).await {
            Ok(Ok(0)) => {
                Err(self.lost(io::Error::new(io::ErrorKind::UnexpectedEof, "it was closed before the answer ended")))
            }
            Ok(Ok(_)) => Ok(()),
            Ok(Err(source)) => Err(self.lost(source)),
            Err(_) => Err(self.silent()),
        }
    }

    fn lost(&self, source: io::Error) -> Error {
        Error::Connection { server: self.server.clone(), source: Arc::new(source) }
    }

    fn silent(&self) -> Error {
        Error::Timeout { server: self.server.clone(), operation: "question of an operator", after: self.silence }
    }

    pub(super) fn broken(&self, what: impl Into<String>) -> Error {
        Error::Protocol { server: self.server.clone(), what: what.into() }
    }

    pub(super) fn refused(&self, said: &str) -> Error {
        Error::Server { server: self.server.clone(), said: said.to_owned() }
    }

    /// What a line means that was not the one hoped for: a refusal in the server's words, or nothing that memcached says.
    pub(super) fn refused_or_broken(&self, line: &str) -> Error {
        const REFUSALS: [&str; 6] = ["ERROR", "CLIENT_ERROR", "SERVER_ERROR", "BUSY", "BADCLASS", "NOTSTARTED"];
        let word = line.split(' ').next().unwrap_or_default();
        if REFUSALS.contains(&word) {
            return self.refused(line);
        }
        // What is no answer may be anything, such as an item of another program: it is not repeated.
        self.broken("the answer to an operator's question is none")
    }
}

//! How a server is entered: connect, encrypt, log in, greet, all under one deadline. Lanes open their connections here;
//! admin streams take the bare stream.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::auth::{Login, Way};
use super::codec::binary::Binary;
use super::codec::meta::Meta;
use super::codec::{Asked, Broken, Codec, Output, Reply, Request, Step};
use super::connection::{Connection, End};
use super::error::Error;
use super::tls::Connector;
use super::transport::{Address, Stream, connect};

/// What is known of a server before it is connected to.
pub(crate) struct Door {
    name: Arc<str>,
    address: Address,
    tls: Option<Connector>,
    login: Option<Login>,
    connect_timeout: Duration,
    patience: Duration,
    admin_timeout: Duration,
}

impl Door {
    pub(crate) fn new(address: Address, tls: Option<Connector>, login: Option<Login>) -> Door {
        Door {
            name: address.to_string().into(),
            address,
            tls,
            login,
            connect_timeout: Duration::ZERO,
            patience: Duration::ZERO,
            admin_timeout: Duration::ZERO,
        }
    }

    /// How long opening may take, and how long the server may then owe a reply without a sign of life.
    pub(crate) fn timeouts(mut self, connect: Duration, patience: Duration) -> Door {
        (self.connect_timeout, self.patience) = (connect, patience);
        self
    }

    /// How long the server may be silent while it answers an operator.
    pub(crate) fn admin_timeout(mut self, time: Duration) -> Door {
        self.admin_timeout = time;
        self
    }

    /// How long to wait for the next part of an answer to an operator.
    pub(crate) fn admin_patience(&self) -> Duration {
        self.admin_timeout
    }

    /// The server's name, as errors show it.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// Whether the server speaks the binary protocol only.
    pub(crate) fn is_binary(&self) -> bool {
        self.login.as_ref().is_some_and(|login| login.way() == Way::Sasl)
    }

    fn codec(&self) -> &'static dyn Codec {
        if self.is_binary() { &Binary } else { &Meta }
    }

    /// A stream that is logged in, and on which nothing else was said.
    pub(crate) async fn stream(&self) -> Result<Stream, Error> {
        timeout(self.connect_timeout, self.step_in()).await.unwrap_or_else(|_| Err(self.late()))
    }

    /// A connection that was greeted and greeted back, and the task that serves it; `most_ahead` requests go out ahead of
    /// their replies.
    pub(crate) async fn open(
        &self,
        most_ahead: usize,
    ) -> Result<(Connection, impl Future<Output = End> + Send + 'static + use<>), Error> {
        let greeted = async {
            let mut stream = self.step_in().await?;
            self.greet(&mut stream).await?;
            Ok(stream)
        };
        let stream = timeout(self.connect_timeout, greeted).await.unwrap_or_else(|_| Err(self.late()))?;
        let is_tls = matches!(stream, Stream::Tls(_));
        Ok(Connection::new(stream, is_tls, Arc::clone(&self.name), self.codec(), most_ahead, self.patience))
    }

    async fn step_in(&self) -> Result<Stream, Error> {
        let mut stream = connect(&self.address, self.tls.as_ref()).await.map_err(|source| self.lost(source))?;
        if let Some(login) = &self.login {
            login.shake_hands(&mut stream, &self.name).await?;
        }
        Ok(stream)
    }

    /// Asks for nothing, so that a server that is stuck, too old or none at all is found out before it is relied on.
    async fn greet(&self, stream: &mut Stream) -> Result<(), Error> {
        let mut output = Output::default();
        self.codec().encode(&Request::Nothing, 0, &mut output);
        stream.write_all(&output.to_vec()).await.map_err(|source| self.lost(source))?;
        stream.flush().await.map_err(|source| self.lost(source))?;
        let (mut decoder, mut input) = (self.codec().decoder(), BytesMut::new());
        loop {
            if stream.read_buf(&mut input).await.map_err(|source| self.lost(source))? == 0 {
                return Err(self.lost(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "closed at the greeting")));
            }
            if input.starts_with(b"CLIENT_ERROR unauth") {
                let said = "it wants a user name and a password (it runs with -Y)".to_owned();
                return Err(Error::Auth { server: self.name.as_ref().to_owned(), said });
            }
            if input.starts_with(b"ERROR\r\n") {
                return Err(self.broken("it does not know the meta commands: memcached 1.6 or newer is needed"));
            }
            match decoder.decode(&mut input, &Asked::Nothing, 0) {
                Ok(Step::More(_)) => {}
                Ok(Step::Reply(Reply::Done)) if input.is_empty() => return Ok(()),
                Ok(Step::Reply(_)) => return Err(self.broken("it answered more than the greeting")),
                Err(Broken(what)) => return Err(self.broken(&what)),
            }
        }
    }

    fn late(&self) -> Error {
        Error::Timeout { server: self.name.as_ref().to_owned(), operation: "connect", after: self.connect_timeout }
    }

    /// The error of an opening that nobody carries on.
    pub(crate) fn stuck(&self) -> Error {
        self.late()
    }

    fn lost(&self, source: std::io::Error) -> Error {
        Error::Connection { server: self.name.as_ref().to_owned(), source: Arc::new(source) }
    }

    fn broken(&self, what: &str) -> Error {
        Error::Protocol { server: self.name.as_ref().to_owned(), what: what.to_owned() }
    }
}

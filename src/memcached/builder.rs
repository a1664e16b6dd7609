//! How a client is set up: which servers, how long to wait for them, and what happens when one is down.
//! Programs call it through [`Client::builder`]; URLs and the environment are read into one.

use std::time::Duration;

use super::auth::{Login, Way};
use super::client::Client;
use super::codec::MOST_ANNOUNCED;
use super::compression::Compression;
use super::door::Door;
use super::error::Error;
use super::fleet::Fleet;
use super::ring::{Distribution, KeyHash, Ring};
use super::server::Server;
use super::tls::Tls;
use super::transport::Address;

/// What happens to the keys of a server that is down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenDown {
    /// Calls fail at once with [`Error::Down`].
    #[default]
    Fail,
    /// They move to the next server until it is back, and are missing there at first. What is written there meanwhile
    /// stays there when they move back, and is found again, old as it then is, when the server is down again before it
    /// expired. And a server that was only cut off comes back with the values it had, older than what was written
    /// elsewhere meanwhile, deleted ones among them. For values that may be that old.
    NextServer,
}

/// The longest that a client may be told to wait for a server: a day.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// Sets up a [`Client`]. Its `Debug` shows no password.
#[derive(Clone, Debug)]
pub struct ClientBuilder {
    servers: Vec<(String, u32)>,
    connect_timeout: Duration,
    read_timeout: Duration,
    write_timeout: Duration,
    admin_timeout: Duration,
    largest_value: usize,
    when_down: WhenDown,
    distribution: Distribution,
    key_hash: Option<KeyHash>,
    login: Option<Login>,
    tls: Option<Tls>,
    compression: Compression,
}

impl ClientBuilder {
    pub(crate) fn new() -> ClientBuilder {
        ClientBuilder {
            servers: Vec::new(),
            connect_timeout: Duration::from_millis(250),
            read_timeout: Duration::from_millis(50),
            write_timeout: Duration::from_millis(250),
            admin_timeout: Duration::from_secs(5),
            largest_value: super::LARGEST_VALUE,
            when_down: WhenDown::default(),
            distribution: Distribution::default(),
            key_hash: None,
            login: None,
            tls: None,
            compression: Compression::default(),
        }
    }

    /// Adds a server: `host:port`, `host`, `[::1]:11211`, or the path of a unix socket.
    #[must_use]
    pub fn server(self, address: impl Into<String>) -> ClientBuilder {
        self.weighted_server(address, 1)
    }

    /// Adds a server that takes `weight` times the share of one of weight 1, where the distribution knows weights.
    #[must_use]
    pub fn weighted_server(mut self, address: impl Into<String>, weight: u32) -> ClientBuilder {
        self.servers.push((address.into(), weight));
        self
    }

    /// Adds several servers.
    #[must_use]
    pub fn servers<A: Into<String>>(self, addresses: impl IntoIterator<Item = A>) -> ClientBuilder {
        addresses.into_iter().fold(self, ClientBuilder::server)
    }

    /// How long opening a connection may take, greeting and login included (250 ms).
    #[must_use]
    pub fn connect_timeout(mut self, time: Duration) -> ClientBuilder {
        self.connect_timeout = time;
        self
    }

    /// How long every operation may take, reading or writing.
    #[must_use]
    pub fn timeout(self, time: Duration) -> ClientBuilder {
        self.read_timeout(time).write_timeout(time)
    }

    /// How long reading may take (50 ms).
    #[must_use]
    pub fn read_timeout(mut self, time: Duration) -> ClientBuilder {
        self.read_timeout = time;
        self
    }

    /// How long writing may take (250 ms).
    #[must_use]
    pub fn write_timeout(mut self, time: Duration) -> ClientBuilder {
        self.write_timeout = time;
        self
    }

    /// How long a server may be silent while it answers [stats](Server::stats) or a [dump](Server::metadump) (5 s).
    #[must_use]
    pub fn admin_timeout(mut self, time: Duration) -> ClientBuilder {
        self.admin_timeout = time;
        self
    }

    /// The largest value that is sent, in bytes (1 MiB); more where memcached runs with a larger `-I`.
    #[must_use]
    pub fn largest_value(mut self, bytes: usize) -> ClientBuilder {
        self.largest_value = bytes;
        self
    }

    /// What happens to the keys of a server that is down.
    #[must_use]
    pub fn when_down(mut self, when_down: WhenDown) -> ClientBuilder {
        self.when_down = when_down;
        self
    }

    /// How keys are spread over the servers ([`Distribution::Rendezvous`]).
    #[must_use]
    pub fn distribution(mut self, distribution: Distribution) -> ClientBuilder {
        self.distribution = distribution;
        self
    }

    /// What keys are hashed by, where pylibmc's behaviour `hash` is set; for `modula`, `ketama` and `ketama_weighted`.
    #[must_use]
    pub fn key_hash(mut self, hash: KeyHash) -> ClientBuilder {
        self.key_hash = Some(hash);
        self
    }

    /// Logs in by ASCII authentication, to servers started with `-Y file`.
    #[must_use]
    pub fn auth(mut self, user: impl Into<String>, password: impl Into<String>) -> ClientBuilder {
        self.login = Some(Login::new(Way::Ascii, user, password));
        self
    }

    /// Logs in by SASL PLAIN, to servers started with `-S`, MemCachier and Heroku among them. The binary protocol is
    /// spoken with them, because it is all they speak.
    #[must_use]
    pub fn sasl(mut self, user: impl Into<String>, password: impl Into<String>) -> ClientBuilder {
        self.login = Some(Login::new(Way::Sasl, user, password));
        self
    }

    /// Encrypts the connections.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> ClientBuilder {
        self.tls = Some(tls);
        self
    }

    /// Compresses values of at least so many bytes by zlib, where that makes them smaller, and adds 8 to their flags, as
    /// pylibmc does. Off as it comes: Django's default client, pymemcache, cannot read them. Values that are compressed
    /// are inflated always (but see [`leave_compressed`](Self::leave_compressed)): bytes that were compressed elsewhere, or
    /// extended by `append` after they were, are [`Error::Unreadable`].
    #[must_use]
    pub fn compress_over(mut self, bytes: usize) -> ClientBuilder {
        self.compression.from = Some(bytes);
        self
    }

    /// Hands out compressed values as they are stored, with the 8 in their flags, instead of inflating them: to copy them,
    /// or where flags mean something else.
    #[must_use]
    pub fn leave_compressed(mut self, is_left: bool) -> ClientBuilder {
        self.compression.is_left = is_left;
        self
    }

    /// The largest value that a compressed one may become, in bytes (64 MiB); larger ones are [`Error::Unreadable`].
    #[must_use]
    pub fn largest_inflated(mut self, bytes: usize) -> ClientBuilder {
        self.compression.largest = bytes;
        self
    }

    /// The client. Nothing is connected yet: connections open on first use.
    ///
    /// # Errors
    /// [`Error::Config`] for no server at all, one that is none, a timeout of zero or more than a day, a largest value over
    /// a gibibyte, a login or certificates that cannot be used.
    pub fn build(self) -> Result<Client, Error> {
        if let Some(login) = &self.login {
            login.check()?;
        }
        let tls = self.tls.as_ref().map(Tls::connector).transpose()?;
        for (what, time) in
            [("connect", self.connect_timeout), ("read", self.read_timeout), ("write", self.write_timeout)]
        {
            if time.is_zero() || time > LONGEST_TIMEOUT {
                return Err(Error::Config(format!(
                    "the {what} timeout of a memcached client is {time:?}: above zero, and {LONGEST_TIMEOUT:?} at most"
                )));
            }
        }
        if self.largest_value > MOST_ANNOUNCED {
            return Err(Error::Config(format!(
                "the largest value of a memcached client is {} bytes: memcached takes {MOST_ANNOUNCED} at most (-I)",
                self.largest_value
            )));
        }
        // A server is given up for dead when it shows no sign of life for as long as anybody would wait for it.
        let patience = self.read_timeout.max(self.write_timeout);
        let (mut servers, mut nodes) = (Vec::new(), Vec::new());
        for (text, weight) in &self.servers {
            let address: Address = text.parse()?;
            nodes.push(address.node(*weight));
            let door = Door::new(address, tls.clone(), self.login.clone())
                .timeouts(self.connect_timeout, patience)
                .admin_timeout(self.admin_timeout);
            servers.push(Server::new(door, self.read_timeout, self.write_timeout));
        }
        let ring = Ring::new(self.distribution, self.key_hash, &nodes)?;
        Ok(Client::new(Fleet::new(servers, ring, self.when_down), self.largest_value, self.compression))
    }
}

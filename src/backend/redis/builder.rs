//! The settings of the Redis backend, from a URL and from methods, and what is made of them.
//! Applications call it through `Redis::builder`, cache URLs through the registry of `Cache::connect`.

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ::redis::cluster::ClusterClient;
use ::redis::cluster_read_routing::RandomReplicaStrategy;
use ::redis::io::tcp::TcpSettings;
use ::redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use ::redis::{Client, ClientTlsConfig, IntoConnectionInfo, RedisResult, TlsCertificates, TlsMode};

use super::Redis;
use super::address::{Address, Kind};
use super::line::Line;
use super::servers::Servers;
use super::target::{LONGEST_ANSWER, Target};
use crate::backend::url::StoreUrl;
use crate::clock::Clock;
use crate::error::Error;

/// An attempt goes on behind the back of callers, whose own deadlines are shorter.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long written bytes may stay unacknowledged until the system takes a connection for dead.
const UNACKNOWLEDGED: Duration = Duration::from_secs(10);
/// How often the client of a cluster sends a request again: redirected, or to a server that takes over.
const CLUSTER_RETRIES: u32 = 5;

/// Builds a [`Redis`]; see [`Redis::builder`].
pub struct RedisBuilder {
    scheme: String,
    address: Address,
    reads_from_replicas: bool,
    connect_timeout: Duration,
    clock: Clock,
    ca: Option<Vec<u8>>,
    certificate: Option<ClientTlsConfig>,
    sentinel_user: Option<String>,
    sentinel_password: Option<String>,
}

/// The options of a URL that the Redis backend takes.
pub(crate) const OPTIONS: &[&str] =
    &["db", "read_from_replicas", "tls_ca", "tls_cert", "tls_key", "sentinel_user", "sentinel_password"];

impl RedisBuilder {
    /// Reads a URL, and takes the options of [`OPTIONS`].
    pub(crate) fn read(url: &mut StoreUrl) -> Result<Self, Error> {
        let address = Address::read(url)?;
        let mut builder = RedisBuilder {
            reads_from_replicas: url.take_switch("read_from_replicas")?.unwrap_or(false),
            connect_timeout: CONNECT_TIMEOUT,
            clock: Clock::system(),
            ca: None,
            certificate: None,
            sentinel_user: url.take("sentinel_user")?,
            sentinel_password: url.take("sentinel_password")?,
            address,
            scheme: url.scheme().to_owned(),
        };
        if let Some(ca) = url.take("tls_ca")? {
            builder = builder.tls_ca(ca)?;
        }
        match (url.take("tls_cert")?, url.take("tls_key")?) {
            (Some(certificate), Some(key)) => builder.tls_certificate(certificate, key),
            (None, None) => Ok(builder),
            _ => Err(url.refuse("tls_cert and tls_key go together")),
        }
    }

    /// Whether reads go to the replicas in turn, and to the leader only where none answers. Off by default: what was just
    /// written may not have come to the replicas, so a reader may miss it, or find what it replaced or deleted (RED-10).
    ///
    /// Of a URL with several hosts, the first one leads; in a cluster and behind sentinels the servers are asked who does.
    pub fn read_from_replicas(mut self, yes: bool) -> Self {
        self.reads_from_replicas = yes;
        self
    }

    /// How long an attempt to open a connection may take, login included. 5 seconds by default. It goes on when the call
    /// that began it gives up, as one of a cache does much sooner ([`Patience`](crate::backend::Patience)), so that a later
    /// call finds the connection open.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// The authority that signed the server's certificate, as a PEM file, instead of those that the system trusts.
    ///
    /// # Errors
    /// [`Error::Config`] where the file cannot be read.
    pub fn tls_ca(mut self, file: impl AsRef<Path>) -> Result<Self, Error> {
        self.ca = Some(self.read_file(file.as_ref())?);
        Ok(self)
    }

    /// The certificate and key that the server is to know this client by, as PEM files.
    ///
    /// # Errors
    /// [`Error::Config`] where a file cannot be read.
    pub fn tls_certificate(mut self, certificate: impl AsRef<Path>, key: impl AsRef<Path>) -> Result<Self, Error> {
        let (client_cert, client_key) = (self.read_file(certificate.as_ref())?, self.read_file(key.as_ref())?);
        self.certificate = Some(ClientTlsConfig { client_cert, client_key });
        Ok(self)
    }

    /// The user and password that the sentinels ask for, where they do; those in the URL are for the servers.
    pub fn sentinel_login(mut self, user: Option<String>, password: impl Into<String>) -> Self {
        self.sentinel_user = user;
        self.sentinel_password = Some(password.into());
        self
    }

    /// The clock that the layers above tell the time by. Entries expire by the server's own clock all the same.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// The backend. Nothing is connected yet.
    ///
    /// # Errors
    /// [`Error::Config`] for settings that do not go together, and for certificates that cannot be used.
    pub fn build(self) -> Result<Redis, Error> {
        if self.address.is_encrypted {
            provide_cryptography();
        } else if self.ca.is_some() || self.certificate.is_some() {
            return Err(self.refuse("certificates mean nothing without TLS: write rediss"));
        }
        let is_cluster = self.address.kind == Kind::Cluster;
        let servers = match &self.address.kind {
            Kind::Servers => self.servers(),
            Kind::Cluster => self.cluster(),
            Kind::Sentinels { service } => self.sentinels(service),
        };
        let servers = servers.map_err(|error| self.refuse(format_args!("the Redis client says: {error}")))?;
        Ok(Redis { servers: Arc::new(servers), is_cluster, clock: self.clock })
    }

    fn servers(&self) -> RedisResult<Servers> {
        let mut lines = Vec::new();
        for host in &self.address.hosts {
            let info = host.clone().into_connection_info()?;
            let info = info.set_redis_settings(self.address.login.clone()).set_tcp_settings(tcp_settings());
            let client = match self.certificates() {
                Some(certificates) => Client::build_with_tls(info, certificates)?,
                None => Client::open(info)?,
            };
            lines.push(self.line(Target::Server(Box::new(client))));
        }
        let leader = lines.remove(0);
        Ok(Servers::new(leader, if self.reads_from_replicas { lines } else { Vec::new() }))
    }

    fn cluster(&self) -> RedisResult<Servers> {
        let login = &self.address.login;
        let mut builder = ClusterClient::builder(self.address.hosts.iter().cloned())
            .connection_timeout(self.connect_timeout)
            .response_timeout(LONGEST_ANSWER)
            .overall_response_timeout(Some(LONGEST_ANSWER))
            .retries(CLUSTER_RETRIES)
            .tcp_settings(tcp_settings());
        if let Some(user) = login.username() {
            builder = builder.username(user);
        }
        if let Some(password) = login.password() {
            builder = builder.password(password);
        }
        if let Some(certificates) = self.certificates() {
            builder = builder.certs(certificates);
        }
        if self.reads_from_replicas {
            builder = builder.read_routing_strategy(RandomReplicaStrategy);
        }
        Ok(Servers::new(self.line(Target::Cluster(Box::new(builder.build()?))), Vec::new()))
    }

    fn sentinels(&self, service: &str) -> RedisResult<Servers> {
        let line = |who| -> RedisResult<Line> {
            let login = &self.address.login;
            let mut builder = SentinelClientBuilder::new(self.address.hosts.iter().cloned(), service, who)?
                .set_client_to_redis_db(login.db())
                .set_client_to_redis_tcp_settings(tcp_settings())
                .set_client_to_sentinel_tcp_settings(tcp_settings());
            if self.address.is_encrypted {
                builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
                builder = builder.set_client_to_sentinel_tls_mode(TlsMode::Secure);
            }
            if let Some(certificates) = self.certificates() {
                builder = builder.set_client_to_sentinel_certificates(certificates.clone());
                builder = builder.set_client_to_redis_certificates(certificates);
            }
            if let Some(user) = login.username() {
                builder = builder.set_client_to_redis_username(user);
            }
            if let Some(password) = login.password() {
                builder = builder.set_client_to_redis_password(password);
            }
            if let Some(user) = &self.sentinel_user {
                builder = builder.set_client_to_sentinel_username(user);
            }
            if let Some(password) = &self.sentinel_password {
                builder = builder.set_client_to_sentinel_password(password);
            }
            Ok(self.line(Target::Sentinel(Box::new(builder.build()?.into()))))
        };
        let replicas = if self.reads_from_replicas { vec![line(SentinelServerType::Replica)?] } else { Vec::new() };
        Ok(Servers::new(line(SentinelServerType::Master)?, replicas))
    }

    fn line(&self, target: Target) -> Line {
        Line::new(target, self.connect_timeout)
    }

    fn certificates(&self) -> Option<TlsCertificates> {
        let given = self.ca.is_some() || self.certificate.is_some();
        given.then(|| TlsCertificates { client_tls: self.certificate.clone(), root_cert: self.ca.clone() })
    }

    fn refuse(&self, why: impl Display) -> Error {
        Error::Config(format!("a {} cache cannot be opened: {why}", self.scheme))
    }

    fn read_file(&self, path: &Path) -> Result<Vec<u8>, Error> {
        std::fs::read(path).map_err(|error| self.refuse(format_args!("{} cannot be read: {error}", path.display())))
    }
}

/// Small requests go at once, and a server that vanished is noticed before the system's own quarter of an hour is over.
fn tcp_settings() -> TcpSettings {
    let settings = TcpSettings::default().set_nodelay(true);
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    let settings = settings.set_user_timeout(UNACKNOWLEDGED);
    settings
}

/// The client library encrypts by whatever the process has chosen. Where nothing is chosen, it is ring.
fn provide_cryptography() {
    use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
    if CryptoProvider::get_default().is_none() {
        // An error says that another thread was faster, which is as well.
        let _ = ring::default_provider().install_default();
    }
}

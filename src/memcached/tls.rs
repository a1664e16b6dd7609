//! TLS to servers that were started with `-Z` or stand behind a terminator: whom to trust, and who we are.
//! Programs set up a [`Tls`]; the transport shakes hands with the connector made of it.

use std::fmt;
use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::client::{Resumption, WebPkiServerVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{self, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::Error;

/// How connections to memcached are encrypted: TLS 1.2 or 1.3, by rustls.
///
/// As it comes, the server's certificate must be valid for the host name (or the IP address) of the server, and signed by
/// an authority that the system trusts.
///
/// ```
/// use larder::memcached::{Client, Tls};
/// # let certificate = rcgen::generate_simple_self_signed(["cache.internal".to_owned()]).unwrap();
/// # let ca = certificate.cert.pem();
///
/// // let ca = std::fs::read("/etc/ssl/cache-ca.pem")?;
/// let client = Client::builder().server("cache.internal:11211").tls(Tls::new().certificate_authority(ca));
/// ```
#[derive(Clone, Default)]
pub struct Tls {
    authorities: Vec<u8>,
    leaves_out_the_system: bool,
    identity: Option<Identity>,
    server_name: Option<String>,
    takes_any_certificate: bool,
}

#[derive(Clone)]
struct Identity {
    certificates: Vec<u8>,
    key: Vec<u8>,
}

impl Tls {
    /// TLS that trusts the authorities of the system.
    #[must_use]
    pub fn new() -> Tls {
        Tls::default()
    }

    /// Trusts these authorities (certificates, PEM) as well; may be called several times.
    #[must_use]
    pub fn certificate_authority(mut self, pem: impl AsRef<[u8]>) -> Tls {
        self.authorities.extend_from_slice(pem.as_ref());
        self.authorities.push(b'\n');
        self
    }

    /// Trusts only the authorities that were given, not those of the system.
    #[must_use]
    pub fn without_system_authorities(mut self) -> Tls {
        self.leaves_out_the_system = true;
        self
    }

    /// Shows the server a certificate of ours (a chain and its private key, PEM), for `-o ssl_verify_mode`.
    #[must_use]
    pub fn client_certificate(mut self, chain_pem: impl AsRef<[u8]>, key_pem: impl AsRef<[u8]>) -> Tls {
        self.identity = Some(Identity { certificates: chain_pem.as_ref().to_vec(), key: key_pem.as_ref().to_vec() });
        self
    }

    /// Expects the certificate to be for this name, where servers are reached under another one.
    #[must_use]
    pub fn server_name(mut self, name: impl Into<String>) -> Tls {
        self.server_name = Some(name.into());
        self
    }

    /// Takes whatever certificate the server shows. Whoever stands between reads and changes everything: for experiments.
    #[must_use]
    pub fn accept_any_certificate(mut self) -> Tls {
        self.takes_any_certificate = true;
        self
    }

    /// Reads the certificates; may read those of the system from disk.
    ///
    /// # Errors
    /// [`Error::Config`] says which of them cannot be used.
    pub(crate) fn connector(&self) -> Result<Connector, Error> {
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|problem| unusable("the protocol versions", &problem))?;
        let config = if self.takes_any_certificate {
            config.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        } else {
            let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(self.trusted()?), provider);
            config.with_webpki_verifier(verifier.build().map_err(|problem| unusable("the authorities", &problem))?)
        };
        let mut config = match &self.identity {
            None => config.with_no_client_auth(),
            Some(identity) => {
                let chain = certificates("the client certificate", &identity.certificates)?;
                let key = PrivateKeyDer::from_pem_slice(&identity.key)
                    .map_err(|problem| unusable("the key of the client certificate", &problem))?;
                config
                    .with_client_auth_cert(chain, key)
                    .map_err(|problem| unusable("the client certificate", &problem))?
            }
        };
        if self.identity.is_some() {
            // memcached that asks for certificates fails on sessions that are resumed (OpenSSL wants a session context).
            config.resumption = Resumption::disabled();
        }
        let server_name = self.server_name.as_deref().map(server_name).transpose()?;
        Ok(Connector { connector: TlsConnector::from(Arc::new(config)), server_name })
    }

    fn trusted(&self) -> Result<RootCertStore, Error> {
        let mut trusted = RootCertStore::empty();
        if !self.leaves_out_the_system {
            let found = rustls_native_certs::load_native_certs();
            for problem in &found.errors {
                tracing::warn!("a certificate authority of the system cannot be read: {problem}");
            }
            trusted.add_parsable_certificates(found.certs);
        }
        if !self.authorities.is_empty() {
            for certificate in certificates("the certificate authority", &self.authorities)? {
                trusted.add(certificate).map_err(|problem| unusable("the certificate authority", &problem))?;
            }
        }
        if trusted.is_empty() {
            return Err(Error::Config(
                "TLS to memcached trusts nobody: the system has no certificate authorities, name one (ca)".to_owned(),
            ));
        }
        Ok(trusted)
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("trusts_the_system", &!self.leaves_out_the_system)
            .field("shows_a_certificate", &self.identity.is_some())
            .field("server_name", &self.server_name)
            .field("takes_any_certificate", &self.takes_any_certificate)
            .finish_non_exhaustive()
    }
}

fn certificates(what: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|problem| unusable(what, &problem))?;
    if found.is_empty() {
        return Err(unusable(what, &"no certificate (PEM) stands in it"));
    }
    Ok(found)
}

fn server_name(name: &str) -> Result<ServerName<'static>, Error> {
    ServerName::try_from(name.to_owned()).map_err(|_| unusable(&format!("the server name {name:?}"), &"it is no name"))
}

fn unusable(what: &str, problem: &dyn fmt::Display) -> Error {
    Error::Config(format!("{what} for TLS to memcached cannot be used: {problem}"))
}

/// What shakes hands.
#[derive(Clone)]
pub(crate) struct Connector {
    connector: TlsConnector,
    server_name: Option<ServerName<'static>>,
}

impl Connector {
    pub(super) async fn shake_hands(&self, host: &str, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => server_name(host).map_err(|problem| io::Error::new(io::ErrorKind::InvalidInput, problem))?,
        };
        self.connector.connect(name, stream).await
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

/// Believes every certificate, but still checks that the server holds its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _stapled: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

//! A certificate authority of the test's own, and a certificate of a server signed by it.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

/// Files in PEM form.
pub struct Certificates {
    /// What a client must trust.
    pub authority: PathBuf,
    /// The certificate of the server, for `localhost` and its address.
    pub server_chain: PathBuf,
    pub server_key: PathBuf,
}

impl Certificates {
    /// Makes them in this folder.
    pub fn for_host(host: IpAddr, folder: &Path) -> Self {
        let files = Certificates {
            authority: folder.join("authority.pem"),
            server_chain: folder.join("server.pem"),
            server_key: folder.join("server-key.pem"),
        };
        let authority_key = KeyPair::generate().expect("ring makes keys");
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        authority.distinguished_name.push(DnType::CommonName, "authority of a test");
        let authority_certificate = authority.self_signed(&authority_key).expect("ring signs");
        let issuer = Issuer::new(authority, authority_key);

        let server_key = KeyPair::generate().expect("ring makes keys");
        let names = ["localhost".to_owned(), host.to_string(), "127.0.0.1".to_owned()];
        let server = CertificateParams::new(names).expect("the names are plain");
        let server_certificate = server.signed_by(&server_key, &issuer).expect("ring signs");

        let write = |path: &Path, text: String| std::fs::write(path, text).expect("the folder is ours");
        write(&files.authority, authority_certificate.pem());
        write(&files.server_chain, server_certificate.pem());
        write(&files.server_key, server_key.serialize_pem());
        files
    }
}

//! TLS from files, as etcd's flags name them: certificates, an authority, revocations, whom to let in.
//!
//! Whatever changes on disk holds from the next connection on. Source: etcd `client/pkg/transport/listener.go`,
//! `listener_tls.go`.

mod leaf;
mod material;
mod self_signed;
pub(crate) mod signatures;
mod suites;
mod verify;

pub use leaf::common_name;
pub use self_signed::self_signed;
pub use suites::{Version, suite};

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::server::NoServerSessionStorage;
use rustls::{ClientConfig, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use material::Held;
use verify::{ClientCheck, Presented, ServerCheck};

/// What etcd's flags say about one kind of connection, of clients or of peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// `--cert-file`; empty for one that only dials and shows no certificate.
    pub cert: PathBuf,
    /// `--key-file`.
    pub key: PathBuf,
    /// `--client-cert-file` and `--client-key-file`: presented when dialling, instead of the former.
    pub client: Option<(PathBuf, PathBuf)>,
    /// `--trusted-ca-file`; without it what the system trusts is trusted. With it every client shows a certificate.
    pub trusted_ca: Option<PathBuf>,
    /// `--client-cert-auth`: every client shows a certificate.
    pub client_cert_auth: bool,
    /// `--crl-file`, PEM or DER: certificates whose numbers are listed are refused.
    pub crl: Option<PathBuf>,
    /// `--allowed-cn`: common names of those who are let in; none: no such limit.
    pub allowed_cns: Vec<String>,
    /// `--allowed-hostname`: their certificates are for one of these; none: no such limit.
    pub allowed_hostnames: Vec<String>,
    /// `--auto-tls`: nobody who is dialled is verified.
    pub unverified: bool,
    /// `--tls-min-version`.
    pub min_version: Version,
    /// `--tls-max-version`.
    pub max_version: Version,
    /// `--cipher-suites`, by the names that Go gives them, the most wanted first; none: all that are sound.
    pub suites: Vec<String>,
}

impl Default for TlsFiles {
    fn default() -> Self {
        TlsFiles {
            cert: PathBuf::new(),
            key: PathBuf::new(),
            client: None,
            trusted_ca: None,
            client_cert_auth: false,
            crl: None,
            allowed_cns: Vec::new(),
            allowed_hostnames: Vec::new(),
            unverified: false,
            min_version: Version::Tls12,
            max_version: Version::Tls13,
            suites: Vec::new(),
        }
    }
}

/// For a listener, read again when files have changed.
///
/// # Errors
/// When the files cannot be read now.
pub fn acceptor(files: &TlsFiles) -> io::Result<TlsAcceptor> {
    let held = Arc::new(Held::read(files)?);
    if held.now().listening.is_none() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a listener needs a certificate"));
    }
    let builder = ServerConfig::builder_with_provider(suites::provider(files));
    let builder = builder.with_protocol_versions(&suites::versions(files)).map_err(io::Error::other)?;
    let demanding = files.trusted_ca.is_some() || files.client_cert_auth;
    let builder = if demanding {
        builder.with_client_cert_verifier(Arc::new(ClientCheck::new(held.clone())))
    } else {
        builder.with_no_client_auth()
    };
    let mut config = builder.with_cert_resolver(Arc::new(Presented::listening(held)));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // A session that is taken up again is not asked for its certificate, which may be revoked by now.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// For a connection to another member, read again when files have changed.
///
/// # Errors
/// When the files cannot be read now.
pub fn connector(files: &TlsFiles) -> io::Result<TlsConnector> {
    let held = Arc::new(Held::read(files)?);
    let builder = ClientConfig::builder_with_provider(suites::provider(files));
    let builder = builder.with_protocol_versions(&suites::versions(files)).map_err(io::Error::other)?;
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(ServerCheck::new(held.clone())));
    let mut config = builder.with_client_cert_resolver(Arc::new(Presented::dialling(held)));
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = Resumption::disabled();
    Ok(TlsConnector::from(Arc::new(config)))
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

#[cfg(test)]
mod tests;

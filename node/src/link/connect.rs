//! A connection to a server, proved by certificates on both sides.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

use crate::config::Identity;

/// A connection and its handshake take so long at most.
const CONNECT: Duration = Duration::from_secs(3);

/// What the agent presents and whom it trusts.
///
/// # Errors
///
/// A certificate or the key cannot be read.
pub(crate) fn tls(identity: &Identity) -> io::Result<TlsConnector> {
    let chain = |pem: &str| {
        CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>().map_err(io::Error::other)
    };
    let mut roots = RootCertStore::empty();
    for certificate in chain(&identity.ca_pem)? {
        roots.add(certificate).map_err(io::Error::other)?;
    }
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes())
        .map_err(|_| io::Error::other("the node's key is not a PEM private key"))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(io::Error::other)?.with_root_certificates(roots);
    let mut config = builder.with_client_auth_cert(chain(&identity.cert_pem)?, key).map_err(io::Error::other)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Connects to `host:port`.
///
/// # Errors
///
/// It does not answer in time, or is not of this cluster.
pub(crate) async fn connect(tls: &TlsConnector, address: &str) -> Result<Channel, String> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|e| e.to_string())?;
    let (tls, address) = (tls.clone(), address.to_owned());
    let connector = tower::service_fn(move |_: http::Uri| {
        let (tls, address) = (tls.clone(), address.clone());
        async move {
            let stream = TcpStream::connect(&address).await?;
            stream.set_nodelay(true)?;
            let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host).trim_matches(['[', ']']);
            let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
            Ok::<_, io::Error>(TokioIo::new(tls.connect(name, stream).await?))
        }
    });
    let connected = tokio::time::timeout(CONNECT, endpoint.connect_with_connector(connector)).await;
    connected.map_err(|_| "no answer in time".to_owned())?.map_err(|e| {
        let cause = std::error::Error::source(&e).map(|s| format!(": {s}")).unwrap_or_default();
        format!("{e}{cause}")
    })
}

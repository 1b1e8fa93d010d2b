//! Mutual TLS between members: a certificate of the group's authority that names `PEER_NAME`, on both sides.

use std::io;
use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{ClientConfig, DistinguishedName, Error, ServerConfig};

use crate::config::{PEER_NAME, PeerTls};
use crate::pem;
use crate::tls::signatures::signatures;

/// Lets in who has a member's certificate: the authority may sign those of users and nodes as well.
#[derive(Debug)]
struct MembersOnly {
    chain: Arc<dyn ClientCertVerifier>,
    name: ServerName<'static>,
}

impl ClientCertVerifier for MembersOnly {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.chain.verify_client_cert(end_entity, intermediates, now)?;
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, &self.name)?;
        Ok(verified)
    }

    signatures!();
}

/// What a dialling member presents and demands.
///
/// # Errors
/// When the certificates cannot be read.
pub(crate) fn client_tls(tls: &PeerTls) -> io::Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13]);
    let builder = builder.map_err(io::Error::other)?.with_root_certificates(pem::roots(&tls.ca_pem)?);
    let mut config = builder
        .with_client_auth_cert(pem::chain(&tls.cert_pem)?, pem::key(&tls.key_pem, "the peer")?)
        .map_err(io::Error::other)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// What the listener for peers presents and demands.
///
/// # Errors
/// When the certificates cannot be read.
pub(crate) fn server_tls(tls: &PeerTls) -> io::Result<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(pem::roots(&tls.ca_pem)?, provider.clone());
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13]);
    let builder = builder.map_err(io::Error::other)?;
    let name = ServerName::try_from(PEER_NAME).map_err(io::Error::other)?;
    let members = MembersOnly { chain: verifier.build().map_err(io::Error::other)?, name };
    let builder = builder.with_client_cert_verifier(Arc::new(members));
    let mut config = builder
        .with_single_cert(pem::chain(&tls.cert_pem)?, pem::key(&tls.key_pem, "the peer")?)
        .map_err(io::Error::other)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

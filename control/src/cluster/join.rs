//! Getting in: what a machine asks with its token, and what it is given, over a connection that the token pins.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;

use crate::cluster::token::{Token, sha256};
use crate::pki::files::Shared;
use crate::pki::{Pair, Subject, issue};
use crate::run::JOIN;

/// An answer at most, bytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// What a machine asks.
#[derive(Serialize, Deserialize)]
pub(crate) struct Asked {
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) name: String,
}

/// What a machine is given.
#[derive(Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "lowercase")]
pub enum Admitted {
    /// A server-to-be gets the cluster's keys.
    Server {
        /// The authority's certificate, PEM.
        authority_cert: String,
        /// Its key, PEM.
        authority_key: String,
        /// What seals Secrets, base64.
        at_rest: String,
        /// What signs service-account tokens, PEM.
        signing: String,
        /// `host:port` of the members' peer ports.
        peers: Vec<String>,
    },
    /// A node-to-be gets a certificate of its own.
    Node(NodeIdentity),
}

/// Who a machine is that is only a node.
#[derive(Clone, Serialize, Deserialize)]
pub struct NodeIdentity {
    /// The authority's certificate, PEM.
    pub authority_cert: String,
    /// The node's certificate, PEM.
    pub cert: String,
    /// Its key, PEM.
    pub key: String,
    /// `host:port` of servers.
    pub servers: Vec<String>,
}

impl std::fmt::Debug for NodeIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NodeIdentity")
    }
}

impl std::fmt::Debug for Admitted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Admitted")
    }
}

impl Admitted {
    pub(crate) fn server(shared: &Shared, peers: Vec<String>) -> Self {
        Admitted::Server {
            authority_cert: shared.authority.cert_pem.clone(),
            authority_key: shared.authority.key_pem.clone(),
            at_rest: STANDARD.encode(shared.at_rest),
            signing: shared.signing_pem.clone(),
            peers,
        }
    }

    pub(crate) fn node(shared: &Shared, name: &str, servers: Vec<String>) -> Result<Self, crate::pki::Error> {
        let pair = issue(&shared.authority, &Subject::node(name))?;
        let authority_cert = shared.authority.cert_pem.clone();
        Ok(Admitted::Node(NodeIdentity { authority_cert, cert: pair.cert_pem, key: pair.key_pem, servers }))
    }
}

/// The cluster's keys, as a server-to-be was given them.
pub fn shared(authority_cert: &str, authority_key: &str, at_rest: &str, signing: &str) -> Option<Shared> {
    let at_rest = STANDARD.decode(at_rest).ok()?.try_into().ok()?;
    let authority = Pair { cert_pem: authority_cert.to_owned(), key_pem: authority_key.to_owned() };
    Some(Shared { authority, at_rest, signing_pem: signing.to_owned() })
}

/// Asks a server of the token to be let in under a name.
///
/// # Errors
/// What went wrong with each address, or why the cluster refuses.
pub async fn ask(token: &Token, name: &str) -> Result<Admitted, String> {
    let asked = Asked { id: token.id.clone(), secret: token.secret.clone(), name: name.to_owned() };
    let body = serde_json::to_vec(&asked).map_err(|error| error.to_string())?;
    let mut failures = Vec::new();
    for address in &token.addresses {
        match ask_one(token, address, body.clone()).await {
            Ok((200, answer)) => return serde_json::from_slice(&answer).map_err(|error| format!("{address}: {error}")),
            Ok((_, answer)) => {
                let status: serde_json::Value = serde_json::from_slice(&answer).unwrap_or_default();
                return Err(format!("{address}: {}", status["message"].as_str().unwrap_or("refused")));
            }
            Err(error) => failures.push(format!("{address}: {error}")),
        }
    }
    Err(format!("no server of the token can be reached: {}", failures.join("; ")))
}

async fn ask_one(
    token: &Token,
    address: &str,
    body: Vec<u8>,
) -> Result<(u16, Vec<u8>), Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(address).await?;
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']);
    let tls = tokio_rustls::TlsConnector::from(Arc::new(pinned(token)?));
    let stream = tls.connect(ServerName::try_from(host.to_owned())?, stream).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = http::Request::post(JOIN).header("host", address).body(Full::new(bytes::Bytes::from(body)))?;
    let answer = async {
        let response = sender.send_request(request).await?;
        let code = response.status().as_u16();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await?.to_bytes();
        Ok((code, body.to_vec()))
    };
    tokio::select! {
        answer = answer => answer,
        ended = connection => Err(ended.err().map_or_else(|| "the connection ended".into(), Into::into)),
    }
}

fn pinned(token: &Token) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = Arc::new(Pinned { authority: token.authority.clone(), provider: provider.clone() });
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// Trusts the authority that the token names, which the server shows behind its own certificate.
#[derive(Debug)]
struct Pinned {
    authority: String,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let named = |certificate: &&CertificateDer<'_>| sha256(certificate) == self.authority;
        let authority = intermediates
            .iter()
            .find(named)
            .ok_or_else(|| rustls::Error::General("the server belongs to another cluster than the token".to_owned()))?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone()).build();
        let verifier = verifier.map_err(|error| rustls::Error::General(error.to_string()))?;
        verifier.verify_server_cert(end_entity, intermediates, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

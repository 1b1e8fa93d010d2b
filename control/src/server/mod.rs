//! The one TLS port of a server: who calls is told by its certificate, what it may by the API.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use store::listener::accept;
use store::pem;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::api::answer;
use crate::identity::User;
use crate::identity::tokens::own_audiences;
use crate::pki::Pair;
use crate::run::Server;
use crate::status::Status;

/// Connections at most; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 16_384;
/// A TLS handshake takes so long at most.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Requests that run when the server stops may take so long to end.
const DRAIN: Duration = Duration::from_secs(5);

/// Whether clients may call without a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clients {
    /// Those that have none are nobody in particular, or show a token.
    Any,
    /// Only those with a certificate of the authority.
    Certified,
}

/// What a listener presents and asks for.
///
/// # Errors
/// When the certificates cannot be read.
pub fn tls(authority_pem: &str, pair: &Pair, clients: Clients) -> io::Result<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(pem::roots(authority_pem)?, provider.clone());
    let verifier = if clients == Clients::Any { verifier.allow_unauthenticated() } else { verifier };
    let verifier = verifier.build().map_err(io::Error::other)?;
    let (chain, key) = (pem::chain(&pair.cert_pem)?, pem::key(&pair.key_pem, "the server's")?);
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(io::Error::other)?.with_client_cert_verifier(verifier);
    let mut config = builder.with_single_cert(chain, key).map_err(io::Error::other)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// How this program calls servers of the cluster: it trusts the authority alone and shows a certificate.
///
/// # Errors
/// When the certificates cannot be read.
pub fn client_tls(authority_pem: &str, pair: &Pair) -> io::Result<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(io::Error::other)?.with_root_certificates(pem::roots(authority_pem)?);
    let (chain, key) = (pem::chain(&pair.cert_pem)?, pem::key(&pair.key_pem, "the client's")?);
    builder.with_client_auth_cert(chain, key).map_err(io::Error::other)
}

/// Serves until told to end; then what runs may end.
pub async fn serve(listener: TcpListener, tls: ServerConfig, server: Server, cancel: CancellationToken) {
    let (tls, tasks) = (TlsAcceptor::from(Arc::new(tls)), TaskTracker::new());
    let each = |stream, permit| {
        let (tls, server, cancel) = (tls.clone(), server.clone(), cancel.clone());
        tasks.spawn(async move {
            let _permit: OwnedSemaphorePermit = permit;
            if let Err(error) = connection(stream, tls, server, cancel).await {
                tracing::debug!(%error, "a connection ended");
            }
        });
    };
    accept(&listener, CONNECTIONS_MAX, &cancel, each).await;
    drop(listener);
    tasks.close();
    let _ = tokio::time::timeout(DRAIN, async { tokio::join!(server.drain(), tasks.wait()) }).await;
}

async fn connection(stream: TcpStream, tls: TlsAcceptor, server: Server, cancel: CancellationToken) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let stream = tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await??;
    let user = stream.get_ref().1.peer_certificates().and_then(|chain| certified(chain.first()?));
    let service = service_fn(move |request: Request<Incoming>| {
        let (server, user) = (server.clone(), user.clone());
        async move {
            Ok::<_, Infallible>(match authenticate(&server, &request, user).await {
                Ok(user) => server.answer(request, &user).await,
                Err(status) => answer::error(&status),
            })
        }
    });
    let http = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    let serving = http.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(serving);
    tokio::select! {
        served = &mut serving => return served.map_err(io::Error::other),
        () = cancel.cancelled() => serving.as_mut().graceful_shutdown(),
    }
    serving.await.map_err(io::Error::other)
}

/// The user that a verified certificate names.
fn certified(certificate: &CertificateDer<'_>) -> Option<User> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let groups: Vec<String> =
        subject.iter_organization().filter_map(|group| group.as_str().ok().map(str::to_owned)).collect();
    Some(User::from_certificate(&name, &groups))
}

/// A certificate names its user, then a token; a token that nobody knows is refused; without either, nobody in particular
/// calls.
async fn authenticate<B>(server: &Server, request: &Request<B>, certified: Option<User>) -> Result<User, Status> {
    if let Some(user) = certified {
        return Ok(user);
    }
    let header = request.headers().get(http::header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some(token) = header.and_then(bearer) else { return Ok(User::anonymous()) };
    match server.tokens().take(token, &own_audiences()).await {
        Ok((user, _)) => Ok(user),
        Err(why) => {
            tracing::debug!(why, "a token is refused");
            Err(Status::new(401, "Unauthorized", "Unauthorized"))
        }
    }
}

/// The token of an `Authorization` header (RFC 6750, 2.1).
fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bearer_tokens_are_tokens() {
        for (header, token) in [
            ("Bearer abc", Some("abc")),
            ("bearer  abc ", Some("abc")),
            ("Basic abc", None),
            ("Bearer", None),
            ("Bearer ", None),
            ("", None),
        ] {
            assert_eq!(bearer(header), token, "{header}");
        }
    }
}

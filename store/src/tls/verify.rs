//! rustls' questions, answered with what the files say now.

use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, DistinguishedName, Error, SignatureScheme};

use crate::tls::leaf::{common_name, is_for, serial};
use crate::tls::material::{Held, Material};
use crate::tls::signatures::signatures;

/// The certificate shown to the other side.
#[derive(Debug)]
pub(super) struct Presented {
    held: Arc<Held>,
    listening: bool,
}

impl Presented {
    pub(super) fn listening(held: Arc<Held>) -> Self {
        Presented { held, listening: true }
    }

    pub(super) fn dialling(held: Arc<Held>) -> Self {
        Presented { held, listening: false }
    }

    fn now(&self) -> Option<Arc<CertifiedKey>> {
        let material = self.held.now();
        if self.listening { material.listening.clone() } else { material.dialling.clone() }
    }
}

impl ResolvesServerCert for Presented {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.now()
    }
}

impl ResolvesClientCert for Presented {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.now()
    }

    fn has_certs(&self) -> bool {
        self.now().is_some()
    }
}

/// Beyond the chain: revocations, and who is let in at all.
fn allowed(material: &Material, leaf: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Result<(), Error> {
    let listed = |one: &CertificateDer<'_>| serial(one).is_none_or(|number| material.revoked.contains(&number));
    if !material.revoked.is_empty() && (listed(leaf) || others.iter().any(listed)) {
        return Err(Error::InvalidCertificate(CertificateError::Revoked));
    }
    let (names, hosts) = (&material.files.allowed_cns, &material.files.allowed_hostnames);
    let named = names.is_empty() || common_name(leaf).is_some_and(|name| names.contains(&name));
    let placed = hosts.is_empty() || hosts.iter().any(|host| is_for(leaf, host));
    if named && placed {
        return Ok(());
    }
    Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
}

/// Whom a listener lets in.
#[derive(Debug)]
pub(super) struct ClientCheck {
    held: Arc<Held>,
}

impl ClientCheck {
    pub(super) fn new(held: Arc<Held>) -> Self {
        ClientCheck { held }
    }
}

impl ClientCertVerifier for ClientCheck {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // The authorities may change: no hints, so that clients show what they have.
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let material = self.held.now();
        let unknown = || Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let verified = material.clients.as_ref().ok_or_else(unknown)?.verify_client_cert(leaf, others, now)?;
        allowed(&material, leaf, others)?;
        Ok(verified)
    }

    signatures!();
}

/// Who is taken for the member that was dialled.
#[derive(Debug)]
pub(super) struct ServerCheck {
    held: Arc<Held>,
}

impl ServerCheck {
    pub(super) fn new(held: Arc<Held>) -> Self {
        ServerCheck { held }
    }
}

impl ServerCertVerifier for ServerCheck {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let material = self.held.now();
        if material.files.unverified {
            return Ok(ServerCertVerified::assertion());
        }
        let unknown = || Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let servers = material.servers.as_ref().ok_or_else(unknown)?;
        let verified = servers.verify_server_cert(leaf, others, name, ocsp, now)?;
        allowed(&material, leaf, others)?;
        Ok(verified)
    }

    signatures!();
}

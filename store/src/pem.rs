//! PEM texts as what rustls takes, for every listener and connection of a server.

use std::io;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Certificates, in their order.
///
/// # Errors
/// When the text holds something else.
pub fn chain(pem: &str) -> io::Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().map_err(io::Error::other)
}

/// A private key; `whose` names it in the error.
///
/// # Errors
/// When the text holds something else.
pub fn key(pem: &str, whose: &str) -> io::Result<PrivateKeyDer<'static>> {
    // The parser's error could quote the key: it is not passed on.
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes());
    key.map_err(|_| io::Error::other(format!("{whose} key is not a PEM private key")))
}

/// Certificates to trust.
///
/// # Errors
/// When the text holds something else.
pub fn roots(pem: &str) -> io::Result<Arc<RootCertStore>> {
    let mut roots = RootCertStore::empty();
    for certificate in chain(pem)? {
        roots.add(certificate).map_err(io::Error::other)?;
    }
    Ok(Arc::new(roots))
}

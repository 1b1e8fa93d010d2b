//! PURE: what is read from certificates and lists of revoked ones.

use std::collections::HashSet;
use std::io;

use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use x509_parser::prelude::{CertificateRevocationList, FromDer, Pem, X509Certificate};

/// Serial numbers, as they are written.
pub(super) type Revoked = HashSet<Vec<u8>>;

/// The numbers of revoked certificates in a list, PEM or DER.
///
/// # Errors
/// When the bytes are no such list.
pub(super) fn revoked(bytes: &[u8]) -> io::Result<Revoked> {
    let der = if bytes.starts_with(b"-----") {
        let block = Pem::iter_from_buffer(bytes).next().and_then(Result::ok);
        block.ok_or_else(|| io::Error::other("no PEM block"))?.contents
    } else {
        bytes.to_vec()
    };
    let (_, list) = CertificateRevocationList::from_der(&der)
        .map_err(|error| io::Error::other(format!("no list of revoked certificates: {error}")))?;
    Ok(list.iter_revoked_certificates().map(|entry| entry.raw_serial().to_vec()).collect())
}

/// The number of a certificate.
pub(super) fn serial(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    Some(X509Certificate::from_der(certificate).ok()?.1.raw_serial().to_vec())
}

/// The common name of a certificate's subject.
pub fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let name = parsed.subject().iter_common_name().next()?;
    Some(name.as_str().ok()?.to_owned())
}

/// Whether a certificate is for a host, a name or an address.
pub(super) fn is_for(certificate: &CertificateDer<'_>, host: &str) -> bool {
    let Ok(name) = ServerName::try_from(host) else { return false };
    ParsedCertificate::try_from(certificate).is_ok_and(|parsed| verify_server_name(&parsed, &name).is_ok())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    #[test]
    fn certificates_and_lists_of_any_bytes_are_read_or_refused() {
        let mut params = CertificateParams::new(vec!["a.example".to_owned(), "127.0.0.1".to_owned()]).expect("names");
        params.distinguished_name.push(DnType::CommonName, "alice");
        let made = params.self_signed(&KeyPair::generate().expect("a key")).expect("signed");
        let list = b"-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n".to_vec();
        crate::fuzz::bear("certificates", vec![made.der().to_vec(), made.pem().into_bytes(), list], |bytes| {
            let certificate = CertificateDer::from(bytes);
            let (name, number) = (common_name(&certificate), serial(&certificate));
            let (for_host, list) = (is_for(&certificate, "a.example"), revoked(bytes));
            format!("{} {} {for_host} {}", name.is_some(), number.is_some(), list.is_ok())
        });
    }
}

//! What both of rustls' traits for certificates ask about signatures of handshakes: that is rustls' own business.

/// The part of a `ClientCertVerifier` and of a `ServerCertVerifier` that is not about certificates.
macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &rustls::pki_types::CertificateDer<'_>,
            signature: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            rustls::crypto::verify_tls12_signature(message, cert, signature, &$crate::tls::signatures::algorithms())
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &rustls::pki_types::CertificateDer<'_>,
            signature: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            rustls::crypto::verify_tls13_signature(message, cert, signature, &$crate::tls::signatures::algorithms())
        }

        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            $crate::tls::signatures::algorithms().supported_schemes()
        }
    };
}
pub(crate) use signatures;

/// What signatures are checked with.
pub(crate) fn algorithms() -> rustls::crypto::WebPkiSupportedAlgorithms {
    super::provider().signature_verification_algorithms
}

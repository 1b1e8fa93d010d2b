//! Versions and ciphers of TLS, by the names that Go gives them.
//!
//! Source: Go `crypto/tls/cipher_suites.go`; etcd `client/pkg/tlsutil`.

use std::sync::Arc;

use rustls::SupportedProtocolVersion;
use rustls::crypto::CryptoProvider;

use crate::tls::TlsFiles;

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// Suites that Go knows and nobody should use any more: they may be named, and are not offered.
const WEAK: [&str; 16] = [
    "TLS_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
];

/// Whether a suite that Go knows is offered here when it is asked for; nothing for a name that Go does not know.
pub fn suite(name: &str) -> Option<bool> {
    let all = rustls::crypto::aws_lc_rs::ALL_CIPHER_SUITES;
    let offered = all.iter().any(|suite| go_name(&format!("{:?}", suite.suite())) == full(name));
    if offered { Some(true) } else { WEAK.contains(&name).then_some(false) }
}

/// rustls tells TLS 1.3's apart by their prefix.
fn go_name(name: &str) -> String {
    name.replace("TLS13_", "TLS_")
}

/// Two have a shorter name in etcd too.
fn full(name: &str) -> String {
    if name.ends_with("_CHACHA20_POLY1305") { format!("{name}_SHA256") } else { name.to_owned() }
}

/// The ciphers that a listener or a call may use. Those of TLS 1.3 are not chosen from, as in Go.
pub(super) fn provider(files: &TlsFiles) -> Arc<CryptoProvider> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    if !files.suites.is_empty() {
        let wanted: Vec<String> = files.suites.iter().map(|name| full(name)).collect();
        let place = |suite: &rustls::SupportedCipherSuite| {
            let name = format!("{:?}", suite.suite());
            if name.starts_with("TLS13_") {
                Some(0)
            } else {
                wanted.iter().position(|one| *one == name).map(|at| at + 1)
            }
        };
        provider.cipher_suites.retain(|suite| place(suite).is_some());
        provider.cipher_suites.sort_by_key(|suite| place(suite));
    }
    Arc::new(provider)
}

/// The versions that may be spoken.
pub(super) fn versions(files: &TlsFiles) -> Vec<&'static SupportedProtocolVersion> {
    let all = [(Version::Tls12, &rustls::version::TLS12), (Version::Tls13, &rustls::version::TLS13)];
    let spoken = all.into_iter().filter(|(version, _)| (files.min_version..=files.max_version).contains(version));
    spoken.map(|(_, version)| version).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_are_known_by_gos_names_and_keep_their_order() {
        assert_eq!(suite("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305"), Some(true));
        assert_eq!(suite("TLS_AES_128_GCM_SHA256"), Some(true));
        assert_eq!(suite("TLS_RSA_WITH_RC4_128_SHA"), Some(false));
        assert_eq!(suite("TLS_FROB"), None);
        let suites = ["TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"];
        let files = TlsFiles { suites: suites.map(str::to_owned).into(), ..TlsFiles::default() };
        let provider = provider(&files);
        let names: Vec<String> =
            provider.cipher_suites.iter().map(|suite| format!("{:?}", suite.suite())).skip(3).collect();
        assert_eq!(names, ["TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]);
    }

    #[test]
    fn versions_are_those_between() {
        let count =
            |min_version, max_version| versions(&TlsFiles { min_version, max_version, ..TlsFiles::default() }).len();
        assert_eq!(count(Version::Tls12, Version::Tls13), 2);
        assert_eq!(count(Version::Tls13, Version::Tls13), 1);
        assert_eq!(count(Version::Tls12, Version::Tls12), 1);
    }
}

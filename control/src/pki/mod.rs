//! The cluster's own certificate authority, and what it signs.

pub mod files;
pub mod signing;

use std::net::IpAddr;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use time::{Duration, OffsetDateTime};

/// Certificates hold from a little before they were made, for clocks that lag.
const EARLIER: Duration = Duration::hours(1);
/// How long the authority holds.
const AUTHORITY_DAYS: i64 = 3650;
/// How long everything else holds.
const LEAF_DAYS: i64 = 365;

/// Why a certificate cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The library says no.
    #[error("certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which one.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
}

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub struct Pair {
    /// The certificate.
    pub cert_pem: String,
    /// Its private key.
    pub key_pem: String,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pair")
    }
}

/// What a certificate is for.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    /// Common name: the user's name, where it is for a client.
    pub common_name: String,
    /// Organizations: the user's groups.
    pub organizations: Vec<String>,
    /// DNS names and addresses that a server answers by.
    pub names: Vec<String>,
    /// Presented by servers.
    pub server: bool,
    /// Presented by clients.
    pub client: bool,
}

impl Subject {
    /// A node's agent.
    pub fn node(name: &str) -> Subject {
        Subject {
            common_name: format!("system:node:{name}"),
            organizations: vec!["system:nodes".to_owned()],
            client: true,
            ..Subject::default()
        }
    }
}

/// Makes an authority.
///
/// # Errors
/// When no key can be generated.
pub fn authority(name: &str) -> Result<Pair, Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name = named(name, &[]);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    hold(&mut params, AUTHORITY_DAYS);
    Ok(Pair { cert_pem: params.self_signed(&key)?.pem(), key_pem: key.serialize_pem() })
}

/// Signs a new key for a subject.
///
/// # Errors
/// When the authority cannot be read or a name is none.
pub fn issue(authority: &Pair, subject: &Subject) -> Result<Pair, Error> {
    let issuer = Issuer::from_ca_cert_pem(&authority.cert_pem, KeyPair::from_pem(&authority.key_pem)?)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = named(&subject.common_name, &subject.organizations);
    for name in &subject.names {
        params.subject_alt_names.push(match name.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(name.as_str().try_into()?),
        });
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let uses =
        [(subject.server, ExtendedKeyUsagePurpose::ServerAuth), (subject.client, ExtendedKeyUsagePurpose::ClientAuth)];
    params.extended_key_usages = uses.into_iter().filter_map(|(held, usage)| held.then_some(usage)).collect();
    hold(&mut params, LEAF_DAYS);
    let key = KeyPair::generate()?;
    Ok(Pair { cert_pem: params.signed_by(&key, &issuer)?.pem(), key_pem: key.serialize_pem() })
}

fn hold(params: &mut CertificateParams, days: i64) {
    let now = OffsetDateTime::now_utc();
    (params.not_before, params.not_after) = (now - EARLIER, now + Duration::days(days));
}

fn named(common_name: &str, organizations: &[String]) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    for organization in organizations {
        name.push(DnType::OrganizationName, organization.as_str());
    }
    name.push(DnType::CommonName, common_name);
    name
}

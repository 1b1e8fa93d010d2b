//! PURE: TLS of clients and of members.
//!
//! Source: etcd `client/pkg/transport/listener.go`, `client/pkg/tlsutil`.

use std::path::PathBuf;

use store::config::Url;
use store::tls::{TlsFiles, Version, suite};

use super::parse::Given;

/// What one kind of connection presents and asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tls {
    /// There is none.
    None,
    /// From files.
    Files(Box<TlsFiles>),
    /// From files that are made when they are not there: whatever else these say holds.
    Made(Box<TlsFiles>),
}

/// The names of one kind's flags.
struct Names {
    cert: &'static str,
    key: &'static str,
    client_cert: Option<(&'static str, &'static str)>,
    trusted: &'static str,
    demanding: &'static str,
    revoked: &'static str,
    names: &'static str,
    hosts: &'static str,
    auto: &'static str,
}

const CLIENTS: Names = Names {
    cert: "cert-file",
    key: "key-file",
    client_cert: None,
    trusted: "trusted-ca-file",
    demanding: "client-cert-auth",
    revoked: "client-crl-file",
    names: "client-cert-allowed-cn",
    hosts: "client-cert-allowed-hostname",
    auto: "auto-tls",
};

const PEERS: Names = Names {
    cert: "peer-cert-file",
    key: "peer-key-file",
    client_cert: Some(("peer-client-cert-file", "peer-client-key-file")),
    trusted: "peer-trusted-ca-file",
    demanding: "peer-client-cert-auth",
    revoked: "peer-crl-file",
    names: "peer-cert-allowed-cn",
    hosts: "peer-cert-allowed-hostname",
    auto: "peer-auto-tls",
};

/// For clients.
///
/// # Errors
/// When flags contradict each other.
pub(super) fn clients(given: &Given) -> Result<Tls, String> {
    read(given, &CLIENTS)
}

/// For other members.
///
/// # Errors
/// As `clients`.
pub(super) fn peers(given: &Given) -> Result<Tls, String> {
    read(given, &PEERS)
}

/// # Errors
/// When URLs ask for TLS and there is none.
pub(super) fn enough(tls: &Tls, urls: &[Url], kind: &str) -> Result<(), String> {
    match urls.iter().find(|url| url.tls) {
        Some(url) if *tls == Tls::None => {
            let prefix = if kind == "peer" { "peer-" } else { "" };
            Err(format!(
                "TLS key/cert (--{prefix}cert-file, --{prefix}key-file) must be provided for {kind} url {url} with HTTPS scheme"
            ))
        }
        _ => Ok(()),
    }
}

fn read(given: &Given, names: &Names) -> Result<Tls, String> {
    let path = |name: &str| Some(given.text(name)).filter(|path| !path.is_empty()).map(PathBuf::from);
    let (min, max) = versions(given)?;
    let common = TlsFiles { min_version: min, max_version: max, suites: suites(given)?, ..TlsFiles::default() };
    let both = |cert: &str, key: &str| match (path(cert), path(key)) {
        (Some(cert), Some(key)) => Ok(Some((cert, key))),
        (None, None) => Ok(None),
        _ => Err(format!("--{cert} and --{key} must both be present, or neither")),
    };
    let Some((cert, key)) = both(names.cert, names.key)? else {
        return Ok(if given.on(names.auto) { Tls::Made(Box::new(common)) } else { Tls::None });
    };
    let (allowed_cns, allowed_hostnames) = (given.words(names.names), given.words(names.hosts));
    if !allowed_cns.is_empty() && !allowed_hostnames.is_empty() {
        return Err(format!("--{} and --{} are mutually exclusive", names.names, names.hosts));
    }
    Ok(Tls::Files(Box::new(TlsFiles {
        cert,
        key,
        client: names.client_cert.map_or(Ok(None), |(cert, key)| both(cert, key))?,
        trusted_ca: path(names.trusted),
        client_cert_auth: given.on(names.demanding),
        crl: path(names.revoked),
        allowed_cns,
        allowed_hostnames,
        ..common
    })))
}

fn versions(given: &Given) -> Result<(Version, Version), String> {
    let version = |name: &str, otherwise| match given.text(name) {
        "TLS1.2" => Version::Tls12,
        "TLS1.3" => Version::Tls13,
        _ => otherwise,
    };
    let (min, max) = (version("tls-min-version", Version::Tls12), version("tls-max-version", Version::Tls13));
    if min > max {
        return Err("min version (TLS1.3) is greater than max version (TLS1.2)".to_owned());
    }
    Ok((min, max))
}

fn suites(given: &Given) -> Result<Vec<String>, String> {
    let suites = given.words("cipher-suites");
    if !suites.is_empty() && given.text("tls-min-version") == "TLS1.3" {
        return Err("cipher suites cannot be configured when only TLS1.3 is enabled".to_owned());
    }
    match suites.iter().find(|name| suite(name).is_none()) {
        Some(unknown) => Err(format!("unexpected TLS cipher suite {unknown:?}")),
        None => Ok(suites),
    }
}

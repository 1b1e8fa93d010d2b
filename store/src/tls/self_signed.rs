//! Certificates that nobody signed, for `--auto-tls`: made once, then kept.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair};

use crate::tls::TlsFiles;

/// The files in a directory, made for these hosts where they are not there yet.
///
/// # Errors
/// When the disk fails, or a host is neither a name nor an address.
pub fn self_signed(dir: &Path, hosts: &[String], valid: Duration) -> io::Result<TlsFiles> {
    let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    if !(cert.exists() && key.exists()) {
        fs::create_dir_all(dir)?;
        let pair = KeyPair::generate().map_err(io::Error::other)?;
        let mut params = CertificateParams::new(hosts.to_vec()).map_err(io::Error::other)?;
        let now = time::OffsetDateTime::now_utc();
        (params.not_before, params.not_after) = (now, now + valid);
        params.distinguished_name.remove(DnType::CommonName);
        params.distinguished_name.push(DnType::OrganizationName, "etcd");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let signed = params.self_signed(&pair).map_err(io::Error::other)?;
        write(&key, &pair.serialize_pem(), 0o600)?;
        write(&cert, &signed.pem(), 0o644)?;
        File::open(dir)?.sync_all()?;
    }
    Ok(TlsFiles { cert, key, unverified: true, ..TlsFiles::default() })
}

fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

//! What the files say now. They are looked at for every connection, and read when they have changed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;

use crate::pem;
use crate::tls::leaf::{Revoked, revoked};
use crate::tls::{TlsFiles, provider};

/// Where systems keep the authorities that they trust, the first that is there.
const SYSTEM_ROOTS: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// See the module.
#[derive(Debug)]
pub(super) struct Held {
    files: TlsFiles,
    state: Mutex<(Stamps, Arc<Material>)>,
}

/// When each file was changed last, and its size.
type Stamps = Vec<Option<(SystemTime, u64)>>;

/// Everything the files hold, parsed.
#[derive(Debug)]
pub(super) struct Material {
    pub(super) files: TlsFiles,
    /// Presented by a listener; none where the files name no certificate.
    pub(super) listening: Option<Arc<CertifiedKey>>,
    /// Presented to one.
    pub(super) dialling: Option<Arc<CertifiedKey>>,
    pub(super) clients: Option<Arc<dyn ClientCertVerifier>>,
    pub(super) servers: Option<Arc<dyn ServerCertVerifier>>,
    pub(super) revoked: Revoked,
}

impl Held {
    pub(super) fn read(files: &TlsFiles) -> io::Result<Self> {
        let (stamps, material) = (stamps(files), Material::read(files)?);
        Ok(Held { files: files.clone(), state: Mutex::new((stamps, Arc::new(material))) })
    }

    /// What holds for a new connection. Files that cannot be read, half written perhaps, change nothing.
    pub(super) fn now(&self) -> Arc<Material> {
        let mut state = self.state.lock();
        let found = stamps(&self.files);
        if found != state.0 {
            match Material::read(&self.files) {
                Ok(material) => *state = (found, Arc::new(material)),
                Err(error) => tracing::warn!(%error, "changed certificates are not used yet"),
            }
        }
        state.1.clone()
    }
}

impl Material {
    fn read(files: &TlsFiles) -> io::Result<Self> {
        let named = !files.cert.as_os_str().is_empty();
        let listening = named.then(|| certified(&files.cert, &files.key)).transpose()?;
        let dialling = match &files.client {
            Some((cert, key)) => Some(certified(cert, key)?),
            None => listening.clone(),
        };
        let roots = authorities(files)?;
        let clients = match &roots {
            Some(roots) => Some(
                WebPkiClientVerifier::builder_with_provider(roots.clone(), provider())
                    .build()
                    .map_err(io::Error::other)?,
            ),
            None => None,
        };
        let servers = match &roots {
            Some(roots) if !files.unverified => Some(
                WebPkiServerVerifier::builder_with_provider(roots.clone(), provider())
                    .build()
                    .map_err(io::Error::other)? as Arc<dyn ServerCertVerifier>,
            ),
            _ => None,
        };
        let revoked = match &files.crl {
            Some(path) => {
                revoked(&fs::read(path).map_err(|error| at(path, error))?).map_err(|error| at(path, error))?
            }
            None => Revoked::default(),
        };
        Ok(Material { files: files.clone(), listening, dialling, clients, servers, revoked })
    }
}

/// Whom to trust; nobody where the files name no authority and the system has none.
fn authorities(files: &TlsFiles) -> io::Result<Option<Arc<RootCertStore>>> {
    let path = match &files.trusted_ca {
        Some(path) => path.clone(),
        None => match SYSTEM_ROOTS.iter().map(PathBuf::from).find(|path| path.exists()) {
            Some(path) if files.client_cert_auth || !files.unverified => path,
            _ => return Ok(None),
        },
    };
    let roots = pem::roots(&text(&path)?).map_err(|error| at(&path, error))?;
    if roots.is_empty() {
        return Err(at(&path, io::Error::other("no certificate in it")));
    }
    Ok(Some(roots))
}

fn certified(cert: &Path, key: &Path) -> io::Result<Arc<CertifiedKey>> {
    let chain = pem::chain(&text(cert)?).map_err(|error| at(cert, error))?;
    let secret = pem::key(&text(key)?, "its").map_err(|error| at(key, error))?;
    let signing = provider().key_provider.load_private_key(secret).map_err(|error| at(key, io::Error::other(error)))?;
    let certified = CertifiedKey::new(chain, signing);
    certified.keys_match().map_err(|error| at(cert, io::Error::other(error)))?;
    Ok(Arc::new(certified))
}

fn text(path: &Path) -> io::Result<String> {
    fs::read_to_string(path).map_err(|error| at(path, error))
}

fn at(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn stamps(files: &TlsFiles) -> Stamps {
    let pair = files.client.iter().flat_map(|(cert, key)| [cert, key]);
    let all = [&files.cert, &files.key].into_iter().chain(pair).chain(&files.trusted_ca).chain(&files.crl);
    let stamp = |path: &PathBuf| {
        let found = fs::metadata(path).ok()?;
        Some((found.modified().ok()?, found.len()))
    };
    all.map(stamp).collect()
}

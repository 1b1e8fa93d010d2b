//! Keys and certificates in a data directory: readable by their owner alone, written so that a crash leaves all or nothing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::cluster::join::NodeIdentity;
use crate::identity::MASTERS;
use crate::identity::at_rest::Key;
use crate::pki::{Error, Pair, Subject, authority, issue, signing};

/// What every server of a cluster holds: who joins as a server gets it.
#[derive(Clone)]
pub struct Shared {
    /// Signs everything.
    pub authority: Pair,
    /// Seals Secrets.
    pub at_rest: [u8; 32],
    /// Signs service-account tokens, PEM.
    pub signing_pem: String,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}

impl Shared {
    /// Of a new cluster.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn new() -> Result<Shared, Error> {
        let mut at_rest = [0; 32];
        aws_lc_rs::rand::fill(&mut at_rest).map_err(|_| rcgen::Error::RingUnspecified)?;
        Ok(Shared { authority: authority("raftsman")?, at_rest, signing_pem: signing::generate()? })
    }

    /// The key that seals.
    pub fn key(&self) -> Key {
        Key { id: "1".to_owned(), bytes: self.at_rest }
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> Error + '_ {
    move |source| Error::File { path: path.display().to_string(), source }
}

/// Where they lie.
pub struct Folder {
    dir: PathBuf,
}

impl Folder {
    /// `pki` in a data directory, made when absent.
    ///
    /// # Errors
    /// When the system says no.
    pub fn open(data_dir: &Path) -> Result<Folder, Error> {
        let dir = data_dir.join("pki");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(failed(&dir))?;
        Ok(Folder { dir })
    }

    /// What this server holds, if it has belonged to a cluster before.
    ///
    /// # Errors
    /// When a file is there but cannot be read.
    pub fn load(&self) -> Result<Option<Shared>, Error> {
        let path = self.dir.join("at-rest.key");
        if !path.exists() {
            return Ok(None);
        }
        let wrong = || io::Error::new(io::ErrorKind::InvalidData, "not a key of 32 bytes in base64");
        let bytes = STANDARD.decode(self.read("at-rest.key")?.trim()).map_err(|_| failed(&path)(wrong()))?;
        let at_rest = bytes.try_into().map_err(|_| failed(&path)(wrong()))?;
        let authority = Pair { cert_pem: self.read("ca.crt")?, key_pem: self.read("ca.key")? };
        Ok(Some(Shared { authority, at_rest, signing_pem: self.read("sa.key")? }))
    }

    /// Keeps what this server holds. The key file comes last: it says that everything is there.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn save(&self, shared: &Shared) -> Result<(), Error> {
        self.write("ca.crt", &shared.authority.cert_pem)?;
        self.write("ca.key", &shared.authority.key_pem)?;
        self.write("sa.key", &shared.signing_pem)?;
        self.write("at-rest.key", &STANDARD.encode(shared.at_rest))
    }

    /// Who this machine is, if it is only a node.
    ///
    /// # Errors
    /// When a file is there but cannot be read.
    pub fn load_node(&self) -> Result<Option<NodeIdentity>, Error> {
        if !self.dir.join("node.json").exists() {
            return Ok(None);
        }
        let path = self.dir.join("node.json");
        let wrong = |error: serde_json::Error| failed(&path)(io::Error::new(io::ErrorKind::InvalidData, error));
        serde_json::from_str(&self.read("node.json")?).map(Some).map_err(wrong)
    }

    /// Keeps who this machine is.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn save_node(&self, identity: &NodeIdentity) -> Result<(), Error> {
        self.write("node.json", &serde_json::to_string(identity).expect("texts are JSON"))
    }

    /// Says that this machine is joining and does not belong to the cluster yet; `up` must not found another one here.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn set_joining(&self, joining: bool) -> Result<(), Error> {
        let path = self.dir.join("joining");
        match (joining, path.exists()) {
            (true, false) => self.write("joining", ""),
            (false, true) => fs::remove_file(&path).map_err(failed(&path)),
            _ => Ok(()),
        }
    }

    /// See `set_joining`.
    pub fn joining(&self) -> bool {
        self.dir.join("joining").exists()
    }

    /// The administrator's certificate, made when there is none yet.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn admin(&self, authority: &Pair) -> Result<Pair, Error> {
        if self.dir.join("admin.key").exists() {
            return Ok(Pair { cert_pem: self.read("admin.crt")?, key_pem: self.read("admin.key")? });
        }
        let admin = Subject {
            common_name: "raftsman-admin".to_owned(),
            organizations: vec![MASTERS.to_owned()],
            client: true,
            ..Subject::default()
        };
        let pair = issue(authority, &admin)?;
        self.write("admin.crt", &pair.cert_pem)?;
        self.write("admin.key", &pair.key_pem)?;
        Ok(pair)
    }

    fn read(&self, name: &str) -> Result<String, Error> {
        let path = self.dir.join(name);
        fs::read_to_string(&path).map_err(failed(&path))
    }

    fn write(&self, name: &str, text: &str) -> Result<(), Error> {
        write(&self.dir.join(name), text)
    }
}

/// Writes a file that only its owner reads; a crash leaves the old or the new text.
///
/// # Errors
/// When the disk says no.
pub fn write(path: &Path, text: &str) -> Result<(), Error> {
    let draft = path.with_extension("new");
    let attempt = || {
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&draft)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&draft, path)?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    attempt().map_err(failed(path))
}

/// A kubeconfig for a client's certificate, one context per server; the first one is current.
pub fn kubeconfig(authority: &Pair, client: &Pair, servers: &[(String, String)]) -> String {
    let encode = |text: &str| STANDARD.encode(text);
    let (ca, cert, key) = (encode(&authority.cert_pem), encode(&client.cert_pem), encode(&client.key_pem));
    let current = servers.first().map_or("", |(name, _)| name.as_str());
    let clusters: String = servers
        .iter()
        .map(|(name, address)| {
            format!("- name: {name}\n  cluster:\n    server: https://{address}\n    certificate-authority-data: {ca}\n")
        })
        .collect();
    let contexts: String = servers
        .iter()
        .map(|(name, _)| format!("- name: {name}\n  context:\n    cluster: {name}\n    user: admin\n"))
        .collect();
    format!(
        "apiVersion: v1\nkind: Config\nclusters:\n{clusters}users:\n- name: admin\n  user:\n    client-certificate-data: {cert}\n    \
         client-key-data: {key}\ncontexts:\n{contexts}current-context: {current}\n"
    )
}

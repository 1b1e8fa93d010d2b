//! The data keys on disk, and the operator's file that opens them: read at the start, and again when it changes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use zeroize::Zeroizing;

use crate::Error;
use crate::config::KeySource;
use crate::seal::keyring::{DataKey, Keyring, Unopened, stretch_of};
use crate::seal::operator::{self, OperatorKey, Stretch};
use crate::seal::sealer::{Sealer, random};

/// The file of the data keys.
const FILE: &str = "keys";
/// What a data directory has that was in use.
const BEGUN: [&str; 3] = ["identity.json", "log", "state"];

/// See the module.
pub(crate) struct Vault {
    path: PathBuf,
    source: KeySource,
    sealer: Arc<Sealer>,
    held: Mutex<Held>,
    /// How often other members brought theirs.
    adopted: AtomicU64,
}

/// What wraps the ring, and the file that it is from as it was then.
struct Held {
    operator: OperatorKey,
    stamp: Stamp,
}

/// Which file it is, when anything of it was changed last, and its size.
type Stamp = Option<(u64, i64, i64, u64)>;

fn stamp(path: &Path) -> Stamp {
    let found = fs::metadata(path).ok()?;
    Some((found.ino(), found.ctime(), found.ctime_nsec(), found.len()))
}

fn failed(path: &Path, error: impl std::fmt::Display) -> Error {
    Error::Stopped(format!("{}: {error}", path.display()))
}

fn data_key() -> io::Result<DataKey> {
    let (id, secret) = (random().map_err(io::Error::other)?, random().map_err(io::Error::other)?);
    Ok(DataKey { id: u64::from_le_bytes(id), secret: Zeroizing::new(secret) })
}

/// The keys that an operator's file holds, as they open a wrapped ring; without one, those that wrap a new one.
fn operators(source: &KeySource, wrapped: Option<&[u8]>) -> Result<Vec<OperatorKey>, String> {
    let path = source.path();
    let at = |why: String| format!("{}: {why}", path.display());
    let bytes = Zeroizing::new(fs::read(path).map_err(|error| at(error.to_string()))?);
    if fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o077 != 0) {
        tracing::warn!(file = %path.display(), "others than its owner may read the key that encrypts this member's data");
    }
    match source {
        KeySource::KeyFile(_) => operator::keys(&bytes).map_err(at),
        KeySource::PassphraseFile(_) => {
            let passphrases = operator::passphrases(&bytes).map_err(at)?;
            let made = match wrapped.map(stretch_of) {
                Some(Ok(Some(stretch))) => stretch,
                // A key wraps it, or nobody knows what: no passphrase opens it.
                Some(_) => return Ok(Vec::new()),
                None => Stretch::new(random().map_err(|error| error.to_string())?),
            };
            passphrases.iter().map(|passphrase| operator::stretch(passphrase, made)).collect()
        }
    }
}

impl Vault {
    /// The keys of a data directory, made where it is new; `None` where it is not encrypted and is not to be. Nothing is
    /// touched where it is refused.
    ///
    /// # Errors
    /// When the key is missing, another one, or the directory holds what is not encrypted; the text says what to do.
    pub(crate) fn open(data_dir: &Path, source: Option<&KeySource>) -> Result<Option<Arc<Vault>>, Error> {
        let path = data_dir.join(FILE);
        let kept = match fs::read(&path) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(&path, error)),
        };
        let dir = data_dir.display();
        let (kept, source) = match (kept, source) {
            (None, None) => return Ok(None),
            (Some(_), None) => {
                return Err(Error::Invalid(format!(
                    "{dir}: this data directory is encrypted; name its key with --encryption-key-file or \
                     --encryption-passphrase-file"
                )));
            }
            (None, Some(_)) if BEGUN.iter().any(|name| data_dir.join(name).exists()) => {
                return Err(Error::Invalid(format!(
                    "{dir}: this data directory is not encrypted, and encryption begins with an empty one: remove this \
                     member from its cluster and let it enter again with an empty --data-dir, or take a backup or a \
                     snapshot and restore it into an empty --data-dir with the key"
                )));
            }
            (kept, Some(source)) => (kept, source),
        };
        let seen = stamp(source.path());
        let operators = operators(source, kept.as_deref()).map_err(Error::Invalid)?;
        let opened = kept.map(|bytes| unwrapped(data_dir, source, &bytes, &operators)).transpose()?;
        let Some(first) = operators.into_iter().next() else {
            return Err(Error::Invalid(other_key(data_dir, source)));
        };
        let ring = match opened {
            Some((ring, true)) => ring,
            other => {
                let new = data_key().map_err(|error| failed(&path, error))?;
                // Another key comes first by now: it wraps from here on, and what is written has a new data key.
                let ring = match other {
                    Some((ring, _)) => ring.led_by(new),
                    None => Keyring::new(new),
                };
                write(&path, &ring, &first).map_err(|error| failed(&path, error))?;
                ring
            }
        };
        let sealer = Arc::new(Sealer::new(ring).map_err(|error| failed(&path, error))?);
        let held = Mutex::new(Held { operator: first, stamp: seen });
        Ok(Some(Arc::new(Vault { path, source: source.clone(), sealer, held, adopted: AtomicU64::new(0) })))
    }

    /// What seals and opens.
    pub(crate) fn sealer(&self) -> &Arc<Sealer> {
        &self.sealer
    }

    /// The data keys that are held now.
    pub(crate) fn ring(&self) -> Arc<Keyring> {
        self.sealer.ring()
    }

    /// Data keys for another member, which holds the same operator's key.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub(crate) fn wrapped(&self, ring: &Keyring) -> io::Result<Vec<u8>> {
        let nonce = random().map_err(io::Error::other)?;
        Ok(ring.wrap(&self.held.lock().operator, nonce))
    }

    /// How often other members' data keys were taken.
    pub(crate) fn adopted(&self) -> u64 {
        self.adopted.load(Ordering::SeqCst)
    }

    /// Takes the data keys of another member, to open what it sealed. Blocks.
    ///
    /// # Errors
    /// When the operator's file does not open them, or the disk fails.
    pub(crate) fn adopt(&self, wrapped: &[u8]) -> io::Result<()> {
        let held = self.held.lock();
        self.adopted.fetch_add(1, Ordering::SeqCst);
        let operators = operators(&self.source, Some(wrapped)).map_err(io::Error::other)?;
        let theirs = Keyring::unwrap(wrapped, &operators).map_err(|_| {
            io::Error::other(format!(
                "the snapshot is encrypted under another key than this member's ({}): all members have the same one, or \
                 the others' too behind their own",
                self.source.path().display()
            ))
        })?;
        if let Some(ring) = self.sealer.ring().with(&theirs).map_err(io::Error::other)? {
            write(&self.path, &ring, &held.operator)?;
            self.sealer.take(ring).map_err(io::Error::other)?;
        }
        Ok(())
    }

    /// Reads the operator's file again where it has changed. Where another key comes first, that one wraps the data keys
    /// from here on, and a new data key seals; answers whether it is so. Blocks.
    ///
    /// # Errors
    /// When it cannot be read or written: what held before holds on.
    pub(crate) fn look(&self) -> io::Result<bool> {
        let mut held = self.held.lock();
        let found = stamp(self.source.path());
        if found == held.stamp {
            return Ok(false);
        }
        // Once: what is wrong with it is not said again until it has changed again.
        let before = std::mem::replace(&mut held.stamp, found);
        let wrapped = self.sealer.ring().wrap(&held.operator, random().map_err(io::Error::other)?);
        let operators = operators(&self.source, Some(&wrapped)).map_err(io::Error::other)?;
        let Some(first) = operators.into_iter().next() else { return Err(io::Error::other("no key in it")) };
        if first.name() != held.operator.name() {
            let ring = self.sealer.ring().led_by(data_key()?);
            if let Err(error) = write(&self.path, &ring, &first) {
                // Nothing is wrong with it: it is the disk's turn.
                held.stamp = before;
                return Err(error);
            }
            self.sealer.take(ring).map_err(io::Error::other)?;
            held.operator = first;
            return Ok(true);
        }
        Ok(false)
    }

    /// A new data key seals from here on. Blocks.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn rotate(&self) -> io::Result<()> {
        let held = self.held.lock();
        let ring = self.sealer.ring().led_by(data_key()?);
        write(&self.path, &ring, &held.operator)?;
        self.sealer.take(ring).map_err(io::Error::other)
    }

    /// Forgets all data keys but the one that seals, under which everything lies by now; answers how many. Blocks.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn forget_older(&self) -> io::Result<usize> {
        let held = self.held.lock();
        let older = self.count() - 1;
        if older > 0 {
            let ring = self.sealer.ring().alone();
            write(&self.path, &ring, &held.operator)?;
            self.sealer.take(ring).map_err(io::Error::other)?;
        }
        Ok(older)
    }

    /// How many data keys are held.
    pub(crate) fn count(&self) -> usize {
        self.sealer.ring().len()
    }
}

/// A ring of a directory, and whether the first of the operator's keys wraps it.
fn unwrapped(
    data_dir: &Path,
    source: &KeySource,
    bytes: &[u8],
    operators: &[OperatorKey],
) -> Result<(Keyring, bool), Error> {
    let path = data_dir.join(FILE);
    match Keyring::unwrap(bytes, operators) {
        Ok(ring) => Ok((ring, Keyring::unwrap(bytes, &operators[..1]).is_ok())),
        Err(Unopened::OtherKey) => Err(Error::Invalid(other_key(data_dir, source))),
        Err(Unopened::Newer(found)) => Err(failed(
            &path,
            format!("format {found} is newer than this program knows; start it with the newer version"),
        )),
        Err(Unopened::Damaged) => Err(failed(
            &path,
            "damaged: restore the file from a copy of this very directory; without it, remove this member from its cluster \
             and let it enter again with an empty one, or restore a backup",
        )),
    }
}

fn other_key(data_dir: &Path, source: &KeySource) -> String {
    let (what, path) = (source.noun(), source.path().display());
    format!(
        "the {what} {path} does not open the data directory {}: it was encrypted under another one; name that one, or add \
         its line to the file",
        data_dir.display()
    )
}

/// Writes the ring so that a crash leaves the old one or the new one.
fn write(path: &Path, ring: &Keyring, operator: &OperatorKey) -> io::Result<()> {
    let bytes = ring.wrap(operator, random().map_err(io::Error::other)?);
    let draft = path.with_extension("new");
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&draft)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

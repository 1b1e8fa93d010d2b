//! Snapshots as directories: the newest one is kept, over restarts too, since the log before it is gone.

#[cfg(test)]
mod powerless;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::edge::files;
use crate::machine::{Machine, Position};
use crate::raft::apply::parse_position;
use crate::raft::types::{Meta, Snapshot};
use crate::seal::Keyring;
use crate::seal::vault::Vault;

/// A directory with a whole copy of the state machine.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    dir: PathBuf,
    /// Removed with its last holder.
    passing: AtomicBool,
    /// The data keys that it may lie under.
    keys: Option<Arc<Keyring>>,
}

impl Checkpoint {
    /// A directory that goes when nobody holds it any more.
    pub(crate) fn passing(dir: PathBuf) -> Self {
        Checkpoint { dir, passing: AtomicBool::new(true), keys: None }
    }

    /// The data keys that it may lie under; none where it is not encrypted.
    pub(crate) fn keys(&self) -> Option<&Arc<Keyring>> {
        self.keys.as_ref()
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Checkpoint {
    fn drop(&mut self) {
        if self.passing.load(Ordering::Relaxed) {
            // Best effort: what stays is removed at the next start.
            let _ = files::remove_dir_all(&self.dir);
        }
    }
}

/// The directory of a snapshot that is being received.
const INCOMING: &str = "incoming";

/// Where snapshots lie.
pub(crate) struct Checkpoints {
    home: PathBuf,
    number: AtomicU64,
    current: Mutex<Option<Snapshot>>,
    /// Held while the machine is copied to be the current snapshot: of two copies the later one stays.
    taking: Mutex<()>,
    /// The keys of what lies there.
    pub(crate) vault: Option<Arc<Vault>>,
    /// Held while a snapshot is received.
    pub(crate) receiving: Arc<tokio::sync::Mutex<()>>,
}

impl Checkpoints {
    /// Finds the newest whole snapshot in a directory and removes everything else there.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn open(home: PathBuf, vault: Option<Arc<Vault>>) -> io::Result<Self> {
        files::create_dir_all(&home)?;
        let mut numbers = Vec::new();
        for path in files::within(&home)? {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            match name.strip_prefix("snapshot-").and_then(|number| number.parse::<u64>().ok()) {
                Some(number) => numbers.push(number),
                None if path.ends_with(INCOMING) => {}
                None => files::remove_dir_all(&path)?,
            }
        }
        let newest = numbers.iter().copied().max();
        for number in numbers.iter().filter(|number| Some(**number) != newest) {
            files::remove_dir_all(&home.join(format!("snapshot-{number}")))?;
        }
        let number = AtomicU64::new(newest.unwrap_or(0));
        let this = Checkpoints {
            home,
            number,
            current: Mutex::default(),
            taking: Mutex::default(),
            vault,
            receiving: Arc::default(),
        };
        if let Some(number) = newest {
            let dir = this.home.join(format!("snapshot-{number}"));
            let position = this.position_in(&dir)?;
            *this.current.lock() = Some(this.snapshot(dir, &position)?);
        }
        Ok(this)
    }

    /// What a copy holds.
    ///
    /// # Errors
    /// When it is damaged, or its keys are not held.
    pub(crate) fn position_in(&self, dir: &Path) -> io::Result<Position> {
        let sealer = self.vault.as_ref().map(|vault| vault.sealer());
        Machine::position_in(dir, sealer).map_err(io::Error::other)
    }

    pub(crate) fn current(&self) -> Option<Snapshot> {
        self.current.lock().clone()
    }

    /// Where a snapshot is received; what an attempt leaves there is of use to the next.
    pub(crate) fn incoming(&self) -> PathBuf {
        self.home.join(INCOMING)
    }

    /// Gives what was received a name of its own.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn received(&self) -> io::Result<PathBuf> {
        let dir = self.place("received");
        files::rename(&self.incoming(), &dir)?;
        Ok(dir)
    }

    /// A directory that nobody has used before.
    fn place(&self, what: &str) -> PathBuf {
        let number = self.number.fetch_add(1, Ordering::Relaxed) + 1;
        self.home.join(format!("{what}-{number}"))
    }

    /// After a start: the current snapshot must reach what the machine holds beyond the log, or followers could not
    /// go on from it. It does not when a crash came between an installation and the copy made of it.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn reach(&self, machine: &Machine, last_in_log: Option<u64>) -> io::Result<()> {
        let applied = parse_position(&machine.position())?.0.map(|id| id.index);
        let reached = self.current().and_then(|held| held.meta.last_log_id).map(|id| id.index);
        if applied > last_in_log && reached < applied {
            self.take(machine)?;
        }
        Ok(())
    }

    fn snapshot(&self, dir: PathBuf, position: &Position) -> io::Result<Snapshot> {
        let (last_log_id, last_membership) = parse_position(position)?;
        // Those of now: what was copied before was sealed with some of them.
        let keys = self.vault.as_ref().map(|vault| vault.ring());
        let checkpoint = Checkpoint { dir, passing: AtomicBool::new(false), keys };
        Ok(Snapshot { meta: Meta { last_log_id, last_membership }, snapshot: Arc::new(checkpoint) })
    }

    /// Encrypts a copy that another member sent as it is; the copy goes.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn encrypted(&self, plain: Checkpoint) -> io::Result<Checkpoint> {
        let Some(vault) = &self.vault else { return Ok(plain) };
        // From the first byte on: a half that a full disk took no more of would be in the way of the next attempt.
        let sealed = Checkpoint::passing(self.place("encrypted"));
        Machine::encrypt(plain.dir(), sealed.dir(), vault.sealer()).map_err(io::Error::other)?;
        Ok(sealed)
    }

    /// Copies the machine; the copy goes with its last holder.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn copy(&self, machine: &Machine) -> io::Result<Snapshot> {
        let draft = Checkpoint::passing(self.place("copy"));
        let position = machine.checkpoint(draft.dir()).map_err(io::Error::other)?;
        let taken = self.snapshot(draft.dir().to_owned(), &position)?;
        taken.snapshot.passing.store(true, Ordering::Relaxed);
        draft.passing.store(false, Ordering::Relaxed);
        Ok(taken)
    }

    /// Copies the machine and makes the copy the current snapshot, unless a newer one is there.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn take(&self, machine: &Machine) -> io::Result<Snapshot> {
        let _taking = self.taking.lock();
        let number = self.number.fetch_add(1, Ordering::Relaxed) + 1;
        // It goes also where a full disk takes no more of it: what it has of the state's files would have no end there.
        let draft = Checkpoint::passing(self.home.join(format!("draft-{number}")));
        let position = machine.checkpoint(draft.dir()).map_err(io::Error::other)?;
        let dir = self.home.join(format!("snapshot-{number}"));
        files::rename(draft.dir(), &dir)?;
        files::sync_dir(&self.home)?;
        let taken = self.snapshot(dir, &position)?;
        let mut current = self.current.lock();
        // A slow build must not replace what was installed meanwhile.
        if let Some(held) = current.as_ref().filter(|held| held.meta.last_log_id > taken.meta.last_log_id) {
            taken.snapshot.passing.store(true, Ordering::Relaxed);
            return Ok(held.clone());
        }
        if let Some(old) = current.replace(taken.clone()) {
            old.snapshot.passing.store(true, Ordering::Relaxed);
        }
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::KeySource;
    use crate::engine::rocks;
    use crate::machine::{Body, Entry};

    #[test]
    fn a_snapshot_that_cannot_be_finished_leaves_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let home = dir.path().join("snapshots");
        let checkpoints = Checkpoints::open(home.clone(), None).expect("a directory");
        let machine = Machine::open(&dir.path().join("state"), None, rocks::SMALL).expect("a new machine");
        let obstacle = home.join("snapshot-1");
        fs::create_dir_all(obstacle.join("full")).expect("in its way");
        assert!(checkpoints.take(&machine).is_err() && checkpoints.current().is_none());
        let left: Vec<_> = fs::read_dir(&home).expect("there").flatten().map(|file| file.path()).collect();
        assert_eq!(left, [obstacle]);
        assert!(checkpoints.take(&machine).is_ok(), "the next one has another name");
    }

    #[test]
    fn a_copy_that_cannot_be_encrypted_leaves_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let key = dir.path().join("key");
        fs::write(&key, "01".repeat(32)).expect("written");
        let vault = Vault::open(dir.path(), Some(&KeySource::KeyFile(key))).expect("a key");
        let home = dir.path().join("snapshots");
        let checkpoints = Checkpoints::open(home.clone(), vault).expect("a directory");
        let machine = Machine::open(&dir.path().join("state"), None, rocks::SMALL).expect("a new machine");
        let entry = Entry { applied: "x".into(), term: 1, body: Body::Blank, asked: false };
        machine.apply(&[entry]).expect("applied");
        let plain = home.join("received-1");
        machine.checkpoint(&plain).expect("copied");
        let tables = fs::read_dir(&plain).expect("there").flatten().map(|file| file.path());
        for table in tables.filter(|path| path.extension().is_some_and(|ends| ends == "sst")) {
            let mut bytes = fs::read(&table).expect("read");
            bytes[0] ^= 1;
            fs::remove_file(&table).expect("the state has a name of it as well");
            fs::write(&table, bytes).expect("damaged");
        }
        let encrypt = || checkpoints.encrypted(Checkpoint::passing(plain));
        let encrypted = std::panic::catch_unwind(std::panic::AssertUnwindSafe(encrypt));
        assert!(!matches!(encrypted, Ok(Ok(_))), "a row cannot be read");
        assert_eq!(fs::read_dir(&home).expect("there").count(), 0);
    }
}

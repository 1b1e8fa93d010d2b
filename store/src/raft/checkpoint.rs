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
        let number = self.number.fetch_add(1, Ordering::Relaxed) + 1;
        let dir = self.home.join(format!("received-{number}"));
        files::rename(&self.incoming(), &dir)?;
        Ok(dir)
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
        let number = self.number.fetch_add(1, Ordering::Relaxed) + 1;
        let dir = self.home.join(format!("encrypted-{number}"));
        Machine::encrypt(plain.dir(), &dir, vault.sealer()).map_err(io::Error::other)?;
        Ok(Checkpoint::passing(dir))
    }

    /// Copies the machine; the copy goes with its last holder.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn copy(&self, machine: &Machine) -> io::Result<Snapshot> {
        let number = self.number.fetch_add(1, Ordering::Relaxed) + 1;
        let dir = self.home.join(format!("copy-{number}"));
        let position = machine.checkpoint(&dir).map_err(io::Error::other)?;
        let taken = self.snapshot(dir, &position)?;
        taken.snapshot.passing.store(true, Ordering::Relaxed);
        Ok(taken)
    }

    /// Copies the machine and makes the copy the current snapshot, unless a newer one is there.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn take(&self, machine: &Machine) -> io::Result<Snapshot> {
        let _taking = self.taking.lock();
        let number = self.number.fetch_add(1, Ordering::Relaxed) + 1;
        let draft = self.home.join(format!("draft-{number}"));
        let position = machine.checkpoint(&draft).map_err(io::Error::other)?;
        let dir = self.home.join(format!("snapshot-{number}"));
        files::rename(&draft, &dir)?;
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

//! Exchanging the keys of what is encrypted while the store runs.
//!
//! Where another key of the operator's comes first in its file, or on request, a new data key seals from then on. What lies
//! in the tables is sealed anew under it in small steps, the snapshot is replaced, the log begins a segment and gives the
//! older ones up in its time. When nothing lies under an older data key any more, those are forgotten.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::machine::Machine;
use crate::raft::checkpoint::Checkpoints;
use crate::raft::journal::Journal;
use crate::seal::vault::Vault;

/// Between two looks at the operator's file.
const LOOK: Duration = Duration::from_secs(1);
/// Until it is tried again, where the disk did not take what is sealed anew.
const AGAIN: Duration = Duration::from_secs(5);
/// Between two steps of sealing anew: 100 MiB/s at most.
const PACE: Duration = Duration::from_millis(10);

/// The keys of an open store, and who is told to exchange them.
pub(super) struct Keys {
    pub(super) vault: Arc<Vault>,
    pub(super) asked: Arc<Notify>,
}

/// What keys are exchanged in.
pub(super) struct Rotation {
    pub(super) vault: Arc<Vault>,
    pub(super) machine: Machine,
    pub(super) checkpoints: Arc<Checkpoints>,
    pub(super) journal: Journal,
    /// Told when a new data key is asked for.
    pub(super) asked: Arc<Notify>,
}

/// What became of the older data keys.
enum Older {
    Forgotten,
    /// The log still has records under them, or a snapshot is being received.
    Needed,
    /// A snapshot brought others.
    More,
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    crate::edge::blocking(work).await.map_err(io::Error::other)?
}

impl Rotation {
    /// Looks after the keys until the store ends.
    pub(super) async fn tend(self) {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // A start with a new key, or one that came while this was under way, goes on with it.
        let mut due = self.vault.count() > 1;
        let mut sealed = None;
        loop {
            let asked = tokio::select! {
                _ = look.tick() => false,
                () = self.asked.notified() => true,
            };
            due |= self.renewed(asked).await;
            if std::mem::take(&mut due) {
                match self.seal_anew().await {
                    Ok(seen) => sealed = Some(seen),
                    Err(error) => {
                        // A full disk may have room later. Until then nobody knows what lies under older keys: they stay.
                        tracing::error!(%error, "what is encrypted under older keys stays so, and is tried again");
                        (due, sealed) = (true, None);
                        look.reset_after(AGAIN);
                    }
                }
            }
            let Some(seen) = sealed else { continue };
            match self.forget_older(seen).await {
                Ok(Older::Forgotten) => sealed = None,
                Ok(Older::Needed) => {}
                Ok(Older::More) => due = true,
                Err(error) => tracing::warn!(%error, "older data keys are not forgotten yet"),
            }
        }
    }

    /// Whether a new data key seals now.
    async fn renewed(&self, asked: bool) -> bool {
        let vault = self.vault.clone();
        let renewed = blocking(move || match vault.look()? {
            false if asked => vault.rotate().map(|()| true),
            renewed => Ok(renewed),
        });
        match renewed.await {
            Ok(true) => {
                tracing::info!("a new data key encrypts from now on; what lies on the disk follows");
                true
            }
            Ok(false) => false,
            Err(error) => {
                tracing::warn!(%error, "the keys of what is encrypted stay as they are");
                false
            }
        }
    }

    /// Seals everything anew but the log; answers how many rings other members had brought before.
    async fn seal_anew(&self) -> io::Result<u64> {
        let seen = {
            let _alone = self.checkpoints.receiving.lock().await;
            self.vault.adopted()
        };
        let mut pace = tokio::time::interval(PACE);
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut from = None;
        loop {
            pace.tick().await;
            let machine = self.machine.clone();
            let next = blocking(move || machine.reseal(from).map_err(io::Error::other)).await?;
            if next.is_none() {
                break;
            }
            from = next;
        }
        self.journal.roll()?;
        let (checkpoints, machine) = (self.checkpoints.clone(), self.machine.clone());
        blocking(move || checkpoints.take(&machine).map(drop)).await?;
        tracing::info!("the tables and the snapshot are encrypted under the newest data key; the log follows");
        Ok(seen)
    }

    async fn forget_older(&self, seen: u64) -> io::Result<Older> {
        // Between a snapshot's keys and its installation, nobody knows yet what lies under them.
        let Ok(_alone) = self.checkpoints.receiving.try_lock() else { return Ok(Older::Needed) };
        if self.vault.adopted() != seen {
            return Ok(Older::More);
        }
        let current = self.vault.sealer().current();
        if self.journal.data_keys().into_iter().any(|key| key != current) {
            return Ok(Older::Needed);
        }
        let vault = self.vault.clone();
        let forgotten = blocking(move || vault.forget_older()).await?;
        if forgotten > 0 {
            tracing::info!(forgotten, "nothing is encrypted under an older data key any more");
        }
        Ok(Older::Forgotten)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::KeySource;
    use crate::edge::planted::Planted;
    use crate::engine::rocks;
    use crate::log::disk::Folder;
    use crate::log::{Log, Options};

    #[tokio::test]
    async fn what_a_disk_did_not_take_is_sealed_anew_once_it_does() {
        let dir = tempfile::tempdir().expect("a directory");
        let [key, home, logs] = ["key", "snapshots", "log"].map(|name| dir.path().join(name));
        fs::write(&key, "01".repeat(32)).expect("written");
        let vault = Vault::open(dir.path(), Some(&KeySource::KeyFile(key))).expect("a key").expect("one");
        let sealer = Some(vault.sealer().clone());
        let folder = Folder::open(logs).expect("a folder");
        let log = Log::open_sealed(folder, Options::default(), sealer.clone()).expect("a new log");
        let machine = Machine::open_sealed(&dir.path().join("state"), None, rocks::SMALL, sealer).expect("a new one");
        let checkpoints = Arc::new(Checkpoints::open(home.clone(), Some(vault.clone())).expect("a directory"));
        let (journal, asked) = (Journal::new(log, Planted::default()), Arc::new(Notify::new()));
        let (held, told) = (checkpoints.clone(), asked.clone());
        let rotation = Rotation { vault: vault.clone(), machine, checkpoints: held, journal, asked: told };
        fs::create_dir_all(home.join("snapshot-1/full")).expect("something is in its way");
        let first = vault.sealer().current();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(rotation.tend());
        asked.notify_one();
        let taken = async {
            let mut tick = tokio::time::interval(Duration::from_millis(20));
            while checkpoints.current().is_none() {
                tick.tick().await;
            }
        };
        tokio::time::timeout(10 * AGAIN, taken).await.expect("in time");
        assert!(home.join("snapshot-2").exists(), "the first could not get its name");
        assert_ne!(vault.sealer().current(), first);
    }
}

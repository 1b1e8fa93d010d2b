//! Generations of the engine's files: copies, and those that snapshots bring.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::Error;
use crate::edge::drive::Defect;
use crate::edge::files;
use crate::engine::filling::Filling;
use crate::engine::sealed::Sealed;
use crate::engine::{self, Family, rocks};
use crate::machine::auth::Auth;
use crate::machine::lease::Leases;
use crate::machine::view::View;
use crate::machine::{Machine, Position};
use crate::seal::Sealer;

/// The file that names the current generation.
const CURRENT: &str = "CURRENT";

impl Machine {
    /// Copies the durable state into a directory that does not exist yet, and says what it holds.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn checkpoint(&self, dir: &Path) -> Result<Position, Error> {
        let engine = self.inner.engine.read().clone();
        engine.checkpoint(dir)?;
        let sealer = self.inner.home.as_ref().and_then(|home| home.sealer.as_ref());
        // Read from the copy itself: entries may have been applied meanwhile.
        Machine::position_in(dir, sealer)
    }

    /// What a checkpoint holds.
    ///
    /// # Errors
    /// When it is damaged, or of a newer format.
    pub(crate) fn position_in(dir: &Path, sealer: Option<&Arc<Sealer>>) -> Result<Position, Error> {
        let engine = engine::open(dir, None, rocks::SMALL)?;
        Ok(Machine::over(Sealed::over(engine, sealer))?.position())
    }

    /// Replaces the whole state by a checkpoint, which is moved away from `dir`. A crash leaves the old or the new one.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn install(&self, dir: &Path) -> Result<(), Error> {
        let held = self.inner.home.as_ref();
        let held = held.ok_or_else(|| Error::Stopped("the state machine has no files".to_owned()))?;
        let home = &held.dir;
        let mut leases = self.inner.leases.lock();
        let old = current_generation(home)?;
        let number = generation_number(&old).unwrap_or(0) + 1;
        let new = home.join(format!("gen-{number}"));
        files::rename(dir, &new).and_then(|()| point_at(home, &new)).map_err(|error| disk(home, &error))?;
        let engine = held.engine(&new)?;
        let view = View::new(engine.snapshot());
        leases.replace(Leases::load(view.snapshot()));
        self.guard(Arc::new(Auth::load(view.snapshot())), Vec::new());
        *self.inner.engine.write() = engine;
        if self.inner.planted.has(Defect::EventsSkipped) {
            self.inner.ring.publish(Vec::new(), view.revision());
        } else {
            self.inner.ring.reset(view.revision());
        }
        self.inner.ring.compact(view.header().compacted);
        self.inner.compactions.notify_one();
        *self.inner.milestones.lock() = super::hash::Milestones::default();
        // Views of the old generation keep its files open; only their names go.
        files::remove_dir_all(&old).map_err(|error| disk(&old, &error))
    }

    /// Copies what lies in a directory as it is into another one that does not exist yet, encrypted.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn encrypt(plain: &Path, to: &Path, sealer: &Arc<Sealer>) -> Result<(), Error> {
        let source = engine::open(plain, None, rocks::SMALL)?;
        let target = Sealed::over(engine::open(to, None, rocks::SMALL)?, Some(sealer));
        let (view, mut filling) = (source.snapshot(), Filling::new(target));
        for family in Family::ALL {
            for (key, value) in view.scan(family, b"", None) {
                filling.batch.put(family, key, value);
                filling.write_if_large()?;
            }
        }
        Ok(filling.end()?)
    }

    /// Encrypts a bounded number of values anew that lie under an older data key, from a place on; answers where to go on.
    ///
    /// # Errors
    /// When the engine fails.
    pub(crate) fn reseal(&self, from: Option<(Family, Bytes)>) -> Result<Option<(Family, Bytes)>, Error> {
        let engine = self.inner.engine.read().clone();
        let (family, key) = from.unwrap_or((Family::ALL[0], Bytes::new()));
        if let Some(next) = engine.reseal(family, &key)? {
            return Ok(Some((family, next)));
        }
        let later = Family::ALL.into_iter().find(|later| *later > family);
        Ok(later.map(|later| (later, Bytes::new())))
    }
}

/// The directory of the current generation, made when there is none; generations left by a crash are removed.
///
/// # Errors
/// When the disk fails.
pub(crate) fn current_generation(home: &Path) -> Result<PathBuf, Error> {
    let found = (|| -> io::Result<PathBuf> {
        files::create_dir_all(home)?;
        let current = match files::read(&home.join(CURRENT)) {
            Ok(name) => named(home, &name)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => first_generation(home)?,
            Err(error) => return Err(error),
        };
        for path in files::within(home)? {
            if path != current && generation_number(&path).is_some() {
                files::remove_dir_all(&path)?;
            }
        }
        Ok(current)
    })();
    found.map_err(|error| disk(home, &error))
}

/// The generation of a directory that holds none yet. Others are there only where it was their name that went missing.
fn first_generation(home: &Path) -> io::Result<PathBuf> {
    let first = home.join("gen-1");
    if files::within(home)?.iter().any(|path| *path != first && generation_number(path).is_some()) {
        return Err(damaged("is missing, though there is a state".to_owned()));
    }
    files::create_dir_all(&first)?;
    point_at(home, &first)?;
    Ok(first)
}

fn generation_number(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_prefix("gen-")?.parse().ok()
}

/// The generation that bytes name. One that is not there was not meant: the others must not be removed for it.
fn named(home: &Path, name: &[u8]) -> io::Result<PathBuf> {
    let path = std::str::from_utf8(name).ok().map(|name| home.join(name.trim()));
    path.filter(|path| generation_number(path).is_some() && files::within(path).is_ok())
        .ok_or_else(|| damaged(format!("is damaged: it names {:?}, which is not there", String::from_utf8_lossy(name))))
}

fn damaged(how: String) -> io::Error {
    let text = format!(
        "{CURRENT} {how}. Do not delete anything: remove this member from the cluster and join it again with an empty data \
         directory, or restore a backup when no other member is left"
    );
    io::Error::new(io::ErrorKind::InvalidData, text)
}

fn point_at(home: &Path, generation: &Path) -> io::Result<()> {
    let name = generation.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let draft = home.join("CURRENT.new");
    files::write(&draft, name.as_bytes())?;
    files::sync_dir(generation)?;
    files::rename(&draft, &home.join(CURRENT))?;
    files::sync_dir(home)
}

fn disk(path: &Path, error: &io::Error) -> Error {
    Error::Stopped(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_damaged_current_removes_no_generation() {
        let home = tempfile::tempdir().expect("a directory");
        let current = current_generation(home.path()).expect("the first");
        let say = |name: &str| fs::write(home.path().join(CURRENT), name).expect("written");
        for name in ["gen-3", "gen-", "fen-1", "..", "gen-1/..", ""] {
            say(name);
            let refused = current_generation(home.path());
            assert!(refused.is_err_and(|error| error.to_string().contains("CURRENT is damaged")), "{name:?}");
            assert!(current.is_dir(), "{name:?}");
        }
        say("gen-1");
        assert_eq!(current_generation(home.path()).expect("as it was"), current);
    }

    #[test]
    fn a_missing_current_removes_no_generation() {
        let home = tempfile::tempdir().expect("a directory");
        let later = home.path().join("gen-7");
        fs::create_dir(&later).expect("made");
        let refused = current_generation(home.path());
        assert!(refused.is_err_and(|error| error.to_string().contains("CURRENT is missing, though there is a state")));
        assert!(later.is_dir());
        // A crash came before the first generation got its name.
        fs::rename(&later, home.path().join("gen-1")).expect("renamed");
        assert_eq!(current_generation(home.path()).expect("begun"), home.path().join("gen-1"));
    }
}

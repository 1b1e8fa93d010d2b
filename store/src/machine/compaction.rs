//! Removing compacted history in bounded steps, and the generations of the engine's files that snapshots bring.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use std::sync::Arc;

use crate::Error;
use crate::api::Revision;
use crate::engine::rocks::{self, Rocks};
use crate::engine::sealed::Sealed;
use crate::engine::{Batch, Engine, Family, Snapshot};
use crate::machine::auth::Auth;
use crate::machine::codec::SCRUBBED_KEY;
use crate::machine::lease::Leases;
use crate::machine::record::{self, Place, Record};
use crate::machine::view::{View, at, latest};
use crate::machine::{Machine, Position};
use crate::seal::Sealer;

/// Bytes that are copied as one batch, about.
const TOGETHER_BYTES: usize = 1 << 20;
/// The file that names the current generation.
const CURRENT: &str = "CURRENT";

impl Machine {
    /// Removes what compaction gave up, looking at `limit` events at most. False when nothing is left to remove.
    ///
    /// # Errors
    /// When the engine fails.
    pub(crate) fn scrub(&self, limit: usize) -> Result<bool, Error> {
        let engine = self.inner.engine.read().clone();
        match unseen(&View::new(engine.snapshot()), limit) {
            Some(step) => self.remove(&engine, step),
            None => Ok(false),
        }
    }

    /// Entries may have been applied since the step was planned: a key whose deletion is in it may be there again.
    fn remove(&self, engine: &Arc<dyn Engine>, step: Step) -> Result<bool, Error> {
        let _applying = self.inner.leases.lock();
        if !Arc::ptr_eq(engine, &self.inner.engine.read()) {
            // Another state was installed meanwhile.
            return Ok(true);
        }
        let (now, mut batch) = (engine.snapshot(), Batch::default());
        let still = |gone: &&Record| {
            gone.next.is_some() || latest(&*now, &gone.kv.key).is_some_and(|newest| newest.place() == gone.place())
        };
        step.gone.iter().filter(still).for_each(|gone| record::remove(&mut batch, gone));
        batch.put(Family::Meta, SCRUBBED_KEY, step.upto.to_be_bytes().to_vec());
        engine.write(batch)?;
        Ok(step.more)
    }

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
        let rocks = Rocks::open(dir, None, rocks::SMALL)?;
        Ok(Machine::over(Sealed::over(Arc::new(rocks), sealer))?.position())
    }

    /// Replaces the whole state by a checkpoint, which is moved away from `dir`. A crash leaves the old or the new one.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn install(&self, dir: &Path) -> Result<(), Error> {
        let home =
            self.inner.home.as_ref().ok_or_else(|| Error::Stopped("the state machine has no files".to_owned()))?;
        let (held, home) = (home, &home.dir);
        let mut leases = self.inner.leases.lock();
        let old = current_generation(home)?;
        let number = generation_number(&old).unwrap_or(0) + 1;
        let new = home.join(format!("gen-{number}"));
        fs::rename(dir, &new).and_then(|()| point_at(home, &new)).map_err(|error| disk(home, &error))?;
        let engine = held.engine(&new)?;
        let view = View::new(engine.snapshot());
        leases.replace(Leases::load(view.snapshot()));
        self.guard(Arc::new(Auth::load(view.snapshot())), Vec::new());
        *self.inner.engine.write() = engine;
        self.inner.ring.reset(view.revision());
        self.inner.ring.compact(view.header().compacted);
        *self.inner.milestones.lock() = super::hash::Milestones::default();
        // Views of the old generation keep its files open; only their names go.
        fs::remove_dir_all(&old).map_err(|error| disk(&old, &error))
    }
}

impl Machine {
    /// Copies what lies in a directory as it is into another one that does not exist yet, encrypted.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn encrypt(plain: &Path, to: &Path, sealer: &Arc<Sealer>) -> Result<(), Error> {
        let source = Rocks::open(plain, None, rocks::SMALL)?;
        let target = Sealed::over(Arc::new(Rocks::open(to, None, rocks::SMALL)?), Some(sealer));
        let view = source.snapshot();
        for family in Family::ALL {
            let (mut batch, mut bytes) = (Batch::default(), 0);
            for (key, value) in view.scan(family, b"", None) {
                bytes += key.len() + value.len();
                batch.put(family, key, value);
                if bytes >= TOGETHER_BYTES {
                    bytes = 0;
                    target.write(std::mem::take(&mut batch))?;
                }
            }
            target.write(batch)?;
        }
        Ok(target.flush()?)
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

/// A step of removing what compaction gave up.
struct Step {
    gone: Vec<Record>,
    /// The revision that it comes to.
    upto: Revision,
    more: bool,
}

/// PURE: what nobody can see any more among the next events; none when nothing is left to look at.
fn unseen(view: &View, limit: usize) -> Option<Step> {
    let compacted = view.header().compacted;
    let from = scrubbed(view.snapshot());
    if from >= compacted {
        return None;
    }
    // What was left at the revision of the last compaction could still be watched then.
    let (left, _) = view.records(from, 1);
    let (records, upto) = view.records(from + 1, limit);
    let upto = upto.min(compacted);
    let mut gone = Vec::new();
    for record in left.into_iter().chain(records).filter(|record| record.kv.mod_revision <= upto) {
        let unseen = |place: &Place| place.revision < compacted;
        gone.extend(record.previous.filter(unseen).and_then(|place| at(view.snapshot(), place)));
        gone.extend(Some(record).filter(|record| record.deleted && unseen(&record.place())));
    }
    Some(Step { gone, upto, more: upto < compacted })
}

fn scrubbed(snapshot: &dyn Snapshot) -> Revision {
    let word = snapshot.get(Family::Meta, SCRUBBED_KEY).and_then(|word| word.as_ref().try_into().ok());
    word.map_or(0, Revision::from_be_bytes)
}

/// The directory of the current generation, made when there is none; generations left by a crash are removed.
///
/// # Errors
/// When the disk fails.
pub(crate) fn current_generation(home: &Path) -> Result<PathBuf, Error> {
    let found = (|| -> io::Result<PathBuf> {
        fs::create_dir_all(home)?;
        let current = match fs::read_to_string(home.join(CURRENT)) {
            Ok(name) => home.join(name.trim()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let first = home.join("gen-1");
                fs::create_dir_all(&first)?;
                point_at(home, &first)?;
                first
            }
            Err(error) => return Err(error),
        };
        for entry in fs::read_dir(home)? {
            let path = entry?.path();
            if path != current && generation_number(&path).is_some() {
                fs::remove_dir_all(path)?;
            }
        }
        Ok(current)
    })();
    found.map_err(|error| disk(home, &error))
}

fn generation_number(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_prefix("gen-")?.parse().ok()
}

fn point_at(home: &Path, generation: &Path) -> io::Result<()> {
    let name = generation.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let draft = home.join("CURRENT.new");
    fs::write(&draft, name)?;
    File::open(&draft)?.sync_all()?;
    File::open(generation)?.sync_all()?;
    fs::rename(&draft, home.join(CURRENT))?;
    File::open(home)?.sync_all()
}

fn disk(path: &Path, error: &io::Error) -> Error {
    Error::Stopped(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use proto::command::Command;
    use proto::command::command::Request;
    use proto::etcdserverpb as pb;

    use super::*;
    use crate::engine::memory::Memory;
    use crate::machine::{Body, Entry};

    #[test]
    fn a_key_that_is_there_again_is_not_removed_with_its_deletion() {
        let machine = Machine::over(Arc::new(Memory::default())).expect("a new machine");
        let apply = |request| {
            let body = Body::Command(Command { request: Some(request), ..Command::default() });
            machine.apply(&[Entry { applied: Bytes::new(), term: 1, body }]).expect("applied");
        };
        let put = |key: &'static str| Request::Put(pb::PutRequest { key: key.into(), ..pb::PutRequest::default() });
        apply(put("a"));
        apply(Request::DeleteRange(pb::DeleteRangeRequest { key: "a".into(), ..pb::DeleteRangeRequest::default() }));
        apply(put("b"));
        apply(Request::Compact(pb::CompactionRequest { revision: 4, physical: false }));
        let engine = machine.inner.engine.read().clone();
        let step = unseen(&machine.view(), 100).expect("something to remove");
        apply(put("a"));
        assert!(!machine.remove(&engine, step).expect("removed"));
        assert_eq!(machine.view().get(b"a").expect("put again").mod_revision, 5);
        assert_eq!(machine.view().history(0).count(), 3, "the deletion goes with the next compaction");
        apply(Request::Compact(pb::CompactionRequest { revision: 5, physical: false }));
        while machine.scrub(100).expect("the engine works") {}
        assert_eq!(machine.view().history(0).count(), 2);
        assert_eq!(machine.view().range(b"\0", b"\0").count(), 2);
    }
}

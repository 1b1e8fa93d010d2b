//! What compaction gave up, in bounded steps from a mark on that is written with each. Deletions leave the keys at once,
//! and what was superseded stays in the history for a while: nobody reads it but who looks back (`past`).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use crate::Error;
use crate::api::Revision;
use crate::engine::{Batch, Engine, Family, Snapshot};
use crate::machine::codec::{self, BURIED_KEY, FORGOTTEN_KEY};
use crate::machine::record::{self, Place, Record};
use crate::machine::view::{View, at, latest};
use crate::machine::{Machine, moments};

/// A step, and whether there are more.
struct Step {
    what: Removal,
    /// The mark behind it.
    upto: Revision,
    more: bool,
}

enum Removal {
    /// Deletions that nobody reads any more.
    Bury(Vec<Record>),
    /// What nobody can look back at any more.
    Forget(Vec<Record>),
}

impl Machine {
    /// Goes on with removing, looking at about `limit` changes. False when nothing is left to do.
    ///
    /// # Errors
    /// When the engine fails.
    pub(crate) fn scrub(&self, limit: usize) -> Result<bool, Error> {
        let engine = self.inner.engine.read().clone();
        match next(&View::new(engine.snapshot()), self.inner.kept_from.load(Ordering::Relaxed), limit) {
            Some(step) => self.remove(&engine, step, limit),
            None => Ok(false),
        }
    }

    /// Entries may have been applied since the step was planned: a key whose deletion is in it may be there again.
    fn remove(&self, engine: &Arc<dyn Engine>, step: Step, limit: usize) -> Result<bool, Error> {
        let _applying = self.inner.leases.lock();
        if !Arc::ptr_eq(engine, &self.inner.engine.read()) {
            // Another state was installed meanwhile.
            return Ok(true);
        }
        let (now, mut batch) = (engine.snapshot(), Batch::default());
        let mark = match &step.what {
            Removal::Bury(deletions) => {
                let newest =
                    |gone: &&Record| latest(&*now, &gone.kv.key).is_some_and(|held| held.place() == gone.place());
                deletions.iter().filter(newest).for_each(|gone| record::bury(&mut batch, gone));
                BURIED_KEY
            }
            Removal::Forget(records) => {
                records.iter().for_each(|gone| record::remove(&mut batch, gone));
                moments::forget(&*now, step.upto, limit, &mut batch);
                FORGOTTEN_KEY
            }
        };
        batch.put(Family::Meta, mark, step.upto.to_be_bytes().to_vec());
        engine.write(batch)?;
        Ok(step.more)
    }

    /// Keeps what is compacted for so many seconds of the machine's clock, but about so many bytes of it at most.
    pub(crate) fn keep(&self, seconds: i64, bytes: u64) {
        let (engine, view) = (self.inner.engine.read().clone(), self.view());
        let (snapshot, compacted) = (view.snapshot(), view.header().compacted);
        let until = view.header().time_ms.div_euclid(1000).saturating_sub(seconds);
        let old = moments::revision_at(snapshot, until).unwrap_or(compacted);
        let fits = |from: Revision| between(&*engine, from, compacted) <= bytes;
        let from = old.max(mark(snapshot, FORGOTTEN_KEY)).min(compacted);
        self.inner.kept_from.store(first(from, compacted, fits), Ordering::Relaxed);
    }

    /// Bytes of what is compacted and kept, about.
    pub(crate) fn kept_bytes(&self) -> u64 {
        if self.inner.kept_from.load(Ordering::Relaxed) == Revision::MAX {
            return 0;
        }
        between(&**self.inner.engine.read(), 0, self.view().header().compacted)
    }

    /// Returns when there may be something to remove.
    pub(crate) async fn compactions(&self) {
        self.inner.compactions.notified().await;
    }
}

fn between(engine: &dyn Engine, from: Revision, to: Revision) -> u64 {
    engine.size_between(Family::History, &codec::history_key(from, 0), &codec::history_key(to, 0))
}

/// PURE: the first revision from `low` on for which it is so, at most `high`; it is so for all after one for which it is.
fn first(mut low: Revision, mut high: Revision, so: impl Fn(Revision) -> bool) -> Revision {
    while low < high {
        let middle = low + (high - low) / 2;
        if so(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

/// A revision that is noted in `Family::Meta`, 0 where none is.
pub(super) fn mark(snapshot: &dyn Snapshot, key: &[u8]) -> Revision {
    let word = snapshot.get(Family::Meta, key).and_then(|word| word.as_ref().try_into().ok());
    word.map_or(0, Revision::from_be_bytes)
}

/// PURE: what is next; none when nothing is left to look at.
fn next(view: &View, kept_from: Revision, limit: usize) -> Option<Step> {
    let compacted = view.header().compacted;
    let (buried, forgotten) = (mark(view.snapshot(), BURIED_KEY), mark(view.snapshot(), FORGOTTEN_KEY));
    let floor = kept_from.min(compacted);
    if buried < compacted {
        Some(bury(view, buried, compacted, limit))
    } else if forgotten < floor {
        Some(forget(view, forgotten, floor, limit))
    } else {
        None
    }
}

/// PURE: compacted deletions of `from..to`. That of the revision compacted to can still be watched.
fn bury(view: &View, from: Revision, to: Revision, limit: usize) -> Step {
    let (mut rows, mut upto, mut places) = (0, to, Vec::new());
    let bounds = (codec::history_key(from, 0), codec::history_key(to, 0));
    view.snapshot().visit(Family::History, &bounds.0, Some(&bounds.1), &mut |place, row| {
        let revision = place.first_chunk().map_or(to, |revision| Revision::from_be_bytes(*revision));
        rows += 1;
        if rows > limit && revision > from {
            upto = revision;
            return false;
        }
        places.extend(record::newest_deletion(row).map(Bytes::copy_from_slice));
        true
    });
    let deletions = places.into_iter().filter_map(|key| latest(view.snapshot(), &key)).filter(|newest| newest.deleted);
    Step { what: Removal::Bury(deletions.collect()), upto, more: true }
}

/// PURE: what cannot be seen at `to` or later. What was left at `from` could be seen until now.
fn forget(view: &View, from: Revision, to: Revision, limit: usize) -> Step {
    let (left, _) = view.records(from, 1);
    let (records, upto) = view.records(from + 1, limit);
    let upto = upto.min(to);
    let mut gone = Vec::new();
    for record in left.into_iter().chain(records).filter(|record| record.kv.mod_revision <= upto) {
        let unseen = |place: &Place| place.revision < to;
        gone.extend(record.previous.filter(unseen).and_then(|place| at(view.snapshot(), place)));
        gone.extend(Some(record).filter(|record| record.deleted && unseen(&record.place())));
    }
    Step { what: Removal::Forget(gone), upto, more: upto < to }
}

#[cfg(test)]
mod tests {
    use proto::command::Command;
    use proto::command::command::Request;
    use proto::etcdserverpb as pb;

    use super::*;
    use crate::engine::memory::Memory;
    use crate::machine::{Body, Entry};

    fn machine() -> Machine {
        Machine::over(Arc::new(Memory::default())).expect("a new machine")
    }

    fn apply(machine: &Machine, time_ms: i64, request: Request) {
        let body = Body::Command(Command { request: Some(request), time_ms, ..Command::default() });
        machine.apply(&[Entry { applied: Bytes::new(), term: 1, body, asked: true }]).expect("applied");
    }

    fn put(key: &'static str) -> Request {
        Request::Put(pb::PutRequest { key: key.into(), ..pb::PutRequest::default() })
    }

    fn delete(key: &'static str) -> Request {
        Request::DeleteRange(pb::DeleteRangeRequest { key: key.into(), ..pb::DeleteRangeRequest::default() })
    }

    fn compact(revision: Revision) -> Request {
        Request::Compact(pb::CompactionRequest { revision, physical: false })
    }

    #[test]
    fn a_key_that_is_there_again_is_not_removed_with_its_deletion() {
        let machine = machine();
        [put("a"), delete("a"), put("b"), compact(4)].into_iter().for_each(|request| apply(&machine, 0, request));
        let engine = machine.inner.engine.read().clone();
        let step = next(&machine.view(), Revision::MAX, 100).expect("something to remove");
        apply(&machine, 0, put("a"));
        machine.remove(&engine, step, 100).expect("removed");
        assert_eq!(machine.view().get(b"a").expect("put again").mod_revision, 5);
        while machine.scrub(100).expect("the engine works") {}
        assert_eq!(machine.view().range(b"\0", b"\0").count(), 2);
        apply(&machine, 0, compact(5));
        while machine.scrub(100).expect("the engine works") {}
        assert_eq!((machine.view().history(0).count(), machine.view().range(b"\0", b"\0").count()), (2, 2));
    }

    #[test]
    fn what_is_kept_ends_with_its_time_or_its_bytes() {
        let machine = machine();
        // Revision n + 1 is written in second n.
        (1..=100).for_each(|second| apply(&machine, second * 1000, put("a")));
        apply(&machine, 100_500, compact(95));
        let left = |seconds, bytes| {
            machine.keep(seconds, bytes);
            while machine.scrub(7).expect("the engine works") {}
            machine.view().history(0).next().expect("something").kv.mod_revision
        };
        assert_eq!(left(1000, u64::MAX), 2, "all of it is younger");
        assert_eq!(left(50, u64::MAX), 51, "what was the newest 50 seconds ago");
        let half = machine.kept_bytes() / 2;
        let by_bytes = left(50, half);
        assert!((70..75).contains(&by_bytes), "{by_bytes}");
        assert!(machine.kept_bytes() <= half + 100);
        assert_eq!(left(0, u64::MAX), 95, "compaction's promise is another one");
        assert_eq!(moments::begin(machine.view().snapshot()), Some(95));
    }
}

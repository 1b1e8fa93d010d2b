//! PURE: how an empty etcd is brought to hold what a database holds, at the same revisions.
//!
//! A client cannot say which revision a change gets, only in which order changes come: each revision takes one transaction.
//! Of those up to the compaction most changes are gone. What is left of them are keys with the revisions at which they were
//! made and changed last, and how often they were changed; any history that ends so will do. Revisions at which nothing
//! visible happened change a key of our own, which is gone before the compaction, and with it whatever tells of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::request_op::Request;

use crate::api::Revision;
use crate::bbolt::Damaged;
use crate::moving::database::Change;

/// What a key of our own begins with.
const FILLER: &[u8] = b"\0raftsman export ";

/// Which changes count up to a compaction: the newest of each key that was there then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) compacted: Revision,
    rows: BTreeSet<(Revision, u32)>,
    /// Of keys that were changed more than once: when they were made, how often changed, and when last.
    past: Vec<(Bytes, Revision, i64, Revision)>,
}

impl Kept {
    /// Of all changes, in order; later ones are not looked at.
    ///
    /// # Errors
    /// As the changes.
    pub(super) fn of(
        changes: impl Iterator<Item = Result<Change, Damaged>>,
        compacted: Revision,
    ) -> Result<Self, Damaged> {
        let mut newest: HashMap<Bytes, (Revision, u32, Revision, i64)> = HashMap::new();
        for change in changes {
            let change = change?;
            if change.revision > compacted {
                break;
            }
            let kv = change.kv();
            if change.deletes() {
                newest.remove(&kv.key);
            } else {
                newest.insert(kv.key.clone(), (change.revision, change.position, kv.create_revision, kv.version));
            }
        }
        let rows = newest.values().map(|(revision, position, ..)| (*revision, *position)).collect();
        let past = newest.into_iter().filter(|(_, (.., version))| *version > 1);
        let mut past: Vec<_> =
            past.map(|(key, (modified, _, created, version))| (key, created, version, modified)).collect();
        past.sort();
        Ok(Kept { compacted, rows, past })
    }

    /// Whether a change counts. Deletions up to the compaction are gone, or may go.
    pub(super) fn counts(&self, change: &Change) -> bool {
        change.revision > self.compacted || self.rows.contains(&(change.revision, change.position))
    }
}

/// See the module. Asked for each revision in turn, beginning with the first that an empty etcd gives: 2.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    compacted: Revision,
    rows: BTreeSet<(Revision, u32)>,
    /// Keys that are made at a revision, and changed later.
    made: BTreeMap<Revision, Vec<Bytes>>,
    /// Keys that are to be changed from a revision on: how often, and until which revision.
    begins: BTreeMap<Revision, Vec<(Bytes, i64, Revision)>>,
    /// Of those, whose turn it is: the most pressing first, by the last revision at which to begin.
    open: BTreeSet<(Revision, Bytes, i64)>,
    filler: Bytes,
    /// Whether our own key is there.
    there: bool,
    /// Operations of a transaction.
    ops_max: usize,
    /// Keys whose number of changes cannot be reached.
    pub(super) unreached: u64,
}

/// Sets a key.
pub(super) fn put(key: Bytes, value: Bytes, lease: i64) -> pb::RequestOp {
    let put = pb::PutRequest { key, value, lease, ..pb::PutRequest::default() };
    pb::RequestOp { request: Some(Request::RequestPut(put)) }
}

/// Deletes a key, or those up to an end.
pub(super) fn delete(key: Bytes, range_end: Bytes) -> pb::RequestOp {
    let delete = pb::DeleteRangeRequest { key, range_end, ..pb::DeleteRangeRequest::default() };
    pb::RequestOp { request: Some(Request::RequestDeleteRange(delete)) }
}

/// A change as it was made.
pub(super) fn operation(change: Change) -> pb::RequestOp {
    let deletes = change.deletes();
    let kv = change.event.kv.unwrap_or_default();
    if deletes { delete(kv.key, Bytes::new()) } else { put(kv.key, kv.value, kv.lease) }
}

impl Plan {
    pub(super) fn new(kept: &Kept, ops_max: usize) -> Self {
        let mut made: BTreeMap<Revision, Vec<Bytes>> = BTreeMap::new();
        let mut begins: BTreeMap<Revision, Vec<(Bytes, i64, Revision)>> = BTreeMap::new();
        for (key, created, version, modified) in &kept.past {
            made.entry(*created).or_default().push(key.clone());
            if *version > 2 {
                begins.entry(created + 1).or_default().push((key.clone(), version - 2, *modified));
            }
        }
        let taken = |name: &[u8]| kept.past.iter().any(|(key, ..)| key.starts_with(name));
        let filler = (0_u64..).map(|number| [FILLER, number.to_string().as_bytes()].concat()).find(|name| !taken(name));
        Plan {
            compacted: kept.compacted,
            rows: kept.rows.clone(),
            made,
            begins,
            open: BTreeSet::new(),
            filler: filler.unwrap_or_default().into(),
            there: false,
            ops_max,
            unreached: 0,
        }
    }

    /// Transactions and operations that only stand for what is gone.
    pub(super) fn fillers(&self) -> u64 {
        let busy: BTreeSet<Revision> =
            self.rows.iter().map(|(revision, _)| *revision).chain(self.made.keys().copied()).collect();
        let idle = u64::try_from(self.compacted - 1).unwrap_or(0).saturating_sub(busy.len() as u64);
        let changes = self.begins.values().flatten().map(|(_, times, _)| u64::try_from(*times).unwrap_or(0));
        changes.fold(idle, u64::saturating_add)
    }

    /// Whether nothing visible is left of a revision.
    fn gap(&self, revision: Revision) -> bool {
        let kept = self.rows.range((revision, 0)..).next().is_some_and(|(next, _)| *next == revision);
        !kept && !self.made.contains_key(&revision)
    }

    /// The revision at which our own key goes.
    fn last(&self) -> Revision {
        if self.gap(self.compacted) { self.compacted } else { self.compacted - 1 }
    }

    /// How many revisions from this one on take nothing but a change of our own key, in any order.
    pub(super) fn idle(&self, revision: Revision) -> Revision {
        if !self.open.is_empty() {
            return 0;
        }
        let next = [
            self.rows.range((revision, 0)..).next().map(|(next, _)| *next),
            self.made.range(revision..).next().map(|(next, _)| *next),
            self.begins.range(revision..).next().map(|(next, _)| *next),
            Some(self.last()),
        ];
        next.into_iter().flatten().min().map_or(0, |next| (next - revision).max(0))
    }

    /// Notes that so many of them are done; what each of them is.
    pub(super) fn fill(&mut self) -> pb::RequestOp {
        self.there = true;
        put(self.filler.clone(), Bytes::new(), 0)
    }

    /// The operations of a revision up to the compaction, of which these changes are left.
    pub(super) fn step(&mut self, revision: Revision, rows: Vec<Change>) -> Vec<pb::RequestOp> {
        let mut ops: Vec<_> = rows.into_iter().map(operation).collect();
        for key in self.made.remove(&revision).unwrap_or_default() {
            ops.push(put(key, Bytes::new(), 0));
        }
        self.change_again(revision, &mut ops);
        let (gap, last) = (ops.is_empty(), self.last());
        let goes = self.there && revision >= last;
        // Where its end is all that happens, it must have been there.
        let soon = !self.there && revision + 1 == last && self.gap(last);
        if goes {
            ops.push(delete(self.filler.clone(), Bytes::new()));
            self.there = false;
        } else if gap || soon {
            ops.push(self.fill());
        }
        ops
    }

    /// Changes keys that were changed more often than can be seen, as many as there is room for.
    fn change_again(&mut self, revision: Revision, ops: &mut Vec<pb::RequestOp>) {
        for (key, times, modified) in self.begins.remove(&revision).unwrap_or_default() {
            self.open.insert((modified - times, key, times));
        }
        let mut again = Vec::new();
        // One for our own key.
        while ops.len() + 1 < self.ops_max
            && let Some((begin, key, times)) = self.open.pop_first()
        {
            if revision >= begin + times {
                self.unreached += 1;
                continue;
            }
            ops.push(put(key.clone(), Bytes::new(), 0));
            if times > 1 {
                again.push((begin + 1, key, times - 1));
            }
        }
        self.open.extend(again);
    }
}

#[cfg(test)]
mod tests;

//! Making an etcd's history: each revision as one transaction, in order.

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use proto::etcdserverpb as pb;
use proto::etcdserverpb::request_op::Request;

use crate::api::Revision;
use crate::bbolt::Source;
use crate::moving::client::{Client, problem};
use crate::moving::compare::after;
use crate::moving::database::EtcdDatabase;
use crate::moving::plan::{Kept, Plan, delete, operation};
use crate::moving::{Problem, Progress};

/// Changes of our own key that are under way at once: their order does not matter.
const AT_ONCE: usize = 64;

/// See the module.
pub(super) struct Replay<'a, S> {
    pub(super) to: &'a Client,
    pub(super) etcd: &'a EtcdDatabase<S>,
    pub(super) kept: &'a Kept,
    pub(super) ops_max: usize,
    pub(super) progress: &'a Progress,
}

impl<S: Source> Replay<'_, S> {
    /// Brings an empty etcd to the newest revision; answers for how many keys the number of changes cannot be the same.
    pub(super) async fn run(&self) -> Result<u64, Problem> {
        let (facts, mut plan) = (&self.etcd.facts, Plan::new(self.kept, self.ops_max));
        let mut changes = self.etcd.changes()?.peekable();
        let mut revision = 2;
        while revision <= facts.revision {
            self.tell(revision)?;
            if revision <= facts.compacted {
                let idle = plan.idle(revision);
                if idle > 0 {
                    self.fill(plan.fill(), revision, idle).await?;
                    revision += idle;
                    continue;
                }
            }
            let mut rows = Vec::new();
            while let Some(change) =
                changes.next_if(|change| !matches!(change, Ok(change) if change.revision > revision))
            {
                let change = change?;
                if change.revision == revision && self.kept.counts(&change) {
                    rows.push(change);
                }
            }
            let ops = if revision <= facts.compacted {
                plan.step(revision, rows)
            } else {
                rows.into_iter().map(operation).collect()
            };
            self.commit(revision, ops).await?;
            revision += 1;
        }
        Ok(plan.unreached)
    }

    fn tell(&self, revision: Revision) -> Result<(), Problem> {
        let word = |revision: Revision| u64::try_from(revision).unwrap_or(0);
        self.progress.at("revisions written", word(revision - 1), word(self.etcd.facts.revision))
    }

    /// Takes revisions up that nothing is left of.
    async fn fill(&self, op: pb::RequestOp, from: Revision, count: Revision) -> Result<(), Problem> {
        let Some(Request::RequestPut(put)) = op.request else { return Ok(()) };
        let puts = (from..from + count).map(|revision| {
            let (mut kv, put) = (self.to.kv(), put.clone());
            async move {
                self.tell(revision)?;
                kv.put(put).await.map_err(|status| problem("a revision cannot be filled", &status))
            }
        });
        stream::iter(puts).buffer_unordered(AT_ONCE).try_for_each(|_| std::future::ready(Ok(()))).await
    }

    async fn commit(&self, revision: Revision, ops: Vec<pb::RequestOp>) -> Result<(), Problem> {
        if ops.is_empty() {
            return Err(Problem::Refused(format!(
                "revision {revision} holds no change, though it is not compacted; --without-history moves the keys as they \
                 are now"
            )));
        }
        let (asked, ops) = (ops.len(), self.together(ops).await?);
        if ops.len() > self.ops_max {
            return Err(Problem::Refused(format!(
                "revision {revision} makes {asked} changes in one transaction; start the etcd with --max-txn-ops {asked} and \
                 say --max-txn-ops {asked} here"
            )));
        }
        let txn = pb::TxnRequest { success: ops, ..pb::TxnRequest::default() };
        let done = self.to.kv().txn(txn).await.map_err(|status| problem(&format!("revision {revision}"), &status))?;
        let reached = done.into_inner().header.map_or(0, |header| header.revision);
        if reached != revision {
            return Err(Problem::Refused(format!(
                "the etcd is at revision {reached} instead of {revision}: somebody else writes to it, or a lease ended; start \
                 again with an empty one"
            )));
        }
        Ok(())
    }

    /// Deletions of neighbours as one operation, where there are too many operations.
    async fn together(&self, ops: Vec<pb::RequestOp>) -> Result<Vec<pb::RequestOp>, Problem> {
        if ops.len() <= self.ops_max {
            return Ok(ops);
        }
        let puts: Vec<Bytes> = ops.iter().filter_map(|op| set(op).cloned()).collect();
        let mut out = Vec::new();
        let mut run: Vec<Bytes> = Vec::new();
        for op in ops {
            match gone(&op) {
                // In the order in which a range is deleted.
                Some(key) if run.last().is_none_or(|last| last < key) => run.push(key.clone()),
                deleted => {
                    let next = deleted.cloned();
                    self.merge(&std::mem::take(&mut run), &puts, &mut out).await?;
                    match next {
                        Some(key) => run.push(key),
                        None => out.push(op),
                    }
                }
            }
        }
        self.merge(&run, &puts, &mut out).await?;
        Ok(out)
    }

    /// Halves a run of deletions until each piece has no other keys between its own.
    async fn merge(&self, keys: &[Bytes], puts: &[Bytes], out: &mut Vec<pb::RequestOp>) -> Result<(), Problem> {
        let mut pieces = vec![keys];
        while let Some(piece) = pieces.pop() {
            let [first, .., last] = piece else {
                out.extend(piece.iter().map(|key| delete(key.clone(), Bytes::new())));
                continue;
            };
            let end = after(last);
            let clear = !puts.iter().any(|key| key >= first && *key < end);
            if clear && self.count(first, &end).await? == piece.len() as u64 {
                out.push(delete(first.clone(), end));
                continue;
            }
            let (one, other) = piece.split_at(piece.len() / 2);
            pieces.extend([other, one]);
        }
        Ok(())
    }

    async fn count(&self, from: &Bytes, to: &Bytes) -> Result<u64, Problem> {
        let request = pb::RangeRequest {
            key: from.clone(),
            range_end: to.clone(),
            count_only: true,
            ..pb::RangeRequest::default()
        };
        let found = self.to.kv().range(request).await.map_err(|status| problem("keys cannot be counted", &status))?;
        Ok(u64::try_from(found.into_inner().count).unwrap_or(0))
    }
}

/// The key that an operation sets.
fn set(op: &pb::RequestOp) -> Option<&Bytes> {
    if let Some(Request::RequestPut(put)) = &op.request { Some(&put.key) } else { None }
}

/// The key that an operation deletes.
fn gone(op: &pb::RequestOp) -> Option<&Bytes> {
    match &op.request {
        Some(Request::RequestDeleteRange(range)) if range.range_end.is_empty() => Some(&range.key),
        _ => None,
    }
}

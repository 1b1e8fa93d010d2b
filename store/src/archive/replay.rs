//! Entries of an archive applied to a base, up to a target and not beyond.

use proto::command::command::Request;
use proto::command::{Command, TxnBatch};

use crate::api::Revision;
use crate::archive::chain::Target;
use crate::archive::segment::Segment;
use crate::backup::BackupError;
use crate::machine::{Body, Entry, Machine};
use crate::raft::apply::parse_row;

/// Commands applied together.
const TOGETHER: usize = 512;

/// A machine on its way to a target.
pub(super) struct Replay {
    pub(super) machine: Machine,
    target: Target,
    /// Index of the last entry that was looked at.
    index: u64,
    reached: bool,
}

/// How many revisions a command makes at most.
fn weight(entry: &Entry) -> i64 {
    match &entry.body {
        Body::Command(Command { request: Some(Request::Batch(batch)), .. }) => {
            i64::try_from(batch.txns.len()).unwrap_or(i64::MAX)
        }
        Body::Command(_) => 1,
        Body::Membership(_) | Body::Blank => 0,
    }
}

/// PURE: how many of these come before the target: all of them, or it is reached behind so many.
fn before(target: Target, revision: Revision, entries: &[Entry]) -> (usize, bool) {
    match target {
        Target::Newest => (entries.len(), false),
        Target::Time(time) => {
            let beyond = |entry: &Entry| matches!(&entry.body, Body::Command(command) if command.time_ms > time);
            let count = entries.iter().position(beyond);
            (count.unwrap_or(entries.len()), count.is_some())
        }
        Target::Revision(wanted) => {
            if revision >= wanted {
                return (0, true);
            }
            let mut room = wanted - revision;
            let fits = |entry: &&Entry| {
                room -= weight(entry);
                room >= 0
            };
            (entries.iter().take_while(fits).count(), false)
        }
    }
}

impl Replay {
    /// From a base on, whose last entry has this index.
    pub(super) fn new(machine: Machine, index: u64, target: Target) -> Self {
        let mut replay = Replay { machine, target, index, reached: false };
        replay.reached = replay.before(&[]).1;
        replay
    }

    /// Whether the target is reached: what follows is beyond it.
    pub(super) fn reached(&self) -> bool {
        self.reached
    }

    /// Index of the last entry that was looked at.
    pub(super) fn index(&self) -> u64 {
        self.index
    }

    pub(super) fn revision(&self) -> Revision {
        self.machine.view().revision()
    }

    fn before(&self, entries: &[Entry]) -> (usize, bool) {
        before(self.target, self.revision(), entries)
    }

    /// Applies what comes before the target.
    ///
    /// # Errors
    /// When entries are not what they must be, or what comes out differs from what its leader had.
    pub(super) fn segment(&mut self, segment: &Segment) -> Result<(), BackupError> {
        let mut commands = Vec::new();
        for row in &segment.entries {
            let (index, parsed) = parse_row(row.clone())?;
            if index <= self.index {
                continue;
            }
            if index != self.index + 1 {
                return Err(BackupError::Content(format!("entry {} is missing", self.index + 1)));
            }
            commands.extend(parsed);
            if commands.len() >= TOGETHER && !self.apply(std::mem::take(&mut commands))? {
                return Ok(());
            }
            self.index = index;
        }
        if !self.apply(commands)? {
            return Ok(());
        }
        let view = self.machine.view();
        let now = (view.revision(), view.header().hash);
        match segment.head.after.filter(|then| *then != now) {
            None => Ok(()),
            Some(then) => Err(BackupError::Content(format!(
                "after entry {} the state has revision {} and checksum {:08x} instead of {} and {:08x}",
                segment.head.last, now.0, now.1, then.0, then.1
            ))),
        }
    }

    /// Whether all of them were applied.
    fn apply(&mut self, entries: Vec<Entry>) -> Result<bool, BackupError> {
        let mut rest = &entries[..];
        while !rest.is_empty() {
            let (count, reached) = self.before(rest);
            let (now, later) = rest.split_at(count);
            self.machine.apply(now)?;
            if reached {
                self.reached = true;
                return Ok(false);
            }
            rest = later;
            // The first of them may make more revisions than are left to the target.
            if count == 0 {
                let (first, later) = rest.split_first().expect("not empty");
                self.one_by_one(first)?;
                rest = later;
            }
        }
        self.reached = self.before(&[]).1;
        Ok(!self.reached)
    }

    /// A batch of transactions up to the target.
    fn one_by_one(&mut self, entry: &Entry) -> Result<(), BackupError> {
        let Body::Command(Command { request: Some(Request::Batch(batch)), .. }) = &entry.body else {
            self.machine.apply(std::slice::from_ref(entry))?;
            return Ok(());
        };
        for txn in &batch.txns {
            if self.before(&[]).1 {
                return Ok(());
            }
            let mut single = entry.clone();
            if let Body::Command(command) = &mut single.body {
                command.request = Some(Request::Batch(TxnBatch { txns: vec![txn.clone()] }));
            }
            self.machine.apply(&[single])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use prost::Message;
    use proto::etcdserverpb as pb;
    use proto::peer;

    use super::*;
    use crate::archive::segment::{Head, read, write};
    use crate::archive::track::Track;
    use crate::engine::memory::Memory;

    fn put(key: &str, value: &str) -> pb::PutRequest {
        pb::PutRequest { key: key.to_owned().into(), value: value.to_owned().into(), ..pb::PutRequest::default() }
    }

    fn txn(key: &str, value: &str) -> pb::TxnRequest {
        let request = Some(pb::request_op::Request::RequestPut(put(key, value)));
        pb::TxnRequest { success: vec![pb::RequestOp { request }], ..pb::TxnRequest::default() }
    }

    /// What a cluster did: entry 1 is blank, every command has the time of its entry.
    fn history() -> Vec<Vec<Request>> {
        let batch = |from: u32| {
            Request::Batch(TxnBatch { txns: (from..from + 4).map(|n| txn(&format!("b{n}"), "x")).collect() })
        };
        let grant = Request::LeaseGrant(pb::LeaseGrantRequest { id: 7, ttl: 60 });
        let leased = Request::Put(pb::PutRequest { lease: 7, ..put("l", "1") });
        let gone =
            Request::DeleteRange(pb::DeleteRangeRequest { key: "a".into(), ..pb::DeleteRangeRequest::default() });
        vec![
            vec![Request::Put(put("a", "1"))],
            vec![grant, leased, Request::Put(put("a", "2"))],
            vec![batch(0)],
            vec![gone, Request::Put(put("c", "3")), Request::Put(put("a", "4"))],
            vec![Request::LeaseRevoke(pb::LeaseRevokeRequest { id: 7 }), batch(2)],
        ]
    }

    fn rows() -> Vec<Bytes> {
        let entry = |(index, requests): (u64, Vec<Request>)| {
            let time_ms = i64::try_from(index).expect("small") * 1000;
            let command =
                |request| Command { time_ms, request: Some(request), ..Command::default() }.encode_to_vec().into();
            let commands = requests.into_iter().map(command).collect();
            let payload = Some(peer::entry::Payload::Group(peer::Commands { commands }));
            peer::Entry { log_id: Some(peer::LogId { term: 1, index }), payload }.encode_to_vec().into()
        };
        (1..).zip(history()).map(entry).collect()
    }

    fn segment(entries: Vec<Bytes>, first: u64, after: Option<(Revision, u32)>) -> Segment {
        let last = first + entries.len() as u64 - 1;
        let previous = Track::BEGIN.to_string();
        let head = Head { cluster_id: 1, first, last, time_ms: 0, after, previous };
        let rows: Vec<_> = (first..).zip(entries).collect();
        read(write(&head, &rows).expect("memory").0.as_slice()).expect("whole")
    }

    fn replayed(target: Target) -> Replay {
        let machine = Machine::over(Arc::new(Memory::default())).expect("a machine");
        let mut replay = Replay::new(machine, 0, target);
        for (at, row) in (1..).zip(rows()) {
            if !replay.reached() {
                replay.segment(&segment(vec![row], at, None)).expect("applied");
            }
        }
        replay
    }

    #[test]
    fn every_revision_is_reached_and_none_is_passed() {
        let all = replayed(Target::Newest);
        let last = all.revision();
        assert!(last > 10, "{last}");
        for revision in 2..=last {
            let replay = replayed(Target::Revision(revision));
            assert_eq!(replay.revision(), revision);
            let then: Vec<_> =
                all.machine.view().at(revision).alive().map(|record| (record.kv, record.position)).collect();
            let found: Vec<_> = replay.machine.view().alive().map(|record| (record.kv, record.position)).collect();
            assert_eq!(found, then, "at revision {revision}");
        }
        assert!(!replayed(Target::Revision(last + 1)).reached(), "there is no more");
    }

    #[test]
    fn a_time_is_reached_with_everything_that_was_written_until_then() {
        let revisions: Vec<_> =
            [999, 1000, 1999, 2000, 3500, 60_000].map(|time| replayed(Target::Time(time)).revision()).into();
        assert_eq!(revisions, [1, 2, 2, 4, 8, 16]);
        let replay = replayed(Target::Time(4000));
        assert_eq!(replay.machine.leases(), [(7, 60, 0)], "revoked later");
        assert_eq!(replayed(Target::Newest).machine.leases(), []);
    }

    #[test]
    fn what_comes_out_is_compared_and_entries_must_follow_each_other() {
        let all = replayed(Target::Newest);
        let right = (all.revision(), all.machine.view().header().hash);
        let run = |rows: Vec<Bytes>, after| {
            let machine = Machine::over(Arc::new(Memory::default())).expect("a machine");
            Replay::new(machine, 0, Target::Newest).segment(&segment(rows, 1, Some(after)))
        };
        run(rows(), right).expect("the same");
        assert!(run(rows(), (right.0, right.1 ^ 1)).is_err_and(|error| error.to_string().contains("checksum")));
        let machine = Machine::over(Arc::new(Memory::default())).expect("a machine");
        let mut replay = Replay::new(machine, 0, Target::Newest);
        replay.segment(&segment(rows()[..2].to_vec(), 1, None)).expect("applied");
        let later = replay.segment(&segment(rows()[3..].to_vec(), 4, Some(right)));
        assert!(later.is_err_and(|error| error.to_string().contains("entry 3 is missing")));
    }
}

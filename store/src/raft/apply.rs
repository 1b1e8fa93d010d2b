//! The state machine as openraft wants it: committed entries in, answers out, snapshots as directories.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use prost::Message;
use proto::command::Command;
use proto::peer;

use crate::edge::drive::Defect;
use crate::machine::{self, Body, Machine, Position};
use crate::raft::checkpoint::{Checkpoint, Checkpoints};
use crate::raft::types::{Entry, LogId, Meta, Proposal, Snapshot, StoredMembership, Types};
use crate::raft::wire;

/// Entries applied as one batch at most.
const TOGETHER: usize = 256;

/// See the module; clones share everything.
#[derive(Clone)]
pub(crate) struct StateMachine {
    pub(crate) machine: Machine,
    pub(crate) checkpoints: Arc<Checkpoints>,
}

/// What the state machine's words about itself mean.
pub(crate) fn parse_position(position: &Position) -> io::Result<(Option<LogId>, StoredMembership)> {
    let applied = if position.applied.is_empty() {
        None
    } else {
        Some(wire::parse_log_id(&peer::LogId::decode(position.applied.clone()).map_err(wire::invalid)?))
    };
    let membership = if position.membership.is_empty() {
        StoredMembership::default()
    } else {
        let stored = peer::Membership::decode(position.membership.clone()).map_err(wire::invalid)?;
        wire::parse_stored_membership(&stored)?
    };
    Ok((applied, membership))
}

/// What an entry carries, in order; commands of one entry share its place. `asked`: somebody here waits for its answer.
fn parse_entry(entry: Entry, asked: bool) -> io::Result<Vec<machine::Entry>> {
    let id = wire::log_id(&entry.log_id);
    let bodies = match entry.payload {
        EntryPayload::Blank => vec![Body::Blank],
        EntryPayload::Normal(Proposal(commands)) => {
            let parse = |command| Command::decode(command).map(Body::Command).map_err(wire::invalid);
            commands.into_iter().map(parse).collect::<io::Result<_>>()?
        }
        EntryPayload::Membership(held) => {
            vec![Body::Membership(wire::membership(&held, Some(id)).encode_to_vec().into())]
        }
    };
    let applied = Bytes::from(id.encode_to_vec());
    Ok(bodies.into_iter().map(|body| machine::Entry { applied: applied.clone(), term: id.term, body, asked }).collect())
}

/// The index of an entry as the log holds it, and what it carries; nobody waits for its answer.
pub(crate) fn parse_row(row: Bytes) -> io::Result<(u64, Vec<machine::Entry>)> {
    let entry = wire::parse_entry(row)?;
    Ok((entry.log_id.index, parse_entry(entry, false)?))
}

impl RaftStateMachine<Types> for StateMachine {
    type SnapshotData = Arc<Checkpoint>;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        parse_position(&self.machine.position())
    }

    async fn apply<S>(&mut self, entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        let mut ready = entries.ready_chunks(TOGETHER);
        while let Some(chunk) = ready.next().await {
            let (mut entries, mut responders) = (Vec::with_capacity(chunk.len()), Vec::with_capacity(chunk.len()));
            for item in chunk {
                let (entry, responder) = item?;
                let parsed = parse_entry(entry, responder.is_some())?;
                responders.push((responder, parsed.len()));
                entries.extend(parsed);
            }
            let mut outcomes = self.machine.apply(&entries).map_err(io::Error::other)?.into_iter();
            for (responder, count) in responders {
                let outcomes = outcomes.by_ref().take(count).collect();
                if let Some(responder) = responder {
                    responder.send(outcomes);
                }
            }
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, _force: bool) -> Option<Self> {
        Some(self.clone())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, _meta: &Meta, snapshot: Arc<Checkpoint>) -> io::Result<()> {
        if self.machine.planted().has(Defect::SnapshotsUninstalled) {
            return Ok(());
        }
        let this = self.clone();
        // Opens a database: off the runtime's threads.
        let installed = crate::edge::blocking(move || {
            this.machine.install(snapshot.dir()).map_err(io::Error::other)?;
            // What was installed must be what is handed on from now on: a copy of it, by hard links.
            this.checkpoints.take(&this.machine).map(|_| ())
        });
        installed.await.map_err(io::Error::other)?
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        Ok(self.checkpoints.current())
    }
}

impl RaftSnapshotBuilder<Types> for StateMachine {
    type SnapshotData = Arc<Checkpoint>;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let this = self.clone();
        // Flushes memory to disk: off the runtime's threads.
        crate::edge::blocking(move || this.checkpoints.take(&this.machine)).await.map_err(io::Error::other)?
    }
}

//! `Store`: the whole public interface.

use bytes::Bytes;
use proto::etcdserverpb as pb;
use proto::mvccpb::{Event, KeyValue};
use tokio::sync::watch;

use crate::Error;
use crate::config::Config;

/// The store's counter: one per transaction that wrote something.
pub type Revision = i64;
/// The number of a leadership; grows for ever, over restores too. 0 is none.
pub type Epoch = u64;
/// A member's id, random and never used twice.
pub type MemberId = u64;

/// Who leads, as this member knows it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Leadership {
    /// The current leadership's number.
    pub epoch: Epoch,
    /// Its holder, when known.
    pub leader: Option<MemberId>,
    /// Set while this member leads and has applied everything of earlier leaderships: it may act.
    pub acting: bool,
}

/// A member of the Raft group.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its id.
    pub id: MemberId,
    /// The server's name.
    pub name: String,
    /// `host:port` for peers.
    pub peer_address: String,
    /// `host:port` of its etcd API.
    pub client_address: String,
    /// Votes, or only learns.
    pub voter: bool,
    /// Log entries it lacks, known only on the leader.
    pub lag: Option<u64>,
    /// Opaque words its owner attached (the control plane puts its API address here).
    pub context: Bytes,
}

/// A handle to the open store; cheap to clone.
#[derive(Clone)]
pub struct Store {}

/// A consistent picture of the local replica; reads never wait and never change.
pub struct View {}

impl View {
    /// The revision this view shows.
    pub fn revision(&self) -> Revision {
        todo!()
    }
    /// The newest value of one key.
    pub fn get(&self, _key: &[u8]) -> Option<KeyValue> {
        todo!()
    }
    /// Keys in `[key, end)` in order, etcd's conventions for `end` (empty: one key, `\0`: to the last).
    pub fn range<'a>(&'a self, _key: &[u8], _end: &[u8]) -> Box<dyn Iterator<Item = KeyValue> + Send + 'a> {
        todo!()
    }
    /// How many keys lie in the range.
    pub fn count(&self, _key: &[u8], _end: &[u8]) -> u64 {
        todo!()
    }
}

/// What to watch. `start_revision` 0 means from now on.
#[derive(Clone, Debug, Default)]
pub struct WatchSpec {
    /// First key.
    pub key: Bytes,
    /// etcd's conventions.
    pub range_end: Bytes,
    /// First revision wanted.
    pub start_revision: Revision,
    /// Attach the value before each event.
    pub prev_kv: bool,
}

/// Events of whole revisions, in order, without gaps.
#[derive(Clone, Debug)]
pub struct WatchBatch {
    /// Everything up to here has been delivered (also set when `events` is empty: progress).
    pub revision: Revision,
    /// Shared with every other watcher.
    pub events: Vec<std::sync::Arc<Event>>,
}

/// Why a watch ended.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WatchError {
    /// The wanted revision is gone: list again.
    #[error("required revision has been compacted")]
    Compacted {
        /// The oldest revision that can still be read.
        compact_revision: Revision,
    },
    /// The store closed.
    #[error("store stopped")]
    Stopped,
}

/// One watcher: a cursor into the shared history.
pub struct Watcher {}

impl Watcher {
    /// The next events; cancel safe. Never returns an empty batch.
    ///
    /// # Errors
    /// When the cursor fell below the compacted revision, or the store stopped.
    pub async fn next(&mut self) -> Result<WatchBatch, WatchError> {
        todo!()
    }
    /// The revision up to which everything has been delivered.
    pub fn synced(&self) -> Revision {
        todo!()
    }
}

impl Store {
    /// Opens the data directory, recovers, joins or starts the group, and serves peers.
    ///
    /// # Errors
    /// When the directory is locked, damaged, of a newer format, or the cluster cannot be joined; the text says what to do.
    pub async fn open(_config: Config) -> Result<Store, Error> {
        todo!()
    }

    /// A range, linearizable unless the request says serializable.
    ///
    /// # Errors
    /// As etcd's Range.
    pub async fn range(&self, _request: pb::RangeRequest) -> Result<pb::RangeResponse, Error> {
        todo!()
    }

    /// One transaction. With an epoch, apply refuses it under any other leadership (`Refusal::STALE_EPOCH`).
    ///
    /// # Errors
    /// When refused, or when the outcome is unknown.
    pub async fn txn(&self, _epoch: Epoch, _request: pb::TxnRequest) -> Result<pb::TxnResponse, Error> {
        todo!()
    }

    /// Several transactions in one log entry, each with its own verdict and revision.
    ///
    /// # Errors
    /// The outer error is the whole entry's.
    pub async fn txn_batch(
        &self,
        _epoch: Epoch,
        _txns: Vec<pb::TxnRequest>,
    ) -> Result<Vec<Result<pb::TxnResponse, Error>>, Error> {
        todo!()
    }

    /// Waits until local reads include everything acknowledged before the call (ReadIndex); answers the local revision.
    ///
    /// # Errors
    /// When no leader confirms in time.
    pub async fn barrier(&self) -> Result<Revision, Error> {
        todo!()
    }

    /// The local replica now; call `barrier` first for a linearizable read.
    pub fn view(&self) -> View {
        todo!()
    }

    /// The local replica at a past revision.
    ///
    /// # Errors
    /// `Refused` with `COMPACTED` or `FUTURE_REVISION`.
    pub fn view_at(&self, _revision: Revision) -> Result<View, Error> {
        todo!()
    }

    /// Waits until the local replica has applied `revision`.
    ///
    /// # Errors
    /// When the store stops first.
    pub async fn applied(&self, _revision: Revision) -> Result<(), Error> {
        todo!()
    }

    /// Follows a range from a revision on.
    pub fn watch(&self, _spec: WatchSpec) -> Watcher {
        todo!()
    }

    /// Who leads, and every change of it.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        todo!()
    }

    /// This member's id.
    pub fn id(&self) -> MemberId {
        todo!()
    }

    /// The group as the local replica knows it.
    pub fn members(&self) -> Vec<Member> {
        todo!()
    }

    /// Replaces the words attached to this member (bounded: 4 KiB).
    ///
    /// # Errors
    /// As a write.
    pub async fn set_member_context(&self, _context: Bytes) -> Result<(), Error> {
        todo!()
    }

    /// Removes a member; its disk can never vote again.
    ///
    /// # Errors
    /// When unknown, or when the rest would have no quorum.
    pub async fn member_remove(&self, _id: MemberId) -> Result<(), Error> {
        todo!()
    }

    /// Hands leadership to a caught-up voter.
    ///
    /// # Errors
    /// When the target is not a caught-up voter.
    pub async fn transfer_leader(&self, _to: MemberId) -> Result<(), Error> {
        todo!()
    }

    /// Sends a datagram to every other member: at most once, unordered between members, dropped when a peer is slow
    /// (bound: 64 KiB each, 256 waiting).
    pub fn broadcast(&self, _payload: Bytes) {
        todo!()
    }

    /// Datagrams from other members.
    pub fn datagrams(&self) -> tokio::sync::broadcast::Receiver<(MemberId, Bytes)> {
        todo!()
    }

    /// Compacts history up to `revision`.
    ///
    /// # Errors
    /// `Refused` with `COMPACTED` or `FUTURE_REVISION`.
    pub async fn compact(&self, _revision: Revision) -> Result<(), Error> {
        todo!()
    }

    /// Drains, hands leadership over when leading, closes.
    pub async fn shutdown(&self) {
        todo!()
    }
}

//! The words of the public interface: revisions, epochs, leadership, members, watches.

use bytes::Bytes;
use proto::mvccpb::Event;

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

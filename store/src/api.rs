//! The words of the public interface: revisions, epochs, leadership, members, watches.

use std::any::Any;
use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
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
    /// Where its peers reach it.
    pub peer_urls: Vec<String>,
    /// Where clients reach its etcd API; none before it has started.
    pub client_urls: Vec<String>,
    /// Votes, or only learns.
    pub voter: bool,
    /// Only learns until it is promoted on request.
    pub learner: bool,
    /// Log entries it lacks, known only on the leader.
    pub lag: Option<u64>,
    /// Opaque words its owner attached (the control plane puts its API address here).
    pub context: Bytes,
}

impl Member {
    /// `host:port` of its first URL for peers.
    pub fn peer_address(&self) -> &str {
        let url = self.peer_urls.first().map_or("", String::as_str);
        url.split_once("://").map_or(url, |(_, address)| address)
    }
}

/// How a member stands, for those who keep an eye on it.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Raft's term.
    pub term: u64,
    /// Who leads, when known.
    pub leader: Option<MemberId>,
    /// Whether it is this member.
    pub leads: bool,
    /// Index of the last entry applied.
    pub applied: u64,
    /// Index of the last entry in the log.
    pub log_index: u64,
    /// Bytes of the log's entries.
    pub log_bytes: u64,
    /// The newest revision here.
    pub revision: Revision,
    /// Size of the state's files, bytes.
    pub size_bytes: u64,
    /// Members of the group.
    pub members: usize,
    /// How the archive stands, where there is one.
    pub archive: Option<crate::archive::Standing>,
    /// How long the log's syncs to disk took.
    pub syncs: Arc<crate::durations::Durations>,
}

/// A state as one number: members that hold the same have the same, where their other fields are equal too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateHash {
    /// Over everything readable at `revision` and before.
    pub hash: u32,
    /// The newest revision in it.
    pub revision: Revision,
    /// What was compacted when it was taken.
    pub compacted: Revision,
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

/// An event, as all watchers share it.
#[derive(Debug)]
pub struct Occurrence {
    event: Event,
    note: Mutex<Option<Arc<dyn Any + Send + Sync>>>,
}

impl Occurrence {
    /// Of an event.
    pub fn new(event: Event) -> Self {
        Occurrence { event, note: Mutex::new(None) }
    }

    /// What was made of it before by another reader, or is made of it now. Old events forget it.
    pub fn note<T: Any + Send + Sync>(&self, make: impl FnOnce() -> T) -> Arc<T> {
        let mut note = self.note.lock();
        if let Some(held) = note.clone().and_then(|held| held.downcast::<T>().ok()) {
            return held;
        }
        let made = Arc::new(make());
        *note = Some(made.clone());
        made
    }

    pub(crate) fn forget(&self) {
        *self.note.lock() = None;
    }
}

impl Deref for Occurrence {
    type Target = Event;

    fn deref(&self) -> &Event {
        &self.event
    }
}

/// Events of whole revisions, in order, without gaps.
#[derive(Clone, Debug)]
pub struct WatchBatch {
    /// Everything up to here has been delivered (also set when `events` is empty: progress).
    pub revision: Revision,
    /// Shared with every other watcher.
    pub events: Vec<Arc<Occurrence>>,
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

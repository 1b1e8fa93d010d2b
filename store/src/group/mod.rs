//! The Raft group as this member takes part in it: writes and reads that the leader decides, and who belongs to it.

pub(crate) mod agreement;
pub(crate) mod cluster;
pub(crate) mod datagrams;
mod dead;
mod deadlines;
pub(crate) mod leadership;
mod led;
pub(crate) mod lessor;
pub(crate) mod members;
mod propose;
pub(crate) mod queue;
pub(crate) mod quota;
pub(crate) mod space;
mod stall;
pub(crate) mod strict;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use openraft::ServerState;
use openraft::async_runtime::WatchReceiver;
use proto::peer::{self, failure::Reason};
use tokio::sync::{Mutex, Semaphore, SemaphorePermit, watch};

use crate::Error;
use crate::api::MemberId;
use crate::edge::planted::Planted;
use crate::group::agreement::Agreement;
use crate::group::queue::{Queue, Read, Write};
use crate::group::space::Space;
use crate::raft::peers::{Client, Peers, Purpose};
use crate::raft::types::Raft;

/// Bytes of writes under way at most; further ones are refused.
const UNDER_WAY_BYTES_MAX: usize = 256 << 20;
/// What a write counts for at least, bytes: bounds their number too.
const WRITE_BYTES_MIN: u32 = 16 << 10;

/// See the module.
pub(crate) struct Group {
    pub(crate) id: MemberId,
    pub(crate) raft: Raft,
    pub(crate) peers: Arc<Peers>,
    /// How long a call may look for a leader or wait for its answer.
    pub(crate) patience: Duration,
    pub(crate) space: Space,
    room: Semaphore,
    writes: Queue<Write>,
    reads: Queue<Read>,
    /// One change of the membership at a time.
    changing: Mutex<()>,
    pub(crate) agreement: Agreement,
    /// The disk does not take the log.
    stalled: AtomicBool,
    /// See `learns`.
    learns: AtomicBool,
    /// When a leader was last heard from.
    heard: watch::Sender<Option<Instant>>,
    /// See `led`.
    led: watch::Sender<bool>,
    planted: Planted,
}

/// Who leads, as this member knows it.
pub(crate) enum Leader {
    Me,
    Other(MemberId, peer::Node),
}

impl Group {
    pub(crate) fn new(
        id: MemberId,
        raft: Raft,
        peers: Arc<Peers>,
        patience: Duration,
        space: Space,
        planted: Planted,
    ) -> Self {
        let room = Semaphore::new(UNDER_WAY_BYTES_MAX);
        let (changing, heard) = (Mutex::new(()), watch::Sender::new(None));
        Group {
            id,
            raft,
            peers,
            patience,
            space,
            room,
            writes: Queue::new(),
            reads: Queue::new(),
            changing,
            agreement: Agreement::new(),
            stalled: AtomicBool::new(false),
            learns: AtomicBool::new(false),
            heard,
            led: watch::Sender::new(false),
            planted,
        }
    }

    /// How long a leader may be silent before others stand for election.
    pub(crate) fn election_timeout(&self) -> Duration {
        self.patience / 15
    }

    /// A member that the leader has not heard from for so long counts as away.
    fn silence(&self) -> Duration {
        self.patience / 5
    }

    /// Room for a write among those under way.
    fn room(&self, bytes: usize) -> Result<SemaphorePermit<'_>, Error> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).max(WRITE_BYTES_MIN);
        self.room.try_acquire_many(bytes).map_err(|_| Error::Overloaded)
    }

    /// The leader, waiting for one if there is none.
    pub(crate) async fn leader(&self) -> Result<Leader, Error> {
        let (all, mut metrics) = (self.raft.metrics(), self.raft.server_metrics());
        let found = async {
            loop {
                // Copied out at once: a held reference would stop the core.
                let fatal = all.borrow_watched().running_state.clone().err();
                if let Some(fatal) = fatal {
                    return Err(Error::Stopped(fatal.to_string()));
                }
                let now = metrics.borrow_watched().clone();
                if now.state == ServerState::Leader {
                    return Ok(Leader::Me);
                }
                let node = now.current_leader.and_then(|id| {
                    let node = now.membership_config.get_node(&id)?.clone();
                    (id != self.id).then_some(Leader::Other(id, node))
                });
                if let Some(leader) = node {
                    return Ok(leader);
                }
                metrics.changed().await.map_err(|_| Error::Stopped("the store has shut down".to_owned()))?;
            }
        };
        tokio::time::timeout(self.patience, found).await.unwrap_or(Err(Error::NoLeader))
    }

    /// A client for forwarded calls.
    pub(crate) fn client(&self, id: MemberId, node: &peer::Node) -> Result<Client, Error> {
        let client = self.peers.client(Some(id), &node.peer_urls, Purpose::Call);
        client.map_err(|error| Error::Invalid(error.to_string()))
    }
}

/// An error as another member is told it.
pub(crate) fn failure(error: &Error) -> peer::Failure {
    let reason = match error {
        Error::NoLeader => Reason::NoLeader,
        Error::Overloaded => Reason::Overloaded,
        Error::Stopped(_) => Reason::Stopped,
        Error::Invalid(_) => Reason::Invalid,
        Error::Corrupt => Reason::Corrupt,
        Error::Unknown | Error::Refused(_) => Reason::UnknownOutcome,
    };
    peer::Failure { reason: reason.into(), message: error.to_string() }
}

/// The error that another member told.
pub(crate) fn parse_failure(failure: &peer::Failure) -> Error {
    match failure.reason() {
        // A leader that stops is no leader; what was asked of it may be asked of the next one.
        Reason::NoLeader | Reason::Stopped => Error::NoLeader,
        Reason::Overloaded => Error::Overloaded,
        Reason::Corrupt => Error::Corrupt,
        Reason::Invalid => Error::Invalid(failure.message.clone()),
        Reason::UnknownOutcome => Error::Unknown,
    }
}

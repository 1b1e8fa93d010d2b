//! Room on this member's disk: writes are refused before the log meets the end of it, reads go on.
//!
//! The leader's disk counts, since every write is its decision; where another voter has room it hands leadership over.
//! A follower takes what the leader sends until its disk ends, and then stops: the others go on without it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::statvfs::statvfs;
use proto::command::command::Request;
use proto::command::refusal::Reason;
use proto::command::{Outcome, Refusal, outcome::Response};
use proto::etcdserverpb as pb;

use crate::edge;
use crate::group::Group;

/// Bytes that stay free for what no refusal stops: segments of the log, flushes, compactions, snapshots.
const RESERVE_BYTES: u64 = 512 << 20;
/// Between two looks at the disk: what is written meanwhile must fit into the reserve.
const LOOK: Duration = Duration::from_secs(1);

/// See the module.
pub(crate) struct Space {
    /// The server's name.
    owner: String,
    dir: PathBuf,
    reserve: u64,
    full: AtomicBool,
}

impl Space {
    pub(crate) fn new(owner: String, dir: PathBuf) -> Self {
        Space { owner, dir, reserve: RESERVE_BYTES, full: AtomicBool::new(false) }
    }

    /// What a write that stores something new is told now.
    pub(crate) fn refusal(&self) -> Option<Outcome> {
        let refusal = || Refusal {
            reason: Reason::NoSpace.into(),
            message: format!(
                "the disk of server {:?} is full: writes are refused until {} has room again; free some of it, \
                 deletions are taken meanwhile",
                self.owner,
                self.dir.display()
            ),
        };
        self.full.load(Ordering::Relaxed).then(|| Outcome { response: Some(Response::Refusal(refusal())) })
    }

    /// Whether such writes are refused now.
    pub(crate) fn full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    fn look(&self) {
        let free = match edge::world() {
            Some(world) => Ok(world.drive(&self.dir).free()),
            None => statvfs(&self.dir).map(|disk| disk.blocks_available().saturating_mul(disk.fragment_size())),
        };
        let free = match free {
            Ok(free) => free,
            Err(error) => {
                tracing::warn!(dir = %self.dir.display(), %error, "cannot tell how full the disk is");
                return;
            }
        };
        let full = full(self.full.load(Ordering::Relaxed), free, self.reserve);
        if self.full.swap(full, Ordering::Relaxed) != full {
            let dir = self.dir.display();
            if full {
                tracing::error!(%dir, free, "the disk is full: writes are refused until there is room; free some");
            } else {
                tracing::info!(%dir, free, "the disk has room again: writes are taken");
            }
        }
    }
}

impl Group {
    /// Looks at the disk again and again, and does not lead with a full one if another can.
    pub(crate) async fn mind_space(&self) {
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.space.look();
            if self.space.full()
                && let Some(to) = self.hand_over().await
            {
                tracing::warn!(to, "the disk is full: another member leads");
            }
        }
    }
}

/// PURE: full below the reserve, and until a quarter more than it is free.
fn full(before: bool, free: u64, reserve: u64) -> bool {
    free < if before { reserve + reserve / 4 } else { reserve }
}

/// PURE: whether a request may store something new; deletions and compactions make room.
pub(crate) fn grows(request: &Request) -> bool {
    fn in_txn(request: &pb::TxnRequest) -> bool {
        request.success.iter().chain(&request.failure).any(|op| match &op.request {
            Some(pb::request_op::Request::RequestPut(_)) => true,
            Some(pb::request_op::Request::RequestTxn(nested)) => in_txn(nested),
            _ => false,
        })
    }
    match request {
        Request::Put(_) | Request::LeaseGrant(_) => true,
        Request::Txn(request) => in_txn(request),
        Request::Batch(batch) => batch.txns.iter().any(in_txn),
        // Users and roles are few, and may be what it takes to stop those who fill the disk.
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_must_come_back_with_some_to_spare() {
        assert_eq!([full(false, 99, 100), full(false, 100, 100)], [true, false]);
        assert_eq!([full(true, 124, 100), full(true, 125, 100)], [true, false]);
    }

    #[test]
    fn a_full_disk_is_noticed_and_said() {
        let dir = tempfile::tempdir().expect("a directory");
        let space = |reserve| Space { reserve, ..Space::new("a".to_owned(), dir.path().to_owned()) };
        let (roomy, tight) = (space(0), space(u64::MAX / 2));
        roomy.look();
        tight.look();
        assert!(roomy.refusal().is_none());
        let Some(Outcome { response: Some(Response::Refusal(refusal)) }) = tight.refusal() else {
            panic!("writes are taken on a full disk");
        };
        assert_eq!(refusal.reason(), Reason::NoSpace);
        assert!(refusal.message.contains("disk of server \"a\" is full") && refusal.message.contains("free some"));
    }

    #[test]
    fn only_what_stores_something_grows() {
        let op = |request| pb::RequestOp { request: Some(request) };
        let delete = op(pb::request_op::Request::RequestDeleteRange(pb::DeleteRangeRequest::default()));
        let put = op(pb::request_op::Request::RequestPut(pb::PutRequest::default()));
        let txn = |failure| Request::Txn(pb::TxnRequest { failure, ..pb::TxnRequest::default() });
        assert!(!grows(&txn(vec![delete.clone()])));
        assert!(grows(&txn(vec![delete, put])));
        assert!(!grows(&Request::Compact(pb::CompactionRequest::default())));
    }
}

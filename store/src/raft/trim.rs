//! The log bounded by its bytes: openraft counts entries alone, and these may be large. They lie in memory too.

use std::time::Duration;

use openraft::async_runtime::WatchReceiver;

use crate::raft::journal::Journal;
use crate::raft::types::Raft;

/// Between two looks at the log.
const LOOK: Duration = Duration::from_secs(1);
/// What is kept behind a snapshot, for followers that were away shortly, is this part of the bound.
const KEPT: u64 = 4;

/// What makes the log smaller.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Nothing has to.
    None,
    /// What is in the way must be in a snapshot first.
    Snapshot,
    /// Entries up to this index are in one.
    Purge(u64),
}

/// PURE: the next step for a log of so many bytes, whose entries up to `old` are not among the newest that are kept.
fn step(bytes: u64, most: u64, old: Option<u64>, in_snapshot: Option<u64>) -> Step {
    match old {
        Some(old) if bytes > most => {
            if in_snapshot.is_some_and(|covered| covered >= old) {
                Step::Purge(old)
            } else {
                Step::Snapshot
            }
        }
        _ => Step::None,
    }
}

/// Keeps the entries of the log below so many bytes, about, until Raft has failed.
pub(crate) async fn tend(raft: Raft, journal: Journal, most: u64) {
    let mut again = tokio::time::interval(LOOK);
    again.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        again.tick().await;
        let covered = raft.metrics().borrow_watched().snapshot.map(|id| id.index);
        let done = match step(journal.bytes(), most, journal.last_but(most / KEPT), covered) {
            Step::None => continue,
            Step::Snapshot => raft.trigger().snapshot().await,
            Step::Purge(upto) => raft.trigger().purge_log(upto).await,
        };
        if done.is_err() {
            // It has failed for good, and whoever follows it knows.
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_purged_once_a_snapshot_has_what_goes() {
        assert_eq!(step(100, 100, Some(7), Some(9)), Step::None);
        assert_eq!(step(101, 100, Some(7), None), Step::Snapshot);
        assert_eq!(step(101, 100, Some(7), Some(6)), Step::Snapshot);
        assert_eq!(step(101, 100, Some(7), Some(7)), Step::Purge(7));
        assert_eq!(step(101, 100, None, Some(7)), Step::None, "one large entry alone");
    }
}

//! The log bounded by its bytes and by its age: openraft counts entries alone, and these may be large, or few.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use openraft::async_runtime::WatchReceiver;

use crate::raft::journal::Journal;
use crate::raft::types::{LogId, Raft};

/// Between two looks at the log.
const LOOK: Duration = Duration::from_secs(1);
/// What is kept behind a snapshot, for followers that were away shortly, is this part of the bound.
const KEPT: u64 = 4;

/// Entries older than this go, once a snapshot has them: a member that was away for longer gets that.
const AGE: Duration = Duration::from_secs(3600);
/// How exactly ages are known.
const MARK: Duration = Duration::from_secs(60);

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

/// PURE: the next step for a log of so many bytes, whose entries up to `old` are not among the newest that are kept, and
/// up to `aged` are old.
fn step(bytes: u64, most: u64, old: Option<u64>, aged: Option<u64>, in_snapshot: Option<u64>) -> Step {
    match old.filter(|_| bytes > most).max(aged) {
        None => Step::None,
        due if in_snapshot >= due => Step::Purge(due.unwrap_or_default()),
        Some(_) => Step::Snapshot,
    }
}

/// When the log had which last entry.
#[derive(Debug, Default)]
struct Marks(VecDeque<(Instant, u64)>);

impl Marks {
    /// Notes the last applied entry; answers the last one that is older than `AGE`.
    fn note(&mut self, now: Instant, last: u64) -> Option<u64> {
        if self.0.back().is_none_or(|(at, _)| now.duration_since(*at) >= MARK) {
            self.0.push_back((now, last));
        }
        let old = |(at, _): &(Instant, u64)| now.duration_since(*at) >= AGE;
        // Bounded: those before the newest old one tell nothing more.
        while self.0.get(1).is_some_and(old) {
            self.0.pop_front();
        }
        self.0.front().filter(|mark| old(mark)).map(|(_, last)| *last)
    }
}

/// Keeps the entries of the log below so many bytes, about, until Raft has failed.
pub(crate) async fn tend(raft: Raft, journal: Journal, most: u64) {
    let mut again = tokio::time::interval(LOOK);
    again.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut marks = Marks::default();
    loop {
        again.tick().await;
        let now = raft.metrics().borrow_watched().clone();
        let index = |id: Option<LogId>| id.map(|id| id.index);
        let aged = index(now.last_applied).and_then(|last| marks.note(Instant::now(), last));
        let aged = aged.filter(|aged| index(now.purged).is_none_or(|purged| purged < *aged));
        let done = match step(journal.bytes(), most, journal.last_but(most / KEPT), aged, index(now.snapshot)) {
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
        assert_eq!(step(100, 100, Some(7), None, Some(9)), Step::None);
        assert_eq!(step(101, 100, Some(7), None, None), Step::Snapshot);
        assert_eq!(step(101, 100, Some(7), None, Some(6)), Step::Snapshot);
        assert_eq!(step(101, 100, Some(7), None, Some(7)), Step::Purge(7));
        assert_eq!(step(101, 100, None, None, Some(7)), Step::None, "one large entry alone");
        assert_eq!(step(1, 100, Some(7), Some(5), Some(4)), Step::Snapshot, "it is old");
        assert_eq!(step(1, 100, Some(7), Some(5), Some(5)), Step::Purge(5));
    }

    #[test]
    fn entries_are_old_after_their_time() {
        let (mut marks, begun) = (Marks::default(), Instant::now());
        for minute in 0..60 {
            assert_eq!(marks.note(begun + MARK * minute, u64::from(minute)), None);
        }
        assert_eq!(marks.note(begun + AGE, 60), Some(0));
        assert_eq!(marks.note(begun + AGE + MARK * 9 + MARK / 2, 70), Some(9));
        assert!(marks.0.len() <= 62, "{}", marks.0.len());
    }
}

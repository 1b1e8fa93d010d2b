//! The archive: all that was committed, in a repository outside the group, so that the state of any moment can be restored.
//!
//! A base is a backup of the state at a place in the log; segments hold the log's entries that follow, as they are. What is
//! restored is a base with entries applied to it as members apply them: the same revisions, leases and users, and the same
//! checksum over every change, which is compared.

mod archiver;
mod board;
mod chain;
mod compare;
mod end;
mod link;
mod merge;
mod merger;
mod names;
mod replay;
mod repository;
mod restore;
mod segment;
mod track;
mod verify;

use std::time::{Duration, Instant};

pub(crate) use board::Board;
pub use board::Standing;
pub use chain::{Rules, Target};
pub use compare::{Census, Change, Difference, compare};
pub use repository::{Listed, Pace, PieceWriter, Pieces, Repository, is_bucket, pieces};
pub use restore::{Plan, Restore, plan, restore, restore_file};
pub use verify::{Archived, archived, verify};

use crate::Store;
use crate::backup::sealed::Lock;
use crate::metrics::gauge;
use crate::moving::Problem;

/// Bytes of the newest log entries that stay for the archive, whatever snapshots have.
const LOG_BYTES: u64 = 64 << 20;

/// The folder of a repository that holds what `backup create` wrote.
pub const BACKUPS: &str = names::BACKUPS;

/// What is archived, and how.
#[derive(Clone, Debug)]
pub struct Archive {
    /// A directory that all members share, or `s3://BUCKET/PREFIX`.
    pub place: String,
    /// Between two bases.
    pub every: Duration,
    /// For how long what is kept.
    pub rules: Rules,
    /// Segments that were written in so long a time become one once it has passed, and sixty of those one.
    pub merge: Duration,
    /// What closes it.
    pub lock: Lock,
    /// What bases hold besides the store.
    pub extra: serde_json::Value,
}

fn problem(error: impl std::fmt::Display) -> Problem {
    Problem::Failed(error.to_string())
}

impl Store {
    /// Archives from now on, while this member leads. Once.
    ///
    /// # Errors
    /// When the place makes no sense. One that is away is tried again for ever.
    pub fn archive(&self, archive: Archive) -> Result<(), Problem> {
        let repository = Repository::open(&archive.place)?;
        *self.board().lock() = Board::new(archive.place.clone(), Instant::now());
        self.journal().hold(LOG_BYTES);
        self.track(archiver::run(self.clone(), repository, archive));
        Ok(())
    }

    /// How the archive stands, where there is one.
    pub fn archive_standing(&self) -> Option<Standing> {
        self.board().lock().standing(Instant::now())
    }
}

/// The archive in the words of Prometheus.
pub fn metrics(standing: Option<&Standing>, out: &mut String) {
    let Some(standing) = standing else { return };
    let age = standing.age_ms as f64 / 1000.0;
    gauge("raftsman_archive_age_seconds", "How old what is archived is against what is committed.", age, out);
    gauge("raftsman_archive_revision", "The newest revision that is archived.", standing.revision, out);
    let newest = standing.time_ms.unwrap_or_default() as f64 / 1000.0;
    gauge(
        "raftsman_archive_timestamp_seconds",
        "When the newest write that is archived was made; 0: none is.",
        newest,
        out,
    );
    let base = standing.base_time_ms.unwrap_or_default() / 1000;
    gauge("raftsman_archive_base_timestamp_seconds", "When the newest base was archived; 0: none was.", base, out);
    let failing = u8::from(standing.failure.is_some());
    gauge("raftsman_archive_failing", "Whether archiving failed when it was tried last.", failing, out);
}

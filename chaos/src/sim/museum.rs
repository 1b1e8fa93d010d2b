//! Defects that are brought in on purpose, one at a time: a harness is as good as what it finds.
//!
//! Most lie in the simulated world: its disks, its engine, its clocks, its operators, its clients. The others lie where the
//! store once had them or could have them, and ask a simulated world whether they are there (`store::edge`); openraft's own
//! are planted where it meets the log and the network, so that it sees what it then saw. What users run is in no simulated
//! world: nobody can switch one on there.

use store::edge::drive::Defect;

/// A row of the table.
pub(crate) struct Exhibit {
    pub(crate) name: &'static str,
    /// What it stands for.
    pub(crate) about: &'static str,
    pub(crate) what: What,
    /// It is found by one of so many seeds, from the first on.
    pub(crate) seeds: u64,
    pub(crate) by: By,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// Every member, its disk, or the engine on it.
    Member(Defect),
    /// A member that lost its power comes back as who it was, with an empty disk.
    Amnesia,
    /// A member that lost its power comes back with its disk as it was some seconds before.
    OldDisk,
    /// Clients take what a member has for what is so.
    StaleReads,
    /// Leases are counted by the wall clock.
    WallClock,
}

/// Who finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// Checkers, in what clients saw or members hold.
    Checkers,
    /// The store itself: a member refuses to go on, or none does, and the group does not come back to work.
    Work,
}

/// All of them.
pub(crate) const MUSEUM: &[Exhibit] = &[
    row("syncs-lie", "a disk acknowledges syncs and does none", member(Defect::SyncsLie), 20, By::Work),
    row("syncs-late", "entries are acknowledged before they are synced", member(Defect::SyncsLate), 20, By::Checkers),
    row("sectors-dropped", "a sector of what was synced is gone", member(Defect::SectorsDropped), 20, By::Work),
    row("writes-misdirected", "a write lands in another place", member(Defect::WritesMisdirected), 20, By::Work),
    row("flush-torn", "tables are flushed one by one, not together", member(Defect::FlushTorn), 20, By::Work),
    row(
        "flush-without-position",
        "entries are applied again after a restart",
        member(Defect::FlushWithoutPosition),
        20,
        By::Work,
    ),
    row(
        "position-ahead",
        "what is applied is noted before what it did: entries are skipped after a restart (etcd 3.5.0 to 3.5.2)",
        member(Defect::PositionAhead),
        20,
        By::Checkers,
    ),
    row("batches-dropped", "a member's state misses a write", member(Defect::BatchesDropped), 20, By::Work),
    row(
        "compaction-greedy",
        "compaction takes a row that is still needed (etcd's check of compaction's hashes is for these)",
        member(Defect::CompactionGreedy),
        40,
        By::Checkers,
    ),
    row("amnesia", "a wiped member votes again under its old id", What::Amnesia, 40, By::Checkers),
    row("old-disk", "an old copy of a disk is brought back as a member", What::OldDisk, 40, By::Checkers),
    row(
        "flushed-early",
        "the log says that entries are flushed when they are queued (hiqlite #361)",
        member(Defect::FlushedEarly),
        40,
        By::Work,
    ),
    row(
        "acks-assumed",
        "an entry commits without a quorum (openraft #1802): acknowledgements are counted that nobody sent",
        member(Defect::AcksAssumed),
        20,
        By::Checkers,
    ),
    row(
        "calls-hang",
        "a follower that hangs stops the leader's core (openraft #1810): its log waits for that call",
        member(Defect::CallsHang),
        20,
        By::Work,
    ),
    row(
        "snapshots-unsent",
        "a follower that needs a snapshot never gets one (openraft #1828)",
        member(Defect::SnapshotsUnsent),
        20,
        By::Work,
    ),
    row(
        "snapshots-uninstalled",
        "after a snapshot a member has what it had before (openraft #1808; Databend's installation says yes when it fails)",
        member(Defect::SnapshotsUninstalled),
        20,
        By::Checkers,
    ),
    row(
        "log-misread",
        "an error of the leader's log corrupts a follower's (openraft #1795)",
        member(Defect::LogMisread),
        20,
        By::Checkers,
    ),
    row(
        "reads-unawaited",
        "a follower answers a read before it has applied what the leader confirmed",
        member(Defect::ReadsUnawaited),
        40,
        By::Checkers,
    ),
    row(
        "writes-repeated",
        "a write that a leader may have sent to others is proposed again (ours once)",
        member(Defect::WritesRepeated),
        40,
        By::Checkers,
    ),
    row(
        "candidates-boast",
        "a candidate that lacks entries is voted for (openraft #1722)",
        member(Defect::CandidatesBoast),
        40,
        By::Checkers,
    ),
    row("stale-reads", "reads without asking whether the leader still leads", What::StaleReads, 40, By::Checkers),
    row(
        "events-skipped",
        "watches miss what a snapshot brought (etcd #15271)",
        member(Defect::EventsSkipped),
        20,
        By::Checkers,
    ),
    row(
        "watches-late",
        "a watch that goes on misses an event (etcd #18089)",
        member(Defect::WatchesLate),
        20,
        By::Checkers,
    ),
    row(
        "leases-by-wall-clock",
        "leases are counted by a clock that jumps (etcd before 3.2)",
        What::WallClock,
        40,
        By::Checkers,
    ),
    row(
        "grants-alike",
        "a lease whose id had one before ends with that (ours once)",
        member(Defect::GrantsAlike),
        20,
        By::Checkers,
    ),
];

const fn member(defect: Defect) -> What {
    What::Member(defect)
}

const fn row(name: &'static str, about: &'static str, what: What, seeds: u64, by: By) -> Exhibit {
    Exhibit { name, about, what, seeds, by }
}

/// An exhibit by its name.
pub(crate) fn find(name: &str) -> Option<&'static Exhibit> {
    MUSEUM.iter().find(|exhibit| exhibit.name == name)
}

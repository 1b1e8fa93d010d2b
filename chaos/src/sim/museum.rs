//! Defects that are brought in on purpose, one at a time: a harness is as good as what it finds.
//!
//! They lie in the simulated world (its disks, its engine, its operators, its clients) and never in the store: each is what
//! a store sees, or does to its clients, that has a known defect of others.

use store::edge::drive::Defect;

/// A row of the table.
pub(crate) struct Exhibit {
    pub(crate) name: &'static str,
    /// What it stands for.
    pub(crate) about: &'static str,
    pub(crate) what: What,
    /// It is found by one of so many seeds, from the first on.
    pub(crate) seeds: u64,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// Every member's disk, or the engine on it.
    Disk(Defect),
    /// A member that lost its power comes back as who it was, with an empty disk.
    Amnesia,
    /// A member that lost its power comes back with its disk as it was some seconds before.
    OldDisk,
    /// Clients take what a member has for what is so.
    StaleReads,
}

/// All of them.
pub(crate) const MUSEUM: &[Exhibit] = &[
    row("syncs-lie", "a disk acknowledges syncs and does none", What::Disk(Defect::SyncsLie), 20),
    row("syncs-late", "entries are acknowledged before they are synced", What::Disk(Defect::SyncsLate), 20),
    row("sectors-dropped", "a sector of what was synced is gone", What::Disk(Defect::SectorsDropped), 20),
    row("writes-misdirected", "a write lands in another place", What::Disk(Defect::WritesMisdirected), 20),
    row("flush-torn", "tables are flushed one by one, not together", What::Disk(Defect::FlushTorn), 20),
    row(
        "flush-without-position",
        "entries are applied again after a restart",
        What::Disk(Defect::FlushWithoutPosition),
        20,
    ),
    row("batches-dropped", "a member's state misses a write", What::Disk(Defect::BatchesDropped), 20),
    row("amnesia", "a wiped member votes again under its old id", What::Amnesia, 40),
    row("old-disk", "an old copy of a disk is brought back as a member", What::OldDisk, 40),
    row("stale-reads", "reads without asking whether the leader still leads", What::StaleReads, 20),
];

const fn row(name: &'static str, about: &'static str, what: What, seeds: u64) -> Exhibit {
    Exhibit { name, about, what, seeds }
}

/// An exhibit by its name.
pub(crate) fn find(name: &str) -> Option<&'static Exhibit> {
    MUSEUM.iter().find(|exhibit| exhibit.name == name)
}

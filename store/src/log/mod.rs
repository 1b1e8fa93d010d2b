//! The write-ahead log: one ordered stream of records in segment files, one writer, one fsync for many appends.
//!
//! It knows entries only as bytes under consecutive indexes; votes and what is committed only as bytes. Order on
//! disk is the order of calls, so a vote can never overtake the entries before it. What `Log` promises is Raft's:
//! an entry whose callback was called survives any crash, and entries without one survive as a prefix.

pub mod disk;
mod entries;
mod reader;
pub mod record;
mod recovery;
mod sealing;
mod segment;
mod spare;
mod writer;

mod wal;

#[cfg(test)]
mod tests;

pub use wal::{Durable, Log, Options};

use std::io;

/// Why a log does not open or no longer works.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk said no.
    #[error("{path}: {source}")]
    Io {
        /// The file, as the disk names it.
        path: String,
        /// What the disk said.
        source: io::Error,
    },
    /// A record that had been synced does not match its checksum.
    #[error(
        "{path}: damaged at byte {offset}: {what}. Do not delete the file: remove this member from the cluster and join \
         it again with an empty data directory, or restore a backup when no other member is left"
    )]
    Damaged {
        /// The file, as the disk names it.
        path: String,
        /// Where the bad record begins, bytes.
        offset: u64,
        /// What is wrong with it.
        what: String,
    },
    /// A record that is whole is not encrypted as the others, or under a key that is not held.
    #[error("{path}: the record at byte {offset} cannot be read: {what}")]
    Unreadable {
        /// The file, as the disk names it.
        path: String,
        /// Where the record begins, bytes.
        offset: u64,
        /// What is wrong with it.
        what: String,
    },
    /// Written by a newer version.
    #[error("{path}: format {found} is newer than this program knows ({known}); start it with the newer version")]
    Newer {
        /// The file, as the disk names it.
        path: String,
        /// The file's format.
        found: u32,
        /// The newest that this program reads.
        known: u32,
    },
    /// An earlier write or sync failed: what is on disk is unknown, the process must end.
    #[error("the log failed earlier: {0}")]
    Failed(String),
}

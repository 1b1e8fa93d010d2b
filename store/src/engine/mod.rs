//! What holds the state machine's bytes: ordered keys in families, one atomic batch, consistent snapshots.
//!
//! Reads do not fail: an engine that can no longer read what it wrote panics, and the process ends (`rocks::broken`).

pub(crate) mod filling;
pub(crate) mod memory;
pub(crate) mod rocks;
pub(crate) mod sealed;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::edge;
use crate::lock::Lock;

/// A keyspace of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    /// The header: what has been applied, revisions, time.
    Meta,
    /// Key → the newest record of it (`machine::record`).
    Latest,
    /// Revision and position in it → the record, or the key whose newest it is.
    History,
    /// Key and revision → position: every so many of a key's records, where its past is looked for from.
    Index,
    /// Leases, and the keys attached to them.
    Lease,
    /// Key and revision → the record of its deletion, once it is compacted.
    Gone,
}

impl Family {
    /// All of them.
    pub(crate) const ALL: [Family; 6] =
        [Family::Meta, Family::Latest, Family::History, Family::Index, Family::Lease, Family::Gone];

    /// Its name on disk.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Family::Meta => "meta",
            Family::Latest => "latest",
            Family::History => "history",
            Family::Index => "index",
            Family::Lease => "lease",
            Family::Gone => "gone",
        }
    }
}

/// The engine in a directory, made when absent: RocksDB, or a simulation's own. `memory`: see `rocks::Rocks::open`.
///
/// # Errors
/// When the disk fails or the files are damaged.
pub(crate) fn open(dir: &Path, lock: Option<Lock>, memory: usize) -> Result<Arc<dyn Engine>, Broken> {
    Ok(match edge::world() {
        None => Arc::new(rocks::Rocks::open(dir, lock, memory)?),
        Some(world) => Arc::new(memory::Memory::open(dir, Some(world.drive(dir)))?),
    })
}

/// Changes that take effect together or not at all, in order.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// A key's new value, or its end.
    pub(crate) changes: Vec<(Family, Bytes, Option<Bytes>)>,
}

impl Batch {
    /// Sets a key.
    pub(crate) fn put(&mut self, family: Family, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.changes.push((family, key.into(), Some(value.into())));
    }

    /// Ends a key.
    pub(crate) fn delete(&mut self, family: Family, key: impl Into<Bytes>) {
        self.changes.push((family, key.into(), None));
    }
}

/// Keys and values in order.
pub(crate) type Pairs<'a> = Box<dyn Iterator<Item = (Bytes, Bytes)> + Send + 'a>;

/// The engine as it was at one moment.
pub(crate) trait Snapshot: Send + Sync {
    /// A key's value.
    fn get(&self, family: Family, key: &[u8]) -> Option<Bytes>;
    /// Keys in `from..to`, ascending; no `to` means to the last.
    fn scan(&self, family: Family, from: &[u8], to: Option<&[u8]>) -> Pairs<'_>;
    /// Shows keys and values in `from..to`, ascending, without copying them, as long as it is told to go on.
    fn visit(&self, family: Family, from: &[u8], to: Option<&[u8]>, each: &mut dyn FnMut(&[u8], &[u8]) -> bool);
}

/// Why an engine cannot go on.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Broken(pub String);

/// The bytes of a state machine.
pub(crate) trait Engine: Send + Sync + 'static {
    /// Everything as it is now.
    fn snapshot(&self) -> Arc<dyn Snapshot>;
    /// Applies a batch; durable at the next flush, never in part.
    ///
    /// # Errors
    /// When the disk fails.
    fn write(&self, batch: Batch) -> Result<(), Broken>;
    /// Makes everything written so far durable.
    ///
    /// # Errors
    /// When the disk fails.
    fn flush(&self) -> Result<(), Broken>;
    /// Writes a durable copy into a directory that does not exist yet.
    ///
    /// # Errors
    /// When the disk fails.
    fn checkpoint(&self, dir: &Path) -> Result<(), Broken>;
    /// Bytes on disk, about.
    fn size(&self) -> u64;
    /// Bytes on disk that are still of use, about.
    fn size_in_use(&self) -> u64;
    /// Bytes on disk of the keys in `from..to`, about.
    fn size_between(&self, family: Family, from: &[u8], to: &[u8]) -> u64;
    /// Gives space back that nothing needs any more; takes its time, while everything else goes on.
    fn tidy(&self);
    /// Seals values of a family anew that lie under an older data key, a bounded number of them; answers where to go on.
    ///
    /// # Errors
    /// When the disk fails.
    fn reseal(&self, _family: Family, _from: &[u8]) -> Result<Option<Bytes>, Broken> {
        Ok(None)
    }
}

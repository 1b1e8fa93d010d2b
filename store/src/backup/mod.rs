//! Backups: the state at one revision in one file, and a data directory made of it.
//!
//! A restored store is a new group of one member. Its revisions begin far above any that the old group can have reached,
//! and everything before counts as compacted, so that clients list again instead of seeing the past; its epochs too, so
//! that agents take its word.

mod archive;

use std::io::{Read, Write};
use std::path::Path;

use bytes::Bytes;
use prost::Message;
use proto::mvccpb::KeyValue;
use serde::{Deserialize, Serialize};

pub use archive::Damage;
use archive::{Reader, Writer};

use crate::Error;
use crate::api::{Epoch, Revision};
use crate::config::KeySource;
use crate::engine::rocks;
use crate::machine::codec::Header;
use crate::machine::view::View;
use crate::machine::{Machine, auth};
use crate::seal::vault::Vault;
use crate::store::CONTEXTS;

/// Added to the revision: the old group may have written on after the backup.
const REVISIONS_ABOVE: Revision = 1_000_000_000;
/// Added to the epoch, for the same reason.
const EPOCHS_ABOVE: Epoch = 1 << 20;

/// What a backup says of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// Of the group that was backed up.
    pub cluster_id: u64,
    /// The state is that of this revision.
    pub revision: Revision,
    /// The leadership it was taken under.
    pub epoch: Epoch,
    /// The machine's clock then. Units: milliseconds since 1970.
    pub time_ms: i64,
    /// How many keys follow.
    pub keys: u64,
    /// How many leases follow.
    pub leases: u64,
    /// How many rows of the auth store follow them: users, roles, whether anybody is asked.
    #[serde(default)]
    pub auth: u64,
    /// What the caller adds; this crate does not look into it.
    pub extra: serde_json::Value,
}

/// Why a backup cannot be read or made.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The file.
    #[error(transparent)]
    Damage(#[from] Damage),
    /// The data directory.
    #[error(transparent)]
    Store(#[from] Error),
    /// Counts, or the manifest.
    #[error("the backup does not hold what it says: {0}; use another copy of the backup")]
    Content(String),
}

impl From<std::io::Error> for BackupError {
    fn from(error: std::io::Error) -> Self {
        BackupError::Damage(Damage::Io(error))
    }
}

/// Members' words about themselves mean nothing to another group.
fn belongs(kv: &KeyValue) -> bool {
    !kv.key.starts_with(CONTEXTS.as_bytes())
}

/// Writes what a view shows.
pub(crate) fn write(
    view: &View,
    leases: &[(i64, i64, i64)],
    cluster_id: u64,
    epoch: Epoch,
    extra: serde_json::Value,
    sink: impl Write,
) -> Result<Manifest, BackupError> {
    let all = || view.range(&[0], &[0]).filter(belongs);
    let manifest = Manifest {
        cluster_id,
        revision: view.revision(),
        epoch,
        time_ms: view.header().time_ms,
        keys: all().count() as u64,
        leases: leases.len() as u64,
        auth: auth::rows(view.snapshot()).count() as u64,
        extra,
    };
    let mut writer = Writer::new(sink)?;
    writer.record(&serde_json::to_vec(&manifest).expect("plain fields"))?;
    for (id, ttl, left) in leases {
        writer.record(&[id.to_be_bytes(), ttl.to_be_bytes(), left.to_be_bytes()].concat())?;
    }
    for (row, value) in auth::rows(view.snapshot()) {
        let length = u32::try_from(row.len()).expect("a name fits into a request");
        writer.record(&[&length.to_be_bytes()[..], &row, &value].concat())?;
    }
    for kv in all() {
        writer.record(&kv.encode_to_vec())?;
    }
    writer.finish()?;
    Ok(manifest)
}

/// Reads a backup to its end and makes a data directory of it, which must not hold a store yet; it becomes the store of a
/// new group when it is first opened, with the same `encryption`.
///
/// # Errors
/// When the file is damaged, or the disk fails: the directory is worthless then.
pub fn restore(source: impl Read, data_dir: &Path, encryption: Option<&KeySource>) -> Result<Manifest, BackupError> {
    let mut reader = Reader::new(source)?;
    let content = |what: &str| BackupError::Content(what.to_owned());
    let first = reader.record()?.ok_or_else(|| content("it is empty"))?;
    let manifest: Manifest = serde_json::from_slice(&first).map_err(|error| BackupError::Content(error.to_string()))?;
    let vault = Vault::open(data_dir, encryption)?;
    let sealer = vault.map(|vault| vault.sealer().clone());
    let mut loader = Machine::loader(&data_dir.join("state"), rocks::SMALL, sealer)?;
    for _ in 0..manifest.leases {
        let record = reader.record()?.ok_or_else(|| content("leases are missing"))?;
        let word = |at: usize| record.get(at..at + 8).map(|word| i64::from_be_bytes(word.try_into().expect("eight")));
        let (Some(id), Some(ttl), Some(left)) = (word(0), word(8), word(16)) else {
            return Err(content("a lease is too short"));
        };
        loader.lease(id, ttl, left);
    }
    for _ in 0..manifest.auth {
        let record = Bytes::from(reader.record()?.ok_or_else(|| content("users are missing"))?);
        let row = auth_row(&record).filter(|(row, value)| loader.auth_row(row.clone(), value.clone()));
        row.ok_or_else(|| content("a row of the auth store is none"))?;
    }
    let (mut keys, mut position) = (0, 0_u32);
    while let Some(record) = reader.record()? {
        let kv = KeyValue::decode(Bytes::from(record)).map_err(|error| BackupError::Content(error.to_string()))?;
        keys += 1;
        position += 1;
        loader.change(kv, false, position)?;
    }
    if keys != manifest.keys {
        return Err(BackupError::Content(format!("{keys} keys instead of {}", manifest.keys)));
    }
    let beyond = || content("its revision or its epoch cannot be");
    let revision = manifest.revision.checked_add(REVISIONS_ABOVE).ok_or_else(beyond)?;
    let epoch_base = manifest.epoch.checked_add(EPOCHS_ABOVE).ok_or_else(beyond)?;
    let header = Header { revision, compacted: revision, time_ms: manifest.time_ms, epoch_base, ..Header::new() };
    loader.finish(header)?;
    Ok(manifest)
}

/// A row of the auth store as it lies in a backup.
fn auth_row(record: &Bytes) -> Option<(Bytes, Bytes)> {
    let (length, rest) = record.split_first_chunk()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (row, value) = rest.split_at_checked(length)?;
    Some((record.slice_ref(row), record.slice_ref(value)))
}

/// What a backup says of itself; the rest is not looked at.
///
/// # Errors
/// When the file is none, or damaged in its first block.
pub fn manifest(source: impl Read) -> Result<Manifest, BackupError> {
    let first = Reader::new(source)?.record()?.ok_or_else(|| BackupError::Content("it is empty".to_owned()))?;
    serde_json::from_slice(&first).map_err(|error| BackupError::Content(error.to_string()))
}

/// Boots a backup in a scratch directory, which is removed, and counts what is there.
///
/// # Errors
/// As `restore`, and when the store that comes up holds something else than the backup says.
pub fn verify(source: impl Read, scratch: &Path) -> Result<Manifest, BackupError> {
    let manifest = restore(source, scratch, None)?;
    let machine = Machine::open(&scratch.join("state"), None, rocks::SMALL)?;
    let view = machine.view();
    let found = view.range(&[0], &[0]).count() as u64;
    if found != manifest.keys || view.revision() < manifest.revision {
        return Err(BackupError::Content(format!("the store that came up has {found} keys of {}", manifest.keys)));
    }
    Ok(manifest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_cannot_be_are_refused() {
        for (revision, epoch) in [(i64::MAX, 1), (1, u64::MAX)] {
            let manifest =
                Manifest { cluster_id: 1, revision, epoch, time_ms: 0, keys: 0, leases: 0, auth: 0, extra: ().into() };
            let mut bytes = Vec::new();
            let mut writer = archive::Writer::new(&mut bytes).expect("memory");
            writer.record(&serde_json::to_vec(&manifest).expect("plain data")).expect("memory");
            writer.finish().expect("memory");
            let dir = tempfile::tempdir().expect("a directory");
            let refused = restore(bytes.as_slice(), dir.path(), None).expect_err("refused").to_string();
            assert!(refused.contains("cannot be"), "{refused}");
        }
    }
}

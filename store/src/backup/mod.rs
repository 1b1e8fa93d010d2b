//! Backups: the state at one revision in one file, and a data directory made of it.
//!
//! A restored store is a new group of one member. Its revisions begin far above any that the old group can have reached,
//! and everything before counts as compacted, so that clients list again instead of seeing the past; its epochs too, so
//! that agents take its word.

mod blocks;
mod restore;
pub mod sealed;
mod write;

use std::io::Read;

use prost::Message;
use proto::etcdserverpb::AlarmMember;
use proto::mvccpb::KeyValue;
use proto::peer::LogId;
use serde::{Deserialize, Serialize};

use blocks::BACKUP;
pub use blocks::Damage;
pub(crate) use blocks::{Reader, SEGMENT, Writer};
pub use restore::{Content, restore, verify};
pub(crate) use restore::{MEMORY_BYTES, load};
pub(crate) use write::{Given, write};

use crate::Error;
use crate::api::{Epoch, Revision};
use crate::machine::codec::Header;
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
    /// Whether keys say where in their revisions they were written; those of older programs don't.
    #[serde(default)]
    pub placed: bool,
    /// Where in the log it was taken, where entries of an archive can follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Base>,
    /// What the caller adds; this crate does not look into it.
    pub extra: serde_json::Value,
}

/// What the machine knew of itself, for entries that are applied to a restored state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// Of the last entry in it.
    pub term: u64,
    /// Of the last entry in it.
    pub index: u64,
    /// What is added to a term to make an epoch.
    pub epoch_base: u64,
    /// Checksum over every change before.
    pub hash: u32,
    /// What was compacted.
    pub compacted: Revision,
    /// Alarms that were raised: member and kind.
    pub alarms: Vec<(u64, i32)>,
}

impl Base {
    pub(crate) fn of(header: &Header) -> Self {
        let at = LogId::decode(header.applied.clone()).unwrap_or_default();
        Base {
            term: at.term,
            index: at.index,
            epoch_base: header.epoch_base,
            hash: header.hash,
            compacted: header.compacted,
            alarms: header.alarms.iter().map(|held| (held.member_id, held.alarm)).collect(),
        }
    }

    /// As it was: entries that come next find it so.
    fn header(&self, manifest: &Manifest) -> Header {
        Header {
            revision: manifest.revision,
            compacted: self.compacted,
            time_ms: manifest.time_ms,
            epoch_base: self.epoch_base,
            hash: self.hash,
            applied: LogId { term: self.term, index: self.index }.encode_to_vec().into(),
            alarms: self
                .alarms
                .iter()
                .map(|(member_id, alarm)| AlarmMember { member_id: *member_id, alarm: *alarm })
                .collect(),
            ..Header::new()
        }
    }
}

impl Manifest {
    /// That of the group that is made of it: nobody sees revisions or epochs go back.
    ///
    /// # Errors
    /// When no group can have been there.
    pub(crate) fn raised(&self) -> Result<Header, BackupError> {
        let beyond = || BackupError::Content("its revision or its epoch cannot be".to_owned());
        let revision = self.revision.checked_add(REVISIONS_ABOVE).ok_or_else(beyond)?;
        let epoch_base = self.epoch.checked_add(EPOCHS_ABOVE).ok_or_else(beyond)?;
        Ok(Header { revision, compacted: revision, time_ms: self.time_ms, epoch_base, ..Header::new() })
    }
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
pub(crate) fn belongs(kv: &KeyValue) -> bool {
    !kv.key.starts_with(CONTEXTS.as_bytes())
}

/// Where a key lies in its revision: behind its `KeyValue`, whose readers pass over it.
#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Placed {
    #[prost(uint32, tag = "100")]
    position: u32,
}

/// What a backup says of itself; the rest is not looked at.
///
/// # Errors
/// When the file is none, or damaged in its first block.
pub fn manifest(source: impl Read) -> Result<Manifest, BackupError> {
    parse_manifest(&mut Reader::new(source, BACKUP)?)
}

fn parse_manifest<R: Read>(reader: &mut Reader<R>) -> Result<Manifest, BackupError> {
    let first = reader.record()?.ok_or_else(|| BackupError::Content("it is empty".to_owned()))?;
    serde_json::from_slice(&first).map_err(|error| BackupError::Content(error.to_string()))
}

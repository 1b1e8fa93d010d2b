//! A backup read to its end: as a data directory, or only looked at.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use proto::mvccpb::KeyValue;

use crate::backup::blocks::{BACKUP, Reader};
use crate::backup::{BackupError, Manifest, Placed, belongs, parse_manifest};
use crate::config::KeySource;
use crate::engine::rocks;
use crate::machine::Machine;
use crate::machine::codec::Header;
use crate::seal::Sealer;
use crate::seal::vault::Vault;

/// Memory of a state that is written, bytes.
pub(crate) const MEMORY_BYTES: usize = 64 << 20;

fn content(what: &str) -> BackupError {
    BackupError::Content(what.to_owned())
}

/// What follows a manifest, read in order.
pub struct Content<R> {
    reader: Reader<R>,
    /// What the backup says of itself.
    pub manifest: Manifest,
    leases: u64,
    auth: u64,
    keys: u64,
    /// The last key.
    last: Option<Bytes>,
}

impl<R: Read> Content<R> {
    /// Begins to read.
    ///
    /// # Errors
    /// When the file is none, or damaged in its first block.
    pub fn open(source: R) -> Result<Self, BackupError> {
        let mut reader = Reader::new(source, BACKUP)?;
        let manifest = parse_manifest(&mut reader)?;
        Ok(Content { reader, leases: manifest.leases, auth: manifest.auth, keys: 0, manifest, last: None })
    }

    /// The next lease: its id, seconds to live, and seconds left as last noted.
    fn lease(&mut self) -> Result<Option<(i64, i64, i64)>, BackupError> {
        if self.leases == 0 {
            return Ok(None);
        }
        self.leases -= 1;
        let record = self.reader.record()?.ok_or_else(|| content("leases are missing"))?;
        let word = |at: usize| record.get(at..at + 8).map(|word| i64::from_be_bytes(word.try_into().expect("eight")));
        match (word(0), word(8), word(16)) {
            (Some(id), Some(ttl), Some(left)) => Ok(Some((id, ttl, left))),
            _ => Err(content("a lease is too short")),
        }
    }

    /// The next row of the auth store, after all leases.
    fn auth(&mut self) -> Result<Option<(Bytes, Bytes)>, BackupError> {
        if self.auth == 0 {
            return Ok(None);
        }
        self.auth -= 1;
        let record = Bytes::from(self.reader.record()?.ok_or_else(|| content("users are missing"))?);
        auth_row(&record).map(Some).ok_or_else(|| content("a row of the auth store is none"))
    }

    /// The next key with its position in its revision; what comes before keys is passed over. None at the end, where
    /// everything has been checked.
    ///
    /// # Errors
    /// When the file is damaged.
    pub fn key(&mut self) -> Result<Option<(KeyValue, u32)>, BackupError> {
        while self.lease()?.is_some() {}
        while self.auth()?.is_some() {}
        let Some(record) = self.reader.record()?.map(Bytes::from) else {
            let (found, said) = (self.keys, self.manifest.keys);
            return if found == said { Ok(None) } else { Err(content(&format!("{found} keys instead of {said}"))) };
        };
        let wrong = |error: prost::DecodeError| BackupError::Content(error.to_string());
        let (placed, kv) = (Placed::decode(record.clone()).map_err(wrong)?, KeyValue::decode(record).map_err(wrong)?);
        if self.last.replace(kv.key.clone()).is_some_and(|last| last >= kv.key) {
            return Err(content("its keys are not in order"));
        }
        self.keys += 1;
        // Older programs did not say: any that are not the same will do.
        let counted = u32::try_from(self.keys).unwrap_or(u32::MAX);
        Ok(Some((kv, if self.manifest.placed { placed.position } else { counted })))
    }
}

/// A row of the auth store as it lies in a backup.
pub(super) fn auth_row(record: &Bytes) -> Option<(Bytes, Bytes)> {
    let (length, rest) = record.split_first_chunk()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (row, value) = rest.split_at_checked(length)?;
    Some((record.slice_ref(row), record.slice_ref(value)))
}

/// Reads all of a backup into `dir/state`: as the state of a new group, or as it was, for entries to follow.
pub(crate) fn load(
    source: impl Read,
    dir: &Path,
    sealer: Option<Arc<Sealer>>,
    as_it_was: bool,
) -> Result<Manifest, BackupError> {
    let mut content = Content::open(source)?;
    let manifest = content.manifest.clone();
    let header: Header = match (&manifest.base, as_it_was) {
        (Some(base), true) => base.header(&manifest),
        (None, true) => return Err(self::content("no entries can follow it")),
        (_, false) => manifest.raised()?,
    };
    let mut loader = Machine::loader(&dir.join("state"), MEMORY_BYTES, sealer)?;
    while let Some((id, ttl, left)) = content.lease()? {
        loader.lease(id, ttl, left);
    }
    while let Some((row, value)) = content.auth()? {
        if !loader.auth_row(row, value) {
            return Err(self::content("a row of the auth store is none"));
        }
    }
    while let Some((kv, position)) = content.key()? {
        if as_it_was || belongs(&kv) {
            loader.key(kv, position)?;
        }
    }
    if as_it_was {
        loader.finish_as(&header)?
    } else {
        loader.finish(header)?
    }
    Ok(manifest)
}

/// Reads a backup to its end and makes a data directory of it, which must not hold a store yet; it becomes the store of a
/// new group when it is first opened, with the same `encryption`.
///
/// # Errors
/// When the file is damaged, or the disk fails: the directory is worthless then.
pub fn restore(source: impl Read, data_dir: &Path, encryption: Option<&KeySource>) -> Result<Manifest, BackupError> {
    let vault = Vault::open(data_dir, encryption)?;
    load(source, data_dir, vault.map(|vault| vault.sealer().clone()), false)
}

/// Boots a backup in a scratch directory, which is removed, and counts what is there.
///
/// # Errors
/// When anything is not as the backup says.
pub fn verify(source: impl Read, scratch: &Path) -> Result<Manifest, BackupError> {
    let manifest = restore(source, scratch, None)?;
    let machine = Machine::open(&scratch.join("state"), None, rocks::SMALL)?;
    let view = machine.view();
    let (found, own) = (view.count(b"", b"\0"), manifest.base.is_some());
    if (found != manifest.keys && !own) || found > manifest.keys || view.revision() < manifest.revision {
        return Err(BackupError::Content(format!("the store that came up has {found} keys of {}", manifest.keys)));
    }
    Ok(manifest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::blocks::Writer;

    #[test]
    fn numbers_that_cannot_be_are_refused() {
        for (revision, epoch) in [(i64::MAX, 1), (1, u64::MAX)] {
            let manifest = Manifest {
                cluster_id: 1,
                revision,
                epoch,
                time_ms: 0,
                keys: 0,
                leases: 0,
                auth: 0,
                placed: false,
                base: None,
                extra: ().into(),
            };
            let mut bytes = Vec::new();
            let mut writer = Writer::new(&mut bytes, BACKUP).expect("memory");
            writer.record(&serde_json::to_vec(&manifest).expect("plain data")).expect("memory");
            writer.finish().expect("memory");
            let dir = tempfile::tempdir().expect("a directory");
            let refused = restore(bytes.as_slice(), dir.path(), None).expect_err("refused").to_string();
            assert!(refused.contains("cannot be"), "{refused}");
        }
    }
}

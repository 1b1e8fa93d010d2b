//! The engine of simulations and tests: ordered rows that a crash takes back to the last flush.
//!
//! It keeps what RocksDB promises and nothing more: a batch is there whole or not at all, a snapshot does not change, what
//! was flushed stays. Like RocksDB it also flushes when nobody asked.

mod files;

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use parking_lot::Mutex;

use crate::edge::drive::{Defect, Drive};
use crate::engine::{Batch, Broken, Engine, Family, Pairs, Snapshot};

/// In a simulation, one write in so many is followed by a flush.
const FLUSHED_ONE_IN: u64 = 48;
/// The families that say what entries did.
const WITHOUT_POSITION: [Family; 5] = [Family::Latest, Family::History, Family::Index, Family::Lease, Family::Gone];
/// Rows that a scan copies at a time.
const TOGETHER: usize = 64;

type Key = (Family, Bytes);
/// What a key was set to, by the number of the write, oldest first; none: its end.
type Versions = Vec<(u64, Option<Bytes>)>;

/// See the module; what is older than every snapshot is forgotten.
#[derive(Default)]
struct Rows {
    versions: BTreeMap<Key, Versions>,
    written: u64,
    /// Writes that snapshots look at, and how many do.
    looked_at: BTreeMap<u64, usize>,
    /// Keys with an older version than their newest, by the write that made it old.
    old: VecDeque<(u64, Key)>,
}

impl Rows {
    fn write(&mut self, batch: Batch) {
        self.written += 1;
        let written = self.written;
        for (family, key, value) in batch.changes {
            let key = (family, key);
            let versions = self.versions.entry(key.clone()).or_default();
            match versions.last_mut() {
                Some((number, last)) if *number == written => *last = value,
                _ => versions.push((written, value)),
            }
            self.old.push_back((written, key));
        }
        self.forget();
    }

    fn forget(&mut self) {
        let needed = self.looked_at.keys().next().copied().unwrap_or(self.written);
        while let Some((_, key)) = self.old.pop_front_if(|(number, _)| *number <= needed) {
            let Some(versions) = self.versions.get_mut(&key) else { continue };
            let first = versions.iter().rposition(|(number, _)| *number <= needed).unwrap_or(0);
            versions.drain(..first);
            if matches!(versions.as_slice(), [(number, None)] if *number <= needed) {
                self.versions.remove(&key);
            }
        }
    }

    fn value(versions: &Versions, at: u64) -> Option<&Bytes> {
        versions.iter().rev().find(|(number, _)| *number <= at).and_then(|(_, value)| value.as_ref())
    }

    fn all(&self, at: u64) -> impl Iterator<Item = (&Key, &Bytes)> {
        self.versions.iter().filter_map(move |(key, versions)| Some((key, Rows::value(versions, at)?)))
    }
}

/// Everything at a moment, as bytes.
fn encode(rows: &Rows) -> Bytes {
    let mut bytes = BytesMut::new();
    for ((family, key), value) in rows.all(rows.written) {
        let place = Family::ALL.iter().position(|known| known == family).unwrap_or(0);
        bytes.put_u8(u8::try_from(place).unwrap_or(0));
        for part in [key, value] {
            bytes.put_u32(u32::try_from(part.len()).unwrap_or(u32::MAX));
            bytes.put_slice(part);
        }
    }
    bytes.freeze()
}

fn decode(mut bytes: Bytes) -> Option<Rows> {
    let mut rows = Rows::default();
    while bytes.has_remaining() {
        let family = *Family::ALL.get(usize::from(bytes.get_u8()))?;
        let mut part = || {
            let length = usize::try_from(bytes.try_get_u32().ok()?).ok()?;
            (length <= bytes.len()).then(|| bytes.split_to(length))
        };
        let (key, value) = (part()?, part()?);
        rows.versions.insert((family, key), vec![(0, Some(value))]);
    }
    Some(rows)
}

/// See the module.
#[derive(Default)]
pub(crate) struct Memory {
    rows: Arc<Mutex<Rows>>,
    flushed: Mutex<Bytes>,
    /// Where that lies; nowhere in tests.
    dir: Option<PathBuf>,
    /// When it flushes by itself.
    drive: Option<Drive>,
}

fn broken(error: impl std::fmt::Display) -> Broken {
    Broken(format!("the state machine's database failed: {error}"))
}

impl Memory {
    /// Opens what was flushed into a directory, or begins there.
    ///
    /// # Errors
    /// When the files cannot be read.
    pub(crate) fn open(dir: &Path, drive: Option<Drive>) -> Result<Self, Broken> {
        let found = files::load(dir).map_err(broken)?;
        let new = found.is_none();
        let memory = Memory { dir: Some(dir.to_owned()), drive, ..Memory::of(found.unwrap_or_default())? };
        if new {
            memory.flush()?;
        }
        Ok(memory)
    }

    fn of(flushed: Bytes) -> Result<Self, Broken> {
        let rows = decode(flushed.clone()).ok_or_else(|| broken("its rows are damaged"))?;
        Ok(Memory { rows: Arc::new(Mutex::new(rows)), flushed: Mutex::new(flushed), dir: None, drive: None })
    }

    fn has(&self, defect: Defect) -> bool {
        self.drive.as_ref().is_some_and(|drive| drive.has(defect))
    }

    fn strikes(&self, defect: Defect, one_in: u64) -> bool {
        self.drive.as_ref().is_some_and(|drive| drive.strikes(defect, one_in))
    }

    /// Removes the row behind the last one of the history that a batch removes.
    fn remove_too_much(&self, batch: &mut Batch) {
        let removed = |(family, key, value): &(Family, Bytes, Option<Bytes>)| {
            (*family == Family::History && value.is_none()).then(|| key.clone())
        };
        let Some(last) = batch.changes.iter().filter_map(removed).max() else { return };
        let rows = self.rows.lock();
        let after = (std::ops::Bound::Excluded((Family::History, last)), std::ops::Bound::Unbounded);
        let next = rows.versions.range(after).next().filter(|((family, _), _)| *family == Family::History);
        let next = next.map(|((_, key), _)| key.clone());
        drop(rows);
        if let Some(key) = next {
            batch.delete(Family::History, key);
        }
    }

    /// What a flush writes.
    fn image(&self) -> Bytes {
        let now = encode(&self.rows.lock());
        let before = self.flushed.lock().clone();
        // The families that stay as they were flushed last.
        let stay: &[Family] = match &self.drive {
            Some(drive) if drive.has(Defect::FlushTorn) => &[Family::Latest],
            Some(drive) if drive.has(Defect::FlushWithoutPosition) => &[Family::Meta],
            Some(drive) if drive.has(Defect::PositionAhead) => &WITHOUT_POSITION,
            _ => return now,
        };
        let before = decode(before).unwrap_or_default();
        let mut mixed = decode(now).unwrap_or_default();
        mixed.versions.retain(|(family, _), _| !stay.contains(family));
        mixed.versions.extend(before.versions.into_iter().filter(|((family, _), _)| stay.contains(family)));
        encode(&mixed)
    }

    /// What a crash leaves.
    #[cfg(test)]
    pub(crate) fn crash(&self) -> Memory {
        Memory::of(self.flushed.lock().clone()).expect("what was flushed is whole")
    }
}

/// Without the newest row of the history.
fn without_last(flushed: Bytes) -> Bytes {
    let mut rows = decode(flushed).unwrap_or_default();
    let last = rows.versions.keys().rfind(|(family, _)| *family == Family::History).cloned();
    if let Some(last) = last {
        rows.versions.remove(&last);
    }
    encode(&rows)
}

struct Frozen {
    rows: Arc<Mutex<Rows>>,
    at: u64,
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let mut rows = self.rows.lock();
        if let Some(count) = rows.looked_at.get_mut(&self.at) {
            *count -= 1;
            if *count == 0 {
                rows.looked_at.remove(&self.at);
            }
        }
        rows.forget();
    }
}

impl Frozen {
    /// Some of the rows behind a key, up to another.
    fn some(&self, family: Family, from: &[u8], after: bool, to: Option<&[u8]>) -> VecDeque<(Bytes, Bytes)> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let first = (family, Bytes::copy_from_slice(from));
        let rows = self.rows.lock();
        let from = if after { Excluded(first) } else { Included(first) };
        let rows = rows.versions.range((from, Unbounded));
        let rows = rows.take_while(|((of, key), _)| *of == family && to.is_none_or(|to| key.as_ref() < to));
        let rows = rows.filter_map(|((_, key), versions)| Some((key.clone(), Rows::value(versions, self.at)?.clone())));
        rows.take(TOGETHER).collect()
    }
}

impl Snapshot for Frozen {
    fn get(&self, family: Family, key: &[u8]) -> Option<Bytes> {
        let rows = self.rows.lock();
        Rows::value(rows.versions.get(&(family, Bytes::copy_from_slice(key)))?, self.at).cloned()
    }

    fn scan(&self, family: Family, from: &[u8], to: Option<&[u8]>) -> Pairs<'_> {
        let to = to.map(Bytes::copy_from_slice);
        let mut ready = self.some(family, from, false, to.as_deref());
        Box::new(std::iter::from_fn(move || {
            let row = ready.pop_front()?;
            if ready.is_empty() {
                ready = self.some(family, &row.0, true, to.as_deref());
            }
            Some(row)
        }))
    }

    fn visit(&self, family: Family, from: &[u8], to: Option<&[u8]>, each: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
        let _ = self.scan(family, from, to).all(|(key, value)| each(&key, &value));
    }
}

impl Engine for Memory {
    fn snapshot(&self) -> Arc<dyn Snapshot> {
        let mut rows = self.rows.lock();
        let at = rows.written;
        *rows.looked_at.entry(at).or_default() += 1;
        Arc::new(Frozen { rows: self.rows.clone(), at })
    }

    fn write(&self, mut batch: Batch) -> Result<(), Broken> {
        if self.strikes(Defect::BatchesDropped, 80) {
            batch.changes.retain(|(family, ..)| *family != Family::Latest);
        }
        if self.strikes(Defect::CompactionGreedy, 4) {
            self.remove_too_much(&mut batch);
        }
        self.rows.lock().write(batch);
        match &self.drive {
            // What must fit into the reserve that is left where writes are refused is no matter of chance.
            Some(drive) if drive.one_in(FLUSHED_ONE_IN) && !drive.faults().full => self.flush(),
            _ => Ok(()),
        }
    }

    fn flush(&self) -> Result<(), Broken> {
        let now = self.image();
        if let Some(dir) = &self.dir {
            files::store(dir, &now).map_err(broken)?;
        }
        *self.flushed.lock() = now;
        Ok(())
    }

    fn checkpoint(&self, dir: &Path) -> Result<(), Broken> {
        self.flush()?;
        let mut flushed = self.flushed.lock().clone();
        if self.has(Defect::CopyShort) {
            flushed = without_last(flushed);
        }
        files::copy(dir, &flushed).map_err(broken)
    }

    fn size(&self) -> u64 {
        let rows = self.rows.lock();
        rows.all(rows.written).map(|((_, key), value)| (key.len() + value.len()) as u64).sum()
    }

    fn size_in_use(&self) -> u64 {
        self.size()
    }

    fn size_between(&self, family: Family, from: &[u8], to: &[u8]) -> u64 {
        self.snapshot().scan(family, from, Some(to)).map(|(key, value)| (key.len() + value.len()) as u64).sum()
    }

    fn tidy(&self) {}
}

//! A simulated disk: what was not synced may be lost, in part, when the power goes.
//!
//! What is read is what was written. Beside it lies what a loss of power leaves in any case, and in between every change
//! since, in order. A sync takes its time: until `settle` says that the time is over, it may not have happened.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::log::disk::{Disk, DiskFile};

/// A write is torn between sectors, never within one.
const SECTOR_BYTES: usize = 512;
/// What a disk holds where nobody says otherwise.
const ROOMY: u64 = 1 << 40;
/// A sync takes so long at least.
const SYNC_MIN: Duration = Duration::from_micros(200);

/// How a disk misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults {
    /// Syncs fail.
    pub syncs_fail: bool,
    /// There is no room for further files, and as good as none is left.
    pub full: bool,
    /// A sync takes up to so much longer.
    pub slow: Duration,
    /// Syncs are acknowledged and not done.
    pub syncs_lie: bool,
}

impl Default for Faults {
    fn default() -> Self {
        Faults { syncs_fail: false, full: false, slow: Duration::from_millis(3), syncs_lie: false }
    }
}

/// What became of what was not synced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Sectors of writes that are gone.
    pub sectors: u64,
    /// Writes of which some sectors are gone and others are there.
    pub torn: u64,
    /// Creations, removals and new names that are undone.
    pub names: u64,
}

/// A simulated disk; cheap to clone.
#[derive(Clone)]
pub struct Drive(Arc<Mutex<State>>);

#[derive(Clone, Default)]
struct Image {
    names: BTreeMap<String, u64>,
    files: BTreeMap<u64, Vec<u8>>,
}

enum Change {
    Write { file: u64, offset: usize, bytes: Vec<u8> },
    Sync(u64),
    Named { name: String, file: u64 },
    Renamed { from: String, to: String, file: u64 },
    Unnamed { name: String },
    SyncNames,
}

struct State {
    now: Image,
    durable: Image,
    /// What `durable` does not have yet, in order.
    changes: Vec<Change>,
    next: u64,
    random: u64,
    faults: Faults,
    losses: Losses,
}

/// Source: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", 2014.
fn draw(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

impl Image {
    fn write(&mut self, file: u64, offset: usize, bytes: &[u8]) {
        let held = self.files.entry(file).or_default();
        let end = offset + bytes.len();
        if held.len() < end {
            held.resize(end, 0);
        }
        held[offset..end].copy_from_slice(bytes);
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Write { file, offset, bytes } => self.write(*file, *offset, bytes),
            Change::Named { name, file } => drop(self.names.insert(name.clone(), *file)),
            Change::Renamed { from, to, file } => {
                self.names.remove(from);
                self.names.insert(to.clone(), *file);
            }
            Change::Unnamed { name } => drop(self.names.remove(name)),
            Change::Sync(_) | Change::SyncNames => {}
        }
    }
}

impl State {
    /// Makes durable what a sync among the changes covers.
    fn settle(&mut self) {
        if self.faults.syncs_lie {
            return;
        }
        let (mut synced, mut names, mut covered) = (BTreeSet::new(), false, Vec::new());
        for change in self.changes.iter().rev() {
            covered.push(match change {
                Change::Sync(file) => {
                    synced.insert(*file);
                    true
                }
                Change::SyncNames => {
                    names = true;
                    true
                }
                Change::Write { file, .. } => synced.contains(file),
                Change::Named { .. } | Change::Renamed { .. } | Change::Unnamed { .. } => names,
            });
        }
        for (change, covered) in std::mem::take(&mut self.changes).into_iter().zip(covered.into_iter().rev()) {
            if covered {
                self.durable.apply(&change);
            } else {
                self.changes.push(change);
            }
        }
    }

    fn lose_power(&mut self) {
        let is_sync = |change: &Change| matches!(change, Change::Sync(_) | Change::SyncNames);
        let syncs: Vec<usize> = (0..self.changes.len()).filter(|place| is_sync(&self.changes[*place])).collect();
        if !syncs.is_empty() && !self.faults.syncs_lie {
            // So many of the syncs under way had happened. Whoever syncs waits for it: what came after the first one
            // that had not was never written.
            let done = usize::try_from(draw(&mut self.random)).unwrap_or(0) % (syncs.len() + 1);
            if let Some(cut) = syncs.get(done) {
                self.changes.truncate(*cut);
            }
            self.settle();
        }
        let mut undone = false;
        for change in std::mem::take(&mut self.changes) {
            match change {
                Change::Write { file, offset, bytes } => self.tear(file, offset, &bytes),
                Change::Sync(_) | Change::SyncNames => {}
                // A file system's journal keeps the order of names.
                named => {
                    undone |= draw(&mut self.random) % 2 == 0;
                    if undone {
                        self.losses.names += 1;
                    } else {
                        self.durable.apply(&named);
                    }
                }
            }
        }
        let held: BTreeSet<u64> = self.durable.names.values().copied().collect();
        self.durable.files.retain(|file, _| held.contains(file));
        self.now = self.durable.clone();
    }

    /// Some of its sectors arrived.
    fn tear(&mut self, file: u64, offset: usize, bytes: &[u8]) {
        let (mut kept, mut lost, mut at) = (0, 0, 0);
        while at < bytes.len() {
            let end = bytes.len().min(at + SECTOR_BYTES - (offset + at) % SECTOR_BYTES);
            if draw(&mut self.random) % 2 == 0 {
                self.durable.write(file, offset + at, &bytes[at..end]);
                kept += 1;
            } else {
                lost += 1;
            }
            at = end;
        }
        self.losses.sectors += lost;
        self.losses.torn += u64::from(kept > 0 && lost > 0);
    }
}

impl Drive {
    /// An empty disk. `seed`: of what is lost, and of how long syncs take.
    pub fn new(seed: u64) -> Self {
        Drive(Arc::new(Mutex::new(State {
            now: Image::default(),
            durable: Image::default(),
            changes: Vec::new(),
            next: 1,
            random: seed,
            faults: Faults::default(),
            losses: Losses::default(),
        })))
    }

    /// Changes how it misbehaves.
    pub fn set_faults(&self, faults: Faults) {
        self.0.lock().faults = faults;
    }

    /// How it misbehaves.
    pub fn faults(&self) -> Faults {
        self.0.lock().faults
    }

    /// The power goes: what is not durable is lost, in part or whole.
    pub fn lose_power(&self) {
        self.0.lock().lose_power();
    }

    /// What losses of power took so far.
    pub fn losses(&self) -> Losses {
        self.0.lock().losses
    }

    /// Flips a bit of what lies idle: in the older half of the bytes that hold something. Says where; none: nothing
    /// lies there.
    pub fn flip(&self) -> Option<String> {
        let mut state = self.0.lock();
        let state = &mut *state;
        let picked = draw(&mut state.random);
        // The last one is being written, and its end is no promise yet.
        let (name, file) = state.durable.names.iter().next().map(|(name, file)| (name.clone(), *file))?;
        let bytes = state.durable.files.get(&file)?;
        let used = bytes.iter().rposition(|byte| *byte != 0)? / 2;
        let at = usize::try_from(picked >> 8).unwrap_or(0) % used.max(1);
        let bit = 1 << (picked % 8);
        for image in [&mut state.durable, &mut state.now].map(|image| image.files.get_mut(&file)) {
            if let Some(byte) = image.and_then(|bytes| bytes.get_mut(at)) {
                *byte ^= bit;
            }
        }
        Some(format!("{name} at byte {at}"))
    }

    /// How long the sync takes that was asked for.
    pub fn latency(&self) -> Duration {
        let mut state = self.0.lock();
        let most = u64::try_from(state.faults.slow.as_micros()).unwrap_or(u64::MAX).max(1);
        SYNC_MIN + Duration::from_micros(draw(&mut state.random) % most)
    }

    /// The time of the syncs so far is over: they have happened.
    pub fn settle(&self) {
        self.0.lock().settle();
    }

    /// Bytes that are free.
    pub fn free(&self) -> u64 {
        if self.0.lock().faults.full { 0 } else { ROOMY }
    }

    /// Whether something happens now that happens once in so many times.
    pub fn one_in(&self, times: u64) -> bool {
        draw(&mut self.0.lock().random) % times == 0
    }
}

fn missing(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, name.to_owned())
}

/// An open file of a simulated disk.
pub struct DriveFile {
    drive: Drive,
    file: u64,
}

impl Disk for Drive {
    type File = DriveFile;

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().now.names.keys().cloned().collect())
    }

    fn create(&self, name: &str, size: u64) -> io::Result<DriveFile> {
        let mut state = self.0.lock();
        if state.faults.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if state.now.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = state.next;
        state.next += 1;
        let zeros = vec![0; usize::try_from(size).map_err(io::Error::other)?];
        // Its bytes are synced when this returns, its name is not.
        state.durable.files.insert(file, zeros.clone());
        state.now.files.insert(file, zeros);
        state.now.names.insert(name.to_owned(), file);
        state.changes.push(Change::Named { name: name.to_owned(), file });
        Ok(DriveFile { drive: self.clone(), file })
    }

    fn open(&self, name: &str) -> io::Result<DriveFile> {
        let file = *self.0.lock().now.names.get(name).ok_or_else(|| missing(name))?;
        Ok(DriveFile { drive: self.clone(), file })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.0.lock();
        state.now.names.remove(name).ok_or_else(|| missing(name))?;
        state.changes.push(Change::Unnamed { name: name.to_owned() });
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.0.lock();
        let file = state.now.names.remove(from).ok_or_else(|| missing(from))?;
        state.now.names.insert(to.to_owned(), file);
        state.changes.push(Change::Renamed { from: from.to_owned(), to: to.to_owned(), file });
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut state = self.0.lock();
        if state.faults.syncs_fail {
            return Err(io::Error::from_raw_os_error(nix::libc::EIO));
        }
        state.changes.push(Change::SyncNames);
        Ok(())
    }

    fn describe(&self, name: &str) -> String {
        format!("simulated/{name}")
    }
}

impl DiskFile for DriveFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.drive.0.lock().now.files.get(&self.file).map_or(0, |bytes| bytes.len() as u64))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let state = self.drive.0.lock();
        let bytes = state.now.files.get(&self.file).ok_or_else(|| missing("a file"))?;
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        let found = bytes.get(from..from + buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(found);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.drive.0.lock();
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        state.now.write(self.file, offset, bytes);
        state.changes.push(Change::Write { file: self.file, offset, bytes: bytes.to_vec() });
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.drive.0.lock();
        if state.faults.syncs_fail {
            return Err(io::Error::from_raw_os_error(nix::libc::EIO));
        }
        state.changes.push(Change::Sync(self.file));
        Ok(())
    }
}

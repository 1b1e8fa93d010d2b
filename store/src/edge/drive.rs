//! A simulated disk: what was not synced may be lost, in part, when the power goes.
//!
//! What is read is what was written. Beside it lies what a loss of power leaves in any case, and in between every change
//! since, in order. A sync takes its time: until `settle` says that the time is over, it may not have happened.

mod files;
mod image;
mod tree;

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use self::image::{Change, Image};
pub(crate) use self::tree::Opened;

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
}

impl Default for Faults {
    fn default() -> Self {
        Faults { syncs_fail: false, full: false, slow: Duration::from_millis(3) }
    }
}

/// What a disk, the engine on it, or the member whose disk it is, does wrong, to see whether it is found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// Syncs are acknowledged and not done.
    SyncsLie,
    /// A sync is acknowledged while only what the one before it covered is durable.
    SyncsLate,
    /// Names of files are never made durable.
    NamesLie,
    /// Of a write that was synced one sector is not there after a loss of power.
    SectorsDropped,
    /// A write lands in another place, now and then.
    WritesMisdirected,
    /// The engine flushes some families and not others.
    FlushTorn,
    /// The engine flushes what entries did, and not which entry was the last.
    FlushWithoutPosition,
    /// A copy of the engine lacks the newest row of its history.
    CopyShort,
    /// The engine forgets what a batch did to the newest records, now and then.
    BatchesDropped,
    /// The engine flushes which entry was the last, and not what entries did.
    PositionAhead,
    /// The engine removes a row of the history too much where it removes any, now and then.
    CompactionGreedy,
    /// Entries count as flushed as soon as they are queued.
    FlushedEarly,
    /// The log that followers are sent has an empty entry in the place of another, now and then.
    LogMisread,
    /// A leader counts entries as acknowledged that it has merely sent.
    AcksAssumed,
    /// A call of a member that does not come to its end holds up the log.
    CallsHang,
    /// Snapshots are not sent.
    SnapshotsUnsent,
    /// A snapshot counts as installed and is not.
    SnapshotsUninstalled,
    /// A read does not wait until this member has applied what it must see.
    ReadsUnawaited,
    /// A write of which nobody knows whether it was done is proposed again.
    WritesRepeated,
    /// A candidate claims entries that it does not have.
    CandidatesBoast,
    /// A lease is not told from an earlier one with its id.
    GrantsAlike,
    /// Watches are not told that a snapshot was installed.
    EventsSkipped,
    /// A watch that goes on where another ended begins behind the next event.
    WatchesLate,
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

/// What a disk held once.
#[derive(Clone)]
pub struct Contents(Image);

/// A simulated disk; cheap to clone.
#[derive(Clone)]
pub struct Drive(Arc<Mutex<State>>);

struct State {
    now: Image,
    durable: Image,
    /// What `durable` does not have yet, in order.
    changes: Vec<Change>,
    next: u64,
    random: u64,
    faults: Faults,
    defect: Option<Defect>,
    /// So many changes were there at the last sync.
    settled: usize,
    flips: Vec<(u64, usize, u8)>,
    losses: Losses,
    /// Files whose name went, in a directory.
    unlinked: Vec<u64>,
    /// Without power nothing happens any more.
    off: bool,
    /// After so many operations it has none.
    off_after: Option<u32>,
}

fn missing(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, name.to_owned())
}

fn failed() -> io::Error {
    io::Error::from_raw_os_error(nix::libc::EIO)
}

/// Source: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", 2014.
fn draw(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Applies a write without one of its sectors; whether it is a write.
fn drop_sector(change: &Change, durable: &mut Image, random: &mut u64) -> bool {
    let Change::Write { file, offset, bytes } = change else { return false };
    let sectors = bytes.len().div_ceil(SECTOR_BYTES).max(1);
    let dropped = usize::try_from(draw(random)).unwrap_or(0) % sectors;
    for (number, piece) in bytes.chunks(SECTOR_BYTES).enumerate().filter(|(number, _)| *number != dropped) {
        durable.write(*file, offset + number * SECTOR_BYTES, piece);
    }
    true
}

impl State {
    /// Whether one more operation is done.
    fn powered(&mut self) -> io::Result<()> {
        match &mut self.off_after {
            Some(0) => self.off = true,
            Some(left) => *left -= 1,
            None => {}
        }
        if self.off { Err(failed()) } else { Ok(()) }
    }

    /// Whether a sync is done.
    fn synced(&mut self) -> io::Result<()> {
        self.powered()?;
        if self.faults.syncs_fail { Err(failed()) } else { Ok(()) }
    }

    fn write(&mut self, file: u64, offset: usize, bytes: &[u8]) {
        self.now.write(file, offset, bytes);
        // A bit that was flipped there is no longer.
        self.flips.retain(|(flipped, at, _)| *flipped != file || !(offset..offset + bytes.len()).contains(at));
        self.changes.push(Change::Write { file, offset, bytes: bytes.to_vec() });
    }

    /// Makes durable what a sync among the changes covers.
    fn settle(&mut self) {
        match self.defect {
            Some(Defect::SyncsLie) => (),
            Some(Defect::SyncsLate) => {
                let late = self.changes.split_off(self.settled.min(self.changes.len()));
                self.cover();
                self.changes.extend(late);
                self.settled = self.changes.len();
            }
            _ => self.cover(),
        }
    }

    fn cover(&mut self) {
        let names_lie = self.defect == Some(Defect::NamesLie);
        let drops = self.defect == Some(Defect::SectorsDropped);
        let (mut synced, mut names, mut covered) = (BTreeSet::new(), false, Vec::new());
        for change in self.changes.iter().rev() {
            covered.push(match change {
                Change::Sync(file) => {
                    synced.insert(*file);
                    true
                }
                Change::SyncNames => {
                    names = !names_lie;
                    true
                }
                Change::Write { file, .. } => synced.contains(file),
                Change::Named { .. } | Change::Renamed { .. } | Change::Unnamed { .. } => names,
            });
        }
        for (change, covered) in std::mem::take(&mut self.changes).into_iter().zip(covered.into_iter().rev()) {
            if covered {
                let dropped = drops && draw(&mut self.random).is_multiple_of(40);
                if !(dropped && drop_sector(&change, &mut self.durable, &mut self.random)) {
                    self.durable.apply(&change);
                }
            } else {
                self.changes.push(change);
            }
        }
    }

    fn flip(&mut self, file: u64, at: usize, bit: u8) {
        for image in [&mut self.durable, &mut self.now] {
            if let Some(byte) = image.files.get_mut(&file).and_then(|bytes| bytes.get_mut(at)) {
                *byte ^= bit;
            }
        }
    }

    fn lose_power(&mut self) {
        let is_sync = |change: &Change| matches!(change, Change::Sync(_) | Change::SyncNames);
        let syncs: Vec<usize> = (0..self.changes.len()).filter(|place| is_sync(&self.changes[*place])).collect();
        if !syncs.is_empty() && !matches!(self.defect, Some(Defect::SyncsLie | Defect::SyncsLate)) {
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
                    undone |= draw(&mut self.random).is_multiple_of(2);
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
        self.unlinked.clear();
    }

    /// Some of its sectors arrived.
    fn tear(&mut self, file: u64, offset: usize, bytes: &[u8]) {
        let (mut kept, mut lost, mut at) = (0, 0, 0);
        while at < bytes.len() {
            let end = bytes.len().min(at + SECTOR_BYTES - (offset + at) % SECTOR_BYTES);
            if draw(&mut self.random).is_multiple_of(2) {
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
            defect: None,
            settled: 0,
            flips: Vec::new(),
            losses: Losses::default(),
            unlinked: Vec::new(),
            off: false,
            off_after: None,
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

    /// The power goes: whatever is asked of it fails and changes nothing, until it is `on` again.
    pub fn off(&self) {
        self.0.lock().off = true;
    }

    /// The same after so many further operations, in the midst of whatever is done then.
    pub fn off_after(&self, operations: u32) {
        self.0.lock().off_after = Some(operations);
    }

    /// Whether its power went.
    pub fn is_off(&self) -> bool {
        self.0.lock().off
    }

    /// The power is back.
    pub fn on(&self) {
        let mut state = self.0.lock();
        (state.off, state.off_after) = (false, None);
    }

    /// What a loss of power leaves: what is not durable is lost, in part or whole.
    pub fn lose_power(&self) {
        self.0.lock().lose_power();
    }

    /// What losses of power took so far.
    pub fn losses(&self) -> Losses {
        self.0.lock().losses
    }

    /// Flips a bit of what lies idle: of a file in a directory, or of the log in the older half of the bytes that hold
    /// something. Says where; none: nothing lies there.
    pub fn flip(&self) -> Option<String> {
        let mut state = self.0.lock();
        let state = &mut *state;
        let (picked, which) = (draw(&mut state.random), draw(&mut state.random));
        let number = |drawn: u64, of: usize| usize::try_from(drawn >> 8).unwrap_or(0) % of.max(1);
        let files = |inside: bool| {
            let names = state.durable.names.iter();
            names.filter(move |(name, _)| name.contains('/') == inside && !name.ends_with('/')).collect::<Vec<_>>()
        };
        let (inside, outside) = (files(true), files(false));
        // The last one of the log is being written, and its end is no promise yet.
        let log = inside.is_empty() || which % 2 == 0;
        let found = if log { outside.first() } else { inside.get(number(which, inside.len())) };
        let (name, file) = found.map(|(name, file)| ((*name).clone(), **file))?;
        let bytes = state.durable.files.get(&file).filter(|bytes| !bytes.is_empty())?;
        let used = if log { bytes.iter().rposition(|byte| *byte != 0)? / 2 } else { bytes.len() };
        let (at, bit) = (number(picked, used), 1 << (picked % 8));
        state.flips.push((file, at, bit));
        state.flip(file, at, bit);
        Some(format!("{name} at byte {at}"))
    }

    /// Takes all flips back, as who puts the disk's contents back from elsewhere; whether there were any.
    pub fn unflip(&self) -> bool {
        let mut state = self.0.lock();
        let flips = std::mem::take(&mut state.flips);
        flips.iter().for_each(|(file, at, bit)| state.flip(*file, *at, *bit));
        !flips.is_empty()
    }

    /// From now on it, or the engine on it, does something wrong.
    pub fn set_defect(&self, defect: Defect) {
        self.0.lock().defect = Some(defect);
    }

    /// Whether the defect is this one.
    pub(crate) fn has(&self, defect: Defect) -> bool {
        self.0.lock().defect == Some(defect)
    }

    /// Whether it is this one and shows now, as it does once in so many times.
    pub(crate) fn strikes(&self, defect: Defect, one_in: u64) -> bool {
        self.has(defect) && self.one_in(one_in)
    }

    /// Loses everything.
    pub fn wipe(&self) {
        self.put_back(&Contents(Image::default()));
    }

    /// What lies there for certain, to be put back later.
    pub fn copy(&self) -> Contents {
        Contents(self.0.lock().durable.clone())
    }

    /// Puts back what lay there once.
    pub fn put_back(&self, contents: &Contents) {
        let mut state = self.0.lock();
        (state.now, state.durable) = (contents.0.clone(), contents.0.clone());
        state.changes.clear();
    }

    /// How long the sync takes that was asked for.
    pub fn latency(&self) -> Duration {
        let mut state = self.0.lock();
        let most = u64::try_from(state.faults.slow.as_micros()).unwrap_or(u64::MAX).max(1);
        SYNC_MIN + Duration::from_micros(draw(&mut state.random) % most)
    }

    /// The time of the syncs so far is over: they have happened.
    ///
    /// # Errors
    /// When the power went meanwhile.
    pub fn settle(&self) -> io::Result<()> {
        let mut state = self.0.lock();
        if state.off {
            return Err(failed());
        }
        state.settle();
        Ok(())
    }

    /// Bytes that are free.
    pub fn free(&self) -> u64 {
        if self.0.lock().faults.full { 0 } else { ROOMY }
    }

    /// Whether something happens now that happens once in so many times.
    pub fn one_in(&self, times: u64) -> bool {
        draw(&mut self.0.lock().random).is_multiple_of(times)
    }
}

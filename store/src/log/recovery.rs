//! Reads all segments and rebuilds what the log held; a torn tail is cut, anything else that is bad refuses.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::log::Error;
use crate::log::disk::{Disk, DiskFile};
use crate::log::entries::{Entries, Place};
use crate::log::record::Record;
use crate::log::sealing::Sealing;
use crate::log::segment::{self, Found};

/// No log comes this far; what says so is damaged.
const INDEX_MAX: u64 = u64::MAX >> 1;

/// What the log holds.
#[derive(Debug)]
pub(super) struct Contents {
    pub(super) entries: Entries,
    pub(super) vote: Option<Bytes>,
    pub(super) committed: Option<Bytes>,
    /// The last purge: its index and its owner's words.
    pub(super) purged: Option<(u64, Bytes)>,
}

impl Contents {
    fn new(resident_max: u64) -> Self {
        Contents { entries: Entries::new(resident_max), vote: None, committed: None, purged: None }
    }

    /// The index after the last entry; with no entries, after the last purge.
    pub(super) fn next_index(&self) -> Option<u64> {
        self.entries.range().map(|(_, last)| last + 1).or_else(|| Some(self.purged.as_ref()?.0 + 1))
    }

    /// Entries that are neither there nor purged.
    fn hole(&self) -> Option<String> {
        let (first, purged) = (self.entries.range()?.0, self.purged.as_ref()?.0);
        (first > purged + 1).then(|| format!("entries {} to {} are missing", purged + 1, first - 1))
    }

    /// What a segment that follows must repeat.
    pub(super) fn standing(&self) -> Standing {
        Standing {
            purged: self.purged.clone().map(|(index, id)| Record::PurgeUpto { index, id }),
            vote: self.vote.clone().map(Record::Vote),
            committed: self.committed.clone().map(Record::Committed),
        }
    }

    /// Takes a record's effect; says what is wrong with one that cannot follow the others. `place`: where it lies already.
    pub(super) fn take(&mut self, record: Record, place: Option<Place>) -> Result<(), String> {
        if let Record::Entry { index, .. } | Record::PurgeUpto { index, .. } = &record
            && *index > INDEX_MAX
        {
            return Err(format!("an entry {index} cannot be"));
        }
        match record {
            Record::Entry { index, data } => {
                // Behind removed segments the first entry may lie above the purge that is known so far: a later
                // record repeats that purge, and `hole` looks at the end.
                let follows = match (self.entries.range(), &self.purged) {
                    (Some((_, last)), _) => index == last + 1,
                    (None, Some((purged, _))) => index > *purged,
                    (None, None) => true,
                };
                if !follows {
                    return Err(format!("entry {index} cannot follow what is before it"));
                }
                self.entries.push(index, data, place);
            }
            Record::Vote(vote) => self.vote = Some(vote),
            Record::Committed(id) => self.committed = Some(id),
            Record::TruncateAfter(index) => self.entries.cut_after(index),
            Record::PurgeUpto { index, id } => {
                self.entries.cut_upto(index);
                self.purged = Some((index, id));
            }
            Record::Seal => {}
            Record::Sealed { .. } => return Err("the record is encrypted".to_owned()),
        }
        Ok(())
    }
}

/// The records that must be said again before the segments that hold them are removed, newest of each sort.
#[derive(Debug, Default)]
pub(super) struct Standing {
    pub(super) purged: Option<Record>,
    pub(super) vote: Option<Record>,
    pub(super) committed: Option<Record>,
}

impl Standing {
    /// Keeps a record if it is of such a sort.
    pub(super) fn note(&mut self, record: &Record) {
        match record {
            Record::PurgeUpto { .. } => self.purged = Some(record.clone()),
            Record::Vote(_) => self.vote = Some(record.clone()),
            Record::Committed(_) => self.committed = Some(record.clone()),
            Record::Entry { .. } | Record::TruncateAfter(_) | Record::Seal | Record::Sealed { .. } => {}
        }
    }

    pub(super) fn records(&self) -> impl Iterator<Item = &Record> {
        [&self.purged, &self.vote, &self.committed].into_iter().flatten()
    }

    /// Of how many sorts there are records.
    pub(super) fn count(&self) -> usize {
        self.records().count()
    }
}

/// A segment file, as the removal of purged ones looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) sequence: u64,
    /// The highest index that any entry in it has, void ones included; 0 without entries.
    pub(super) last_entry: u64,
}

impl Segment {
    pub(super) fn new(sequence: u64) -> Self {
        Segment { sequence, last_entry: 0 }
    }

    /// Counts a record that lies in it.
    pub(super) fn note(&mut self, record: &Record) {
        if let Record::Entry { index, .. } = record {
            self.last_entry = self.last_entry.max(*index);
        }
    }
}

/// Where appending goes on.
pub(super) struct Tail {
    /// The last segment is full; the next one was not begun.
    pub(super) sealed: bool,
    pub(super) sequence: u64,
    pub(super) end: u64,
    /// What the last segment itself says of what stands.
    pub(super) says: Standing,
    /// All segments, the last included.
    pub(super) segments: VecDeque<Segment>,
}

/// Reads every segment of the disk. No tail: there is none yet.
///
/// # Errors
/// As `Error` says.
pub(super) fn recover<D: Disk>(
    disk: &D,
    resident_max: u64,
    sealing: &Sealing,
) -> Result<(Contents, Option<Tail>), Error> {
    let io = |source| Error::Io { path: disk.describe(""), source };
    let mut names: Vec<(u64, String)> =
        disk.list().map_err(io)?.into_iter().filter_map(|name| Some((segment::sequence_of(&name)?, name))).collect();
    names.sort();
    let mut contents = Contents::new(resident_max);
    let mut tail: Option<Tail> = None;
    let last = names.last().map(|(sequence, _)| *sequence);
    for (sequence, name) in names {
        let damaged = |offset, what| Error::Damaged { path: disk.describe(&name), offset, what };
        let Some(read) = segment::read(disk, &name, sequence, sealing)? else {
            if Some(sequence) != last {
                return Err(damaged(0, "its header is gone, though a later segment exists".to_owned()));
            }
            // Its creation never finished, so nothing in it was ever acknowledged.
            disk.remove(&name).and_then(|()| disk.sync_names()).map_err(io)?;
            continue;
        };
        if !read.sealed && Some(sequence) != last {
            return Err(damaged(
                read.end,
                "the segment ends here without a seal, though a later one exists".to_owned(),
            ));
        }
        let (mut segment, mut says) = (Segment::new(sequence), Standing::default());
        for Found { record, offset } in read.records {
            segment.note(&record);
            says.note(&record);
            contents.take(record, Some(Place { sequence, offset })).map_err(|what| damaged(offset, what))?;
        }
        if read.torn {
            cut(disk, &name, read.end)?;
        }
        let mut segments = tail.map(|tail| tail.segments).unwrap_or_default();
        segments.push_back(segment);
        tail = Some(Tail { sealed: read.sealed, sequence, end: read.end, says, segments });
    }
    if let Some(what) = contents.hole() {
        return Err(Error::Damaged { path: disk.describe(""), offset: 0, what });
    }
    Ok((contents, tail))
}

/// Overwrites what a torn write left, so that no later record can follow it by accident.
fn cut<D: Disk>(disk: &D, name: &str, end: u64) -> Result<(), Error> {
    let wipe = || {
        let file = disk.open(name)?;
        file.zero(end, file.size()?)?;
        file.sync()
    };
    wipe().map_err(|source| Error::Io { path: disk.describe(name), source })
}

//! The one thread that writes: it drains the queue, writes once, syncs once, and calls everyone back.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use bytes::BytesMut;

use crate::log::Error;
use crate::log::disk::{Disk, DiskFile};
use crate::log::record::{Record, size_of};
use crate::log::recovery::{Standing, Tail};
use crate::log::segment::{self, SEGMENT_HEADER_BYTES};
use crate::log::wal::{Durable, Shared};

/// Appends merged into one write at most.
const GROUP_MAX: usize = 1024;

/// One append: its records, and whom to call once they are on disk.
pub(super) struct Job {
    pub(super) records: Vec<Record>,
    pub(super) durable: Option<Durable>,
}

pub(super) struct Writer<D: Disk> {
    disk: Arc<D>,
    shared: Arc<Shared>,
    file: D::File,
    sequence: u64,
    end: u64,
    segment_bytes: u64,
    segments: VecDeque<u64>,
    standing: Standing,
}

impl<D: Disk> Writer<D> {
    /// Goes on at the tail, or begins the first segment.
    pub(super) fn open(
        disk: Arc<D>,
        shared: Arc<Shared>,
        tail: Option<Tail>,
        standing: Standing,
        segment_bytes: u64,
    ) -> Result<Self, Error> {
        let (sequence, end, mut segments, fresh) = match tail {
            None => (1, SEGMENT_HEADER_BYTES, VecDeque::new(), true),
            Some(tail) if tail.sealed => (tail.sequence + 1, SEGMENT_HEADER_BYTES, tail.segments, true),
            Some(tail) => (tail.sequence, tail.end, tail.segments, false),
        };
        let name = segment::name(sequence);
        let file = if fresh {
            segments.push_back(sequence);
            create(&*disk, sequence, segment_bytes)?
        } else {
            disk.open(&name).map_err(|source| Error::Io { path: disk.describe(&name), source })?
        };
        let mut writer = Writer { disk, shared, file, sequence, end, segment_bytes, segments, standing };
        if fresh {
            writer.restate()?;
        }
        Ok(writer)
    }

    /// Works until the log is dropped; a failure is told to everyone and ends it for good.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        while let Ok(first) = jobs.recv() {
            let mut group = vec![first];
            group.extend(jobs.try_iter().take(GROUP_MAX - 1));
            let result = self.write(&group);
            if let Err(error) = &result {
                self.shared.fail(error);
            }
            for durable in group.into_iter().filter_map(|job| job.durable) {
                durable(result.as_ref().copied().map_err(|error| Error::Failed(error.to_string())));
            }
            if result.is_err() {
                return;
            }
        }
    }

    fn write(&mut self, group: &[Job]) -> Result<(), Error> {
        let mut buffer = BytesMut::new();
        for record in group.iter().flat_map(|job| &job.records) {
            let room = self.segment_bytes.saturating_sub(self.end + buffer.len() as u64);
            // The seal must always fit behind the last record.
            if room < (size_of(record.payload_len()) + size_of(0)) as u64 {
                self.roll(&mut buffer)?;
            }
            self.shared.placed(record, self.sequence);
            self.standing.note(record);
            record.encode(self.sequence, u32::try_from(self.end).expect("segments are below 4 GiB"), &mut buffer);
        }
        self.flush(&mut buffer)?;
        let purges = |record: &Record| matches!(record, Record::PurgeUpto { .. });
        if group.iter().flat_map(|job| &job.records).any(purges) {
            self.drop_purged()?;
        }
        Ok(())
    }

    fn flush(&mut self, buffer: &mut BytesMut) -> Result<(), Error> {
        let name = segment::name(self.sequence);
        let io = |source| Error::Io { path: self.disk.describe(&name), source };
        self.file.write_at(buffer, self.end).map_err(io)?;
        self.file.sync().map_err(io)?;
        self.end += buffer.len() as u64;
        buffer.clear();
        Ok(())
    }

    /// Seals the segment and begins the next one.
    fn roll(&mut self, buffer: &mut BytesMut) -> Result<(), Error> {
        Record::Seal.encode(self.sequence, u32::try_from(self.end).expect("segments are below 4 GiB"), buffer);
        self.flush(buffer)?;
        self.sequence += 1;
        self.file = create(&*self.disk, self.sequence, self.segment_bytes)?;
        self.end = SEGMENT_HEADER_BYTES;
        self.segments.push_back(self.sequence);
        self.restate()
    }

    /// Repeats what stands, so that no older segment is needed for it.
    fn restate(&mut self) -> Result<(), Error> {
        let mut buffer = BytesMut::new();
        for record in self.standing.records() {
            record.encode(self.sequence, SEGMENT_HEADER_BYTES as u32, &mut buffer);
        }
        self.flush(&mut buffer)
    }

    /// Removes segments that hold no entry any more.
    fn drop_purged(&mut self) -> Result<(), Error> {
        let oldest = self.shared.oldest_segment().unwrap_or(self.sequence).min(self.sequence);
        while let Some(sequence) = self.segments.front().copied().filter(|sequence| *sequence < oldest) {
            let name = segment::name(sequence);
            self.disk.remove(&name).map_err(|source| Error::Io { path: self.disk.describe(&name), source })?;
            self.segments.pop_front();
        }
        Ok(())
    }
}

fn create<D: Disk>(disk: &D, sequence: u64, size: u64) -> Result<D::File, Error> {
    let name = segment::name(sequence);
    let make = || {
        let file = disk.create(&name, size)?;
        file.write_at(&segment::header(sequence), 0)?;
        file.sync()?;
        disk.sync_names()?;
        Ok(file)
    };
    make().map_err(|source| Error::Io { path: disk.describe(&name), source })
}

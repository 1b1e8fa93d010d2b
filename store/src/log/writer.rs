//! The one thread that writes: it drains the queue, writes once, syncs once, and calls everyone back.

use std::collections::VecDeque;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::BytesMut;
use parking_lot::Mutex;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::durations::Durations;
use crate::edge::drive::Drive;
use crate::log::Error;
use crate::log::disk::{Disk, DiskFile};
use crate::log::entries::Place;
use crate::log::record::{Record, size_of};
use crate::log::recovery::{Contents, Segment, Standing, Tail};
use crate::log::sealing::Sealing;
use crate::log::segment::{self, SEGMENT_HEADER_BYTES};
use crate::log::spare::Spare;
use crate::log::wal::Durable;

/// Appends merged into one write at most.
const GROUP_MAX: usize = 1024;

/// One append: its records, and whom to call once they are on disk.
pub(super) struct Job {
    pub(super) records: Vec<Record>,
    pub(super) durable: Option<Durable>,
}

pub(super) struct Writer<D: Disk> {
    disk: Arc<D>,
    file: D::File,
    spare: Spare<D>,
    sequence: u64,
    end: u64,
    segment_bytes: u64,
    /// Oldest first; the last is the one that is written.
    segments: VecDeque<Segment>,
    standing: Standing,
    syncs: Arc<Durations>,
    sealing: Sealing,
}

/// What is on disk may leave memory.
fn settle(contents: &mut Contents, group: &[Job], places: Vec<Place>) {
    for (record, place) in group.iter().flat_map(|job| &job.records).zip(places) {
        if let Record::Entry { index, data } = record {
            contents.entries.settle(*index, data, place);
        }
    }
}

/// Calls back everyone in a group.
fn finish(group: Vec<Job>, places: Option<Vec<Place>>, failed: &OnceLock<String>, contents: &Mutex<Contents>) {
    if let Some(places) = places {
        settle(&mut contents.lock(), &group, places);
    }
    for durable in group.into_iter().filter_map(|job| job.durable) {
        durable(failed.get().map_or(Ok(()), |why| Err(Error::Failed(why.clone()))));
    }
}

impl<D: Disk> Writer<D> {
    /// Goes on at the tail, or begins the first segment.
    pub(super) fn open(
        disk: Arc<D>,
        tail: Option<Tail>,
        standing: Standing,
        segment_bytes: u64,
        syncs: Arc<Durations>,
        sealing: Sealing,
        ahead: bool,
    ) -> Result<Self, Error> {
        let lacking = tail.as_ref().is_none_or(|tail| tail.sealed || tail.says.count() < standing.count());
        let (sequence, end, mut segments, fresh) = match tail {
            None => (1, SEGMENT_HEADER_BYTES, VecDeque::new(), true),
            Some(tail) if tail.sealed => (tail.sequence + 1, SEGMENT_HEADER_BYTES, tail.segments, true),
            Some(tail) => (tail.sequence, tail.end, tail.segments, false),
        };
        let name = segment::name(sequence);
        let mut spare = Spare::open(disk.clone(), segment_bytes, sealing.seals(), ahead)?;
        let file = if fresh {
            segments.push_back(Segment::new(sequence));
            spare.take(sequence)?
        } else {
            disk.open(&name).map_err(|source| Error::Io { path: disk.describe(&name), source })?
        };
        let mut writer = Writer { disk, file, spare, sequence, end, segment_bytes, segments, standing, syncs, sealing };
        // Also where a crash came between the header of the segment and what it repeats.
        if lacking {
            writer.restate()?;
        }
        Ok(writer)
    }

    /// Works until the log is dropped. After a failure it writes nothing more and tells everyone.
    pub(super) fn run(mut self, jobs: &Receiver<Job>, failed: &OnceLock<String>, contents: &Mutex<Contents>) {
        while let Ok(first) = jobs.recv() {
            let mut group = vec![first];
            group.extend(jobs.try_iter().take(GROUP_MAX - 1));
            let places = self.attempt(&group, failed);
            finish(group, places, failed, contents);
        }
    }

    /// The same in a simulation: as a task, on a disk whose syncs take simulated time.
    pub(super) async fn run_simulated(
        mut self,
        mut jobs: UnboundedReceiver<Job>,
        failed: Arc<OnceLock<String>>,
        contents: Arc<Mutex<Contents>>,
        drive: Drive,
    ) {
        while let Some(first) = jobs.recv().await {
            let mut group = vec![first];
            while group.len() < GROUP_MAX
                && let Ok(next) = jobs.try_recv()
            {
                group.push(next);
            }
            let places = self.attempt(&group, &failed);
            tokio::time::sleep(drive.latency()).await;
            if let Err(error) = drive.settle() {
                failed.get_or_init(|| error.to_string());
            }
            finish(group, places, &failed, &contents);
        }
    }

    /// Writes unless a write has failed; answers where the records lie.
    fn attempt(&mut self, group: &[Job], failed: &OnceLock<String>) -> Option<Vec<Place>> {
        if failed.get().is_some() {
            return None;
        }
        match self.write(group) {
            Ok(places) => Some(places),
            Err(error) => {
                failed.get_or_init(|| error.to_string());
                None
            }
        }
    }

    /// Answers where the records lie.
    fn write(&mut self, group: &[Job]) -> Result<Vec<Place>, Error> {
        let (mut buffer, mut places) = (BytesMut::new(), Vec::new());
        for record in group.iter().flat_map(|job| &job.records) {
            if matches!(record, Record::Seal) {
                self.roll(&mut buffer)?;
                places.push(Place { sequence: self.sequence, offset: self.end });
                continue;
            }
            let room = self.segment_bytes.saturating_sub(self.end + buffer.len() as u64);
            // The seal must always fit behind the last record.
            if room < (size_of(self.sealing.payload_len(record)) + size_of(0)) as u64 {
                self.roll(&mut buffer)?;
            }
            self.standing.note(record);
            self.segments.back_mut().expect("one is written").note(record);
            places.push(self.encode(record, &mut buffer)?);
        }
        self.flush(&mut buffer)?;
        let purges = |record: &Record| matches!(record, Record::PurgeUpto { .. });
        if group.iter().flat_map(|job| &job.records).any(purges) {
            self.drop_purged()?;
        }
        Ok(places)
    }

    /// Appends a record to what is written next; answers where it will lie.
    fn encode(&self, record: &Record, buffer: &mut BytesMut) -> Result<Place, Error> {
        let place = Place { sequence: self.sequence, offset: self.end + buffer.len() as u64 };
        let durable = u32::try_from(self.end).expect("segments are below 4 GiB");
        self.sealing.encode(record, place, durable, buffer)?;
        Ok(place)
    }

    fn flush(&mut self, buffer: &mut BytesMut) -> Result<(), Error> {
        let name = segment::name(self.sequence);
        let io = |source| Error::Io { path: self.disk.describe(&name), source };
        self.syncs.begin();
        self.file.write_at(buffer, self.end).map_err(io)?;
        let started = Instant::now();
        self.file.sync().map_err(io)?;
        self.syncs.observe(started.elapsed());
        self.end += buffer.len() as u64;
        buffer.clear();
        if self.end > self.segment_bytes / 2 {
            self.spare.prepare();
        }
        Ok(())
    }

    /// Seals the segment and begins the next one.
    fn roll(&mut self, buffer: &mut BytesMut) -> Result<(), Error> {
        self.encode(&Record::Seal, buffer)?;
        self.flush(buffer)?;
        self.sequence += 1;
        self.file = self.spare.take(self.sequence)?;
        self.end = SEGMENT_HEADER_BYTES;
        self.segments.push_back(Segment::new(self.sequence));
        self.restate()
    }

    /// Repeats what stands, so that no older segment is needed for it.
    fn restate(&mut self) -> Result<(), Error> {
        let mut buffer = BytesMut::new();
        for record in self.standing.records() {
            self.encode(record, &mut buffer)?;
        }
        self.flush(&mut buffer)
    }

    /// Gives up segments all of whose entries a purge gave up that is on disk itself.
    fn drop_purged(&mut self) -> Result<(), Error> {
        let Some(Record::PurgeUpto { index: purged, .. }) = &self.standing.purged else { return Ok(()) };
        while self.segments.len() > 1
            && let Some(oldest) = self.segments.front().filter(|oldest| oldest.last_entry <= *purged)
        {
            let name = segment::name(oldest.sequence);
            self.spare.give(&name).map_err(|source| Error::Io { path: self.disk.describe(&name), source })?;
            self.sealing.forget(oldest.sequence);
            self.segments.pop_front();
        }
        Ok(())
    }
}

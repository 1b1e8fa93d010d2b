//! `Log`: appends return at once and call back when they are on disk; reads of what is new come from memory.

use std::collections::BTreeSet;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use crate::durations::Durations;
use crate::edge::drive::Drive;
use crate::log::Error;
use crate::log::disk::Disk;
use crate::log::entries::Row;
use crate::log::reader::{Reader, reader};
use crate::log::record::{PAYLOAD_BYTES_MAX, Record, size_of};
use crate::log::recovery::{self, Contents};
use crate::log::sealing::Sealing;
use crate::log::segment::SEGMENT_HEADER_BYTES;
use crate::log::writer::{Job, Writer};
use crate::seal::Sealer;

/// Called once, from the writer's thread, when an append is on disk or will never be.
pub type Durable = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// Appends waiting for the writer at most; a further one waits for room.
const QUEUE_MAX: usize = 4096;
/// Records that nobody waits for are written once there are so many.
const HELD_MAX: usize = 64;

/// Where appends wait for the writer.
enum Queue {
    Thread(SyncSender<Job>),
    Task(UnboundedSender<Job>),
}

/// How a log is laid out.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Size of a segment file, bytes, below 4 GiB: a larger entry is refused.
    pub segment_bytes: u64,
    /// Bytes of the newest entries that are held in memory, about; older ones are read from the disk.
    pub resident_bytes: u64,
}

impl Default for Options {
    /// 64 MiB segments, 8 MiB in memory.
    fn default() -> Self {
        Options { segment_bytes: 64 << 20, resident_bytes: 8 << 20 }
    }
}

/// An open log. Dropping it writes what is queued and ends the writer.
pub struct Log {
    contents: Arc<Mutex<Contents>>,
    reader: Reader,
    /// Why the writer failed; set once.
    failed: Arc<OnceLock<String>>,
    jobs: Option<Queue>,
    /// Held while a call takes effect and is queued: memory and disk see the same order. What nobody waits for goes along
    /// with what somebody does: a sync of its own would double those of a client that is alone.
    held: Mutex<Vec<Record>>,
    writer: Option<JoinHandle<()>>,
    /// The same in a simulation; ends with its owner.
    _task: JoinSet<()>,
    syncs: Arc<Durations>,
    sealing: Sealing,
    /// Of an entry with its index, as it lies on the disk.
    payload_bytes_max: usize,
}

/// A new segment holds any entry, and the record that seals it; what is repeated before it may make its file longer.
fn payload_bytes_max(segment_bytes: u64) -> usize {
    let room = segment_bytes.saturating_sub(SEGMENT_HEADER_BYTES + (size_of(0) + size_of(0)) as u64);
    PAYLOAD_BYTES_MAX.min(usize::try_from(room).unwrap_or(usize::MAX))
}

impl Log {
    /// Recovers the log that lies on the disk, or begins one.
    ///
    /// # Errors
    /// When the disk fails, or its files are damaged or of a newer format; the text says what to do.
    pub fn open<D: Disk>(disk: D, options: Options) -> Result<Self, Error> {
        Log::open_sealed(disk, options, None)
    }

    /// As `open`, with what records are encrypted with, from the first one on.
    ///
    /// # Errors
    /// As `open`, and when there are records that are not encrypted so.
    pub(crate) fn open_sealed<D: Disk>(disk: D, options: Options, sealer: Option<Arc<Sealer>>) -> Result<Self, Error> {
        let (mut log, writer) = Log::recover(Arc::new(disk), options, Sealing::new(sealer), true)?;
        let (written, told) = (log.contents.clone(), log.failed.clone());
        let (jobs, queue) = sync_channel(QUEUE_MAX);
        let thread = std::thread::Builder::new().name("log-writer".to_owned());
        let writer = thread
            .spawn(move || writer.run(&queue, &told, &written))
            .map_err(|source| Error::Io { path: "log-writer thread".to_owned(), source })?;
        (log.jobs, log.writer) = (Some(Queue::Thread(jobs)), Some(writer));
        Ok(log)
    }

    /// As `open_sealed`, in a simulation: its writer is a task of the runtime's.
    ///
    /// # Errors
    /// As `open_sealed`.
    pub(crate) fn open_simulated(drive: &Drive, options: Options, sealer: Option<Arc<Sealer>>) -> Result<Self, Error> {
        let (mut log, writer) = Log::recover(Arc::new(drive.clone()), options, Sealing::new(sealer), false)?;
        drive.settle().map_err(|source| Error::Io { path: drive.describe(""), source })?;
        // No bound: nothing else runs while one task of a simulation does, so a full queue could never empty.
        let (jobs, queue) = unbounded_channel();
        log.jobs = Some(Queue::Task(jobs));
        log._task.spawn(writer.run_simulated(queue, log.failed.clone(), log.contents.clone(), drive.clone()));
        Ok(log)
    }

    /// `ahead`: files are made ahead, on a thread.
    fn recover<D: Disk>(
        disk: Arc<D>,
        options: Options,
        sealing: Sealing,
        ahead: bool,
    ) -> Result<(Self, Writer<D>), Error> {
        let (contents, tail) = recovery::recover(&*disk, options.resident_bytes, &sealing)?;
        let standing = contents.standing();
        let syncs = Arc::new(Durations::default());
        let (contents, reader) = (Arc::new(Mutex::new(contents)), reader(disk.clone(), sealing.clone()));
        let told = Arc::clone(&syncs);
        let writer = Writer::open(disk, tail, standing, options.segment_bytes, told, sealing.clone(), ahead)?;
        let (failed, held, task) = (Arc::default(), Mutex::default(), JoinSet::new());
        let log = Log {
            contents,
            reader,
            failed,
            jobs: None,
            held,
            writer: None,
            _task: task,
            syncs,
            sealing,
            payload_bytes_max: payload_bytes_max(options.segment_bytes),
        };
        Ok((log, writer))
    }

    /// How long its syncs to disk take.
    pub fn syncs(&self) -> Arc<Durations> {
        Arc::clone(&self.syncs)
    }

    /// Adds entries; they are readable when this returns, and durable when `durable` is called.
    ///
    /// # Errors
    /// When an index is not the next one, an entry is too large, or the log has failed.
    pub fn append(&self, entries: Vec<(u64, Bytes)>, durable: Durable) -> Result<(), Error> {
        let most = self.payload_bytes_max.saturating_sub(8 + self.sealing.overhead());
        if let Some((index, data)) = entries.iter().find(|(_, data)| data.len() > most) {
            return Err(Error::Failed(format!("entry {index} has {} bytes, too many for the log", data.len())));
        }
        self.submit(entries.into_iter().map(|(index, data)| Record::Entry { index, data }).collect(), Some(durable))
    }

    /// Replaces the vote; durable when `durable` is called, with everything appended before.
    ///
    /// # Errors
    /// When the log has failed.
    pub fn save_vote(&self, vote: Bytes, durable: Durable) -> Result<(), Error> {
        self.submit(vec![Record::Vote(vote)], Some(durable))
    }

    /// Notes what is committed; may be lost in a crash.
    ///
    /// # Errors
    /// When the log has failed.
    pub fn save_committed(&self, id: Bytes) -> Result<(), Error> {
        self.submit(vec![Record::Committed(id)], None)
    }

    /// Voids entries above `index`; on disk before the next append is.
    ///
    /// # Errors
    /// When the log has failed.
    pub fn truncate_after(&self, index: u64) -> Result<(), Error> {
        self.submit(vec![Record::TruncateAfter(index)], None)
    }

    /// Gives up entries up to `index`, which may lie beyond the last one.
    ///
    /// # Errors
    /// When the log has failed.
    pub fn purge_upto(&self, index: u64, id: Bytes) -> Result<(), Error> {
        self.submit(vec![Record::PurgeUpto { index, id }], None)
    }

    /// Entries with indexes in `from..to`, those there are, until they have about so many bytes. Old ones are read from
    /// the disk: that blocks.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn entries(&self, from: u64, to: u64, bytes_max: usize) -> Result<Vec<(u64, Bytes)>, Error> {
        let rows = self.contents.lock().entries.rows(from, to);
        let (mut entries, mut bytes) = (Vec::with_capacity(rows.len()), 0);
        for (index, row) in rows {
            if bytes >= bytes_max {
                break;
            }
            let data = match row {
                Row::Here(data) => data,
                Row::There(place, length) => match (self.reader)(index, place, length) {
                    Ok(data) => data,
                    // Purged meanwhile, and its file with it: it is no longer there.
                    Err(_) if self.range().is_none_or(|(first, _)| first > index) => return Ok(Vec::new()),
                    Err(source) => return Err(Error::Io { path: format!("segment {:016x}", place.sequence), source }),
                },
            };
            bytes += data.len();
            entries.push((index, data));
        }
        Ok(entries)
    }

    /// Ends the segment that is written, so that it can be given up before it is full.
    ///
    /// # Errors
    /// When the log has failed.
    pub fn roll(&self) -> Result<(), Error> {
        self.submit(vec![Record::Seal], None)
    }

    /// The data keys that its records lie under, where it is encrypted; also those of records that are no longer needed but
    /// not gone yet.
    pub(crate) fn data_keys(&self) -> BTreeSet<u64> {
        self.sealing.used()
    }

    /// Bytes of its entries.
    pub fn bytes(&self) -> u64 {
        self.contents.lock().entries.bytes()
    }

    /// The last entry, if any, behind which there are more than so many bytes of newer ones.
    pub fn last_but(&self, bytes: u64) -> Option<u64> {
        self.contents.lock().entries.last_but(bytes)
    }

    /// First and last index, unless empty.
    pub fn range(&self) -> Option<(u64, u64)> {
        self.contents.lock().entries.range()
    }

    /// The vote last saved.
    pub fn vote(&self) -> Option<Bytes> {
        self.contents.lock().vote.clone()
    }

    /// What was last noted as committed.
    pub fn committed(&self) -> Option<Bytes> {
        self.contents.lock().committed.clone()
    }

    /// The last purge.
    pub fn purged(&self) -> Option<(u64, Bytes)> {
        self.contents.lock().purged.clone()
    }

    fn submit(&self, records: Vec<Record>, durable: Option<Durable>) -> Result<(), Error> {
        if let Some(why) = self.failed.get() {
            return Err(Error::Failed(why.clone()));
        }
        let mut held = self.held.lock();
        let mut contents = self.contents.lock();
        let mut next = contents.next_index();
        for record in &records {
            if let Record::Entry { index, .. } = record {
                if let Some(next) = next.filter(|next| next != index) {
                    return Err(Error::Failed(format!("entry {index} where {next} was due")));
                }
                next = Some(index + 1);
            }
        }
        for record in &records {
            contents.take(record.clone(), None).map_err(Error::Failed)?;
        }
        drop(contents);
        held.extend(records);
        if durable.is_none() && held.len() < HELD_MAX {
            return Ok(());
        }
        self.send(std::mem::take(&mut *held), durable)
    }

    fn send(&self, records: Vec<Record>, durable: Option<Durable>) -> Result<(), Error> {
        let jobs = self.jobs.as_ref().expect("open until dropped");
        let job = Job { records, durable };
        let sent = match jobs {
            Queue::Thread(jobs) => jobs.send(job).is_ok(),
            Queue::Task(jobs) => jobs.send(job).is_ok(),
        };
        if sent { Ok(()) } else { Err(Error::Failed("its writer has ended".to_owned())) }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let held = std::mem::take(&mut *self.held.lock());
        if !held.is_empty() {
            // Fails when the writer has, and then there is nothing left to write.
            let _ = self.send(held, None);
        }
        drop(self.jobs.take());
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

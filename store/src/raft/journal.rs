//! The write-ahead log as openraft wants it: appends return at once and are acknowledged when they are on disk.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{EntryPayload, LogState, OptionalSend, RaftLogReader};
use prost::Message;
use proto::peer;
use tokio::sync::oneshot;

use crate::edge::drive::Defect;
use crate::edge::planted::Planted;
use crate::log::{Error, Log};
use crate::raft::types::{Entry, LogId, Types, Vote};
use crate::raft::wire;

/// Bytes of entries handed out at once, about: bounds a message to a follower.
const READ_BYTES: usize = 2 << 20;
/// Entries applied per read.
const READ_ENTRIES: u64 = 512;

/// A handle to the log; clones read and write the same one.
#[derive(Clone)]
pub(crate) struct Journal {
    log: Arc<Log>,
    /// Bytes of the newest entries that stay, though a snapshot has them: whoever archives them may be slow.
    held: Arc<AtomicU64>,
    planted: Planted,
}

/// In simulations alone: entries are read wrongly once in so many reads.
const MISREAD_ONE_IN: u64 = 60;

fn failed(error: Error) -> io::Error {
    io::Error::other(error)
}

fn encode(id: &LogId) -> Bytes {
    wire::log_id(id).encode_to_vec().into()
}

fn decode(bytes: Bytes) -> io::Result<LogId> {
    Ok(wire::parse_log_id(&peer::LogId::decode(bytes).map_err(wire::invalid)?))
}

impl Journal {
    pub(crate) fn new(log: Log, planted: Planted) -> Self {
        Journal { log: Arc::new(log), held: Arc::default(), planted }
    }

    /// Keeps so many bytes of the newest entries from now on.
    pub(crate) fn hold(&self, bytes: u64) {
        self.held.store(bytes, Ordering::Relaxed);
    }

    /// Entries in `from..to` as they were written, of so many bytes at least, about; none where the first is gone.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn rows(&self, from: u64, to: u64, bytes: usize) -> io::Result<Vec<(u64, Bytes)>> {
        let rows = self.log.entries(from, to, bytes).map_err(failed)?;
        Ok(if rows.first().is_some_and(|(first, _)| *first == from) { rows } else { Vec::new() })
    }

    /// Up to where entries go that openraft needs no longer; none: all stay for now.
    fn purged(&self, upto: LogId) -> io::Result<Option<LogId>> {
        let (held, last) = (self.held.load(Ordering::Relaxed), self.log.range().map_or(0, |(_, last)| last));
        if held == 0 || upto.index >= last {
            return Ok(Some(upto));
        }
        match self.log.last_but(held) {
            None => Ok(None),
            Some(old) if old >= upto.index => Ok(Some(upto)),
            Some(old) => Ok(self.read(old, old + 1)?.first().map(|entry| entry.log_id)),
        }
    }

    /// The first entry that is there.
    pub(crate) fn first(&self) -> Option<u64> {
        self.log.range().map(|(first, _)| first)
    }

    /// Bytes of its entries.
    pub(crate) fn bytes(&self) -> u64 {
        self.log.bytes()
    }

    /// The last entry, if any, behind which there are more than so many bytes of newer ones.
    pub(crate) fn last_but(&self, bytes: u64) -> Option<u64> {
        self.log.last_but(bytes)
    }

    /// The data keys that its records lie under.
    pub(crate) fn data_keys(&self) -> BTreeSet<u64> {
        self.log.data_keys()
    }

    /// Ends the segment that is written.
    ///
    /// # Errors
    /// When the log has failed.
    pub(crate) fn roll(&self) -> io::Result<()> {
        self.log.roll().map_err(failed)
    }

    /// Entries in `from..to`; an error when one of them is missing.
    fn read(&self, from: u64, to: u64) -> io::Result<Vec<Entry>> {
        self.parse(from, self.log.entries(from, to, usize::MAX).map_err(failed)?)
    }

    fn parse(&self, from: u64, rows: Vec<(u64, Bytes)>) -> io::Result<Vec<Entry>> {
        let entries: Vec<Entry> =
            rows.into_iter().map(|(_, bytes)| wire::parse_entry(bytes)).collect::<io::Result<_>>()?;
        // Openraft relies on reads without holes: a silent one would corrupt a follower.
        match entries.first() {
            Some(first) if first.log_id.index != from => Err(wire::invalid(format!("entries from {from} on are gone"))),
            _ => Ok(entries),
        }
    }

    fn last(&self) -> io::Result<Option<LogId>> {
        let Some((_, last)) = self.log.range() else { return Ok(None) };
        Ok(self.read(last, last + 1)?.first().map(|entry| entry.log_id))
    }
}

impl RaftLogReader<Types> for Journal {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> io::Result<Vec<Entry>> {
        let (from, to) = bounds(&range);
        self.read(from, to)
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        let parse = |bytes: Bytes| peer::Vote::decode(bytes).map(|vote| wire::parse_vote(&vote)).map_err(wire::invalid);
        self.log.vote().map(parse).transpose()
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        let rows = self.log.entries(start, end.min(start + READ_ENTRIES * 2), READ_BYTES).map_err(failed)?;
        let mut entries = self.parse(start, rows)?;
        if let Some(last) = entries.last_mut().filter(|_| self.planted.strikes(Defect::LogMisread, MISREAD_ONE_IN)) {
            last.payload = EntryPayload::Blank;
        }
        Ok(entries)
    }

    async fn entries_stream<R>(&mut self, range: R) -> impl Stream<Item = io::Result<Entry>> + OptionalSend
    where
        R: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        // The default reads the whole range at once; after a long pause that is all of the log.
        let (from, to) = bounds(&range);
        let to = to.min(self.log.range().map_or(0, |(_, last)| last + 1));
        let starts = (from..to).step_by(usize::try_from(READ_ENTRIES).expect("small"));
        let journal = self.clone();
        stream::iter(starts).flat_map(move |start| {
            let entries = journal.read(start, to.min(start + READ_ENTRIES));
            stream::iter(match entries {
                Ok(entries) => entries.into_iter().map(Ok).collect::<Vec<_>>(),
                Err(error) => vec![Err(error)],
            })
        })
    }
}

impl RaftLogStorage<Types> for Journal {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let purged = self.log.purged().map(|(_, id)| decode(id)).transpose()?;
        Ok(LogState { last_purged_log_id: purged, last_log_id: self.last()?.or(purged) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let (told, on_disk) = oneshot::channel();
        let tell = Box::new(move |result| {
            let _ = told.send(result);
        });
        self.log.save_vote(wire::vote(vote).encode_to_vec().into(), tell).map_err(failed)?;
        on_disk.await.map_err(io::Error::other)?.map_err(failed)
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        match committed {
            Some(id) => self.log.save_committed(encode(&id)).map_err(failed),
            None => Ok(()),
        }
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        self.log.committed().map(decode).transpose()
    }

    async fn append<I>(&mut self, entries: I, flushed: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        drop(self.planted.turn(Defect::CallsHang).await);
        let rows = entries.into_iter().map(|entry| (entry.log_id.index, wire::entry(&entry))).collect();
        if self.planted.has(Defect::FlushedEarly) {
            self.log.append(rows, Box::new(|_| {})).map_err(failed)?;
            flushed.io_completed(Ok(()));
            return Ok(());
        }
        let durable = Box::new(move |result: Result<(), Error>| flushed.io_completed(result.map_err(failed)));
        self.log.append(rows, durable).map_err(failed)
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        match last {
            Some(id) => self.log.truncate_after(id.index).map_err(failed),
            None if self.log.range().is_none() => Ok(()),
            // Index 0 is the group's first membership: a leader that disagrees about it is of another group.
            None => Err(wire::invalid("a leader of another cluster wants this member to forget its whole log")),
        }
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        match self.purged(upto)? {
            Some(upto) => self.log.purge_upto(upto.index, encode(&upto)).map_err(failed),
            None => Ok(()),
        }
    }
}

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(from) => *from,
        Bound::Excluded(before) => before + 1,
        Bound::Unbounded => 0,
    };
    let to = match range.end_bound() {
        Bound::Included(last) => last + 1,
        Bound::Excluded(to) => *to,
        Bound::Unbounded => u64::MAX,
    };
    (from, to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Options;
    use crate::log::disk::Folder;

    fn entry(index: u64) -> (u64, Bytes) {
        let payload = Some(peer::entry::Payload::Command(vec![7; 100].into()));
        let entry = peer::Entry { log_id: Some(peer::LogId { term: 1, index }), payload };
        (index, entry.encode_to_vec().into())
    }

    #[tokio::test]
    async fn what_is_held_outlives_a_purge_that_leaves_anything() {
        let dir = tempfile::tempdir().expect("a directory");
        let log = Log::open(Folder::open(dir.path().to_owned()).expect("a folder"), Options::default()).expect("a log");
        log.append((1..=10).map(entry).collect(), Box::new(|_| {})).expect("appended");
        let mut journal = Journal::new(log, Planted::default());
        let at = |index| wire::parse_log_id(&peer::LogId { term: 1, index });
        let first = |journal: &Journal| journal.log.range().map(|(first, _)| first);
        journal.hold(350);
        journal.purge(at(9)).await.expect("purged");
        assert_eq!(first(&journal), Some(7), "three entries are less, four are enough");
        assert_eq!(journal.rows(7, 11, usize::MAX).expect("read").len(), 4);
        assert!(journal.rows(6, 11, usize::MAX).expect("read").is_empty(), "the first is gone");
        journal.hold(10_000);
        journal.purge(at(9)).await.expect("nothing to do");
        assert_eq!(first(&journal), Some(7));
        // A snapshot was installed: the log goes on behind it.
        journal.purge(at(10)).await.expect("purged");
        assert_eq!(first(&journal), None);
    }
}

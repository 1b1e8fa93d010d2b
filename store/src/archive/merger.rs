//! Merges segments as `merge` says, out of the leader's own log: what lies in the repository may be encrypted for others.

use std::collections::BTreeMap;
use std::io::Write;
use std::ops::Range;

use bytes::Bytes;

use crate::api::Revision;
use crate::archive::merge::{ENTRIES_MAX, groups, superseded};
use crate::archive::names::{self, Catalogue, SegmentName};
use crate::archive::problem;
use crate::archive::repository::Repository;
use crate::archive::segment::{Head, write};
use crate::archive::track::Track;
use crate::backup::sealed::Lock;
use crate::moving::{Problem, blocking};
use crate::raft::journal::Journal;

/// Bytes of entries in a segment, about.
const BYTES: usize = 8 << 20;
/// Segments whose state behind them is remembered.
const KNOWN_MAX: usize = 16_384;

/// What the state was behind some entries: revision and checksum.
#[derive(Clone, Debug, Default)]
pub(super) struct Known(BTreeMap<u64, (Revision, u32)>);

impl Known {
    pub(super) fn note(&mut self, index: u64, after: (Revision, u32)) {
        self.0.insert(index, after);
        if self.0.len() > KNOWN_MAX {
            self.0.pop_first();
        }
    }
}

/// Merges what was written in spans that have passed.
pub(super) struct Merger {
    pub(super) repository: Repository,
    pub(super) journal: Journal,
    pub(super) lock: Lock,
    pub(super) group: u64,
    pub(super) known: Known,
    pub(super) span_ms: i64,
    pub(super) passed: Range<i64>,
}

/// A segment as it lies in a repository, and the track behind its last entry.
pub(super) fn sealed(head: &Head, entries: &[(u64, Bytes)], lock: &Lock) -> std::io::Result<(Vec<u8>, Track)> {
    let (bytes, track) = write(head, entries)?;
    let mut sink = lock.wrap(Vec::with_capacity(bytes.len()))?;
    sink.write_all(&bytes)?;
    Ok((sink.finish()?, track))
}

impl Merger {
    pub(super) async fn run(self) -> Result<(), Problem> {
        let Some(first) = self.journal.first() else { return Ok(()) };
        // One that reaches into the log begins after this.
        let from = format!("{}/{:016x}", names::segments(self.group), first.saturating_sub(ENTRIES_MAX));
        let listed = self.repository.list(&names::segments(self.group), Some(&from)).await?;
        let mut segments = Catalogue::of(listed.iter().map(|one| one.name.as_str())).segments;
        // What was merged the last time: whoever reads has had the time to read it, or lists the names again.
        for name in superseded(&mut segments) {
            self.repository.delete(&name.name()).await?;
        }
        for group in groups(&segments, self.span_ms, &self.passed) {
            let before = segments.iter().find(|segment| segment.last + 1 == group[0].first);
            let (previous, group) = match before {
                Some(before) => (before.track, &group[..]),
                None => (group[0].track, &group[1..]),
            };
            self.merge(previous, group).await?;
        }
        Ok(())
    }

    /// Writes a group as few segments.
    async fn merge(&self, mut previous: Track, mut group: &[SegmentName]) -> Result<(), Problem> {
        while let [one, .., end] = group {
            let (journal, first, to) = (self.journal.clone(), one.first, end.last + 1);
            let rows = blocking(move || journal.rows(first, to, BYTES).map_err(problem)).await?;
            let Some((reached, _)) = rows.last() else { return Ok(()) };
            let count = group.iter().take_while(|segment| segment.last <= *reached).count();
            if let [_, .., last] = &group[..count] {
                self.write(previous, last, rows).await?;
            }
            let (done, rest) = group.split_at(count.max(1));
            previous = done.last().map_or(previous, |last| last.track);
            group = rest;
        }
        Ok(())
    }

    /// Writes the rows up to the end of a segment as one that ends there as well.
    async fn write(&self, previous: Track, end: &SegmentName, mut rows: Vec<(u64, Bytes)>) -> Result<(), Problem> {
        rows.retain(|(index, _)| *index <= end.last);
        let Some((first, _)) = rows.first() else { return Ok(()) };
        let after = self.known.0.get(&end.last).copied().filter(|(revision, _)| *revision == end.revision);
        let head = Head {
            cluster_id: self.group,
            first: *first,
            last: end.last,
            time_ms: end.time_ms,
            after,
            previous: previous.to_string(),
        };
        let (name, lock) = (SegmentName { first: *first, ..end.clone() }, self.lock.clone());
        let (bytes, track) = blocking(move || sealed(&head, &rows, &lock).map_err(problem)).await?;
        if track != end.track {
            let text = format!("{}: the log of this server holds something else", end.name());
            return Err(Problem::Refused(text));
        }
        self.repository.put(&name.name(), bytes).await
    }
}

//! PURE: the bytes of a segment: log entries with consecutive indexes, and what the store was like after them.

use bytes::Bytes;
use prost::Message;
use proto::peer;
use serde::{Deserialize, Serialize};

use crate::api::Revision;
use crate::archive::track::Track;
use crate::backup::{BackupError, Reader, SEGMENT, Writer};

/// What a segment says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    /// Of the group.
    pub(crate) cluster_id: u64,
    /// Index of the first entry.
    pub(crate) first: u64,
    /// Index of the last entry.
    pub(crate) last: u64,
    /// The machine's clock after them. Units: milliseconds since 1970.
    pub(crate) time_ms: i64,
    /// Where whoever wrote it knew them: the revision after them, and the checksum over every change up to it.
    pub(crate) after: Option<(Revision, u32)>,
    /// The track of all entries before; nothing but zeros where a base comes before.
    pub(crate) previous: String,
}

/// A segment that was read.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) head: Head,
    /// Entries as the log holds them.
    pub(crate) entries: Vec<Bytes>,
    /// Of all entries before it, and behind each of its own.
    tracks: Vec<Track>,
}

impl Segment {
    /// The track of all entries up to one that is in it, or right before it.
    pub(crate) fn track(&self, index: u64) -> Option<Track> {
        let at = usize::try_from(index.checked_add(1)?.checked_sub(self.head.first)?).ok()?;
        self.tracks.get(at).copied()
    }
}

/// Writes a segment; answers its bytes, and the track behind its last entry.
///
/// # Errors
/// When the head or an entry is none.
pub(crate) fn write(head: &Head, entries: &[(u64, Bytes)]) -> std::io::Result<(Vec<u8>, Track)> {
    let invalid = |what: String| std::io::Error::new(std::io::ErrorKind::InvalidData, what);
    let mut track = Track::parse(&head.previous).ok_or_else(|| invalid(format!("no track: {}", head.previous)))?;
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes, SEGMENT)?;
    writer.record(&serde_json::to_vec(head).expect("plain fields"))?;
    for (_, row) in entries {
        track = track.and(&peer::Entry::decode(row.clone()).map_err(|error| invalid(error.to_string()))?);
        writer.record(row)?;
    }
    writer.finish()?;
    Ok((bytes, track))
}

/// Reads a segment to its end: every entry is there, in its place.
///
/// # Errors
/// When it is damaged, or holds something else than it says.
pub(crate) fn read(bytes: impl std::io::Read) -> Result<Segment, BackupError> {
    let wrong = |what: String| BackupError::Content(what);
    let mut reader = Reader::new(bytes, SEGMENT)?;
    let first = reader.record()?.ok_or_else(|| wrong("the segment is empty".to_owned()))?;
    let head: Head = serde_json::from_slice(&first).map_err(|error| wrong(error.to_string()))?;
    let previous = Track::parse(&head.previous);
    let mut track = previous.ok_or_else(|| wrong("it does not say what came before".to_owned()))?;
    let (mut entries, mut tracks, mut next) = (Vec::new(), vec![track], head.first);
    while let Some(record) = reader.record()? {
        let record = Bytes::from(record);
        let entry = peer::Entry::decode(record.clone()).map_err(|error| wrong(error.to_string()))?;
        if entry.log_id.is_none_or(|id| id.index != next) {
            return Err(wrong(format!("where entry {next} was due, another one follows")));
        }
        next = next.checked_add(1).ok_or_else(|| wrong("its indexes cannot be".to_owned()))?;
        entries.push(record);
        track = track.and(&entry);
        tracks.push(track);
    }
    if head.last.checked_add(1) != Some(next) || entries.is_empty() {
        return Err(wrong(format!("it ends before entry {next} instead of with {}", head.last)));
    }
    reader.hash().ok_or_else(|| wrong("the segment has no end".to_owned()))?;
    Ok(Segment { head, entries, tracks })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn entries(first: u64, count: u64) -> Vec<(u64, Bytes)> {
        let entry = |index| {
            let log_id = Some(peer::LogId { term: 3, index });
            let command = Bytes::from(format!("something that was written at {index}"));
            let payload = Some(peer::entry::Payload::Command(command));
            (index, Bytes::from(peer::Entry { log_id, payload }.encode_to_vec()))
        };
        (first..first + count).map(entry).collect()
    }

    fn head(first: u64, last: u64) -> Head {
        Head { cluster_id: 7, first, last, time_ms: 5, after: Some((9, 1)), previous: Track::BEGIN.to_string() }
    }

    #[test]
    fn a_segment_is_read_as_it_was_written() {
        let rows = entries(5, 3);
        let (bytes, track) = write(&head(5, 7), &rows).expect("memory");
        let read = read(bytes.as_slice()).expect("whole");
        assert_eq!(
            (read.track(4), read.track(7), read.track(3), read.track(8)),
            (Some(Track::BEGIN), Some(track), None, None)
        );
        assert_eq!(read.head, head(5, 7));
        assert_eq!(read.entries, rows.into_iter().map(|(_, row)| row).collect::<Vec<_>>());
    }

    #[test]
    fn a_thousand_flipped_bits_are_found_and_a_segment_that_says_something_else() {
        let (bytes, _) = write(&head(5, 24), &entries(5, 20)).expect("memory");
        let bits = bytes.len() * 8;
        assert!(bits >= 1000, "{bits}");
        for number in 0..1000 {
            let bit = number * bits / 1000;
            let mut other = bytes.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(read(other.as_slice()).is_err(), "bit {bit}");
        }
        for (said, held) in [(head(5, 8), entries(5, 3)), (head(4, 7), entries(5, 3)), (head(5, 4), Vec::new())] {
            let (bytes, _) = write(&said, &held).expect("memory");
            assert!(read(bytes.as_slice()).is_err_and(|error| error.to_string().contains("does not hold")));
        }
    }

    #[test]
    fn segments_of_any_bytes_are_read_or_refused() {
        let seed = write(&head(5, 7), &entries(5, 3)).expect("memory").0;
        // What is behind the checksums: a head and entries.
        let inner = [serde_json::to_vec(&head(5, 5)).expect("plain"), entries(5, 1)[0].1.to_vec()].join(&b'\n');
        crate::fuzz::bear("segment", vec![seed, inner], |bytes| {
            let told = |bytes: &[u8]| match read(bytes) {
                Ok(segment) => format!("{} entries", segment.entries.len()),
                Err(error) => error.to_string(),
            };
            let mut sound = Vec::new();
            let mut writer = Writer::new(&mut sound, SEGMENT).expect("memory");
            for record in bytes.split(|byte| *byte == b'\n') {
                writer.record(record).expect("memory");
            }
            writer.finish().expect("memory");
            format!("{} {}", told(bytes), told(&sound))
        });
    }
}

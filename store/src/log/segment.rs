//! One file of the log: a header, then records, then zeros (or what an earlier life of the file left).

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::log::Error;
use crate::log::disk::{Disk, DiskFile};
use crate::log::entries::Place;
use crate::log::record::{ALIGNMENT, Decoded, HEADER_BYTES, Record};
use crate::log::sealing::Sealing;

/// Newest format that this program reads: that of sealed records.
pub(super) const FORMAT: u32 = 2;
/// The format of records as they are.
const PLAIN: u32 = 1;
/// Bytes before the first record.
pub(super) const SEGMENT_HEADER_BYTES: u64 = 32;
const HEADER: usize = SEGMENT_HEADER_BYTES as usize;
const MAGIC: &[u8; 8] = b"RAFTWAL\n";

/// The file's name; order of names is order of segments.
pub(super) fn name(sequence: u64) -> String {
    format!("{sequence:016x}.wal")
}

/// The sequence number of a segment's name.
pub(super) fn sequence_of(name: &str) -> Option<u64> {
    u64::from_str_radix(name.strip_suffix(".wal")?, 16).ok()
}

/// The header of a segment.
pub(super) fn header(sequence: u64, sealed: bool) -> BytesMut {
    let mut out = BytesMut::with_capacity(HEADER);
    out.put_slice(MAGIC);
    out.put_u32_le(if sealed { FORMAT } else { PLAIN });
    out.put_u64_le(sequence);
    let crc = crc32c::crc32c(&out);
    out.put_u32_le(crc);
    out.put_bytes(0, HEADER - out.len());
    out
}

/// A record and where it lies.
pub(super) struct Found {
    pub(super) record: Record,
    pub(super) offset: u64,
}

/// What reading a segment gave.
pub(super) struct Contents {
    pub(super) records: Vec<Found>,
    /// Where the next record goes.
    pub(super) end: u64,
    /// The last record is a seal.
    pub(super) sealed: bool,
    /// Behind the last record lies what a torn write left.
    pub(super) torn: bool,
}

/// Reads a whole segment. `None`: the file's creation was cut short and it holds nothing.
///
/// # Errors
/// `Newer` and `Damaged`, as their texts say.
pub(super) fn read<D: Disk>(disk: &D, name: &str, sequence: u64, sealing: &Sealing) -> Result<Option<Contents>, Error> {
    let io = |source| Error::Io { path: disk.describe(name), source };
    let file = disk.open(name).map_err(io)?;
    let size = usize::try_from(file.size().map_err(io)?).unwrap_or(0);
    if size < HEADER {
        return Ok(None);
    }
    let mut bytes = vec![0; size];
    file.read_at(&mut bytes, 0).map_err(io)?;
    let bytes = Bytes::from(bytes);
    match header_sequence(disk, name, &bytes)? {
        Some(found) if found == sequence => scan(disk, name, sequence, &bytes, sealing).map(Some),
        // A header is synced before the first record is written: with any behind it, the header was there and is gone.
        _ if later_witness(sequence, &bytes, HEADER - ALIGNMENT).is_some() => {
            let what = "the segment's header is not what was written, though records follow it".to_owned();
            Err(Error::Damaged { path: disk.describe(name), offset: 0, what })
        }
        // Renamed for reuse, but its new header was never synced.
        _ => Ok(None),
    }
}

fn header_sequence<D: Disk>(disk: &D, name: &str, bytes: &Bytes) -> Result<Option<u64>, Error> {
    let mut header = bytes.slice(..HEADER);
    let crc = crc32c::crc32c(&header[..20]);
    if &header[..8] != MAGIC {
        return Ok(None);
    }
    header.advance(8);
    let (format, sequence, stored) = (header.get_u32_le(), header.get_u64_le(), header.get_u32_le());
    if stored != crc {
        return Ok(None);
    }
    if format > FORMAT {
        return Err(Error::Newer { path: disk.describe(name), found: format, known: FORMAT });
    }
    Ok(Some(sequence))
}

fn scan<D: Disk>(disk: &D, name: &str, sequence: u64, bytes: &Bytes, sealing: &Sealing) -> Result<Contents, Error> {
    let mut contents = Contents { records: Vec::new(), end: SEGMENT_HEADER_BYTES, sealed: false, torn: false };
    loop {
        let at = contents.end as usize;
        match Record::decode(sequence, &bytes.slice(at.min(bytes.len())..)) {
            Decoded::Record { record, size, .. } => {
                let opened = sealing.open(record, Place { sequence, offset: contents.end });
                let record = opened.map_err(|what| {
                    let (path, offset) = (disk.describe(name), contents.end);
                    Error::Unreadable { path, offset, what }
                })?;
                contents.sealed = record == Record::Seal;
                contents.records.push(Found { record, offset: contents.end });
                contents.end += size as u64;
                if contents.sealed {
                    return Ok(contents);
                }
            }
            Decoded::Invalid => {
                if let Some(later) = later_witness(sequence, bytes, at) {
                    let what = format!("the record at byte {later} proves that it had been synced");
                    return Err(Error::Damaged { path: disk.describe(name), offset: contents.end, what });
                }
                contents.torn = bytes[at.min(bytes.len())..].iter().any(|byte| *byte != 0);
                return Ok(contents);
            }
        }
    }
}

/// A later record that was written when everything up to beyond `at` had been synced.
fn later_witness(sequence: u64, bytes: &Bytes, at: usize) -> Option<usize> {
    let mut offset = at + ALIGNMENT;
    while offset + HEADER_BYTES <= bytes.len() {
        // A cheap look first: the rest is zeros, or records of an earlier life of the file.
        let durable = u32::from_le_bytes(bytes[offset + 8..offset + 12].try_into().expect("four bytes")) as usize;
        if durable > at
            && durable <= offset
            && matches!(Record::decode(sequence, &bytes.slice(offset..)), Decoded::Record { .. })
        {
            return Some(offset);
        }
        offset += ALIGNMENT;
    }
    None
}

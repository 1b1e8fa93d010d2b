//! PURE: the bytes of a record.
//!
//! ```text
//! length u32 | crc32c u32 | durable u32 | kind u8 | payload      all little-endian, padded to 8 bytes
//! ```
//!
//! `length` counts the payload, the padding is zeros. The checksum covers the segment's sequence number, `durable`, `kind`
//! and payload: what an earlier life of a recycled file left behind never passes; over a sealed payload it holds without
//! any key. `durable` is the offset up to which the segment had been synced when the record was written: it tells a torn
//! tail (never acknowledged) from damage to synced records.

use bytes::{BufMut, Bytes, BytesMut};

/// Bytes before the payload.
pub const HEADER_BYTES: usize = 13;
/// Records begin at multiples of this.
pub const ALIGNMENT: usize = 8;
/// A payload at most: four times the largest request.
pub const PAYLOAD_BYTES_MAX: usize = 16 << 20;

/// The bit of a kind that says that the payload is sealed.
const SEALED: u8 = 0x80;

/// One record of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// An entry of the Raft log.
    Entry {
        /// Its index; indexes are consecutive.
        index: u64,
        /// Its bytes.
        data: Bytes,
    },
    /// The vote, replacing earlier ones.
    Vote(Bytes),
    /// Entries above this index are void.
    TruncateAfter(u64),
    /// Entries up to this index are no longer needed; the bytes say what was last purged.
    PurgeUpto {
        /// The last index that is purged.
        index: u64,
        /// The owner's words about it.
        id: Bytes,
    },
    /// What was known to be committed.
    Committed(Bytes),
    /// Last record of a full segment; another one follows.
    Seal,
    /// One of the others, its payload encrypted.
    Sealed {
        /// Which of the others.
        kind: u8,
        /// Its payload as a sealed unit.
        unit: Bytes,
    },
}

/// What stands at an offset.
#[derive(Debug, PartialEq, Eq)]
pub enum Decoded {
    /// A whole record.
    Record {
        /// The record.
        record: Record,
        /// The segment's offset that had been synced when it was written.
        durable: u32,
        /// Bytes up to the next record.
        size: usize,
    },
    /// Nothing that this segment wrote, or only a part of it.
    Invalid,
}

/// Bytes that a payload of this length takes in the file.
pub fn size_of(payload: usize) -> usize {
    (HEADER_BYTES + payload).next_multiple_of(ALIGNMENT)
}

impl Record {
    fn kind(&self) -> u8 {
        match self {
            Record::Entry { .. } => 1,
            Record::Vote(_) => 2,
            Record::TruncateAfter(_) => 3,
            Record::PurgeUpto { .. } => 4,
            Record::Committed(_) => 5,
            Record::Seal => 6,
            Record::Sealed { kind, .. } => kind | SEALED,
        }
    }

    /// Length of its payload, bytes.
    pub fn payload_len(&self) -> usize {
        match self {
            Record::Entry { data, .. } => 8 + data.len(),
            Record::PurgeUpto { id, .. } => 8 + id.len(),
            Record::Vote(data) | Record::Committed(data) => data.len(),
            Record::TruncateAfter(_) => 8,
            Record::Seal => 0,
            Record::Sealed { unit, .. } => unit.len(),
        }
    }

    fn put_payload(&self, out: &mut BytesMut) {
        match self {
            Record::Entry { index, data } => {
                out.put_u64_le(*index);
                out.put_slice(data);
            }
            Record::PurgeUpto { index, id } => {
                out.put_u64_le(*index);
                out.put_slice(id);
            }
            Record::Vote(data) | Record::Committed(data) => out.put_slice(data),
            Record::TruncateAfter(index) => out.put_u64_le(*index),
            Record::Seal => {}
            Record::Sealed { unit, .. } => out.put_slice(unit),
        }
    }

    /// Its kind and its payload.
    pub(super) fn payload(&self) -> (u8, BytesMut) {
        let mut payload = BytesMut::with_capacity(self.payload_len());
        self.put_payload(&mut payload);
        (self.kind(), payload)
    }

    /// The record of a kind and a payload, none for an unknown kind.
    pub(super) fn of(kind: u8, payload: Bytes) -> Option<Record> {
        if kind & SEALED == 0 { parse(kind, payload) } else { None }
    }

    /// Appends the record's bytes.
    pub fn encode(&self, sequence: u64, durable: u32, out: &mut BytesMut) {
        let (start, length) = (out.len(), self.payload_len());
        assert!(length <= PAYLOAD_BYTES_MAX, "a record of {length} bytes was let in");
        out.reserve(size_of(length));
        out.put_u32_le(u32::try_from(length).expect("bounded above"));
        out.put_u32_le(0);
        out.put_u32_le(durable);
        out.put_u8(self.kind());
        self.put_payload(out);
        let crc = checksum(sequence, &out[start + 8..]);
        out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
        out.put_bytes(0, size_of(length) - HEADER_BYTES - length);
    }

    /// Reads the record at the start of `bytes`. It has a copy of its payload: one entry that is kept must not keep the
    /// whole segment in memory that it was read from.
    pub fn decode(sequence: u64, bytes: &Bytes) -> Decoded {
        if bytes.len() < HEADER_BYTES {
            return Decoded::Invalid;
        }
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let length = word(0) as usize;
        if length > PAYLOAD_BYTES_MAX || bytes.len() < size_of(length) {
            return Decoded::Invalid;
        }
        let end = HEADER_BYTES + length;
        let padded = bytes[end..size_of(length)].iter().all(|byte| *byte == 0);
        if !padded || checksum(sequence, &bytes[8..end]) != word(4) {
            return Decoded::Invalid;
        }
        let payload = Bytes::copy_from_slice(&bytes[HEADER_BYTES..end]);
        match parse(bytes[12], payload) {
            Some(record) => Decoded::Record { record, durable: word(8), size: size_of(length) },
            None => Decoded::Invalid,
        }
    }
}

fn parse(kind: u8, payload: Bytes) -> Option<Record> {
    let index = |payload: &Bytes| Some(u64::from_le_bytes(payload.get(..8)?.try_into().ok()?));
    Some(match kind {
        1 => Record::Entry { index: index(&payload)?, data: payload.slice(8..) },
        2 => Record::Vote(payload),
        3 => Record::TruncateAfter(index(&payload)?),
        4 => Record::PurgeUpto { index: index(&payload)?, id: payload.slice(8..) },
        5 => Record::Committed(payload),
        6 => Record::Seal,
        sealed if sealed & SEALED != 0 => Record::Sealed { kind: sealed & !SEALED, unit: payload },
        _ => return None,
    })
}

fn checksum(sequence: u64, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&sequence.to_le_bytes()), bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn records() -> impl Strategy<Value = Record> {
        let data = || proptest::collection::vec(any::<u8>(), 0..100).prop_map(Bytes::from);
        prop_oneof![
            (any::<u64>(), data()).prop_map(|(index, data)| Record::Entry { index, data }),
            data().prop_map(Record::Vote),
            any::<u64>().prop_map(Record::TruncateAfter),
            (any::<u64>(), data()).prop_map(|(index, id)| Record::PurgeUpto { index, id }),
            data().prop_map(Record::Committed),
            Just(Record::Seal),
            (0_u8..6, data()).prop_map(|(kind, unit)| Record::Sealed { kind, unit }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(record in records(), sequence: u64, durable: u32) {
            let mut out = BytesMut::new();
            record.encode(sequence, durable, &mut out);
            let (bytes, size) = (out.freeze(), size_of(record.payload_len()));
            prop_assert_eq!(bytes.len(), size);
            let decoded = Record::decode(sequence, &bytes);
            prop_assert!(bytes.is_unique(), "what was read is not kept with the file's bytes");
            prop_assert_eq!(decoded, Decoded::Record { record, durable, size });
            prop_assert_eq!(Record::decode(sequence.wrapping_add(1), &bytes), Decoded::Invalid);
        }

        #[test]
        fn a_flipped_bit_is_noticed(record in records(), bit: proptest::sample::Index) {
            let mut out = BytesMut::new();
            record.encode(7, 0, &mut out);
            let bit = bit.index(out.len() * 8);
            out[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(Record::decode(7, &out.freeze()), Decoded::Invalid);
        }
    }
}

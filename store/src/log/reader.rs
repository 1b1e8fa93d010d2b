//! Entries that left memory, read where they lie.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::log::disk::{Disk, DiskFile};
use crate::log::entries::Place;
use crate::log::record::{Decoded, Record, size_of};
use crate::log::sealing::Sealing;
use crate::log::segment;

/// Reads the entry with an index and so many bytes at a place; an error also when something else lies there by now.
pub(super) type Reader = Box<dyn Fn(u64, Place, usize) -> io::Result<Bytes> + Send + Sync>;

/// A reader of a disk.
pub(super) fn reader<D: Disk>(disk: Arc<D>, sealing: Sealing) -> Reader {
    Box::new(move |index, place, length| {
        let file = disk.open(&segment::name(place.sequence))?;
        let mut bytes = vec![0; size_of(8 + length + sealing.overhead())];
        file.read_at(&mut bytes, place.offset)?;
        // The checksum holds the segment's number: what a recycled file holds by now does not pass.
        let found = match Record::decode(place.sequence, &Bytes::from(bytes)) {
            Decoded::Record { record, .. } => sealing.open(record, place).ok(),
            Decoded::Invalid => None,
        };
        match found {
            Some(Record::Entry { index: found, data }) if found == index => Ok(data),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, format!("entry {index} is not where it was written"))),
        }
    })
}

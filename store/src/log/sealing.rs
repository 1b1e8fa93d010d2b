//! Records under a key: their payloads are sealed, what a torn tail is told by is not.

use std::sync::Arc;

use bytes::BytesMut;

use crate::log::Error;
use crate::log::entries::Place;
use crate::log::record::Record;
use crate::seal::{OVERHEAD, Sealer};

/// What records are sealed with; with nothing, they are as they are.
#[derive(Clone, Default)]
pub(super) struct Sealing(pub(super) Option<Arc<Sealer>>);

/// What a record is bound to.
fn bound(kind: u8, place: Place) -> [u8; 20] {
    let mut bound = *b"log\0................";
    bound[3] = kind;
    bound[4..12].copy_from_slice(&place.sequence.to_le_bytes());
    bound[12..].copy_from_slice(&place.offset.to_le_bytes());
    bound
}

impl Sealing {
    /// Bytes that a sealed payload has more.
    pub(super) fn overhead(&self) -> usize {
        self.0.as_ref().map_or(0, |_| OVERHEAD)
    }

    /// Length of a record's payload in the file, bytes.
    pub(super) fn payload_len(&self, record: &Record) -> usize {
        let more = if matches!(record, Record::Seal) { 0 } else { self.overhead() };
        record.payload_len() + more
    }

    /// Appends the record's bytes, as they lie at a place.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub(super) fn encode(&self, record: &Record, place: Place, durable: u32, out: &mut BytesMut) -> Result<(), Error> {
        match &self.0 {
            // The end of a segment holds nothing.
            Some(sealer) if !matches!(record, Record::Seal) => {
                let (kind, payload) = record.payload();
                let unit = sealer.seal(&bound(kind, place), &payload);
                let unit = unit.map_err(|error| Error::Failed(error.to_string()))?.into();
                Record::Sealed { kind, unit }.encode(place.sequence, durable, out);
            }
            _ => record.encode(place.sequence, durable, out),
        }
        Ok(())
    }

    /// The record that was found at a place, opened.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn open(&self, record: Record, place: Place) -> Result<Record, String> {
        match (&self.0, record) {
            (Some(sealer), Record::Sealed { kind, unit }) => {
                let payload = sealer.open(&bound(kind, place), &unit).map_err(|error| error.to_string())?;
                Record::of(kind, payload.into()).ok_or_else(|| format!("kind {kind} is none of a record"))
            }
            (None, Record::Sealed { .. }) => Err("the record is encrypted, and no key was named".to_owned()),
            (None, record) | (Some(_), record @ Record::Seal) => Ok(record),
            (Some(_), _) => Err("the record is not encrypted, though all others are".to_owned()),
        }
    }
}

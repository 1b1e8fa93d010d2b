//! Records under a key: their payloads are sealed, what a torn tail is told by is not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::BytesMut;
use parking_lot::Mutex;

use crate::log::Error;
use crate::log::entries::Place;
use crate::log::record::Record;
use crate::seal::{OVERHEAD, Sealer};

/// What records are sealed with; with nothing, they are as they are.
#[derive(Clone, Default)]
pub(super) struct Sealing {
    sealer: Option<Arc<Sealer>>,
    /// The data keys of the records of each segment.
    used: Arc<Mutex<BTreeMap<u64, BTreeSet<u64>>>>,
}

/// What a record is bound to.
fn bound(kind: u8, place: Place) -> [u8; 20] {
    let mut bound = *b"log\0................";
    bound[3] = kind;
    bound[4..12].copy_from_slice(&place.sequence.to_le_bytes());
    bound[12..].copy_from_slice(&place.offset.to_le_bytes());
    bound
}

impl Sealing {
    pub(super) fn new(sealer: Option<Arc<Sealer>>) -> Self {
        Sealing { sealer, used: Arc::default() }
    }

    /// Whether records are sealed.
    pub(super) fn seals(&self) -> bool {
        self.sealer.is_some()
    }

    /// The data keys that records lie under.
    pub(super) fn used(&self) -> BTreeSet<u64> {
        self.used.lock().values().flatten().copied().collect()
    }

    /// A segment is gone.
    pub(super) fn forget(&self, sequence: u64) {
        self.used.lock().remove(&sequence);
    }

    fn note(&self, sequence: u64, unit: &[u8]) {
        if let Ok(key) = Sealer::key_of(unit) {
            self.used.lock().entry(sequence).or_default().insert(key);
        }
    }

    /// Bytes that a sealed payload has more.
    pub(super) fn overhead(&self) -> usize {
        self.sealer.as_ref().map_or(0, |_| OVERHEAD)
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
        match &self.sealer {
            // The end of a segment holds nothing.
            Some(sealer) if !matches!(record, Record::Seal) => {
                let (kind, payload) = record.payload();
                let unit = sealer.seal(&bound(kind, place), &payload);
                let unit = unit.map_err(|error| Error::Failed(error.to_string()))?;
                self.note(place.sequence, &unit);
                let unit = unit.into();
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
        match (&self.sealer, record) {
            (Some(sealer), Record::Sealed { kind, unit }) => {
                self.note(place.sequence, &unit);
                let payload = sealer.open(&bound(kind, place), &unit).map_err(|error| error.to_string())?;
                Record::of(kind, payload.into()).ok_or_else(|| format!("kind {kind} is none of a record"))
            }
            (None, Record::Sealed { .. }) => Err("the record is encrypted, and no key was named".to_owned()),
            (None, record) | (Some(_), record @ Record::Seal) => Ok(record),
            (Some(_), _) => Err("the record is not encrypted, though all others are".to_owned()),
        }
    }
}

//! PURE: what happened to a key, as a row. Its newest lies in `Family::Latest`, under the key; what came before lies in
//! `Family::History`, under its revision, and each names the place of the one before. Values are stored once: under its
//! own revision the newest has nothing but the key.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;
use proto::mvccpb::event::EventType;
use proto::mvccpb::{Event, KeyValue};

use crate::api::Revision;
use crate::engine::{Batch, Family};
use crate::machine::codec;

/// Flags, the place of the one before, the own position, how many came before, the revision of the next; a `KeyValue` as
/// it is encoded follows.
const HEAD_BYTES: usize = 1 + 12 + 4 + 4 + 8;
/// Every so many of a key's records have a row in `Family::Index`: whoever looks for one goes past so many at most.
const STRIDE: u32 = if cfg!(test) { 4 } else { 64 };
const DELETED: u8 = 1;
/// A row of the history that says under which key its record lies; with `DELETED` that of a deletion.
const NEWEST: u8 = 2;
/// The same of a deletion that is compacted: under its key and its revision in `Family::Gone`.
const GONE: u8 = 4;

/// Where in the history something lies: changes of one revision have positions in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) revision: Revision,
    pub(crate) position: u32,
}

impl Place {
    /// Its key in `Family::History`.
    pub(crate) fn row(self) -> Bytes {
        codec::history_key(self.revision, self.position)
    }
}

/// One thing that happened to a key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Record {
    /// Of a deletion, the key and the revision alone.
    pub(crate) kv: KeyValue,
    pub(crate) deleted: bool,
    /// In its revision.
    pub(crate) position: u32,
    /// What happened to the key before; it may be compacted away.
    pub(crate) previous: Option<Place>,
    /// How much happened to the key before, as far as this member has not forgotten it.
    pub(crate) depth: u32,
    /// The revision of what happened to the key next; none for its newest.
    pub(crate) next: Option<Revision>,
}

impl Record {
    pub(crate) fn place(&self) -> Place {
        Place { revision: self.kv.mod_revision, position: self.position }
    }

    /// What happens to the key of this record, or to one of which nothing is known.
    pub(crate) fn after(old: Option<&Record>, kv: KeyValue, deleted: bool, position: u32) -> Self {
        let depth = old.map_or(0, |old| old.depth.wrapping_add(1));
        Record { kv, deleted, position, previous: old.map(Record::place), depth, next: None }
    }

    /// Whether the past of its key is looked for from here.
    pub(crate) fn is_milestone(&self) -> bool {
        self.depth % STRIDE == STRIDE - 1
    }

    /// Its row, without the head: members that removed more or less of what is compacted differ in it.
    pub(crate) fn hashed(&self, row: &[u8], before: u32) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c_append(before, &[u8::from(self.deleted)]), &row[HEAD_BYTES..])
    }

    pub(crate) fn encode(&self) -> Bytes {
        let previous = self.previous.unwrap_or_default();
        let mut row = BytesMut::with_capacity(HEAD_BYTES + self.kv.encoded_len());
        row.put_u8(if self.deleted { DELETED } else { 0 });
        row.put_i64(previous.revision);
        row.put_u32(previous.position);
        row.put_u32(self.position);
        row.put_u32(self.depth);
        row.put_i64(self.next.unwrap_or_default());
        self.kv.encode(&mut row).expect("a buffer grows");
        row.freeze()
    }

    /// As `decode`: rows were encoded by this program and are checked by the engine's own checksums.
    pub(crate) fn decode(mut row: Bytes) -> Self {
        assert!(row.len() >= HEAD_BYTES, "a row of the state machine is too short: its files are damaged");
        let deleted = row.get_u8() == DELETED;
        let previous = Place { revision: row.get_i64(), position: row.get_u32() };
        let (position, depth, next) = (row.get_u32(), row.get_u32(), row.get_i64());
        let previous = (previous.revision != 0).then_some(previous);
        Record { kv: codec::decode(row), deleted, position, previous, depth, next: (next != 0).then_some(next) }
    }

    /// Unless it is a deletion.
    pub(crate) fn alive(self) -> Option<KeyValue> {
        (!self.deleted).then_some(self.kv)
    }

    /// Its key and value in etcd's own database, where a deletion is the key alone.
    pub(crate) fn etcds_row(mut self) -> (Bytes, Vec<u8>) {
        let key = codec::revision_key(self.kv.mod_revision, self.position, self.deleted);
        if self.deleted {
            self.kv.mod_revision = 0;
        }
        (key, self.kv.encode_to_vec())
    }

    /// As watchers are told of it.
    pub(crate) fn event(self) -> Event {
        let kind = if self.deleted { EventType::Delete } else { EventType::Put };
        Event { r#type: kind.into(), kv: Some(self.kv), prev_kv: None }
    }
}

/// What writes a record and moves the one before, which it supersedes, into the history. Answers the record's row.
pub(crate) fn write(batch: &mut Batch, old: Option<Record>, new: &Record) -> Bytes {
    if let Some(old) = old {
        let old = Record { next: Some(new.kv.mod_revision), ..old };
        batch.put(Family::History, old.place().row(), old.encode());
    }
    if new.is_milestone() {
        let (row, position) = (codec::index_key(&new.kv.key, new.kv.mod_revision), new.position.to_be_bytes());
        batch.put(Family::Index, row, position.to_vec());
    }
    let row = new.encode();
    let kind = if new.deleted { NEWEST | DELETED } else { NEWEST };
    batch.put(Family::History, new.place().row(), pointer(kind, &new.kv.key));
    batch.put(Family::Latest, new.kv.key.clone(), row.clone());
    row
}

/// What takes the deletion of a key that is still the newest of it out of the keys: it can only be looked back at.
pub(crate) fn bury(batch: &mut Batch, deletion: &Record) {
    let key = &deletion.kv.key;
    batch.put(Family::Gone, codec::index_key(key, deletion.kv.mod_revision), deletion.encode());
    batch.put(Family::History, deletion.place().row(), pointer(GONE, key));
    batch.delete(Family::Latest, key.clone());
}

/// What removes a record that is superseded, or a deletion that was buried.
pub(crate) fn remove(batch: &mut Batch, record: &Record) {
    batch.delete(Family::History, record.place().row());
    if record.is_milestone() {
        batch.delete(Family::Index, codec::index_key(&record.kv.key, record.kv.mod_revision));
    }
    if record.next.is_none() {
        batch.delete(Family::Gone, codec::index_key(&record.kv.key, record.kv.mod_revision));
    }
}

/// The `KeyValue` in a row of `Family::Latest` as it is encoded, unless the key is deleted.
pub(crate) fn alive(row: &[u8]) -> Option<&[u8]> {
    let (head, kv) = row.split_at_checked(HEAD_BYTES)?;
    (head[0] != DELETED).then_some(kv)
}

/// What lies in the history as long as the record itself lies elsewhere.
fn pointer(kind: u8, key: &[u8]) -> Bytes {
    let mut row = BytesMut::with_capacity(1 + key.len());
    row.put_u8(kind);
    row.put_slice(key);
    row.freeze()
}

/// A row of `Family::History`.
pub(crate) enum Held {
    Here(Record),
    /// It is the newest of this key.
    Newest(Bytes),
    /// It is the deletion of this key, which is compacted.
    Gone(Bytes),
}

/// The key of a deletion that is still the newest of it, by its row in the history.
pub(crate) fn newest_deletion(row: &[u8]) -> Option<&[u8]> {
    row.split_first().filter(|(kind, _)| **kind == NEWEST | DELETED).map(|(_, key)| key)
}

impl Held {
    pub(crate) fn decode(row: Bytes) -> Self {
        match row.first() {
            Some(kind) if kind & NEWEST != 0 => Held::Newest(row.slice(1..)),
            Some(kind) if kind & GONE != 0 => Held::Gone(row.slice(1..)),
            _ => Held::Here(Record::decode(row)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_read_as_it_was_written() {
        let kv = KeyValue { key: "k".into(), value: "v".into(), mod_revision: 7, version: 2, ..KeyValue::default() };
        let previous = Some(Place { revision: 5, position: 1 });
        let put = Record { kv: kv.clone(), deleted: false, position: 3, previous, depth: 63, next: Some(9) };
        let deletion = Record { deleted: true, previous: None, next: None, ..put.clone() };
        for record in [&put, &deletion] {
            assert!(matches!(Held::decode(record.encode()), Held::Here(read) if read == *record));
        }
        assert_eq!(alive(&put.encode()), Some(&kv.encode_to_vec()[..]));
        assert_eq!(alive(&deletion.encode()), None);
        for (kind, deleted) in [(NEWEST, None), (NEWEST | DELETED, Some(&b"k"[..]))] {
            assert!(matches!(Held::decode(pointer(kind, b"k")), Held::Newest(key) if key == "k"));
            assert_eq!(newest_deletion(&pointer(kind, b"k")), deleted);
        }
        assert!(matches!(Held::decode(pointer(GONE, b"k")), Held::Gone(key) if key == "k"));
        assert_eq!(newest_deletion(&deletion.encode()), None);
        let alone = KeyValue { key: "k".into(), ..KeyValue::default() };
        let gone = Record { kv: KeyValue { mod_revision: 7, ..alone.clone() }, ..deletion.clone() };
        assert_eq!(gone.etcds_row(), (codec::revision_key(7, 3, true), alone.encode_to_vec()));
        assert_eq!(put.clone().etcds_row(), (codec::revision_key(7, 3, false), kv.encode_to_vec()));
        let other = Record { previous: None, ..put.clone() };
        assert_eq!(put.hashed(&put.encode(), 1), other.hashed(&other.encode(), 1));
        assert_ne!(put.hashed(&put.encode(), 1), deletion.hashed(&deletion.encode(), 1));
    }
}

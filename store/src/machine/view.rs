//! `View`: a consistent picture of the local replica, now or at a past revision.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use proto::mvccpb::KeyValue;

use crate::api::Revision;
use crate::engine::{Family, Snapshot};
use crate::machine::codec::{self, Header};
use crate::machine::record::{self, Held, Place, Record};

/// Bytes of events read at once, about.
const EVENTS_BYTES: usize = 512 << 10;

/// A consistent picture of the local replica; reads never wait and never change.
#[derive(Clone)]
pub struct View {
    snapshot: Arc<dyn Snapshot>,
    header: Arc<Header>,
    /// The revision shown.
    revision: Revision,
}

impl View {
    pub(crate) fn new(snapshot: Arc<dyn Snapshot>) -> Self {
        let header = snapshot.get(Family::Meta, codec::HEADER_KEY).map_or_else(Header::new, codec::decode);
        View { snapshot, revision: header.revision, header: Arc::new(header) }
    }

    /// The same picture, as it was at an earlier revision that is not compacted.
    pub(crate) fn at(self, revision: Revision) -> Self {
        View { revision, ..self }
    }

    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    pub(crate) fn snapshot(&self) -> &dyn Snapshot {
        &*self.snapshot
    }

    /// The revision this view shows.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    fn now(&self) -> bool {
        self.revision == self.header.revision
    }

    /// The newest value of one key.
    pub fn get(&self, key: &[u8]) -> Option<KeyValue> {
        newest(&*self.snapshot, key, self.revision)?.alive()
    }

    /// Keys in `[key, end)` in order, etcd's conventions for `end` (empty: one key, `\0`: to the last).
    pub fn range<'a>(&'a self, key: &[u8], end: &[u8]) -> Box<dyn Iterator<Item = KeyValue> + Send + 'a> {
        if end.is_empty() {
            return Box::new(self.get(key).into_iter());
        }
        let (from, to) = codec::bounds(key, end);
        let rows = self.snapshot.scan(Family::Latest, &from, to.as_deref());
        Box::new(rows.filter_map(|(_, row)| upto(&*self.snapshot, Record::decode(row), self.revision)?.alive()))
    }

    /// Everything there is at the revision shown, in the order of keys.
    pub(crate) fn alive(&self) -> impl Iterator<Item = Record> {
        let rows = self.snapshot.scan(Family::Latest, b"", None);
        let then = |(_, row)| upto(&*self.snapshot, Record::decode(row), self.revision);
        rows.filter_map(then).filter(|record| !record.deleted)
    }

    /// How many keys lie in the range.
    pub fn count(&self, key: &[u8], end: &[u8]) -> u64 {
        let (mut count, (from, to)) = (0, codec::bounds(key, end));
        self.visit(&from, to.as_deref(), &mut |_, _| {
            count += 1;
            true
        });
        count
    }

    /// Bytes of keys and values in the range.
    pub(crate) fn bytes(&self, key: &[u8], end: &[u8]) -> usize {
        let (mut bytes, (from, to)) = (0, codec::bounds(key, end));
        self.visit(&from, to.as_deref(), &mut |_, kv| {
            bytes += kv.len();
            true
        });
        bytes
    }

    /// Shows the keys in `from..to` in order, each with its `KeyValue` as it is encoded, as long as it is told to go on.
    pub(crate) fn visit(&self, from: &[u8], to: Option<&[u8]>, each: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
        self.snapshot.visit(Family::Latest, from, to, &mut |key, row| {
            if self.now() {
                return record::alive(row).is_none_or(|kv| each(key, kv));
            }
            let newest = Record::decode(Bytes::copy_from_slice(row));
            let then = upto(&*self.snapshot, newest, self.revision).and_then(Record::alive);
            then.is_none_or(|kv| each(key, &kv.encode_to_vec()))
        });
    }

    /// Records of whole revisions from `from` on, about `limit` of them at most, with the last revision they reach.
    pub(crate) fn records(&self, from: Revision, limit: usize) -> (Vec<Record>, Revision) {
        let mut records: Vec<Record> = Vec::new();
        let mut bytes = 0;
        for record in self.history(from) {
            let revision = record.kv.mod_revision;
            let last = records.last().map(|record| record.kv.mod_revision);
            let full = records.len() >= limit || bytes >= EVENTS_BYTES;
            if let Some(last) = last.filter(|last| full && *last != revision) {
                return (records, last);
            }
            bytes += record.kv.value.len();
            records.push(record);
        }
        (records, self.header.revision)
    }

    /// Everything that is still known to have happened from a revision on, in order.
    pub(crate) fn history(&self, from: Revision) -> impl Iterator<Item = Record> {
        let rows = self.snapshot.scan(Family::History, &codec::history_key(from, 0), None);
        rows.map(|(place, row)| match Held::decode(row) {
            Held::Here(record) => record,
            Held::Newest(key) => latest(&*self.snapshot, &key)
                .filter(|record| record.place().row() == place)
                .expect("the history names a key whose newest record is another one: its files are damaged"),
            Held::Gone(key) => buried(&*self.snapshot, &key, &place),
        })
    }
}

/// What last happened to a key.
pub(crate) fn latest(snapshot: &dyn Snapshot, key: &[u8]) -> Option<Record> {
    snapshot.get(Family::Latest, key).map(Record::decode)
}

/// What last happened to a key up to a revision.
pub(crate) fn newest(snapshot: &dyn Snapshot, key: &[u8], revision: Revision) -> Option<Record> {
    upto(snapshot, latest(snapshot, key)?, revision)
}

/// From the newest of a key back to what was the newest at a revision.
pub(crate) fn upto(snapshot: &dyn Snapshot, mut record: Record, revision: Revision) -> Option<Record> {
    while record.kv.mod_revision > revision {
        if record.is_milestone() {
            // The one that lies nearest behind the revision, which may be this one.
            let (from, to) =
                (codec::index_key(&record.kv.key, revision), codec::index_key(&record.kv.key, Revision::MAX));
            let nearest = snapshot.scan(Family::Index, &from, Some(&to)).next().and_then(|row| milestone(&row));
            if let Some(nearest) = nearest.filter(|nearest| *nearest < record.place()) {
                record = at(snapshot, nearest)?;
                continue;
            }
        }
        record = at(snapshot, record.previous?)?;
    }
    Some(record)
}

fn milestone((row, position): &(Bytes, Bytes)) -> Option<Place> {
    let (_, revision) = codec::parse_index_key(row)?;
    Some(Place { revision, position: u32::from_be_bytes(position.as_ref().try_into().ok()?) })
}

/// What is no longer the newest of its key, unless it is forgotten.
pub(crate) fn at(snapshot: &dyn Snapshot, place: Place) -> Option<Record> {
    match Held::decode(snapshot.get(Family::History, &place.row())?) {
        Held::Here(record) => Some(record),
        Held::Newest(_) => None,
        Held::Gone(key) => Some(buried(snapshot, &key, &place.row())),
    }
}

/// A deletion that is compacted, by its key and its place.
fn buried(snapshot: &dyn Snapshot, key: &[u8], place: &[u8]) -> Record {
    let revision = place.first_chunk().map_or(0, |revision| Revision::from_be_bytes(*revision));
    let row = snapshot.get(Family::Gone, &codec::index_key(key, revision));
    Record::decode(row.expect("the history names a deletion that is not there: its files are damaged"))
}

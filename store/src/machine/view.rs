//! `View`: a consistent picture of the local replica, now or at a past revision.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use proto::mvccpb::event::EventType;
use proto::mvccpb::{Event, KeyValue};

use crate::api::Revision;
use crate::engine::{Family, Snapshot};
use crate::machine::codec::{self, Header};

/// Bytes of events read at once, about.
const EVENTS_BYTES: usize = 4 << 20;

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
        let header = snapshot.get(Family::Meta, codec::HEADER_KEY).map_or_else(Header::new, decode);
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

    /// The newest value of one key.
    pub fn get(&self, key: &[u8]) -> Option<KeyValue> {
        if self.revision == self.header.revision {
            return self.snapshot.get(Family::Latest, key).map(decode);
        }
        let event = before(&*self.snapshot, key, self.revision + 1)?;
        alive(event)
    }

    /// Keys in `[key, end)` in order, etcd's conventions for `end` (empty: one key, `\0`: to the last).
    pub fn range<'a>(&'a self, key: &[u8], end: &[u8]) -> Box<dyn Iterator<Item = KeyValue> + Send + 'a> {
        if self.revision != self.header.revision {
            return self.past_range(key, end);
        }
        if end.is_empty() {
            return Box::new(self.get(key).into_iter());
        }
        let (from, to) = codec::bounds(key, end);
        Box::new(self.snapshot.scan(Family::Latest, &from, to.as_deref()).map(|(_, value)| decode(value)))
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
        if self.revision == self.header.revision {
            self.snapshot.visit(Family::Latest, from, to, each);
        } else {
            let _ = self.past_between(from, to).all(|kv| each(&kv.key, &kv.encode_to_vec()));
        }
    }

    fn past_range<'a>(&'a self, key: &[u8], end: &[u8]) -> Box<dyn Iterator<Item = KeyValue> + Send + 'a> {
        let (from, to) = codec::bounds(key, end);
        self.past_between(&from, to.as_deref())
    }

    fn past_between<'a>(&'a self, from: &[u8], to: Option<&[u8]>) -> Box<dyn Iterator<Item = KeyValue> + Send + 'a> {
        let (from, to) = (codec::index_prefix(from), to.map(codec::index_prefix));
        let mut rows = self
            .snapshot
            .scan(Family::Index, &from, to.as_deref())
            .filter_map(|(row, position)| Some((codec::parse_index_key(&row)?, position)))
            .filter(|((_, revision), _)| *revision <= self.revision)
            .peekable();
        Box::new(std::iter::from_fn(move || {
            loop {
                let ((key, revision), position) = rows.next()?;
                if rows.peek().is_some_and(|((next, _), _)| *next == key) {
                    continue;
                }
                if let Some(kv) = event_at(&*self.snapshot, revision, &position).and_then(alive) {
                    return Some(kv);
                }
            }
        }))
    }

    /// Events of whole revisions from `from` on, about `limit` of them at most, with the last revision they reach.
    pub(crate) fn events(&self, from: Revision, limit: usize) -> (Vec<(Revision, Event)>, Revision) {
        let start = codec::history_key(from, 0);
        let mut events: Vec<(Revision, Event)> = Vec::new();
        let mut bytes = 0;
        for (row, value) in self.snapshot.scan(Family::History, &start, None) {
            let revision = codec::history_revision(&row).expect("rows were written with history_key");
            let last = events.last().map(|(revision, _)| *revision);
            let full = events.len() >= limit || bytes >= EVENTS_BYTES;
            if let Some(last) = last.filter(|last| full && *last != revision) {
                return (events, last);
            }
            bytes += value.len();
            events.push((revision, decode(value)));
        }
        (events, self.header.revision)
    }
}

fn alive(event: Event) -> Option<KeyValue> {
    if event.r#type() == EventType::Put { event.kv } else { None }
}

/// What last happened to a key before a revision.
pub(crate) fn before(snapshot: &dyn Snapshot, key: &[u8], revision: Revision) -> Option<Event> {
    let (row, position) = snapshot.last(Family::Index, &codec::index_key(key, 0), &codec::index_key(key, revision))?;
    let (_, revision) = codec::parse_index_key(&row)?;
    event_at(snapshot, revision, &position)
}

/// Where the newest change of a key up to a revision lies.
pub(crate) fn newest(snapshot: &dyn Snapshot, key: &[u8], revision: Revision) -> Option<(Revision, u32)> {
    let (row, position) =
        snapshot.last(Family::Index, &codec::index_key(key, 0), &codec::index_key(key, revision + 1))?;
    let (_, revision) = codec::parse_index_key(&row)?;
    Some((revision, u32::from_be_bytes(position.as_ref().try_into().ok()?)))
}

fn event_at(snapshot: &dyn Snapshot, revision: Revision, position: &[u8]) -> Option<Event> {
    let position = u32::from_be_bytes(position.try_into().ok()?);
    snapshot.get(Family::History, &codec::history_key(revision, position)).map(decode)
}

/// Rows were encoded by this program and are checked by the engine's own checksums.
pub(crate) fn decode<M: Message + Default>(bytes: Bytes) -> M {
    M::decode(bytes).expect("a row of the state machine is not what was written: its files are damaged")
}

//! PURE: the changes of entries being applied, before they are written: later ones see earlier ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use proto::command::Refusal;
use proto::command::refusal::Reason;
use proto::mvccpb::event::EventType;
use proto::mvccpb::{Event, KeyValue};

use crate::api::{Occurrence, Revision};
use crate::engine::{Batch, Family};
use crate::machine::auth::{Auth, Session};
use crate::machine::codec::{self, Header};
use crate::machine::hash::Sum;
use crate::machine::lease::Leases;
use crate::machine::view::View;

/// What a slice of entries has changed so far.
pub(crate) struct Pending<'a> {
    /// The state before the slice.
    view: &'a View,
    /// As the entries left it.
    pub(crate) header: Header,
    /// As the entries left them.
    pub(crate) leases: &'a mut Leases,
    /// As the entries left it; copied when one of them changes it.
    pub(crate) auth: Arc<Auth>,
    /// What becomes of clients' tokens.
    pub(crate) sessions: Vec<Session>,
    latest: BTreeMap<Bytes, Option<KeyValue>>,
    /// What is to be written.
    pub(crate) batch: Batch,
    /// What watchers are to be told.
    pub(crate) events: Vec<(Revision, Arc<Occurrence>)>,
    /// The checksum after each transaction.
    pub(crate) sums: Vec<Sum>,
}

impl<'a> Pending<'a> {
    pub(crate) fn new(view: &'a View, leases: &'a mut Leases, auth: Arc<Auth>) -> Self {
        let header = view.header().clone();
        let (latest, batch) = (BTreeMap::new(), Batch::default());
        let (events, sums, sessions) = (Vec::new(), Vec::new(), Vec::new());
        Pending { view, header, leases, auth, sessions, latest, batch, events, sums }
    }

    /// Starts a transaction; nothing of it shows until it is committed.
    pub(crate) fn begin(&mut self) -> Scratch<'_, 'a> {
        Scratch { pending: self, latest: BTreeMap::new(), events: Vec::new() }
    }

    fn latest(&self, key: &[u8]) -> Option<KeyValue> {
        match self.latest.get(key) {
            Some(pending) => pending.clone(),
            None => self.view.get(key),
        }
    }
}

/// One transaction over pending changes.
pub(crate) struct Scratch<'p, 'a> {
    pub(crate) pending: &'p mut Pending<'a>,
    latest: BTreeMap<Bytes, Option<KeyValue>>,
    events: Vec<Event>,
}

impl Scratch<'_, '_> {
    /// The revision that this transaction's changes get.
    pub(crate) fn next_revision(&self) -> Revision {
        self.pending.header.revision + 1
    }

    /// The revision that a response names.
    pub(crate) fn revision(&self) -> Revision {
        self.pending.header.revision + i64::from(!self.events.is_empty())
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<KeyValue> {
        match self.latest.get(key) {
            Some(own) => own.clone(),
            None => self.pending.latest(key),
        }
    }

    /// The keys of a range, in order, with what is pending.
    pub(crate) fn range(&self, key: &[u8], end: &[u8]) -> Vec<KeyValue> {
        if end.is_empty() {
            return self.get(key).into_iter().collect();
        }
        let bounds = codec::bounds(key, end);
        let mut rows: BTreeMap<Bytes, Option<KeyValue>> =
            self.pending.view.range(key, end).map(|kv| (kv.key.clone(), Some(kv))).collect();
        for overlay in [&self.pending.latest, &self.latest] {
            let later = overlay.range(bounds.0.clone()..).take_while(|(key, _)| codec::within(&bounds, key));
            rows.extend(later.map(|(key, kv)| (key.clone(), kv.clone())));
        }
        rows.into_values().flatten().collect()
    }

    /// The state before this slice of entries at a past revision, or why it cannot be read.
    pub(crate) fn past(&self, revision: Revision) -> Result<View, Refusal> {
        readable(revision, self.revision(), self.pending.header.compacted)?;
        Ok(self.pending.view.clone().at(revision))
    }

    pub(crate) fn put(&mut self, key: &Bytes, value: Bytes, lease: i64) {
        let (revision, old) = (self.next_revision(), self.get(key));
        let kv = KeyValue {
            key: key.clone(),
            create_revision: old.as_ref().map_or(revision, |old| old.create_revision),
            mod_revision: revision,
            version: old.as_ref().map_or(1, |old| old.version + 1),
            value,
            lease,
        };
        self.latest.insert(key.clone(), Some(kv.clone()));
        self.events.push(Event { r#type: EventType::Put.into(), kv: Some(kv), prev_kv: old });
    }

    pub(crate) fn delete(&mut self, old: KeyValue) {
        let kv = KeyValue { key: old.key.clone(), mod_revision: self.next_revision(), ..KeyValue::default() };
        self.latest.insert(old.key.clone(), None);
        self.events.push(Event { r#type: EventType::Delete.into(), kv: Some(kv), prev_kv: Some(old) });
    }

    /// Makes the transaction's changes part of what is pending.
    pub(crate) fn commit(self) {
        if self.events.is_empty() {
            return;
        }
        let (revision, pending) = (self.next_revision(), self.pending);
        pending.header.revision = revision;
        for (position, event) in (0_u32..).zip(self.events) {
            let kv = event.kv.as_ref().expect("every event of this module has one");
            let (old, new) = (event.prev_kv.as_ref().map_or(0, |old| old.lease), kv.lease);
            if old != new {
                pending.leases.detach(old, &kv.key, &mut pending.batch);
                pending.leases.attach(new, &kv.key, &mut pending.batch);
            }
            let mut row = BytesMut::with_capacity(kv.encoded_len() + 16);
            Event { prev_kv: None, ..event.clone() }.encode(&mut row).expect("a buffer grows");
            let row = row.freeze();
            pending.header.hash = crc32c::crc32c_append(pending.header.hash, &row);
            pending.batch.put(Family::History, codec::history_key(revision, position), row);
            let mut place = BytesMut::with_capacity(4);
            place.put_u32(position);
            pending.batch.put(Family::Index, codec::index_key(&kv.key, revision), place.freeze());
            if event.r#type() == EventType::Put {
                pending.batch.put(Family::Latest, kv.key.clone(), kv.encode_to_vec());
            } else {
                pending.batch.delete(Family::Latest, kv.key.clone());
            }
            pending.events.push((revision, Arc::new(Occurrence::new(event))));
        }
        pending.sums.push((revision, pending.header.hash));
        pending.latest.extend(self.latest);
    }
}

/// Whether a revision can be read.
pub(crate) fn readable(revision: Revision, newest: Revision, compacted: Revision) -> Result<(), Refusal> {
    if revision > newest {
        return Err(refusal(Reason::FutureRevision, "etcdserver: mvcc: required revision is a future revision"));
    }
    if revision < compacted {
        return Err(refusal(Reason::Compacted, "etcdserver: mvcc: required revision has been compacted"));
    }
    Ok(())
}

pub(crate) fn refusal(reason: Reason, message: impl Into<String>) -> Refusal {
    Refusal { reason: reason.into(), message: message.into() }
}

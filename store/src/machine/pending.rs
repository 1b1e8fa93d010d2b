//! PURE: the changes of entries being applied, before they are written: later ones see earlier ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use proto::command::Refusal;
use proto::command::refusal::Reason;
use proto::mvccpb::{Event, KeyValue};

use crate::api::{Occurrence, Revision};
use crate::engine::Batch;
use crate::machine::auth::{Auth, Session};
use crate::machine::codec::{self, Header};
use crate::machine::hash::Sum;
use crate::machine::lease::Leases;
use crate::machine::record::{self, Record};
use crate::machine::room::Room;
use crate::machine::view::{self, View};

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
    latest: BTreeMap<Bytes, Record>,
    /// What is to be written.
    pub(crate) batch: Batch,
    /// What watchers are to be told.
    pub(crate) events: Vec<(Revision, Arc<Occurrence>)>,
    /// The checksum after each transaction.
    pub(crate) sums: Vec<Sum>,
    /// What the answer to the entry under way may take.
    pub(crate) room: Room,
}

impl<'a> Pending<'a> {
    pub(crate) fn new(view: &'a View, leases: &'a mut Leases, auth: Arc<Auth>) -> Self {
        let header = view.header().clone();
        let (latest, batch) = (BTreeMap::new(), Batch::default());
        let (events, sums, sessions) = (Vec::new(), Vec::new(), Vec::new());
        Pending { view, header, leases, auth, sessions, latest, batch, events, sums, room: Room::default() }
    }

    /// Starts a transaction; nothing of it shows until it is committed.
    pub(crate) fn begin(&mut self) -> Scratch<'_, 'a> {
        Scratch { pending: self, latest: BTreeMap::new(), changes: Vec::new() }
    }

    fn latest(&self, key: &[u8]) -> Option<Record> {
        self.latest.get(key).cloned().or_else(|| view::latest(self.view.snapshot(), key))
    }
}

/// One transaction over pending changes.
pub(crate) struct Scratch<'p, 'a> {
    pub(crate) pending: &'p mut Pending<'a>,
    latest: BTreeMap<Bytes, Record>,
    /// What it does, each with what it supersedes.
    changes: Vec<(Record, Option<Record>)>,
}

impl Scratch<'_, '_> {
    /// The revision that this transaction's changes get.
    pub(crate) fn next_revision(&self) -> Revision {
        self.pending.header.revision + 1
    }

    /// The revision that a response names.
    pub(crate) fn revision(&self) -> Revision {
        self.pending.header.revision + i64::from(!self.changes.is_empty())
    }

    /// What happened to a key last.
    pub(crate) fn latest(&self, key: &[u8]) -> Option<Record> {
        self.latest.get(key).cloned().or_else(|| self.pending.latest(key))
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<KeyValue> {
        self.latest(key)?.alive()
    }

    /// The keys of a range, in order, with what is pending: read as they are asked for.
    pub(crate) fn range<'s>(&'s self, key: &[u8], end: &[u8]) -> Box<dyn Iterator<Item = KeyValue> + 's> {
        if end.is_empty() {
            return Box::new(self.get(key).into_iter());
        }
        let bounds = codec::bounds(key, end);
        let mut later: BTreeMap<Bytes, Option<KeyValue>> = BTreeMap::new();
        for overlay in [&self.pending.latest, &self.latest] {
            let within = overlay.range(bounds.0.clone()..).take_while(|(key, _)| codec::within(&bounds, key));
            later.extend(within.map(|(key, record)| (key.clone(), record.clone().alive())));
        }
        let mut later = later.into_iter().peekable();
        let mut stored = self.pending.view.range(key, end).peekable();
        Box::new(std::iter::from_fn(move || {
            loop {
                let Some((key, _)) = later.peek() else { return stored.next() };
                if let Some(before) = stored.next_if(|stored| stored.key < *key) {
                    return Some(before);
                }
                // What is pending lies in the place of what is stored.
                stored.next_if(|stored| stored.key == *key);
                if let Some((_, Some(kv))) = later.next() {
                    return Some(kv);
                }
            }
        }))
    }

    /// The state before this slice of entries at a past revision, or why it cannot be read.
    pub(crate) fn past(&self, revision: Revision) -> Result<View, Refusal> {
        readable(revision, self.revision(), self.pending.header.compacted)?;
        Ok(self.pending.view.clone().at(revision))
    }

    /// Of a key to which this happened last, as `latest` has it.
    pub(crate) fn put(&mut self, before: Option<Record>, key: &Bytes, value: Bytes, lease: i64) {
        let revision = self.next_revision();
        let old = before.as_ref().filter(|before| !before.deleted).map(|before| &before.kv);
        let kv = KeyValue {
            key: key.clone(),
            create_revision: old.map_or(revision, |old| old.create_revision),
            mod_revision: revision,
            version: old.map_or(1, |old| old.version + 1),
            value,
            lease,
        };
        self.change(before, kv, false);
    }

    /// Of a key that is there.
    pub(crate) fn delete(&mut self, key: Bytes) {
        let before = self.latest(&key);
        let kv = KeyValue { key, mod_revision: self.next_revision(), ..KeyValue::default() };
        self.change(before, kv, true);
    }

    fn change(&mut self, before: Option<Record>, kv: KeyValue, deleted: bool) {
        let position = u32::try_from(self.changes.len()).expect("a request has far fewer operations");
        let record = Record::after(before.as_ref(), kv, deleted, position);
        self.latest.insert(record.kv.key.clone(), record.clone());
        self.changes.push((record, before));
    }

    /// Makes the transaction's changes part of what is pending.
    pub(crate) fn commit(self) {
        if self.changes.is_empty() {
            return;
        }
        let (revision, pending) = (self.next_revision(), self.pending);
        pending.header.revision = revision;
        for (new, before) in self.changes {
            let prev_kv = before.clone().and_then(Record::alive);
            let (old, lease) = (prev_kv.as_ref().map_or(0, |old| old.lease), new.kv.lease);
            if old != lease {
                pending.leases.detach(old, &new.kv.key, &mut pending.batch);
                pending.leases.attach(lease, &new.kv.key, &mut pending.batch);
            }
            let row = record::write(&mut pending.batch, before, &new);
            pending.header.hash = new.hashed(&row, pending.header.hash);
            let event = Event { prev_kv, ..new.event() };
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

//! A state that no log led to, from what another store held. It becomes the state of a new group when its directory is
//! opened first.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use proto::authpb::{Role, User};
use proto::mvccpb::KeyValue;

use crate::Error;
use crate::engine::filling::Filling;
use crate::engine::{Batch, Engine, Family};
use crate::machine::codec::{self, Header};
use crate::machine::record::{self, Record};
use crate::machine::{Machine, auth, lease, view};

impl Machine {
    /// Makes what it holds a state that no log led to, without the keys that are no part of it.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn renew(&self, header: Header, gone: &dyn Fn(&KeyValue) -> bool) -> Result<(), Error> {
        let engine = self.inner.engine.read().clone();
        let (view, mut batch) = (self.view(), Batch::default());
        for record in view.alive().filter(|record| gone(&record.kv)) {
            batch.delete(Family::Latest, record.kv.key.clone());
            let mut next = Some(record);
            while let Some(record) = next {
                record::remove(&mut batch, &record);
                next = record.previous.and_then(|place| view::at(view.snapshot(), place));
            }
        }
        let header = Header { hash: view.header().hash, ..header };
        batch.put(Family::Meta, codec::HEADER_KEY, header.encode_to_vec());
        engine.write(batch)?;
        Ok(engine.flush()?)
    }
}

/// See the module. What is loaded is durable once `finish` has returned.
pub(crate) struct Loader {
    filling: Filling,
    /// The newest of each key in the batch.
    latest: HashMap<Bytes, Record>,
    /// Whether anything was written before.
    written: bool,
    /// Checksum over every change, as apply carries it along.
    hash: u32,
    leases: HashSet<i64>,
    /// Whether nothing but the newest of each key is loaded.
    newest: bool,
    /// Keys that end with a lease.
    attached: HashMap<Bytes, i64>,
}

impl Loader {
    /// Into an engine that is empty.
    pub(crate) fn new(engine: Arc<dyn Engine>) -> Self {
        Loader {
            filling: Filling::new(engine),
            latest: HashMap::new(),
            written: false,
            hash: 0,
            leases: HashSet::new(),
            newest: false,
            attached: HashMap::new(),
        }
    }

    /// A lease, and what is left of it; 0: all.
    pub(crate) fn lease(&mut self, id: i64, ttl: i64, remaining: i64) {
        self.leases.insert(id);
        self.filling.batch.put(Family::Lease, lease::row(id, &[]), lease::words(ttl, remaining));
    }

    /// A row of the auth store as it lay there; false where it is none.
    pub(crate) fn auth_row(&mut self, row: Bytes, value: Bytes) -> bool {
        let known = auth::is_row(&row);
        if known {
            self.filling.batch.put(Family::Meta, row, value);
        }
        known
    }

    /// The auth store in etcd's words.
    pub(crate) fn auth(&mut self, enabled: bool, revision: u64, users: &[User], roles: &[Role]) {
        for (row, value) in auth::written(enabled, revision, users, roles) {
            self.filling.batch.put(Family::Meta, row, value);
        }
    }

    /// A change; those of one key come in the order in which they were made.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn change(&mut self, kv: KeyValue, deleted: bool, position: u32) -> Result<(), Error> {
        let key = kv.key.clone();
        if kv.lease == 0 {
            self.attached.remove(&key);
        } else {
            self.attached.insert(key.clone(), kv.lease);
        }
        let before = self.latest.remove(&key).or_else(|| {
            let found = self.written.then(|| view::latest(&*self.filling.engine().snapshot(), &key));
            found.flatten()
        });
        let record = Record::after(before.as_ref(), kv, deleted, position);
        let row = record::write(&mut self.filling.batch, before, &record);
        self.hash = record.hashed(&row, self.hash);
        self.latest.insert(key, record);
        if self.filling.write_if_large()? {
            self.latest.clear();
            self.written = true;
        }
        Ok(())
    }

    /// A key that no other change names.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn key(&mut self, kv: KeyValue, position: u32) -> Result<(), Error> {
        if kv.lease != 0 {
            self.attached.insert(kv.key.clone(), kv.lease);
        }
        self.newest = true;
        let record = Record::after(None, kv, false, position);
        let row = record::write(&mut self.filling.batch, None, &record);
        self.hash = record.hashed(&row, self.hash);
        self.filling.write_if_large()?;
        Ok(())
    }

    /// Ends it with what the machine knows of itself, but for the checksum.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn finish(self, header: Header) -> Result<(), Error> {
        let header = Header { hash: self.hash, ..header };
        self.finish_as(&header)
    }

    /// Ends it with what the machine knows of itself.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn finish_as(mut self, header: &Header) -> Result<(), Error> {
        for (key, id) in self.attached {
            if self.leases.contains(&id) {
                self.filling.batch.put(Family::Lease, lease::row(id, &key), Bytes::new());
            }
        }
        // What came before what is loaded never was here.
        let known = if self.newest { header.revision } else { header.compacted };
        self.filling.batch.put(Family::Meta, codec::FORGOTTEN_KEY, known.to_be_bytes().to_vec());
        self.filling.batch.put(Family::Meta, codec::HEADER_KEY, header.encode_to_vec());
        Ok(self.filling.end()?)
    }
}

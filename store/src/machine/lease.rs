//! PURE: leases and the keys attached to them. When one ends is the leader's decision; it arrives as an entry.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use crate::engine::{Batch, Family, Snapshot};

/// The longest time to live, seconds (etcd `server/lease/lessor.go`).
pub(crate) const TTL_MAX: i64 = 9_000_000_000;

/// One lease.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lease {
    /// Seconds to live after each renewal.
    pub(crate) ttl: i64,
    /// Seconds left as last noted by a leader; 0: all of them.
    pub(crate) remaining: i64,
    /// Keys that end with it.
    pub(crate) keys: BTreeSet<Bytes>,
    /// Tells it apart, on this member, from others that had its id.
    pub(crate) grant: u64,
}

/// What counts a lease down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    /// Seconds to live after each renewal.
    pub(crate) ttl: i64,
    /// Seconds left as last noted by a leader; 0: all of them.
    pub(crate) noted: i64,
    /// Tells it apart, on this member, from others that had its id.
    pub(crate) grant: u64,
}

impl Times {
    pub(crate) fn of(lease: &Lease) -> Self {
        Times { ttl: lease.ttl, noted: lease.remaining, grant: lease.grant }
    }

    /// How long it lives from the beginning of a leadership on.
    pub(crate) fn full(self) -> Duration {
        Duration::from_secs((if self.noted > 0 { self.noted } else { self.ttl }).unsigned_abs())
    }
}

/// All leases, by id.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leases {
    by_id: BTreeMap<i64, Lease>,
    /// Grants so far.
    grants: u64,
}

impl Leases {
    /// Reads them from the engine.
    pub(crate) fn load(snapshot: &dyn Snapshot) -> Self {
        let mut leases = Leases::default();
        for (row, value) in snapshot.scan(Family::Lease, &[], None) {
            let Some((id, key)) = row.split_at_checked(8) else { continue };
            let id = i64::from_be_bytes(id.try_into().expect("split at eight bytes"));
            let lease = leases.by_id.entry(id).or_default();
            if key.is_empty() {
                let word = |at: usize| {
                    value.get(at..at + 8).map_or(0, |word| i64::from_be_bytes(word.try_into().expect("eight")))
                };
                (lease.ttl, lease.remaining) = (word(0), word(8));
            } else {
                lease.keys.insert(row.slice(8..));
            }
        }
        leases
    }

    pub(crate) fn get(&self, id: i64) -> Option<&Lease> {
        self.by_id.get(&id)
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (i64, &Lease)> {
        self.by_id.iter().map(|(id, lease)| (*id, lease))
    }

    pub(crate) fn grant(&mut self, id: i64, ttl: i64, batch: &mut Batch) {
        self.grants += 1;
        self.by_id.insert(id, Lease { ttl, grant: self.grants, ..Lease::default() });
        batch.put(Family::Lease, row(id, &[]), words(ttl, 0));
    }

    /// Notes what is left of a lease; unknown ids are ignored, they were revoked meanwhile.
    pub(crate) fn checkpoint(&mut self, id: i64, remaining: i64, batch: &mut Batch) {
        if let Some(lease) = self.by_id.get_mut(&id) {
            lease.remaining = remaining;
            batch.put(Family::Lease, row(id, &[]), words(lease.ttl, remaining));
        }
    }

    pub(crate) fn revoke(&mut self, id: i64, batch: &mut Batch) {
        batch.delete(Family::Lease, row(id, &[]));
        for key in self.by_id.remove(&id).unwrap_or_default().keys {
            batch.delete(Family::Lease, row(id, &key));
        }
    }

    /// Id 0 is no lease.
    pub(crate) fn attach(&mut self, id: i64, key: &Bytes, batch: &mut Batch) {
        if let Some(lease) = self.by_id.get_mut(&id) {
            lease.keys.insert(key.clone());
            batch.put(Family::Lease, row(id, key), Bytes::new());
        }
    }

    pub(crate) fn detach(&mut self, id: i64, key: &Bytes, batch: &mut Batch) {
        if let Some(lease) = self.by_id.get_mut(&id) {
            lease.keys.remove(key);
            batch.delete(Family::Lease, row(id, key));
        }
    }
}

pub(crate) fn row(id: i64, key: &[u8]) -> Bytes {
    let mut row = BytesMut::with_capacity(8 + key.len());
    row.put_i64(id);
    row.put_slice(key);
    row.freeze()
}

pub(crate) fn words(ttl: i64, remaining: i64) -> Bytes {
    let mut words = BytesMut::with_capacity(16);
    words.put_i64(ttl);
    words.put_i64(remaining);
    words.freeze()
}

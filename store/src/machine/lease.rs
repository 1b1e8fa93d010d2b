//! PURE: leases and the keys attached to them. When one ends is the leader's decision; it arrives as an entry.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use crate::engine::{Batch, Family, Snapshot};

/// The longest time to live, seconds (etcd `server/lease/lessor.go`).
pub(crate) const TTL_MAX: i64 = 9_000_000_000;
/// Changes that wait for whoever counts at most: beyond them all leases are looked at.
const CHANGES_MAX: usize = 100_000;

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
    /// In simulations alone: grants are not told apart.
    pub(crate) alike: bool,
    changes: Changes,
}

/// Leases of which whoever counts them down was not told yet.
#[derive(Clone, Debug, Default)]
enum Changes {
    /// Nobody counts.
    #[default]
    Unwanted,
    All,
    Of(BTreeSet<i64>),
}

/// What whoever counts leases down is told: of leases that are gone, nothing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Changed {
    /// These are all there are, by id.
    All(Vec<(i64, Times)>),
    /// These were granted, revoked or noted.
    Of(Vec<(i64, Option<Times>)>),
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

    /// Takes the place of what is there; whoever counts goes on.
    pub(crate) fn replace(&mut self, loaded: Leases) {
        let changes = if matches!(self.changes, Changes::Unwanted) { Changes::Unwanted } else { Changes::All };
        *self = Leases { changes, alike: self.alike, ..loaded };
    }

    /// From now on somebody counts them down, or nobody.
    pub(crate) fn count(&mut self, wanted: bool) {
        self.changes = if wanted { Changes::All } else { Changes::Unwanted };
    }

    /// What has changed since this was asked last.
    pub(crate) fn changed(&mut self) -> Changed {
        match &mut self.changes {
            Changes::Unwanted => Changed::Of(Vec::new()),
            Changes::All => {
                self.changes = Changes::Of(BTreeSet::new());
                Changed::All(self.by_id.iter().map(|(id, lease)| (*id, Times::of(lease))).collect())
            }
            Changes::Of(ids) => {
                let times = |id: i64| (id, self.by_id.get(&id).map(Times::of));
                Changed::Of(std::mem::take(ids).into_iter().map(times).collect())
            }
        }
    }

    fn note_change(&mut self, id: i64) {
        if let Changes::Of(ids) = &mut self.changes {
            ids.insert(id);
            if ids.len() > CHANGES_MAX {
                self.changes = Changes::All;
            }
        }
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
        self.grants += u64::from(!self.alike);
        self.by_id.insert(id, Lease { ttl, grant: self.grants, ..Lease::default() });
        self.note_change(id);
        batch.put(Family::Lease, row(id, &[]), words(ttl, 0));
    }

    /// Notes what is left of a lease; unknown ids are ignored, they were revoked meanwhile.
    pub(crate) fn checkpoint(&mut self, id: i64, remaining: i64, batch: &mut Batch) {
        if let Some(lease) = self.by_id.get_mut(&id) {
            lease.remaining = remaining;
            batch.put(Family::Lease, row(id, &[]), words(lease.ttl, remaining));
            self.note_change(id);
        }
    }

    pub(crate) fn revoke(&mut self, id: i64, batch: &mut Batch) {
        batch.delete(Family::Lease, row(id, &[]));
        self.note_change(id);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_counts_is_told_of_what_changed_and_nobody_else_costs_memory() {
        let (mut leases, mut batch) = (Leases::default(), Batch::default());
        leases.grant(1, 60, &mut batch);
        assert_eq!(leases.changed(), Changed::Of(Vec::new()), "nobody counts");
        leases.count(true);
        let times = |noted, grant| Times { ttl: 60, noted, grant };
        assert_eq!(leases.changed(), Changed::All(vec![(1, times(0, 1))]));
        leases.grant(2, 60, &mut batch);
        leases.grant(3, 60, &mut batch);
        leases.checkpoint(1, 40, &mut batch);
        leases.revoke(3, &mut batch);
        leases.attach(2, &Bytes::from_static(b"k"), &mut batch);
        let told = vec![(1, Some(times(40, 1))), (2, Some(times(0, 2))), (3, None)];
        assert_eq!(leases.changed(), Changed::Of(told));
        assert_eq!(leases.changed(), Changed::Of(Vec::new()));
        leases.replace(Leases::default());
        assert_eq!(leases.changed(), Changed::All(Vec::new()));
        // Somebody who does not ask is told of all of them in the end.
        for id in 0..=i64::try_from(CHANGES_MAX).expect("small") {
            leases.grant(id, 60, &mut batch);
            leases.revoke(id, &mut batch);
        }
        assert_eq!(leases.changed(), Changed::All(Vec::new()));
        leases.count(false);
        leases.grant(9, 60, &mut batch);
        assert!(matches!(leases.changes, Changes::Unwanted));
    }
}

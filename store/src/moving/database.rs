//! PURE: what etcd keeps in its database: every change that can still be read, leases, users and roles.
//!
//! Source: etcd `server/storage/schema` (3.4 to 3.7 have the same buckets for these), `server/storage/mvcc/{kvstore,revision}.go`,
//! `server/lease/leasepb`.

use bytes::Bytes;
use prost::Message;
use proto::authpb::{Role, User};
use proto::etcdserverpb::AlarmMember;
use proto::mvccpb::event::EventType;
use proto::mvccpb::{Event, KeyValue};

use crate::api::Revision;
use crate::bbolt::{Damaged, Database, Rows, Source, damaged};

/// A lease as etcd stores it.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct StoredLease {
    #[prost(int64, tag = "1")]
    pub(crate) id: i64,
    #[prost(int64, tag = "2")]
    pub(crate) ttl: i64,
    /// As last noted by a leader; 0: all of it.
    #[prost(int64, tag = "3")]
    pub(crate) remaining_ttl: i64,
}

/// A change of one key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Change {
    pub(crate) revision: Revision,
    /// Its place among the changes of that revision.
    pub(crate) position: u32,
    /// Without the value before it.
    pub(crate) event: Event,
}

impl Change {
    pub(crate) fn deletes(&self) -> bool {
        self.event.r#type() == EventType::Delete
    }

    pub(crate) fn kv(&self) -> &KeyValue {
        static NONE: KeyValue = KeyValue {
            key: Bytes::new(),
            create_revision: 0,
            mod_revision: 0,
            version: 0,
            value: Bytes::new(),
            lease: 0,
        };
        self.event.kv.as_ref().unwrap_or(&NONE)
    }
}

/// What a database holds besides changes of keys.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Facts {
    /// The newest revision.
    pub(crate) revision: Revision,
    /// Revisions below cannot be read any more.
    pub(crate) compacted: Revision,
    /// Rows of changes; a few of them may be gone by what is compacted.
    pub(crate) changes: u64,
    /// Rows that change nothing: `etcdutl snapshot restore --bump-revision` leaves one.
    pub(crate) marks: u64,
    pub(crate) leases: Vec<StoredLease>,
    pub(crate) users: Vec<User>,
    pub(crate) roles: Vec<Role>,
    pub(crate) auth_enabled: bool,
    pub(crate) auth_revision: u64,
    pub(crate) alarms: Vec<AlarmMember>,
}

/// An etcd's database.
#[derive(Debug)]
pub(crate) struct EtcdDatabase<S> {
    database: Database<S>,
    pub(crate) facts: Facts,
}

impl<S: Source> EtcdDatabase<S> {
    /// Reads all of it once.
    ///
    /// # Errors
    /// When it is damaged, or holds what no etcd writes.
    pub(crate) fn open(source: S) -> Result<Self, Damaged> {
        let database = Database::open(source)?;
        let word = |bucket: &str, name: &[u8]| -> Result<Option<Bytes>, Damaged> {
            let mut found = None;
            for row in database.bucket(bucket)? {
                let (key, value) = row?;
                if key == name {
                    found = Some(value);
                }
            }
            Ok(found)
        };
        let compacted = |name: &[u8]| -> Result<Revision, Damaged> {
            word("meta", name)?.map_or(Ok(0), |row| place(&row).map(|(revision, ..)| revision))
        };
        // One that was begun is ended by whoever starts with the database.
        let compacted = compacted(b"finishedCompactRev")?.max(compacted(b"scheduledCompactRev")?);
        let auth_revision = word("auth", b"authRevision")?;
        let facts = Facts {
            revision: 0,
            compacted,
            changes: 0,
            marks: 0,
            leases: messages(&database, "lease")?,
            users: messages(&database, "authUsers")?,
            roles: messages(&database, "authRoles")?,
            auth_enabled: word("auth", b"authEnabled")?.is_some_and(|value| value[..] == [1]),
            auth_revision: auth_revision.and_then(|value| value[..].try_into().ok()).map_or(0, u64::from_be_bytes),
            alarms: alarms(&database)?,
        };
        let mut etcd = EtcdDatabase { database, facts };
        let (mut changes, mut marks, mut last) = (0, 0, 1);
        for row in etcd.database.bucket("key")? {
            let (row, value) = row?;
            *(if change(&row, &value)?.is_some() { &mut changes } else { &mut marks }) += 1;
            last = place(&row)?.0;
        }
        // The newest changes may have been deletions, which are gone with what is compacted.
        let facts = &mut etcd.facts;
        (facts.changes, facts.marks, facts.revision) = (changes, marks, last.max(compacted));
        Ok(etcd)
    }

    /// Every change there is, in order.
    ///
    /// # Errors
    /// As `open`.
    pub(crate) fn changes(&self) -> Result<Changes<'_, S>, Damaged> {
        Ok(Changes { rows: self.database.bucket("key")? })
    }
}

/// See `EtcdDatabase::changes`.
pub(crate) struct Changes<'a, S> {
    rows: Rows<'a, S>,
}

impl<S: Source> Iterator for Changes<'_, S> {
    type Item = Result<Change, Damaged>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.rows.next()?.and_then(|(row, value)| change(&row, &value)) {
                Ok(None) => {}
                Ok(Some(change)) => return Some(Ok(change)),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// Revision, position, and whether it is a deletion.
fn place(row: &[u8]) -> Result<(Revision, u32, bool), Damaged> {
    let parsed = || {
        let (main, rest) = row.split_first_chunk::<8>()?;
        let (sub, mark) = rest.strip_prefix(b"_")?.split_first_chunk::<8>()?;
        let revision = Revision::from_be_bytes(*main);
        let position = u32::try_from(u64::from_be_bytes(*sub)).ok()?;
        (revision >= 0 && matches!(mark, b"" | b"t")).then_some((revision, position, mark == b"t"))
    };
    parsed().ok_or_else(|| Damaged(format!("{row:02x?} is no revision of etcd's")))
}

/// A row; none where it changes nothing.
fn change(row: &[u8], value: &Bytes) -> Result<Option<Change>, Damaged> {
    let (revision, position, deletion) = place(row)?;
    if value.is_empty() {
        return Ok(None);
    }
    // A copy of what counts: a key and its value must not keep a whole page.
    let kv = KeyValue::decode(Bytes::copy_from_slice(value));
    let kv = kv.map_err(|error| Damaged(format!("the change at revision {revision}: {error}")))?;
    if kv.key.is_empty() {
        return damaged(format!("the change at revision {revision} has no key"));
    }
    let event = if deletion {
        let kv = KeyValue { key: kv.key, mod_revision: revision, ..KeyValue::default() };
        Event { r#type: EventType::Delete.into(), kv: Some(kv), prev_kv: None }
    } else {
        let sound = kv.mod_revision == revision && (1..=revision).contains(&kv.create_revision) && kv.version > 0;
        if !sound {
            return damaged(format!(
                "the change at revision {revision} says of itself that it is of {}",
                kv.mod_revision
            ));
        }
        Event { r#type: EventType::Put.into(), kv: Some(kv), prev_kv: None }
    };
    Ok(Some(Change { revision, position, event }))
}

fn messages<M: Message + Default, S: Source>(database: &Database<S>, bucket: &str) -> Result<Vec<M>, Damaged> {
    let decode = |row: Result<(Bytes, Bytes), Damaged>| {
        let value = Bytes::copy_from_slice(&row?.1);
        M::decode(value).map_err(|error| Damaged(format!("an entry of the bucket {bucket}: {error}")))
    };
    database.bucket(bucket)?.map(decode).collect()
}

fn alarms<S: Source>(database: &Database<S>) -> Result<Vec<AlarmMember>, Damaged> {
    let decode = |row: Result<(Bytes, Bytes), Damaged>| {
        AlarmMember::decode(row?.0).map_err(|error| Damaged(format!("an alarm: {error}")))
    };
    database.bucket("alarm")?.map(decode).collect()
}

//! Whether two stores hold the same. Everything is looked at, nothing is sampled.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::watch_request::RequestUnion;
use proto::mvccpb::{Event, KeyValue};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::View;
use crate::api::Revision;
use crate::bbolt::Source;
use crate::machine::Machine;
use crate::machine::record::Record;
use crate::machine::view::latest;
use crate::moving::client::{Client, problem};
use crate::moving::database::{Change, EtcdDatabase, Facts};
use crate::moving::{Problem, Progress};

/// Changes looked at between two looks at whether to go on.
const STEP: usize = 1024;
/// Keys asked for at once at first; later as many as make an answer of `PAGE_BYTES`.
const PAGE_KEYS: i64 = 100;
/// See `PAGE_KEYS`.
const PAGE_KEYS_MAX: i64 = 10_000;
/// Bytes of keys and values in an answer, about.
const PAGE_BYTES: usize = 4 << 20;
/// How long an etcd may be silent while it gives its history.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn differ<T>(what: impl std::fmt::Display) -> Result<T, Problem> {
    Err(Problem::Refused(format!("what arrived is not what was there: {what}; nothing was kept, please report this")))
}

/// Compares a state that was loaded with the database it is from; answers how many keys there are now.
pub(super) fn with_database<S: Source>(
    machine: &Machine,
    etcd: &EtcdDatabase<S>,
    progress: &Progress,
) -> Result<u64, Problem> {
    let (view, facts) = (machine.view(), &etcd.facts);
    if (view.revision(), view.header().compacted) != (facts.revision, facts.compacted) {
        return differ(format!("revision {} instead of {}", view.revision(), facts.revision));
    }
    let mut events = Stored::new(&view, 0);
    let mut newest_puts = 0;
    for (number, change) in (0..).zip(etcd.changes()?) {
        let change = change?;
        let held = events.next();
        let same = held.is_some_and(|held| held.position == change.position && held.event() == change.event);
        if !same {
            return differ(format!("the change of {} at revision {}", shown(&change.kv().key), change.revision));
        }
        newest_puts += u64::from(newest(&view, &change)?);
        if number % STEP as u64 == 0 {
            progress.at("changes compared", number, facts.changes)?;
        }
    }
    if let Some(more) = events.next() {
        return differ(format!("a change at revision {} that was not there", more.kv.mod_revision));
    }
    let (mut keys, mut leased) = (0, BTreeMap::<i64, BTreeSet<Bytes>>::new());
    for kv in view.range(&[0], &[0]) {
        keys += 1;
        if kv.lease != 0 {
            leased.entry(kv.lease).or_default().insert(kv.key);
        }
    }
    if keys != newest_puts {
        return differ(format!("{keys} keys instead of {newest_puts}"));
    }
    leases(machine, facts, &leased)?;
    auth(machine, facts)?;
    Ok(keys)
}

/// Whether a change is its key's newest and sets it; that what is the newest now is no older.
fn newest(view: &View, change: &Change) -> Result<bool, Problem> {
    let key = &change.kv().key;
    let last = latest(view.snapshot(), key).filter(|last| last.kv.mod_revision >= change.revision);
    let Some(last) = last else { return differ(format!("the newest value of {}", shown(key))) };
    Ok(!last.deleted && last.kv.mod_revision == change.revision)
}

fn leases(machine: &Machine, facts: &Facts, leased: &BTreeMap<i64, BTreeSet<Bytes>>) -> Result<(), Problem> {
    let held: BTreeMap<i64, (i64, i64)> =
        machine.leases().into_iter().map(|(id, ttl, left)| (id, (ttl, left))).collect();
    let there: BTreeMap<i64, (i64, i64)> =
        facts.leases.iter().map(|lease| (lease.id, (lease.ttl, lease.remaining_ttl))).collect();
    if held != there {
        return differ("leases");
    }
    for id in there.keys() {
        let keys: BTreeSet<Bytes> = machine.lease(*id).map(|(_, keys)| keys).unwrap_or_default().into_iter().collect();
        if leased.get(id).cloned().unwrap_or_default() != keys {
            return differ(format!("the keys of the lease {id:x}"));
        }
    }
    Ok(())
}

fn auth(machine: &Machine, facts: &Facts) -> Result<(), Problem> {
    let held = machine.auth();
    let users = held.all_users().eq(facts.users.iter());
    let roles = held.all_roles().eq(facts.roles.iter());
    // One that was never changed counts from 1.
    let state = (held.enabled, held.revision) == (facts.auth_enabled, facts.auth_revision.max(1));
    if users && roles && state { Ok(()) } else { differ("users, roles or whether anybody is asked") }
}

pub(super) fn shown(key: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(key))
}

/// A store's records in order.
struct Stored<'a> {
    view: &'a View,
    waiting: std::vec::IntoIter<Record>,
    /// The next revision to read; none after the last.
    from: Option<Revision>,
}

impl<'a> Stored<'a> {
    fn new(view: &'a View, from: Revision) -> Self {
        Stored { view, waiting: Vec::new().into_iter(), from: Some(from) }
    }
}

impl Iterator for Stored<'_> {
    type Item = Record;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(record) = self.waiting.next() {
                return Some(record);
            }
            let from = self.from?;
            let (records, upto) = self.view.records(from, STEP);
            self.from = (upto < self.view.revision()).then_some(upto + 1);
            self.waiting = records.into_iter();
        }
    }
}

/// A state that was loaded, and the etcd that it is from.
pub(super) struct Whole<'a> {
    pub(super) client: &'a Client,
    pub(super) view: View,
    pub(super) facts: &'a Facts,
    pub(super) progress: &'a Progress,
}

impl Whole<'_> {
    /// Asks the etcd for its keys and its history, as any client would; answers what was compared.
    pub(super) async fn compare(&self) -> Result<Vec<String>, Problem> {
        let mut lines = Vec::new();
        lines.extend(self.hash().await?);
        let gone = |what: &str| {
            format!(
                "note: the etcd has compacted its history meanwhile: {what} could be compared with the snapshot alone"
            )
        };
        let revision = self.view.revision();
        lines.push(match self.keys().await? {
            Some(keys) => format!("compared with the etcd: {keys} keys at revision {revision}"),
            None => gone("keys"),
        });
        self.client.login().await?;
        lines.push(match self.history().await? {
            Some(events) => format!("compared with the etcd: {events} changes, as a watch gives them"),
            None => gone("changes"),
        });
        Ok(lines)
    }

    /// etcd's own number for all of it, where both count the same.
    async fn hash(&self) -> Result<Option<String>, Problem> {
        let request = pb::HashKvRequest { revision: self.view.revision() };
        let said = match self.client.maintenance().hash_kv(request).await {
            Ok(said) => said.into_inner(),
            Err(status) if status.code() == Code::OutOfRange => return Ok(None),
            Err(status) => return Err(problem("the etcd's HashKV", &status)),
        };
        let ours = self.view.hash();
        if said.compact_revision != ours.compacted || self.facts.marks > 0 {
            return Ok(None);
        }
        if said.hash != ours.hash {
            return differ(format!("HashKV at revision {} is {} instead of {}", ours.revision, ours.hash, said.hash));
        }
        Ok(Some(format!("compared with the etcd: HashKV at revision {} is {} on both", ours.revision, ours.hash)))
    }

    /// Every key at the snapshot's revision; none where it can no longer be read.
    async fn keys(&self) -> Result<Option<u64>, Problem> {
        let (mut kv, mut held) = (self.client.kv(), self.view.range(&[0], &[0]));
        let (mut key, mut limit, mut keys) = (Bytes::from_static(&[0]), PAGE_KEYS, 0);
        loop {
            let revision = self.view.revision();
            let range_end = Bytes::from_static(&[0]);
            let request = pb::RangeRequest { key, range_end, revision, limit, ..pb::RangeRequest::default() };
            let page = match kv.range(request).await {
                Ok(page) => page.into_inner(),
                Err(status) if status.code() == Code::OutOfRange => return Ok(None),
                Err(status) => return Err(problem("the etcd's keys", &status)),
            };
            for theirs in &page.kvs {
                if held.next().as_ref() != Some(theirs) {
                    return differ(format!("the key {}", shown(&theirs.key)));
                }
            }
            keys += page.kvs.len() as u64;
            let left = u64::try_from(page.count).unwrap_or(0);
            self.progress.at("keys compared with the etcd", keys, keys + left.saturating_sub(page.kvs.len() as u64))?;
            let Some(last) = page.kvs.last().filter(|_| page.more) else { break };
            key = after(&last.key);
            limit = next_limit(&page.kvs);
        }
        match held.next() {
            Some(more) => differ(format!("the key {} was not there", shown(&more.key))),
            None => Ok(Some(keys)),
        }
    }

    /// Every change after what is compacted, as a watch gives it; none where the etcd has compacted more by now.
    async fn history(&self) -> Result<Option<u64>, Problem> {
        let (from, mut held) = (self.facts.compacted + 1, Stored::new(&self.view, self.facts.compacted + 1).peekable());
        let (asks, asked) = mpsc::channel(1);
        let create = pb::WatchCreateRequest {
            key: Bytes::from_static(&[0]),
            range_end: Bytes::from_static(&[0]),
            start_revision: from,
            fragment: true,
            ..pb::WatchCreateRequest::default()
        };
        let doing = "the etcd's history";
        let request = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        // There is room for one.
        let _ = asks.try_send(request);
        let answers = self.client.watch().watch(ReceiverStream::new(asked)).await;
        let mut answers = answers.map_err(|status| problem(doing, &status))?.into_inner();
        let mut changes = 0;
        while held.peek().is_some() {
            let answer = tokio::time::timeout(PATIENCE, answers.message()).await;
            let answer = answer.map_err(|_| Problem::Unreachable(format!("{doing}: no answer")))?;
            let Some(answer) = answer.map_err(|status| problem(doing, &status))? else {
                return Err(Problem::Unreachable(format!("{doing}: the watch has ended")));
            };
            if answer.compact_revision > 0 {
                return Ok(None);
            }
            if answer.canceled {
                return Err(Problem::Failed(format!("{doing}: {}", answer.cancel_reason)));
            }
            for theirs in answer.events {
                // What comes after the snapshot is nobody's business.
                let Some(ours) = held.next() else { break };
                if ours.event() != (Event { prev_kv: None, ..theirs.clone() }) {
                    let kv = theirs.kv.unwrap_or_default();
                    return differ(format!("the change of {} at revision {}", shown(&kv.key), kv.mod_revision));
                }
                changes += 1;
            }
            self.progress.at("changes compared with the etcd", changes, self.facts.changes)?;
        }
        Ok(Some(changes))
    }
}

/// The key after a key.
pub(super) fn after(key: &[u8]) -> Bytes {
    [key, &[0]].concat().into()
}

fn next_limit(kvs: &[KeyValue]) -> i64 {
    let bytes: usize = kvs.iter().map(|kv| kv.key.len() + kv.value.len()).sum();
    let each = (bytes / kvs.len().max(1)).max(1);
    i64::try_from(PAGE_BYTES / each).unwrap_or(PAGE_KEYS_MAX).clamp(1, PAGE_KEYS_MAX)
}

//! A store's data to an etcd that runs: its history revision by revision, or its keys as they are now.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::iter::Peekable;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use proto::etcdserverpb as pb;

use crate::api::Revision;
use crate::bbolt::{Damaged, Source};
use crate::moving::client::{Client, problem};
use crate::moving::compare::{differ, shown};
use crate::moving::database::{Change, Changes, EtcdDatabase, Facts};
use crate::moving::file::DatabaseFile;
use crate::moving::import::{blocking, failed, snapshot};
use crate::moving::keeper::Keeper;
use crate::moving::plan::{Kept, Plan, operation};
use crate::moving::replay::Replay;
use crate::moving::{Access, Moved, Problem, Progress, users};

/// Bytes of a transaction of keys without history, about: below what every etcd takes.
const TXN_BYTES: usize = 512 << 10;

/// What is to be exported, and where to.
#[derive(Clone, Debug)]
pub struct Export {
    /// Whence: a member of this store, or any etcd.
    pub from: Access,
    /// Whither.
    pub to: Access,
    /// Only the keys as they are now, at whatever revisions they get.
    pub without_history: bool,
    /// The target may hold something; what has the same names is replaced. Only without history.
    pub force: bool,
    /// Revisions that are made up for those that are compacted, at most.
    pub fill_max: u64,
    /// Operations that the target takes in a transaction.
    pub ops_max: usize,
}

/// Fills the target and compares.
///
/// # Errors
/// When the target is in use, nobody answers, or anything differs.
pub async fn export(asked: Export, progress: Progress) -> Result<Moved, Problem> {
    let from = progress.unless_stopped(Client::connect(&asked.from)).await?;
    let to = progress.unless_stopped(Client::connect(&asked.to)).await?;
    if !asked.force {
        progress.unless_stopped(empty(&to)).await?;
    }
    let scratch = Scratch::new()?;
    progress.say(&format!("reading a snapshot of {}", from.endpoint));
    let source = snapshot(&from, &scratch.dir.join("source.db"), &progress).await?;
    progress.say(&format!("writing to etcd {} at {}", to.version, to.endpoint));
    let way = Way { asked: &asked, from: &from, to: &to, source, scratch: &scratch.dir, progress: &progress };
    if asked.without_history { way.keys().await } else { way.history().await }
}

/// Nobody uses it yet.
async fn empty(to: &Client) -> Result<(), Problem> {
    let all = pb::RangeRequest {
        key: Bytes::from_static(&[0]),
        range_end: Bytes::from_static(&[0]),
        count_only: true,
        ..pb::RangeRequest::default()
    };
    let refused = |what: &str| {
        Err(Problem::Refused(format!(
            "{} {what}: export fills an etcd that is new; start one with an empty data directory, or say --without-history \
             --force to put the keys among what is there",
            to.endpoint
        )))
    };
    let doing = format!("{} does not say what it holds", to.endpoint);
    let found = to.kv().range(all).await.map_err(|status| problem(&doing, &status))?.into_inner();
    let revision = found.header.map_or(0, |header| header.revision);
    if found.count > 0 || revision != 1 {
        return refused(&format!("is at revision {revision} with {} keys", found.count));
    }
    let leases = to.lease().lease_leases(pb::LeaseLeasesRequest {}).await.map_err(|status| problem(&doing, &status))?;
    let users = to.auth().user_list(pb::AuthUserListRequest {}).await.map_err(|status| problem(&doing, &status))?;
    let roles = to.auth().role_list(pb::AuthRoleListRequest {}).await.map_err(|status| problem(&doing, &status))?;
    if !leases.into_inner().leases.is_empty() {
        return refused("has leases");
    }
    if !users.into_inner().users.is_empty() || !roles.into_inner().roles.is_empty() {
        return refused("has users or roles");
    }
    Ok(())
}

struct Way<'a> {
    asked: &'a Export,
    from: &'a Client,
    to: &'a Client,
    source: EtcdDatabase<DatabaseFile>,
    scratch: &'a Path,
    progress: &'a Progress,
}

impl Way<'_> {
    fn facts(&self) -> &Facts {
        &self.source.facts
    }

    /// Each revision again, then the compaction.
    async fn history(&self) -> Result<Moved, Problem> {
        let facts = self.facts();
        let kept = Kept::of(self.source.changes()?, facts.compacted)?;
        let fillers = Plan::new(&kept, self.asked.ops_max).fillers();
        if fillers > self.asked.fill_max {
            return Err(Problem::Refused(format!(
                "{} revisions are compacted, and making up for them takes {fillers} changes: --fill-max {fillers} does it; \
                 `etcdctl snapshot save` and `etcdutl snapshot restore` keep all revisions without that; --without-history \
                 moves the keys as they are now",
                facts.compacted
            )));
        }
        let gone = self.gone_leases(&kept)?;
        let keeper = Keeper::grant(self.to, &facts.leases, &gone, false, self.progress);
        let keeper = self.progress.unless_stopped(keeper).await?;
        let replay = Replay {
            to: self.to,
            etcd: &self.source,
            kept: &kept,
            ops_max: self.asked.ops_max,
            progress: self.progress,
        };
        let mut moved = Moved::default();
        let work = async {
            let unreached = replay.run().await?;
            if unreached > 0 {
                moved
                    .lines
                    .push(format!("note: {unreached} keys have another version: they changed more often than can be"));
            }
            keeper.end(&gone).await?;
            if facts.compacted > 0 {
                let request = pb::CompactionRequest { revision: facts.compacted, physical: true };
                self.to.kv().compact(request).await.map_err(|status| problem("no compaction", &status))?;
            }
            moved.lines.extend(users::write(self.to, facts).await?);
            let target = Arc::new(snapshot(self.to, &self.scratch.join("target.db"), self.progress).await?);
            moved.lines.extend(self.same(&kept, &target).await?);
            moved.lines.extend(self.hash().await?);
            Ok(())
        };
        self.alive(&keeper, work).await?;
        moved.lines.extend(users::enable(self.to, facts).await?);
        Ok(moved)
    }

    /// Does something while leases live.
    async fn alive(&self, keeper: &Keeper<'_>, work: impl Future<Output = Result<(), Problem>>) -> Result<(), Problem> {
        let done = async {
            tokio::select! {
                done = work => done,
                why = keeper.keep() => Err(why),
            }
        };
        self.progress.unless_stopped(done).await
    }

    /// Leases that keys of the history carry and that are no longer there.
    fn gone_leases(&self, kept: &Kept) -> Result<BTreeSet<i64>, Problem> {
        let known: BTreeSet<i64> = self.facts().leases.iter().map(|lease| lease.id).collect();
        let (mut ids, mut carried) = (BTreeSet::new(), HashMap::new());
        for change in self.source.changes()? {
            let change = change?;
            let (key, lease) = (change.kv().key.clone(), change.kv().lease);
            if lease == 0 || known.contains(&lease) {
                carried.remove(&key);
                continue;
            }
            carried.insert(key, lease);
            if kept.counts(&change) {
                ids.insert(lease);
            }
        }
        // Whoever ends such a lease deletes the key.
        match carried.into_iter().next() {
            Some((key, lease)) => Err(Problem::Refused(format!(
                "the key {} carries the lease {lease:x}, which is gone: put it without a lease first",
                shown(&key)
            ))),
            None => Ok(ids),
        }
    }

    /// Compares both databases, change by change.
    async fn same(&self, kept: &Kept, target: &Arc<EtcdDatabase<DatabaseFile>>) -> Result<Vec<String>, Problem> {
        let (facts, theirs) = (self.facts(), &target.facts);
        if (facts.revision, facts.compacted) != (theirs.revision, theirs.compacted) {
            return differ(format!(
                "revision {} compacted to {} instead of {} and {}",
                theirs.revision, theirs.compacted, facts.revision, facts.compacted
            ));
        }
        let (mut changes, mut places) = (0, 0_u64);
        let read = target.clone();
        let also = blocking(move || Ok(Kept::of(read.changes()?, read.facts.compacted)?)).await?;
        let (mut ours, mut there) = (Groups::of(&self.source, kept)?, Groups::of(target, &also)?);
        loop {
            let (one, other) = match (ours.next().transpose()?, there.next().transpose()?) {
                (Some(one), Some(other)) => (one, other),
                (None, None) => break,
                (one, other) => {
                    let more = one.or(other).unwrap_or_default();
                    return differ(format!("revision {}", more.first().map_or(0, |change| change.revision)));
                }
            };
            changes += one.len() as u64;
            // Leases are kept alive by the same task.
            tokio::task::yield_now().await;
            if one == other {
                continue;
            }
            let sorted = |group: &[Change]| {
                group.iter().map(|change| (change.kv().key.clone(), change.event.clone())).collect::<BTreeMap<_, _>>()
            };
            let revision = one.first().map_or(0, |change| change.revision);
            let order = |group: &[Change]| group.iter().map(|change| change.kv().key.clone()).collect::<Vec<_>>();
            let ordered = revision <= facts.compacted || order(&one) == order(&other);
            if !ordered || sorted(&one) != sorted(&other) {
                return differ(format!("revision {revision}"));
            }
            places += 1;
        }
        let mut lines = vec![format!(
            "compared: {changes} changes up to revision {}, compacted to {}, are the same at the same revisions",
            facts.revision, facts.compacted
        )];
        if places > 0 {
            lines.push(format!(
                "note: in {places} transactions changes have other places, because some of them are compacted"
            ));
        }
        lines.extend(leases(facts, theirs)?);
        lines.extend(users::same(facts, theirs, self.to)?);
        Ok(lines)
    }

    /// etcd's own number for all of it.
    async fn hash(&self) -> Result<Option<String>, Problem> {
        let request = pb::HashKvRequest { revision: self.facts().revision };
        let (ours, theirs) =
            (self.from.maintenance().hash_kv(request).await, self.to.maintenance().hash_kv(request).await);
        let (Ok(ours), Ok(theirs)) = (ours, theirs) else { return Ok(None) };
        let (ours, theirs) = (ours.into_inner(), theirs.into_inner());
        let equal = (ours.hash, ours.compact_revision) == (theirs.hash, theirs.compact_revision);
        Ok(equal.then(|| format!("compared: HashKV at revision {} is {} on both", request.revision, ours.hash)))
    }

    /// The keys as they are now, in the order in which they were changed.
    async fn keys(&self) -> Result<Moved, Problem> {
        let facts = self.facts();
        let newest = Newest::of(self.source.changes()?)?;
        let gone = BTreeSet::new();
        let keeper = Keeper::grant(self.to, &facts.leases, &gone, self.asked.force, self.progress);
        let keeper = self.progress.unless_stopped(keeper).await?;
        let known: BTreeSet<i64> = facts.leases.iter().map(|lease| lease.id).collect();
        let mut moved = Moved::default();
        let work = async {
            self.write(&newest, &known).await?;
            moved.lines.extend(users::write(self.to, facts).await?);
            let target = Arc::new(snapshot(self.to, &self.scratch.join("target.db"), self.progress).await?);
            let read = target.clone();
            let there = blocking(move || Ok(Newest::of(read.changes()?)?)).await?;
            for (key, held) in &newest.by_key {
                if there.by_key.get(key).is_none_or(|there| there.value != held.value) {
                    return differ(format!("the key {}", shown(key)));
                }
            }
            moved.lines.push(format!("compared: {} keys have the same values and leases", newest.by_key.len()));
            if !self.asked.force {
                moved.lines.extend(leases(facts, &target.facts)?);
            }
            moved.lines.extend(users::same(facts, &target.facts, self.to)?);
            Ok(())
        };
        self.alive(&keeper, work).await?;
        moved.lines.push("note: revisions, versions and history are not those of the source, as asked for".to_owned());
        moved.lines.extend(users::enable(self.to, facts).await?);
        Ok(moved)
    }

    async fn write(&self, newest: &Newest, leases: &BTreeSet<i64>) -> Result<(), Problem> {
        let (mut ops, mut bytes, mut done) = (Vec::new(), 0, 0);
        let mut changes = self.source.changes()?.peekable();
        while let Some(change) = changes.next() {
            let change = change?;
            if newest.has(&change) {
                bytes += change.kv().key.len() + change.kv().value.len();
                if change.kv().lease != 0 && !leases.contains(&change.kv().lease) {
                    let text = format!("the key {} carries a lease that is gone", shown(&change.kv().key));
                    return Err(Problem::Refused(text));
                }
                ops.push(operation(change));
            }
            if ops.len() >= self.asked.ops_max || bytes >= TXN_BYTES || (changes.peek().is_none() && !ops.is_empty()) {
                done += ops.len() as u64;
                let txn = pb::TxnRequest { success: std::mem::take(&mut ops), ..pb::TxnRequest::default() };
                self.to.kv().txn(txn).await.map_err(|status| problem("keys are not written", &status))?;
                bytes = 0;
                self.progress.at("keys written", done, newest.by_key.len() as u64)?;
            }
        }
        Ok(())
    }
}

fn leases(ours: &Facts, theirs: &Facts) -> Result<Vec<String>, Problem> {
    let ids = |facts: &Facts| facts.leases.iter().map(|lease| lease.id).collect::<BTreeSet<_>>();
    if ids(ours) != ids(theirs) {
        return differ("leases");
    }
    let mut lines = vec![format!("compared: {} leases; their time begins anew", ours.leases.len())];
    for (one, other) in ours.leases.iter().zip(&theirs.leases).filter(|(one, other)| one.ttl != other.ttl) {
        lines.push(format!(
            "note: the lease {:x} lives for {} s instead of {}: the etcd's least",
            one.id, other.ttl, one.ttl
        ));
    }
    Ok(lines)
}

/// Changes that count, by revision.
struct Groups<'a, S: Source> {
    changes: Peekable<Changes<'a, S>>,
    kept: &'a Kept,
}

impl<'a, S: Source> Groups<'a, S> {
    fn of(etcd: &'a EtcdDatabase<S>, kept: &'a Kept) -> Result<Self, Damaged> {
        Ok(Groups { changes: etcd.changes()?.peekable(), kept })
    }
}

impl<S: Source> Iterator for Groups<'_, S> {
    type Item = Result<Vec<Change>, Damaged>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut group: Vec<Change> = Vec::new();
        loop {
            let revision = group.first().map(|change| change.revision);
            let belongs = |change: &Result<Change, Damaged>| match change {
                Ok(change) => revision.is_none_or(|revision| revision == change.revision) || !self.kept.counts(change),
                Err(_) => true,
            };
            match self.changes.next_if(belongs) {
                Some(Ok(change)) if self.kept.counts(&change) => group.push(change),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Some(Err(error)),
                None => return (!group.is_empty()).then_some(Ok(group)),
            }
        }
    }
}

/// The newest change of each key that is there.
struct Newest {
    by_key: HashMap<Bytes, Held>,
}

struct Held {
    place: (Revision, u32),
    /// Stands for the value and the lease.
    value: [u8; 32],
}

impl Newest {
    fn of(changes: impl Iterator<Item = Result<Change, Damaged>>) -> Result<Self, Damaged> {
        let mut by_key = HashMap::new();
        for change in changes {
            let change = change?;
            let kv = change.kv();
            if change.deletes() {
                by_key.remove(&kv.key);
            } else {
                let words = digest(&SHA256, &[&kv.lease.to_be_bytes()[..], &kv.value].concat());
                let value = words.as_ref().try_into().unwrap_or_default();
                by_key.insert(kv.key.clone(), Held { place: (change.revision, change.position), value });
            }
        }
        Ok(Newest { by_key })
    }

    fn has(&self, change: &Change) -> bool {
        self.by_key.get(&change.kv().key).is_some_and(|held| held.place == (change.revision, change.position))
    }
}

/// A directory for snapshots, readable for nobody else; gone in the end.
struct Scratch {
    dir: PathBuf,
}

impl Scratch {
    fn new() -> Result<Self, Problem> {
        let name = format!("raftsman-export-{}-{:x}", std::process::id(), crate::store::random()?);
        let dir = std::env::temp_dir().join(name);
        std::fs::DirBuilder::new().mode(0o700).create(&dir).map_err(|error| failed(&dir, &error))?;
        Ok(Scratch { dir })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

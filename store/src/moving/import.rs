//! An etcd's data as a new data directory, from an etcd that runs or from a file.
//!
//! The directory is made under another name and gets its own once all of it was compared: a directory with the name is whole.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use proto::etcdserverpb as pb;

use crate::bbolt::Source;
use crate::config::KeySource;
use crate::machine::Machine;
use crate::machine::codec::Header;
use crate::moving::client::{Client, problem};
use crate::moving::compare::{self, Whole};
use crate::moving::database::{EtcdDatabase, Facts};
use crate::moving::draft::Draft;
use crate::moving::file::DatabaseFile;
use crate::moving::{Access, Moved, Problem, Progress, file};
use crate::seal::Sealer;
use crate::seal::vault::Vault;

/// Memory for what is written and what was read, bytes.
const MEMORY_BYTES: usize = 64 << 20;
/// Changes between two looks at whether to go on.
const STEP: u64 = 1024;

/// Where data comes from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// An etcd that runs.
    Etcd(Box<Access>),
    /// `etcdctl snapshot save`'s file, or an etcd's `member/snap/db`.
    File(PathBuf),
}

/// What is to be imported, and where to.
#[derive(Clone, Debug)]
pub struct Import {
    /// Whence.
    pub origin: Origin,
    /// A directory that is not there yet, or empty.
    pub data_dir: PathBuf,
    /// What encrypts it, where it is to be encrypted.
    pub encryption: Option<KeySource>,
}

/// Makes the directory; it becomes the store of a new cluster of one member when it is first opened.
///
/// # Errors
/// When the directory is in use, nobody answers, or anything differs: nothing is left then.
pub async fn import(asked: Import, progress: Progress) -> Result<Moved, Problem> {
    let draft = Draft::beside(&asked.data_dir, "importing")?;
    let vault = Vault::open(&draft.dir, asked.encryption.as_ref())?;
    let place = Place { dir: draft.dir.clone(), sealer: vault.map(|vault| vault.sealer().clone()) };
    let moved = match &asked.origin {
        Origin::File(path) => {
            let (path, told) = (path.clone(), progress.clone());
            blocking(move || from_file(&path, &place, &BTreeMap::new(), &told).map(|(moved, _)| moved)).await?
        }
        Origin::Etcd(access) => from_etcd(access, &place, &progress).await?,
    };
    draft.finish(&asked.data_dir)?;
    Ok(moved)
}

/// Where a state is loaded.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) dir: PathBuf,
    pub(super) sealer: Option<Arc<Sealer>>,
}

impl Place {
    pub(super) fn machine(&self) -> Result<Machine, Problem> {
        Ok(Machine::open_sealed(&self.dir.join("state"), None, MEMORY_BYTES, self.sealer.clone())?)
    }
}

pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(Problem::Failed(error.to_string())))
}

async fn from_etcd(access: &Access, place: &Place, progress: &Progress) -> Result<Moved, Problem> {
    let client = progress.unless_stopped(Client::connect(access)).await?;
    progress.say(&format!("reading a snapshot of etcd {} at {}", client.version, client.endpoint));
    let path = place.dir.join("etcd.db");
    progress.unless_stopped(download(&client, &path, progress)).await?;
    let left = progress.unless_stopped(remaining(&client, &path, progress)).await?;
    let (from, into, told) = (path.clone(), place.clone(), progress.clone());
    let (mut moved, facts) = blocking(move || from_file(&from, &into, &left, &told)).await?;
    let machine = place.machine()?;
    let whole = Whole { client: &client, view: machine.view(), facts: &facts, progress };
    client.login().await?;
    moved.lines.extend(progress.unless_stopped(whole.compare()).await?);
    drop((whole, machine));
    fs::remove_file(&path).map_err(|error| failed(&path, &error))?;
    Ok(moved)
}

/// Takes a snapshot into a file, as `etcdctl snapshot save` does.
pub(super) async fn download(client: &Client, path: &Path, progress: &Progress) -> Result<(), Problem> {
    let doing = format!("no snapshot from {}", client.endpoint);
    let wrong = |error: io::Error| failed(path, &error);
    let mut file = File::create(path).map_err(wrong)?;
    let pieces = client.maintenance().snapshot(pb::SnapshotRequest {}).await;
    let mut pieces = pieces.map_err(|status| problem(&doing, &status))?.into_inner();
    let mut done = 0;
    while let Some(piece) = pieces.message().await.map_err(|status| problem(&doing, &status))? {
        file.write_all(&piece.blob).map_err(wrong)?;
        done += piece.blob.len() as u64;
        progress.took(piece.blob.len()).await;
        progress.at("snapshot, bytes", done, done + piece.remaining_bytes)?;
    }
    Ok(())
}

/// What is left of each lease, as the etcd that runs knows better than its database.
pub(super) async fn remaining(
    client: &Client,
    path: &Path,
    progress: &Progress,
) -> Result<BTreeMap<i64, i64>, Problem> {
    let (path, told) = (path.to_owned(), progress.clone());
    let leases = blocking(move || file::open(&path, &told).map(|(etcd, _)| etcd.facts.leases)).await?;
    let (mut left, mut calls) = (BTreeMap::new(), client.lease());
    for (number, lease) in leases.iter().enumerate() {
        let request = pb::LeaseTimeToLiveRequest { id: lease.id, keys: false };
        let said = calls.lease_time_to_live(request).await;
        let said = said.map_err(|status| problem(&format!("no lease {:x}", lease.id), &status))?.into_inner();
        // One that is gone meanwhile ends here too, soon: 0 would stand for all of its time.
        left.insert(lease.id, said.ttl.max(1));
        progress.at("leases", number as u64, leases.len() as u64)?;
    }
    Ok(left)
}

/// Loads a file, and compares what was loaded with it.
fn from_file(
    path: &Path,
    place: &Place,
    left: &BTreeMap<i64, i64>,
    progress: &Progress,
) -> Result<(Moved, Facts), Problem> {
    let (mut etcd, checked) = file::open(path, progress)?;
    sound(&etcd.facts)?;
    for lease in &mut etcd.facts.leases {
        lease.remaining_ttl = left.get(&lease.id).copied().unwrap_or(lease.remaining_ttl);
    }
    load(&etcd, place, progress)?;
    let machine = place.machine()?;
    let keys = compare::with_database(&machine, &etcd, progress)?;
    let mut moved = Moved::default();
    let facts = &etcd.facts;
    moved.lines.push(format!(
        "{keys} keys at revision {}, {} changes that can be read since revision {}",
        facts.revision,
        facts.changes,
        facts.compacted.max(1)
    ));
    moved.lines.push(format!(
        "{} leases, {} users, {} roles; authentication is {}",
        facts.leases.len(),
        facts.users.len(),
        facts.roles.len(),
        if facts.auth_enabled { "on" } else { "off" }
    ));
    moved.lines.push("compared with the database: every change, key, lease, user and role is the same".to_owned());
    if !checked && left.is_empty() {
        moved
            .lines
            .push("note: the file carries no checksum; whether it is what was written cannot be told".to_owned());
    }
    if !facts.alarms.is_empty() {
        moved.lines.push("note: alarms of the etcd's members do not come along".to_owned());
    }
    Ok((moved, etcd.facts))
}

/// What nobody should build on.
pub(super) fn sound(facts: &Facts) -> Result<(), Problem> {
    if facts.alarms.iter().any(|alarm| alarm.alarm() == pb::AlarmType::Corrupt) {
        let text = "the etcd has raised the alarm CORRUPT: its members do not hold the same; repair it first \
                    (`etcdctl endpoint hashkv --cluster` shows which differ)";
        return Err(Problem::Refused(text.to_owned()));
    }
    Ok(())
}

pub(super) fn load<S: Source>(etcd: &EtcdDatabase<S>, place: &Place, progress: &Progress) -> Result<(), Problem> {
    let facts = &etcd.facts;
    let mut loader = Machine::loader(&place.dir.join("state"), MEMORY_BYTES, place.sealer.clone())?;
    for lease in &facts.leases {
        loader.lease(lease.id, lease.ttl, lease.remaining_ttl);
    }
    loader.auth(facts.auth_enabled, facts.auth_revision, &facts.users, &facts.roles);
    for (number, change) in (0..).zip(etcd.changes()?) {
        let change = change?;
        let deleted = change.deletes();
        loader.change(change.event.kv.unwrap_or_default(), deleted, change.position)?;
        if number % STEP == 0 {
            progress.at("changes written", number, facts.changes)?;
        }
    }
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let header = Header {
        revision: facts.revision,
        compacted: facts.compacted,
        time_ms: i64::try_from(time.as_millis()).unwrap_or(i64::MAX),
        ..Header::new()
    };
    Ok(loader.finish(header)?)
}

pub(super) fn failed(path: &Path, error: &io::Error) -> Problem {
    Problem::Failed(format!("{}: {error}", path.display()))
}

/// A snapshot of an etcd in a file that nobody else reads.
pub(super) async fn snapshot(
    client: &Client,
    path: &Path,
    progress: &Progress,
) -> Result<EtcdDatabase<DatabaseFile>, Problem> {
    client.login().await?;
    progress.unless_stopped(download(client, path, progress)).await?;
    let (path, told) = (path.to_owned(), progress.clone());
    blocking(move || file::open(&path, &told).map(|(etcd, _)| etcd)).await
}

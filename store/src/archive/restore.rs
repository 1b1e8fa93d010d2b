//! Restoring from a repository: a base, the entries that follow it, and a data directory that is whole or not there.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, stream};

use crate::api::Revision;
use crate::archive::chain::{Chain, Target, choose, follow};
use crate::archive::compare::{Change, Difference, compare};
use crate::archive::link::{Link, is_named};
use crate::archive::names::{BaseName, Catalogue, SegmentName};
use crate::archive::problem;
use crate::archive::replay::Replay;
use crate::archive::repository::Repository;
use crate::archive::segment::{self, Segment};
use crate::backup::sealed::{self, Keys};
use crate::backup::{self, BackupError, MEMORY_BYTES, Manifest, belongs};
use crate::config::KeySource;
use crate::machine::Machine;
use crate::machine::view::View;
use crate::moving::{Draft, Problem, Progress, blocking};
use crate::seal::Sealer;
use crate::seal::vault::Vault;

/// Segments that are read ahead.
const AHEAD: usize = 8;
/// Names are listed so often at most, where segments became parts of larger ones meanwhile.
const LISTS: usize = 32;

/// What is to be restored from where.
#[derive(Clone, Debug)]
pub struct Restore {
    /// Where the archive lies.
    pub repository: Repository,
    /// What opens it.
    pub keys: Keys,
    /// Which group's; the one that was archived last, if absent.
    pub group: Option<u64>,
    /// Which moment.
    pub target: Target,
}

/// What a restore would change.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The state that would be restored.
    pub revision: Revision,
    /// Its clock. Units: milliseconds since 1970.
    pub time_ms: i64,
    /// The newest state that is archived.
    pub newest: Revision,
    /// Its clock.
    pub newest_ms: i64,
    /// Keys against that one.
    pub difference: Difference,
}

fn wrong(error: BackupError) -> Problem {
    match error {
        BackupError::Store(error) => Problem::Failed(error.to_string()),
        other => Problem::Refused(other.to_string()),
    }
}

pub(super) async fn catalogue(repository: &Repository) -> Result<Catalogue, Problem> {
    let listed = repository.list("", None).await?;
    Ok(Catalogue::of(listed.iter().map(|one| one.name.as_str())))
}

impl Restore {
    async fn chain(&self) -> Result<Chain, Problem> {
        let all = catalogue(&self.repository).await?;
        let group = self.group.or(all.groups().last().copied());
        if let Some(absent) = self.group.filter(|group| !all.groups().contains(group)) {
            let there: Vec<String> = all.groups().iter().map(|group| format!("{group:016x}")).collect();
            let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
            let place = self.repository.place();
            return Err(Problem::Refused(format!("{place}: no archive is of {absent:016x}; there are: {there}")));
        }
        choose(&all.only(group.unwrap_or_default()), self.target)
            .map_err(|why| Problem::Refused(format!("{}: {why}", self.repository.place())))
    }

    /// The base in a directory, as it was.
    pub(super) async fn base(
        &self,
        chain: &Chain,
        dir: &Path,
        sealer: Option<Arc<Sealer>>,
        progress: &Progress,
    ) -> Result<(Replay, Manifest), Problem> {
        let (name, file) = (chain.base.name(), dir.join("base"));
        let told = |done, all| {
            let _ = progress.at("base, bytes", done, all);
        };
        progress.unless_stopped(self.repository.download(&name, &file, told)).await?;
        let (keys, dir, expected, target) = (self.keys.clone(), dir.to_owned(), chain.base.clone(), self.target);
        let progress = progress.clone();
        blocking(move || {
            let opened = fs::File::open(&file);
            let source = opened.and_then(|file| sealed::open(progress.stoppable(file), &keys));
            let source = source.map_err(|error| Problem::Refused(format!("{name}: {error}")))?;
            let manifest = backup::load(source, &dir, sealer.clone(), true).map_err(|error| named(&name, error))?;
            is_base(&expected, &manifest)?;
            fs::remove_file(&file).map_err(problem)?;
            let machine = Machine::open_sealed(&dir.join("state"), None, MEMORY_BYTES, sealer)?;
            Ok((Replay::new(machine, expected.index, target), manifest))
        })
        .await
    }

    /// The segments that follow, until the replay has reached its target.
    pub(super) async fn follow(
        &self,
        chain: &Chain,
        mut replay: Replay,
        progress: &Progress,
    ) -> Result<Replay, Problem> {
        let mut link = Link::behind(chain.base.index, chain.bases.clone());
        let mut segments = chain.segments.clone();
        for _ in 0..LISTS {
            let missing;
            (replay, link, missing) = self.apply(&segments, replay, link, progress).await?;
            let Some(missing) = missing else { return Ok(replay) };
            // It was there when the names were listed: it became part of a larger one since.
            let own = catalogue(&self.repository).await?.only(chain.base.group);
            segments = follow(replay.index(), &own.segments).into_iter().cloned().collect();
            if segments.first().is_none_or(|next| *next == missing) {
                return Err(Problem::Refused(format!("{}: there is no {}", self.repository.place(), missing.name())));
            }
        }
        Err(problem("the archive changes faster than it can be read"))
    }

    /// Applies segments until the target is reached, or one of them is not there any more.
    async fn apply(
        &self,
        segments: &[SegmentName],
        mut replay: Replay,
        mut link: Link,
        progress: &Progress,
    ) -> Result<(Replay, Link, Option<SegmentName>), Problem> {
        let read = |name: String| async move { self.repository.find(&name).await };
        let mut bytes = stream::iter(segments.iter().map(SegmentName::name)).map(read).buffered(AHEAD);
        let all = segments.len() as u64;
        for (number, name) in (0..).zip(segments) {
            progress.at("segments applied", number, all)?;
            if replay.reached() {
                break;
            }
            let Some(read) = progress.unless_stopped(async { bytes.next().await.transpose() }).await? else { break };
            let Some(read) = read else { return Ok((replay, link, Some(name.clone()))) };
            let (keys, expected) = (self.keys.clone(), name.clone());
            (replay, link) = blocking(move || {
                let segment = parse(&expected, read, &keys)?;
                let wrong = |why: String| Problem::Refused(format!("{}: {why}", expected.name()));
                link.take(&segment).map_err(wrong)?;
                replay.segment(&segment).map_err(|error| named(&expected.name(), error))?;
                Ok((replay, link))
            })
            .await?;
        }
        Ok((replay, link, None))
    }

    /// Whether the target is where the replay ended.
    fn met(&self, replay: &Replay) -> Result<(), Problem> {
        match self.target {
            Target::Revision(wanted) if replay.revision() != wanted => {
                Err(Problem::Refused(format!("the archive ends at revision {}", replay.revision())))
            }
            // The clock stands still until the first write: an empty store is nobody's wish.
            Target::Time(_) if replay.revision() <= 1 && replay.machine.view().header().time_ms == 0 => {
                let place = self.repository.place();
                let text =
                    format!("{place}: nothing was written by then; `raftsman backup list {place}` shows from when on");
                Err(Problem::Refused(text))
            }
            _ => Ok(()),
        }
    }
}

pub(super) fn named(name: &str, error: BackupError) -> Problem {
    match wrong(error) {
        Problem::Refused(text) => Problem::Refused(format!("{name}: {text}")),
        other => other,
    }
}

/// Whether a base is what its name says.
pub(super) fn is_base(name: &BaseName, manifest: &Manifest) -> Result<(), Problem> {
    let index = manifest.base.as_ref().map(|base| base.index);
    if (manifest.cluster_id, index, manifest.revision) == (name.group, Some(name.index), name.revision) {
        return Ok(());
    }
    let is = format!("of the cluster {:016x} at revision {}", manifest.cluster_id, manifest.revision);
    Err(Problem::Refused(format!("{}: it is not the base that has this name, but one {is}", name.name())))
}

/// A segment that is what its name says.
pub(super) fn parse(name: &SegmentName, bytes: Bytes, keys: &Keys) -> Result<Segment, Problem> {
    let wrong = |why: &dyn std::fmt::Display| Problem::Refused(format!("{}: {why}", name.name()));
    let source = sealed::open(std::io::Cursor::new(bytes), keys).map_err(|error| wrong(&error))?;
    let segment = segment::read(source).map_err(|error| named(&name.name(), error))?;
    is_named(name, &segment).map_err(|why| wrong(&why))?;
    Ok(segment)
}

/// Makes a data directory of an archive, as `backup::restore` does of a file. `keys` puts into it what else it needs,
/// before it gets its name.
///
/// # Errors
/// When the directory is in use, nothing reaches the target, or anything is damaged: nothing is left then.
pub async fn restore(
    asked: &Restore,
    data_dir: &Path,
    encryption: Option<&KeySource>,
    keys: impl FnOnce(&Path, &Manifest) -> Result<(), Problem>,
    progress: &Progress,
) -> Result<Manifest, Problem> {
    let draft = Draft::beside(data_dir, "restoring")?;
    let chain = asked.chain().await?;
    progress.say(&format!("from {} and {} segments", chain.base.name(), chain.segments.len()));
    let sealer = Vault::open(&draft.dir, encryption)?.map(|vault| vault.sealer().clone());
    let (replay, base) = asked.base(&chain, &draft.dir, sealer, progress).await?;
    let replay = asked.follow(&chain, replay, progress).await?;
    asked.met(&replay)?;
    let manifest = blocking(move || renewed(&replay, base)).await?;
    keys(&draft.dir, &manifest)?;
    draft.finish(data_dir)?;
    Ok(manifest)
}

/// What was replayed becomes the state of a new group.
fn renewed(replay: &Replay, base: Manifest) -> Result<Manifest, Problem> {
    let view = replay.machine.view();
    let epoch = base.epoch.max(view.header().epoch_base);
    let (revision, time_ms) = (view.revision(), view.header().time_ms);
    let keys = view.alive().filter(|record| belongs(&record.kv)).count() as u64;
    let leases = replay.machine.lease_count() as u64;
    let manifest = Manifest { revision, epoch, time_ms, keys, leases, base: None, ..base };
    replay.machine.renew(manifest.raised().map_err(wrong)?, &|kv| !belongs(kv))?;
    Ok(manifest)
}

/// Makes a data directory of a backup's file, the same way.
///
/// # Errors
/// When the directory is in use, or the backup is damaged: nothing is left then.
pub fn restore_file(
    source: impl Read,
    data_dir: &Path,
    encryption: Option<&KeySource>,
    keys: impl FnOnce(&Path, &Manifest) -> Result<(), Problem>,
) -> Result<Manifest, Problem> {
    let draft = Draft::beside(data_dir, "restoring")?;
    let manifest = backup::restore(source, &draft.dir, encryption).map_err(wrong)?;
    keys(&draft.dir, &manifest)?;
    draft.finish(data_dir)?;
    Ok(manifest)
}

fn rows(view: &View) -> impl FnMut() -> Result<Option<proto::mvccpb::KeyValue>, Problem> + '_ {
    let mut rows = view.alive().map(|record| record.kv).filter(belongs);
    move || Ok(rows.next())
}

/// What a restore would change of the newest state that is archived; `each` is told of every key. Writes nothing but to
/// the scratch directory, which is empty and which the caller removes.
///
/// # Errors
/// As `restore`.
pub async fn plan(
    asked: &Restore,
    scratch: PathBuf,
    mut each: impl FnMut(Change, &[u8]) + Send + 'static,
    progress: &Progress,
) -> Result<Plan, Problem> {
    let chain = asked.chain().await?;
    let (replay, _) = asked.base(&chain, &scratch, None, progress).await?;
    let replay = asked.follow(&chain, replay, progress).await?;
    asked.met(&replay)?;
    let then = replay.machine.view();
    let newest = Restore { target: Target::Newest, ..asked.clone() };
    let (whole, beside) = (newest.chain().await?, scratch.join("newest"));
    fs::create_dir_all(&beside).map_err(problem)?;
    let (later, _) = newest.base(&whole, &beside, None, progress).await?;
    let later = newest.follow(&whole, later, progress).await?;
    blocking(move || {
        let now = later.machine.view();
        let difference = compare(rows(&now), rows(&then), |change, kv| each(change, &kv.key))?;
        Ok(Plan {
            revision: then.revision(),
            time_ms: then.header().time_ms,
            newest: now.revision(),
            newest_ms: now.header().time_ms,
            difference,
        })
    })
    .await
}

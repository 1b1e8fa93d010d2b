//! Restoring from a repository: a base, the entries that follow it, and a data directory that is whole or not there.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, stream};

use crate::api::Revision;
use crate::archive::chain::{Chain, Target, choose};
use crate::archive::compare::{Change, Difference, compare};
use crate::archive::names::{Catalogue, HASH_DIGITS};
use crate::archive::problem;
use crate::archive::replay::Replay;
use crate::archive::repository::Repository;
use crate::archive::segment::{self, Segment, hexadecimal};
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

/// An archive of a group, as its names tell of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archived {
    /// The group's id.
    pub group: u64,
    /// From the first base on: revision and clock.
    pub from: (Revision, i64),
    /// To the last segment: revision (0 where it does not say) and clock.
    pub to: (Revision, i64),
    /// How many bases there are.
    pub bases: usize,
    /// How many segments there are.
    pub segments: usize,
    /// The first entry that is missing, where one is.
    pub gap: Option<u64>,
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

async fn catalogue(repository: &Repository) -> Result<Catalogue, Problem> {
    let listed = repository.list("", None).await?;
    Ok(Catalogue::of(listed.iter().map(|one| one.name.as_str())))
}

/// The archives in a repository; the one that was written to last comes last.
///
/// # Errors
/// When nobody answers.
pub async fn archived(repository: &Repository) -> Result<Vec<Archived>, Problem> {
    let all = catalogue(repository).await?;
    let one = |group: u64| {
        let own = all.clone().only(group);
        let first = own.bases.first()?;
        let newest = choose(&own, Target::Newest).ok()?;
        let begin = super::chain::follow(first.index, &own.segments);
        let reached = begin.last().map_or(first.index, |last| last.last);
        let beyond =
            own.segments.iter().any(|next| next.last > reached) || own.bases.iter().any(|base| base.index > reached);
        let last = newest
            .segments
            .last()
            .map_or((newest.base.revision, newest.base.time_ms), |last| (last.revision, last.time_ms));
        Some(Archived {
            group,
            from: (first.revision, first.time_ms),
            to: last,
            bases: own.bases.len(),
            segments: own.segments.len(),
            gap: beyond.then_some(reached + 1),
        })
    };
    Ok(all.groups().into_iter().filter_map(one).collect())
}

impl Restore {
    async fn chain(&self) -> Result<Chain, Problem> {
        let all = catalogue(&self.repository).await?;
        let group = self.group.or(all.groups().last().copied());
        choose(&all.only(group.unwrap_or_default()), self.target)
            .map_err(|why| Problem::Refused(format!("{}: {why}", self.repository.place())))
    }

    /// The base in a directory, as it was.
    async fn base(
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
        let (keys, dir, index, target) = (self.keys.clone(), dir.to_owned(), chain.base.index, self.target);
        blocking(move || {
            let source = fs::File::open(&file).and_then(|file| sealed::open(file, &keys));
            let source = source.map_err(|error| Problem::Refused(format!("{name}: {error}")))?;
            let manifest = backup::load(source, &dir, sealer.clone(), true).map_err(|error| named(&name, error))?;
            fs::remove_file(&file).map_err(problem)?;
            let machine = Machine::open_sealed(&dir.join("state"), None, MEMORY_BYTES, sealer)?;
            Ok((Replay::new(machine, index, target), manifest))
        })
        .await
    }

    /// The segments that follow, until the replay has reached its target.
    async fn follow(&self, chain: &Chain, mut replay: Replay, progress: &Progress) -> Result<Replay, Problem> {
        let read = |name: String| async move { self.repository.get(&name).await.map(|bytes| (name, bytes)) };
        let names = chain.segments.iter().map(|segment| segment.name());
        let mut segments = stream::iter(names).map(read).buffered(AHEAD);
        let all = chain.segments.len() as u64;
        for (number, segment) in (0..).zip(&chain.segments) {
            progress.at("segments applied", number, all)?;
            if replay.reached() {
                break;
            }
            let read = progress.unless_stopped(async { segments.next().await.transpose() }).await?;
            let Some((name, bytes)) = read else { break };
            let (keys, expected) = (self.keys.clone(), segment.hash.clone());
            replay = blocking(move || {
                let segment = parse(&name, bytes, &keys, &expected)?;
                replay.segment(&segment).map_err(|error| named(&name, error))?;
                Ok(replay)
            })
            .await?;
        }
        Ok(replay)
    }

    /// Whether the target is where the replay ended.
    fn met(&self, replay: &Replay) -> Result<(), Problem> {
        match self.target {
            Target::Revision(wanted) if replay.revision() != wanted => {
                Err(Problem::Refused(format!("the archive ends at revision {}", replay.revision())))
            }
            _ => Ok(()),
        }
    }
}

fn named(name: &str, error: BackupError) -> Problem {
    match wrong(error) {
        Problem::Refused(text) => Problem::Refused(format!("{name}: {text}")),
        other => other,
    }
}

/// A segment that is what its name says.
fn parse(name: &str, bytes: Bytes, keys: &Keys, expected: &str) -> Result<Segment, Problem> {
    let source = sealed::open(std::io::Cursor::new(bytes), keys);
    let source = source.map_err(|error| Problem::Refused(format!("{name}: {error}")))?;
    let segment = segment::read(source).map_err(|error| named(name, error))?;
    if hexadecimal(&segment.hash)[..HASH_DIGITS] != *expected {
        return Err(Problem::Refused(format!("{name}: it is not the segment that has this name")));
    }
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

/// Reads all of the newest archive, applies it in a scratch directory that the caller removes, and compares what comes out
/// with what its leaders had.
///
/// # Errors
/// When anything is not as it says.
pub async fn verify(asked: &Restore, scratch: &Path, progress: &Progress) -> Result<Archived, Problem> {
    let all = catalogue(&asked.repository).await?;
    let group = asked.group.or(all.groups().last().copied()).unwrap_or_default();
    let own = all.only(group);
    let Some(first) = own.bases.first().cloned() else {
        return Err(Problem::Refused(format!("{}: there is no archive", asked.repository.place())));
    };
    for base in own.bases.iter().skip(1) {
        let file = scratch.join("base");
        asked.repository.download(&base.name(), &file, |_, _| {}).await?;
        let (keys, name) = (asked.keys.clone(), base.name());
        blocking(move || {
            let source = fs::File::open(&file).and_then(|file| sealed::open(file, &keys)).map_err(problem)?;
            let mut content = backup::Content::open(source).map_err(|error| named(&name, error))?;
            while content.key().map_err(|error| named(&name, error))?.is_some() {}
            fs::remove_file(&file).map_err(problem)
        })
        .await?;
    }
    // From the first base on every segment that is there is applied, as far as they follow each other.
    let mut segments: Vec<_> = super::chain::follow(first.index, &own.segments).into_iter().cloned().collect();
    let end = segments.last().map_or(first.index, |last| last.last);
    let beyond: Vec<_> = own.segments.iter().filter(|segment| !segments.contains(segment)).cloned().collect();
    let time_ms = segments.last().map_or(first.time_ms, |last| last.time_ms);
    let chain = Chain { base: first, segments: std::mem::take(&mut segments), end, time_ms };
    let (replay, _) = asked.base(&chain, scratch, None, progress).await?;
    asked.follow(&chain, replay, progress).await?;
    for segment in beyond {
        let (name, bytes) = (segment.name(), asked.repository.get(&segment.name()).await?);
        let keys = asked.keys.clone();
        blocking(move || parse(&name, bytes, &keys, &segment.hash).map(|_| ())).await?;
    }
    let found = archived(&asked.repository).await?;
    found.into_iter().find(|one| one.group == group).ok_or_else(|| problem("the archive is gone"))
}

//! What lies in a repository, by its names; and whether all of it is what it says.

use std::fs;
use std::path::Path;

use crate::api::Revision;
use crate::archive::chain::{Target, chain, choose, follow};
use crate::archive::problem;
use crate::archive::repository::Repository;
use crate::archive::restore::{Restore, catalogue, is_base, named, parse};
use crate::backup;
use crate::backup::sealed;
use crate::moving::{Problem, Progress, blocking};

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
        let begin = follow(first.index, &own.segments);
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
        progress.unless_stopped(asked.repository.download(&base.name(), &file, |_, _| {})).await?;
        let (keys, base, name, progress) = (asked.keys.clone(), base.clone(), base.name(), progress.clone());
        blocking(move || {
            let opened = fs::File::open(&file);
            let source = opened.and_then(|file| sealed::open(progress.stoppable(file), &keys)).map_err(problem)?;
            let mut content = backup::Content::open(source).map_err(|error| named(&name, error))?;
            is_base(&base, &content.manifest)?;
            while content.key().map_err(|error| named(&name, error))?.is_some() {}
            fs::remove_file(&file).map_err(problem)
        })
        .await?;
    }
    // From the first base on every segment that is there is applied, as far as they follow each other.
    let chain = chain(&first, &own);
    let (replay, _) = asked.base(&chain, scratch, None, progress).await?;
    asked.follow(&chain, replay, progress).await?;
    for segment in own.segments.into_iter().filter(|segment| !chain.segments.contains(segment)) {
        // One that is gone became part of a larger one.
        let Some(bytes) = asked.repository.find(&segment.name()).await? else { continue };
        let keys = asked.keys.clone();
        blocking(move || parse(&segment, bytes, &keys).map(|_| ())).await?;
    }
    let found = archived(&asked.repository).await?;
    found.into_iter().find(|one| one.group == group).ok_or_else(|| problem("the archive is gone"))
}

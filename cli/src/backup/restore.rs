//! `raftsman backup restore`: a data directory of a backup, or of any moment of an archive.

use std::path::Path;
use std::sync::{Arc, Mutex};

use control::cluster::backup::Keys as ClusterKeys;
use control::pki::files::Folder;
use jiff::Timestamp;
use serde_json::json;
use store::archive::{self, Change, Plan, Repository, Target};
use store::backup::Manifest;
use store::moving::Problem;

use crate::backup::place::{Place, fetch};
use crate::backup::scratch::Scratch;
use crate::backup::{Restore, clock, describe, facts, progress, quiet};
use crate::changes;
use crate::exit::{Failure, say};
use crate::moment::shown as moment;
use crate::show;

/// Clocks of machines differ by less. Units: milliseconds.
const CLOCKS_APART: i64 = 60_000;

/// Puts what a cluster's directory holds besides the store into it.
fn keep_keys(dir: &Path, manifest: &Manifest) -> Result<(), Problem> {
    let wrong = |error: &dyn std::fmt::Display| Problem::Failed(format!("{}: {error}", dir.display()));
    if !of_cluster(manifest) {
        return Ok(());
    }
    let keys: ClusterKeys = serde_json::from_value(manifest.extra.clone()).map_err(|error| wrong(&error))?;
    let folder = Folder::open(dir).map_err(|error| wrong(&error))?;
    folder.save(&keys.shared()).map_err(|error| wrong(&error))
}

/// Of a plain store otherwise.
fn of_cluster(manifest: &Manifest) -> bool {
    manifest.extra["authority_key"].is_string()
}

/// Where an archive is to be restored from, if it is one.
async fn source(asked: &Restore) -> Result<Option<archive::Restore>, Failure> {
    let target = match (asked.to_revision, asked.to_time) {
        (Some(revision), _) => Target::Revision(revision),
        (None, Some(time)) => Target::Time(time),
        (None, None) => Target::Newest,
    };
    let chosen = target != Target::Newest || asked.plan || asked.cluster.is_some();
    let place = match Place::parse(&asked.place) {
        Place::Repository { place, id: None } => place,
        _ if chosen => {
            let text = "--to-revision, --to-time, --plan and --cluster are for a repository that members archive to";
            return Err(Failure::usage(text));
        }
        _ => return Ok(None),
    };
    let repository = Repository::existing(&place)?.paced(asked.rate_limit);
    if let Some(time) = asked.to_time.filter(|time| *time > Timestamp::now().as_millisecond() + CLOCKS_APART) {
        // Members' clocks may be ahead of this one's: then what is asked for is there.
        let all = archive::archived(&repository).await?;
        let of_it = all.iter().filter(|one| asked.cluster.is_none_or(|group| group == one.group));
        if let Some(end) = of_it.map(|one| one.to.1).next_back().filter(|end| *end < time) {
            let text = format!("{} is still to come: the archive in {place} ends at {}", moment(time), clock(end));
            return Err(Failure::refused(text));
        }
    }
    if !chosen && archive::archived(&repository).await?.is_empty() {
        return Ok(None);
    }
    Ok(Some(archive::Restore { repository, keys: asked.opened.keys()?, group: asked.cluster, target }))
}

pub(super) async fn run(asked: Restore) -> Result<(), Failure> {
    let source = source(&asked).await?;
    if asked.plan {
        let source = source.ok_or_else(|| Failure::usage("--plan is for a repository that members archive to"))?;
        return plan(&source, &asked).await;
    }
    let Some(data_dir) = &asked.data_dir else { return Err(Failure::usage("--data-dir names the directory")) };
    let (encryption, progress) = (asked.at_rest.clone().source()?, progress());
    let made = match &source {
        Some(source) => {
            let made = archive::restore(source, data_dir, encryption.as_ref(), keep_keys, &progress).await;
            made.map(replayed).map_err(Failure::from)
        }
        None => {
            let keys = asked.opened.keys()?;
            let here = fetch(&Place::parse(&asked.place), &progress).await?;
            let (opened, dir, encryption) = (here.open(&keys)?, data_dir.clone(), encryption.clone());
            let made = tokio::task::spawn_blocking(move || {
                archive::restore_file(opened, &dir, encryption.as_ref(), keep_keys)
            });
            let made = made.await.map_err(|error| Failure::failed(error.to_string()))?;
            made.map_err(|problem| match problem {
                Problem::Refused(text) => Failure::refused(format!("{}: {text}", here.shown)),
                other => Failure::from(other),
            })
        }
    };
    quiet();
    told(&made?, data_dir, &asked, encryption.is_some())
}

/// What is true of a state that entries were applied to: what its base says of the time is not.
fn replayed(mut manifest: Manifest) -> Manifest {
    if let Some(words) = manifest.extra.as_object_mut() {
        words.remove("created");
    }
    manifest
}

fn told(manifest: &Manifest, data_dir: &Path, asked: &Restore, encrypted: bool) -> Result<(), Failure> {
    let dir = data_dir.display();
    if !asked.printed.output.is_table() {
        let mut made = facts(&dir.to_string(), 0, manifest);
        made.as_object_mut().and_then(|made| made.remove("bytes"));
        return show::documents(asked.printed.output, vec![made]);
    }
    say(&format!("{dir}: {}", describe(manifest)))?;
    let key = if encrypted { " and the same key" } else { "" };
    if of_cluster(manifest) {
        say(&format!("start it with: raftsman up --data-dir {dir} and the flags as before{key}"))?;
        return say("Other servers of the old cluster join it anew, with empty data directories.");
    }
    say(&format!(
        "start it with: raftsman store --data-dir {dir} and the flags as before{key}, alone in --initial-cluster"
    ))?;
    say("Others join it with `etcdctl member add` and empty data directories.")
}

async fn plan(source: &archive::Restore, asked: &Restore) -> Result<(), Failure> {
    let (scratch, output) = (Scratch::new()?, asked.printed.output);
    let told = Arc::new(Mutex::new(Vec::new()));
    let (kept, table) = (Arc::clone(&told), output.is_table());
    let each = move |change: Change, key: &[u8]| {
        let key = String::from_utf8_lossy(key);
        if table {
            // One that is not printed is a reader who has seen enough.
            let _ = say(&changes::line(change, &key));
        } else if let Ok(mut kept) = kept.lock() {
            kept.push(changes::document(change, &key));
        }
    };
    let plan = archive::plan(source, scratch.path().to_owned(), each, &progress()).await?;
    quiet();
    let Plan { difference: found, .. } = &plan;
    if !table {
        let told = told.lock().map(|mut told| std::mem::take(&mut *told)).unwrap_or_default();
        let document = json!({
            "revision": plan.revision, "time": moment(plan.time_ms),
            "newestRevision": plan.newest, "newestTime": moment(plan.newest_ms),
            "counts": changes::counts_document(found), "changes": told,
        });
        return show::documents(output, vec![document]);
    }
    say(&format!(
        "restoring revision {} ({}) instead of {} ({}): {} keys come back, {} go, {} become what they were, {} stay",
        plan.revision,
        clock(plan.time_ms),
        plan.newest,
        clock(plan.newest_ms),
        found.added,
        found.removed,
        found.changed,
        found.same
    ))?;
    say("nothing was written")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_replayed_is_of_the_last_entry_not_of_its_base() {
        let manifest = json!({
            "cluster_id": 1, "revision": 9, "epoch": 1, "time_ms": 5000, "keys": 2, "leases": 0, "auth": 0,
            "extra": { "created": "1970-01-01T00:00:01Z", "version": "1" },
        });
        let manifest: Manifest = serde_json::from_value(manifest).expect("a manifest");
        assert!(describe(&manifest).ends_with("taken 1970-01-01T00:00:01Z"));
        assert!(describe(&replayed(manifest)).ends_with("taken 1970-01-01T00:00:05Z"));
    }
}

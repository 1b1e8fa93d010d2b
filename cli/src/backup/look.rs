//! `raftsman backup list`, `verify`, `inspect`, `diff`: what lies where, and what is in it.

use std::path::Path;

use serde_json::{Value, json};
use store::archive::{Archived, Census, Repository, Restore, Target, archived, compare, verify as verify_archive};
use store::backup::sealed::Keys;
use store::backup::{self, Content, Manifest};

use crate::access::Output;
use crate::backup::place::{Here, Place, backups, fetch, id, said};
use crate::backup::scratch::Scratch;
use crate::backup::{describe, facts, failed, progress, quiet};
use crate::changes;
use crate::exit::{Failure, say};
use crate::moment::shown as moment;
use crate::show;

/// Boots a backup in a directory that is removed.
pub(super) fn boot(here: &Here, keys: &Keys) -> Result<Manifest, Failure> {
    let (source, scratch) = (here.open(keys)?, Scratch::new()?);
    backup::verify(source, scratch.path()).map_err(|error| Failure::refused(format!("{}: {error}", here.shown)))
}

/// An archive as programs read about it.
fn archive_facts(archive: &Archived) -> Value {
    json!({
        "cluster": format!("{:016x}", archive.group), "bases": archive.bases, "segments": archive.segments,
        "fromRevision": archive.from.0, "fromTime": moment(archive.from.1),
        "toRevision": archive.to.0, "toTime": moment(archive.to.1), "complete": archive.gap.is_none(),
    })
}

fn archive_line(archive: &Archived) -> String {
    let gap = archive.gap.map(|entry| format!("; log entries from {entry} on are missing before a newer base"));
    format!(
        "archive of {:016x}: revision {} ({}) to {} ({}), {} bases, {} segments{}",
        archive.group,
        archive.from.0,
        moment(archive.from.1),
        archive.to.0,
        moment(archive.to.1),
        archive.bases,
        archive.segments,
        gap.unwrap_or_default()
    )
}

pub(super) async fn list(word: &str, keys: &Keys, output: Output) -> Result<(), Failure> {
    let place = match Place::parse(word) {
        Place::Repository { place, id: None } => place,
        _ => return Err(Failure::failed(format!("{word}: there is no such directory"))),
    };
    let repository = Repository::existing(&place)?;
    let (mut found, mut lines) = (Vec::new(), Vec::new());
    for one in backups(&repository).await? {
        let id = id(&one.name).unwrap_or_default();
        let (created, revision) = said(id).unwrap_or_default();
        lines.push(format!("{place}#{id}  {} bytes  revision {revision}, taken {created}", one.bytes));
        found.push(json!({ "id": id, "created": created, "revision": revision, "bytes": one.bytes }));
    }
    let archives = archived(&repository).await?;
    lines.extend(archives.iter().map(archive_line));
    let archives: Vec<Value> = archives.iter().map(archive_facts).collect();
    for (here, manifest) in files(Path::new(&place), keys) {
        lines.push(format!("{}  {} bytes  {}", here.shown, here.bytes(), describe(&manifest)));
        found.push(facts(&here.shown, here.bytes(), &manifest));
    }
    if !output.is_table() {
        return show::documents(output, vec![json!({ "backups": found, "archives": archives })]);
    }
    if lines.is_empty() {
        return say(&format!("no backups in {place}; encrypted files need --passphrase-file or --identity-file"));
    }
    lines.iter().try_for_each(|line| say(line))
}

/// The backups among a folder's files, by their first blocks: `verify` reads all.
fn files(dir: &Path, keys: &Keys) -> Vec<(Here, Manifest)> {
    let mut entries: Vec<_> =
        std::fs::read_dir(dir).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect();
    entries.sort();
    let read = |path: &std::path::PathBuf| {
        let here = Here::file(path);
        let manifest = backup::manifest(here.open(keys).ok()?).ok()?;
        Some((here, manifest))
    };
    entries.iter().filter(|path| path.is_file()).filter_map(read).collect()
}

pub(super) async fn verify(word: &str, keys: Keys, output: Output) -> Result<(), Failure> {
    match Place::parse(word) {
        Place::Repository { place, id: None } => verify_all(&place, keys, output).await,
        place => {
            let progress = progress();
            let here = fetch(&place, &progress).await?;
            let (shown, bytes) = (here.shown.clone(), here.bytes());
            let manifest = tokio::task::spawn_blocking(move || boot(&here, &keys)).await.map_err(failed)??;
            quiet();
            if !output.is_table() {
                return show::documents(output, vec![facts(&shown, bytes, &manifest)]);
            }
            say(&format!("{shown}: whole; {}", describe(&manifest)))
        }
    }
}

async fn verify_all(place: &str, keys: Keys, output: Output) -> Result<(), Failure> {
    let repository = Repository::existing(place)?;
    let (mut found, mut lines, progress) = (Vec::new(), Vec::new(), progress());
    for one in backups(&repository).await? {
        let wanted = Place::Repository { place: place.to_owned(), id: id(&one.name).map(str::to_owned) };
        let (here, keys) = (fetch(&wanted, &progress).await?, keys.clone());
        let (shown, bytes) = (here.shown.clone(), here.bytes());
        let manifest = tokio::task::spawn_blocking(move || boot(&here, &keys)).await.map_err(failed)??;
        lines.push(format!("{shown}: whole; {}", describe(&manifest)));
        found.push(facts(&shown, bytes, &manifest));
    }
    let mut archives = Vec::new();
    for archive in archived(&repository).await? {
        let (repository, group) = (repository.clone(), Some(archive.group));
        let (asked, scratch) =
            (Restore { repository, keys: keys.clone(), group, target: Target::Newest }, Scratch::new()?);
        let archive = verify_archive(&asked, scratch.path(), &progress).await?;
        lines.push(format!("{}: whole, and applied again it comes to the same", archive_line(&archive)));
        archives.push(archive_facts(&archive));
    }
    quiet();
    if !output.is_table() {
        return show::documents(output, vec![json!({ "backups": found, "archives": archives })]);
    }
    if lines.is_empty() {
        return Err(Failure::refused(format!("{place}: no backup is in it")));
    }
    lines.iter().try_for_each(|line| say(line))
}

pub(super) async fn inspect(word: &str, keys: &Keys, output: Output) -> Result<(), Failure> {
    let here = fetch(&Place::parse(word), &progress()).await?;
    quiet();
    let wrong = |error: backup::BackupError| Failure::refused(format!("{}: {error}", here.shown));
    let mut content = Content::open(here.open(keys)?).map_err(wrong)?;
    let mut census = Census::default();
    while let Some((kv, _)) = content.key().map_err(wrong)? {
        census.count(&kv);
    }
    let manifest = &content.manifest;
    if !output.is_table() {
        let prefixes =
            census.iter().map(|(prefix, keys, bytes)| json!({ "prefix": prefix, "keys": keys, "bytes": bytes }));
        let mut shown = facts(&here.shown, here.bytes(), manifest);
        shown["prefixes"] = prefixes.collect();
        return show::documents(output, vec![shown]);
    }
    say(&format!("{}: {} bytes; {}", here.shown, here.bytes(), describe(manifest)))?;
    say(&format!(
        "cluster {:016x}, {} leases, {} rows of users and roles\n",
        manifest.cluster_id, manifest.leases, manifest.auth
    ))?;
    let rows = census.iter().map(|(prefix, keys, bytes)| vec![shown(prefix), keys.to_string(), bytes.to_string()]);
    show::lines(&["PREFIX", "KEYS", "BYTES"].map(str::to_owned), rows)
}

/// A prefix in a table, where nothing would not be seen.
fn shown(prefix: &str) -> String {
    if prefix.is_empty() { "(none)" } else { prefix }.to_owned()
}

pub(super) async fn diff((a, b): (&str, &str), keys: &Keys, output: Output) -> Result<(), Failure> {
    let progress = progress();
    let (earlier, later) = (fetch(&Place::parse(a), &progress).await?, fetch(&Place::parse(b), &progress).await?);
    quiet();
    let open = |here: &Here| {
        let shown = here.shown.clone();
        let wrong = move |error: backup::BackupError| Failure::refused(format!("{shown}: {error}"));
        Content::open(here.open(keys)?).map_err(&wrong).map(|content| (content, wrong))
    };
    let ((mut old, wrong_old), (mut new, wrong_new)) = (open(&earlier)?, open(&later)?);
    let (mut told, mut printed) = (Vec::new(), Ok(()));
    let found = compare(
        || old.key().map(|row| row.map(|(kv, _)| kv)).map_err(&wrong_old),
        || new.key().map(|row| row.map(|(kv, _)| kv)).map_err(&wrong_new),
        |change, kv| {
            let key = String::from_utf8_lossy(&kv.key);
            if output.is_table() {
                if printed.is_ok() {
                    printed = say(&changes::line(change, &key));
                }
            } else {
                told.push(changes::document(change, &key));
            }
        },
    )?;
    printed?;
    if !output.is_table() {
        let counts = changes::counts_document(&found);
        return show::documents(output, vec![json!({ "counts": counts, "changes": told })]);
    }
    say(&format!("{}, {} the same", changes::counts(&found), found.same))
}

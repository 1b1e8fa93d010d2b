//! `raftsman backup list`, `verify`, `inspect`, `diff`: what lies where, and what is in it.

use std::path::Path;

use serde_json::{Value, json};
use store::archive::{Archived, Census, Repository, Restore, Target, archived, compare, verify as verify_archive};
use store::backup::sealed::{Keys, is_sealed};
use store::backup::{self, BackupError, Content, Damage, Manifest};
use store::moving::Progress;

use crate::access::Output;
use crate::backup::place::{Here, Place, backups, fetch, id, said};
use crate::backup::scratch::Scratch;
use crate::backup::{clock, describe, facts, failed, progress, quiet};
use crate::changes;
use crate::exit::{Failure, say};
use crate::moment::shown as moment;
use crate::show;

/// Boots a backup in a directory that is removed.
pub(super) fn boot(here: &Here, keys: &Keys) -> Result<Manifest, Failure> {
    let (source, scratch) = (here.open(keys)?, Scratch::new()?);
    backup::verify(source, scratch.path()).map_err(|error| match error {
        // That says nothing of the backup.
        BackupError::Store(error) => {
            let dir = scratch.path().display();
            failed(format!("{} cannot be booted in {dir}: {error}; TMPDIR names another place", here.shown))
        }
        damaged => Failure::refused(format!("{}: {damaged}", here.shown)),
    })
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
        clock(archive.from.1),
        archive.to.0,
        clock(archive.to.1),
        archive.bases,
        archive.segments,
        gap.unwrap_or_default()
    )
}

pub(super) async fn list(word: &str, keys: &Keys, output: Output) -> Result<(), Failure> {
    let (mut found, mut lines) = (Vec::new(), Vec::new());
    let place = match Place::parse(word) {
        Place::Repository { place, id: None } => place,
        Place::File(file) if file.is_file() => {
            let here = Here::file(&file);
            let manifest = backup::manifest(here.open(keys)?);
            let manifest = manifest.map_err(|error| Failure::refused(format!("{}: {error}", here.shown)))?;
            lines.push(file_line(&here, &Ok(manifest.clone())));
            found.push(file_facts(&here, &Ok(manifest)));
            return told(output, &lines, found, Vec::new());
        }
        _ => return Err(Failure::refused(format!("{word}: there is no such directory or file"))),
    };
    let repository = Repository::existing(&place)?;
    for one in backups(&repository).await? {
        let id = id(&one.name).unwrap_or_default();
        let (created, revision) = said(id).unwrap_or_default();
        lines.push(format!("{place}#{id}  {} bytes  revision {revision}, taken {created}", one.bytes));
        let file = format!("{place}#{id}");
        found.push(json!({ "file": file, "id": id, "created": created, "revision": revision, "bytes": one.bytes }));
    }
    let archives = archived(&repository).await?;
    lines.extend(archives.iter().map(archive_line));
    let archives: Vec<Value> = archives.iter().map(archive_facts).collect();
    for (here, seen) in files(Path::new(&place), keys) {
        lines.push(file_line(&here, &seen));
        found.push(file_facts(&here, &seen));
    }
    if lines.is_empty() && output.is_table() {
        return say(&format!("no backups in {place}"));
    }
    told(output, &lines, found, archives)
}

/// What was found, for people or programs.
fn told(output: Output, lines: &[String], backups: Vec<Value>, archives: Vec<Value>) -> Result<(), Failure> {
    match output {
        Output::Table | Output::Wide => lines.iter().try_for_each(|line| say(line)),
        Output::Name => backups.into_iter().try_for_each(|one| show::documents(output, vec![one])),
        Output::Json | Output::Yaml => {
            show::documents(output, vec![json!({ "backups": backups, "archives": archives })])
        }
    }
}

/// A backup's manifest, or why it is not seen.
type Seen = Result<Manifest, String>;

fn file_line(here: &Here, seen: &Seen) -> String {
    let holds = seen.as_ref().map_or_else(String::clone, describe);
    format!("{}  {} bytes  {holds}", here.shown, here.bytes())
}

fn file_facts(here: &Here, seen: &Seen) -> Value {
    match seen {
        Ok(manifest) => facts(&here.shown, here.bytes(), manifest),
        Err(why) => json!({ "file": here.shown, "bytes": here.bytes(), "problem": why }),
    }
}

/// The backups among a folder's files, by their first blocks: `verify` reads all.
fn files(dir: &Path, keys: &Keys) -> Vec<(Here, Seen)> {
    let mut entries: Vec<_> =
        std::fs::read_dir(dir).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect();
    entries.sort();
    // One that is being made is no backup yet.
    let whole = |path: &&std::path::PathBuf| path.is_file() && path.extension().is_none_or(|end| end != "partial");
    let look = |path: &std::path::PathBuf| {
        let here = Here::file(path);
        seen(&here, keys).map(|seen| (here, seen))
    };
    entries.iter().filter(whole).filter_map(look).collect()
}

/// None of what is no backup.
fn seen(here: &Here, keys: &Keys) -> Option<Seen> {
    let Ok(source) = here.open(keys) else {
        let sealed = is_sealed(std::fs::File::open(&here.file).ok()?).ok()?;
        let why = "encrypted: --passphrase-file or --identity-file opens it";
        return sealed.then(|| Err(why.to_owned()));
    };
    match backup::manifest(source) {
        Ok(manifest) => Some(Ok(manifest)),
        Err(BackupError::Damage(Damage::Foreign)) => None,
        Err(error) => Some(Err(error.to_string())),
    }
}

pub(super) async fn verify(word: &str, keys: Keys, output: Output) -> Result<(), Failure> {
    match Place::parse(word) {
        Place::Repository { place, id: None } => verify_all(&place, keys, output).await,
        place => {
            let (line, facts) = whole(&place, &keys, &progress()).await?;
            quiet();
            if output.is_table() { say(&line) } else { show::documents(output, vec![facts]) }
        }
    }
}

/// What was found of many, as it is found.
struct Verdicts {
    output: Output,
    backups: Vec<Value>,
    archives: Vec<Value>,
    damaged: Vec<Value>,
}

impl Verdicts {
    /// Notes one: what is damaged hides nothing that is whole.
    fn note(&mut self, of_archive: bool, judged: Result<(String, Value), Failure>) -> Result<(), Failure> {
        quiet();
        match judged {
            Ok((line, facts)) => {
                if of_archive { &mut self.archives } else { &mut self.backups }.push(facts);
                if self.output.is_table() { say(&line) } else { Ok(()) }
            }
            Err(failure) if failure.is_refused() => {
                failure.tell();
                self.damaged.push(failure.text().into());
                Ok(())
            }
            // Nobody answers, or there is no room: that says nothing of what lies there.
            Err(failure) => Err(failure),
        }
    }

    fn end(self, place: &str) -> Result<(), Failure> {
        let (whole, damaged) = (self.backups.len() + self.archives.len(), self.damaged.len());
        match self.output {
            Output::Json | Output::Yaml => {
                let found = json!({ "backups": self.backups, "archives": self.archives, "damaged": self.damaged });
                show::documents(self.output, vec![found])?;
            }
            Output::Name => told(Output::Name, &[], self.backups, Vec::new())?,
            Output::Table | Output::Wide => {}
        }
        match (whole, damaged) {
            (0, 0) => Err(Failure::refused(format!("{place}: no backup is in it"))),
            (_, 0) => Ok(()),
            _ => Err(Failure::refused(format!("{place}: {damaged} of {} are not whole", whole + damaged))),
        }
    }
}

async fn verify_all(place: &str, keys: Keys, output: Output) -> Result<(), Failure> {
    let (repository, progress) = (Repository::existing(place)?, progress());
    let mut verdicts = Verdicts { output, backups: Vec::new(), archives: Vec::new(), damaged: Vec::new() };
    let stored = backups(&repository).await?;
    let stored = stored.iter().filter_map(|one| id(&one.name));
    let stored = stored.map(|id| Place::Repository { place: place.to_owned(), id: Some(id.to_owned()) });
    let beside = files(Path::new(place), &keys).into_iter().map(|(here, _)| Place::File(here.file));
    for one in stored.chain(beside) {
        verdicts.note(false, whole(&one, &keys, &progress).await)?;
    }
    for archive in archived(&repository).await? {
        let (repository, group) = (repository.clone(), Some(archive.group));
        let (asked, scratch) =
            (Restore { repository, keys: keys.clone(), group, target: Target::Newest }, Scratch::new()?);
        let read = verify_archive(&asked, scratch.path(), &progress).await.map_err(Failure::from);
        let told = |archive: Archived| {
            let line = format!("{}: whole, and applied again it comes to the same", archive_line(&archive));
            (line, archive_facts(&archive))
        };
        verdicts.note(true, read.map(told))?;
    }
    verdicts.end(place)
}

/// A backup that was read whole, for people and programs.
async fn whole(place: &Place, keys: &Keys, progress: &Progress) -> Result<(String, Value), Failure> {
    let (here, keys) = (fetch(place, progress).await?, keys.clone());
    let (shown, bytes) = (here.shown.clone(), here.bytes());
    let manifest = tokio::task::spawn_blocking(move || boot(&here, &keys)).await.map_err(failed)??;
    Ok((format!("{shown}: whole; {}", describe(&manifest)), facts(&shown, bytes, &manifest)))
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

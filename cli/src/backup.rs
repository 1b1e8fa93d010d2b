//! `raftsman backup`: one file from a running cluster, and a cluster from that file.

use std::fs::{self, File};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use control::cluster::backup::Keys;
use control::pki::files::Folder;
use http_body_util::BodyExt;
use store::backup::{self, Manifest};
use store::config::KeySource;

use crate::access::{Access, Output};
use crate::exit::{Failure, say};
use crate::flags::AtRest;
use crate::sealed::{self, Source};
use crate::show;

#[derive(Subcommand)]
pub(crate) enum BackupCommand {
    /// Write the whole cluster, its state and its keys, into one file. Whoever has the file has the cluster.
    Create {
        /// Must not exist yet
        file: PathBuf,
        #[command(flatten)]
        passphrase: Passphrase,
        #[command(flatten)]
        access: Access,
    },
    /// Show the backups in a folder.
    List {
        /// Where to look
        #[arg(default_value = ".")]
        dir: PathBuf,
        #[command(flatten)]
        passphrase: Passphrase,
        #[command(flatten)]
        printed: Printed,
    },
    /// Boot a backup in a scratch directory and check every hash and count.
    Verify {
        /// What `create` wrote
        file: PathBuf,
        #[command(flatten)]
        passphrase: Passphrase,
        #[command(flatten)]
        printed: Printed,
    },
    /// Make the data directory of a new cluster of one server, which others can join.
    Restore {
        /// What `create` wrote
        file: PathBuf,
        #[command(flatten)]
        passphrase: Passphrase,
        #[command(flatten)]
        printed: Printed,
        /// Must not exist yet, or be empty
        #[arg(long, value_name = "NEW")]
        data_dir: PathBuf,
        #[command(flatten)]
        at_rest: AtRest,
    },
}

/// What encrypts a backup.
#[derive(Args, Clone)]
pub(crate) struct Passphrase {
    /// The file is encrypted (age) with the first line of this one
    #[arg(long, env = "RAFTSMAN_PASSPHRASE_FILE", value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

/// How to print.
#[derive(Args, Clone)]
pub(crate) struct Printed {
    /// Text for people, the rest for programs
    #[arg(long, short, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// A backup, as programs read about it: never its keys.
fn facts(file: &Path, manifest: &Manifest) -> serde_json::Value {
    serde_json::json!({
        "file": file.display().to_string(), "keys": manifest.keys, "leases": manifest.leases,
        "revision": manifest.revision, "created": manifest.extra["created"], "version": manifest.extra["version"],
        "bytes": fs::metadata(file).map(|facts| facts.len()).unwrap_or(0),
    })
}

fn failed(path: &Path) -> impl Fn(&dyn std::fmt::Display) -> Failure + '_ {
    move |error| Failure::failed(format!("{}: {error}", path.display()))
}

pub(crate) async fn run(command: BackupCommand) -> Result<(), Failure> {
    match command {
        BackupCommand::Create { file, passphrase, access } => create(&file, &passphrase, &access).await,
        BackupCommand::List { dir, passphrase, printed } => list(&dir, &passphrase, printed.output),
        BackupCommand::Verify { file, passphrase, printed } => {
            let manifest = verify(&file, &passphrase)?;
            if !printed.output.is_table() {
                return show::documents(printed.output, vec![facts(&file, &manifest)]);
            }
            say(&format!("{}: whole; {}", file.display(), describe(&manifest)))
        }
        BackupCommand::Restore { file, passphrase, printed, data_dir, at_rest } => {
            let encryption = at_rest.source()?;
            let manifest = restore(&file, &passphrase, &data_dir, encryption.as_ref())?;
            if !printed.output.is_table() {
                return show::documents(printed.output, vec![facts(&file, &manifest)]);
            }
            say(&format!("{}: {}", data_dir.display(), describe(&manifest)))?;
            let key = if encryption.is_some() { " and the same key" } else { "" };
            say(&format!("start it with: raftsman up --data-dir {}{key}", data_dir.display()))?;
            say("Other servers of the old cluster join it anew, with empty data directories.")
        }
    }
}

fn describe(manifest: &Manifest) -> String {
    let (keys, revision) = (manifest.keys, manifest.revision);
    let made = manifest.extra["created"].as_str().unwrap_or("at an unknown time");
    format!("{keys} keys at revision {revision}, taken {made}")
}

/// Written beside its name first: a file with the name is whole.
async fn create(file: &Path, passphrase: &Passphrase, access: &Access) -> Result<(), Failure> {
    if file.exists() {
        return Err(Failure::refused(format!("{} exists; a backup never overwrites a file", file.display())));
    }
    let wrong = failed(file);
    let draft = file.with_extension("partial");
    let mut options = File::options();
    let sink = options.create(true).truncate(true).write(true).mode(0o600).open(&draft).map_err(|e| wrong(&e))?;
    let mut sink = sealed::Sink::new(sink, passphrase.read()?).map_err(|error| wrong(&error))?;
    let mut body = access.stream("backup").await?;
    let mut total = 0_u64;
    while let Some(frame) = body.frame().await {
        if let Ok(piece) = frame.map_err(|error| wrong(&error))?.into_data() {
            sink.write(&piece).map_err(|error| wrong(&error))?;
            total += piece.len() as u64;
        }
    }
    sink.finish().map_err(|error| wrong(&error))?;
    let manifest = verify(&draft, passphrase)?;
    fs::rename(&draft, file).map_err(|error| wrong(&error))?;
    if !access.output.is_table() {
        return show::documents(access.output, vec![facts(file, &manifest)]);
    }
    say(&format!("{}: {total} bytes; {}; verified", file.display(), describe(&manifest)))?;
    say("It holds the cluster's keys: keep it as you keep them.")
}

impl Passphrase {
    fn read(&self) -> Result<Option<sealed::Secret>, Failure> {
        let Some(file) = &self.passphrase_file else { return Ok(None) };
        let secret = sealed::passphrase(file).map_err(|why| Failure::usage(format!("{}: {why}", file.display())))?;
        Ok(Some(secret))
    }
}

fn open(file: &Path, passphrase: &Passphrase) -> Result<Source, Failure> {
    sealed::open(file, passphrase.read()?).map_err(|error| Failure::refused(format!("{}: {error}", file.display())))
}

fn verify(file: &Path, passphrase: &Passphrase) -> Result<Manifest, Failure> {
    let source = open(file, passphrase)?;
    let scratch = std::env::temp_dir().join(format!("raftsman-verify-{}", std::process::id()));
    fs::DirBuilder::new().mode(0o700).create(&scratch).map_err(|error| failed(&scratch)(&error))?;
    let found = backup::verify(source, &scratch);
    let removed = fs::remove_dir_all(&scratch);
    let manifest = found.map_err(|error| Failure::refused(format!("{}: {error}", file.display())))?;
    removed.map_err(|error| failed(&scratch)(&error))?;
    Ok(manifest)
}

fn list(dir: &Path, passphrase: &Passphrase, output: Output) -> Result<(), Failure> {
    let wrong = failed(dir);
    let mut found = Vec::new();
    let mut entries: Vec<PathBuf> =
        fs::read_dir(dir).map_err(|error| wrong(&error))?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    entries.sort();
    for path in entries.iter().filter(|path| path.is_file()) {
        // Only the first block is read: `verify` reads all.
        let Ok(source) = open(path, passphrase) else { continue };
        if let Ok(manifest) = backup::manifest(source) {
            if output.is_table() {
                let size = fs::metadata(path).map(|facts| facts.len()).unwrap_or(0);
                say(&format!("{}  {size} bytes  {}", path.display(), describe(&manifest)))?;
            }
            found.push(facts(path, &manifest));
        }
    }
    if !output.is_table() {
        return show::documents(output, vec![serde_json::json!({ "backups": found })]);
    }
    let hint = "; encrypted ones need --passphrase-file";
    if found.is_empty() { say(&format!("no backups in {}{hint}", dir.display())) } else { Ok(()) }
}

/// Made beside its name first: a directory with the name is whole.
fn restore(
    file: &Path,
    passphrase: &Passphrase,
    data_dir: &Path,
    encryption: Option<&KeySource>,
) -> Result<Manifest, Failure> {
    let wrong = failed(data_dir);
    let source = open(file, passphrase)?;
    if fs::read_dir(data_dir).is_ok_and(|mut entries| entries.next().is_some()) {
        let text = format!("{} is not empty; a restore never overwrites a data directory", data_dir.display());
        return Err(Failure::refused(text));
    }
    let draft = data_dir.with_extension("restoring");
    if draft.exists() {
        fs::remove_dir_all(&draft).map_err(|error| wrong(&error))?;
    }
    fs::create_dir_all(&draft).map_err(|error| wrong(&error))?;
    let manifest = match backup::restore(source, &draft, encryption) {
        Ok(manifest) => manifest,
        Err(error) => {
            // Worthless, and must not be taken for a data directory.
            let _ = fs::remove_dir_all(&draft);
            return Err(Failure::refused(format!("{}: {error}", file.display())));
        }
    };
    let keys: Keys = serde_json::from_value(manifest.extra.clone()).map_err(|error| wrong(&error))?;
    let folder = Folder::open(&draft).map_err(|error| wrong(&error))?;
    folder.save(&keys.shared()).map_err(|error| wrong(&error))?;
    if data_dir.exists() {
        fs::remove_dir(data_dir).map_err(|error| wrong(&error))?;
    }
    fs::rename(&draft, data_dir).map_err(|error| wrong(&error))?;
    Ok(manifest)
}

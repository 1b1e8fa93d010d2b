//! `raftsman backup`: one file from a running cluster, and a cluster from that file.

use std::fs::{self, File};
use std::io::{BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use control::cluster::backup::Keys;
use control::pki::files::Folder;
use http_body_util::BodyExt;
use store::backup::{self, Manifest};

use crate::admin::Access;
use crate::exit::{Failure, say};

#[derive(Subcommand)]
pub(crate) enum BackupCommand {
    /// Write the whole cluster, its state and its keys, into one file. Whoever has the file has the cluster.
    Create {
        /// Must not exist yet
        file: PathBuf,
        #[command(flatten)]
        access: Access,
    },
    /// Show the backups in a folder.
    List {
        #[arg(default_value = ".")]
        dir: PathBuf,
    },
    /// Boot a backup in a scratch directory and check every hash and count.
    Verify { file: PathBuf },
    /// Make the data directory of a new cluster of one server, which others can join.
    Restore {
        file: PathBuf,
        /// Must not exist yet, or be empty
        #[arg(long, value_name = "NEW")]
        data_dir: PathBuf,
    },
}

fn failed(path: &Path) -> impl Fn(&dyn std::fmt::Display) -> Failure + '_ {
    move |error| Failure::failed(format!("{}: {error}", path.display()))
}

pub(crate) async fn run(command: BackupCommand) -> Result<(), Failure> {
    match command {
        BackupCommand::Create { file, access } => create(&file, &access).await,
        BackupCommand::List { dir } => list(&dir),
        BackupCommand::Verify { file } => {
            let manifest = verify(&file)?;
            say(&format!("{}: whole; {}", file.display(), describe(&manifest)))
        }
        BackupCommand::Restore { file, data_dir } => restore(&file, &data_dir),
    }
}

fn describe(manifest: &Manifest) -> String {
    let (keys, revision) = (manifest.keys, manifest.revision);
    let made = manifest.extra["created"].as_str().unwrap_or("at an unknown time");
    format!("{keys} keys at revision {revision}, taken {made}")
}

/// Written beside its name first: a file with the name is whole.
async fn create(file: &Path, access: &Access) -> Result<(), Failure> {
    if file.exists() {
        return Err(Failure::refused(format!("{} exists; a backup never overwrites a file", file.display())));
    }
    let wrong = failed(file);
    let draft = file.with_extension("partial");
    let mut options = File::options();
    let mut sink = options.create(true).truncate(true).write(true).mode(0o600).open(&draft).map_err(|e| wrong(&e))?;
    let mut body = access.stream("backup").await?;
    let mut total = 0_u64;
    while let Some(frame) = body.frame().await {
        if let Ok(piece) = frame.map_err(|error| wrong(&error))?.into_data() {
            sink.write_all(&piece).map_err(|error| wrong(&error))?;
            total += piece.len() as u64;
        }
    }
    sink.sync_all().map_err(|error| wrong(&error))?;
    let manifest = verify(&draft)?;
    fs::rename(&draft, file).map_err(|error| wrong(&error))?;
    say(&format!("{}: {total} bytes; {}; verified", file.display(), describe(&manifest)))?;
    say("It holds the cluster's keys: keep it as you keep them.")
}

fn open(file: &Path) -> Result<BufReader<File>, Failure> {
    File::open(file).map(BufReader::new).map_err(|error| failed(file)(&error))
}

fn verify(file: &Path) -> Result<Manifest, Failure> {
    let scratch = std::env::temp_dir().join(format!("raftsman-verify-{}", std::process::id()));
    fs::DirBuilder::new().create(&scratch).map_err(|error| failed(&scratch)(&error))?;
    let found = backup::verify(open(file)?, &scratch);
    let removed = fs::remove_dir_all(&scratch);
    let manifest = found.map_err(|error| Failure::refused(format!("{}: {error}", file.display())))?;
    removed.map_err(|error| failed(&scratch)(&error))?;
    Ok(manifest)
}

fn list(dir: &Path) -> Result<(), Failure> {
    let wrong = failed(dir);
    let mut found = 0;
    let mut entries: Vec<PathBuf> =
        fs::read_dir(dir).map_err(|error| wrong(&error))?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    entries.sort();
    for path in entries.iter().filter(|path| path.is_file()) {
        // Only the first block is read: `verify` reads all.
        if let Ok(manifest) = backup::manifest(open(path)?) {
            found += 1;
            let size = fs::metadata(path).map(|facts| facts.len()).unwrap_or(0);
            say(&format!("{}  {size} bytes  {}", path.display(), describe(&manifest)))?;
        }
    }
    if found == 0 { say(&format!("no backups in {}", dir.display())) } else { Ok(()) }
}

/// Made beside its name first: a directory with the name is whole.
fn restore(file: &Path, data_dir: &Path) -> Result<(), Failure> {
    let wrong = failed(data_dir);
    if fs::read_dir(data_dir).is_ok_and(|mut entries| entries.next().is_some()) {
        let text = format!("{} is not empty; a restore never overwrites a data directory", data_dir.display());
        return Err(Failure::refused(text));
    }
    let draft = data_dir.with_extension("restoring");
    if draft.exists() {
        fs::remove_dir_all(&draft).map_err(|error| wrong(&error))?;
    }
    fs::create_dir_all(&draft).map_err(|error| wrong(&error))?;
    let manifest = match backup::restore(open(file)?, &draft) {
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
    say(&format!("{}: {}", data_dir.display(), describe(&manifest)))?;
    say(&format!("start it with: raftsman up --data-dir {}", data_dir.display()))?;
    say("Other servers of the old cluster join it anew, with empty data directories.")
}

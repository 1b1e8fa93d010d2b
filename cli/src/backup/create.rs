//! `raftsman backup create`.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use http_body_util::BodyExt;
use store::archive::{Pace, Repository, pieces};
use store::backup::Manifest;
use store::backup::sealed::{Keys, Lock, Sink};
use store::moving;

use crate::access::Access;
use crate::backup::look::boot;
use crate::backup::place::{Here, Place, backups, name, new_id};
use crate::backup::scratch::Scratch;
use crate::backup::{created, describe, facts, failed, progress, quiet};
use crate::endpoints::Endpoints;
use crate::exit::{Failure, say};
use crate::show;

/// Writes a backup, of a plain store where endpoints are named, and checks it.
pub(super) async fn run(
    place: &str,
    rate: Option<u64>,
    lock: &Lock,
    store: &Endpoints,
    access: &Access,
) -> Result<(), Failure> {
    let (scratch, (lock, keys)) = (Scratch::new()?, lock.checkable());
    let (draft, repository) = match Place::parse(place) {
        Place::File(file) if file.exists() => {
            let text = format!("{} exists; a backup never overwrites a file", file.display());
            return Err(Failure::refused(text));
        }
        // Beside its name: a file with the name is whole.
        Place::File(file) => {
            let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
            if let Some(parent) = parent.filter(|parent| !parent.is_dir()) {
                return Err(Failure::refused(format!("{}: there is no such directory", parent.display())));
            }
            (partial(&file), None)
        }
        Place::Repository { id: Some(_), .. } => {
            return Err(Failure::usage(format!("{place}: a new backup gets its id by itself")));
        }
        Place::Repository { place, id: None } => {
            let repository = Repository::open(&place)?;
            // A bucket that is away or refuses is found out before the store is read.
            backups(&repository).await?;
            (scratch.path().join("backup"), Some(repository.paced(rate)))
        }
    };
    let mut options = File::options();
    let sink = options.create(true).truncate(true).write(true).mode(0o600).open(&draft);
    let sink = sink.map_err(|error| failed(format!("{}: {error}", draft.display())))?;
    let sink = lock.wrap(Named { file: sink, path: draft.clone() }).map_err(failed)?;
    let sink = if store.endpoints.is_empty() {
        of_cluster(access, sink, rate).await
    } else {
        of_store(store, sink, rate, scratch.path()).await
    };
    quiet();
    let written = sink.and_then(|sink| sink.finish().and_then(|named| named.file.sync_all()).map_err(failed));
    let made = match written {
        Ok(()) => checked(&draft, keys).await,
        Err(failure) => Err(failure),
    };
    let manifest = made.inspect_err(|_| {
        // Worthless.
        let _ = fs::remove_file(&draft);
    })?;
    let bytes = fs::metadata(&draft).map_err(failed)?.len();
    let shown = match repository {
        Some(repository) => {
            let taken = created(&manifest).parse().unwrap_or_else(|_| jiff::Timestamp::now());
            let id = new_id(taken, manifest.revision);
            upload(&repository, &name(&id), draft).await?;
            format!("{place}#{id}")
        }
        None => {
            fs::rename(&draft, place).map_err(|error| failed(format!("{place}: {error}")))?;
            place.to_owned()
        }
    };
    if !access.output.is_table() {
        return show::documents(access.output, vec![facts(&shown, bytes, &manifest)]);
    }
    say(&format!("{shown}: {bytes} bytes; {}; verified", describe(&manifest)))?;
    let (what, keeps) = if manifest.extra["authority_key"].is_string() {
        ("the cluster's keys", "as you keep them")
    } else {
        ("everything in the store", "as safe as that")
    };
    say(&format!("It holds {what}: keep it {keeps}."))
}

/// A file whose name stands in what is wrong with it.
struct Named {
    file: File,
    path: PathBuf,
}

impl Write for Named {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let wrong = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", self.path.display()));
        self.file.write(bytes).map_err(wrong)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn partial(file: &Path) -> PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    file.with_file_name(name)
}

async fn of_cluster(access: &Access, mut sink: Sink<Named>, rate: Option<u64>) -> Result<Sink<Named>, Failure> {
    let (progress, pace) = (progress(), Pace::new(rate));
    let mut body = access.stream("backup").await?;
    let mut total = 0_u64;
    while let Some(frame) = progress.unless_stopped(async { Ok(body.frame().await) }).await? {
        if let Ok(piece) = frame.map_err(failed)?.into_data() {
            sink.write_all(&piece).map_err(failed)?;
            total += piece.len() as u64;
            pace.took(piece.len()).await;
            progress.at("received, bytes", total, total)?;
        }
    }
    Ok(sink)
}

async fn of_store(
    store: &Endpoints,
    sink: Sink<Named>,
    rate: Option<u64>,
    scratch: &Path,
) -> Result<Sink<Named>, Failure> {
    let extra = serde_json::json!({
        "created": jiff::Timestamp::now().to_string(), "version": env!("CARGO_PKG_VERSION"),
    });
    let dir = scratch.join("store");
    fs::create_dir(&dir).map_err(failed)?;
    let made = moving::backup(&store.access()?, &dir, extra, sink, progress().paced(rate)).await;
    made.map(|(_, sink)| sink).map_err(Failure::from)
}

/// Boots what was written.
async fn checked(draft: &Path, keys: Keys) -> Result<Manifest, Failure> {
    let here = Here::file(draft);
    tokio::task::spawn_blocking(move || boot(&here, &keys)).await.map_err(failed)?
}

async fn upload(repository: &Repository, name: &str, file: PathBuf) -> Result<(), Failure> {
    let ((mut writer, given), progress) = (pieces(), progress());
    let reading = tokio::task::spawn_blocking(move || {
        io::copy(&mut progress.stoppable(File::open(file)?), &mut writer)?;
        writer.end()
    });
    let (uploaded, read) = tokio::join!(repository.upload(name, given), reading);
    // Whoever reads no more says better why.
    match read.map_err(failed)? {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(failed(error)),
        _ => uploaded.map(drop).map_err(Failure::from),
    }
}

//! Receiving a snapshot: what an earlier attempt left is kept, nothing counts before every checksum holds.

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use proto::peer::{self, snapshot_answer::Answer, snapshot_part::Part};
use tokio::sync::OwnedMutexGuard;
use tonic::{Status, Streaming};

use crate::edge::blocking;
use crate::edge::files::{self, File};
use crate::raft::apply::parse_position;
use crate::raft::checkpoint::{Checkpoint, Checkpoints};
use crate::raft::transfer::{PROGRESS, list};
use crate::raft::types::{Meta, Raft, Snapshot};
use crate::raft::wire::{self, invalid};

/// Why a snapshot is not taken.
const SEALED: &str = "the snapshot is encrypted: start this member with the others' --encryption-key-file or \
                      --encryption-passphrase-file, and an empty data directory";

/// How far a snapshot has come.
enum Stage {
    Begun(Streaming<peer::SnapshotPart>),
    Wanting {
        parts: Streaming<peer::SnapshotPart>,
        manifest: Box<peer::SnapshotManifest>,
        missing: Vec<peer::SnapshotFile>,
    },
    Done,
}

/// Takes part in one transfer; the answers are computed as they are asked for.
///
/// # Errors
/// While another transfer is under way.
pub(crate) fn answers(
    raft: Raft,
    checkpoints: Arc<Checkpoints>,
    parts: Streaming<peer::SnapshotPart>,
) -> Result<impl Stream<Item = Result<peer::SnapshotAnswer, Status>> + Send, Status> {
    let alone = checkpoints.receiving.clone().try_lock_owned();
    let alone = alone.map_err(|_| Status::resource_exhausted("another snapshot is being received"))?;
    let transfer = Arc::new(Transfer { raft, checkpoints, _alone: alone });
    Ok(stream::try_unfold(Stage::Begun(parts), move |stage| {
        let transfer = transfer.clone();
        async move {
            let (answer, stage) = match stage {
                Stage::Begun(parts) => transfer.begin(parts).await.map_err(failed)?,
                Stage::Wanting { parts, manifest, missing } => {
                    let vote = transfer.finish(parts, &manifest, missing).await.map_err(failed)?;
                    (Answer::Vote(vote), Stage::Done)
                }
                Stage::Done => return Ok(None),
            };
            Ok(Some((peer::SnapshotAnswer { answer: Some(answer) }, stage)))
        }
    }))
}

fn failed(error: io::Error) -> Status {
    tracing::warn!(%error, "a snapshot is not received");
    Status::aborted(error.to_string())
}

struct Transfer {
    raft: Raft,
    checkpoints: Arc<Checkpoints>,
    /// One transfer at a time: they share the directory.
    _alone: OwnedMutexGuard<()>,
}

impl Transfer {
    async fn begin(&self, mut parts: Streaming<peer::SnapshotPart>) -> io::Result<(Answer, Stage)> {
        let Some(Part::Manifest(manifest)) = next(&mut parts).await? else {
            return Err(invalid("a snapshot begins with its manifest"));
        };
        let keys = manifest.keys.clone();
        match (&self.checkpoints.vault, keys.is_empty()) {
            // Encrypted once it is here.
            (_, true) => {}
            (Some(vault), false) => {
                let vault = vault.clone();
                blocking(move || vault.adopt(&keys)).await.map_err(io::Error::other)??;
            }
            (None, false) => return Err(invalid(SEALED)),
        }
        let (dir, files) = (self.checkpoints.incoming(), manifest.files.clone());
        let places = blocking(move || keep(&dir, &files)).await.map_err(io::Error::other)??;
        let missing = places.iter().map(|place| manifest.files[*place as usize].clone()).collect();
        let wanted = peer::SnapshotWanted { files: places };
        Ok((Answer::Wanted(wanted), Stage::Wanting { parts, manifest: Box::new(manifest), missing }))
    }

    async fn finish(
        &self,
        parts: Streaming<peer::SnapshotPart>,
        manifest: &peer::SnapshotManifest,
        missing: Vec<peer::SnapshotFile>,
    ) -> io::Result<peer::Vote> {
        let vote = wire::required_vote(manifest.vote.as_ref())?;
        receive(missing, parts, self.checkpoints.incoming()).await?;
        let incoming = Checkpoint::passing(self.checkpoints.received()?);
        let (checkpoints, plain) = (self.checkpoints.clone(), manifest.keys.is_empty());
        let read = blocking(move || {
            let held = if plain { checkpoints.encrypted(incoming)? } else { incoming };
            // What the files say counts, not what the manifest says of them.
            checkpoints.position_in(held.dir()).map(|position| (Arc::new(held), position))
        });
        let (incoming, position) = read.await.map_err(io::Error::other)??;
        let (last_log_id, last_membership) = parse_position(&position)?;
        let snapshot = Snapshot { meta: Meta { last_log_id, last_membership }, snapshot: incoming };
        let answer = self.raft.install_full_snapshot(vote, snapshot).await.map_err(io::Error::other)?;
        Ok(wire::vote(&answer.vote))
    }
}

/// The next part; a sender that sends nothing for too long is gone.
async fn next(parts: &mut Streaming<peer::SnapshotPart>) -> io::Result<Option<Part>> {
    let part = tokio::time::timeout(PROGRESS, parts.next()).await.map_err(io::Error::other)?;
    Ok(part.transpose().map_err(io::Error::other)?.and_then(|part| part.part))
}

/// Names that mean a file of the directory, each one and no other.
fn named(files: &[peer::SnapshotFile]) -> io::Result<()> {
    let mut seen = HashSet::new();
    for file in files {
        let plain = file.name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
        if !plain || file.name.is_empty() || file.name.starts_with('.') || !seen.insert(&file.name) {
            return Err(invalid(format!("a snapshot with a file called {:?}", file.name)));
        }
    }
    Ok(())
}

/// Keeps what a directory already holds of a manifest, removes everything else there, and says what is missing.
fn keep(dir: &Path, files: &[peer::SnapshotFile]) -> io::Result<Vec<u32>> {
    named(files)?;
    files::create_dir_all(dir)?;
    let held = list(dir)?;
    for file in held.iter().filter(|file| !files.contains(file)) {
        files::remove_file(&dir.join(&file.name))?;
    }
    let missing = (0_u32..).zip(files).filter(|(_, file)| !held.contains(file));
    Ok(missing.map(|(place, _)| place).collect())
}

async fn receive(
    files: Vec<peer::SnapshotFile>,
    mut parts: Streaming<peer::SnapshotPart>,
    dir: PathBuf,
) -> io::Result<()> {
    let mut files = Files { dir, next: files.into_iter(), open: None };
    while let Some(part) = next(&mut parts).await? {
        let Part::Chunk(chunk) = part else { return Err(invalid("a snapshot with two manifests")) };
        files = blocking(move || files.take(chunk)).await.map_err(io::Error::other)??;
    }
    blocking(move || files.end()).await.map_err(io::Error::other)?
}

/// The files of a snapshot as their bytes come in, one behind the other.
struct Files {
    dir: PathBuf,
    next: std::vec::IntoIter<peer::SnapshotFile>,
    open: Option<Filling>,
}

struct Filling {
    file: File,
    wanted: peer::SnapshotFile,
    left: u64,
    crc32c: u32,
}

impl Files {
    /// Writes what came.
    fn take(mut self, mut chunk: Bytes) -> io::Result<Self> {
        while !chunk.is_empty() {
            self.open()?;
            let Some(open) = &mut self.open else {
                return Err(invalid("a snapshot is longer than its manifest says"));
            };
            let bytes = chunk.split_to(chunk.len().min(usize::try_from(open.left).unwrap_or(usize::MAX)));
            open.crc32c = crc32c::crc32c_append(open.crc32c, &bytes);
            open.file.write_all(&bytes)?;
            open.left -= bytes.len() as u64;
        }
        self.open().map(|()| self)
    }

    /// Ends the file that is full, and begins the next one that has bytes.
    fn open(&mut self) -> io::Result<()> {
        loop {
            match self.open.take() {
                Some(open) if open.left > 0 => {
                    self.open = Some(open);
                    return Ok(());
                }
                Some(full) if full.crc32c != full.wanted.crc32c => {
                    return Err(invalid(format!("{} of a snapshot was damaged on its way", full.wanted.name)));
                }
                Some(full) => full.file.sync()?,
                None => {}
            }
            let Some(wanted) = self.next.next() else { return Ok(()) };
            let file = files::create(&self.dir.join(&wanted.name))?;
            self.open = Some(Filling { file, left: wanted.size, wanted, crc32c: 0 });
        }
    }

    /// Nothing more comes.
    fn end(mut self) -> io::Result<()> {
        self.open()?;
        match self.open {
            Some(open) => Err(invalid(format!("a snapshot ends within {}", open.wanted.name))),
            None => files::sync_dir(&self.dir),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_an_earlier_attempt_left_is_kept_and_only_the_rest_is_wanted() {
        let (from, to) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        for (name, text) in [("1.sst", "one"), ("2.sst", "two"), ("CURRENT", "c")] {
            fs::write(from.path().join(name), text).expect("written");
        }
        let files = list(from.path()).expect("listed");
        assert_eq!(keep(to.path(), &files).expect("an empty directory"), [0, 1, 2]);
        for (name, text) in [("1.sst", "one"), ("2.sst", "tw"), ("3.sst", "of an older snapshot")] {
            fs::write(to.path().join(name), text).expect("written");
        }
        assert_eq!(keep(to.path(), &files).expect("kept"), [1, 2]);
        let left: Vec<_> = list(to.path()).expect("listed").into_iter().map(|file| file.name).collect();
        assert_eq!(left, ["1.sst"]);
        for name in ["../x", "..", ".", "", "/", "/x", "a/b", "a/", "a\0b", ".hidden", "a b"] {
            let outside = peer::SnapshotFile { name: name.to_owned(), ..peer::SnapshotFile::default() };
            assert!(keep(to.path(), &[outside]).is_err(), "{name:?}");
        }
        let twice = vec![files[0].clone(), peer::SnapshotFile { size: 9, ..files[0].clone() }];
        assert!(keep(to.path(), &twice).is_err(), "one of them would be lost");
    }

    #[test]
    fn manifests_of_any_bytes_name_files_of_their_directory_alone() {
        let file = |name: &str| peer::SnapshotFile { name: name.to_owned(), size: 7, crc32c: 9 };
        let manifest =
            peer::SnapshotManifest { files: vec![file("000012.sst"), file("CURRENT")], ..Default::default() };
        let part = peer::SnapshotPart { part: Some(Part::Manifest(manifest)) };
        crate::fuzz::bear("snapshot-manifest", vec![prost::Message::encode_to_vec(&part)], |bytes| {
            let Ok(part) = <peer::SnapshotPart as prost::Message>::decode(bytes) else {
                return "no message".to_owned();
            };
            let Some(Part::Manifest(manifest)) = part.part else { return "no manifest".to_owned() };
            if let Err(refused) = named(&manifest.files) {
                return refused.to_string();
            }
            let inside = |name: &String| Path::new("/dir").join(name).parent() == Some(Path::new("/dir"));
            assert!(manifest.files.iter().all(|file| inside(&file.name)));
            let vote = wire::required_vote(manifest.vote.as_ref()).is_ok();
            let membership = manifest.membership.as_ref().map(|held| wire::parse_stored_membership(held).is_ok());
            format!("{vote} {membership:?}")
        });
    }
}

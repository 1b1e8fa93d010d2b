//! A snapshot on its way: a manifest, then the bytes of its files; nothing counts before every checksum holds.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use proto::peer::{self, snapshot_part::Part};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::raft::types::{Snapshot, Vote};
use crate::raft::wire::{self, invalid};

/// Bytes per message.
const CHUNK_BYTES: usize = 1 << 20;
/// Messages read ahead of the network.
const AHEAD: usize = 4;

/// The manifest of a snapshot, and its files' bytes in the manifest's order.
///
/// # Errors
/// When the files cannot be read.
pub(crate) async fn send(
    vote: &Vote,
    snapshot: &Snapshot,
) -> io::Result<(peer::SnapshotManifest, impl Stream<Item = peer::SnapshotPart> + Send + 'static)> {
    let held = snapshot.snapshot.clone();
    let dir = held.dir().to_owned();
    let listed = tokio::task::spawn_blocking(move || list(&dir)).await.map_err(io::Error::other)??;
    let manifest = peer::SnapshotManifest {
        vote: Some(wire::vote(vote)),
        last_log_id: snapshot.meta.last_log_id.as_ref().map(wire::log_id),
        membership: Some(wire::stored_membership(&snapshot.meta.last_membership)),
        files: listed.clone(),
    };
    let (queue, parts) = mpsc::channel(AHEAD);
    // Ends by itself: with the last byte, or as soon as nobody takes the parts any more. An error cuts the stream
    // short, and the receiver refuses what is not whole.
    tokio::task::spawn_blocking(move || {
        let _ = listed.iter().try_for_each(|file| read(&held.dir().join(&file.name), &queue));
    });
    Ok((manifest, ReceiverStream::new(parts)))
}

fn list(dir: &Path) -> io::Result<Vec<peer::SnapshotFile>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().into_string().map_err(|name| invalid(format!("{}: not UTF-8", name.display())))?;
        let (mut file, mut crc32c, mut size) = (File::open(entry.path())?, 0, 0_u64);
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let read = file.read(&mut chunk)?;
            if read == 0 {
                break;
            }
            crc32c = crc32c::crc32c_append(crc32c, &chunk[..read]);
            size += read as u64;
        }
        files.push(peer::SnapshotFile { name, size, crc32c });
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

fn read(path: &Path, queue: &mpsc::Sender<peer::SnapshotPart>) -> io::Result<()> {
    let mut file = File::open(path)?;
    loop {
        let mut chunk = vec![0; CHUNK_BYTES];
        let read = file.read(&mut chunk)?;
        if read == 0 {
            return Ok(());
        }
        chunk.truncate(read);
        let part = peer::SnapshotPart { part: Some(Part::Chunk(Bytes::from(chunk))) };
        queue.blocking_send(part).map_err(io::Error::other)?;
    }
}

/// Receives the files of a manifest into a directory that does not exist yet.
///
/// # Errors
/// When a file is not what the manifest says, the stream ends early, or the disk fails.
pub(crate) async fn receive(
    files: Vec<peer::SnapshotFile>,
    mut parts: impl Stream<Item = Result<peer::SnapshotPart, tonic::Status>> + Unpin,
    dir: PathBuf,
) -> io::Result<()> {
    let (queue, mut chunks) = mpsc::channel::<Bytes>(AHEAD);
    let writer = tokio::task::spawn_blocking(move || {
        fs::create_dir_all(&dir)?;
        let mut pending = Bytes::new();
        for file in &files {
            write(&dir, file, &mut pending, &mut chunks)?;
        }
        match (pending.is_empty(), chunks.blocking_recv()) {
            (true, None) => File::open(&dir)?.sync_all(),
            _ => Err(invalid("a snapshot is longer than its manifest says")),
        }
    });
    while let Some(part) = parts.next().await {
        let Some(Part::Chunk(chunk)) = part.map_err(io::Error::other)?.part else {
            return Err(invalid("a snapshot with two manifests"));
        };
        if queue.send(chunk).await.is_err() {
            break;
        }
    }
    drop(queue);
    writer.await.map_err(io::Error::other)?
}

fn write(
    dir: &Path,
    wanted: &peer::SnapshotFile,
    pending: &mut Bytes,
    chunks: &mut mpsc::Receiver<Bytes>,
) -> io::Result<()> {
    let plain = Path::new(&wanted.name).components().count() == 1 && !wanted.name.starts_with('.');
    if !plain {
        return Err(invalid(format!("a snapshot with a file called {:?}", wanted.name)));
    }
    let mut file = File::create_new(dir.join(&wanted.name))?;
    let (mut left, mut crc32c) = (wanted.size, 0);
    while left > 0 {
        if pending.is_empty() {
            let next = chunks.blocking_recv();
            *pending = next.ok_or_else(|| invalid(format!("a snapshot ends within {}", wanted.name)))?;
        }
        let take = pending.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let bytes = pending.split_to(take);
        crc32c = crc32c::crc32c_append(crc32c, &bytes);
        file.write_all(&bytes)?;
        left -= take as u64;
    }
    if crc32c != wanted.crc32c {
        return Err(invalid(format!("{} of a snapshot was damaged on its way", wanted.name)));
    }
    file.sync_all()
}

//! Sending a snapshot: a manifest, then the bytes of the files that the receiver does not hold from an earlier attempt.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proto::peer::{self, snapshot_answer::Answer, snapshot_part::Part};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::edge::blocking;
use crate::edge::files::{self, File};
use crate::raft::peers::Client;
use crate::raft::types::{Snapshot, Vote};
use crate::raft::wire::{self, invalid};
use crate::seal::vault::Vault;

/// Bytes per message.
pub(crate) const CHUNK_BYTES: usize = 1 << 20;
/// Messages read ahead of the network.
pub(crate) const AHEAD: usize = 4;
/// Bytes a second that a snapshot takes of the network and of both disks at most: writes go on beside it.
const RATE: u32 = 64 << 20;
/// What is asked for or sent must make some progress in this time; the whole may take as long as it does.
pub(crate) const PROGRESS: Duration = Duration::from_secs(30);

/// Sends a snapshot, and answers the receiver's vote.
///
/// # Errors
/// When the files cannot be read, the receiver refuses, or nothing moves for too long.
pub(crate) async fn send(
    mut client: Client,
    vote: &Vote,
    snapshot: &Snapshot,
    vault: Option<&Arc<Vault>>,
) -> io::Result<Vote> {
    let held = snapshot.snapshot.clone();
    let dir = held.dir().to_owned();
    let files = blocking(move || list(&dir)).await.map_err(io::Error::other)??;
    let manifest = peer::SnapshotManifest {
        vote: Some(wire::vote(vote)),
        last_log_id: snapshot.meta.last_log_id.as_ref().map(wire::log_id),
        membership: Some(wire::stored_membership(&snapshot.meta.last_membership)),
        files: files.clone(),
        keys: vault.zip(held.keys()).map(|(vault, ring)| vault.wrapped(ring)).transpose()?.unwrap_or_default().into(),
    };
    let (queue, parts) = mpsc::channel(AHEAD);
    queue.try_send(peer::SnapshotPart { part: Some(Part::Manifest(manifest)) }).map_err(io::Error::other)?;
    let answers = client.snapshot(ReceiverStream::new(parts)).await.map_err(io::Error::other)?;
    let mut answers = answers.into_inner();
    let Answer::Wanted(wanted) = answer(&mut answers).await? else { return Err(invalid("a vote before its time")) };
    let wanted: Vec<_> = wanted.files.iter().filter_map(|place| files.get(*place as usize).cloned()).collect();
    tracing::info!(files = files.len(), wanted = wanted.len(), "sending a snapshot");
    let (begun, mut bytes) = (Instant::now(), 0);
    for file in wanted {
        let path = held.dir().join(&file.name);
        let mut open = blocking(move || files::open(&path)).await.map_err(io::Error::other)??;
        loop {
            let read = blocking(move || chunk(&mut open).map(|read| (open, read)));
            let read = read.await.map_err(io::Error::other)??;
            open = read.0;
            if read.1.is_empty() {
                break;
            }
            // The time that it takes is the point.
            tokio::time::sleep_until(begun + takes(bytes)).await;
            bytes += read.1.len() as u64;
            let part = peer::SnapshotPart { part: Some(Part::Chunk(read.1)) };
            let sent = tokio::time::timeout(PROGRESS, queue.send(part)).await;
            sent.map_err(io::Error::other)?.map_err(|_| invalid("the receiver of a snapshot has gone"))?;
        }
    }
    drop(queue);
    match answer(&mut answers).await? {
        Answer::Vote(vote) => Ok(wire::parse_vote(&vote)),
        Answer::Wanted(_) => Err(invalid("files of a snapshot wanted twice")),
    }
}

/// PURE: when so many bytes may have been sent, since the first one.
fn takes(bytes: u64) -> Duration {
    Duration::from_micros(bytes.saturating_mul(1_000_000) / u64::from(RATE))
}

async fn answer(answers: &mut Streaming<peer::SnapshotAnswer>) -> io::Result<Answer> {
    // The receiver reads its disk before either answer: no limit but the connection's keep-alive.
    let message = answers.message().await.map_err(io::Error::other)?;
    message.and_then(|message| message.answer).ok_or_else(|| invalid("a snapshot without an answer"))
}

/// The files of a directory with their checksums, in the order of their names.
///
/// # Errors
/// When the disk fails.
pub(crate) fn list(dir: &Path) -> io::Result<Vec<peer::SnapshotFile>> {
    let mut found = Vec::new();
    for path in files::within(dir)? {
        let name = path.file_name().unwrap_or_default();
        let name = name.to_str().ok_or_else(|| invalid(format!("{}: not UTF-8", path.display())))?.to_owned();
        let (mut file, mut crc32c, mut size) = (files::open(&path)?, 0, 0_u64);
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let read = file.read(&mut chunk)?;
            if read == 0 {
                break;
            }
            crc32c = crc32c::crc32c_append(crc32c, &chunk[..read]);
            size += read as u64;
        }
        found.push(peer::SnapshotFile { name, size, crc32c });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// The next bytes of a file; none at its end.
fn chunk(file: &mut File) -> io::Result<Bytes> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let read = file.read(&mut chunk)?;
    chunk.truncate(read);
    Ok(chunk.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_takes_no_more_than_its_part() {
        assert_eq!(takes(0), Duration::ZERO);
        assert_eq!(takes(u64::from(RATE) / 2), Duration::from_millis(500));
        assert_eq!(takes(20 * u64::from(RATE)), Duration::from_secs(20));
    }
}

//! A journal of the updates a node was sent, so that it knows its pods with no server in reach.
//!
//! One file of records: length of the payload, CRC-32C of the payload, CRC-32C of these two (u32, little endian),
//! payload (an encoded `Update`). An append
//! is synced before it counts. When the file has grown well beyond what it stands for, a new one that holds everything
//! as one record takes its place by a rename. It holds Secrets of the node's pods: only its owner may read it.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use prost::Message;
use proto::agent::Update;

/// Name of the journal in its directory.
pub const FILE: &str = "assignments";
const HEADER: usize = 12;
/// The journal is rewritten when it is this long and twice as long as after the last time. Units: bytes.
const REWRITE_MIN: u64 = 1 << 20;

/// What went wrong with the journal.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Reading or writing failed.
    #[error("{action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A record that is not the last is damaged.
    #[error(
        "{path} is damaged at offset {offset}: move it away and restart the agent; it gets its assignments again from \
         the servers, and adopts the containers that run"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where. Units: bytes.
        offset: u64,
    },
}

/// The open journal.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    file: Arc<File>,
    length: u64,
    base: u64,
}

impl Checkpoint {
    /// Opens the journal, cuts a torn end off and replays the rest.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is damaged other than at its end.
    pub fn open(dir: &Path, mut replay: impl FnMut(Update)) -> Result<Self, CheckpointError> {
        let path = dir.join(FILE);
        let io = |action| {
            let path = path.clone();
            move |source| CheckpointError::Io { action, path, source }
        };
        std::fs::create_dir_all(dir).map_err(io("create the folder of"))?;
        let mut file = open(&path, false).map_err(io("open"))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(io("read"))?;
        let mut at = 0;
        while let Some((update, next)) =
            record(&bytes, at).map_err(|()| CheckpointError::Damaged { path: path.clone(), offset: at as u64 })?
        {
            replay(update);
            at = next;
        }
        file.set_len(at as u64).map_err(io("cut"))?;
        file.seek(SeekFrom::End(0)).map_err(io("seek in"))?;
        Ok(Self { path, file: Arc::new(file), length: at as u64, base: at as u64 })
    }

    /// Makes an update durable.
    ///
    /// # Errors
    ///
    /// It could not be written or synced; the journal is as before.
    pub async fn append(&mut self, update: &Update) -> Result<(), CheckpointError> {
        let (file, bytes, length) = (Arc::clone(&self.file), encode(update), self.length);
        let added = bytes.len() as u64;
        self.blocking("append to", move |_| {
            // From where the last good record ends: what a failed append left behind is written over.
            (&*file).seek(SeekFrom::Start(length))?;
            (&*file).write_all(&bytes)?;
            file.set_len(length + added)?;
            file.sync_data()
        })
        .await?;
        self.length += added;
        Ok(())
    }

    /// Whether the journal has grown well beyond what it stands for.
    pub fn wants_rewrite(&self) -> bool {
        self.length > REWRITE_MIN.max(self.base * 2)
    }

    /// Replaces the journal by one that holds only this.
    ///
    /// # Errors
    ///
    /// It could not be written; the journal is as before.
    pub async fn rewrite(&mut self, whole: Update) -> Result<(), CheckpointError> {
        let (file, length) = self
            .blocking("rewrite", move |path| {
                let bytes = encode(&whole);
                let new = path.with_extension("new");
                let mut file = open(&new, true)?;
                file.write_all(&bytes)?;
                file.sync_data()?;
                std::fs::rename(&new, path)?;
                File::open(path.parent().unwrap_or(path))?.sync_all()?;
                Ok((file, bytes.len() as u64))
            })
            .await?;
        (self.file, self.length, self.base) = (Arc::new(file), length, length);
        Ok(())
    }

    async fn blocking<T: Send + 'static>(
        &self,
        action: &'static str,
        work: impl FnOnce(&Path) -> std::io::Result<T> + Send + 'static,
    ) -> Result<T, CheckpointError> {
        let path = self.path.clone();
        let done = tokio::task::spawn_blocking(move || work(&path)).await;
        let result = done.unwrap_or_else(|panic| Err(std::io::Error::other(panic)));
        result.map_err(|source| CheckpointError::Io { action, path: self.path.clone(), source })
    }
}

fn open(path: &Path, truncate: bool) -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(truncate).mode(0o600).open(path)
}

fn encode(update: &Update) -> Vec<u8> {
    let payload = update.encode_to_vec();
    let length = u32::try_from(payload.len()).expect("an update is bounded by the size of a message");
    let mut bytes = Vec::with_capacity(HEADER + payload.len());
    bytes.extend(length.to_le_bytes());
    bytes.extend(crc32c::crc32c(&payload).to_le_bytes());
    bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
    bytes.extend(payload);
    bytes
}

/// The record at an offset and where the next begins; None at the end or at a torn record; an error for a damaged one.
fn record(bytes: &[u8], at: usize) -> Result<Option<(Update, usize)>, ()> {
    let Some(header) = bytes.get(at..at + HEADER) else { return Ok(None) };
    let word = |from: usize| u32::from_le_bytes(header[from..from + 4].try_into().expect("four bytes are four bytes"));
    if crc32c::crc32c(&header[..8]) != word(8) {
        return Err(());
    }
    let from = at + HEADER;
    let to = from + word(0) as usize;
    let Some(payload) = bytes.get(from..to) else { return Ok(None) };
    match Update::decode(payload) {
        Ok(update) if crc32c::crc32c(payload) == word(4) => Ok(Some((update, to))),
        // The last record may have reached the disk in part.
        _ if to == bytes.len() => Ok(None),
        _ => Err(()),
    }
}

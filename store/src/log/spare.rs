//! A file kept ready for the next segment: one that a purge freed, or a new one made while the current one fills.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use crate::log::Error;
use crate::log::disk::{Disk, DiskFile};
use crate::log::segment;

/// Its name: no segment's, so that recovery passes over it.
const NAME: &str = "spare";

enum State {
    None,
    Ready,
    /// Being made aside: it writes as many zeros as a segment has bytes.
    Making(JoinHandle<io::Result<()>>),
}

/// See the module.
pub(super) struct Spare<D: Disk> {
    disk: Arc<D>,
    segment_bytes: u64,
    /// Whether records are sealed.
    sealed: bool,
    state: State,
    /// One is made ahead, on a thread of its own.
    ahead: bool,
}

impl<D: Disk> Spare<D> {
    /// What an earlier run left may be half made and is removed.
    pub(super) fn open(disk: Arc<D>, segment_bytes: u64, sealed: bool, ahead: bool) -> Result<Self, Error> {
        let clean = || match disk.list()?.iter().any(|name| name == NAME) {
            true => disk.remove(NAME),
            false => Ok(()),
        };
        clean().map_err(|source| Error::Io { path: disk.describe(NAME), source })?;
        Ok(Spare { disk, segment_bytes, sealed, state: State::None, ahead })
    }

    /// Begins to make one, unless there is one.
    pub(super) fn prepare(&mut self) {
        if self.ahead && matches!(self.state, State::None) {
            let (disk, bytes) = (self.disk.clone(), self.segment_bytes);
            let thread = std::thread::Builder::new().name("log-spare".to_owned());
            // Without a thread the segment is made when it is due.
            if let Ok(making) = thread.spawn(move || disk.create(NAME, bytes).map(drop)) {
                self.state = State::Making(making);
            }
        }
    }

    /// Takes a segment's file that is no longer needed; removes it when there is a spare already.
    pub(super) fn give(&mut self, name: &str) -> io::Result<()> {
        if matches!(self.state, State::None) {
            self.disk.rename(name, NAME)?;
            self.state = State::Ready;
            Ok(())
        } else {
            self.disk.remove(name)
        }
    }

    /// The file of a new segment, with its header, durable.
    pub(super) fn take(&mut self, sequence: u64) -> Result<D::File, Error> {
        let name = segment::name(sequence);
        self.begin(&name, sequence).map_err(|source| Error::Io { path: self.disk.describe(&name), source })
    }

    /// Whether the file was made. A disk that was full then may have room by now: the half of a file goes, and the
    /// segment gets one that is new from its first byte on.
    fn made(&self, making: JoinHandle<io::Result<()>>) -> io::Result<bool> {
        let Err(error) = making.join().map_err(|_| io::Error::other("making a file ended in a panic"))? else {
            return Ok(true);
        };
        tracing::warn!(%error, "a file for the log could not be made ahead");
        match self.disk.remove(NAME) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(false),
        }
    }

    fn begin(&mut self, name: &str, sequence: u64) -> io::Result<D::File> {
        let ready = match std::mem::replace(&mut self.state, State::None) {
            State::None => false,
            State::Ready => true,
            State::Making(making) => self.made(making)?,
        };
        let file = if ready {
            self.disk.rename(NAME, name)?;
            // Before its header: an old segment's name over a newer header would look like damage.
            self.disk.sync_names()?;
            self.disk.open(name)?
        } else {
            self.disk.create(name, self.segment_bytes)?
        };
        file.write_at(&segment::header(sequence, self.sealed), 0)?;
        file.sync()?;
        self.disk.sync_names()?;
        Ok(file)
    }
}

impl<D: Disk> Drop for Spare<D> {
    fn drop(&mut self) {
        if let State::Making(making) = std::mem::replace(&mut self.state, State::None) {
            // The next start removes it, whole or not.
            let _ = making.join();
        }
    }
}

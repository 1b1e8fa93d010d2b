//! The files of a simulated disk, as the log uses them.

use std::io;

use super::{Change, Defect, Drive, SECTOR_BYTES, draw, missing};
use crate::log::disk::{Disk, DiskFile};

/// An open file of a simulated disk.
pub struct DriveFile {
    drive: Drive,
    file: u64,
}

impl Disk for Drive {
    type File = DriveFile;

    fn list(&self) -> io::Result<Vec<String>> {
        // The log's lie in no directory.
        Ok(self.0.lock().now.names.keys().filter(|name| !name.contains('/')).cloned().collect())
    }

    fn create(&self, name: &str, size: u64) -> io::Result<DriveFile> {
        let mut state = self.0.lock();
        state.powered()?;
        if state.faults.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if state.now.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = state.next;
        state.next += 1;
        let zeros = vec![0; usize::try_from(size).map_err(io::Error::other)?];
        // Its bytes are synced when this returns, its name is not.
        state.durable.files.insert(file, zeros.clone());
        state.now.files.insert(file, zeros);
        state.now.names.insert(name.to_owned(), file);
        state.changes.push(Change::Named { name: name.to_owned(), file });
        Ok(DriveFile { drive: self.clone(), file })
    }

    fn open(&self, name: &str) -> io::Result<DriveFile> {
        let file = *self.0.lock().now.names.get(name).ok_or_else(|| missing(name))?;
        Ok(DriveFile { drive: self.clone(), file })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.0.lock();
        state.powered()?;
        state.now.names.remove(name).ok_or_else(|| missing(name))?;
        state.changes.push(Change::Unnamed { name: name.to_owned() });
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.0.lock();
        state.powered()?;
        let file = state.now.names.remove(from).ok_or_else(|| missing(from))?;
        state.now.names.insert(to.to_owned(), file);
        state.changes.push(Change::Renamed { from: from.to_owned(), to: to.to_owned(), file });
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut state = self.0.lock();
        state.synced()?;
        state.changes.push(Change::SyncNames);
        Ok(())
    }

    fn describe(&self, name: &str) -> String {
        format!("simulated/{name}")
    }
}

impl DiskFile for DriveFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.drive.0.lock().now.files.get(&self.file).map_or(0, |bytes| bytes.len() as u64))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let state = self.drive.0.lock();
        let bytes = state.now.files.get(&self.file).ok_or_else(|| missing("a file"))?;
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        let found = bytes.get(from..from + buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(found);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.drive.0.lock();
        state.powered()?;
        let mut offset = usize::try_from(offset).map_err(io::Error::other)?;
        if state.defect == Some(Defect::WritesMisdirected) && draw(&mut state.random).is_multiple_of(60) {
            offset += SECTOR_BYTES;
        }
        state.write(self.file, offset, bytes);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.drive.0.lock();
        state.synced()?;
        state.changes.push(Change::Sync(self.file));
        Ok(())
    }
}

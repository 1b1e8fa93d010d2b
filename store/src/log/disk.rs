//! The small part of a file system that the log needs, so that a simulated disk can lose what was not synced.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use crate::lock::Lock;

/// A folder of files.
pub trait Disk: Send + Sync + 'static {
    /// An open file.
    type File: DiskFile;

    /// Names of all files, in order.
    ///
    /// # Errors
    /// As the file system's.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Creates a file of `size` zero bytes; the name is durable only after `sync_names`.
    ///
    /// # Errors
    /// When it exists, or as the file system's.
    fn create(&self, name: &str, size: u64) -> io::Result<Self::File>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// As the file system's.
    fn open(&self, name: &str) -> io::Result<Self::File>;

    /// Removes a file.
    ///
    /// # Errors
    /// As the file system's.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Gives a file another name, which no file has.
    ///
    /// # Errors
    /// As the file system's.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Makes creations, removals and new names durable.
    ///
    /// # Errors
    /// As the file system's.
    fn sync_names(&self) -> io::Result<()>;

    /// How messages name a file.
    fn describe(&self, name: &str) -> String;
}

/// A file read and written at offsets, in bytes.
pub trait DiskFile: Send + Sync + 'static {
    /// Its size, bytes.
    ///
    /// # Errors
    /// As the file system's.
    fn size(&self) -> io::Result<u64>;

    /// Fills `buffer` from `offset`.
    ///
    /// # Errors
    /// When the file ends before, or as the file system's.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// As the file system's.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Writes zeros from `offset` up to `end`.
    ///
    /// # Errors
    /// As the file system's.
    fn zero(&self, mut offset: u64, end: u64) -> io::Result<()> {
        let zeros = [0_u8; 64 * 1024];
        while offset < end {
            let length = zeros.len().min(usize::try_from(end - offset).unwrap_or(zeros.len()));
            self.write_at(&zeros[..length], offset)?;
            offset += length as u64;
        }
        Ok(())
    }

    /// Makes what was written durable.
    ///
    /// # Errors
    /// As the file system's. A caller must not try again: the kernel may have dropped the pages.
    fn sync(&self) -> io::Result<()>;
}

/// A real folder.
pub struct Folder {
    path: PathBuf,
    _lock: Option<Lock>,
}

impl Folder {
    /// Opens the folder, making it when absent, durable as what will be acknowledged in it.
    ///
    /// # Errors
    /// As the file system's.
    pub fn open(path: PathBuf) -> io::Result<Self> {
        if !path.is_dir() {
            fs::create_dir_all(&path)?;
            path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())?;
        }
        Ok(Folder { path, _lock: None })
    }

    /// Keeps the data directory that it lies in locked as long as it is in use.
    #[must_use]
    pub fn owned(self, lock: Lock) -> Self {
        Folder { _lock: Some(lock), ..self }
    }
}

impl Disk for Folder {
    type File = File;

    fn list(&self) -> io::Result<Vec<String>> {
        let names = fs::read_dir(&self.path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let mut names = names.collect::<io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }

    fn create(&self, name: &str, size: u64) -> io::Result<File> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(self.path.join(name))?;
        // Written and not only sized: later syncs then have no block allocation to make durable.
        file.zero(0, size)?;
        file.sync_all()?;
        Ok(file)
    }

    fn open(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(self.path.join(name))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn describe(&self, name: &str) -> String {
        self.path.join(name).display().to_string()
    }
}

impl DiskFile for File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

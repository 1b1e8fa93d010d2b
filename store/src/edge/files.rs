//! Files and directories by their paths: the system's, or in a simulation those of its disks, which lose what was not
//! synced.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::edge;
use crate::edge::drive::{Drive, Opened};

/// An open file, read or written from its beginning on.
pub(crate) enum File {
    /// The system's.
    Real(fs::File),
    /// On a simulated disk.
    Simulated(Opened),
}

impl Read for File {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            File::Real(file) => file.read(into),
            File::Simulated(file) => file.read(into),
        }
    }
}

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            File::Real(file) => file.write(bytes),
            File::Simulated(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            File::Real(file) => file.flush(),
            File::Simulated(file) => file.flush(),
        }
    }
}

impl File {
    /// Makes what was written durable; its name is not until its directory is synced.
    ///
    /// # Errors
    /// As the file system's.
    pub(crate) fn sync(&self) -> io::Result<()> {
        match self {
            File::Real(file) => file.sync_all(),
            File::Simulated(file) => file.sync(),
        }
    }
}

/// The simulated disk that a path lies on.
fn drive(path: &Path) -> Option<Drive> {
    edge::world().map(|world| world.drive(path))
}

/// Makes a file, empty, or empties the one that is there.
///
/// # Errors
/// As the file system's.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    Ok(match drive(path) {
        None => File::Real(fs::File::create(path)?),
        Some(drive) => File::Simulated(drive.create_at(path)?),
    })
}

/// Opens a file to read it.
///
/// # Errors
/// As the file system's.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    Ok(match drive(path) {
        None => File::Real(fs::File::open(path)?),
        Some(drive) => File::Simulated(drive.open_at(path)?),
    })
}

/// All that a file holds.
///
/// # Errors
/// As the file system's.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Makes a file of so many bytes, durable when this returns, but for its name.
///
/// # Errors
/// As the file system's.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = create(path)?;
    file.write_all(bytes)?;
    file.sync()
}

/// What lies in a directory.
///
/// # Errors
/// As the file system's.
pub(crate) fn within(dir: &Path) -> io::Result<Vec<PathBuf>> {
    match drive(dir) {
        None => fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect(),
        Some(drive) => drive.within(dir),
    }
}

/// Makes a directory where nothing is.
///
/// # Errors
/// As the file system's.
pub(crate) fn create_dir(dir: &Path) -> io::Result<()> {
    match drive(dir) {
        None => fs::create_dir(dir),
        Some(drive) => drive.create_dir(dir),
    }
}

/// Makes a directory and those above it, as far as they are missing.
///
/// # Errors
/// As the file system's.
pub(crate) fn create_dir_all(dir: &Path) -> io::Result<()> {
    match drive(dir) {
        None => fs::create_dir_all(dir),
        Some(drive) => drive.create_dir_all(dir),
    }
}

/// Removes a file.
///
/// # Errors
/// As the file system's.
pub(crate) fn remove_file(path: &Path) -> io::Result<()> {
    match drive(path) {
        None => fs::remove_file(path),
        Some(drive) => drive.remove_file(path),
    }
}

/// Removes a directory with all that lies in it, one after the other.
///
/// # Errors
/// As the file system's.
pub(crate) fn remove_dir_all(dir: &Path) -> io::Result<()> {
    match drive(dir) {
        None => fs::remove_dir_all(dir),
        Some(drive) => drive.remove_dir_all(dir),
    }
}

/// Gives a file or a directory another name; a file of that name goes.
///
/// # Errors
/// As the file system's.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match drive(from) {
        None => fs::rename(from, to),
        Some(drive) => drive.rename_at(from, to),
    }
}

/// Makes what was created, removed and renamed in a directory durable.
///
/// # Errors
/// As the file system's.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    match drive(dir) {
        None => fs::File::open(dir)?.sync_all(),
        Some(drive) => drive.sync_dir(dir),
    }
}

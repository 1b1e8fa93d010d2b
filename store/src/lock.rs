//! A data directory has one owner at a time, until the last of its files is closed.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use crate::Error;

/// The ownership of a data directory. Whatever writes there holds a clone: a thread that outlives its store then still
/// keeps others out.
#[derive(Clone)]
pub struct Lock {
    _file: Arc<File>,
}

impl Lock {
    /// Makes the directory when absent and takes its lock.
    ///
    /// # Errors
    /// When another owner holds it, or the disk fails.
    pub(crate) fn take(dir: &Path) -> Result<Lock, Error> {
        let path = dir.join("lock");
        let failed = |error| Error::Stopped(format!("{}: {error}", path.display()));
        fs::create_dir_all(dir).map_err(failed)?;
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Lock { _file: Arc::new(file) }),
            Err(fs::TryLockError::WouldBlock) => Err(Error::Stopped(format!(
                "{} is in use by another process; stop it first, or choose another data directory",
                dir.display()
            ))),
            Err(fs::TryLockError::Error(error)) => Err(failed(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Engine;
    use crate::engine::rocks::Rocks;
    use crate::log::disk::Folder;
    use crate::log::{Log, Options};

    fn free(dir: &Path) -> bool {
        match Lock::take(dir) {
            Ok(_) => true,
            Err(error) => {
                assert!(error.to_string().contains("in use by another process"), "{error}");
                false
            }
        }
    }

    #[test]
    fn a_directory_is_free_when_the_last_of_its_files_is_closed() {
        let dir = tempfile::tempdir().expect("a directory");
        let lock = Lock::take(dir.path()).expect("nobody else is here");
        assert!(!free(dir.path()));
        let engine = Rocks::open(&dir.path().join("state"), Some(lock.clone()), crate::engine::rocks::SMALL)
            .expect("a new database");
        let folder = Folder::open(dir.path().join("log")).expect("a folder").owned(lock);
        let log = Log::open(folder, Options::default()).expect("a new log");
        let view = engine.snapshot();
        drop(engine);
        assert!(!free(dir.path()), "the log is open, and somebody reads");
        drop(log);
        assert!(!free(dir.path()), "somebody reads");
        drop(view);
        assert!(free(dir.path()));
    }
}

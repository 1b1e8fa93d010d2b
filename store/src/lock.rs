//! A data directory has one owner at a time, until the last of its files is closed.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
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
        make(dir).map_err(failed)?;
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

/// Makes a directory and those above it, as far as they are missing, durable: what is acknowledged lies below. What lies
/// there is nobody else's, as with etcd.
fn make(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make(parent)?;
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => File::open(parent)?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

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
    fn a_new_directory_is_its_owners_alone_and_one_that_is_there_stays_as_it_is() {
        let dir = tempfile::tempdir().expect("a directory");
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("changed");
        let below = dir.path().join("one/two");
        drop(Lock::take(&below).expect("nobody else is here"));
        assert_eq!((mode(dir.path()), mode(&dir.path().join("one")), mode(&below)), (0o755, 0o700, 0o700));
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

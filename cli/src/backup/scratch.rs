//! A directory that nobody else reads and that is gone when it is no longer needed.

use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::backup::failed;
use crate::exit::Failure;

/// What their names begin with.
const NAME: &str = "raftsman-backup-";

/// See the module.
pub(super) struct Scratch {
    dir: PathBuf,
    /// Held as long as it is needed.
    _lock: File,
}

impl Scratch {
    pub(super) fn new() -> Result<Scratch, Failure> {
        Scratch::below(&std::env::temp_dir())
    }

    fn below(parent: &Path) -> Result<Scratch, Failure> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        sweep(parent);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let dir = parent.join(format!("{NAME}{}-{number}", std::process::id()));
        let made = fs::DirBuilder::new().mode(0o700).create(&dir).and_then(|()| File::open(&dir));
        let lock = made.and_then(|lock| lock.lock().map(|()| lock));
        let lock = lock.map_err(|error| failed(format!("{}: {error}; TMPDIR names another place", dir.display())))?;
        Ok(Scratch { dir, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Removes what commands that were killed left behind: nobody holds it, and it may be the state of an encrypted backup.
fn sweep(parent: &Path) {
    for one in fs::read_dir(parent).into_iter().flatten().flatten().filter(is_left) {
        // A process of another container has another number here.
        if File::open(one.path()).is_ok_and(|left| left.try_lock().is_ok()) {
            let _ = fs::remove_dir_all(one.path());
        }
    }
}

/// Whether it is called like a directory of a process that is gone; others may put there what they like, a pipe say.
fn is_left(one: &fs::DirEntry) -> bool {
    let name = one.file_name();
    let process = || name.to_str()?.strip_prefix(NAME)?.split('-').next()?.parse::<u32>().ok();
    process().is_some_and(|process| !Path::new("/proc").join(process.to_string()).exists())
        && one.file_type().is_ok_and(|kind| kind.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_behind_goes_and_what_is_in_use_stays() {
        let parent = tempfile::tempdir().expect("a directory");
        let gone = u32::MAX;
        let left = parent.path().join(format!("{NAME}{gone}-0"));
        fs::create_dir(&left).expect("made");
        let pipe = parent.path().join(format!("{NAME}{gone}-1"));
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("made");
        let first = Scratch::below(parent.path()).expect("made");
        assert!(!left.exists());
        let second = Scratch::below(parent.path()).expect("made");
        assert!(first.path().is_dir() && second.path().is_dir());
        let dir = first.path().to_owned();
        drop(first);
        assert!(!dir.exists());
    }
}

//! Directories that are made beside their names first: one that has its name is whole.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::moving::Problem;
use crate::moving::import::failed;

/// A directory beside the one that is to be; gone when it was not finished.
pub(crate) struct Draft {
    pub(crate) dir: PathBuf,
    finished: bool,
    /// Held as long as it is being made.
    _lock: File,
}

impl Draft {
    /// `what`: what is being done, for whoever finds it.
    ///
    /// # Errors
    /// When the directory that is to be is there, and not empty.
    pub(crate) fn beside(data_dir: &Path, what: &str) -> Result<Self, Problem> {
        match fs::read_dir(data_dir) {
            Ok(mut entries) => {
                if entries.next().is_some() {
                    let text = format!("{} is not empty; choose a new --data-dir", data_dir.display());
                    return Err(Problem::Refused(text));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                let text = format!("{} is in the way: no directory; choose a new --data-dir", data_dir.display());
                return Err(Problem::Refused(text));
            }
            Err(error) => return Err(failed(data_dir, &error)),
        }
        let Some(name) = data_dir.file_name() else {
            return Err(Problem::Refused(format!("{}: name the directory that is to be", data_dir.display())));
        };
        let mut draft = name.to_owned();
        draft.push(format!(".{what}"));
        let dir = data_dir.with_file_name(draft);
        // Left by one that was killed, who holds it no more.
        if dir.exists() {
            lock(&dir)?;
            fs::remove_dir_all(&dir).map_err(|error| failed(&dir, &error))?;
        }
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir);
        made.map_err(|error| failed(&dir, &error))?;
        Ok(Draft { _lock: lock(&dir)?, dir, finished: false })
    }

    /// Gives it its name.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn finish(mut self, data_dir: &Path) -> Result<(), Problem> {
        let named = || {
            // An empty directory gives way.
            if data_dir.exists() {
                fs::remove_dir(data_dir)?;
            }
            File::open(&self.dir)?.sync_all()?;
            fs::rename(&self.dir, data_dir)?;
            let parent = data_dir.parent().filter(|parent| !parent.as_os_str().is_empty());
            File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
        };
        named().map_err(|error| failed(data_dir, &error))?;
        self.finished = true;
        Ok(())
    }
}

/// Holds a directory that is being made.
fn lock(dir: &Path) -> Result<File, Problem> {
    let held = File::open(dir).map_err(|error| failed(dir, &error))?;
    match held.try_lock() {
        Ok(()) => Ok(held),
        Err(TryLockError::WouldBlock) => {
            Err(Problem::Refused(format!("{}: another command is making this directory", dir.display())))
        }
        Err(TryLockError::Error(error)) => Err(failed(dir, &error)),
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.finished {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_made_at_a_time_and_what_was_left_gives_way() {
        let dir = tempfile::tempdir().expect("a directory");
        let name = dir.path().join("new");
        let draft = Draft::beside(&name, "restoring").expect("made");
        fs::write(draft.dir.join("state"), "s").expect("written");
        let second = Draft::beside(&name, "restoring").err().expect("it is being made");
        assert!(second.to_string().contains("another command"), "{second}");
        assert!(draft.dir.join("state").exists(), "nothing of it is gone");
        let left = draft.dir.clone();
        drop(draft);
        assert!(!left.exists());
        // As one that was killed leaves it.
        fs::create_dir(&left).expect("made");
        fs::write(left.join("old"), "o").expect("written");
        let draft = Draft::beside(&name, "restoring").expect("made");
        assert!(!draft.dir.join("old").exists());
        draft.finish(&name).expect("named");
        assert!(name.is_dir() && !left.exists());
        let file = dir.path().join("file");
        fs::write(&file, "f").expect("written");
        let refused = |name: &Path| matches!(Draft::beside(name, "restoring"), Err(Problem::Refused(_)));
        assert!(refused(&file), "a file is in the way");
        fs::write(name.join("state"), "s").expect("written");
        assert!(refused(&name), "it is not empty");
    }
}

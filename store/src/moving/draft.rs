//! Directories that are made beside their names first: one that has its name is whole.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::moving::Problem;
use crate::moving::import::failed;

/// A directory beside the one that is to be; gone when it was not finished.
pub(crate) struct Draft {
    pub(crate) dir: PathBuf,
    finished: bool,
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
        // Left by one that was killed: nobody else uses this name.
        if dir.exists() {
            fs::remove_dir_all(&dir).map_err(|error| failed(&dir, &error))?;
        }
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir);
        made.map_err(|error| failed(&dir, &error))?;
        Ok(Draft { dir, finished: false })
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

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.finished {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

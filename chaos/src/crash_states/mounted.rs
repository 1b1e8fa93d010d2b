//! A file system on a loop device, as long as it is needed.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::world::network::run;

/// How long those who still hold a file of it may take to let go.
const LET_GO: Duration = Duration::from_secs(5);

/// Where it is mounted; unmounted when it is dropped.
pub(crate) struct Mounted {
    at: PathBuf,
    gone: bool,
}

impl Mounted {
    /// Mounts what lies in a file, with what its journal holds.
    ///
    /// # Errors
    /// When the kernel does not take it for a file system.
    pub(crate) fn new(file: &Path, at: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(at)?;
        let (file, text) = (file.display().to_string(), at.display().to_string());
        run("mount", &["-t", "ext4", "-o", "loop,noatime,noinit_itable", &file, &text])?;
        Ok(Mounted { at: at.to_owned(), gone: false })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.at
    }

    /// Unmounts it.
    ///
    /// # Errors
    /// While somebody uses it.
    pub(crate) fn unmount(mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + LET_GO;
        while let Err(error) = run("umount", &[&self.at.display().to_string()]) {
            if Instant::now() > deadline {
                return Err(error);
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        self.gone = true;
        Ok(())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if !self.gone {
            let _ = run("umount", &["-l", &self.at.display().to_string()]);
        }
    }
}

//! Disks of a member's own: they can be filled, and mounted again after a loss of power.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::Context;
use nix::sys::statvfs::statvfs;

use crate::world::network::run;

/// Size of such a disk; its file on the machine's disk holds only what is written.
const BYTES: &str = "2G";
/// The file that fills a disk.
const FILLER: &str = "filler";

/// Whether this process may mount file systems on loop devices; tried once.
pub(crate) fn can_mount() -> Result<(), String> {
    static FOUND: OnceLock<Result<(), String>> = OnceLock::new();
    FOUND.get_or_init(try_to_mount).clone()
}

fn try_to_mount() -> Result<(), String> {
    if !nix::unistd::geteuid().is_root() {
        return Err("disks of a member's own need root".to_owned());
    }
    let dir = std::env::temp_dir().join(format!("rmprobe{}", std::process::id()));
    let made = mount(&dir.with_extension("img"), &dir);
    let _ = run("umount", &["-l", &dir.display().to_string()]);
    let _ = std::fs::remove_file(dir.with_extension("img"));
    let _ = std::fs::remove_dir(&dir);
    made.map_err(|error| format!("{error:#}"))
}

/// The file that a member's disk lies in.
pub(crate) fn image(dir: &Path, member: &str) -> PathBuf {
    dir.join(format!("{member}.img"))
}

/// Mounts a new file system, which lies in a file, on a folder.
///
/// # Errors
/// When the system does not let it.
pub(crate) fn mount(file: &Path, at: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(at)?;
    let text = file.display().to_string();
    run("truncate", &["-s", BYTES, &text])?;
    run("mkfs.ext4", &["-q", "-F", &text])?;
    mount_again(file, at)
}

/// Mounts the file system that lies in a file.
///
/// # Errors
/// When the system does not let it.
pub(crate) fn mount_again(file: &Path, at: &Path) -> anyhow::Result<()> {
    run("mount", &["-o", "loop", &file.display().to_string(), &at.display().to_string()]).map(drop)
}

/// Takes a folder's file system away.
///
/// # Errors
/// While somebody uses it.
pub(crate) fn unmount(at: &Path) -> anyhow::Result<()> {
    run("umount", &[&at.display().to_string()]).map(drop)
}

/// Fills a disk but for so many bytes.
///
/// # Errors
/// When the disk cannot be asked or filled.
pub(crate) fn fill(dir: &Path, left: u64) -> anyhow::Result<()> {
    let disk = statvfs(dir).with_context(|| dir.display().to_string())?;
    let free = disk.blocks_available().saturating_mul(disk.fragment_size());
    let filler = dir.join(FILLER).display().to_string();
    run("fallocate", &["-l", &free.saturating_sub(left).to_string(), &filler]).map(drop)
}

/// Gives the room back.
///
/// # Errors
/// When nothing fills it.
pub(crate) fn empty(dir: &Path) -> anyhow::Result<()> {
    std::fs::remove_file(dir.join(FILLER)).with_context(|| dir.display().to_string())
}

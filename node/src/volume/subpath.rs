//! A path inside a volume, held fast: what a container may have swapped for a link meanwhile is never followed out.
//!
//! The kernel resolves the path below the volume in one step; what it opened is mounted in a folder of the agent's, and
//! that is what the engine is given. Source: Kubernetes' `pkg/volume/util/subpath/subpath_linux.go`, `openat2(2)`.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, mkdirat};

/// Mounts that may lie over each other after an agent ended at the wrong time.
const LAYERS_MAX: usize = 16;

fn open_below(dir: impl AsFd, path: &Path) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    openat2(dir, path, OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC).resolve(resolve))
}

/// Opens a path below a folder, making folders that are missing.
fn open(base: &Path, sub: &str) -> Result<OwnedFd, String> {
    let said = |what: Errno| match what {
        Errno::EXDEV | Errno::ELOOP => format!("subPath \"{sub}\" leads out of its volume"),
        other => format!("subPath \"{sub}\": {other}"),
    };
    let mut names = Vec::new();
    for component in Path::new(sub).components() {
        match component {
            Component::Normal(name) => names.push(name),
            Component::CurDir => {}
            _ => return Err(said(Errno::EXDEV)),
        }
    }
    let root: OwnedFd = File::open(base).map_err(|error| format!("open {}: {error}", base.display()))?.into();
    let mut path = PathBuf::new();
    let mut held = root.try_clone().map_err(|error| error.to_string())?;
    for name in names {
        path.push(name);
        held = match open_below(&root, &path) {
            Err(Errno::ENOENT) => {
                match mkdirat(&held, name, Mode::from_bits_truncate(0o750)) {
                    Ok(()) | Err(Errno::EEXIST) => {}
                    Err(other) => return Err(said(other)),
                }
                open_below(&root, &path).map_err(said)?
            }
            other => other.map_err(said)?,
        };
    }
    Ok(held)
}

/// Puts what lies at a path of a volume at `place`, and answers the path for the engine.
///
/// # Errors
///
/// What to tell the user.
pub(super) fn hold(base: &Path, sub: &str, place: &Path) -> Result<PathBuf, String> {
    let found = open(base, sub)?;
    let source = format!("/proc/self/fd/{}", found.as_raw_fd());
    let failed = |error: std::io::Error| format!("subPath \"{sub}\": {}: {error}", place.display());
    release(place).map_err(failed)?;
    std::fs::create_dir_all(place.parent().unwrap_or(place)).map_err(failed)?;
    if std::fs::metadata(&source).map_err(failed)?.is_dir() {
        std::fs::create_dir(place).map_err(failed)?;
    } else {
        File::create(place).map_err(failed)?;
    }
    match mount(Some(source.as_str()), place, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>) {
        Ok(()) => Ok(place.to_owned()),
        Err(Errno::EPERM) => {
            tracing::warn!(sub, "no right to mount: a subPath is given by its name, which a container can change");
            std::fs::read_link(&source).map_err(failed)
        }
        Err(other) => Err(format!("subPath \"{sub}\": mount at {}: {other}", place.display())),
    }
}

/// Takes away what was put at a place, and nothing of the volume behind it.
fn release(place: &Path) -> std::io::Result<()> {
    for _ in 0..LAYERS_MAX {
        if umount2(place, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW).is_err() {
            break;
        }
    }
    // Neither removes more than the empty thing that the mount lay on.
    match std::fs::remove_dir(place).or_else(|_| std::fs::remove_file(place)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Takes away everything below a folder of such places.
///
/// # Errors
///
/// A place that is still in use: its folder must not be removed.
pub(super) fn release_all(dir: &Path) -> std::io::Result<()> {
    for container in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        for place in std::fs::read_dir(container.path()).into_iter().flatten().flatten() {
            release(&place.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn no_link_leads_out_of_a_volume() {
        let (volume, outside) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        std::fs::write(outside.path().join("secret"), "s").expect("written");
        symlink(outside.path(), volume.path().join("out")).expect("linked");
        symlink("../..", volume.path().join("up")).expect("linked");
        std::fs::create_dir(volume.path().join("real")).expect("made");
        symlink("real", volume.path().join("in")).expect("linked");
        let below = |sub: &str| open(volume.path(), sub).map(drop);
        for sub in ["out", "out/secret", "out/new", "up", "up/etc", "../x", "/etc", "a/../.."] {
            let why = below(sub).expect_err(sub);
            assert!(why.contains("leads out of its volume"), "{sub}: {why}");
        }
        assert!(!outside.path().join("new").exists(), "nothing is made there either");
        for sub in ["in", "in/deep/er", "fresh/one", "./real"] {
            below(sub).expect(sub);
        }
        assert!(volume.path().join("real/deep/er").is_dir() && volume.path().join("fresh/one").is_dir());
    }

    #[test]
    fn what_was_opened_stays_whatever_the_name_becomes() {
        let (volume, own) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let sub = volume.path().join("sub");
        std::fs::create_dir(&sub).expect("made");
        std::fs::write(sub.join("file"), "mine").expect("written");
        let place = own.path().join("container/0");
        let Ok(given) = hold(volume.path(), "sub", &place) else { panic!("it is there") };
        if given != place {
            // Without the right to mount there is only the name.
            return;
        }
        std::fs::rename(&sub, volume.path().join("moved")).expect("swapped");
        symlink("/etc", &sub).expect("swapped");
        assert_eq!(std::fs::read_to_string(given.join("file")).expect("read"), "mine");
        assert_eq!(
            hold(volume.path(), "sub", &place).expect_err("a link out"),
            "subPath \"sub\" leads out of its volume"
        );
        release_all(own.path()).expect("released");
        assert!(!place.exists() && volume.path().join("moved/file").exists(), "the volume is as it was");
    }
}

//! Files that change all at once: readers see the old set or the new one, never a mix.
//!
//! The files lie in a folder of their own; `..data` is a symbolic link to it that is swapped by a rename, and each
//! visible name is a link through `..data`. Source: Kubernetes' `pkg/volume/util/atomic_writer.go`.

use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use super::payload::Files;

/// The files as they are now lie below it.
pub(super) const DATA: &str = "..data";
const NEXT: &str = "..data_tmp";

pub(super) fn write(dir: &Path, files: &Files, group: Option<i64>) -> std::io::Result<()> {
    let group = group.and_then(|g| u32::try_from(g).ok());
    let before = std::fs::read_link(dir.join(DATA)).ok();
    if before.is_some() && same(&dir.join(DATA), files)? {
        return Ok(());
    }
    let last: u64 = before.as_ref().and_then(|b| b.to_str()?.strip_prefix("..")?.parse().ok()).unwrap_or(0);
    let name = format!("..{}", last + 1);
    let fresh = dir.join(&name);
    let _ = std::fs::remove_dir_all(&fresh);
    std::fs::create_dir(&fresh)?;
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o755))?;
    for (path, (content, mode)) in files {
        if !Path::new(path).components().all(|c| matches!(c, std::path::Component::Normal(_))) {
            return Err(std::io::Error::other(format!("path {path} leads out of the volume")));
        }
        let path = fresh.join(path);
        std::fs::create_dir_all(path.parent().unwrap_or(&fresh))?;
        std::fs::write(&path, content)?;
        chown(&path, None, group)?;
        let mode = if group.is_some() { mode | 0o440 } else { *mode };
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
    }
    let _ = std::fs::remove_file(dir.join(NEXT));
    symlink(&name, dir.join(NEXT))?;
    std::fs::rename(dir.join(NEXT), dir.join(DATA))?;
    let visible: BTreeSet<&str> = files.keys().filter_map(|p| p.split('/').next()).collect();
    for entry in std::fs::read_dir(dir)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with("..") && !visible.contains(name.as_str()) {
            std::fs::remove_file(entry.path())?;
        }
    }
    for name in visible.iter().filter(|n| std::fs::symlink_metadata(dir.join(n)).is_err()) {
        symlink(Path::new(DATA).join(name), dir.join(name))?;
    }
    before.map_or(Ok(()), |old| std::fs::remove_dir_all(dir.join(old)))
}

fn same(data: &Path, files: &Files) -> std::io::Result<bool> {
    for (path, (content, _)) in files {
        match std::fs::read(data.join(path)) {
            Ok(found) if found == *content => {}
            Ok(_) => return Ok(false),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(e),
        }
    }
    let names: BTreeSet<_> = files.keys().filter_map(|p| p.split('/').next()).collect();
    Ok(std::fs::read_dir(data)?.flatten().count() == names.len())
}

#[cfg(test)]
mod tests {
    use super::{Files, write};

    #[test]
    fn files_change_at_once_and_names_that_go_are_gone() {
        let dir = tempfile::tempdir().expect("a directory");
        let files = |pairs: &[(&str, &str)]| -> Files {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (v.as_bytes().to_vec(), 0o644))).collect()
        };
        write(dir.path(), &files(&[("a", "1"), ("sub/b", "2")]), None).expect("written");
        let held = std::fs::File::open(dir.path().join("a")).expect("open");
        write(dir.path(), &files(&[("sub/b", "3"), ("c", "4")]), None).expect("written again");
        assert_eq!(std::io::read_to_string(held).expect("read"), "1", "an open file stays what it was");
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).ok();
        assert_eq!((read("a"), read("sub/b"), read("c")), (None, Some("3".into()), Some("4".into())));
        assert!(write(dir.path(), &files(&[("../x", "")]), None).is_err());
    }
}

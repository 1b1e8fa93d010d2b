//! Directories of a simulated disk, and files that are read and written from front to back.
//!
//! The log's syncs take their time; a sync here is over when it returns. Names of directories end with a slash.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::{Change, Defect, Drive, State, missing};

/// What a directory has in the place of a file.
const DIRECTORY: u64 = 0;

/// An open file: see the module.
pub(crate) struct Opened {
    drive: Drive,
    file: u64,
    at: usize,
}

fn text(path: &Path) -> io::Result<String> {
    let text = path.to_str().ok_or(io::ErrorKind::InvalidFilename)?;
    Ok(text.trim_end_matches('/').to_owned())
}

fn directory(path: &Path) -> io::Result<String> {
    Ok(text(path)? + "/")
}

impl State {
    /// Whether there is a directory that something new can lie in.
    fn parent(&self, path: &Path) -> io::Result<()> {
        let above = path.parent().filter(|above| !above.as_os_str().is_empty());
        let held =
            above.map_or(Ok(true), |above| Ok::<_, io::Error>(self.now.names.contains_key(&directory(above)?)))?;
        if held { Ok(()) } else { Err(missing(&path.display().to_string())) }
    }

    fn name(&mut self, name: String, file: u64) {
        self.now.names.insert(name.clone(), file);
        self.changes.push(Change::Named { name, file });
    }

    fn forget(&mut self, name: String) -> io::Result<()> {
        self.powered()?;
        let file = self.now.names.remove(&name).ok_or_else(|| missing(&name))?;
        self.unlinked.extend((file != DIRECTORY).then_some(file));
        self.changes.push(Change::Unnamed { name });
        Ok(())
    }

    /// Makes some changes durable, and no others.
    fn settle_some(&mut self, covered: impl Fn(&Change) -> bool) {
        if self.defect == Some(Defect::SyncsLie) {
            return;
        }
        let before = self.settled;
        for (place, change) in std::mem::take(&mut self.changes).into_iter().enumerate() {
            if covered(&change) {
                self.durable.apply(&change);
                self.settled -= usize::from(place < before);
            } else {
                self.changes.push(change);
            }
        }
        self.free();
    }

    /// Files that lost their name are gone once no loss of power can bring it back.
    fn free(&mut self) {
        let mut held: BTreeSet<u64> = self.durable.names.values().copied().collect();
        held.extend(self.changes.iter().filter_map(|change| match change {
            Change::Named { file, .. } | Change::Renamed { file, .. } => Some(*file),
            _ => None,
        }));
        let (kept, gone): (Vec<u64>, Vec<u64>) =
            std::mem::take(&mut self.unlinked).into_iter().partition(|file| held.contains(file));
        self.unlinked = kept;
        for file in gone {
            self.now.files.remove(&file);
            self.durable.files.remove(&file);
        }
    }
}

impl Drive {
    pub(crate) fn create_at(&self, path: &Path) -> io::Result<Opened> {
        let name = text(path)?;
        let mut state = self.0.lock();
        state.powered()?;
        state.parent(path)?;
        if state.faults.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        // Emptied, it is as good as another file: what it held must not come back below what is written now.
        if state.now.names.contains_key(&name) {
            state.forget(name.clone())?;
        }
        let file = state.next;
        state.next += 1;
        state.now.files.insert(file, Vec::new());
        state.durable.files.insert(file, Vec::new());
        state.name(name, file);
        Ok(Opened { drive: self.clone(), file, at: 0 })
    }

    pub(crate) fn open_at(&self, path: &Path) -> io::Result<Opened> {
        let name = text(path)?;
        let file = *self.0.lock().now.names.get(&name).ok_or_else(|| missing(&name))?;
        Ok(Opened { drive: self.clone(), file, at: 0 })
    }

    pub(crate) fn within(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let above = directory(dir)?;
        let state = self.0.lock();
        if !state.now.names.contains_key(&above) {
            return Err(missing(&above));
        }
        let below = state.now.names.range(above.clone()..).map_while(|(name, _)| name.strip_prefix(&above));
        let direct = below.filter_map(|name| {
            let name = name.strip_suffix('/').unwrap_or(name);
            (!name.is_empty() && !name.contains('/')).then(|| dir.join(name))
        });
        Ok(direct.collect())
    }

    pub(crate) fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let name = directory(dir)?;
        let mut state = self.0.lock();
        state.powered()?;
        state.parent(dir)?;
        if state.now.names.contains_key(&name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.name(name, DIRECTORY);
        Ok(())
    }

    pub(crate) fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let above = dir.parent().filter(|above| !above.as_os_str().is_empty());
        if let Some(above) = above {
            self.create_dir_all(above)?;
        }
        match self.create_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            made => made,
        }
    }

    pub(crate) fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.0.lock().forget(text(path)?)
    }

    pub(crate) fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        let above = directory(dir)?;
        let mut state = self.0.lock();
        let names: Vec<String> = state
            .now
            .names
            .range(above.clone()..)
            .map(|(name, _)| name)
            .take_while(|name| name.starts_with(&above))
            .cloned()
            .collect();
        if names.is_empty() {
            return Err(missing(&above));
        }
        // What lies deepest goes first.
        names.into_iter().rev().try_for_each(|name| state.forget(name))
    }

    pub(crate) fn rename_at(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        state.powered()?;
        state.parent(to)?;
        let (dir, file) = (directory(from)?, text(from)?);
        if state.now.names.contains_key(&dir) {
            let to = directory(to)?;
            if state.now.names.contains_key(&to) {
                return Err(io::ErrorKind::DirectoryNotEmpty.into());
            }
            let moved = Change::Renamed { from: dir, to, file: DIRECTORY };
            state.now.apply(&moved);
            state.changes.push(moved);
            return Ok(());
        }
        let id = *state.now.names.get(&file).ok_or_else(|| missing(&file))?;
        let moved = Change::Renamed { from: file, to: text(to)?, file: id };
        let replaced = state.now.names.get(&text(to)?).copied();
        state.unlinked.extend(replaced);
        state.now.apply(&moved);
        state.changes.push(moved);
        Ok(())
    }

    pub(crate) fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let name = directory(dir)?;
        let mut state = self.0.lock();
        state.synced()?;
        if !state.now.names.contains_key(&name) {
            return Err(missing(&name));
        }
        if state.defect != Some(Defect::NamesLie) {
            // A file system's journal keeps the order of names, wherever they are.
            state.settle_some(|change| {
                matches!(change, Change::Named { .. } | Change::Renamed { .. } | Change::Unnamed { .. })
            });
        }
        Ok(())
    }
}

impl Opened {
    pub(crate) fn sync(&self) -> io::Result<()> {
        let mut state = self.drive.0.lock();
        state.synced()?;
        state.settle_some(|change| matches!(change, Change::Write { file, .. } if *file == self.file));
        Ok(())
    }
}

impl Read for Opened {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let state = self.drive.0.lock();
        let bytes = state.now.files.get(&self.file).ok_or_else(|| missing("a file"))?;
        let rest = bytes.get(self.at..).unwrap_or_default();
        let read = rest.len().min(into.len());
        into[..read].copy_from_slice(&rest[..read]);
        self.at += read;
        Ok(read)
    }
}

impl Write for Opened {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.drive.0.lock();
        state.powered()?;
        state.write(self.file, self.at, bytes);
        self.at += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(drive: &Drive, path: &str, bytes: &[u8], synced: bool) {
        let mut file = drive.create_at(Path::new(path)).expect("made");
        file.write_all(bytes).expect("written");
        if synced {
            file.sync().expect("synced");
        }
    }

    fn get(drive: &Drive, path: &str) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        drive.open_at(Path::new(path)).ok()?.read_to_end(&mut bytes).expect("read");
        Some(bytes)
    }

    #[test]
    fn what_was_synced_with_its_name_stays_and_the_rest_may_be_lost_in_part() {
        let (mut gone, mut torn) = (0, 0);
        for seed in 0..100 {
            let drive = Drive::new(seed);
            drive.create_dir_all(Path::new("a/b")).expect("made");
            put(&drive, "a/b/kept", &[7; 3000], true);
            drive.sync_dir(Path::new("a/b")).expect("synced");
            put(&drive, "a/b/half", &[8; 3000], false);
            put(&drive, "a/b/nameless", &[9; 3000], true);
            drive.lose_power();
            assert_eq!(get(&drive, "a/b/kept"), Some(vec![7; 3000]));
            gone += u32::from(get(&drive, "a/b/nameless").is_none());
            torn += u32::from(get(&drive, "a/b/half").is_some_and(|held| held != [8; 3000]));
        }
        assert!(gone > 20 && torn > 20, "{gone} names gone, {torn} files torn");
    }

    #[test]
    fn a_directory_moves_whole_and_what_it_replaces_is_the_old_or_the_new() {
        let (mut old, mut new) = (0, 0);
        for seed in 0..200 {
            let drive = Drive::new(seed);
            drive.create_dir_all(Path::new("a/from/deep")).expect("made");
            put(&drive, "a/from/deep/x", b"x", true);
            put(&drive, "a/current", b"old", true);
            drive.sync_dir(Path::new("a")).expect("synced");
            drive.rename_at(Path::new("a/from"), Path::new("a/to")).expect("moved");
            put(&drive, "a/draft", b"new", true);
            drive.rename_at(Path::new("a/draft"), Path::new("a/current")).expect("moved");
            drive.lose_power();
            let places = ["a/from/deep/x", "a/to/deep/x"].map(|path| get(&drive, path).is_some());
            assert!(places[0] != places[1], "in both places or in none");
            match get(&drive, "a/current").expect("never without").as_slice() {
                b"old" => old += 1,
                b"new" if places[1] => new += 1,
                other => panic!("{other:?} though {places:?}"),
            }
        }
        assert!(old > 5 && new > 5, "{old} old, {new} new");
    }

    #[test]
    fn directories_are_as_those_of_the_system() {
        let (real, drive) = (tempfile::tempdir().expect("a directory"), Drive::new(1));
        let root = Path::new("root");
        drive.create_dir_all(root).expect("made");
        let (there, here) = (|path: &str| real.path().join(path), |path: &str| root.join(path));
        let kind = |done: io::Result<()>| done.err().map(|error| error.kind());
        let create =
            |path: &str| [std::fs::File::create(there(path)).map(drop), drive.create_at(&here(path)).map(drop)];
        let make = |path: &str| [std::fs::create_dir(there(path)), drive.create_dir(&here(path))];
        let rename = |a: &str, b: &str| [std::fs::rename(there(a), there(b)), drive.rename_at(&here(a), &here(b))];
        let remove = |path: &str| [std::fs::remove_file(there(path)), drive.remove_file(&here(path))];
        let clear = |path: &str| [std::fs::remove_dir_all(there(path)), drive.remove_dir_all(&here(path))];
        let steps = [
            make("a"),
            make("a"),
            make("b/c"),
            create("a/x"),
            create("b/x"),
            make("a/deep"),
            create("a/deep/y"),
            create("a/x"),
            rename("a/x", "a/z"),
            rename("a/x", "a/z"),
            rename("a", "b"),
            rename("b/z", "c/z"),
            remove("b/z"),
            remove("b/z"),
            make("a"),
            rename("b", "a/b"),
            clear("a"),
            clear("a"),
            make("last"),
        ];
        for (number, pair) in steps.into_iter().enumerate() {
            let [system, simulated] = pair.map(kind);
            assert_eq!(system, simulated, "step {number}");
        }
        let left = |paths: Vec<PathBuf>| -> Vec<_> {
            paths.iter().map(|path| path.file_name().expect("named").to_owned()).collect()
        };
        let system = std::fs::read_dir(real.path()).expect("listed").map(|entry| entry.expect("listed").path());
        assert_eq!(left(system.collect()), left(drive.within(root).expect("listed")));
    }

    #[test]
    fn without_power_nothing_changes_any_more() {
        let drive = Drive::new(1);
        drive.create_dir_all(Path::new("a")).expect("made");
        drive.off_after(3);
        put(&drive, "a/x", b"whole", true);
        assert!(!drive.is_off());
        assert!(drive.create_at(Path::new("a/y")).is_err() && drive.is_off());
        assert!(drive.sync_dir(Path::new("a")).is_err() && drive.remove_file(Path::new("a/x")).is_err());
        drive.on();
        assert_eq!(get(&drive, "a/x"), Some(b"whole".to_vec()));
        assert!(drive.sync_dir(Path::new("a")).is_ok());
    }
}

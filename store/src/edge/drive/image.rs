//! What lies on a simulated disk, and what changes it.

use std::collections::BTreeMap;

/// See the module.
#[derive(Clone, Default)]
pub(super) struct Image {
    pub(super) names: BTreeMap<String, u64>,
    pub(super) files: BTreeMap<u64, Vec<u8>>,
}

/// Something that was done, and may have to be undone.
pub(super) enum Change {
    Write { file: u64, offset: usize, bytes: Vec<u8> },
    Sync(u64),
    Named { name: String, file: u64 },
    Renamed { from: String, to: String, file: u64 },
    Unnamed { name: String },
    SyncNames,
}

impl Image {
    pub(super) fn write(&mut self, file: u64, offset: usize, bytes: &[u8]) {
        let held = self.files.entry(file).or_default();
        let end = offset + bytes.len();
        if held.len() < end {
            held.resize(end, 0);
        }
        held[offset..end].copy_from_slice(bytes);
    }

    pub(super) fn apply(&mut self, change: &Change) {
        match change {
            Change::Write { file, offset, bytes } => self.write(*file, *offset, bytes),
            Change::Named { name, file } => drop(self.names.insert(name.clone(), *file)),
            // Names of directories end with a slash.
            Change::Renamed { from, to, .. } if from.ends_with('/') => self.move_dir(from, to),
            Change::Renamed { from, to, file } => {
                self.names.remove(from);
                self.names.insert(to.clone(), *file);
            }
            Change::Unnamed { name } => drop(self.names.remove(name)),
            Change::Sync(_) | Change::SyncNames => {}
        }
    }

    /// A directory with all that lies in it.
    fn move_dir(&mut self, from: &str, to: &str) {
        let mut moved = self.names.split_off(from);
        let behind = moved.keys().find(|name| !name.starts_with(from)).cloned();
        let rest = behind.map(|behind| moved.split_off(&behind)).unwrap_or_default();
        self.names.extend(rest);
        self.names.extend(moved.into_iter().map(|(name, file)| (format!("{to}{}", &name[from.len()..]), file)));
    }
}

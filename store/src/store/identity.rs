//! Whose data directory this is: named by ids that are never used twice.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::api::MemberId;

/// The newest layout of a data directory that this program knows.
const FORMAT: u32 = 1;

/// Who the owner of a data directory is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// Layout of the directory.
    pub(crate) format: u32,
    /// Random, never used again by anybody.
    pub(crate) member_id: MemberId,
    /// The group's; absent until it has taken this member in.
    pub(crate) cluster_id: Option<u64>,
}

fn failed(path: &Path, error: &io::Error) -> Error {
    Error::Stopped(format!("{}: {error}", path.display()))
}

impl Identity {
    /// Of a member with an id, in a group once there is one.
    pub(crate) fn new(member_id: MemberId, cluster_id: Option<u64>) -> Self {
        Identity { format: FORMAT, member_id, cluster_id }
    }
}

/// Reads the identity, if there is one.
///
/// # Errors
/// When it cannot be read or is of a newer layout.
pub(crate) fn load(dir: &Path) -> Result<Option<Identity>, Error> {
    let path = dir.join("identity.json");
    match fs::read(&path) {
        Ok(text) => {
            let identity: Identity = serde_json::from_slice(&text).map_err(|error| {
                Error::Stopped(format!(
                    "{}: {error}; restore the file, or join again as a new member with an empty data directory",
                    path.display()
                ))
            })?;
            if identity.format > FORMAT {
                let found = identity.format;
                return Err(Error::Stopped(format!(
                    "{}: format {found} is newer than this program knows ({FORMAT}); start it with the newer version",
                    dir.display()
                )));
            }
            Ok(Some(identity))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(&path, &error)),
    }
}

/// Writes the identity so that a crash leaves the old or the new one.
///
/// # Errors
/// When the disk fails.
pub(crate) fn save(dir: &Path, identity: &Identity) -> Result<(), Error> {
    let (draft, path) = (dir.join("identity.json.new"), dir.join("identity.json"));
    let text = serde_json::to_vec_pretty(identity).expect("plain fields");
    let write = || {
        let mut file = File::create(&draft)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&draft, &path)?;
        File::open(dir)?.sync_all()
    };
    write().map_err(|error| failed(&path, &error))
}

/// A random number that is not 0.
///
/// # Errors
/// When the system has no randomness.
pub(crate) fn random() -> Result<u64, Error> {
    let mut bytes = [0; 8];
    crate::edge::fill(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_what_was_saved() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(load(dir.path()).expect("nothing there"), None);
        let identity = Identity::new(7, Some(8));
        save(dir.path(), &identity).expect("written");
        assert_eq!(load(dir.path()).expect("read"), Some(identity));
    }

    #[test]
    fn a_newer_layout_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        save(dir.path(), &Identity { format: FORMAT + 1, member_id: 1, cluster_id: None }).expect("written");
        assert!(load(dir.path()).is_err_and(|error| error.to_string().contains("newer than this program")));
    }
}

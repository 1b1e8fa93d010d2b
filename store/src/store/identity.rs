//! Whose data directory this is: named by ids that are never used twice.
//!
//! It lies in `identity.json`: the fields of `Identity`, and `checksum`, the CRC-32C in hexadecimal of all other fields as
//! JSON without spaces, in the order of their names.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

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

/// The file, by the names of its fields.
type Fields = BTreeMap<String, Value>;

/// The field that says what the others must be.
const CHECKSUM: &str = "checksum";

fn failed(path: &Path, error: impl std::fmt::Display) -> Error {
    Error::Stopped(format!("{}: {error}", path.display()))
}

/// PURE: the bytes of the file.
fn written(identity: &Identity) -> Vec<u8> {
    let fields = serde_json::to_value(identity).and_then(serde_json::from_value);
    let mut fields: Fields = fields.expect("plain fields");
    fields.insert(CHECKSUM.to_owned(), checksum(&fields).into());
    serde_json::to_vec_pretty(&fields).expect("plain fields")
}

fn checksum(fields: &Fields) -> String {
    format!("{:08x}", crc32c::crc32c(&serde_json::to_vec(fields).expect("plain fields")))
}

/// PURE: what the file says; the text tells what is wrong where it is not what was written.
fn parse(text: &[u8]) -> Result<Identity, String> {
    let damaged = |how: String| {
        format!(
            "damaged: {how}. Restore the file from a copy of this very directory; without one, remove this member from the \
             cluster and join it again with an empty data directory, or restore a backup when no other member is left"
        )
    };
    let mut fields: Fields = serde_json::from_slice(text).map_err(|error| damaged(error.to_string()))?;
    let whole = fields.remove(CHECKSUM).is_some_and(|said| said == checksum(&fields));
    let newer = fields.get("format").and_then(Value::as_u64).filter(|format| *format > u64::from(FORMAT));
    let newer = newer.map(|format| format!("format {format} is newer than this program knows ({FORMAT})"));
    match (newer, whole) {
        (Some(newer), true) => Err(format!("{newer}; start it with the newer version")),
        (Some(newer), false) => Err(damaged(format!("{newer}, and its checksum does not match"))),
        (None, false) => Err(damaged("its checksum does not match".to_owned())),
        (None, true) => {
            let fields = Value::Object(fields.into_iter().collect());
            serde_json::from_value(fields).map_err(|error| damaged(error.to_string()))
        }
    }
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
/// When it cannot be read, is damaged or of a newer layout.
pub(crate) fn load(dir: &Path) -> Result<Option<Identity>, Error> {
    let path = dir.join("identity.json");
    match fs::read(&path) {
        Ok(text) => parse(&text).map(Some).map_err(|why| failed(&path, why)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(&path, error)),
    }
}

/// Writes the identity so that a crash leaves the old or the new one.
///
/// # Errors
/// When the disk fails.
pub(crate) fn save(dir: &Path, identity: &Identity) -> Result<(), Error> {
    let (draft, path) = (dir.join("identity.json.new"), dir.join("identity.json"));
    let write = || {
        let mut file = File::create(&draft)?;
        file.write_all(&written(identity))?;
        file.sync_all()?;
        fs::rename(&draft, &path)?;
        File::open(dir)?.sync_all()
    };
    write().map_err(|error| failed(&path, error))
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
        let refused = load(dir.path()).expect_err("newer").to_string();
        assert!(refused.contains("newer than this program knows (1); start it with the newer version"), "{refused}");
    }

    #[test]
    fn every_flipped_bit_is_found_or_means_nothing() {
        let identity = Identity::new(0x0123_4567_89ab_cdef, Some(u64::MAX - 7));
        let whole = written(&identity);
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            match parse(&flipped) {
                Ok(read) => assert_eq!(read, identity, "bit {bit}"),
                Err(why) => assert!(why.contains("damaged: "), "bit {bit}: {why}"),
            }
        }
        for length in 0..whole.len() {
            assert!(parse(&whole[..length]).is_err(), "cut at {length}");
        }
        let without = r#"{"format": 1, "member_id": 7, "cluster_id": null}"#;
        assert!(parse(without.as_bytes()).is_err_and(|why| why.contains("checksum does not match")));
    }
}

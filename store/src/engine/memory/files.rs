//! The simulated engine's bytes in a directory: one file, and in a copy further ones with pieces of them. A checksum tells
//! what is damaged or torn, as those of RocksDB's files do.

use std::io;
use std::path::{Path, PathBuf};

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::edge::files;

/// The file that holds what was flushed, or how many pieces do.
const FILE: &str = "rows";
/// Bytes of a piece: a copy that is sent to another member has several, of which some may have arrived.
const PIECE_BYTES: usize = 4096;

fn piece(dir: &Path, number: usize) -> PathBuf {
    dir.join(format!("{number:06}.rows"))
}

/// The number of pieces and the checksum of all bytes, then the bytes unless they are in pieces.
fn head(pieces: usize, all: &[u8]) -> BytesMut {
    let mut head = BytesMut::new();
    head.put_u32(u32::try_from(pieces).unwrap_or(u32::MAX));
    head.put_u32(crc32c::crc32c(all));
    head
}

/// Replaces what lies there; durable when it returns.
///
/// # Errors
/// As the file system's.
pub(super) fn store(dir: &Path, all: &[u8]) -> io::Result<()> {
    let mut bytes = head(0, all);
    bytes.put_slice(all);
    let draft = dir.join("rows.new");
    files::write(&draft, &bytes)?;
    files::rename(&draft, &dir.join(FILE))?;
    files::sync_dir(dir)
}

/// Writes it in pieces into a directory that does not exist yet; durable when it returns.
///
/// # Errors
/// As the file system's.
pub(super) fn copy(dir: &Path, all: &[u8]) -> io::Result<()> {
    files::create_dir(dir)?;
    let pieces = all.chunks(PIECE_BYTES);
    let count = pieces.len();
    for (number, bytes) in pieces.enumerate() {
        files::write(&piece(dir, number), bytes)?;
    }
    files::write(&dir.join(FILE), &head(count, all))?;
    files::sync_dir(dir)
}

/// What lies there, if anything does.
///
/// # Errors
/// As the file system's, and when it is damaged.
pub(super) fn load(dir: &Path) -> io::Result<Option<Bytes>> {
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, format!("{}: its rows are damaged", dir.display()));
    let mut bytes = match files::read(&dir.join(FILE)) {
        Ok(bytes) => Bytes::from(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let (pieces, sum) =
        bytes.try_get_u32().and_then(|pieces| Ok((pieces, bytes.try_get_u32()?))).map_err(|_| damaged())?;
    if pieces > 0 {
        let mut all = BytesMut::new();
        for number in 0..usize::try_from(pieces).unwrap_or(usize::MAX) {
            all.put_slice(
                &files::read(&piece(dir, number))
                    .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", dir.display())))?,
            );
        }
        bytes = all.freeze();
    }
    if crc32c::crc32c(&bytes) == sum { Ok(Some(bytes)) } else { Err(damaged()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stored_or_copied_is_there_and_damage_is_found() {
        let home = tempfile::tempdir().expect("a directory");
        assert_eq!(load(home.path()).expect("nothing there"), None);
        let all: Vec<u8> = (0..10_000_u32).map(|number| u8::try_from(number % 251).expect("small")).collect();
        for all in [&all[..], b""] {
            let dir = home.path().join(format!("copy-{}", all.len()));
            store(home.path(), all).expect("stored");
            copy(&dir, all).expect("copied");
            for dir in [home.path(), &dir] {
                assert_eq!(load(dir).expect("whole").as_deref(), Some(all));
            }
        }
        let dir = home.path().join("copy-10000");
        for path in [dir.join(FILE), piece(&dir, 0), piece(&dir, 2)] {
            let whole = std::fs::read(&path).expect("read");
            for (at, length) in [(0, whole.len()), (whole.len() - 1, whole.len()), (0, whole.len() - 1)] {
                let mut bytes = whole.clone();
                bytes[at] ^= 4;
                bytes.truncate(length);
                std::fs::write(&path, bytes).expect("written");
                assert!(load(&dir).is_err(), "{} at {at}", path.display());
            }
            std::fs::write(&path, whole).expect("written");
        }
        assert!(load(&dir).is_ok());
    }
}

//! A file that holds an etcd's database: what `etcdctl snapshot save` wrote, or `member/snap/db` of an etcd that is stopped.

use std::fs::{File, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use aws_lc_rs::digest::{Context, SHA256, SHA256_OUTPUT_LEN};
use bytes::Bytes;

use crate::bbolt::{Damaged, Source};
use crate::moving::database::EtcdDatabase;
use crate::moving::{Problem, Progress};

/// Bytes read at once.
const PIECE_BYTES: usize = 1 << 20;
/// Databases are a multiple of the smallest disk sector; a checksum behind one shows by the rest.
const SECTOR_BYTES: u64 = 512;

/// The database in a file, without the checksum behind it.
#[derive(Debug)]
pub(super) struct DatabaseFile {
    file: File,
    bytes: u64,
    /// Whether it carried a checksum, which was right.
    pub(super) checked: bool,
}

impl Source for DatabaseFile {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn read(&self, at: u64, length: usize) -> Result<Bytes, Damaged> {
        let mut bytes = vec![0; length];
        let read = self.file.read_exact_at(&mut bytes, at);
        read.map(|()| bytes.into()).map_err(|error| Damaged(format!("it cannot be read at byte {at}: {error}")))
    }
}

fn failed(path: &Path, error: &io::Error) -> Problem {
    Problem::Failed(format!("{}: {error}", path.display()))
}

/// Opens a file, checks its checksum where it has one, and reads all of it once.
pub(super) fn open(path: &Path, progress: &Progress) -> Result<(EtcdDatabase<DatabaseFile>, bool), Problem> {
    let file = DatabaseFile::open(path, progress)?;
    let checked = file.checked;
    let etcd = EtcdDatabase::open(file).map_err(|why| Problem::Refused(format!("{}: {why}", path.display())))?;
    Ok((etcd, checked))
}

impl DatabaseFile {
    fn open(path: &Path, progress: &Progress) -> Result<Self, Problem> {
        let wrong = |error: io::Error| failed(path, &error);
        let file = File::open(path).map_err(wrong)?;
        match file.try_lock_shared() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Problem::Refused(format!(
                    "{}: an etcd has it open; stop that etcd, or import from it with --endpoints while it runs",
                    path.display()
                )));
            }
            Err(TryLockError::Error(error)) => return Err(wrong(error)),
        }
        let bytes = file.metadata().map_err(wrong)?.len();
        let sum = SHA256_OUTPUT_LEN as u64;
        match bytes % SECTOR_BYTES {
            0 => Ok(DatabaseFile { file, bytes, checked: false }),
            rest if rest == sum => {
                let found = DatabaseFile { file, bytes: bytes - sum, checked: true };
                found.check(path, progress)?;
                Ok(found)
            }
            _ => Err(Problem::Refused(format!(
                "{}: it is cut off or no snapshot: {bytes} bytes are neither a database nor one with its checksum",
                path.display()
            ))),
        }
    }

    /// Compares with the checksum behind the database.
    fn check(&self, path: &Path, progress: &Progress) -> Result<(), Problem> {
        let (mut hash, mut left) = (Context::new(&SHA256), self.bytes);
        let mut piece = vec![0; PIECE_BYTES];
        while left > 0 {
            let now = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE_BYTES);
            (&self.file).read_exact(&mut piece[..now]).map_err(|error| failed(path, &error))?;
            hash.update(&piece[..now]);
            left -= now as u64;
            progress.at("checking the snapshot's checksum, bytes", self.bytes - left, self.bytes)?;
        }
        let mut said = [0; SHA256_OUTPUT_LEN];
        (&self.file).read_exact(&mut said).map_err(|error| failed(path, &error))?;
        if hash.finish().as_ref() == said {
            return Ok(());
        }
        let text = format!("{}: its checksum does not match: it is damaged; take it again", path.display());
        Err(Problem::Refused(text))
    }
}

/// Reads bytes as an etcd's database to the end; answers its newest revision.
///
/// # Errors
/// When they are none.
pub fn check(bytes: &[u8]) -> Result<i64, Damaged> {
    let etcd = EtcdDatabase::open(bytes)?;
    etcd.changes()?.try_for_each(|change| change.map(|_| ()))?;
    Ok(etcd.facts.revision)
}

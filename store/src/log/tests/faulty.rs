//! The log on a disk that stalls at a chosen sync and dies at a chosen moment.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::super::disk::{Disk, DiskFile, Folder};
use super::super::{Error, Log, Options};
use super::{OPTIONS, append, data, open};

#[derive(Default)]
struct Switches {
    /// The next sync says that it began and waits for a word.
    stall: Mutex<Option<(Sender<()>, Receiver<()>)>>,
    /// From the first removal of a file on, nothing is written any more.
    dies_at_removal: AtomicBool,
    dead: AtomicBool,
    /// So many files are made by half, for want of room.
    full: AtomicUsize,
}

impl Switches {
    fn alive(&self) -> io::Result<()> {
        if self.dead.load(Ordering::SeqCst) { Err(io::Error::other("the disk is dead")) } else { Ok(()) }
    }

    /// Arms the stall: the first end tells when a sync began, the second lets it go on.
    fn stall(&self) -> (Receiver<()>, Sender<()>) {
        let ((began, told), (go, wait)) = (channel(), channel());
        *self.stall.lock().unwrap() = Some((began, wait));
        (told, go)
    }
}

struct FaultyFolder(Folder, Arc<Switches>);
struct FaultyFile(File, Arc<Switches>);

impl Disk for FaultyFolder {
    type File = FaultyFile;

    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }

    fn create(&self, name: &str, size: u64) -> io::Result<FaultyFile> {
        self.1.alive()?;
        if self.1.full.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            self.0.create(name, size / 2)?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(FaultyFile(self.0.create(name, size)?, self.1.clone()))
    }

    fn open(&self, name: &str) -> io::Result<FaultyFile> {
        Ok(FaultyFile(self.0.open(name)?, self.1.clone()))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        if self.1.dies_at_removal.load(Ordering::SeqCst) {
            self.1.dead.store(true, Ordering::SeqCst);
        }
        self.0.remove(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        if self.1.dies_at_removal.load(Ordering::SeqCst) {
            self.1.dead.store(true, Ordering::SeqCst);
        }
        self.0.rename(from, to)
    }

    fn sync_names(&self) -> io::Result<()> {
        self.1.alive()?;
        self.0.sync_names()
    }

    fn describe(&self, name: &str) -> String {
        self.0.describe(name)
    }
}

impl DiskFile for FaultyFile {
    fn size(&self) -> io::Result<u64> {
        DiskFile::size(&self.0)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        DiskFile::read_at(&self.0, buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.1.alive()?;
        DiskFile::write_at(&self.0, bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        if let Some((began, wait)) = self.1.stall.lock().unwrap().take() {
            began.send(()).unwrap();
            wait.recv().unwrap();
        }
        self.1.alive()?;
        DiskFile::sync(&self.0)
    }
}

fn open_faulty(path: &Path) -> (Log, Arc<Switches>) {
    let switches = Arc::new(Switches::default());
    let disk = FaultyFolder(Folder::open(path.to_owned()).unwrap(), switches.clone());
    (Log::open(disk, OPTIONS).unwrap(), switches)
}

#[test]
fn a_purge_that_is_not_yet_on_disk_removes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (log, switches) = open_faulty(dir.path());
    (1..=100).for_each(|index| append(&log, vec![(index, data(index, 0))]));
    switches.dies_at_removal.store(true, Ordering::SeqCst);
    let (began, go) = switches.stall();
    log.purge_upto(20, Bytes::from_static(b"20")).unwrap();
    // A purge goes to the disk with the next thing that somebody waits for.
    log.append(vec![(101, data(101, 0))], Box::new(|_| {})).unwrap();
    began.recv().unwrap();
    log.purge_upto(60, Bytes::from_static(b"60")).unwrap();
    go.send(()).unwrap();
    drop(log);
    assert!(switches.dead.load(Ordering::SeqCst), "the first purge removed files");
    let log = open(dir.path()).unwrap();
    assert_eq!(log.purged(), Some((20, Bytes::from_static(b"20"))));
    assert_eq!(log.range(), Some((21, 101)));
}

#[test]
fn a_failed_sync_is_told_to_everyone_who_waits() {
    let dir = tempfile::tempdir().unwrap();
    let (log, switches) = open_faulty(dir.path());
    let (began, go) = switches.stall();
    let (told, results) = channel();
    for index in 1..=3 {
        let told = told.clone();
        log.append(vec![(index, data(index, 0))], Box::new(move |result| told.send(result.is_ok()).unwrap())).unwrap();
        if index == 1 {
            began.recv().unwrap();
        }
    }
    switches.dead.store(true, Ordering::SeqCst);
    go.send(()).unwrap();
    drop(told);
    assert_eq!(results.iter().collect::<Vec<_>>(), [false; 3]);
    assert!(matches!(log.save_committed(Bytes::new()), Err(Error::Failed(_))), "nothing is taken after a failure");
}

#[test]
fn a_disk_that_was_full_while_a_file_was_made_ahead_stops_nothing_once_it_has_room() {
    let dir = tempfile::tempdir().unwrap();
    let (log, switches) = open_faulty(dir.path());
    switches.full.store(1, Ordering::SeqCst);
    (1..=40).for_each(|index| append(&log, vec![(index, data(index, 0))]));
    drop(log);
    assert_eq!(switches.full.load(Ordering::SeqCst), 0, "no file was made ahead");
    assert_eq!(open(dir.path()).unwrap().range(), Some((1, 40)));
}

#[test]
fn a_disk_that_stays_full_ends_the_log_and_takes_nothing_along() {
    let dir = tempfile::tempdir().unwrap();
    let (log, switches) = open_faulty(dir.path());
    switches.full.store(usize::MAX, Ordering::SeqCst);
    let mut kept = 0;
    for index in 1.. {
        let (told, result) = channel();
        let tell = Box::new(move |result: Result<(), Error>| told.send(result.map_err(|why| why.to_string())).unwrap());
        let taken = log.append(vec![(index, data(index, 0))], tell).map_err(|why| why.to_string());
        if let Err(why) = taken.and_then(|()| result.recv().unwrap()) {
            assert!(why.contains(".wal"), "{why}");
            break;
        }
        kept = index;
    }
    drop(log);
    assert!(kept > 0);
    assert_eq!(open(dir.path()).unwrap().range(), Some((1, kept)));
}

#[test]
fn what_nobody_waits_for_has_no_sync_to_itself_and_is_not_lost_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    // No segment is full before the end: a new one has a sync of its own.
    let log = Log::open(Folder::open(dir.path().to_owned()).unwrap(), Options::default()).unwrap();
    let syncs = || *log.syncs().within().last().unwrap();
    let before = syncs();
    for index in 1..=10_u64 {
        append(&log, vec![(index, data(index, 0))]);
        log.save_committed(Bytes::from(index.to_be_bytes().to_vec())).unwrap();
    }
    assert_eq!(syncs() - before, 10);
    drop(log);
    assert_eq!(open(dir.path()).unwrap().committed(), Some(Bytes::from(10_u64.to_be_bytes().to_vec())));
}

//! The log against a model, and against files that a crash or a bad disk left.

mod any;
mod faulty;
mod powerless;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;

use bytes::Bytes;
use proptest::prelude::*;

use super::disk::{Disk, Folder};
use super::record;
use super::segment::SEGMENT_HEADER_BYTES;
use super::{Error, Log, Options};
use crate::seal::Sealer;

const OPTIONS: Options = Options { segment_bytes: 512, resident_bytes: 60 };

fn open(path: &Path) -> Result<Log, Error> {
    Log::open(Folder::open(path.to_owned()).unwrap(), OPTIONS)
}

fn open_under(path: &Path, sealer: Option<&Arc<Sealer>>) -> Result<Log, Error> {
    Log::open_sealed(Folder::open(path.to_owned()).unwrap(), OPTIONS, sealer.cloned())
}

fn data(index: u64, round: u64) -> Bytes {
    Bytes::from(format!("entry {index} of round {round}"))
}

/// Appends and waits until it is on disk.
fn append(log: &Log, entries: Vec<(u64, Bytes)>) {
    let (told, durable) = channel();
    log.append(entries, Box::new(move |result| told.send(result.is_ok()).unwrap())).unwrap();
    assert!(durable.recv().unwrap());
}

#[derive(Clone, Debug)]
enum Step {
    Append(u64),
    Vote(u64),
    Truncate(u64),
    Purge(u64),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1..8_u64).prop_map(Step::Append),
        1 => any::<u64>().prop_map(Step::Vote),
        2 => (0..6_u64).prop_map(Step::Truncate),
        2 => (0..6_u64).prop_map(Step::Purge),
        2 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 1..60)
}

/// What a log should hold.
#[derive(Default)]
struct Model {
    entries: BTreeMap<u64, Bytes>,
    vote: Option<Bytes>,
    purged: Option<(u64, Bytes)>,
}

impl Model {
    fn next(&self) -> u64 {
        let last = self.entries.last_key_value().map(|(index, _)| *index);
        last.or(self.purged.as_ref().map(|(index, _)| *index)).map_or(1, |index| index + 1)
    }

    fn assert_same(&self, log: &Log) {
        let expected: Vec<_> = self.entries.iter().map(|(index, data)| (*index, data.clone())).collect();
        assert_eq!(log.entries(0, u64::MAX, usize::MAX).unwrap(), expected);
        assert_eq!((log.vote(), log.purged()), (self.vote.clone(), self.purged.clone()));
    }

    fn step(&mut self, round: u64, step: &Step, log: &Log) {
        match step {
            Step::Append(count) => {
                let entries: Vec<_> =
                    (self.next()..self.next() + count).map(|index| (index, data(index, round))).collect();
                self.entries.extend(entries.iter().cloned());
                append(log, entries);
            }
            Step::Vote(vote) => {
                let vote = Bytes::from(vote.to_string());
                log.save_vote(vote.clone(), Box::new(|result| result.unwrap())).unwrap();
                self.vote = Some(vote);
            }
            // Raft never truncates below what is purged.
            Step::Truncate(back) => {
                let floor = self.purged.as_ref().map_or(0, |(index, _)| *index);
                let index = (self.next() - 1).saturating_sub(*back).max(floor);
                log.truncate_after(index).unwrap();
                self.entries.retain(|entry, _| *entry <= index);
            }
            Step::Purge(count) => {
                let first = self.entries.first_key_value().map_or(self.next(), |(index, _)| *index);
                let index = first + count;
                log.purge_upto(index, Bytes::from(index.to_string())).unwrap();
                self.entries.retain(|entry, _| *entry > index);
                self.purged = Some((index, Bytes::from(index.to_string())));
            }
            Step::Reopen => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_log_is_what_was_written(steps in steps(), sealed: bool) {
        let dir = tempfile::tempdir().unwrap();
        let mut model = Model::default();
        let sealer = sealed.then(Sealer::of_tests);
        let mut log = open_under(dir.path(), sealer.as_ref()).unwrap();
        for (round, step) in steps.iter().enumerate() {
            if matches!(step, Step::Reopen) {
                drop(log);
                log = open_under(dir.path(), sealer.as_ref()).unwrap();
            }
            model.step(round as u64, step, &log);
            model.assert_same(&log);
        }
        drop(log);
        model.assert_same(&open_under(dir.path(), sealer.as_ref()).unwrap());
    }
}

#[test]
fn a_removed_segment_leaves_no_hole() {
    let dir = tempfile::tempdir().unwrap();
    let (mut model, log) = (Model::default(), open(dir.path()).unwrap());
    let steps = [Step::Append(1), Step::Append(1), Step::Purge(0), Step::Truncate(1), Step::Append(2), Step::Append(7)];
    for step in steps.iter().chain(&[Step::Purge(4), Step::Purge(2)]) {
        model.step(0, step, &log);
    }
    drop(log);
    model.assert_same(&open(dir.path()).unwrap());
}

/// A log of one unfilled segment with ten entries, one sync each; its file's path.
fn ten_entries(dir: &Path) -> std::path::PathBuf {
    let log = Log::open(Folder::open(dir.to_owned()).unwrap(), Options { segment_bytes: 4096, ..OPTIONS }).unwrap();
    (1..=10).for_each(|index| append(&log, vec![(index, data(index, 0))]));
    dir.join("0000000000000001.wal")
}

#[test]
fn an_entry_that_no_segment_holds_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).unwrap();
    let most = 512 - usize::try_from(SEGMENT_HEADER_BYTES).unwrap() - 2 * record::size_of(0) - size_of::<u64>();
    let largest = Bytes::from(vec![7; most]);
    append(&log, vec![(1, largest.clone())]);
    let refused = log.append(vec![(2, Bytes::from(vec![7; most + 1]))], Box::new(|_| {})).unwrap_err().to_string();
    assert!(refused.contains("too many for the log"), "{refused}");
    append(&log, vec![(2, largest.clone())]);
    drop(log);
    assert!(segments(dir.path()).iter().all(|path| std::fs::metadata(path).unwrap().len() == 512));
    assert_eq!(open(dir.path()).unwrap().entries(1, 3, usize::MAX).unwrap(), [(1, largest.clone()), (2, largest)]);
}

/// Paths of the segments, oldest first.
fn segments(dir: &Path) -> Vec<std::path::PathBuf> {
    let names = Folder::open(dir.to_owned()).unwrap().list().unwrap();
    names.into_iter().filter(|name| name.ends_with(".wal")).map(|name| dir.join(name)).collect()
}

fn offset_of(bytes: &[u8], text: &str) -> usize {
    bytes.windows(text.len()).position(|window| window == text.as_bytes()).unwrap()
}

#[test]
fn a_torn_tail_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let path = ten_entries(dir.path());
    let mut bytes = std::fs::read(&path).unwrap();
    let last = offset_of(&bytes, "entry 10");
    bytes[last + 4..].fill(0);
    std::fs::write(&path, bytes).unwrap();
    let log = open(dir.path()).unwrap();
    assert_eq!(log.range(), Some((1, 9)));
    append(&log, vec![(10, data(10, 1))]);
    drop(log);
    assert_eq!(open(dir.path()).unwrap().entries(10, 11, usize::MAX).unwrap(), [(10, data(10, 1))]);
}

#[test]
fn sealed_records_are_unreadable_and_a_torn_tail_is_seen_without_their_key() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { segment_bytes: 4096, ..OPTIONS };
    let sealer = Sealer::of_tests();
    let under = |sealer: Option<&Arc<Sealer>>| {
        Log::open_sealed(Folder::open(dir.path().to_owned()).unwrap(), options, sealer.cloned())
    };
    let log = under(Some(&sealer)).unwrap();
    (1..=10).for_each(|index| append(&log, vec![(index, data(index, 0))]));
    drop(log);
    let path = dir.path().join("0000000000000001.wal");
    let whole = std::fs::read(&path).unwrap();
    assert!(!whole.windows(5).any(|part| part == b"entry"));
    let refused = under(None).err().expect("no key").to_string();
    assert!(refused.contains("the record is encrypted, and no key was named"), "{refused}");
    let other = Sealer::of_tests();
    other.rotate_in_tests();
    other.forget_in_tests();
    let refused = under(Some(&other)).err().expect("another key").to_string();
    assert!(refused.contains("the file `keys` of this data directory does not hold"), "{refused}");

    // Two records of one size change places: their checksums are made anew, as whoever writes to the disk could.
    let (at, size) = (SEGMENT_HEADER_BYTES as usize, record::size_of(8 + data(1, 0).len() + crate::seal::OVERHEAD));
    let mut swapped = whole.clone();
    let (one, two) = (whole[at..at + size].to_vec(), whole[at + size..at + 2 * size].to_vec());
    swapped[at..at + size].copy_from_slice(&two);
    swapped[at + size..at + 2 * size].copy_from_slice(&one);
    for place in [at, at + size] {
        let length = u32::from_le_bytes(swapped[place..place + 4].try_into().unwrap()) as usize;
        let crc = crc32c::crc32c(&1_u64.to_le_bytes());
        let crc = crc32c::crc32c_append(crc, &swapped[place + 8..place + record::HEADER_BYTES + length]);
        swapped[place + 4..place + 8].copy_from_slice(&crc.to_le_bytes());
    }
    std::fs::write(&path, swapped).unwrap();
    let refused = under(Some(&sealer)).err().expect("moved").to_string();
    assert!(refused.contains("lies where something else was written"), "{refused}");

    let mut torn = whole.clone();
    let last = whole.iter().rposition(|byte| *byte != 0).unwrap();
    torn[last - 20..].fill(0);
    std::fs::write(&path, torn).unwrap();
    let log = under(Some(&sealer)).unwrap();
    assert_eq!(log.range(), Some((1, 9)));
    append(&log, vec![(10, data(10, 1))]);
    drop(log);
    assert_eq!(under(Some(&sealer)).unwrap().entries(10, 11, usize::MAX).unwrap(), [(10, data(10, 1))]);
}

#[test]
fn damage_before_a_synced_record_refuses_and_says_where() {
    let dir = tempfile::tempdir().unwrap();
    let path = ten_entries(dir.path());
    let mut bytes = std::fs::read(&path).unwrap();
    let fifth = offset_of(&bytes, "entry 5");
    bytes[fifth] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let Err(error) = open(dir.path()) else { panic!("a damaged log opened") };
    let text = error.to_string();
    assert!(matches!(error, Error::Damaged { offset, .. } if (offset as usize) < fifth), "{text}");
    assert!(text.contains("0000000000000001.wal") && text.contains("remove this member"), "{text}");
}

/// Nothing was acknowledged from a segment that was never begun; this one was.
#[test]
fn a_damaged_header_refuses_when_records_follow_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = ten_entries(dir.path());
    let whole = std::fs::read(&path).unwrap();
    for at in [0, 8, 12, 20] {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let Err(error) = open(dir.path()) else { panic!("a log without its only header opened") };
        assert!(matches!(error, Error::Damaged { offset: 0, .. }), "byte {at}: {error}");
    }
    let mut bytes = whole.clone();
    bytes[..offset_of(&whole, "entry 2")].fill(0);
    std::fs::write(&path, bytes).unwrap();
    assert!(matches!(open(dir.path()), Err(Error::Damaged { offset: 0, .. })), "the first record is gone as well");
    std::fs::write(&path, whole).unwrap();
    assert_eq!(open(dir.path()).unwrap().range(), Some((1, 10)));
}

#[test]
fn a_newer_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = ten_entries(dir.path());
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[8] = 9;
    let crc = crc32c::crc32c(&bytes[..20]);
    bytes[20..24].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(&path, bytes).unwrap();
    assert!(matches!(open(dir.path()), Err(Error::Newer { found: 9, known: 2, .. })));
}

#[test]
fn purged_segments_are_removed_and_the_vote_outlives_them() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).unwrap();
    log.save_vote(Bytes::from_static(b"me"), Box::new(|result| result.unwrap())).unwrap();
    (1..=100).for_each(|index| append(&log, vec![(index, data(index, 0))]));
    let files = || segments(dir.path()).len();
    let before = files();
    log.purge_upto(95, Bytes::from_static(b"95")).unwrap();
    append(&log, vec![(101, data(101, 0))]);
    drop(log);
    assert!(before > 5 && files() <= 3, "{before} files, then {}", files());
    let log = open(dir.path()).unwrap();
    assert_eq!((log.range(), log.vote()), (Some((96, 101)), Some(Bytes::from_static(b"me"))));
}

/// A crash after a segment got its header, before it repeated what stands.
#[test]
fn the_vote_outlives_a_crash_between_a_segments_header_and_the_vote_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).unwrap();
    log.save_vote(Bytes::from_static(b"me"), Box::new(|result| result.unwrap())).unwrap();
    append(&log, vec![(1, data(1, 0))]);
    log.roll().unwrap();
    drop(log);
    let last = segments(dir.path()).pop().unwrap();
    let mut bytes = std::fs::read(&last).unwrap();
    bytes[SEGMENT_HEADER_BYTES as usize..].fill(0);
    std::fs::write(&last, bytes).unwrap();
    let log = open(dir.path()).unwrap();
    append(&log, vec![(2, data(2, 0))]);
    log.purge_upto(1, Bytes::from_static(b"1")).unwrap();
    drop(log);
    assert_eq!(segments(dir.path()), [last], "what a purge gave up is gone");
    assert_eq!(open(dir.path()).unwrap().vote(), Some(Bytes::from_static(b"me")));
}

#[test]
fn a_purged_segment_is_used_again_and_what_it_held_never_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let (mut model, log) = (Model::default(), open(dir.path()).unwrap());
    for round in 0..40 {
        for step in [Step::Append(7), Step::Purge(5)] {
            model.step(round, &step, &log);
        }
    }
    drop(log);
    let log = open(dir.path()).unwrap();
    model.assert_same(&log);
    model.step(40, &Step::Append(30), &log);
    drop(log);
    model.assert_same(&open(dir.path()).unwrap());
}

/// A crash after a spare got its new name, before it got its new header.
#[test]
fn a_segment_that_was_not_begun_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).unwrap();
    (1..=80).for_each(|index| append(&log, vec![(index, data(index, 0))]));
    drop(log);
    let segments = segments(dir.path());
    let [first, .., last] = segments.as_slice() else { panic!("several segments") };
    std::fs::copy(first, last).unwrap();
    let log = open(dir.path()).unwrap();
    let Some((1, end)) = log.range() else { panic!("the segments before are whole") };
    assert!((60..80).contains(&end), "{end}");
    append(&log, vec![(end + 1, data(end + 1, 1))]);
    drop(log);
    assert_eq!(open(dir.path()).unwrap().range(), Some((1, end + 1)));
}

#[test]
fn a_gap_is_refused_before_it_reaches_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let path = ten_entries(dir.path());
    let log = open(dir.path()).unwrap();
    assert!(log.append(vec![(12, data(12, 0))], Box::new(drop)).is_err());
    drop(log);
    assert!(path.exists() && open(dir.path()).unwrap().range() == Some((1, 10)));
}

//! PURE: what lies in a repository is called so that a list of names tells what can be restored.
//!
//! Below `GROUP/base` states, below `GROUP/log` segments of log entries, below `backups` what `backup create` wrote; a group
//! is its id in hexadecimal. Numbers have leading zeros: names are in the order of what they name.

use crate::api::Revision;
use crate::archive::track::Track;

/// Where backups that somebody took lie.
pub(crate) const BACKUPS: &str = "backups";

/// A state that entries can follow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BaseName {
    pub(crate) group: u64,
    /// Of the last entry in it.
    pub(crate) index: u64,
    pub(crate) revision: Revision,
    /// The machine's clock then.
    pub(crate) time_ms: i64,
}

/// Log entries.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SegmentName {
    pub(crate) group: u64,
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// After them, 0 where whoever wrote it did not know.
    pub(crate) revision: Revision,
    /// The machine's clock after them.
    pub(crate) time_ms: i64,
    /// Of all entries up to its last one.
    pub(crate) track: Track,
}

/// The folder of a group's bases.
pub(crate) fn bases(group: u64) -> String {
    format!("{group:016x}/base")
}

/// The folder of a group's segments.
pub(crate) fn segments(group: u64) -> String {
    format!("{group:016x}/log")
}

impl BaseName {
    pub(crate) fn name(&self) -> String {
        format!("{}/{:016x}-{:016x}-{:016x}.base", bases(self.group), self.index, self.revision, self.time_ms)
    }

    /// None where it is called otherwise.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (group, file) = name.split_once("/base/")?;
        let mut words = file.strip_suffix(".base")?.split('-');
        let base = BaseName {
            group: hexadecimal(group)?,
            index: index(words.next()?)?,
            revision: signed(words.next()?)?,
            time_ms: signed(words.next()?)?,
        };
        words.next().is_none().then_some(base)
    }
}

impl SegmentName {
    pub(crate) fn name(&self) -> String {
        let folder = segments(self.group);
        let SegmentName { first, last, revision, time_ms, track, .. } = self;
        format!("{folder}/{first:016x}-{last:016x}-{revision:016x}-{time_ms:016x}-{track}.segment")
    }

    /// None where it is called otherwise.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (group, file) = name.split_once("/log/")?;
        let mut words = file.strip_suffix(".segment")?.split('-');
        let segment = SegmentName {
            group: hexadecimal(group)?,
            first: index(words.next()?)?,
            last: index(words.next()?)?,
            revision: signed(words.next()?)?,
            time_ms: signed(words.next()?)?,
            track: Track::parse(words.next()?)?,
        };
        (words.next().is_none() && segment.first <= segment.last).then_some(segment)
    }
}

fn hexadecimal(word: &str) -> Option<u64> {
    (word.len() == 16).then(|| u64::from_str_radix(word, 16).ok()).flatten()
}

/// Of an entry behind which there can be another one.
fn index(word: &str) -> Option<u64> {
    hexadecimal(word).filter(|index| *index < u64::MAX)
}

fn signed(word: &str) -> Option<i64> {
    hexadecimal(word).and_then(|number| i64::try_from(number).ok())
}

/// All that a repository's names tell of archives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Catalogue {
    /// In order.
    pub(crate) bases: Vec<BaseName>,
    /// In order.
    pub(crate) segments: Vec<SegmentName>,
}

impl Catalogue {
    /// What is called otherwise is somebody else's.
    pub(crate) fn of<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let mut found = Catalogue::default();
        for name in names {
            found.bases.extend(BaseName::parse(name));
            found.segments.extend(SegmentName::parse(name));
        }
        found.bases.sort_unstable();
        found.segments.sort_unstable();
        found
    }

    /// The groups in it; the one that was archived last comes last.
    pub(crate) fn groups(&self) -> Vec<u64> {
        let bases = self.bases.iter().map(|base| (base.group, base.time_ms));
        let segments = self.segments.iter().map(|segment| (segment.group, segment.time_ms));
        let mut newest = std::collections::BTreeMap::new();
        for (group, time) in bases.chain(segments) {
            let held = newest.entry(group).or_insert(time);
            *held = time.max(*held);
        }
        let mut groups: Vec<(i64, u64)> = newest.into_iter().map(|(group, time)| (time, group)).collect();
        groups.sort_unstable();
        groups.into_iter().map(|(_, group)| group).collect()
    }

    /// What is one group's.
    pub(crate) fn only(mut self, group: u64) -> Self {
        self.bases.retain(|base| base.group == group);
        self.segments.retain(|segment| segment.group == group);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_were_written_and_in_the_order_of_what_they_name() {
        let base = |index| BaseName { group: 0xab, index, revision: 9, time_ms: 5 };
        let segment = |first, last| SegmentName {
            group: 0xab,
            first,
            last,
            revision: 7,
            time_ms: 1_800_000_000_000,
            track: Track::parse(&"0123456789abcdef".repeat(2)).expect("one"),
        };
        assert_eq!(BaseName::parse(&base(17).name()), Some(base(17)));
        assert_eq!(SegmentName::parse(&segment(9, 17).name()), Some(segment(9, 17)));
        assert!(segment(9, 17).name() < segment(16, 16).name() && base(9).name() < base(16).name());
        let beyond = [segment(9, u64::MAX).name(), base(u64::MAX).name()];
        let others = ["backups/20261126T000000Z-7.backup", "x/log/y.segment", &segment(9, 8).name(), "", "/base/"];
        for other in others.into_iter().chain(beyond.iter().map(String::as_str)) {
            assert_eq!((BaseName::parse(other), SegmentName::parse(other)), (None, None), "{other}");
        }
        let names = [segment(18, 20).name(), segment(9, 17).name(), "README".to_owned(), base(8).name()];
        let found = Catalogue::of(names.iter().map(String::as_str));
        assert_eq!((found.bases, found.segments), (vec![base(8)], vec![segment(9, 17), segment(18, 20)]));
    }

    #[test]
    fn the_group_that_was_archived_last_is_the_last_one() {
        let base = |group, time_ms| BaseName { group, index: 1, revision: 1, time_ms }.name();
        let names = [base(1, 9), base(2, 5), base(3, 7)];
        let found = Catalogue::of(names.iter().map(String::as_str));
        assert_eq!(found.groups(), [2, 3, 1]);
        assert_eq!(found.only(3).groups(), [3]);
    }
}

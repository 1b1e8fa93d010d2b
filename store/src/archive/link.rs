//! PURE: whether a segment is the one that its name says, and follows what was read before it.

use crate::archive::names::SegmentName;
use crate::archive::segment::Segment;
use crate::archive::track::Track;

/// What was read of an archive's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// Index of the last entry.
    index: u64,
    /// Of all entries up to it; a base does not know.
    track: Option<Track>,
    /// Where there are bases: segments may begin anew behind them.
    bases: Vec<u64>,
}

/// Whether a segment is what its name says.
///
/// # Errors
/// When it is another one; the text says in what.
pub(crate) fn is_named(name: &SegmentName, segment: &Segment) -> Result<(), String> {
    let head = &segment.head;
    if head.cluster_id != name.group {
        return Err(format!("it is of the cluster {:016x}", head.cluster_id));
    }
    let (said, is) = ((name.first, name.last, name.time_ms), (head.first, head.last, head.time_ms));
    let revision = head.after.map_or(name.revision, |(revision, _)| revision);
    if said != is || revision != name.revision || segment.track(head.last) != Some(name.track) {
        return Err(format!("it is not the segment that has this name, but one of entries {} to {}", is.0, is.1));
    }
    Ok(())
}

impl Link {
    /// Behind a base.
    pub(crate) fn behind(base: u64, bases: Vec<u64>) -> Self {
        Link { index: base, track: None, bases }
    }

    /// Takes the segment that comes next.
    ///
    /// # Errors
    /// When it does not follow what was read before; the text says why.
    pub(crate) fn take(&mut self, segment: &Segment) -> Result<(), String> {
        let head = &segment.head;
        let Some(track) = segment.track(self.index) else {
            return Err(format!("it begins with entry {}, and {} was due", head.first, self.index + 1));
        };
        let anew = track == Track::BEGIN && head.first == self.index + 1 && self.bases.contains(&self.index);
        if self.track.is_some_and(|known| known != track) && !anew {
            return Err(format!(
                "it does not follow the segment before it: what that one has up to entry {} is not what this one was \
                 written behind",
                self.index
            ));
        }
        (self.index, self.track) = (head.last, segment.track(head.last));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::archive::segment::{Head, read, tests::entries, write};

    /// A segment of some history, with what came before it, and its name.
    fn segment(all: &[(u64, Bytes)], first: u64, last: u64, previous: Track) -> (SegmentName, Segment) {
        let rows: Vec<_> = all.iter().filter(|(index, _)| (first..=last).contains(index)).cloned().collect();
        let head = Head { cluster_id: 7, first, last, time_ms: 5, after: Some((9, 1)), previous: previous.to_string() };
        let (bytes, track) = write(&head, &rows).expect("memory");
        let name = SegmentName { group: 7, first, last, revision: 9, time_ms: 5, track };
        (name, read(bytes.as_slice()).expect("whole"))
    }

    #[test]
    fn segments_follow_each_other_however_they_are_cut() {
        let history = entries(1, 30);
        let (one, first) = segment(&history, 1, 10, Track::BEGIN);
        let (two, second) = segment(&history, 11, 20, one.track);
        let (both, together) = segment(&history, 1, 20, Track::BEGIN);
        let (_, across) = segment(&history, 6, 25, segment(&history, 1, 5, Track::BEGIN).0.track);
        assert_eq!(both.track, two.track, "the same history");
        for (name, held) in [(&one, &first), (&two, &second), (&both, &together)] {
            is_named(name, held).expect("its own");
        }
        let run = |base: u64, segments: &[&Segment]| {
            let mut link = Link::behind(base, Vec::new());
            segments.iter().try_for_each(|segment| link.take(segment))
        };
        for (base, segments) in [
            (0, vec![&first, &second]),
            (0, vec![&together]),
            (0, vec![&first, &together]),
            (0, vec![&first, &across]),
            (3, vec![&first, &second]),
            (10, vec![&second, &across]),
        ] {
            run(base, &segments).expect("they follow");
        }
    }

    #[test]
    fn what_is_missing_swapped_or_of_another_history_is_refused() {
        let mut other = entries(1, 30);
        other[4].1 = {
            // The same place in the log, and something else was written there.
            use prost::Message;
            let log_id = Some(proto::peer::LogId { term: 4, index: 5 });
            proto::peer::Entry { log_id, payload: None }.encode_to_vec().into()
        };
        let history = entries(1, 30);
        let (one, first) = segment(&history, 1, 10, Track::BEGIN);
        let (two, second) = segment(&history, 11, 20, one.track);
        let (three, third) = segment(&history, 21, 30, two.track);
        let (fork, forked) = segment(&other, 1, 10, Track::BEGIN);
        let mut link = Link::behind(0, vec![10]);
        link.take(&first).expect("the first");
        assert!(link.clone().take(&third).is_err_and(|why| why.contains("11 was due")));
        let mut strange = Link::behind(0, vec![10]);
        strange.take(&forked).expect("nothing came before");
        assert!(strange.take(&second).is_err_and(|why| why.contains("does not follow")));
        // Behind a base, and only there, the log may begin anew.
        let (_, anew) = segment(&history, 11, 20, Track::BEGIN);
        link.clone().take(&anew).expect("behind a base");
        link.bases.clear();
        assert!(link.take(&anew).is_err());
        assert!(is_named(&two, &third).is_err_and(|why| why.contains("entries 21 to 30")));
        assert!(is_named(&one, &forked).is_err() && is_named(&fork, &first).is_err());
        let foreign = SegmentName { group: 8, ..three };
        assert!(is_named(&foreign, &third).is_err_and(|why| why.contains("of the cluster 0000000000000007")));
    }
}

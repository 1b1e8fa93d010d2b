//! PURE: many small segments become few large ones, so that a list of names is short and a restore reads few of them.
//!
//! An archive that is written to all day gets two segments a second. Those of a minute that has passed become one, and the
//! minutes of an hour; each entry is written three times at most.

use std::ops::Range;

use crate::archive::names::SegmentName;
use crate::archive::track::Track;

/// Entries in a segment at most.
pub(crate) const ENTRIES_MAX: u64 = 1 << 16;

/// Segments that follow each other and were written in the same of the spans that have passed, two or more of them.
/// `segments`: in order, none of which is in another one.
pub(crate) fn groups(segments: &[SegmentName], span_ms: i64, passed: &Range<i64>) -> Vec<Vec<SegmentName>> {
    let span = |segment: &SegmentName| segment.time_ms.div_euclid(span_ms.max(1));
    let mut groups: Vec<Vec<SegmentName>> = Vec::new();
    for segment in segments.iter().filter(|segment| passed.contains(&span(segment))) {
        let fits = |group: &&mut Vec<SegmentName>| {
            let ends = group.first().zip(group.last());
            ends.is_some_and(|(first, last)| {
                last.last + 1 == segment.first
                    && span(last) == span(segment)
                    && segment.last - first.first < ENTRIES_MAX
            })
        };
        match groups.last_mut().filter(fits) {
            Some(group) => group.push(segment.clone()),
            None => groups.push(vec![segment.clone()]),
        }
    }
    groups.retain(|group| group.len() > 1);
    groups
}

/// Takes out segments whose entries are all in another one; the others stay, in order.
pub(crate) fn superseded(segments: &mut Vec<SegmentName>) -> Vec<SegmentName> {
    // The longest that begin with an entry come first, and of several that are as long the last one.
    segments.sort_unstable_by(|one, other| one.first.cmp(&other.first).then_with(|| other.cmp(one)));
    let mut furthest: Option<(u64, Track)> = None;
    let within = |segment: &mut SegmentName| {
        let within = match furthest {
            // Where both end, both must have come to the same: otherwise somebody has to look at them.
            Some((last, track)) => segment.last < last || (segment.last == last && segment.track == track),
            None => false,
        };
        if furthest.is_none_or(|(last, _)| segment.last > last) {
            furthest = Some((segment.last, segment.track));
        }
        within
    };
    segments.extract_if(.., within).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::archive::chain::follow;

    /// A segment whose track is told by where it ends.
    fn segment(first: u64, last: u64, time_ms: i64) -> SegmentName {
        let track = Track::parse(&format!("{last:032x}")).expect("one");
        SegmentName { group: 1, first, last, revision: 0, time_ms, track }
    }

    /// What merging a group makes of it.
    fn merged(group: &[SegmentName]) -> SegmentName {
        SegmentName { first: group[0].first, ..group[group.len() - 1].clone() }
    }

    fn spans(segments: &[SegmentName]) -> Vec<(u64, u64)> {
        segments.iter().map(|segment| (segment.first, segment.last)).collect()
    }

    #[test]
    fn what_follows_each_other_in_a_span_that_has_passed_becomes_one() {
        let there = [
            segment(1, 2, 10),
            segment(3, 3, 50),
            segment(4, 9, 99),
            segment(10, 11, 100),
            // A gap.
            segment(13, 13, 120),
            segment(14, 20, 199),
            segment(21, 22, 200),
            segment(23, 24, 210),
        ];
        let found: Vec<_> = groups(&there, 100, &(0..2)).iter().map(|group| spans(group)).collect();
        assert_eq!(found, [vec![(1, 2), (3, 3), (4, 9)], vec![(13, 13), (14, 20)]]);
        assert_eq!(groups(&there, 100, &(1..2)).len(), 1, "what had passed before was looked at before");
        let large = [segment(1, ENTRIES_MAX - 1, 1), segment(ENTRIES_MAX, ENTRIES_MAX + 1, 2)];
        assert!(groups(&large, 100, &(0..1)).is_empty());
    }

    #[test]
    fn only_what_is_in_another_segment_is_superseded() {
        let mut there =
            vec![segment(1, 4, 1), segment(1, 9, 9), segment(3, 9, 9), segment(5, 9, 9), segment(8, 12, 12)];
        assert_eq!(spans(&superseded(&mut there)), [(1, 4), (3, 9), (5, 9)]);
        assert_eq!(spans(&there), [(1, 9), (8, 12)]);
        let known = SegmentName { revision: 7, ..segment(1, 4, 1) };
        let mut twice = vec![segment(1, 4, 1), known.clone()];
        assert_eq!(superseded(&mut twice), [segment(1, 4, 1)]);
        assert_eq!(twice, [known], "the one that says more stays");
        let other = SegmentName { track: Track::BEGIN, ..segment(2, 4, 1) };
        assert!(superseded(&mut vec![segment(1, 4, 1), other]).is_empty(), "another history");
    }

    proptest! {
        /// Days of an archive: every entry stays readable, and few segments are left.
        #[test]
        fn nothing_is_lost_and_little_is_left(lengths in proptest::collection::vec((1_u64..40, 0_i64..20_000), 1..600)) {
            let (mut there, mut last, mut now) = (Vec::new(), 0, 0);
            let mut done = [0, 0];
            let mut written = 0;
            for (length, pause) in lengths {
                now += 400 + pause;
                there.push(segment(last + 1, last + length, now));
                last += length;
                for (done, span) in done.iter_mut().zip([60_000, 3_600_000]) {
                    if now / span > *done {
                        superseded(&mut there);
                        for group in groups(&there, span, &(*done..now / span)) {
                            written += group.iter().map(|segment| segment.last + 1 - segment.first).sum::<u64>();
                            there.push(merged(&group));
                        }
                        *done = now / span;
                    }
                }
                there.sort_unstable();
                let chain = follow(0, &there);
                prop_assert_eq!(chain.last().map(|end| end.last), Some(last));
            }
            superseded(&mut there);
            let chain: Vec<_> = follow(0, &there).into_iter().cloned().collect();
            prop_assert_eq!(&chain, &there, "one after the other");
            prop_assert!(written <= 2 * last);
            // Minutes of the hour, and what the last minute has.
            prop_assert!(there.len() <= 60 + 150 + usize::try_from(now / 3_600_000).unwrap(), "{} in {now} ms", there.len());
        }
    }
}

//! PURE: where an archive ends, and whether all before can be restored.
//!
//! Segments are written from a base's place on as soon as it is begun: taking it may last longer than the log keeps what
//! was written meanwhile.

use crate::api::Revision;
use crate::archive::chain::follow;
use crate::archive::names::{BaseName, SegmentName};
use crate::archive::track::Track;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct End {
    /// The entry that is due; none: behind the base that is begun next.
    next: Option<u64>,
    /// Of all entries before it, as far as the archive knows.
    pub(super) previous: Track,
    /// The last segment.
    pub(super) last: Option<SegmentName>,
    /// The clock after it.
    pub(super) time_ms: i64,
    /// The newest base.
    pub(super) base: Option<BaseName>,
    /// What is behind this entry cannot be restored before a base of it, or a later one, is there.
    gap: Option<u64>,
    /// What can be restored: a revision, as far as is known, and the clock then.
    newest: (Revision, i64),
}

/// What becomes of an archive that is due to go on with an entry that the log has no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gone {
    /// It goes on behind its newest base, which was taken by who died before writing what had led there.
    BehindBase,
    /// It begins anew with the next base; the moments between are lost.
    WithNextBase,
}

impl End {
    /// What is found in a repository: its newest base, if any, and segments in their order, from one on that follows this
    /// entry or holds it, where there is one. Whoever wrote them goes on behind the last of them, or behind the base.
    pub(super) fn found(base: Option<BaseName>, behind: u64, segments: &[SegmentName]) -> Self {
        let last = segments.iter().max_by_key(|segment| segment.last).cloned();
        let follows = follow(behind, segments).last().map_or(behind, |reached| reached.last);
        let whole = base.is_some() && last.as_ref().is_none_or(|last| last.last <= follows);
        let at = last.as_ref().map(|last| (last.last, last.time_ms));
        let at = at.or(base.as_ref().map(|base| (base.index, base.time_ms)));
        let mut end = End {
            next: at.map(|(index, _)| index + 1),
            previous: last.as_ref().map_or(Track::BEGIN, |last| last.track),
            gap: (!whole).then_some(0),
            last,
            time_ms: at.map_or(0, |(_, time_ms)| time_ms),
            newest: base.as_ref().map_or((0, 0), |base| (base.revision, base.time_ms)),
            base,
        };
        end.note();
        end
    }

    /// The entry that is due, if one is up to what is committed.
    pub(super) fn due(&self, committed: u64) -> Option<u64> {
        self.next.filter(|next| *next <= committed)
    }

    /// Whether all that was written so far can be restored.
    pub(super) fn is_whole(&self) -> bool {
        self.gap.is_none()
    }

    /// What can be restored: a revision, as far as is known, and the clock then; none: nothing.
    pub(super) fn newest(&self) -> Option<(Revision, i64)> {
        self.base.as_ref().map(|_| self.newest)
    }

    /// A segment was written.
    pub(super) fn wrote(&mut self, segment: SegmentName) {
        (self.next, self.previous, self.time_ms) = (Some(segment.last + 1), segment.track, segment.time_ms);
        self.last = Some(segment);
        self.note();
    }

    /// The log is without the entry that is due.
    pub(super) fn gone(&mut self) -> Gone {
        match self.base.as_ref().filter(|base| self.next.is_some_and(|next| base.index >= next)) {
            Some(base) => {
                (self.next, self.previous, self.time_ms) = (Some(base.index + 1), Track::BEGIN, base.time_ms);
                Gone::BehindBase
            }
            None => {
                (self.next, self.gap) = (None, Some(0));
                Gone::WithNextBase
            }
        }
    }

    /// A base is begun.
    pub(super) fn begun(&mut self, base: &BaseName) {
        if self.next.is_none() {
            (self.next, self.previous, self.time_ms) = (Some(base.index + 1), Track::BEGIN, base.time_ms);
            self.gap = Some(base.index);
        }
    }

    /// A base is there.
    pub(super) fn taken(&mut self, base: BaseName) {
        if self.next.is_some() {
            self.gap = self.gap.filter(|from| base.index < *from);
        }
        self.base = Some(base);
        self.note();
    }

    fn note(&mut self) {
        if let (None, Some(base)) = (self.gap, &self.base) {
            let revision = self.last.as_ref().map_or(0, |last| last.revision).max(base.revision);
            self.newest = (revision, self.time_ms.max(base.time_ms));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(index: u64) -> BaseName {
        BaseName { group: 1, index, revision: index as i64, time_ms: index as i64 * 10 }
    }

    fn segment(first: u64, last: u64) -> SegmentName {
        let track = Track::parse(&format!("{last:032x}")).expect("one");
        SegmentName { group: 1, first, last, revision: last as i64, time_ms: last as i64 * 10, track }
    }

    #[test]
    fn segments_are_written_while_the_first_base_is_taken() {
        let mut end = End::found(None, 0, &[]);
        assert_eq!((end.due(100), end.is_whole(), end.newest()), (None, false, None));
        end.begun(&base(50));
        assert_eq!((end.due(50), end.due(100), end.previous), (None, Some(51), Track::BEGIN));
        end.wrote(segment(51, 70));
        assert_eq!((end.due(100), end.is_whole(), end.newest()), (Some(71), false, None), "nothing to begin with yet");
        end.taken(base(50));
        assert_eq!((end.due(100), end.is_whole(), end.newest()), (Some(71), true, Some((70, 700))));
    }

    #[test]
    fn a_base_that_failed_is_made_up_for_by_the_next() {
        let mut end = End::found(None, 0, &[]);
        end.begun(&base(50));
        end.wrote(segment(51, 70));
        end.begun(&base(60));
        assert_eq!((end.due(100), end.previous), (Some(71), segment(51, 70).track), "what is written goes on");
        end.taken(base(60));
        assert!(end.is_whole());
    }

    #[test]
    fn what_the_log_has_lost_is_a_gap_until_a_later_base_is_there() {
        let mut end = End::found(Some(base(10)), 10, &[segment(11, 20)]);
        assert_eq!((end.due(100), end.is_whole(), end.newest()), (Some(21), true, Some((20, 200))));
        assert_eq!(end.gone(), Gone::WithNextBase);
        assert_eq!((end.due(100), end.is_whole()), (None, false));
        end.taken(base(15));
        assert!(!end.is_whole(), "it was begun before");
        end.begun(&base(90));
        end.wrote(segment(91, 95));
        assert_eq!((end.is_whole(), end.newest()), (false, Some((20, 200))), "what was there before still is");
        end.taken(base(90));
        assert_eq!((end.is_whole(), end.due(100), end.newest()), (true, Some(96), Some((95, 950))));
    }

    #[test]
    fn a_base_of_who_died_is_gone_on_from() {
        let mut end = End::found(Some(base(60)), 60, &[segment(11, 20)]);
        assert_eq!((end.due(100), end.newest()), (Some(21), Some((60, 600))));
        assert_eq!(end.gone(), Gone::BehindBase);
        assert_eq!((end.due(100), end.previous, end.is_whole()), (Some(61), Track::BEGIN, true));
        assert_eq!(end.gone(), Gone::WithNextBase, "that is gone too");
    }

    #[test]
    fn segments_whose_base_never_came_are_gone_on_from() {
        let mut end = End::found(None, 0, &[segment(51, 70)]);
        assert_eq!((end.due(100), end.previous, end.is_whole()), (Some(71), segment(51, 70).track, false));
        end.begun(&base(80));
        assert_eq!(end.due(100), Some(71), "what a base is taken behind has no gap");
        end.taken(base(80));
        assert!(end.is_whole());
        assert_eq!(End::found(Some(base(5)), 5, &[]).due(100), Some(6));
        // One who took a base because of a gap died before it was there.
        let mut end = End::found(Some(base(10)), 10, &[segment(8, 20), segment(51, 70)]);
        assert_eq!((end.due(100), end.is_whole(), end.newest()), (Some(71), false, Some((10, 100))));
        end.begun(&base(80));
        end.taken(base(80));
        assert_eq!((end.is_whole(), end.newest()), (true, Some((80, 800))));
        assert!(End::found(Some(base(10)), 10, &[segment(8, 20), segment(21, 70)]).is_whole());
        assert!(End::found(Some(base(80)), 80, &[segment(8, 20), segment(21, 70)]).is_whole());
    }
}

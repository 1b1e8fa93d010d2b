//! PURE: which segments follow a base, what can be restored with them, and which of them nobody needs any more.

use crate::api::Revision;
use crate::archive::names::{BaseName, Catalogue, SegmentName};
use crate::machine::moments;

/// What is to be restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// All that is archived.
    Newest,
    /// The state at a revision.
    Revision(Revision),
    /// The state at a time. Units: milliseconds since 1970.
    Time(i64),
}

/// A base, and the segments that follow it without a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    pub(crate) base: BaseName,
    pub(crate) segments: Vec<SegmentName>,
    /// Index of the last entry.
    pub(crate) end: u64,
    /// The machine's clock then.
    pub(crate) time_ms: i64,
    /// Indexes of all bases of the group.
    pub(crate) bases: Vec<u64>,
}

/// The segments that follow an index without a gap. Two leaders may have written the same entries: those that reach
/// furthest are taken.
pub(crate) fn follow(index: u64, segments: &[SegmentName]) -> Vec<&SegmentName> {
    let (mut chain, mut end, mut rest) = (Vec::new(), index, segments.iter().peekable());
    loop {
        let mut best: Option<&SegmentName> = None;
        while let Some(next) = rest.next_if(|next| next.first <= end + 1) {
            best = [best, Some(next)].into_iter().flatten().max_by_key(|segment| segment.last);
        }
        match best.filter(|best| best.last > end) {
            Some(best) => {
                end = best.last;
                chain.push(best);
            }
            None => return chain,
        }
    }
}

/// A base with all that follows it.
pub(crate) fn chain(base: &BaseName, catalogue: &Catalogue) -> Chain {
    let segments: Vec<SegmentName> = follow(base.index, &catalogue.segments).into_iter().cloned().collect();
    let last = segments.last();
    let (end, time_ms) = last.map_or((base.index, base.time_ms), |last| (last.last, last.time_ms));
    let bases = catalogue.bases.iter().map(|base| base.index).collect();
    Chain { base: base.clone(), segments, end, time_ms, bases }
}

/// A machine's clock, for people.
fn clock(time_ms: i64) -> String {
    moments::shown(time_ms.div_euclid(1000))
}

/// What a target is restored from: the newest base that is not beyond it, and what follows.
///
/// # Errors
/// When nothing reaches it; the text says what can be had instead.
pub(crate) fn choose(catalogue: &Catalogue, target: Target) -> Result<Chain, String> {
    let reaches = |base: &&BaseName| match target {
        Target::Newest => true,
        Target::Revision(revision) => base.revision <= revision,
        Target::Time(time) => base.time_ms <= time,
    };
    let Some(base) = catalogue.bases.iter().rev().find(reaches) else {
        return Err(match catalogue.bases.first() {
            None => "there is no archive here; `raftsman backup list` shows what there is".to_owned(),
            Some(first) => {
                format!("the archive begins later, at revision {} ({})", first.revision, clock(first.time_ms))
            }
        });
    };
    let chain = chain(base, catalogue);
    let later = |index: u64, time: i64| index > chain.end && time >= chain.time_ms;
    // What comes after a gap shows that there is one.
    let after = catalogue.bases.iter().map(|base| (base.index, base.time_ms, base.revision));
    let after = after.chain(catalogue.segments.iter().map(|next| (next.first, next.time_ms, next.revision)));
    let gap = after.filter(|(index, time, _)| later(*index, *time)).min();
    let known = chain.segments.last().map_or(base.revision, |last| last.revision);
    let beyond = match target {
        Target::Newest => false,
        Target::Revision(revision) => known > 0 && revision > known,
        Target::Time(time) => gap.is_some() && time > chain.time_ms,
    };
    match (beyond, gap) {
        (false, _) => Ok(chain),
        (true, None) => Err(format!("the archive ends at revision {known}")),
        (true, Some((index, time, _))) => Err(format!(
            "nothing was archived between revision {known} ({}) and {}: entries {} to {} are missing",
            clock(chain.time_ms),
            clock(time),
            chain.end + 1,
            index.saturating_sub(1)
        )),
    }
}

/// For how long what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Every moment of the last so many hours can be restored.
    pub hours: u32,
    /// The last base of each of so many days stays.
    pub days: u32,
}

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// The names of what can go.
pub(crate) fn expired(now_ms: i64, catalogue: &Catalogue, rules: Rules) -> Vec<String> {
    let horizon = now_ms - i64::from(rules.hours) * HOUR_MS;
    // Whatever is restored from the horizon on needs this one, or the oldest there is.
    let from = catalogue.bases.iter().rev().find(|base| base.time_ms <= horizon).or(catalogue.bases.first());
    let Some(from) = from else { return Vec::new() };
    let day = |base: &BaseName| base.time_ms.div_euclid(DAY_MS);
    let oldest_day = now_ms.div_euclid(DAY_MS) - i64::from(rules.days);
    let last_of_its_day = |base: &BaseName| {
        let same = catalogue.bases.iter().filter(|other| day(other) == day(base));
        same.max() == Some(base)
    };
    let kept = |base: &BaseName| base >= from || (day(base) > oldest_day && last_of_its_day(base));
    let bases = catalogue.bases.iter().filter(|base| !kept(base)).map(BaseName::name);
    let segments = catalogue.segments.iter().filter(|segment| segment.last <= from.index).map(SegmentName::name);
    segments.chain(bases).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::track::Track;

    fn base(index: u64, time_ms: i64) -> BaseName {
        BaseName { group: 1, index, revision: i64::try_from(index * 10).expect("small"), time_ms }
    }

    fn segment(first: u64, last: u64) -> SegmentName {
        let (revision, time_ms) = (i64::try_from(last * 10).expect("small"), i64::try_from(last * 100).expect("small"));
        SegmentName { group: 1, first, last, revision, time_ms, track: Track::BEGIN }
    }

    fn spans(segments: &[&SegmentName]) -> Vec<(u64, u64)> {
        segments.iter().map(|segment| (segment.first, segment.last)).collect()
    }

    #[test]
    fn segments_follow_each_other_until_one_is_missing_and_duplicates_do_no_harm() {
        let there = [segment(1, 4), segment(3, 9), segment(5, 6), segment(5, 8), segment(10, 12), segment(14, 15)];
        assert_eq!(spans(&follow(0, &there)), [(1, 4), (3, 9), (10, 12)]);
        assert_eq!(spans(&follow(3, &there)), [(3, 9), (10, 12)]);
        assert_eq!(spans(&follow(12, &there)), []);
        assert_eq!(spans(&follow(13, &there)), [(14, 15)]);
        assert_eq!(spans(&follow(15, &there)), []);
    }

    #[test]
    fn a_target_is_restored_from_the_newest_base_before_it_and_never_across_a_gap() {
        let there = Catalogue {
            bases: vec![base(10, 1000), base(20, 2000), base(40, 4000)],
            segments: vec![segment(11, 15), segment(16, 25), segment(26, 30), segment(41, 45)],
        };
        let chosen = |target| choose(&there, target).map(|chain| (chain.base.index, chain.end));
        assert_eq!(chosen(Target::Newest), Ok((40, 45)));
        assert_eq!(chosen(Target::Revision(150)), Ok((10, 30)));
        assert_eq!(chosen(Target::Revision(300)), Ok((20, 30)));
        assert!(chosen(Target::Revision(301)).is_err_and(|why| why.contains("entries 31 to 39 are missing")));
        assert_eq!(
            chosen(Target::Time(3999)).expect_err("a gap"),
            "nothing was archived between revision 300 (1970-01-01T00:00:03Z) and 1970-01-01T00:00:04Z: entries 31 to 39 are \
             missing"
        );
        assert_eq!(chosen(Target::Revision(400)), Ok((40, 45)));
        assert!(chosen(Target::Revision(451)).is_err_and(|why| why.contains("ends at revision 450")));
        assert_eq!(chosen(Target::Time(2999)), Ok((20, 30)));
        assert!(chosen(Target::Time(3001)).is_err_and(|why| why.contains("missing")));
        assert_eq!(chosen(Target::Time(9_999_999)), Ok((40, 45)), "nothing was written since");
        assert!(chosen(Target::Time(999)).is_err_and(|why| why.contains("begins later")));
        assert!(choose(&Catalogue::default(), Target::Newest).is_err());
    }

    #[test]
    fn what_the_last_hours_and_days_need_stays() {
        let at = |hours: i64| hours * HOUR_MS;
        let timed = |first: u64, last: u64, hours| SegmentName { time_ms: at(hours), ..segment(first, last) };
        let there = Catalogue {
            bases: vec![base(10, at(1)), base(20, at(20)), base(30, at(30)), base(40, at(40)), base(50, at(71))],
            segments: vec![timed(11, 20, 19), timed(21, 40, 39), timed(41, 50, 70), timed(51, 60, 72)],
        };
        let gone = |rules| {
            let mut gone = expired(at(72), &there, rules);
            gone.sort();
            gone
        };
        assert_eq!(gone(Rules { hours: 100, days: 0 }), Vec::<String>::new(), "the oldest base is needed");
        let names = |bases: &[usize], segments: &[usize]| {
            let bases = bases.iter().map(|at| there.bases[*at].name());
            let mut names: Vec<String> = bases.chain(segments.iter().map(|at| there.segments[*at].name())).collect();
            names.sort();
            names
        };
        assert_eq!(gone(Rules { hours: 32, days: 0 }), names(&[0, 1, 2], &[0, 1]), "from hour 40 on, with its base");
        assert_eq!(gone(Rules { hours: 1, days: 0 }), names(&[0, 1, 2, 3], &[0, 1, 2]));
        // It is day 3: of days 1 and 2 the last bases stay, day 0 is too old.
        assert_eq!(gone(Rules { hours: 1, days: 3 }), names(&[0, 1, 2], &[0, 1, 2]));
        assert_eq!(gone(Rules { hours: 1, days: 4 }), names(&[0, 2], &[0, 1, 2]));
        assert_eq!(expired(at(72), &Catalogue::default(), Rules { hours: 1, days: 1 }), Vec::<String>::new());
    }
}

//! PURE: no key goes before its lease's time is over, however often the leader changes, and each goes soon after it.

use crate::check::{Place, Verdict};
use crate::history::{History, LeaseStory};

/// What a new leader that gives a lease its time again, and one after it, may add. Units: microseconds.
const GRACE_US: u64 = 20_000_000;

pub(crate) fn check(history: &History) -> Verdict {
    let looked_at = history.leases.iter().map(|story| story.reads.len()).sum();
    let violations = history.leases.iter().filter_map(|story| violation(story, history.drift_ppm)).collect();
    Verdict::placed("leases last as long as granted and no longer", looked_at, violations)
}

/// `drift_ppm`: by so much the leader's clock may go faster or slower than the harness's.
fn violation(story: &LeaseStory, drift_ppm: u64) -> Option<(String, Option<Place>)> {
    let LeaseStory { key, ttl_us, renewed_invoked_us, asked_us, .. } = story;
    let place = |at_us| Some(Place { at_us, key: key.clone() });
    let drift_us = ttl_us * drift_ppm / 1_000_000;
    let until = renewed_invoked_us + ttl_us - drift_us;
    if let Some(read) = story.reads.iter().find(|read| !read.there && read.returned_us < until) {
        let words = format!(
            "{key} was gone at {} µs, though its lease of {ttl_us} µs was granted or renewed at {renewed_invoked_us} µs",
            read.returned_us
        );
        return Some((words, place(read.returned_us)));
    }
    let last = asked_us + ttl_us + drift_us + GRACE_US;
    let late = story.reads.iter().find(|read| read.there && read.invoked_us > last)?;
    let words =
        format!("{key} was still there at {} µs, though its lease was over at {last} µs at last", late.invoked_us);
    Some((words, place(late.invoked_us)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::LeaseRead;

    fn verdict(reads: &[(u64, bool)]) -> Verdict {
        drifting(reads, 0)
    }

    fn drifting(reads: &[(u64, bool)], drift_ppm: u64) -> Verdict {
        let read = |(at, there): &(u64, bool)| LeaseRead { invoked_us: *at, returned_us: *at + 1, there: *there };
        let story = LeaseStory {
            key: "k".to_owned(),
            ttl_us: 1_000_000,
            renewed_invoked_us: 5_000_000,
            asked_us: 5_100_000,
            reads: reads.iter().map(read).collect(),
        };
        check(&History { leases: vec![story], drift_ppm, ..History::default() })
    }

    #[test]
    fn verdicts() {
        assert!(verdict(&[(5_500_000, true), (7_000_000, false)]).holds());
        assert!(!verdict(&[(5_900_000, false)]).holds(), "early");
        assert!(drifting(&[(5_960_000, false)], 50_000).holds(), "a clock may go faster");
        assert!(!drifting(&[(5_940_000, false)], 50_000).holds(), "but not as fast");
        assert!(verdict(&[(6_000_000, false)]).holds());
        assert!(!verdict(&[(26_200_000, true)]).holds(), "late");
        assert!(!verdict(&[]).holds(), "no evidence is no proof");
    }
}

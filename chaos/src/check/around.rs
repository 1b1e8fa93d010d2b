//! PURE: the first of a verdict's violations in words: what contradicts each other, and what else was asked of those keys
//! around it.

use crate::check::{Place, Verdict};
use crate::history::{Call, History, LeaseStory, Operation, Outcome};

/// So many calls of the same keys before the place, and after it.
const SIDE: usize = 8;

/// What was asked and answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// It is one of those that contradict each other.
    pub(crate) contradicts: bool,
    pub(crate) words: String,
}

/// What contradicts each other and the calls of those keys around it, and what became of a lease; nothing where the
/// violation is at no place.
pub(crate) fn around(verdict: &Verdict, history: &History) -> Vec<Line> {
    let Some(place) = verdict.place() else { return Vec::new() };
    let between = &verdict.between;
    let same = |key: &str| key == place.key || between.iter().any(|operation| operation.call.key() == key);
    let mut calls: Vec<&Operation> = history.operations.iter().filter(|call| same(call.call.key())).collect();
    calls.sort_by_key(|call| call.invoked_us);
    let here = calls.partition_point(|call| call.invoked_us < place.at_us);
    let near = here.saturating_sub(SIDE)..here + SIDE;
    let calls = calls.iter().enumerate().filter_map(|(index, call)| {
        let contradicts = between.contains(call);
        (contradicts || near.contains(&index)).then(|| Line { contradicts, words: words(call) })
    });
    let stories = history.leases.iter().filter(|story| story.key == place.key);
    calls.chain(stories.flat_map(|story| lease(story, &place))).collect()
}

fn seconds(us: u64) -> String {
    format!("{}.{:06} s", us / 1_000_000, us % 1_000_000)
}

fn words(Operation { client, call, invoked_us, returned_us, outcome }: &Operation) -> String {
    let (from, to, told) = (seconds(*invoked_us), seconds(*returned_us), told(call, outcome));
    format!("{from} to {to}: client {client} asked to {}, and was told: {told}", asked(call))
}

fn asked(call: &Call) -> String {
    match call {
        Call::Put { key, value } => format!("write {value} to {key}"),
        Call::PutIf { key, value, mod_revision: 0 } => format!("write {value} to {key} if that is absent"),
        Call::PutIf { key, value, mod_revision } => {
            format!("write {value} to {key} if that is of revision {mod_revision}")
        }
        Call::Get { key } => format!("read {key}"),
    }
}

fn told(call: &Call, outcome: &Outcome) -> String {
    // A condition that did not hold is answered with what is there.
    let not = if call.value().is_some() { "not written, " } else { "" };
    match outcome {
        Outcome::Written { revision } => format!("written at revision {revision}"),
        Outcome::Seen { revision, value: Some((value, modified)) } => {
            format!("{not}at revision {revision} it is {value}, of revision {modified}")
        }
        Outcome::Seen { revision, value: None } => format!("{not}at revision {revision} it is absent"),
        Outcome::Refused { error } => format!("refused ({error})"),
        Outcome::Unknown { error } => format!("nothing certain ({error})"),
    }
}

/// When it was granted or renewed, and looks at its key until the one that contradicts that.
fn lease(story: &LeaseStory, place: &Place) -> Vec<Line> {
    let begun = format!(
        "{}: the lease of {} was granted or renewed for {}, by {} at the latest",
        seconds(story.renewed_invoked_us),
        story.key,
        seconds(story.ttl_us),
        seconds(story.asked_us)
    );
    let here = story.reads.partition_point(|read| read.returned_us < place.at_us);
    let reads = &story.reads[here.saturating_sub(SIDE)..story.reads.len().min(here + 1)];
    let looks = reads.iter().map(|read| {
        let found = if read.there { "there" } else { "gone" };
        let words = format!("{} to {}: it is {found}", seconds(read.invoked_us), seconds(read.returned_us));
        Line { contradicts: read.returned_us >= place.at_us, words }
    });
    std::iter::once(Line { contradicts: true, words: begun }).chain(looks).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::LeaseRead;

    fn operation(call: Call, at_us: u64, outcome: Outcome) -> Operation {
        Operation { client: 2, call, invoked_us: at_us, returned_us: at_us + 7, outcome }
    }

    fn read(second: u64, key: &str) -> Operation {
        let outcome = Outcome::Seen { revision: 9, value: Some(("v".into(), 4)) };
        operation(Call::Get { key: key.into() }, 1_000_000 * second, outcome)
    }

    #[test]
    fn what_contradicts_each_other_is_shown_with_calls_of_the_same_keys() {
        let operations: Vec<_> = (0..40).flat_map(|second| [read(second, "a"), read(second, "b")]).collect();
        let (old, here) = (operations[2].clone(), operations[60].clone());
        let history = History { operations, ..History::default() };
        let verdict = Verdict::of_operations("p", 1, vec![("it broke".to_owned(), vec![&old, &here])]);
        let lines = around(&verdict, &history);
        assert_eq!(lines.len(), 2 * SIDE + 1, "the old one is shown too: {lines:?}");
        let marked: Vec<_> = lines.iter().filter(|line| line.contradicts).map(|line| line.words.as_str()).collect();
        let told = "client 2 asked to read a, and was told: at revision 9 it is v, of revision 4";
        let wanted = ["1.000000 s to 1.000007 s", "30.000000 s to 30.000007 s"].map(|at| format!("{at}: {told}"));
        assert_eq!(marked, wanted);
        assert!(lines.iter().all(|line| line.words.contains("read a")), "{lines:?}");
        assert!(around(&Verdict::new("p", 1, vec!["it broke".to_owned()]), &history).is_empty());
    }

    #[test]
    fn every_call_and_answer_has_its_words() {
        let put_if = |mod_revision| Call::PutIf { key: "k".into(), value: "v".into(), mod_revision };
        let told = |call, outcome| words(&operation(call, 0, outcome));
        let begun = "0.000000 s to 0.000007 s: client 2 asked to write v to k";
        assert_eq!(
            told(put_if(0), Outcome::Seen { revision: 9, value: None }),
            format!("{begun} if that is absent, and was told: not written, at revision 9 it is absent")
        );
        assert_eq!(
            told(put_if(8), Outcome::Written { revision: 9 }),
            format!("{begun} if that is of revision 8, and was told: written at revision 9")
        );
        let put = || Call::Put { key: "k".into(), value: "v".into() };
        assert_eq!(
            told(put(), Outcome::Unknown { error: "late".into() }),
            format!("{begun}, and was told: nothing certain (late)")
        );
        assert!(told(put(), Outcome::Refused { error: "full".into() }).ends_with("told: refused (full)"));
    }

    #[test]
    fn a_lease_is_told_until_it_was_gone() {
        let read = |second: u64, there| LeaseRead {
            invoked_us: second * 1_000_000,
            returned_us: second * 1_000_000 + 9,
            there,
        };
        let story = LeaseStory {
            key: "/leased/1".into(),
            ttl_us: 3_000_000,
            renewed_invoked_us: 1_000_000,
            asked_us: 1_000_500,
            reads: vec![read(2, true), read(3, false), read(4, false)],
        };
        let history = History { leases: vec![story], ..History::default() };
        let place = Place { at_us: 3_000_009, key: "/leased/1".into() };
        let lines = around(&Verdict::placed("p", 1, vec![("gone early".to_owned(), Some(place))]), &history);
        assert!(lines[0].words.contains("granted or renewed for 3.000000 s"), "{lines:?}");
        assert_eq!(lines[2].words, "3.000000 s to 3.000009 s: it is gone");
        assert_eq!(lines.iter().map(|line| line.contradicts).collect::<Vec<_>>(), [true, false, true]);
    }
}

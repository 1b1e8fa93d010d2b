//! PURE: what was asked and answered around the place where something broke, in words.

use crate::check::Place;
use crate::history::{Call, History, LeaseStory, Operation, Outcome};

/// So many calls of the key before the place, and after it.
const SIDE: usize = 5;

/// The calls of the key around the place, and what became of its lease if it has one.
pub(crate) fn around(history: &History, place: &Place) -> Vec<String> {
    let mut of_key: Vec<&Operation> =
        history.operations.iter().filter(|operation| operation.call.key() == place.key).collect();
    of_key.sort_by_key(|operation| operation.invoked_us);
    let here = of_key.partition_point(|operation| operation.invoked_us < place.at_us);
    let shown = &of_key[here.saturating_sub(SIDE)..of_key.len().min(here + 1 + SIDE)];
    let calls = shown.iter().map(|operation| {
        let mark = if operation.invoked_us == place.at_us { ">" } else { " " };
        format!("{mark} {}", told(operation))
    });
    let stories = history.leases.iter().filter(|story| story.key == place.key).flat_map(|story| lease(story, place));
    calls.chain(stories).collect()
}

fn seconds(us: u64) -> String {
    format!("{}.{:06} s", us / 1_000_000, us % 1_000_000)
}

fn told(operation: &Operation) -> String {
    let asked = match &operation.call {
        Call::Put { key, value } => format!("write {value} to {key}"),
        Call::PutIf { key, value, mod_revision } => format!("write {value} to {key} if that is at {mod_revision}"),
        Call::Get { key } => format!("read {key}"),
    };
    let answered = match &operation.outcome {
        Outcome::Written { revision } => format!("written at revision {revision}"),
        Outcome::Seen { revision, value: Some((value, at)) } => format!("{value} of revision {at}, seen at {revision}"),
        Outcome::Seen { revision, value: None } => format!("nothing there, seen at {revision}"),
        Outcome::Refused { error } => format!("refused: {error}"),
        Outcome::Unknown { error } => format!("nobody knows: {error}"),
    };
    let (from, to) = (seconds(operation.invoked_us), seconds(operation.returned_us));
    format!("{from} to {to}: client {} asks to {asked}: {answered}", operation.client)
}

fn lease(story: &LeaseStory, place: &Place) -> Vec<String> {
    let begun = format!(
        "  {}: the lease of {} was granted or renewed for {}, by {} at the latest",
        seconds(story.renewed_invoked_us),
        story.key,
        seconds(story.ttl_us),
        seconds(story.asked_us)
    );
    let here = story.reads.partition_point(|read| read.returned_us < place.at_us);
    let shown = &story.reads[here.saturating_sub(SIDE)..story.reads.len().min(here + 1)];
    let reads = shown.iter().map(|read| {
        let found = if read.there { "there" } else { "gone" };
        format!("  {} to {}: it is {found}", seconds(read.invoked_us), seconds(read.returned_us))
    });
    std::iter::once(begun).chain(reads).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::LeaseRead;

    #[test]
    fn the_calls_of_the_key_around_the_place_are_shown() {
        let operation = |index: u64, key: &str| Operation {
            client: 2,
            call: Call::Get { key: key.into() },
            invoked_us: 1_000_000 * index,
            returned_us: 1_000_000 * index + 7,
            outcome: Outcome::Seen { revision: 9, value: Some(("v".into(), 4)) },
        };
        let operations = (0..30).flat_map(|index| [operation(index, "a"), operation(index, "b")]).collect();
        let history = History { operations, ..History::default() };
        let shown = around(&history, &Place { at_us: 20_000_000, key: "a".into() });
        assert_eq!(shown.len(), 2 * SIDE + 1);
        let marked: Vec<_> = shown.iter().filter(|line| line.starts_with('>')).collect();
        let words = "> 20.000000 s to 20.000007 s: client 2 asks to read a: v of revision 4, seen at 9";
        assert_eq!(marked, [words]);
        assert!(around(&History::default(), &Place { at_us: 1, key: "a".into() }).is_empty());
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
        let shown = around(&history, &Place { at_us: 3_000_009, key: "/leased/1".into() });
        assert_eq!(shown.len(), 3, "{shown:?}");
        assert!(shown[0].contains("granted or renewed for 3.000000 s"), "{shown:?}");
        assert!(shown[2].ends_with("it is gone"), "{shown:?}");
    }
}

//! PURE: the first violation of a run: what contradicts each other, in words, and what else was done to those keys then.

use std::fmt::Write as _;

use crate::check::Verdict;
use crate::history::{Call, History, Operation, Outcome};
use crate::scenario::report::{escape, seconds};

/// Before and after it. Units: microseconds.
const AROUND_US: u64 = 250_000;
/// Operations around it that are shown, the nearest ones.
const SHOWN_MAX: usize = 40;

/// The violation that could be seen first, of those that operations show.
pub(super) fn first(verdicts: &[Verdict]) -> Option<&Verdict> {
    verdicts.iter().filter(|verdict| !verdict.between.is_empty()).min_by_key(|verdict| at_us(verdict))
}

/// When it could be seen: the last answer that belongs to it.
pub(super) fn at_us(verdict: &Verdict) -> u64 {
    verdict.between.iter().map(|operation| operation.returned_us).max().unwrap_or(0)
}

/// As a part of the page.
pub(super) fn section(verdicts: &[Verdict], history: &History) -> Option<String> {
    let verdict = first(verdicts)?;
    let mut html = format!("<h2>The first violation: not {}</h2><p class=bad>", escape(&verdict.property));
    html.push_str(&escape(verdict.violations.first().map_or("", String::as_str)));
    html.push_str("</p><p>These contradict each other, and nothing else is needed for it:</p><ol>");
    let mut between: Vec<&Operation> = verdict.between.iter().collect();
    between.sort_by_key(|operation| operation.invoked_us);
    for operation in between {
        let _ = write!(html, "<li>{}", escape(&words(operation)));
    }
    html.push_str("</ol><p>What was done to the same keys then:</p><table><tr><th>from<th>to<th>client<th>what</tr>");
    for operation in around(verdict, &history.operations) {
        let class = if verdict.between.contains(operation) { "bad" } else { "" };
        let (from, to) = (seconds(operation.invoked_us), seconds(operation.returned_us));
        let (client, asked, told) = (operation.client, asked(&operation.call), told(operation));
        let what = escape(&format!("{asked}: {told}"));
        let _ = write!(html, "<tr class='{class}'><td>{from:.6}<td>{to:.6}<td>{client}<td>{what}</tr>");
    }
    html.push_str("</table>");
    Some(html)
}

/// Operations on the same keys at about the same time, in order.
fn around<'a>(verdict: &Verdict, operations: &'a [Operation]) -> Vec<&'a Operation> {
    let at = at_us(verdict);
    let (from, to) = (at.saturating_sub(AROUND_US), at.saturating_add(AROUND_US));
    let near = |operation: &&Operation| {
        let same = verdict.between.iter().any(|other| other.call.key() == operation.call.key());
        same && operation.returned_us >= from && operation.invoked_us <= to
    };
    let mut found: Vec<&Operation> = operations.iter().filter(near).collect();
    found.sort_by_key(|operation| operation.returned_us.abs_diff(at));
    found.truncate(SHOWN_MAX);
    found.sort_by_key(|operation| operation.invoked_us);
    found
}

/// What was done, as a sentence.
fn words(operation: &Operation) -> String {
    let Operation { client, invoked_us, returned_us, .. } = operation;
    let (from, to) = (seconds(*invoked_us), seconds(*returned_us));
    format!("At {from:.6} s client {client} {}; at {to:.6} s it was told: {}.", asked(&operation.call), told(operation))
}

fn asked(call: &Call) -> String {
    match call {
        Call::Put { key, value } => format!("wrote {value} to {key}"),
        Call::PutIf { key, value, mod_revision: 0 } => format!("wrote {value} to {key} if it was absent"),
        Call::PutIf { key, value, mod_revision } => {
            format!("wrote {value} to {key} if that was still of revision {mod_revision}")
        }
        Call::Get { key } => format!("read {key}"),
    }
}

fn told(operation: &Operation) -> String {
    // A condition that did not hold is answered with what is there.
    let not = if operation.call.value().is_some() { "not written, " } else { "" };
    match &operation.outcome {
        Outcome::Written { revision } => format!("written at revision {revision}"),
        Outcome::Seen { revision, value: Some((value, modified)) } => {
            format!("{not}at revision {revision} it is {value}, of revision {modified}")
        }
        Outcome::Seen { revision, value: None } => format!("{not}at revision {revision} it is absent"),
        Outcome::Refused { error } => format!("refused ({error})"),
        Outcome::Unknown { error } => format!("nothing certain ({error})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check;
    use crate::history::Watched;

    fn operation(client: u32, call: Call, at: u64, outcome: Outcome) -> Operation {
        Operation { client, call, invoked_us: at, returned_us: at + 1_000, outcome }
    }

    fn put(key: &str, value: &str) -> Call {
        Call::Put { key: key.into(), value: value.into() }
    }

    /// A member that answered with what it had, 4 ms after the next write was acknowledged.
    fn stale() -> History {
        let get = || Call::Get { key: "a".into() };
        let seen = |value: &str, at| Outcome::Seen { revision: 3, value: Some((value.into(), at)) };
        History {
            operations: vec![
                operation(1, put("a", "old"), 1_000_000, Outcome::Written { revision: 2 }),
                operation(1, put("a", "new"), 2_000_000, Outcome::Written { revision: 3 }),
                operation(1, put("b", "other"), 2_000_000, Outcome::Written { revision: 4 }),
                operation(2, get(), 2_003_000, seen("new", 3)),
                operation(3, get(), 2_005_000, seen("old", 2)),
                operation(3, get(), 9_000_000, seen("new", 3)),
            ],
            ..History::default()
        }
    }

    #[test]
    fn a_stale_read_is_told_by_its_three_operations() {
        let history = stale();
        let html = section(&check::key_value(&history), &history).unwrap();
        let (told, around) = html.split_once("What was done").unwrap();
        let items: Vec<&str> = told.split("<li>").skip(1).collect();
        assert_eq!(items.len(), 3, "{told}");
        assert!(items[0].starts_with("At 1.000000 s client 1 wrote old to a; at 1.001000 s it was told: written at"));
        assert!(items[1].contains("wrote new to a"));
        assert!(
            items[2].contains("client 3 read a; at 2.006000 s it was told: at revision 3 it is old, of revision 2.")
        );
        // Not the other key, not what was long before or after.
        assert_eq!((around.matches("<td>1<td>").count(), around.matches("<td>3<td>").count()), (1, 1), "{around}");
        assert!(around.contains("client") && around.matches("class='bad'").count() == 2, "{around}");
    }

    #[test]
    fn the_first_of_several_is_shown_and_none_where_none_is() {
        let mut history = stale();
        // Both acknowledged writes of `a` are missing on the member, the older one from the beginning.
        let event = Watched { revision: 4, key: "b".into(), value: Some("other".into()) };
        history.truth.insert("server-1".into(), vec![event]);
        let verdicts = check::key_value(&history);
        let first = first(&verdicts).unwrap();
        assert_eq!((first.property.as_str(), at_us(first)), ("no acknowledged write lost", 1_001_000));
        assert_eq!(section(&[Verdict::new("p", 1, Vec::new())], &history), None);
    }

    #[test]
    fn every_call_and_answer_has_its_words() {
        let if_absent = Call::PutIf { key: "k".into(), value: "v".into(), mod_revision: 0 };
        let refused = operation(0, if_absent, 0, Outcome::Seen { revision: 9, value: None });
        assert_eq!(
            words(&refused),
            "At 0.000000 s client 0 wrote v to k if it was absent; at 0.001000 s it was told: not written, at revision 9 it \
             is absent."
        );
        let unknown = operation(0, put("k", "<v>"), 0, Outcome::Unknown { error: "Cancelled: late".into() });
        assert!(words(&unknown).ends_with("it was told: nothing certain (Cancelled: late)."));
    }
}

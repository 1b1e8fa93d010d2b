//! PURE: the first violation of a run, as a part of its page.

use crate::check::Verdict;
use crate::check::around::{Line, around};
use crate::history::History;
use crate::scenario::report::escape;

/// The violation that could be seen first, of those that are at some place, and when. Units: microseconds.
pub(super) fn first(verdicts: &[Verdict]) -> Option<(&Verdict, u64)> {
    let placed = verdicts.iter().filter_map(|verdict| Some((verdict, verdict.place()?.at_us)));
    placed.min_by_key(|(_, at_us)| *at_us)
}

/// As a part of the page.
pub(super) fn section(verdicts: &[Verdict], history: &History) -> Option<String> {
    let (verdict, _) = first(verdicts)?;
    let lines = around(verdict, history);
    let mut html = format!("<h2>The first violation: not {}</h2><p class=bad>", escape(&verdict.property));
    html.push_str(&escape(verdict.violations.first().map_or("", String::as_str)));
    html.push_str("</p><p>These contradict each other, and nothing else is needed for it:</p><ol>");
    let item = |line: &Line| {
        let class = if line.contradicts { "bad" } else { "" };
        format!("<li class='{class}'>{}", escape(&line.words))
    };
    html.extend(lines.iter().filter(|line| line.contradicts).map(item));
    html.push_str("</ol><p>They, and what else was done to the same keys then:</p><ul>");
    html.extend(lines.iter().map(item));
    html.push_str("</ul>");
    Some(html)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check;
    use crate::history::{Call, Operation, Outcome, Watched};

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
        let (least, all) = html.split_once("</ol>").unwrap();
        let items = |html: &str| html.split("<li class=").skip(1).map(str::to_owned).collect::<Vec<_>>();
        let least = items(least);
        assert_eq!(least.len(), 3, "{html}");
        assert!(least[0].starts_with("'bad'>1.000000 s to 1.001000 s: client 1 asked to write old to a"), "{html}");
        assert!(least[1].contains("write new to a"), "{html}");
        assert!(least[2].contains("client 3 asked to read a, and was told: at revision 3 it is old, of revision 2"));
        // The others of the same key besides, and no other key's.
        let all = items(all);
        assert_eq!(all.iter().map(|item| item.starts_with("'bad'")).filter(|bad| *bad).count(), 3, "{html}");
        assert!(all.len() == 5 && !html.contains("to b"), "{html}");
    }

    #[test]
    fn the_first_of_several_is_shown_and_none_where_none_is() {
        let mut history = stale();
        // Both acknowledged writes of `a` are missing on the member, the older one from the beginning.
        let event = Watched { revision: 4, key: "b".into(), value: Some("other".into()) };
        history.truth.insert("server-1".into(), vec![event]);
        let verdicts = check::key_value(&history);
        let (first, at_us) = first(&verdicts).unwrap();
        assert_eq!((first.property.as_str(), at_us), ("no acknowledged write lost", 1_001_000));
        assert_eq!(section(&[Verdict::new("p", 1, Vec::new())], &history), None);
    }
}

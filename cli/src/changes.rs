//! PURE: how the difference between two states is told, by whichever command.

use serde_json::{Value, json};
use store::archive::{Change, Difference};

/// The word for a change, and its letter.
fn words(change: Change) -> (&'static str, char) {
    match change {
        Change::Added => ("added", '+'),
        Change::Removed => ("removed", '-'),
        Change::Changed => ("changed", '~'),
    }
}

/// A change of a key in a line.
pub(crate) fn line(change: Change, key: &str) -> String {
    format!("{} {key}", words(change).1)
}

/// The same for programs.
pub(crate) fn document(change: Change, key: &str) -> Value {
    json!({ "change": words(change).0, "key": key })
}

/// How many keys differ.
pub(crate) fn counts(found: &Difference) -> String {
    format!("{} added, {} removed, {} changed", found.added, found.removed, found.changed)
}

/// The same for programs, with those that do not.
pub(crate) fn counts_document(found: &Difference) -> Value {
    json!({ "added": found.added, "removed": found.removed, "changed": found.changed, "same": found.same })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_alike_to_people_and_programs() {
        let mut found = Difference::default();
        for change in [Change::Added, Change::Changed, Change::Changed] {
            found.count(change);
        }
        assert_eq!(counts(&found), "1 added, 0 removed, 2 changed");
        assert_eq!(counts_document(&found), json!({ "added": 1, "removed": 0, "changed": 2, "same": 0 }));
        let lines = [Change::Added, Change::Removed, Change::Changed].map(|change| line(change, "k"));
        assert_eq!(lines, ["+ k", "- k", "~ k"]);
        assert_eq!(document(Change::Removed, "k"), json!({ "change": "removed", "key": "k" }));
    }
}

//! PURE: what differs between two states, and what lies below which prefix.

use std::collections::BTreeMap;

use proto::mvccpb::KeyValue;

/// How a key differs from what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Only the later state has it.
    Added,
    /// Only the earlier state has it.
    Removed,
    /// Both have it, written by different transactions or with other bytes.
    Changed,
}

/// How many keys differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// See `Change::Added`.
    pub added: u64,
    /// See `Change::Removed`.
    pub removed: u64,
    /// See `Change::Changed`.
    pub changed: u64,
    /// Keys that are the same in both.
    pub same: u64,
}

impl Difference {
    /// Counts a key that differs.
    pub fn count(&mut self, change: Change) {
        match change {
            Change::Added => self.added += 1,
            Change::Removed => self.removed += 1,
            Change::Changed => self.changed += 1,
        }
    }
}

/// Compares two states, both in the order of keys, and tells of each key that differs.
///
/// # Errors
/// When one of them cannot be read.
pub fn compare<E>(
    mut earlier: impl FnMut() -> Result<Option<KeyValue>, E>,
    mut later: impl FnMut() -> Result<Option<KeyValue>, E>,
    mut each: impl FnMut(Change, &KeyValue),
) -> Result<Difference, E> {
    let (mut old, mut new, mut found) = (earlier()?, later()?, Difference::default());
    let mut tell = |found: &mut Difference, change, kv: &KeyValue| {
        found.count(change);
        each(change, kv);
    };
    loop {
        let order = match (&old, &new) {
            (None, None) => return Ok(found),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(old), Some(new)) => old.key.cmp(&new.key),
        };
        match (order, &old, &new) {
            (std::cmp::Ordering::Less, Some(gone), _) => {
                tell(&mut found, Change::Removed, gone);
                old = earlier()?;
            }
            (std::cmp::Ordering::Greater, _, Some(come)) => {
                tell(&mut found, Change::Added, come);
                new = later()?;
            }
            (_, one, Some(other)) => {
                if one.as_ref() == Some(other) {
                    found.same += 1;
                } else {
                    tell(&mut found, Change::Changed, other);
                }
                (old, new) = (earlier()?, later()?);
            }
            _ => return Ok(found),
        }
    }
}

/// Prefixes that are counted by themselves.
const PREFIXES_MAX: usize = 1000;
/// What is counted for the others.
const OTHERS: &str = "(others)";

/// Keys and bytes by the first parts of their paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census(BTreeMap<String, (u64, u64)>);

impl Census {
    /// Counts a key.
    pub fn count(&mut self, kv: &KeyValue) {
        let mut prefix = prefix(&kv.key);
        if self.0.len() >= PREFIXES_MAX && !self.0.contains_key(&prefix) {
            OTHERS.clone_into(&mut prefix);
        }
        let (keys, bytes) = self.0.entry(prefix).or_default();
        *keys += 1;
        *bytes += (kv.key.len() + kv.value.len()) as u64;
    }

    /// Each prefix with its keys and their bytes.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64, u64)> {
        self.0.iter().map(|(prefix, (keys, bytes))| (prefix.as_str(), *keys, *bytes))
    }
}

/// Two parts of a path: `/registry/pods/`; one where there are no two.
fn prefix(key: &[u8]) -> String {
    let slashes: Vec<usize> =
        key.iter().enumerate().skip(1).filter(|(_, byte)| **byte == b'/').map(|(at, _)| at).take(2).collect();
    let end = slashes.last().map_or(0, |at| at + 1);
    String::from_utf8_lossy(&key[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    fn state(keys: &BTreeMap<u8, u8>) -> impl FnMut() -> Result<Option<KeyValue>, Infallible> {
        let kv = |(key, value): (&u8, &u8)| KeyValue {
            key: vec![*key].into(),
            value: vec![*value].into(),
            ..KeyValue::default()
        };
        let mut rows = keys.iter().map(kv).collect::<Vec<_>>().into_iter();
        move || Ok(rows.next())
    }

    proptest! {
        #[test]
        fn what_differs_makes_one_state_of_the_other(
            old in proptest::collection::btree_map(0_u8..20, 0_u8..3, 0..15),
            new in proptest::collection::btree_map(0_u8..20, 0_u8..3, 0..15),
        ) {
            let mut made = old.clone();
            let mut told = 0;
            let found = compare(state(&old), state(&new), |change, kv| {
                told += 1;
                match change {
                    Change::Removed => assert!(made.remove(&kv.key[0]).is_some()),
                    Change::Added => assert!(made.insert(kv.key[0], kv.value[0]).is_none()),
                    Change::Changed => assert!(made.insert(kv.key[0], kv.value[0]).is_some()),
                }
            });
            let found = found.expect("memory");
            prop_assert_eq!(&made, &new);
            prop_assert_eq!(found.added + found.removed + found.changed, told);
            prop_assert_eq!(found.same + found.changed + found.added, new.len() as u64);
        }
    }

    #[test]
    fn keys_are_counted_by_two_parts_of_their_paths() {
        let mut census = Census::default();
        for key in ["/registry/pods/a/b", "/registry/pods/a/c", "/registry/x", "plain", "app/x/y", ""] {
            census.count(&KeyValue { key: key.into(), value: "12".into(), ..KeyValue::default() });
        }
        let found: Vec<_> = census.iter().collect();
        assert_eq!(found, [("", 2, 9), ("/registry/", 1, 13), ("/registry/pods/", 2, 40), ("app/x/", 1, 9)]);
        for number in 0..2 * PREFIXES_MAX {
            census.count(&KeyValue { key: format!("{number}/").into(), ..KeyValue::default() });
        }
        assert!(census.iter().count() <= PREFIXES_MAX + 1);
    }
}

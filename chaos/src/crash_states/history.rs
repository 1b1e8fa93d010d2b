//! What clients wrote while the disk was recorded, and what a state may hold of it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// A change of a key within a write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Step {
    Put { key: String, value: String, lease: i64 },
    Delete { key: String },
}

/// What a call asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum What {
    Keys(Vec<Step>),
    Compact(i64),
    Grant(i64),
    Revoke(i64),
}

/// A call that was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Written {
    /// Events of the disk when it was sent: it is in no state of as many.
    pub(crate) sent: usize,
    /// Events of the disk when its answer was there: it is in every state of as many.
    pub(crate) acked: usize,
    /// The revision of the answer.
    pub(crate) revision: i64,
    pub(crate) what: What,
}

impl Written {
    /// Events of the smallest state that it can be in.
    fn earliest(&self) -> usize {
        self.sent + 1
    }
}

/// A key as a store shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) value: Vec<u8>,
    pub(crate) created: i64,
    pub(crate) modified: i64,
    pub(crate) version: i64,
    pub(crate) lease: i64,
}

/// All keys at a revision.
pub(crate) type Keys = BTreeMap<Vec<u8>, Held>;

/// What a store showed after a crash.
#[derive(Clone, Debug)]
pub(crate) struct Contents {
    pub(crate) revision: i64,
    pub(crate) keys: Keys,
    pub(crate) leases: BTreeSet<i64>,
    /// An earlier revision, with what was read at it; none where it is compacted.
    pub(crate) past: Option<(i64, Option<Keys>)>,
}

/// In which way a state is not as it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// The store does not start in it.
    Unopened,
    /// Something acknowledged is not there.
    Lost,
    /// Something is there that nobody had sent.
    Invented,
    /// A key, or what is left of the past, is not what was written.
    Different,
}

/// What is wrong, in words.
pub(crate) type Violation = (Wrong, String);

/// All calls, with the one that made each revision.
#[derive(Debug)]
pub(crate) struct History {
    writes: Vec<Written>,
    /// By revision, from 2 on: places in `writes`. Several where revocations show one revision: one of them made it, the others
    /// took no key, before it or until the next one.
    order: Vec<Vec<usize>>,
}

impl History {
    /// Puts calls in order; fails where revisions are missing or made twice.
    pub(crate) fn new(writes: Vec<Written>) -> Result<Self, String> {
        let mut by_revision = BTreeMap::new();
        for (place, write) in writes.iter().enumerate() {
            if matches!(write.what, What::Keys(_)) && by_revision.insert(write.revision, vec![place]).is_some() {
                return Err(format!("two writes were acknowledged at revision {}", write.revision));
            }
        }
        // One that took no key made no revision: its answer shows another's.
        let certain: BTreeSet<i64> = by_revision.keys().copied().collect();
        for (place, write) in writes.iter().enumerate() {
            if matches!(write.what, What::Revoke(_)) && !certain.contains(&write.revision) {
                by_revision.entry(write.revision).or_default().push(place);
            }
        }
        by_revision.remove(&1);
        if let Some((at, _)) = (2..).zip(by_revision.keys()).find(|(expected, found)| expected != *found) {
            return Err(format!("no call says that it made revision {at}"));
        }
        Ok(History { order: by_revision.into_values().collect(), writes })
    }

    /// All calls.
    pub(crate) fn writes(&self) -> &[Written] {
        &self.writes
    }

    fn upto(&self, revision: i64) -> impl Iterator<Item = &[usize]> {
        let count = usize::try_from(revision - 1).unwrap_or(0);
        self.order.iter().take(count).map(Vec::as_slice)
    }

    /// All keys at a revision.
    pub(crate) fn keys(&self, revision: i64) -> Keys {
        let mut keys = Keys::new();
        for write in self.upto(revision).flatten().map(|place| &self.writes[*place]) {
            match &write.what {
                What::Keys(steps) => steps.iter().for_each(|step| take(&mut keys, step, write.revision)),
                What::Revoke(id) => keys.retain(|_, held| held.lease != *id),
                What::Compact(_) | What::Grant(_) => {}
            }
        }
        keys
    }

    /// What is wrong with a state of so many events.
    pub(crate) fn judge(&self, events: usize, found: &Contents) -> Result<(), Violation> {
        let last = i64::try_from(self.order.len()).unwrap_or(i64::MAX) + 1;
        if found.revision > last {
            let why = format!("revision {} was never written, the last is {last}", found.revision);
            return Err((Wrong::Invented, why));
        }
        let acked = self.order.iter().flatten().map(|place| &self.writes[*place]).filter(|write| write.acked <= events);
        if let Some(lost) = acked.map(|write| write.revision).max().filter(|revision| *revision > found.revision) {
            let why = format!("revision {lost} was acknowledged and is lost: the newest is {}", found.revision);
            return Err((Wrong::Lost, why));
        }
        let early = |places: &&[usize]| places.iter().all(|place| self.writes[*place].earliest() > events);
        if let Some(place) = self.upto(found.revision).find(early).and_then(<[usize]>::first) {
            let revision = self.writes[*place].revision;
            return Err((Wrong::Invented, format!("revision {revision} is there before it was sent")));
        }
        same(found.revision, &self.keys(found.revision), &found.keys)?;
        self.judge_leases(events, &found.leases)?;
        found.past.as_ref().map_or(Ok(()), |(revision, keys)| self.judge_past(events, *revision, keys.as_ref()))
    }

    fn judge_leases(&self, events: usize, found: &BTreeSet<i64>) -> Result<(), Violation> {
        let of = |wanted: fn(&What) -> Option<i64>, until: fn(&Written) -> usize| -> BTreeSet<i64> {
            self.writes.iter().filter(|write| until(write) <= events).filter_map(|write| wanted(&write.what)).collect()
        };
        let granted = |what: &What| if let What::Grant(id) = what { Some(*id) } else { None };
        let revoked = |what: &What| if let What::Revoke(id) = what { Some(*id) } else { None };
        let acked = |write: &Written| write.acked;
        let must = &of(granted, acked) - &of(revoked, Written::earliest);
        let may = &of(granted, Written::earliest) - &of(revoked, acked);
        if let Some(lost) = must.difference(found).next() {
            return Err((Wrong::Lost, format!("lease {lost} was granted and is lost")));
        }
        let early = found.difference(&may).next();
        early.map_or(Ok(()), |lease| Err((Wrong::Invented, format!("lease {lease} is there and must not be"))))
    }

    fn judge_past(&self, events: usize, revision: i64, found: Option<&Keys>) -> Result<(), Violation> {
        let compacted = |until: fn(&Written) -> usize| {
            let done = self.writes.iter().filter(|write| until(write) <= events);
            done.filter_map(|write| if let What::Compact(at) = write.what { Some(at) } else { None }).max().unwrap_or(0)
        };
        match found {
            Some(_) if revision < compacted(|write| write.acked) => {
                Err((Wrong::Different, format!("revision {revision} is readable though it was compacted")))
            }
            None if revision >= compacted(Written::earliest) => {
                Err((Wrong::Lost, format!("revision {revision} is not readable though nobody compacted it")))
            }
            None => Ok(()),
            Some(keys) => same(revision, &self.keys(revision), keys),
        }
    }
}

fn take(keys: &mut Keys, step: &Step, revision: i64) {
    match step {
        Step::Delete { key } => drop(keys.remove(key.as_bytes())),
        Step::Put { key, value, lease } => {
            let before = keys.get(key.as_bytes());
            let held = Held {
                value: value.clone().into_bytes(),
                created: before.map_or(revision, |held| held.created),
                modified: revision,
                version: before.map_or(0, |held| held.version) + 1,
                lease: *lease,
            };
            keys.insert(key.clone().into_bytes(), held);
        }
    }
}

fn same(revision: i64, expected: &Keys, found: &Keys) -> Result<(), Violation> {
    let shown = |keys: &Keys, key: &[u8]| {
        keys.get(key).map_or("nothing".to_owned(), |held| {
            let (created, version, bytes) = (held.created, held.version, held.value.len());
            format!("created {created}, modified {}, version {version}, {bytes} bytes", held.modified)
        })
    };
    let all: BTreeSet<&Vec<u8>> = expected.keys().chain(found.keys()).collect();
    let Some(key) = all.into_iter().find(|key| expected.get(*key) != found.get(*key)) else { return Ok(()) };
    let (name, is, must) = (String::from_utf8_lossy(key), shown(found, key), shown(expected, key));
    Err((Wrong::Different, format!("at revision {revision} {name} is {is} and must be {must}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(sent: usize, acked: usize, revision: i64, what: What) -> Written {
        Written { sent, acked, revision, what }
    }

    fn put(key: &str, value: &str, lease: i64) -> Step {
        Step::Put { key: key.to_owned(), value: value.to_owned(), lease }
    }

    fn history() -> History {
        let writes = vec![
            write(0, 2, 1, What::Grant(7)),
            write(2, 4, 2, What::Keys(vec![put("a", "1", 7), put("b", "1", 0)])),
            write(4, 6, 3, What::Keys(vec![put("b", "2", 0)])),
            write(6, 8, 4, What::Revoke(7)),
            write(8, 10, 4, What::Compact(3)),
            write(10, 12, 5, What::Keys(vec![Step::Delete { key: "b".to_owned() }])),
        ];
        History::new(writes).unwrap()
    }

    fn contents(revision: i64) -> Contents {
        let leases = if revision < 4 { BTreeSet::from([7]) } else { BTreeSet::new() };
        Contents { revision, keys: history().keys(revision), leases, past: None }
    }

    #[test]
    fn what_was_acknowledged_and_what_was_under_way_may_be_there() {
        let history = history();
        assert_eq!(history.judge(4, &contents(2)), Ok(()));
        // Sent and not yet acknowledged: either.
        assert_eq!(history.judge(5, &contents(2)), Ok(()));
        assert_eq!(history.judge(5, &contents(3)), Ok(()));
        assert_eq!(history.judge(12, &contents(5)), Ok(()));
        assert!(history.keys(4).contains_key(b"b".as_slice()) && !history.keys(4).contains_key(b"a".as_slice()));
    }

    #[test]
    fn planted_violations_are_found() {
        let history = history();
        let found = |wrong: Wrong, events, contents: &Contents| {
            let (kind, why) = history.judge(events, contents).unwrap_err();
            assert_eq!(kind, wrong, "{why}");
            why
        };
        assert!(found(Wrong::Lost, 6, &contents(2)).contains("acknowledged and is lost"));
        assert!(found(Wrong::Invented, 3, &contents(3)).contains("before it was sent"));
        assert!(found(Wrong::Invented, 99, &Contents { revision: 6, ..contents(5) }).contains("never written"));
        let mut other = contents(3);
        other.keys.get_mut(b"b".as_slice()).unwrap().value = b"1".to_vec();
        assert!(found(Wrong::Different, 6, &other).contains("must be"));
        let leased = |ids: &[i64], revision| Contents { leases: ids.iter().copied().collect(), ..contents(revision) };
        assert!(found(Wrong::Lost, 6, &leased(&[], 3)).contains("granted and is lost"));
        assert!(found(Wrong::Invented, 8, &leased(&[7], 4)).contains("must not be"));
        let past = |revision, keys| Contents { past: Some((revision, keys)), ..contents(4) };
        assert!(found(Wrong::Different, 10, &past(2, Some(history.keys(2)))).contains("compacted"));
        assert!(found(Wrong::Lost, 7, &past(2, None)).contains("nobody compacted"));
        assert!(found(Wrong::Different, 10, &past(3, Some(history.keys(2)))).contains("must be"));
    }

    #[test]
    fn of_two_revocations_that_show_one_revision_either_may_have_made_it() {
        for (first, second) in [(7, 8), (8, 7)] {
            let writes = vec![
                write(0, 1, 1, What::Grant(7)),
                write(0, 1, 1, What::Grant(8)),
                write(1, 2, 2, What::Keys(vec![put("a", "1", 7)])),
                write(2, 3, 3, What::Revoke(first)),
                write(4, 5, 3, What::Revoke(second)),
            ];
            let history = History::new(writes).unwrap();
            assert!(history.keys(3).is_empty());
            // The one that was sent first may have made it.
            let leases = BTreeSet::from([second]);
            let found = Contents { revision: 3, keys: Keys::new(), leases, past: None };
            assert_eq!(history.judge(3, &found), Ok(()));
        }
    }

    #[test]
    fn a_history_with_holes_is_none() {
        let put = |revision| write(0, 1, revision, What::Keys(vec![put("a", "1", 0)]));
        assert!(History::new(vec![put(2), put(4)]).is_err());
        assert!(History::new(vec![put(2), put(2)]).is_err());
    }
}

//! PURE: what every node is told: changes are gathered and told to all sessions at once, in rounds.
//!
//! With a thousand nodes each change is a thousand messages. A round says the last of many changes, its objects are
//! encoded once for all, and rounds keep a distance that grows with what they cost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proto::agent::Reference;

use super::select::{Key, ROUTES, Shown, reference};

/// What one message to one session costs, about, and what each KiB of it does.
const MESSAGE: Duration = Duration::from_micros(20);
const KIB: Duration = Duration::from_micros(2);
/// Rounds take one part of so many of a processor.
const SHARE: u32 = 8;
/// However many there are, nobody waits longer.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Objects of which every node is told.
#[derive(Debug, Default)]
pub(super) struct Whole {
    held: BTreeMap<Arc<Key>, Arc<Shown>>,
    /// Changes that no round has told yet; none: it is gone.
    waiting: BTreeMap<Arc<Key>, Option<Arc<Shown>>>,
}

/// Changes told together: each object as it is sent, or none when it is gone.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Round {
    told: Vec<(Arc<Key>, Option<Bytes>)>,
}

impl Whole {
    /// Takes a change in; the next round tells it, if it changes what nodes are told.
    pub(super) fn put(&mut self, key: &Key, shown: Option<&Arc<Shown>>) {
        let key = Arc::new(key.clone());
        match shown {
            Some(shown) if self.held.get(&key).is_some_and(|held| held.same(shown)) => return,
            Some(shown) => self.held.insert(Arc::clone(&key), Arc::clone(shown)),
            None => match self.held.remove(&key) {
                Some(held) => Some(held),
                None => return,
            },
        };
        self.waiting.insert(key, shown.cloned());
    }

    /// What has changed since the last round, if anything has.
    pub(super) fn round(&mut self) -> Option<Round> {
        let waiting = std::mem::take(&mut self.waiting);
        let told = waiting.into_iter().map(|(key, shown)| (key, shown.map(|shown| shown.object.clone())));
        Some(Round { told: told.collect() }).filter(|round| !round.told.is_empty())
    }

    /// Whether there is something to tell.
    pub(super) fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Everything, for a session that begins. The next round may tell it some of it again.
    pub(super) fn all(&self) -> Round {
        let told = self.held.iter().map(|(key, shown)| (Arc::clone(key), Some(shown.object.clone())));
        Round { told: told.collect() }
    }
}

impl Round {
    /// Of all its objects. Units: bytes.
    pub(super) fn size(&self) -> usize {
        self.told.iter().filter_map(|(_, object)| object.as_ref()).map(Bytes::len).sum()
    }
}

/// What a node is told by rounds that follow each other: the last of each object, and nothing of a route to itself.
pub(super) fn merged(rounds: &[Arc<Round>], node: &str) -> (Vec<Bytes>, Vec<Reference>) {
    let own = |key: &Key| key.0 == ROUTES && key.2 == node;
    let mut last: BTreeMap<&Key, Option<&Bytes>> = BTreeMap::new();
    let all: Box<dyn Iterator<Item = (&Key, Option<&Bytes>)>> = match rounds {
        // Nearly always: no need to sort.
        [one] => Box::new(one.told.iter().map(|(key, object)| (&**key, object.as_ref()))),
        many => {
            for (key, object) in many.iter().flat_map(|round| &round.told) {
                last.insert(key, object.as_ref());
            }
            Box::new(last.into_iter())
        }
    };
    let (mut upserts, mut deletes) = (Vec::new(), Vec::new());
    for (key, object) in all.filter(|(key, _)| !own(key)) {
        match object {
            Some(object) => upserts.push(object.clone()),
            None => deletes.push(reference(key)),
        }
    }
    (upserts, deletes)
}

/// How long after a round the next one may follow.
pub(super) fn pause(sessions: usize, bytes: usize) -> Duration {
    let sessions = u32::try_from(sessions).unwrap_or(u32::MAX);
    let kib = u32::try_from(bytes / 1024).unwrap_or(u32::MAX);
    let cost = MESSAGE.saturating_add(KIB.saturating_mul(kib)).saturating_mul(sessions);
    cost.saturating_mul(SHARE).min(PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn key(resource: &str, name: &str) -> Key {
        (resource.to_owned(), String::new(), name.to_owned())
    }

    fn put(whole: &mut Whole, key: &Key, revision: i64, object: Option<Value>) {
        let shown = object.map(|object| Arc::new(Shown::of(key, revision, object)));
        whole.put(key, shown.as_ref());
    }

    fn told(rounds: &[Arc<Round>], node: &str) -> (usize, Vec<String>) {
        let (upserts, deletes) = merged(rounds, node);
        (upserts.len(), deletes.into_iter().map(|gone| format!("{}/{}", gone.resource, gone.name)).collect())
    }

    #[test]
    fn a_round_tells_the_last_of_many_changes_and_nothing_that_changes_nothing() {
        let (mut whole, a, b) = (Whole::default(), key("services", "a"), key(ROUTES, "b"));
        for revision in 1..=3 {
            put(&mut whole, &a, revision, Some(json!({ "spec": revision })));
        }
        put(&mut whole, &b, 4, Some(json!({ "spec": 1 })));
        let first = Arc::new(whole.round().expect("something has changed"));
        assert_eq!((told(&[Arc::clone(&first)], "n"), told(&[first], "b")), ((2, vec![]), (1, vec![])));
        put(&mut whole, &b, 5, Some(json!({ "spec": 1 })));
        put(&mut whole, &key("services", "never"), 6, None);
        assert_eq!((whole.waits(), whole.round()), (false, None), "only the revision is another");
        put(&mut whole, &b, 7, None);
        let second = Arc::new(whole.round().expect("it is gone"));
        assert_eq!(told(&[second], "n"), (0, vec!["nodes/b".to_owned()]));
        assert_eq!(told(&[Arc::new(whole.all())], "n"), (1, vec![]));
    }

    #[test]
    fn whoever_is_behind_is_told_the_last_of_each() {
        let (mut whole, a, b) = (Whole::default(), key("services", "a"), key("services", "b"));
        let mut rounds = Vec::new();
        for (revision, object) in [(1, Some(json!({ "spec": 1 }))), (2, None), (3, Some(json!({ "spec": 2 })))] {
            put(&mut whole, &a, revision, object.clone());
            put(&mut whole, &b, revision, object.filter(|_| revision < 3));
            rounds.extend(whole.round().map(Arc::new));
        }
        assert_eq!((rounds.len(), told(&rounds, "n")), (3, (1, vec!["services/b".to_owned()])));
    }

    #[test]
    fn few_nodes_are_told_at_once_and_many_seldom() {
        assert!(pause(2, 1000) < Duration::from_millis(1));
        assert!((Duration::from_millis(100)..Duration::from_millis(500)).contains(&pause(1000, 4 << 10)));
        assert_eq!(pause(100_000, 100 << 20), PAUSE_MAX);
    }

    /// What a thousand sessions cost in all while they join: each is told of each other node once.
    #[test]
    fn joining_nodes_cost_each_session_one_message_for_each_other_node() {
        const NODES: usize = 200;
        let (mut whole, mut sent) = (Whole::default(), 0);
        for number in 0..NODES {
            let name = format!("n{number:03}");
            // It registers, gets a range, is ready, loses a taint: its route changes twice.
            let mut node =
                json!({ "spec": {}, "status": { "addresses": [{ "type": "InternalIP", "address": "10.0.0.1" }] } });
            let mut put = |node: &Value| {
                let shown = Shown::route(&name, 1, node).expect("it has an address");
                whole.put(&key(ROUTES, &name), Some(&Arc::new(shown)));
            };
            put(&node);
            node["spec"]["podCIDR"] = format!("10.1.{number}.0/24").into();
            put(&node);
            for status in ["False", "Unknown", "True"] {
                node["status"]["conditions"] = json!([{ "type": "Ready", "status": status }]);
                node["spec"]["taints"] = json!([{ "key": status }]);
                put(&node);
            }
            // Those that are there are told in a round, the new one at its beginning.
            let round = Arc::new(whole.round().expect("a new node"));
            sent += number * merged(&[round], "other").0.len();
            sent += merged(&[Arc::new(whole.all())], &name).0.len();
        }
        assert_eq!(sent, NODES * (NODES - 1));
    }
}

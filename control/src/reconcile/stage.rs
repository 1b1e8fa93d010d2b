//! For tests: a world in memory on which all controllers act until they rest. Names and uids are counted, time is given.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::controllers::{Controller, Failover, Observed, Plan, Settings, TABLE};
use crate::kind;
use crate::reconcile::world::{Changed, Item, World};
use crate::registry::allocation::{Ranges, fill};
use crate::registry::commit::{Change, Part, Txn};
use crate::registry::key::Key;
use crate::registry::prepare::{self, Birth, meta_str};
use crate::registry::removal::{self, Removal, rfc3339};
use crate::registry::rules;

/// Rounds after which controllers that still act never rest.
const ROUNDS_MAX: usize = 400;

/// The world, and what has happened.
pub(crate) struct Stage {
    pub(crate) world: World,
    pub(crate) now: Timestamp,
    pub(crate) silent: Vec<String>,
    waiting: Vec<Changed>,
    pub(crate) settings: Settings,
    count: u64,
}

impl Stage {
    pub(crate) fn new() -> Stage {
        let range = |text: &str| text.parse().expect("a range");
        let ranges = Ranges { services: range("10.96.0.0/16"), pods: range("10.244.0.0/16") };
        Stage {
            world: World::default(),
            now: "2026-01-01T00:00:00Z".parse().expect("a time"),
            silent: Vec::new(),
            waiting: Vec::new(),
            settings: Settings { ranges, ca_pem: "CA".to_owned(), failover: Failover::Fast },
            count: 0,
        }
    }

    /// A client creates an object; defaults as the API's are not set.
    pub(crate) fn create(&mut self, mut object: Value) -> Key {
        let (version, name) = (object["apiVersion"].as_str().expect("given"), object["kind"].as_str().expect("given"));
        let kind = kind::named(version, name).expect("a kind that is served");
        if kind.namespaced && object["metadata"]["namespace"].is_null() {
            object["metadata"]["namespace"] = "default".into();
        }
        assert!(self.commit(&Txn { manager: "test", changes: vec![Change::Create { kind, object }] }), "created");
        self.waiting.last().expect("just created").key.clone()
    }

    /// A client or an agent changes an object.
    pub(crate) fn change(&mut self, key: &Key, part: Part, change: impl FnOnce(&mut Value)) {
        let mut object = self.world.get(key).expect("is there").value.clone();
        change(&mut object);
        let update = Change::Update { kind: key.kind, part, object };
        self.commit(&Txn { manager: "test", changes: vec![update] });
    }

    pub(crate) fn delete(&mut self, key: &Key, options: removal::DeleteOptions) {
        assert!(self.commit(&Txn { manager: "test", changes: vec![Change::Delete(key.clone(), options)] }), "deleted");
    }

    pub(crate) fn pass(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
    }

    /// All controllers act until none wants anything; the names of those that did something.
    pub(crate) fn rest(&mut self) -> Vec<&'static str> {
        let mut acted = Vec::new();
        let all: Vec<Changed> = self.world.appeared().collect();
        self.waiting.extend(all);
        for _ in 0..ROUNDS_MAX {
            let changes = std::mem::take(&mut self.waiting);
            if changes.is_empty() {
                return acted;
            }
            for row in TABLE {
                let mut keys = (row.always)();
                changes.iter().for_each(|changed| (row.wakes)(&self.world, changed, &mut keys));
                keys.sort();
                keys.dedup();
                for key in keys {
                    for txn in self.planned(row, &key).txns {
                        if self.commit(&txn) {
                            acted.push(row.name);
                        }
                    }
                }
            }
        }
        panic!("controllers never rest; the last to act: {:?}", acted.iter().rev().take(8).collect::<Vec<_>>());
    }

    /// What a controller wants.
    pub(crate) fn plan(&self, name: &str, key: &Key) -> Plan {
        let row = TABLE.iter().find(|row| row.name == name).expect("a row");
        self.planned(row, key)
    }

    fn planned(&self, row: &Controller, key: &Key) -> Plan {
        let silent = |name: &str| {
            let lost = self.silent.iter().any(|held| held == name);
            Some(Duration::from_secs(if lost { 60 } else { 0 }))
        };
        let observed = Observed {
            world: &self.world,
            now: self.now,
            silent: &silent,
            leading_for: Duration::from_secs(60),
            settings: &self.settings,
        };
        (row.plan)(&observed, key)
    }

    /// All or nothing; false when a guard does not hold, or nothing changes.
    fn commit(&mut self, txn: &Txn) -> bool {
        let at = |world: &World, key: &Key| world.get(key).map_or(0, |item| item.revision);
        let holds = |change: &Change| match change {
            Change::Guard(key, revision) => at(&self.world, key) == *revision,
            Change::Update { kind, object, .. } => {
                let key = named(kind, object);
                at(&self.world, &key).to_string() == meta_str(object, "resourceVersion")
            }
            Change::Create { kind, object } => self.world.get(&named(kind, object)).is_none(),
            Change::Delete(..) => true,
        };
        if !txn.changes.iter().all(holds) {
            return false;
        }
        let before = self.waiting.len();
        for change in &txn.changes {
            self.apply(change);
        }
        self.waiting.len() > before
    }

    fn apply(&mut self, change: &Change) {
        self.count += 1;
        let (count, now) = (self.count, rfc3339(self.now));
        match change {
            Change::Create { kind, object } => {
                let mut object = object.clone();
                let given = meta_str(&object, "name");
                let name = if given.is_empty() {
                    format!("{}{count:04}", meta_str(&object, "generateName"))
                } else {
                    given.to_owned()
                };
                let namespace = meta_str(&object, "namespace").to_owned();
                let birth = Birth { namespace: &namespace, name: &name, uid: &format!("u{count}"), now: &now };
                prepare::create(kind, &mut object, &birth);
                let mut draw = || count;
                fill(&self.settings.ranges, &|_| false, kind, None, &mut object, &mut draw).expect("enough addresses");
                self.put(named(kind, &object), object);
            }
            Change::Update { kind, part, object } => {
                let key = named(kind, object);
                let (mut new, old) = (object.clone(), self.world.get(&key).expect("guarded").value.clone());
                match part {
                    Part::Main => prepare::update(kind, "", &old, &mut new, &now),
                    Part::Status => prepare::update(kind, "status", &old, &mut new, &now),
                    Part::Whole => {}
                }
                if removal::finished(kind, &new) {
                    self.remove(&key);
                } else if !prepare::unchanged(&old, &new) {
                    self.put(key, new);
                }
            }
            Change::Delete(key, options) => {
                let Some(old) = self.world.get(key).cloned() else { return };
                match removal::decide(key.kind, rules::of(key.kind), &old.value, options, self.now) {
                    Removal::Pending => {}
                    Removal::Mark(next) => self.put(key.clone(), next),
                    Removal::Remove => self.remove(key),
                }
            }
            Change::Guard(..) => {}
        }
    }

    fn put(&mut self, key: Key, object: Value) {
        self.world.revision += 1;
        let changed = self.world.put(Item::new(key, object, self.world.revision));
        self.waiting.push(changed);
    }

    fn remove(&mut self, key: &Key) {
        self.world.revision += 1;
        self.waiting.extend(self.world.remove(key));
    }

    /// A node with room for many pods.
    pub(crate) fn node(&mut self, name: &str) -> Key {
        let key = self.create(json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": { "name": name, "labels": { "kubernetes.io/hostname": name } }, "spec": {},
        }));
        self.change(&key, Part::Status, |node| {
            node["status"] = json!({
                "allocatable": { "cpu": "4", "memory": "8Gi", "pods": "110" },
                "conditions": [{ "type": "Ready", "status": "True" }],
            });
        });
        key
    }

    /// Agents do their part: pods with a node run and are ready unless their image is `broken`; deleted ones end.
    pub(crate) fn agents(&mut self) {
        let lost = self.silent.clone();
        let speaks = |node: &str| !lost.iter().any(|lost| lost == node);
        let pods: Vec<_> = self.world.list(kind::core("pods"), "").cloned().collect();
        for pod in pods.iter().filter(|pod| pod.node().is_some_and(speaks)) {
            if pod.deleting() {
                let options = removal::DeleteOptions { grace_seconds: Some(0), ..Default::default() };
                self.delete(&pod.key, options);
            } else if pod.value["status"]["phase"] == "Pending"
                && pod.value["spec"]["containers"][0]["image"] != "broken"
            {
                let time = rfc3339(self.now);
                let address = format!("10.244.0.{}", pod.revision);
                self.change(&pod.key, Part::Status, |pod| {
                    pod["status"]["phase"] = "Running".into();
                    pod["status"]["podIP"] = address.into();
                    pod["status"]["conditions"] =
                        json!([{ "type": "Ready", "status": "True", "lastTransitionTime": time }]);
                });
            }
        }
    }

    /// Controllers and agents take turns until both rest.
    pub(crate) fn settle(&mut self) {
        for _ in 0..100 {
            let before = self.world.revision;
            self.rest();
            self.agents();
            if self.world.revision == before {
                return;
            }
        }
        panic!("controllers and agents never rest");
    }

    /// The names of a kind's objects, with what `show` says of each.
    pub(crate) fn names(&self, resource: &str, show: impl Fn(&Item) -> String) -> Vec<String> {
        let kind = kind::ALL.iter().find(|kind| kind.resource == resource).expect("a kind");
        self.world.list(kind, "").map(|item| format!("{} {}", item.key.name, show(item)).trim().to_owned()).collect()
    }
}

fn named(kind: &'static kind::Kind, object: &Value) -> Key {
    Key { kind, namespace: meta_str(object, "namespace").to_owned(), name: meta_str(object, "name").to_owned() }
}

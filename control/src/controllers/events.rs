//! PURE: Events that controllers tell, counted instead of repeated, and their end after an hour.

use std::time::Duration;

use serde_json::json;

use crate::controllers::{Observed, Plan};
use crate::kind;
use crate::reconcile::world::{Changed, Item, World};
use crate::registry::commit::{Change, Part};
use crate::registry::key::Key;
use crate::registry::prepare::meta_str;
use crate::registry::removal::{DeleteOptions, rfc3339};

/// Events live so long after they were last written; kube-apiserver's `--event-ttl`.
const TTL: Duration = Duration::from_secs(3600);

/// As much of an object's name stands in those of its Events, which may have 253 letters.
const BASE_MAX: usize = 253 - 17;

/// What is told.
pub struct Told<'a> {
    /// `Normal` or `Warning`.
    pub severity: &'a str,
    /// A word in camel case, e.g. `FailedScheduling`.
    pub reason: &'a str,
    /// A sentence for people.
    pub message: &'a str,
    /// Who tells it, e.g. `default-scheduler`.
    pub component: &'a str,
}

/// Tells of an object: a new Event, or one more of the same; none in a namespace that ends, which takes no new objects.
/// It belongs into the transaction that does what it tells: then it is true, and counted once.
pub fn tell(observed: &Observed<'_>, about: &Item, told: &Told<'_>) -> Option<Change> {
    let namespace = if about.key.namespace.is_empty() { "default" } else { &about.key.namespace };
    let held = observed.world.named(kind::core("namespaces"), "", namespace);
    if held.is_none_or(|held| held.deleting()) {
        return None;
    }
    let words = [about.uid(), told.severity, told.reason, told.message, told.component].join("\0");
    let base = about.key.name.get(..BASE_MAX).unwrap_or(&about.key.name).trim_end_matches(['-', '.']);
    let name = format!("{base}.{:016x}", fnv64(words.as_bytes()));
    let now = rfc3339(observed.now);
    let events = kind::core("events");
    if let Some(same) = observed.world.named(events, namespace, &name) {
        let mut object = same.value.clone();
        object["count"] = (object["count"].as_i64().unwrap_or(1) + 1).into();
        object["lastTimestamp"] = now.into();
        return Some(Change::Update { kind: events, part: Part::Main, object });
    }
    let object = json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": { "name": name, "namespace": namespace },
        "involvedObject": {
            "apiVersion": about.key.kind.api_version(), "kind": about.key.kind.kind, "name": about.key.name,
            "namespace": about.key.namespace, "uid": about.uid(), "resourceVersion": meta_str(&about.value, "resourceVersion"),
        },
        "type": told.severity, "reason": told.reason, "message": told.message, "count": 1,
        "source": { "component": told.component }, "reportingComponent": told.component, "reportingInstance": "",
        "firstTimestamp": now, "lastTimestamp": now, "eventTime": null,
    });
    Some(Change::Create { kind: events, object })
}

/// FNV-1a.
pub(crate) fn fnv64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

pub(crate) fn wakes(_: &World, changed: &Changed, keys: &mut Vec<Key>) {
    if changed.is("", "events") && changed.new.is_some() {
        keys.push(changed.key.clone());
    }
}

/// Ends an Event whose time is over.
pub(crate) fn expire(observed: &Observed<'_>, key: &Key) -> Plan {
    let Some(event) = observed.world.get(key) else { return Plan::default() };
    // What it says of when it happened is its author's; what counts is when it was written.
    let age = event.written.map_or(TTL, |last| observed.now.duration_since(last).unsigned_abs());
    match TTL.checked_sub(age).filter(|left| !left.is_zero()) {
        Some(left) => Plan::default().wake(Some(left)),
        None => Plan::of(vec![Change::Delete(key.clone(), DeleteOptions::default())]),
    }
}

/// A line about a scaled object, as Kubernetes says it.
pub(crate) fn scaled(observed: &Observed<'_>, about: &Item, message: &str) -> Option<Change> {
    let told = Told { severity: "Normal", reason: "ScalingReplicaSet", message, component: "deployment-controller" };
    tell(observed, about, &told)
}

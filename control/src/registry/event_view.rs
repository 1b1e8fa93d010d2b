//! PURE: Events of `events.k8s.io`: the same objects as those of the core group, with other names for some of their fields.
//!
//! They lie in the store as the core group has them. Source: k8s.io/kubernetes `pkg/apis/events/v1/conversion.go`.

use serde_json::Value;

use crate::defaults;
use crate::kind::{self, Kind};

/// What a field is called in `events.k8s.io`, and in the core group.
const FIELDS: [(&str, &str); 7] = [
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

/// Whether objects of a kind lie in the store as those of another.
pub fn is_view(kind: &Kind) -> bool {
    (kind.group, kind.resource) == ("events.k8s.io", "events")
}

/// The kind that objects lie in the store as; messages about single objects speak of it.
pub fn stored_as(kind: &'static Kind) -> &'static Kind {
    if is_view(kind) { kind::core("events") } else { kind }
}

/// An object as it lies in the store.
pub fn to_stored(kind: &Kind, object: Value) -> Value {
    if is_view(kind) { renamed(object, kind::core("events"), |(new, old)| (new, old)) } else { object }
}

/// A stored object as a kind shows it.
pub fn shown(kind: &Kind, object: Value) -> Value {
    if is_view(kind) { renamed(object, kind, |(new, old)| (old, new)) } else { object }
}

fn renamed(
    mut object: Value,
    kind: &Kind,
    order: fn((&'static str, &'static str)) -> (&'static str, &'static str),
) -> Value {
    if let Some(fields) = object.as_object_mut() {
        for (from, to) in FIELDS.map(order) {
            if let Some(value) = fields.remove(from) {
                fields.insert(to.to_owned(), value);
            }
        }
        fields.insert("apiVersion".to_owned(), kind.api_version().into());
    }
    defaults::fill(kind, &mut object);
    object
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_the_same_in_both_groups() {
        let events = kind::find("events.k8s.io", "v1", "events").expect("a row");
        let new = json!({
            "kind": "Event", "apiVersion": "events.k8s.io/v1", "metadata": { "name": "x" },
            "eventTime": "2024-01-01T00:00:00.000000Z", "reportingController": "c", "reportingInstance": "i",
            "note": "n", "regarding": { "kind": "Pod" }, "deprecatedSource": {},
            "deprecatedFirstTimestamp": null, "deprecatedLastTimestamp": null,
        });
        let stored = to_stored(events, new.clone());
        assert_eq!(stored["involvedObject"], json!({ "kind": "Pod" }));
        assert_eq!((&stored["message"], &stored["reportingComponent"]), (&json!("n"), &json!("c")));
        assert_eq!((&stored["apiVersion"], &stored["source"]), (&json!("v1"), &json!({})));
        assert_eq!(shown(events, stored.clone()), new);
        assert_eq!(shown(kind::core("events"), stored.clone()), stored);
    }
}

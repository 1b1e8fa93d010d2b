//! Events: what a series must say, and what newer clients may not leave out or change.
//!
//! The core API asks only that an event lies beside its object; `events.k8s.io` asks more. Both are views of one object
//! whose fields some are named differently. Source: k8s.io/kubernetes `pkg/apis/core/validation/events.go`.

use serde_json::Value;

use crate::validate::field::{Errors, Path};
use crate::validate::read::{held, number, text};
use crate::validate::shapes::{EVENT_SOURCE, OBJECT_REFERENCE};
use crate::validate::show::{As, Struct};
use crate::validate::{LENIENT, Rules, names, root};

/// A word at most, bytes.
const WORD_MAX: usize = 128;
/// What it says to people at most, bytes.
const NOTE_MAX: usize = 1024;

/// Of events of the core group.
pub const CORE: Rules = Rules {
    create: |event, errors| legacy(event, &OLD, errors),
    update: |_, event, errors| legacy(event, &OLD, errors),
    ..LENIENT
};
/// Of events of `events.k8s.io`.
pub const STRICT: Rules = Rules { create: strict, update: strict_update, ..LENIENT };

/// What fields are called in an API; messages always say what the core group calls them.
struct Names {
    involved: &'static str,
    message: &'static str,
    source: &'static str,
    first: &'static str,
    last: &'static str,
    count: &'static str,
}

const OLD: Names = Names {
    involved: "involvedObject",
    message: "message",
    source: "source",
    first: "firstTimestamp",
    last: "lastTimestamp",
    count: "count",
};
const NEW: Names = Names {
    involved: "regarding",
    message: "note",
    source: "deprecatedSource",
    first: "deprecatedFirstTimestamp",
    last: "deprecatedLastTimestamp",
    count: "deprecatedCount",
};

fn at(field: &str) -> Path {
    root().child(field)
}

/// What is asked of every event.
fn legacy(event: &Value, fields: &Names, errors: &mut Errors) {
    let (namespace, involved) = (text(&event["metadata"], "namespace"), text(&event[fields.involved], "namespace"));
    let beside = match (held(event, "eventTime").is_some(), involved.is_empty()) {
        (false, true) => namespace.is_empty() || namespace == "default",
        (false, false) => namespace == involved,
        (true, true) => namespace == "default" || namespace == "kube-system",
        (true, false) => true,
    };
    if !beside {
        let place = at("involvedObject").child("namespace");
        errors.invalid(&place, involved, "does not match event.namespace");
    }
    if held(event, "eventTime").is_some() {
        let controller = text(event, "reportingController");
        if controller.is_empty() {
            errors.required(&at("reportingController"), "");
        }
        errors.malformed(&at("reportingController"), controller, &names::qualified_name(controller));
        for field in ["reportingInstance", "action", "reason"] {
            if text(event, field).is_empty() {
                errors.required(&at(field), "");
            }
            short(text(event, field), field, WORD_MAX, errors);
        }
        short(text(event, fields.message), "message", NOTE_MAX, errors);
    }
    errors.malformed(&at("namespace"), namespace, &names::dns1123_subdomain(namespace));
}

fn short(text: &str, field: &str, max: usize, errors: &mut Errors) {
    if text.len() > max {
        errors.invalid(&at(field), "", &format!("can have at most {max} characters"));
    }
}

fn series(event: &Value, errors: &mut Errors) {
    let Some(series) = held(event, "series") else { return };
    if number(series, "count").unwrap_or(0) < 2 {
        errors.invalid(&at("series.count"), "", "should be at least 2");
    }
    if held(series, "lastObservedTime").is_none() {
        errors.required(&at("series.lastObservedTime"), "");
    }
}

fn strict(event: &Value, errors: &mut Errors) {
    legacy(event, &NEW, errors);
    series(event, errors);
    if held(event, "eventTime").is_none() {
        errors.required(&at("eventTime"), "");
    }
    let kind = text(event, "type");
    if kind != "Normal" && kind != "Warning" {
        errors.invalid(&at("type"), "", &format!("has invalid value: {kind}"));
    }
    let source = &event[NEW.source];
    for (field, unset) in [
        ("firstTimestamp", held(event, NEW.first).is_none()),
        ("lastTimestamp", held(event, NEW.last).is_none()),
        ("count", number(event, NEW.count).unwrap_or(0) == 0),
        ("source", text(source, "component").is_empty() && text(source, "host").is_empty()),
    ] {
        if !unset {
            errors.invalid(&at(field), "", "needs to be unset");
        }
    }
}

fn strict_update(old: &Value, new: &Value, errors: &mut Errors) {
    legacy(new, &NEW, errors);
    if old["series"] != new["series"] {
        series(new, errors);
    }
    structure(old, new, (NEW.involved, "involvedObject", &OBJECT_REFERENCE), errors);
    same_text(old, new, "reason", "reason", errors);
    same_text(old, new, NEW.message, "message", errors);
    structure(old, new, (NEW.source, "source", &EVENT_SOURCE), errors);
    same(old, new, NEW.first, "firstTimestamp", errors);
    same(old, new, NEW.last, "lastTimestamp", errors);
    let count = |event: &Value| number(event, NEW.count).unwrap_or(0);
    if count(old) != count(new) {
        errors.invalid(&at("count"), &count(new), IMMUTABLE);
    }
    // Asked twice, as Kubernetes does.
    same_text(old, new, "reason", "reason", errors);
    same_text(old, new, "type", "type", errors);
    same(old, new, "eventTime", "eventTime", errors);
    same_text(old, new, "action", "action", errors);
    if held(new, "related").is_none() {
        same(old, new, "related", "related", errors);
    } else {
        structure(old, new, ("related", "related", &OBJECT_REFERENCE), errors);
    }
    same_text(old, new, "reportingController", "reportingController", errors);
    same_text(old, new, "reportingInstance", "reportingInstance", errors);
}

const IMMUTABLE: &str = "field is immutable";

fn same_text(old: &Value, new: &Value, field: &str, shown: &str, errors: &mut Errors) {
    if text(old, field) != text(new, field) {
        errors.invalid(&at(shown), text(new, field), IMMUTABLE);
    }
}

fn same(old: &Value, new: &Value, field: &str, shown: &str, errors: &mut Errors) {
    if held(old, field) != held(new, field) {
        errors.invalid(&at(shown), &new[field], IMMUTABLE);
    }
}

fn structure(old: &Value, new: &Value, (field, shown, of): (&str, &str, &'static Struct), errors: &mut Errors) {
    let empty = Value::Object(serde_json::Map::new());
    let (before, after) = (held(old, field).unwrap_or(&empty), held(new, field).unwrap_or(&empty));
    if before != after {
        errors.invalid(&at(shown), &As(after, of), IMMUTABLE);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::validate::field::said;

    #[test]
    fn an_old_event_lies_beside_its_object() {
        for (namespace, involved, fits) in
            [("ns", "ns", true), ("ns", "", false), ("default", "", true), ("ns", "other", false)]
        {
            let event = json!({ "metadata": { "namespace": namespace }, "involvedObject": { "namespace": involved } });
            assert_eq!(said(|errors| legacy(&event, &OLD, errors)).is_empty(), fits, "{namespace} {involved}");
        }
    }

    #[test]
    fn a_new_event_is_complete_and_stays() {
        let event = json!({
            "metadata": { "namespace": "ns" }, "eventTime": "t", "reportingController": "example.com/c",
            "reportingInstance": "i", "action": "a", "reason": "r", "type": "Normal", "regarding": { "namespace": "ns" },
        });
        assert!(said(|errors| strict(&event, errors)).is_empty());
        assert!(said(|errors| strict_update(&event, &event, errors)).is_empty());
        let mut other = event.clone();
        other["reason"] = "".into();
        other["series"] = json!({ "count": 1 });
        assert_eq!(
            said(|errors| strict_update(&event, &other, errors)),
            [
                "reason: Required value",
                "series.count: Invalid value: \"\": should be at least 2",
                "series.lastObservedTime: Required value",
                "reason: Invalid value: \"\": field is immutable",
                "reason: Invalid value: \"\": field is immutable",
            ]
        );
        other["type"] = "Bad".into();
        other["deprecatedCount"] = 1.into();
        let wrong = said(|errors| strict(&other, errors));
        assert!(wrong.contains(&"type: Invalid value: \"\": has invalid value: Bad".to_owned()), "{wrong:?}");
        assert!(wrong.contains(&"count: Invalid value: \"\": needs to be unset".to_owned()), "{wrong:?}");
    }
}

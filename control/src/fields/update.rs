//! Ownership after a write that changed an object: who changed a field owns it, whoever owned it before.
//!
//! Source: k8s.io/apimachinery `util/managedfields/internal/{fieldmanager,managedfieldsupdater,skipnonapplied}.go`,
//! sigs.k8s.io/structured-merge-diff `merge/update.go`.

use serde_json::Value;

use crate::fields::compare::{Delta, compare};
use crate::fields::entry::{Entry, Managers, Operation, is_reset};
use crate::fields::reset::{self, Reset};
use crate::fields::set::Set;
use crate::fields::zero;
use crate::kind::{self, Kind};
use crate::schema;

/// Who writes, through what, and when.
#[derive(Clone, Copy, Debug)]
pub struct Writer<'a> {
    /// Its name.
    pub manager: &'a str,
    /// Empty: the object itself.
    pub subresource: &'a str,
    /// RFC 3339, whole seconds.
    pub now: &'a str,
}

impl Writer<'_> {
    pub(crate) fn entry(&self, kind: &Kind, operation: Operation, fields: Set) -> Entry {
        Entry {
            manager: self.manager.to_owned(),
            operation,
            api_version: kind.api_version(),
            subresource: self.subresource.to_owned(),
            time: None,
            fields,
        }
    }
}

/// Sets the managed fields of the next version of an object; `old` is none for a new one.
pub fn update(kind: &Kind, old: Option<&Value>, new: &mut Value, by: Writer<'_>) {
    let given = new["metadata"].as_object_mut().and_then(|metadata| metadata.remove("managedFields"));
    let managers = match base(old, given, by.subresource) {
        managers if managers.is_empty() && old.is_some() => None,
        managers => updated(kind, old, new, managers, by),
    };
    if let (Some(list), Some(metadata)) = (managers, new["metadata"].as_object_mut()) {
        metadata.insert("managedFields".to_owned(), list);
    }
}

/// The managers to go on from: the client's, if it may and does say something sensible, else those of the object.
fn base(old: Option<&Value>, given: Option<Value>, subresource: &str) -> Managers {
    let live = || old.map(Managers::stored).unwrap_or_default();
    let Some(given) = given.filter(|_| subresource.is_empty()) else { return live() };
    if is_reset(&given) {
        return Managers::default();
    }
    match old {
        // What was read and sent back.
        Some(old) if old["metadata"].get("managedFields") == Some(&given) => live(),
        _ => Managers::parse(given).ok().filter(|managers| !managers.is_empty()).unwrap_or_else(live),
    }
}

fn updated(kind: &Kind, old: Option<&Value>, new: &Value, managers: Managers, by: Writer<'_>) -> Option<Value> {
    let reset = reset::of(kind, by.subresource);
    let before = old.unwrap_or_else(|| zero::of(kind));
    match changes(kind, before, new, &reset) {
        Ok(delta) => take(kind, managers, delta, by).into_value(),
        // Nobody can tell what was changed.
        Err(_) => old.and_then(|old| old["metadata"].get("managedFields").cloned()),
    }
}

/// The differences that a write may make.
pub(crate) fn changes(kind: &Kind, old: &Value, new: &Value, reset: &Reset) -> Result<Delta, String> {
    let mut delta = compare(schema::of(kind), old, new, reset.top)?;
    for set in [&mut delta.removed, &mut delta.modified, &mut delta.added] {
        reset.strip(set);
    }
    Ok(delta)
}

/// Gives what was changed to the writer, and takes it and what is gone from all others.
pub(crate) fn take(kind: &Kind, mut managers: Managers, delta: Delta, by: Writer<'_>) -> Managers {
    let mut own = delta.modified;
    own.add(&delta.added);
    release(kind, &mut managers, &delta.removed, &own);
    reset::strip_identity(&mut own);
    if !own.is_empty() {
        let mut entry = by.entry(kind, Operation::Update, own);
        entry.time = Some(by.now.to_owned());
        match managers.0.iter_mut().find(|held| held.same_writer(&entry)) {
            Some(held) => {
                held.fields.add(&entry.fields);
                held.time = entry.time;
            }
            None => managers.0.push(entry),
        }
    }
    managers.cap();
    managers
}

/// Takes fields from all entries of a version; those that own nothing, and those of versions that are not served, go.
pub(crate) fn release(kind: &Kind, managers: &mut Managers, removed: &Set, taken: &Set) {
    let version = kind.api_version();
    managers.0.retain_mut(|entry| {
        if entry.api_version != version {
            return kind::named(&entry.api_version, kind.kind).is_some();
        }
        entry.fields.subtract(taken);
        entry.fields.subtract(removed);
        !entry.fields.is_empty()
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: &str = "2026-01-01T00:00:00Z";

    fn by<'a>(manager: &'a str, subresource: &'a str) -> Writer<'a> {
        Writer { manager, subresource, now: NOW }
    }

    fn owned(object: &Value) -> Vec<String> {
        let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
        let one = |entry: &Value| {
            let set = Set::parse(&entry["fieldsV1"]).expect("a set");
            format!("{} {}", entry["manager"].as_str().unwrap_or_default(), set.paths().join(" "))
        };
        entries.iter().map(one).collect()
    }

    #[test]
    fn who_changes_a_field_owns_it() {
        let kind = kind::core("configmaps");
        let mut first = json!({ "metadata": { "name": "c" }, "data": { "a": "1", "b": "1" } });
        update(kind, None, &mut first, by("m1", ""));
        assert_eq!(owned(&first), ["m1 .data .data.a .data.b"]);
        let mut second = first.clone();
        second["data"] = json!({ "a": "2", "c": "1" });
        update(kind, Some(&first), &mut second, by("m2", ""));
        assert_eq!(owned(&second), ["m1 .data", "m2 .data.a .data.c"]);
        let mut third = second.clone();
        third.as_object_mut().expect("an object").remove("data");
        update(kind, Some(&second), &mut third, by("m3", ""));
        assert_eq!(owned(&third), Vec::<String>::new());
    }

    #[test]
    fn structs_that_are_always_there_have_no_owner() {
        let kind = kind::find("apps", "v1", "deployments").expect("a row");
        let mut object = json!({
            "metadata": { "name": "d", "labels": { "a": "b" } },
            "spec": {
                "replicas": 1, "selector": { "matchLabels": { "a": "b" } }, "strategy": { "type": "Recreate" },
                "template": { "metadata": {}, "spec": { "containers": [{ "name": "c", "resources": {} }] } }
            },
            "status": {}
        });
        update(kind, None, &mut object, by("m", ""));
        let wanted = ".metadata.labels .metadata.labels.a .spec.replicas .spec.selector .spec.strategy.type \
                      .spec.template.spec.containers[name=\"c\"] .spec.template.spec.containers[name=\"c\"].name \
                      .spec.template.spec.containers[name=\"c\"].resources";
        let mut all: Vec<String> = owned(&object)[0].split(' ').skip(1).map(str::to_owned).collect();
        all.sort();
        assert_eq!(all.join(" "), wanted);
    }

    #[test]
    fn a_status_is_owned_through_its_subresource_alone() {
        let kind = kind::find("apps", "v1", "deployments").expect("a row");
        let mut object = json!({ "metadata": { "name": "d" }, "spec": { "replicas": 1 }, "status": { "replicas": 1 } });
        update(kind, None, &mut object, by("m", ""));
        let mut next = object.clone();
        next["spec"]["replicas"] = 2.into();
        next["status"]["replicas"] = 2.into();
        next["metadata"]["managedFields"] = json!([{}]);
        update(kind, Some(&object), &mut next, by("m", "status"));
        assert_eq!(owned(&next), ["m .spec.replicas", "m .status.replicas"]);
        assert_eq!(next["metadata"]["managedFields"][1]["subresource"], "status");
    }

    #[test]
    fn clients_may_rewrite_or_reset_managers() {
        let kind = kind::core("configmaps");
        let mut object = json!({ "metadata": { "name": "c" }, "data": { "a": "1" } });
        update(kind, None, &mut object, by("m", ""));
        let with = |list: Value| {
            let mut next = object.clone();
            next["metadata"]["managedFields"] = list;
            update(kind, Some(&object), &mut next, by("u", ""));
            owned(&next)
        };
        assert_eq!(with(json!([{}])), Vec::<String>::new());
        assert_eq!(with(json!([{ "manager": "k", "operation": "Nope" }])), ["m .data .data.a"]);
        let entry = json!({ "manager": "k", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": { "f:data": {} } });
        assert_eq!(with(json!([entry])), ["k .data"]);
        let mut untracked = json!({ "metadata": {}, "data": { "a": "2" } });
        update(kind, Some(&json!({ "metadata": {}, "data": { "a": "1" } })), &mut untracked, by("u", ""));
        assert_eq!(owned(&untracked), Vec::<String>::new());
    }
}

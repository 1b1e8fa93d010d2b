//! Ownership of replicas, seen through `/scale` and carried back to the object.
//!
//! Source: k8s.io/apimachinery `util/managedfields/scalehandler.go`.

use serde_json::{Value, json};

use crate::fields::entry::{Entry, Managers};
use crate::fields::set::Set;
use crate::kind::Kind;

const SCALE_VERSION: &str = "autoscaling/v1";
/// Where replicas are, in scales and in all kinds that have one.
const REPLICAS: [&str; 2] = ["f:spec", "f:replicas"];

fn replicas() -> Set {
    Set::parse(&json!({ "f:spec": { "f:replicas": {} } })).unwrap_or_default()
}

/// The managers of an object that own its replicas, as managers of its scale.
pub fn managers_of_scale(kind: &Kind, object: &Value) -> Option<Value> {
    let mut managers = Managers::stored(object);
    managers.0.retain(|entry| entry.api_version == kind.api_version() && entry.fields.has(&REPLICAS));
    for entry in &mut managers.0 {
        SCALE_VERSION.clone_into(&mut entry.api_version);
        entry.fields = replicas();
    }
    managers.into_value()
}

/// The managers of an object whose scale has these now.
pub fn managers_of_parent(kind: &Kind, object: &Value, scale: &Value) -> Option<Value> {
    let mut scaled = Managers::stored(scale);
    let mut all = Managers::default();
    for mut entry in Managers::stored(object).0 {
        if entry.api_version != kind.api_version() {
            continue;
        }
        if entry.fields.has(&REPLICAS) {
            match scaled.0.iter().position(|held| held.same_writer(&entry)) {
                Some(at) => {
                    scaled.0.remove(at);
                }
                None => entry.fields.subtract(&replicas()),
            }
        }
        all.0.push(entry);
    }
    let owners = scaled.0.into_iter().filter(|entry| entry.fields.has(&REPLICAS));
    all.0.extend(owners.map(|entry| Entry {
        api_version: kind.api_version(),
        time: None,
        fields: replicas(),
        ..entry
    }));
    all.into_value()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::update::{Writer, update};
    use crate::kind;

    #[test]
    fn who_scales_owns_replicas() {
        let (kind, scale) = (
            kind::find("apps", "v1", "deployments").expect("a row"),
            kind::named(SCALE_VERSION, "Scale").expect("a row"),
        );
        let by = |manager, subresource| Writer { manager, subresource, now: "2026-01-01T00:00:00Z" };
        let mut object = json!({ "metadata": { "name": "d" }, "spec": { "replicas": 1, "paused": true } });
        update(kind, None, &mut object, by("m", ""));
        let mut old = json!({ "metadata": { "name": "d" }, "spec": { "replicas": 1 } });
        old["metadata"]["managedFields"] = managers_of_scale(kind, &object).expect("m owns them");
        let mut new = old.clone();
        new["spec"]["replicas"] = 3.into();
        update(scale, Some(&old), &mut new, by("s", "scale"));
        let list = managers_of_parent(kind, &object, &new).expect("both");
        let told: Vec<Value> = list
            .as_array()
            .expect("a list")
            .iter()
            .map(|e| json!([e["manager"], e["subresource"], e["fieldsV1"], e["time"]]))
            .collect();
        let wanted = [
            json!(["s", "scale", { "f:spec": { "f:replicas": {} } }, null]),
            json!(["m", null, { "f:spec": { "f:paused": {} } }, "2026-01-01T00:00:00Z"]),
        ];
        assert_eq!(told, wanted);
    }
}

//! What a write cannot change, and therefore nobody owns by it: the status through the object itself, everything else
//! through the status.
//!
//! Source: k8s.io/kubernetes `pkg/registry/*/*/strategy.go`, `GetResetFields`.

use serde_json::Value;

use crate::fields::element;
use crate::fields::set::{Node, Set};
use crate::kind::Kind;
use crate::registry::rules;

/// Beyond the ordinary: group, resource, subresource, and paths of fields in metadata.
const ALSO: &[(&str, &str, &str, &[&str])] = &[
    ("", "pods", "status", &["deletionTimestamp", "ownerReferences"]),
    ("apps", "deployments", "status", &["labels"]),
];

/// What is reset by a write through a subresource (empty: the object itself).
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Reset {
    /// Whole top-level fields.
    pub(crate) top: &'static [&'static str],
    /// Fields of metadata.
    pub(crate) metadata: &'static [&'static str],
}

/// By the kind's rules.
pub(crate) fn of(kind: &Kind, subresource: &str) -> Reset {
    let has_status = rules::of(kind).status;
    let top: &[&str] = match subresource {
        "" | "finalize" if has_status => &["status"],
        "status" => &["spec"],
        _ => &[],
    };
    let also = ALSO.iter().find(|row| (row.0, row.1, row.2) == (kind.group, kind.resource, subresource));
    Reset { top, metadata: also.map_or(&[], |row| row.3) }
}

impl Reset {
    /// Takes what is reset out of a set.
    pub(crate) fn strip(&self, set: &mut Set) {
        for name in self.top {
            set.0.remove(&element::field(name));
        }
        strip_metadata(&mut set.0, self.metadata);
    }
}

/// Takes fields of metadata out of a set.
fn strip_metadata(set: &mut Node, names: &[&str]) {
    if names.is_empty() {
        return;
    }
    let Some(Value::Object(metadata)) = set.get_mut("f:metadata") else { return };
    if metadata.is_empty() {
        return;
    }
    for name in names {
        metadata.remove(&element::field(name));
    }
    if metadata.is_empty() {
        set.remove("f:metadata");
    }
}

/// What identifies an object, or is the server's: nobody owns it.
const IDENTITY: [&str; 8] =
    ["name", "namespace", "creationTimestamp", "selfLink", "uid", "generation", "managedFields", "resourceVersion"];

/// Takes identity out of a set (k8s.io/apimachinery `util/managedfields/internal/stripmeta.go`).
pub(crate) fn strip_identity(set: &mut Set) {
    set.0.remove("f:apiVersion");
    set.0.remove("f:kind");
    if let Some(Value::Object(metadata)) = set.0.get_mut("f:metadata") {
        metadata.remove(element::SELF);
        for name in IDENTITY {
            metadata.remove(&element::field(name));
        }
        if metadata.is_empty() {
            set.0.remove("f:metadata");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind;
    use serde_json::json;

    #[test]
    fn what_is_reset_and_what_identifies_is_nobodys() {
        let all = Set::parse(&json!({
            "f:apiVersion": {}, "f:metadata": { ".": {}, "f:name": {}, "f:labels": { "f:a": {} } },
            "f:spec": { "f:x": {} }, "f:status": { "f:y": {} },
        }))
        .expect("a set");
        let left = |resource: &str, group: &str, subresource: &str| {
            let mut set = all.clone();
            of(kind::find(group, "v1", resource).expect("a row"), subresource).strip(&mut set);
            strip_identity(&mut set);
            set.paths().join(" ")
        };
        assert_eq!(left("deployments", "apps", ""), ".metadata.labels.a .spec.x");
        assert_eq!(left("deployments", "apps", "status"), ".status.y");
        assert_eq!(left("pods", "", "status"), ".metadata.labels.a .status.y");
        assert_eq!(left("configmaps", "", ""), ".metadata.labels.a .spec.x .status.y");
    }
}

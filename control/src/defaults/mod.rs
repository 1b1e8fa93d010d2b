//! PURE: what an object gets where its author left something out.
//!
//! Filled whenever an object is read from a body or made by a controller, before anything looks at it, and idempotent.
//! Source: k8s.io/kubernetes `pkg/apis/*/v1/defaults.go`.

use serde_json::Value;

use crate::kind::Kind;

/// Sorted by group, then resource.
const TABLE: &[(&str, &str, fn(&mut Value))] = &[];

/// Fills the defaults of a kind.
pub fn fill(kind: &Kind, object: &mut Value) {
    if let Some((.., fill)) = TABLE.iter().find(|row| (row.0, row.1) == (kind.group, kind.resource)) {
        fill(object);
    }
}

//! Namespaces, nodes, Secrets, bindings of roles, requests for tokens.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::defaults::{Fields, below, default, default_absent, text};

const RBAC: &str = "rbac.authorization.k8s.io";
/// Seconds.
const TOKEN_LIFE: i64 = 3600;

/// A label repeats the name.
pub(super) fn namespace(fields: &mut Fields) {
    let name = text(below(fields, "metadata"), "name").to_owned();
    if !name.is_empty() {
        below(below(fields, "metadata"), "labels").insert("kubernetes.io/metadata.name".to_owned(), name.into());
    }
}

pub(super) fn namespace_status(fields: &mut Fields) {
    default(fields, "phase", "Active");
}

/// What nobody withheld may be used.
pub(super) fn node_status(fields: &mut Fields) {
    if let Some(capacity) = fields.get("capacity").filter(|capacity| capacity.is_object()).cloned() {
        default_absent(fields, "allocatable", capacity);
    }
}

/// What was written as text is kept as bytes; it wins (pkg/apis/core/v1/conversion.go).
pub(super) fn secret(fields: &mut Fields) {
    default(fields, "type", "Opaque");
    if let Some(Value::Object(texts)) = fields.remove("stringData") {
        let data = below(fields, "data");
        for (name, text) in texts {
            data.insert(name, STANDARD.encode(text.as_str().unwrap_or_default()).into());
        }
    }
}

/// The range of a node's pods has two names too (pkg/apis/core/v1/conversion.go).
pub(super) fn node_spec(fields: &mut Fields) {
    one_and_many(fields, "podCIDR", "podCIDRs", |range| range.into(), |range| range.as_str());
}

/// Addresses of pods likewise.
pub(super) fn pod_status(fields: &mut Fields) {
    one_and_many(fields, "podIP", "podIPs", |address| serde_json::json!({ "ip": address }), |held| held["ip"].as_str());
}

/// Keeps a field and the first item of a list the same; the field wins.
fn one_and_many(
    fields: &mut Fields,
    one: &str,
    many: &str,
    wrap: fn(&str) -> Value,
    unwrap: fn(&Value) -> Option<&str>,
) {
    let single = text(fields, one).to_owned();
    let first = fields.get(many).and_then(|all| unwrap(all.get(0)?)).unwrap_or_default().to_owned();
    if single.is_empty() && !first.is_empty() {
        fields.insert(one.to_owned(), first.into());
    } else if single != first {
        fields.insert(many.to_owned(), vec![wrap(&single)].into());
    }
}

pub(super) fn binding(fields: &mut Fields) {
    default(below(fields, "roleRef"), "apiGroup", RBAC);
}

pub(super) fn subject(fields: &mut Fields) {
    if matches!(text(fields, "kind"), "User" | "Group") {
        default(fields, "apiGroup", RBAC);
    }
}

pub(super) fn token_request(fields: &mut Fields) {
    default_absent(fields, "expirationSeconds", TOKEN_LIFE);
}

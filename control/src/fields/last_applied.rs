//! The annotation in which `kubectl apply` keeps what it applied, and how it makes way for server-side apply.
//!
//! Source: k8s.io/apimachinery `util/managedfields/internal/{lastapplied,lastappliedmanager,lastappliedupdater}.go`.

use serde_json::Value;

use crate::fields::apply::unchanged;
use crate::fields::set::Set;
use crate::kind::Kind;
use crate::schema;

/// The manager whose two ways of applying are one.
pub(super) const MANAGER: &str = "kubectl";
const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// All annotations of an object, bytes.
const ANNOTATIONS_MAX: usize = 256 << 10;

fn held(object: &Value) -> Option<&str> {
    object["metadata"]["annotations"][ANNOTATION].as_str().filter(|text| !text.is_empty())
}

/// What client-side apply wrote and nobody has changed since; none when it never did.
pub(super) fn owned(kind: &Kind, live: &Value) -> Option<Set> {
    let applied: Value = serde_json::from_str(held(live)?).ok()?;
    (applied["apiVersion"] == *kind.api_version()).then_some(())?;
    unchanged(schema::of(kind), &applied, live).ok()
}

/// Brings the annotation up to date where there is one.
pub(super) fn renew(object: &mut Value, config: &Value) {
    if held(object).is_none() {
        return;
    }
    let mut config = config.clone();
    if let Some(annotations) = config["metadata"].get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.remove(ANNOTATION);
        if annotations.is_empty()
            && let Some(metadata) = config["metadata"].as_object_mut()
        {
            metadata.remove("annotations");
        }
    }
    let Some(annotations) = object["metadata"]["annotations"].as_object_mut() else { return };
    annotations.insert(ANNOTATION.to_owned(), format!("{config}\n").into());
    let size = |text: &Value| text.as_str().map_or(0, str::len);
    if annotations.iter().map(|(key, value)| key.len() + size(value)).sum::<usize>() > ANNOTATIONS_MAX {
        annotations.remove(ANNOTATION);
    }
}

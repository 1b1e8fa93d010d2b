//! PURE: what an object is once a server has read it: empty fields as Go writes them, and what its author left out.
//!
//! Filled whenever an object is read from a body or made by a controller, before anything looks at it, and idempotent.
//! Defaults belong to types, not to kinds, so a template of a pod gets what a pod gets. Source: k8s.io/kubernetes
//! `pkg/apis/*/v1/defaults.go`; Go's `encoding/json` for the rest.

mod image;
mod other;
mod pod;
mod pod_level;
mod service;
mod storage;
mod stored;
#[cfg(test)]
mod tests;
mod workload;

use serde_json::{Map, Value};

pub use stored::{like, stored};

use crate::kind::Kind;
use crate::schema::{self, Shape, Type};

/// An object that defaults are filled into.
type Fields = Map<String, Value>;

/// What a type's objects get besides what its fields declare; what lies below them comes after.
fn of_type(name: &str) -> Option<fn(&mut Fields)> {
    let name = name.strip_prefix("io.k8s.api.")?;
    Some(match name {
        "apps.v1.Deployment" => workload::deployment,
        "apps.v1.ReplicaSet" => workload::replica_set,
        "authentication.v1.TokenRequestSpec" => other::token_request,
        "core.v1.ConfigMapVolumeSource"
        | "core.v1.DownwardAPIVolumeSource"
        | "core.v1.ProjectedVolumeSource"
        | "core.v1.SecretVolumeSource" => pod::mode,
        "core.v1.Container" | "core.v1.EphemeralContainer" => pod::container,
        "core.v1.EndpointPort" => service::port_of_endpoints,
        "core.v1.HTTPGetAction" => pod::http_get,
        "core.v1.HostPathVolumeSource" => storage::host_path,
        "core.v1.Namespace" => other::namespace,
        "core.v1.NamespaceStatus" => other::namespace_status,
        "core.v1.NodeSpec" => other::node_spec,
        "core.v1.NodeStatus" => other::node_status,
        "core.v1.ObjectFieldSelector" => pod::field_selector,
        "core.v1.PersistentVolume" => storage::volume,
        "core.v1.PersistentVolumeClaim" => storage::claim,
        "core.v1.PersistentVolumeClaimSpec" => storage::claim_spec,
        "core.v1.Pod" => pod::pod,
        "core.v1.PodSpec" => pod::spec,
        "core.v1.PodStatus" => other::pod_status,
        "core.v1.Probe" => pod::probe,
        "core.v1.Secret" => other::secret,
        "core.v1.Service" => service::service,
        "core.v1.ServiceAccountTokenProjection" => pod::token_projection,
        "core.v1.Volume" => pod::volume,
        "discovery.v1.EndpointPort" => service::port_of_slice,
        "rbac.v1.ClusterRoleBinding" | "rbac.v1.RoleBinding" => other::binding,
        "rbac.v1.Subject" => other::subject,
        "storage.v1.StorageClass" => storage::class,
        _ => return None,
    })
}

/// Fills an object of a kind.
pub fn fill(kind: &Kind, object: &mut Value) {
    if let Value::Object(fields) = object {
        fill_type(&(kind.type_name)(), fields);
    }
}

fn fill_type(name: &str, fields: &mut Fields) {
    let Some(kind) = schema::named(name) else { return };
    settle(kind, fields, true);
    if let Some(fill) = of_type(name) {
        fill(fields);
    }
    for (name, value) in fields.iter_mut() {
        if let Some(field) = kind.fields.get(name) {
            descend(&field.shape, value);
        }
    }
}

fn descend(shape: &Shape, value: &mut Value) {
    match (shape, value) {
        (Shape::Object(name), Value::Object(fields)) => fill_type(name, fields),
        (Shape::List(item), Value::Array(items)) if nested(item) => {
            items.iter_mut().for_each(|value| descend(item, value));
        }
        (Shape::Map(inner), Value::Object(entries)) if nested(inner) => {
            entries.values_mut().for_each(|value| descend(inner, value));
        }
        _ => {}
    }
}

fn nested(shape: &Shape) -> bool {
    matches!(shape, Shape::Object(_) | Shape::List(_) | Shape::Map(_))
}

/// Writes what Go writes for fields that hold nothing, and leaves out what it leaves out. Lists and maps that were given
/// and are empty are as good as none for Go, too, but messages and ownership know them until the object is stored.
fn settle(kind: &Type, fields: &mut Fields, given: bool) {
    for (name, field) in &kind.fields {
        let go = &field.facts.go;
        let kept = |value: &Value| !go.is_empty(&field.shape, value) || (given && is_vacant(&field.shape, value));
        if fields.get(name).is_some_and(kept) {
            continue;
        }
        match go.absent(&field.shape) {
            Some(value) => fields.insert(name.clone(), value),
            None => fields.remove(name),
        };
    }
}

/// Whether a value is a list or map without anything in it.
fn is_vacant(shape: &Shape, value: &Value) -> bool {
    match (shape, value) {
        (Shape::List(_), Value::Array(items)) => items.is_empty(),
        (Shape::Map(_), Value::Object(entries)) => entries.is_empty(),
        _ => false,
    }
}

/// Whether a field holds nothing.
fn unset(fields: &Fields, name: &str) -> bool {
    match fields.get(name) {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Number(number)) => number.as_i64() == Some(0),
        Some(_) => false,
    }
}

/// Gives a field a value when it holds nothing.
fn default(fields: &mut Fields, name: &str, value: impl Into<Value>) {
    if unset(fields, name) {
        fields.insert(name.to_owned(), value.into());
    }
}

/// The same for a field behind a pointer, whose zero is a value.
fn default_absent(fields: &mut Fields, name: &str, value: impl Into<Value>) {
    if fields.get(name).is_none_or(Value::is_null) {
        fields.insert(name.to_owned(), value.into());
    }
}

/// An object below, made when absent.
fn below<'a>(fields: &'a mut Fields, name: &str) -> &'a mut Fields {
    let value = fields.entry(name.to_owned()).or_insert_with(|| Value::Object(Map::new()));
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("was just made an object")
}

/// The objects of a list below.
fn each<'a>(fields: &'a mut Fields, name: &str) -> impl Iterator<Item = &'a mut Fields> {
    fields.get_mut(name).and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

fn text<'a>(fields: &'a Fields, name: &str) -> &'a str {
    fields.get(name).and_then(Value::as_str).unwrap_or_default()
}

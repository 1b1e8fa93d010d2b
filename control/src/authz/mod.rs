//! May this user do this? Attributes of a request in, a decision with its reason out.

pub mod escalation;
pub mod index;
pub mod node;
pub mod rbac;
pub mod replica;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::identity::User;
use crate::status::Status;

/// The role by which whoever may view, edit or administer may also see what is used, as the manifests of Kubernetes'
/// metrics-server bring it (`system:aggregated-metrics-reader`).
pub fn metrics_reader() -> Value {
    let aggregated = |role: &str| (format!("rbac.authorization.k8s.io/aggregate-to-{role}"), Value::from("true"));
    let labels: serde_json::Map<String, Value> = ["admin", "edit", "view"].map(aggregated).into_iter().collect();
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": { "name": "system:aggregated-metrics-reader", "labels": labels },
        "rules": [{ "apiGroups": ["metrics.k8s.io"], "resources": ["pods", "nodes"], "verbs": ["get", "list", "watch"] }],
    })
}

/// What a request wants to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// `get`, `list`, `create`, …; for paths the lower-case HTTP method.
    pub verb: String,
    /// Set for resource requests.
    pub resource: Option<ResourceAttributes>,
    /// The path, for requests that name no resource.
    pub path: String,
}

/// Which resource a request names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceAttributes {
    /// API group, empty for the core group.
    pub group: String,
    /// Plural resource name.
    pub resource: String,
    /// Empty for the main resource.
    pub subresource: String,
    /// Empty at the cluster scope.
    pub namespace: String,
    /// Empty for collections.
    pub name: String,
    /// Fields for which a list asks for one value, e.g. `spec.nodeName`.
    pub selected: BTreeMap<String, String>,
}

impl ResourceAttributes {
    /// Takes what a field selector pins: a list that can only show one object is about that object
    /// (k8s.io/apiserver `endpoints/request/requestinfo.go`).
    pub fn select(&mut self, field_selector: &str) {
        let pairs = field_selector.split(',').filter(|part| !part.contains("!="));
        let pairs = pairs.filter_map(|part| part.split_once("==").or_else(|| part.split_once('=')));
        self.selected = pairs.map(|(field, value)| (field.trim().to_owned(), value.trim().to_owned())).collect();
        let segment = |name: &&String| !matches!(name.as_str(), "." | "..") && !name.contains(['/', '%']);
        if let Some(name) = self.selected.get("metadata.name").filter(segment) {
            self.name.clone_from(name);
        }
    }

    /// `pods`, `pods/log`: how rules and refusals name it.
    pub fn combined(&self) -> String {
        if self.subresource.is_empty() {
            self.resource.clone()
        } else {
            format!("{}/{}", self.resource, self.subresource)
        }
    }
}

/// The answer: allowed or not, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether the request may go on.
    pub allowed: bool,
    /// For audits and reviews; may be empty.
    pub reason: String,
}

/// The text of a refusal after `<resource> is forbidden: `
/// (k8s.io/apiserver `endpoints/handlers/responsewriters/errors.go`).
pub fn refusal(user: &User, attributes: &Attributes, reason: &str) -> String {
    let Attributes { verb, resource, path } = attributes;
    let mut text = match resource {
        None => format!("User {:?} cannot {verb} path {path:?}", user.name),
        Some(resource) => {
            let place = match resource.namespace.as_str() {
                "" => "at the cluster scope".to_owned(),
                namespace => format!("in the namespace {namespace:?}"),
            };
            let (combined, group) = (resource.combined(), &resource.group);
            format!("User {:?} cannot {verb} resource {combined:?} in API group {group:?} {place}", user.name)
        }
    };
    if !reason.is_empty() {
        text.push_str(": ");
        text.push_str(reason);
    }
    text
}

/// The refusal of a request.
pub fn forbidden(user: &User, attributes: &Attributes, reason: &str) -> Status {
    let why = refusal(user, attributes, reason);
    let mut status = Status::new(403, "Forbidden", format!("forbidden: {why}"));
    status.details = json!({});
    if let Some(resource) = &attributes.resource {
        let named = if resource.group.is_empty() {
            resource.resource.clone()
        } else {
            format!("{}.{}", resource.resource, resource.group)
        };
        let object = if resource.name.is_empty() { named } else { format!("{named} {:?}", resource.name) };
        status.message = format!("{object} is forbidden: {why}");
        status.details = json!({ "kind": resource.resource });
        for (key, value) in [("name", &resource.name), ("group", &resource.group)] {
            if !value.is_empty() {
                status.details[key] = value.clone().into();
            }
        }
    }
    status
}

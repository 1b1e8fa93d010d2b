//! PURE: the rules that objects of each kind must keep, and what is said of one that breaks them.
//!
//! A row of `TABLE` per kind names the rules that its own module holds, beyond those of all metadata. Objects are checked
//! after their defaults are filled (`defaults`): what those always fill is not asked for here. Source: k8s.io/kubernetes
//! `pkg/apis/*/validation`, k8s.io/apimachinery `pkg/api/validation`; the texts are those that clients of a Kubernetes API
//! server know.

pub mod amount;
pub mod config;
pub mod diff;
pub mod endpoints;
pub mod event;
pub mod field;
pub mod lease;
pub mod metadata;
pub mod names;
pub mod namespace;
pub mod node;
pub mod pod;
pub mod rbac;
pub mod read;
pub mod service;
pub mod shapes;
pub mod show;
pub mod storage;
pub mod volume;
pub mod warnings;
pub mod workload;

use serde_json::Value;

use crate::kind::Kind;
use crate::status::FieldError;
use crate::validate::field::{Errors, Path};

/// What is checked of a new object.
type Create = fn(&Value, &mut Errors);
/// What is checked of the next version of an object: the old one, the new one.
type Update = fn(&Value, &Value, &mut Errors);

/// The rules of a kind.
#[derive(Clone, Copy)]
pub struct Rules {
    /// Of a new object.
    pub create: Create,
    /// Of its next version.
    pub update: Update,
    /// Of its next version through `/status`.
    pub status: Update,
    /// The same through other subresources, by name.
    pub others: &'static [(&'static str, Update)],
}

/// Nothing beyond metadata is checked.
pub const LENIENT: Rules = Rules { create: |_, _| {}, update: |_, _, _| {}, status: |_, _, _| {}, others: &[] };

/// One line per kind; sorted by group, then resource.
#[rustfmt::skip]
const TABLE: &[(&str, &str, Rules)] = &[
    ("", "configmaps", config::CONFIG_MAP),
    ("", "endpoints", endpoints::ENDPOINTS),
    ("", "events", event::CORE),
    ("", "namespaces", namespace::RULES),
    ("", "nodes", node::RULES),
    ("", "persistentvolumeclaims", volume::CLAIM),
    ("", "persistentvolumes", volume::VOLUME),
    ("", "pods", pod::RULES),
    ("", "secrets", config::SECRET),
    ("", "services", service::RULES),
    ("apps", "controllerrevisions", workload::controller_revision::RULES),
    ("apps", "deployments", workload::deployment::RULES),
    ("apps", "replicasets", workload::replica_set::RULES),
    ("coordination.k8s.io", "leases", lease::RULES),
    ("discovery.k8s.io", "endpointslices", endpoints::SLICE),
    ("events.k8s.io", "events", event::STRICT),
    ("rbac.authorization.k8s.io", "clusterrolebindings", rbac::CLUSTER_ROLE_BINDING),
    ("rbac.authorization.k8s.io", "clusterroles", rbac::CLUSTER_ROLE),
    ("rbac.authorization.k8s.io", "rolebindings", rbac::ROLE_BINDING),
    ("rbac.authorization.k8s.io", "roles", rbac::ROLE),
    ("storage.k8s.io", "storageclasses", storage::CLASS),
];

fn of(kind: &Kind) -> Rules {
    TABLE.iter().find(|row| (row.0, row.1) == (kind.group, kind.resource)).map_or(LENIENT, |row| row.2)
}

/// The rules that what an object asks to be given breaks: said alone, before anything is given to it.
pub fn before_allocation(kind: &Kind, object: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    if (kind.group, kind.resource) == ("", "services") {
        service::addresses(object, &mut errors);
    }
    errors.into_list()
}

/// The rules that a new object breaks, as it would be stored; `[]` when it may be.
pub fn create(kind: &Kind, object: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let by_itself = metadata::asks_kind(kind);
    if by_itself {
        metadata::create(kind, object, &mut errors);
    }
    (of(kind).create)(object, &mut errors);
    if !by_itself && errors.is_empty() {
        metadata::create_any(kind, object, &mut errors);
    }
    errors.into_list()
}

/// The rules that the next version of an object breaks, written through a subresource (empty: the object itself).
pub fn update(kind: &Kind, subresource: &str, old: &Value, new: &Value) -> Vec<FieldError> {
    let (mut errors, rules) = (Errors::default(), of(kind));
    metadata::updated(kind, subresource, old, new, &mut errors);
    match subresource {
        "" => (rules.update)(old, new, &mut errors),
        "status" => (rules.status)(old, new, &mut errors),
        other => {
            if let Some((_, check)) = rules.others.iter().find(|row| row.0 == other) {
                check(old, new, &mut errors);
            }
        }
    }
    errors.into_list()
}

/// The path of an object itself.
pub fn root() -> Path {
    Path::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted() {
        assert!(TABLE.is_sorted_by(|a, b| (a.0, a.1) < (b.0, b.1)));
    }
}

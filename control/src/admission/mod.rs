//! PURE: admission: what the server itself changes in objects that clients and controllers write, and what it refuses.
//!
//! A row of `TABLE` per plugin, in Kubernetes' order. `admit` runs once defaults are filled and before anything is
//! checked; `validate` sees the object as it would be stored. Source: k8s.io/kubernetes `pkg/kubeapiserver/options/plugins.go`.

mod accounts;
mod lifecycle;
mod node_restriction;
mod pod_security;
pub(crate) mod pods;
mod roles;
pub(crate) mod storage;

use std::sync::Arc;

use serde_json::Value;

use crate::authz::Attributes;
use crate::authz::index::Index;
use crate::identity::User;
use crate::kind::Kind;
use crate::registry::prepare::meta_str;
use crate::status::Status;

/// What is done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "Kubernetes' own names")]
pub enum Operation {
    Create,
    Update,
    Delete,
}

/// A write as plugins see it.
pub struct Request<'a> {
    /// What is done.
    pub operation: Operation,
    /// To an object of this kind.
    pub kind: &'static Kind,
    /// `status`, `binding`; empty for the object itself.
    pub subresource: &'a str,
    /// Empty at the cluster scope.
    pub namespace: &'a str,
    /// Empty for an object whose name is not known yet.
    pub name: &'a str,
    /// As it is stored; none for a new one.
    pub old: Option<&'a Value>,
    /// Who does it.
    pub user: &'a User,
    /// For names that are made up.
    pub random: [u8; 5],
}

/// What plugins may look at.
pub trait Cluster {
    /// An object, as it is stored.
    fn get(&self, kind: &'static Kind, namespace: &str, name: &str) -> Option<Value>;
    /// All objects of a kind in a namespace; of all namespaces when it is empty.
    fn list(&self, kind: &'static Kind, namespace: &str) -> Vec<Value>;
    /// Roles and bindings.
    fn index(&self) -> Arc<Index>;
    /// Whether a user may.
    fn may(&self, user: &User, attributes: &Attributes) -> bool;
}

type Admit = fn(&Request<'_>, &dyn Cluster, &mut Value) -> Result<(), Status>;
type Validate = fn(&Request<'_>, &dyn Cluster, &Value) -> Result<Vec<String>, Status>;

/// A row of the table.
struct Plugin {
    /// As `--enable-admission-plugins` of kube-apiserver names it.
    name: &'static str,
    /// May change the object.
    admit: Option<Admit>,
    /// May refuse it, or warn.
    validate: Option<Validate>,
}

const fn plugin(name: &'static str, admit: Option<Admit>, validate: Option<Validate>) -> Plugin {
    Plugin { name, admit, validate }
}

/// Every plugin.
static TABLE: &[Plugin] = &[
    plugin("NamespaceLifecycle", Some(lifecycle::admit), Some(lifecycle::validate)),
    plugin("ServiceAccount", Some(accounts::admit), Some(accounts::validate)),
    plugin("NodeRestriction", Some(node_restriction::admit), Some(node_restriction::validate)),
    plugin("TaintNodesByCondition", Some(pods::taint), None),
    plugin("PodSecurity", None, Some(pod_security::validate)),
    plugin("Priority", Some(pods::prioritize), None),
    plugin("DefaultTolerationSeconds", Some(pods::tolerate), None),
    plugin("DefaultStorageClass", Some(storage::default_class), None),
    plugin("StorageObjectInUseProtection", Some(storage::protect), None),
    plugin("PersistentVolumeClaimResize", None, Some(storage::resize)),
    plugin("RuntimeClass", Some(pods::runtime_class), Some(pods::overhead)),
    plugin("PodTopologyLabels", Some(pods::topology), None),
    // Not a plugin in Kubernetes, whose storage of roles does it; the place is the same.
    plugin("RoleEscalation", Some(roles::admit), None),
];

/// The plugins' names, in their order.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|plugin| plugin.name)
}

/// Lets the plugins change an object.
///
/// # Errors
/// What the first plugin says that refuses it.
pub fn admit(request: &Request<'_>, cluster: &dyn Cluster, object: &mut Value) -> Result<(), Status> {
    TABLE.iter().filter_map(|plugin| plugin.admit).try_for_each(|admit| admit(request, cluster, object))
}

/// Asks the plugins about an object as it would be stored; answers with their warnings.
///
/// # Errors
/// What the first plugin says that refuses it.
pub fn validate(request: &Request<'_>, cluster: &dyn Cluster, object: &Value) -> Result<Vec<String>, Status> {
    let mut warnings = Vec::new();
    for validate in TABLE.iter().filter_map(|plugin| plugin.validate) {
        warnings.extend(validate(request, cluster, object)?);
    }
    Ok(warnings)
}

impl Request<'_> {
    /// Whether the object itself is written, and of this kind.
    fn is(&self, group: &str, resource: &str) -> bool {
        self.subresource.is_empty() && (self.kind.group, self.kind.resource) == (group, resource)
    }

    /// A refusal: 403.
    fn forbid(&self, object: &Value, why: &str) -> Status {
        let name = [self.name, meta_str(object, "name"), meta_str(object, "generateName"), "Unknown"];
        Status::forbidden(self.kind, name.into_iter().find(|name| !name.is_empty()).unwrap_or_default(), why)
    }
}

#[cfg(test)]
mod tests;

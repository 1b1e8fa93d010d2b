//! Roles and bindings read from the local replica: a decision needs no other server.

use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use serde::de::DeserializeOwned;
use store::View;

use super::{Attributes, Decision, rbac};
use crate::identity::User;
use crate::kind::{self, Kind};
use crate::registry::key;
use crate::registry::shell::{Registry, Target};

const GROUP: &str = "rbac.authorization.k8s.io";

/// One picture of the roles and bindings.
pub struct Source<'a> {
    registry: &'a Registry,
    view: View,
}

/// Decides one request by the newest roles and bindings of this replica.
pub fn decide(registry: &Registry, user: &User, attributes: &Attributes) -> Decision {
    rbac::decide(&Source::new(registry), user, attributes)
}

impl<'a> Source<'a> {
    /// As the replica is now.
    pub fn new(registry: &'a Registry) -> Self {
        Source { registry, view: registry.store().view() }
    }

    fn kind(resource: &str) -> &'static Kind {
        kind::find(GROUP, "v1", resource).expect("a row of the table")
    }

    fn get<T: DeserializeOwned>(&self, resource: &str, namespace: &str, name: &str) -> Option<T> {
        let target = Target { kind: Self::kind(resource), namespace, name, subresource: "" };
        serde_json::from_value(self.registry.get(&self.view, target).ok()?.value).ok()
    }

    fn list<T: DeserializeOwned>(&self, resource: &str, namespace: &str) -> Vec<T> {
        let prefix = key::prefix(Self::kind(resource), namespace);
        let rows = self.view.range(prefix.as_bytes(), &key::range_end(&prefix));
        // What cannot be read grants nothing.
        rows.filter_map(|kv| serde_json::from_value(self.registry.open(&kv).ok()?.value).ok()).collect()
    }
}

impl rbac::Source for Source<'_> {
    fn cluster_role(&self, name: &str) -> Option<ClusterRole> {
        self.get("clusterroles", "", name)
    }

    fn role(&self, namespace: &str, name: &str) -> Option<Role> {
        self.get("roles", namespace, name)
    }

    fn cluster_role_bindings(&self) -> Vec<ClusterRoleBinding> {
        self.list("clusterrolebindings", "")
    }

    fn role_bindings(&self, namespace: &str) -> Vec<RoleBinding> {
        self.list("rolebindings", namespace)
    }
}

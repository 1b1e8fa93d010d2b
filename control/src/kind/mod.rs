//! The one table of kinds: adding a kind means adding a row.

use serde_json::{Value, json};

/// A row of the table: what the API must know of a kind beyond its schema.
#[derive(Debug)]
pub struct Kind {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// API version, e.g. `v1`.
    pub version: &'static str,
    /// e.g. `Deployment`.
    pub kind: &'static str,
    /// Plural resource name, e.g. `deployments`.
    pub resource: &'static str,
    /// e.g. `deployment`.
    pub singular: &'static str,
    /// e.g. `deploy`.
    pub short_names: &'static [&'static str],
    /// e.g. `all`.
    pub categories: &'static [&'static str],
    /// Whether objects lie in namespaces.
    pub namespaced: bool,
}

impl Kind {
    /// `v1`, `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    /// `pods`, `deployments.apps`: how messages name the resource.
    pub fn qualified_resource(&self) -> String {
        if self.group.is_empty() { self.resource.to_owned() } else { format!("{}.{}", self.resource, self.group) }
    }

    /// The `details` of a Status about an object of this kind.
    pub fn details(&self, name: &str) -> Value {
        let mut details = json!({ "kind": self.resource });
        if !name.is_empty() {
            details["name"] = name.into();
        }
        if !self.group.is_empty() {
            details["group"] = self.group.into();
        }
        details
    }
}

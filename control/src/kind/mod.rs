//! The one table of kinds: adding a kind means adding a row (`table`).

mod table;

use schemars::{Schema, SchemaGenerator};
use serde_json::{Value, json};

pub use table::{ALL, BODIES};

/// The verbs of a kind, as discovery lists them.
pub fn verbs(kind: &Kind) -> &'static [&'static str] {
    match (kind.stored, collected(kind)) {
        (false, _) => &["create"],
        (true, true) => table::STORED,
        (true, false) => table::ONE_BY_ONE,
    }
}

/// Whether objects of a kind can be deleted all at once.
pub fn collected(kind: &Kind) -> bool {
    (kind.group, kind.resource) != ("", "namespaces")
}

/// A row of the table: what the API must know of a kind beyond its schema.
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
    /// Whether objects are kept; reviews are only answered.
    pub stored: bool,
    /// What else is served below an object, e.g. `status`.
    pub subresources: &'static [Subresource],
    /// Its type's name in OpenAPI documents.
    pub type_name: fn() -> std::borrow::Cow<'static, str>,
    /// Adds its type and all that it holds to a generator.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
}

/// Something served below an object of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subresource {
    /// Its name in paths.
    pub name: &'static str,
    /// The kind of its bodies: group, version, kind; the object's own when empty.
    pub body: (&'static str, &'static str, &'static str),
    /// Verbs, as discovery lists them.
    pub verbs: &'static [&'static str],
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        (self.group, self.version, self.resource) == (other.group, other.version, other.resource)
    }
}

impl Eq for Kind {}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.qualified_resource())
    }
}

/// The kind that serves a resource.
pub fn find(group: &str, version: &str, resource: &str) -> Option<&'static Kind> {
    ALL.iter().find(|kind| kind.group == group && kind.version == version && kind.resource == resource)
}

/// The kind that a body names by `apiVersion` and `kind`.
pub fn named(api_version: &str, name: &str) -> Option<&'static Kind> {
    ALL.iter().chain(BODIES).find(|kind| kind.kind == name && kind.api_version() == api_version)
}

/// A kind of the core group that this program itself works with.
///
/// # Panics
/// When the table has no such row.
pub fn core(resource: &str) -> &'static Kind {
    find("", "v1", resource).expect("a row of the table")
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

    /// `*core.Pod`: how messages about the form of answers name the type.
    pub fn go_type(&self, list: bool) -> String {
        let package = if self.group.is_empty() { "core" } else { self.group.split('.').next().unwrap_or_default() };
        format!("*{package}.{}{}", self.kind, if list { "List" } else { "" })
    }

    /// What is served below its objects under this name.
    pub fn subresource(&self, name: &str) -> Option<&'static Subresource> {
        self.subresources.iter().find(|subresource| subresource.name == name)
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

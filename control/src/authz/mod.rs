//! May this user do this? Attributes of a request in, a decision with its reason out.

pub mod rbac;
pub mod replica;

use crate::identity::User;

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
}

impl ResourceAttributes {
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

//! PURE: role-based access control: rules and bindings against attributes, with no store in sight.
//!
//! Source: kubernetes `plugin/pkg/auth/authorizer/rbac`, `pkg/registry/rbac/validation`.

use std::sync::Arc;

use k8s_openapi::api::rbac::v1::{PolicyRule, RoleRef, Subject};

use super::index::Index;
use super::{Attributes, Decision};
use crate::identity::{MASTERS, User};

/// Decides one request. Refuses unless some rule allows; a binding to a missing role is named in the reason.
pub fn decide(index: &Index, user: &User, attributes: &Attributes) -> Decision {
    if user.is_in(MASTERS) {
        return Decision { allowed: true, reason: String::new() };
    }
    let namespace = attributes.resource.as_ref().map_or("", |resource| resource.namespace.as_str());
    let mut missing = Vec::new();
    for grant in grants(index, user, namespace) {
        match grant.rules {
            Some(rules) if rules.iter().any(|rule| allows(rule, attributes)) => {
                return Decision { allowed: true, reason: format!("RBAC: allowed by {}", grant.because()) };
            }
            Some(_) => {}
            None => missing.push(absent(grant.role)),
        }
    }
    let reason = match missing.as_slice() {
        [] => String::new(),
        [one] => format!("RBAC: {one}"),
        many => format!("RBAC: [{}]", many.join(", ")),
    };
    Decision { allowed: false, reason }
}

/// Every rule that holds for the user in a namespace (empty: only the cluster-wide ones), and what is missing.
pub fn rules_for(index: &Index, user: &User, namespace: &str) -> (Vec<PolicyRule>, Vec<String>) {
    let (mut rules, mut missing) = (Vec::new(), Vec::new());
    for grant in grants(index, user, namespace) {
        match grant.rules {
            Some(held) => rules.extend(held.iter().cloned()),
            None => missing.push(absent(grant.role)),
        }
    }
    (rules, missing)
}

/// The rules behind a reference to a role; none when there is no such role.
pub fn referenced<'a>(index: &'a Index, role: &RoleRef, namespace: &str) -> Option<&'a Arc<[PolicyRule]>> {
    match role.kind.as_str() {
        "ClusterRole" => index.rules("", &role.name),
        "Role" if !namespace.is_empty() => index.rules(namespace, &role.name),
        _ => None,
    }
}

fn absent(role: &RoleRef) -> String {
    format!("{}.rbac.authorization.k8s.io {:?} not found", role.kind.to_lowercase(), role.name)
}

/// What one binding gives the user.
struct Grant<'a> {
    /// None when the role does not exist.
    rules: Option<&'a Arc<[PolicyRule]>>,
    role: &'a RoleRef,
    binding: &'a str,
    namespace: &'a str,
    subject: &'a Subject,
}

impl Grant<'_> {
    /// The binding, the role and the subject, in words.
    fn because(&self) -> String {
        let Grant { role, binding, namespace, subject, .. } = self;
        let binding = match *namespace {
            "" => format!("ClusterRoleBinding {binding:?}"),
            namespace => format!("RoleBinding {:?}", format!("{binding}/{namespace}")),
        };
        let named = match subject.kind.as_str() {
            "ServiceAccount" => {
                let place = subject.namespace.as_deref().filter(|place| !place.is_empty()).unwrap_or(namespace);
                format!("{}/{place}", subject.name)
            }
            _ => subject.name.clone(),
        };
        format!("{binding} of {} {:?} to {} {named:?}", role.kind, role.name, subject.kind)
    }
}

fn grants<'a>(index: &'a Index, user: &'a User, namespace: &'a str) -> impl Iterator<Item = Grant<'a>> {
    let places = if namespace.is_empty() { vec![""] } else { vec!["", namespace] };
    places.into_iter().flat_map(move |namespace| {
        index.bindings(user, namespace).map(move |(binding, bound, subject)| {
            let rules = referenced(index, &bound.role, namespace);
            Grant { rules, role: &bound.role, binding, namespace, subject }
        })
    })
}

/// Whether one rule allows the request.
pub fn allows(rule: &PolicyRule, attributes: &Attributes) -> bool {
    if !has(&rule.verbs, &attributes.verb) {
        return false;
    }
    let Some(wanted) = &attributes.resource else {
        return list(&rule.non_resource_urls).iter().any(|url| url_covers(url, &attributes.path));
    };
    let names = list(&rule.resource_names);
    has(list(&rule.api_groups), &wanted.group)
        && list(&rule.resources)
            .iter()
            .any(|resource| resource_covers(resource, &wanted.combined(), &wanted.subresource))
        && (names.is_empty() || names.contains(&wanted.name))
}

pub(super) fn list(field: &Option<Vec<String>>) -> &[String] {
    field.as_deref().unwrap_or_default()
}

pub(super) fn has(values: &[String], wanted: &str) -> bool {
    values.iter().any(|value| value == "*" || value == wanted)
}

/// `*` is everything, `*/scale` that subresource of everything; `pods` is not `pods/log`.
pub(super) fn resource_covers(rule: &str, combined: &str, subresource: &str) -> bool {
    rule == "*"
        || rule == combined
        || (!subresource.is_empty() && rule.strip_prefix("*/").is_some_and(|named| named == subresource))
}

/// A trailing `*` matches every path that starts like it.
pub(super) fn url_covers(rule: &str, path: &str) -> bool {
    rule == path || rule.strip_suffix('*').is_some_and(|start| path.starts_with(start))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

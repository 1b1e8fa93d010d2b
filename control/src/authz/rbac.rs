//! Role-based access control: rules and bindings against attributes, with no store in sight.
//!
//! Source: kubernetes `plugin/pkg/auth/authorizer/rbac`, `pkg/registry/rbac/validation`.

use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject};

use super::{Attributes, Decision};
use crate::identity::{MASTERS, User};

/// Where the roles and bindings come from: the cache in production, a few values in tests.
pub trait Source {
    /// A cluster role.
    fn cluster_role(&self, name: &str) -> Option<ClusterRole>;
    /// A role of a namespace.
    fn role(&self, namespace: &str, name: &str) -> Option<Role>;
    /// Every cluster role binding.
    fn cluster_role_bindings(&self) -> Vec<ClusterRoleBinding>;
    /// Every role binding of a namespace.
    fn role_bindings(&self, namespace: &str) -> Vec<RoleBinding>;
}

/// Decides one request. Refuses unless some rule allows; a binding to a missing role is named in the reason.
pub fn decide(source: &impl Source, user: &User, attributes: &Attributes) -> Decision {
    if user.is_in(MASTERS) {
        return Decision { allowed: true, reason: String::new() };
    }
    let namespace = attributes.resource.as_ref().map_or("", |resource| resource.namespace.as_str());
    let mut missing = Vec::new();
    for grant in grants(source, user, namespace) {
        match grant.rules {
            Some(rules) if rules.iter().any(|rule| allows(rule, attributes)) => {
                return Decision { allowed: true, reason: format!("RBAC: allowed by {}", grant.because) };
            }
            Some(_) => {}
            None => missing.push(grant.role),
        }
    }
    let reason = match missing.as_slice() {
        [] => String::new(),
        [one] => format!("RBAC: {one} not found"),
        many => {
            format!("RBAC: [{}]", many.iter().map(|role| format!("{role} not found")).collect::<Vec<_>>().join(", "))
        }
    };
    Decision { allowed: false, reason }
}

/// Every rule that holds for the user in a namespace (empty: only the cluster-wide ones).
pub fn rules_for(source: &impl Source, user: &User, namespace: &str) -> Vec<PolicyRule> {
    grants(source, user, namespace).into_iter().filter_map(|grant| grant.rules).flatten().collect()
}

/// What one binding gives the user.
struct Grant {
    /// None when the role does not exist.
    rules: Option<Vec<PolicyRule>>,
    /// `clusterrole.rbac.authorization.k8s.io "x"`.
    role: String,
    /// The binding, the role and the subject, in words.
    because: String,
}

fn grants(source: &impl Source, user: &User, namespace: &str) -> Vec<Grant> {
    let cluster = source.cluster_role_bindings().into_iter().filter_map(|binding| {
        let subject = matching(user, binding.subjects.as_deref(), "")?;
        let named = binding.metadata.name.unwrap_or_default();
        Some(grant(source, &binding.role_ref, "", format!("ClusterRoleBinding {named:?}"), &subject))
    });
    let bindings = if namespace.is_empty() { Vec::new() } else { source.role_bindings(namespace) };
    let local = bindings.into_iter().filter_map(|binding| {
        let subject = matching(user, binding.subjects.as_deref(), namespace)?;
        let named = format!("{}/{namespace}", binding.metadata.name.unwrap_or_default());
        Some(grant(source, &binding.role_ref, namespace, format!("RoleBinding {named:?}"), &subject))
    });
    cluster.chain(local).collect()
}

fn grant(source: &impl Source, role: &RoleRef, namespace: &str, binding: String, subject: &str) -> Grant {
    let (kind, name) = (role.kind.as_str(), role.name.as_str());
    let rules = match (kind, namespace) {
        ("ClusterRole", _) => source.cluster_role(name).map(|role| role.rules.unwrap_or_default()),
        ("Role", "") => None,
        ("Role", _) => source.role(namespace, name).map(|role| role.rules.unwrap_or_default()),
        _ => None,
    };
    Grant {
        rules,
        role: format!("{}.rbac.authorization.k8s.io {name:?}", kind.to_lowercase()),
        because: format!("{binding} of {kind} {name:?} to {subject}"),
    }
}

/// The first subject that is the user, in words.
fn matching(user: &User, subjects: Option<&[Subject]>, namespace: &str) -> Option<String> {
    subjects.unwrap_or_default().iter().find_map(|subject| {
        let name = subject.name.as_str();
        let place = subject.namespace.as_deref().filter(|place| !place.is_empty()).unwrap_or(namespace);
        let applies = match subject.kind.as_str() {
            "User" => user.name == name,
            "Group" => user.is_in(name),
            "ServiceAccount" => !place.is_empty() && user.name == format!("system:serviceaccount:{place}:{name}"),
            _ => false,
        };
        let words = if subject.kind == "ServiceAccount" { format!("{name}/{place}") } else { name.to_owned() };
        applies.then(|| format!("{} {words:?}", subject.kind))
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

/// Parts of `wanted` that `held` does not cover: what granting `wanted` would escalate to.
/// A rule is taken apart into single verbs on single resources, so that several held rules together can cover one.
pub fn uncovered(held: &[PolicyRule], wanted: &[PolicyRule]) -> Vec<PolicyRule> {
    wanted.iter().flat_map(atoms).filter(|atom| !held.iter().any(|rule| covers(rule, atom))).collect()
}

fn atoms(rule: &PolicyRule) -> Vec<PolicyRule> {
    let mut atoms = Vec::new();
    for verb in &rule.verbs {
        let verbs = vec![verb.clone()];
        for url in list(&rule.non_resource_urls) {
            atoms.push(PolicyRule {
                verbs: verbs.clone(),
                non_resource_urls: Some(vec![url.clone()]),
                ..Default::default()
            });
        }
        for group in list(&rule.api_groups) {
            for resource in list(&rule.resources) {
                let names = list(&rule.resource_names);
                let each = names.iter().map(|name| Some(vec![name.clone()]));
                let all = names.is_empty().then_some(None);
                atoms.extend(each.chain(all).map(|resource_names| PolicyRule {
                    verbs: verbs.clone(),
                    api_groups: Some(vec![group.clone()]),
                    resources: Some(vec![resource.clone()]),
                    resource_names,
                    non_resource_urls: None,
                }));
            }
        }
    }
    atoms
}

/// Whether a held rule covers a rule of one verb and one resource or path.
fn covers(held: &PolicyRule, atom: &PolicyRule) -> bool {
    let held_names = list(&held.resource_names);
    let resource_held = |wanted: &String| {
        let subresource = wanted.split_once('/').map_or("", |(_, subresource)| subresource);
        list(&held.resources).iter().any(|resource| resource_covers(resource, wanted, subresource))
    };
    atom.verbs.iter().all(|verb| has(&held.verbs, verb))
        && list(&atom.api_groups).iter().all(|group| has(list(&held.api_groups), group))
        && list(&atom.resources).iter().all(resource_held)
        && (held_names.is_empty()
            || atom.resource_names.as_ref().is_some_and(|names| names.iter().all(|name| held_names.contains(name))))
        && list(&atom.non_resource_urls)
            .iter()
            .all(|wanted| list(&held.non_resource_urls).iter().any(|url| url_covers(url, wanted)))
}

fn list(field: &Option<Vec<String>>) -> &[String] {
    field.as_deref().unwrap_or_default()
}

fn has(values: &[String], wanted: &str) -> bool {
    values.iter().any(|value| value == "*" || value == wanted)
}

/// `*` is everything, `*/scale` that subresource of everything; `pods` is not `pods/log`.
fn resource_covers(rule: &str, combined: &str, subresource: &str) -> bool {
    rule == "*"
        || rule == combined
        || (!subresource.is_empty() && rule.strip_prefix("*/").is_some_and(|named| named == subresource))
}

/// A trailing `*` matches every path that starts like it.
fn url_covers(rule: &str, path: &str) -> bool {
    rule == path || rule.strip_suffix('*').is_some_and(|start| path.starts_with(start))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

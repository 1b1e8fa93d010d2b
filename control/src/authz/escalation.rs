//! PURE: nobody grants what they do not hold.
//!
//! Source: k8s.io/kubernetes `pkg/registry/rbac/validation`, k8s.io/component-helpers `auth/rbac/validation`.

use k8s_openapi::api::rbac::v1::PolicyRule;

use super::index::Index;
use super::rbac::{has, list, resource_covers, rules_for, url_covers};
use crate::identity::User;
use crate::identity::claims::quoted;

/// Refuses what a user would grant beyond its own rules in a namespace.
///
/// # Errors
/// Which rules it lacks.
pub fn confirm(index: &Index, user: &User, namespace: &str, wanted: &[PolicyRule]) -> Result<(), String> {
    let (held, missing) = rules_for(index, user, namespace);
    let beyond = uncovered(&held, wanted);
    if beyond.is_empty() {
        return Ok(());
    }
    let mut lines: Vec<String> = compact(beyond).iter().map(described).collect();
    lines.sort();
    lines.dedup();
    let mut text = format!(
        "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
        user.name,
        quoted(&user.groups),
        lines.join("\n")
    );
    if !missing.is_empty() {
        let unresolved = if let [one] = missing.as_slice() { one.clone() } else { format!("[{}]", missing.join(", ")) };
        text.push_str(&format!("; resolution errors: [{unresolved}]"));
    }
    Err(text)
}

/// Parts of `wanted` that `held` does not cover: what granting `wanted` would escalate to.
/// A rule is taken apart into single verbs on single resources, so that several held rules together can cover one.
pub fn uncovered(held: &[PolicyRule], wanted: &[PolicyRule]) -> Vec<PolicyRule> {
    wanted.iter().flat_map(atoms).filter(|atom| !held.iter().any(|rule| covers(rule, atom))).collect()
}

fn atoms(rule: &PolicyRule) -> Vec<PolicyRule> {
    let mut atoms = Vec::new();
    let single = |verb: &String| PolicyRule { verbs: vec![verb.clone()], ..PolicyRule::default() };
    for group in list(&rule.api_groups) {
        for resource in list(&rule.resources) {
            for verb in &rule.verbs {
                let (api_groups, resources) = (Some(vec![group.clone()]), Some(vec![resource.clone()]));
                let atom = PolicyRule { api_groups, resources, ..single(verb) };
                let names = list(&rule.resource_names);
                atoms.extend(
                    names.iter().map(|name| PolicyRule { resource_names: Some(vec![name.clone()]), ..atom.clone() }),
                );
                atoms.extend(names.is_empty().then_some(atom));
            }
        }
    }
    for url in list(&rule.non_resource_urls) {
        atoms.extend(
            rule.verbs.iter().map(|verb| PolicyRule { non_resource_urls: Some(vec![url.clone()]), ..single(verb) }),
        );
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

/// Rules that differ by their verbs alone become one, where they name one resource and at most one object.
fn compact(rules: Vec<PolicyRule>) -> Vec<PolicyRule> {
    let mut all: Vec<PolicyRule> = Vec::new();
    for rule in rules {
        let simple = list(&rule.api_groups).len() == 1
            && list(&rule.resources).len() == 1
            && list(&rule.resource_names).len() <= 1
            && list(&rule.non_resource_urls).is_empty();
        let same = |held: &&mut PolicyRule| {
            (&held.api_groups, &held.resources, &held.resource_names, &held.non_resource_urls)
                == (&rule.api_groups, &rule.resources, &rule.resource_names, &rule.non_resource_urls)
        };
        match all.iter_mut().find(same).filter(|_| simple) {
            Some(held) => {
                let new = rule.verbs.iter().filter(|verb| !held.verbs.contains(verb)).cloned().collect::<Vec<_>>();
                held.verbs.extend(new);
            }
            None => all.push(rule),
        }
    }
    all
}

/// A rule as refusals print it.
fn described(rule: &PolicyRule) -> String {
    let verbs = Some(rule.verbs.clone());
    let parts = [
        ("APIGroups", &rule.api_groups),
        ("Resources", &rule.resources),
        ("NonResourceURLs", &rule.non_resource_urls),
        ("ResourceNames", &rule.resource_names),
        ("Verbs", &verbs),
    ];
    let parts = parts.iter().filter(|(_, values)| !list(values).is_empty());
    let texts: Vec<String> = parts.map(|(name, values)| format!("{name}:{}", quoted(list(values)))).collect();
    format!("{{{}}}", texts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rule(verbs: &[&str], resources: &[&str], names: &[&str]) -> PolicyRule {
        let rule = json!({"verbs": verbs, "apiGroups": [""], "resources": resources, "resourceNames": names});
        serde_json::from_value(rule).expect("a rule")
    }

    #[test]
    fn granting_needs_what_is_granted() {
        let held = [
            rule(&["get"], &["pods", "secrets"], &[]),
            rule(&["list"], &["pods"], &[]),
            rule(&["get"], &["nodes"], &["n"]),
        ];
        assert_eq!(uncovered(&held, &[rule(&["get", "list"], &["pods"], &[])]), []);
        assert_eq!(uncovered(&held, &[rule(&["get"], &["secrets"], &["x"])]), []);
        assert_eq!(uncovered(&held, &[rule(&["get"], &["nodes"], &["n"])]), []);
        for beyond in [
            rule(&["get"], &["nodes"], &[]),
            rule(&["get"], &["nodes"], &["m"]),
            rule(&["list"], &["secrets"], &[]),
            rule(&["*"], &["pods"], &[]),
            rule(&["get"], &["*"], &[]),
            rule(&["get"], &["pods/log"], &[]),
        ] {
            assert_eq!(uncovered(&held, std::slice::from_ref(&beyond)).len(), 1, "{beyond:?}");
        }
    }

    #[test]
    fn refusals_name_what_is_lacking() {
        let mut index = Index::default();
        let reader = json!({ "rules": [{ "verbs": ["get"], "apiGroups": [""], "resources": ["pods"] }] });
        index.put("roles", "ns", "reader", Some(reader));
        let binding = json!({ "roleRef": { "apiGroup": "", "kind": "Role", "name": "reader" },
            "subjects": [{ "kind": "User", "name": "alice" }] });
        index.put("rolebindings", "ns", "b", Some(binding));
        let alice = User::from_certificate("alice", &[]);
        let paths = json!({ "verbs": ["get"], "nonResourceURLs": ["/a"] });
        let wanted = [rule(&["get", "list", "delete"], &["pods"], &[]), serde_json::from_value(paths).expect("a rule")];
        assert_eq!(
            confirm(&index, &alice, "ns", &wanted).expect_err("more than held"),
            "user \"alice\" (groups=[\"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n\
             {APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"list\" \"delete\"]}\n{NonResourceURLs:[\"/a\"], Verbs:[\"get\"]}"
        );
        assert_eq!(confirm(&index, &alice, "ns", &wanted[..0]), Ok(()));
    }
}

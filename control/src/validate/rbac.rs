//! Roles and their bindings: complete rules, references that never change, subjects of known kinds.
//!
//! Source: k8s.io/kubernetes `pkg/apis/rbac/validation/validation.go`.

use serde_json::Value;

use crate::validate::field::{Errors, Path};
use crate::validate::metadata::label_selector;
use crate::validate::read::{held, list, text};
use crate::validate::shapes::ROLE_REF;
use crate::validate::show::As;
use crate::validate::{LENIENT, Rules, names, root};

const GROUP: &str = "rbac.authorization.k8s.io";

/// Of roles.
pub const ROLE: Rules = Rules {
    create: |role, errors| rules(role, true, errors),
    update: |_, role, errors| rules(role, true, errors),
    ..LENIENT
};
/// Of cluster roles.
pub const CLUSTER_ROLE: Rules =
    Rules { create: cluster_role, update: |_, role, errors| cluster_role(role, errors), ..LENIENT };
/// Of bindings of roles.
pub const ROLE_BINDING: Rules = Rules {
    create: |binding, errors| whole_binding(binding, true, errors),
    update: |old, new, errors| binding_update(old, new, true, errors),
    ..LENIENT
};
/// Of bindings of cluster roles.
pub const CLUSTER_ROLE_BINDING: Rules = Rules {
    create: |binding, errors| whole_binding(binding, false, errors),
    update: |old, new, errors| binding_update(old, new, false, errors),
    ..LENIENT
};

fn rules(role: &Value, namespaced: bool, errors: &mut Errors) {
    for (at, rule) in list(role, "rules").iter().enumerate() {
        one_rule(rule, namespaced, &root().child("rules").index(at), errors);
    }
}

fn one_rule(rule: &Value, namespaced: bool, path: &Path, errors: &mut Errors) {
    let none = |field: &str| list(rule, field).is_empty();
    if none("verbs") {
        errors.required(&path.child("verbs"), "verbs must contain at least one value");
    }
    if !none("nonResourceURLs") {
        let (place, urls) = (path.child("nonResourceURLs"), &rule["nonResourceURLs"]);
        if namespaced {
            errors.invalid(&place, urls, "namespaced rules cannot apply to non-resource URLs");
        }
        if !none("apiGroups") || !none("resources") || !none("resourceNames") {
            errors.invalid(&place, urls, "rules cannot apply to both regular resources and non-resource URLs");
        }
        return;
    }
    if none("apiGroups") {
        errors.required(&path.child("apiGroups"), "resource rules must supply at least one api group");
    }
    if none("resources") {
        errors.required(&path.child("resources"), "resource rules must supply at least one resource");
    }
}

fn cluster_role(role: &Value, errors: &mut Errors) {
    rules(role, false, errors);
    let Some(aggregation) = held(role, "aggregationRule") else { return };
    let (selectors, path) =
        (list(aggregation, "clusterRoleSelectors"), root().child("aggregationRule").child("clusterRoleSelectors"));
    if selectors.is_empty() {
        errors.required(&path, "at least one clusterRoleSelector required if aggregationRule is non-nil");
    }
    for (at, selector) in selectors.iter().enumerate() {
        let before = errors.len();
        label_selector(selector, &path.index(at), errors);
        if errors.len() > before {
            errors.invalid(&path.index(at), &Value::Null, "invalid label selector.");
        }
    }
}

fn whole_binding(binding: &Value, namespaced: bool, errors: &mut Errors) {
    let (role, path) = (&binding["roleRef"], root().child("roleRef"));
    if !matches!(text(role, "apiGroup"), "" | GROUP) {
        errors.not_supported(&path.child("apiGroup"), text(role, "apiGroup"), &[GROUP]);
    }
    let kinds: &[&str] = if namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    if !kinds.contains(&text(role, "kind")) {
        errors.not_supported(&path.child("kind"), text(role, "kind"), kinds);
    }
    let name = text(role, "name");
    if name.is_empty() {
        errors.required(&path.child("name"), "");
    } else {
        errors.malformed(&path.child("name"), name, &names::path_segment(name));
    }
    for (at, one) in list(binding, "subjects").iter().enumerate() {
        subject(one, namespaced, &root().child("subjects").index(at), errors);
    }
}

fn subject(subject: &Value, namespaced: bool, path: &Path, errors: &mut Errors) {
    let (name, group) = (text(subject, "name"), text(subject, "apiGroup"));
    if name.is_empty() {
        errors.required(&path.child("name"), "");
    }
    match text(subject, "kind") {
        "ServiceAccount" => {
            if !name.is_empty() {
                errors.malformed(&path.child("name"), name, &names::dns1123_subdomain(name));
            }
            if !group.is_empty() {
                errors.not_supported(&path.child("apiGroup"), group, &[""]);
            }
            if !namespaced && text(subject, "namespace").is_empty() {
                errors.required(&path.child("namespace"), "");
            }
        }
        kind @ ("User" | "Group") => {
            if name.is_empty() {
                let why = format!("{} name cannot be empty", kind.to_lowercase());
                errors.invalid(&path.child("name"), name, &why);
            }
            if !matches!(group, "" | GROUP) {
                errors.not_supported(&path.child("apiGroup"), group, &[GROUP]);
            }
        }
        kind => errors.not_supported(&path.child("kind"), kind, &["ServiceAccount", "User", "Group"]),
    }
}

fn binding_update(old: &Value, new: &Value, namespaced: bool, errors: &mut Errors) {
    whole_binding(new, namespaced, errors);
    let role = |binding: &Value| ["apiGroup", "kind", "name"].map(|field| text(&binding["roleRef"], field).to_owned());
    if role(old) != role(new) {
        errors.invalid(&root().child("roleRef"), &As(&new["roleRef"], &ROLE_REF), "cannot change roleRef");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::validate::field::said;

    #[test]
    fn rules_are_about_resources_or_urls() {
        let role = json!({ "rules": [{ "nonResourceURLs": ["/a"], "resources": ["pods"], "verbs": ["get"] }, {}] });
        let cluster = said(|errors| cluster_role(&role, errors));
        assert_eq!(cluster.len(), 4, "{cluster:?}");
        assert!(
            cluster[0].starts_with("rules[0].nonResourceURLs: Invalid value: [\"/a\"]: rules cannot"),
            "{cluster:?}"
        );
        assert_eq!(said(|errors| rules(&role, true, errors)).len(), 5);
    }

    #[test]
    fn a_binding_keeps_its_role() {
        let binding = |name: &str| json!({ "roleRef": { "apiGroup": GROUP, "kind": "ClusterRole", "name": name } });
        assert_eq!(
            said(|errors| binding_update(&binding("view"), &binding("edit"), false, errors)),
            ["roleRef: Invalid value: {\"APIGroup\":\"rbac.authorization.k8s.io\",\"Kind\":\"ClusterRole\",\
              \"Name\":\"edit\"}: cannot change roleRef"]
        );
    }

    #[test]
    fn subjects_are_of_known_kinds() {
        let at = root().child("s");
        for (value, namespaced, wrong) in [
            (json!({ "kind": "ServiceAccount", "name": "a" }), true, 0),
            (json!({ "kind": "ServiceAccount", "name": "a" }), false, 1),
            (json!({ "kind": "ServiceAccount", "name": "A!", "namespace": "n" }), false, 1),
            (json!({ "kind": "User", "name": "A!", "apiGroup": GROUP }), true, 0),
            (json!({ "kind": "User", "name": "", "apiGroup": "x" }), true, 3),
            (json!({}), true, 2),
        ] {
            assert_eq!(said(|errors| subject(&value, namespaced, &at, errors)).len(), wrong, "{value}");
        }
    }
}

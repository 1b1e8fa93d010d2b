//! PURE: the rules of `metadata`, which all kinds share: names by kind, labels, annotations, finalizers, owners, and what
//! an update may not change.
//!
//! Source: k8s.io/apimachinery `pkg/api/validation/objectmeta.go`, `pkg/apis/meta/v1/validation`; k8s.io/kubernetes
//! `pkg/apis/core/validation` for finalizers, each kind's `Validate…Name` for names.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::kind::Kind;
use crate::validate::field::{Errors, Path};
use crate::validate::names;
use crate::validate::read::{list, text, texts};
use crate::validate::shapes::OWNER_REFERENCE;
use crate::validate::show::As;

/// All annotations of an object together, bytes.
const ANNOTATIONS_MAX: usize = 256 << 10;
const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";
/// Finalizers that need no domain.
const STANDARD_FINALIZERS: [&str; 3] = ["kubernetes", ORPHAN, FOREGROUND];

/// What the names of a kind look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// `my.name`
    Subdomain,
    /// `my-name`
    Label,
    /// `my-name`, and it starts with a letter.
    Dns1035,
    /// Anything that fits into a path.
    PathSegment,
}

/// Sorted by group, then resource; all others are DNS names.
const FORMS: &[(&str, &str, Form)] = &[
    ("", "namespaces", Form::Label),
    ("", "services", Form::Dns1035),
    ("rbac.authorization.k8s.io", "clusterrolebindings", Form::PathSegment),
    ("rbac.authorization.k8s.io", "clusterroles", Form::PathSegment),
    ("rbac.authorization.k8s.io", "rolebindings", Form::PathSegment),
    ("rbac.authorization.k8s.io", "roles", Form::PathSegment),
];

/// What is wrong with a name of a kind; `prefix`: something will be appended to it.
pub fn name(kind: &Kind, text: &str, prefix: bool) -> Vec<String> {
    let form = FORMS.iter().find(|row| (row.0, row.1) == (kind.group, kind.resource));
    let check = match form.map_or(Form::Subdomain, |row| row.2) {
        Form::Subdomain => names::dns1123_subdomain,
        Form::Label => names::dns1123_label,
        Form::Dns1035 => names::dns1035_label,
        Form::PathSegment => return names::path_segment(text),
    };
    // A dash at the end will not be the end.
    match text.strip_suffix('-') {
        Some(rest) if prefix && !rest.is_empty() => {
            let mut masked: String = rest.chars().take(rest.chars().count() - 1).collect();
            masked.push('a');
            check(&masked)
        }
        _ => check(text),
    }
}

fn here() -> Path {
    Path::default().child("metadata")
}

/// Whether a kind checks the metadata of new objects itself; others leave it to what holds for all.
pub fn asks_kind(kind: &Kind) -> bool {
    (kind.group, kind.resource) != ("", "events")
}

/// The rules of a whole object's metadata.
pub fn create(kind: &Kind, object: &Value, errors: &mut Errors) {
    named(|text, prefix| name(kind, text, prefix), kind.namespaced, object, errors);
    finalizers_qualified(object, errors);
}

/// The rules that hold for every object whatever its kind says of names.
pub fn create_any(kind: &Kind, object: &Value, errors: &mut Errors) {
    let check = |text: &str, prefix| {
        if prefix { names::path_segment_prefix(text) } else { names::path_segment(text) }
    };
    named(check, kind.namespaced, object, errors);
}

fn named(check: impl Fn(&str, bool) -> Vec<String>, namespaced: bool, object: &Value, errors: &mut Errors) {
    let here = here();
    let meta = &object["metadata"];
    let (generate, name, namespace) = (text(meta, "generateName"), text(meta, "name"), text(meta, "namespace"));
    if !generate.is_empty() {
        errors.malformed(&here.child("generateName"), generate, &check(generate, true));
    }
    if name.is_empty() {
        errors.required(&here.child("name"), "name or generateName is required");
    } else {
        errors.malformed(&here.child("name"), name, &check(name, false));
    }
    let place = here.child("namespace");
    match (namespaced, namespace.is_empty()) {
        (true, true) => errors.required(&place, ""),
        (true, false) => errors.malformed(&place, namespace, &names::dns1123_label(namespace)),
        (false, false) => errors.forbidden(&place, "not allowed on this type"),
        (false, true) => {}
    }
    if meta["generation"].as_i64().is_some_and(|generation| generation < 0) {
        errors.invalid(&here.child("generation"), &meta["generation"], "must be greater than or equal to 0");
    }
    labels(&meta["labels"], &here.child("labels"), errors);
    annotations(&meta["annotations"], &here.child("annotations"), errors);
    owners(meta, &here.child("ownerReferences"), errors);
    finalizers(meta, &here.child("finalizers"), errors);
}

/// What an update may not do to metadata. Kinds ask this once more, as Kubernetes' do: causes show it twice.
pub fn update(old: &Value, new: &Value, errors: &mut Errors) {
    let here = here();
    let (before, meta) = (&old["metadata"], &new["metadata"]);
    if !before["deletionTimestamp"].is_null() {
        let held: BTreeSet<&str> = texts(before, "finalizers").collect();
        let added: BTreeSet<&str> = texts(meta, "finalizers").filter(|word| !held.contains(word)).collect();
        if !added.is_empty() {
            let listed: Vec<String> = added.iter().map(|word| format!("{word:?}")).collect();
            let why = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                listed.join(", ")
            );
            errors.forbidden(&here.child("finalizers"), &why);
        }
    }
    let generation = |meta: &Value| meta["generation"].as_i64().unwrap_or(0);
    if generation(meta) < generation(before) {
        errors.invalid(&here.child("generation"), &generation(meta), "must not be decremented");
    }
    for key in ["name", "namespace", "uid"] {
        if text(before, key) != text(meta, key) {
            errors.invalid(&here.child(key), text(meta, key), "field is immutable");
        }
    }
    for key in ["creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        if before[key] != meta[key] {
            errors.invalid(&here.child(key), &meta[key], "field is immutable");
        }
    }
    labels(&meta["labels"], &here.child("labels"), errors);
    annotations(&meta["annotations"], &here.child("annotations"), errors);
    owners(meta, &here.child("ownerReferences"), errors);
}

/// The rules of labels.
pub fn labels(labels: &Value, field: &Path, errors: &mut Errors) {
    for (key, value) in labels.as_object().into_iter().flatten() {
        errors.malformed(field, key, &names::qualified_name(key));
        let value = value.as_str().unwrap_or_default();
        errors.malformed(field, value, &names::label_value(value));
    }
}

/// The rules of annotations: keys as those of labels, but in any case; values of any form, but not of any size.
pub fn annotations(annotations: &Value, field: &Path, errors: &mut Errors) {
    let mut bytes = 0;
    for (key, value) in annotations.as_object().into_iter().flatten() {
        errors.malformed(field, key, &names::qualified_name(&key.to_lowercase()));
        bytes += key.len() + value.as_str().map_or(0, str::len);
    }
    if bytes > ANNOTATIONS_MAX {
        errors.too_long(field, ANNOTATIONS_MAX);
    }
}

/// The rules of a label selector; nothing is said of an absent one.
pub fn label_selector(selector: &Value, field: &Path, errors: &mut Errors) {
    labels(&selector["matchLabels"], &field.child("matchLabels"), errors);
    for (at, requirement) in list(selector, "matchExpressions").iter().enumerate() {
        let field = field.child("matchExpressions").index(at);
        let (key, operator) = (text(requirement, "key"), text(requirement, "operator"));
        let none = list(requirement, "values").is_empty();
        match operator {
            "In" | "NotIn" if none => {
                errors.required(&field.child("values"), "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" if !none => {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.forbidden(&field.child("values"), why);
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => errors.invalid(&field.child("operator"), operator, "not a valid selector operator"),
        }
        errors.malformed(&field.child("key"), key, &names::qualified_name(key));
        for (at, value) in texts(requirement, "values").enumerate() {
            errors.malformed(&field.child("values").index(at), value, &names::label_value(value));
        }
    }
}

/// The rules of finalizers that concern their form.
fn finalizers(meta: &Value, field: &Path, errors: &mut Errors) {
    for word in texts(meta, "finalizers") {
        errors.malformed(field, word, &names::qualified_name(word));
    }
    let has = |wanted| texts(meta, "finalizers").any(|word| word == wanted);
    if has(ORPHAN) && has(FOREGROUND) {
        let why = format!("finalizer {ORPHAN} and {FOREGROUND} cannot be both set");
        errors.invalid(field, &meta["finalizers"], &why);
    }
}

fn finalizers_qualified(object: &Value, errors: &mut Errors) {
    for (at, word) in texts(&object["metadata"], "finalizers").enumerate() {
        finalizer_qualified(word, &here().child("finalizers").index(at), errors);
    }
}

/// A finalizer without a domain must be one of Kubernetes' own.
fn finalizer_qualified(word: &str, field: &Path, errors: &mut Errors) {
    if !word.contains('/') && !STANDARD_FINALIZERS.contains(&word) {
        errors.invalid(field, word, "name is neither a standard finalizer name nor is it fully qualified");
    }
}

/// Everything about one finalizer, as `spec.finalizers` of a namespace asks it.
pub fn finalizer(word: &str, field: &Path, errors: &mut Errors) {
    errors.malformed(field, word, &names::qualified_name(word));
    finalizer_qualified(word, field, errors);
}

/// The rules of owners: complete references, at most one controller, and never an event.
fn owners(meta: &Value, field: &Path, errors: &mut Errors) {
    let mut controller: Option<String> = None;
    for owner in list(meta, "ownerReferences") {
        let api_version = text(owner, "apiVersion");
        if api_version.rsplit('/').next().is_none_or(str::is_empty) {
            errors.invalid(&field.child("apiVersion"), api_version, "version must not be empty");
        }
        for key in ["kind", "name", "uid"] {
            if text(owner, key).is_empty() {
                errors.invalid(&field.child(key), "", "must not be empty");
            }
        }
        if (api_version, text(owner, "kind")) == ("v1", "Event") {
            let why = "/v1, Kind=Event is disallowed from being an owner";
            errors.invalid(field, &As(owner, &OWNER_REFERENCE), why);
        }
        if owner["controller"] == true {
            let this = format!("{}/{}", text(owner, "kind"), text(owner, "name"));
            if let Some(first) = &controller {
                let why = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {this}"
                );
                errors.invalid(field, &As(&meta["ownerReferences"], &OWNER_REFERENCE), &why);
            } else {
                controller = Some(this);
            }
        }
    }
}

/// Which metadata a kind's own check of an update looks at besides what all do: the whole of the new one (`C`), what may
/// not change (`U`), in this order. Sorted by group, then resource; all others: only what may not change.
const AGAIN: &[(&str, &str, &str)] = &[
    ("", "configmaps", "UC"),
    ("", "endpoints", "UC"),
    ("", "events", ""),
    ("", "namespaces", "CU"),
    ("", "nodes", "CU"),
    ("", "persistentvolumeclaims", "UC"),
    ("", "persistentvolumes", "CC"),
    ("", "pods", "UC"),
    ("", "secrets", "UC"),
    ("", "serviceaccounts", "UC"),
    ("", "services", "UC"),
    ("apps", "controllerrevisions", "UC"),
    ("apps", "replicasets", "CU"),
    ("discovery.k8s.io", "endpointslices", "C"),
    ("rbac.authorization.k8s.io", "clusterrolebindings", "CU"),
    ("rbac.authorization.k8s.io", "clusterroles", "CU"),
    ("rbac.authorization.k8s.io", "rolebindings", "CU"),
    ("rbac.authorization.k8s.io", "roles", "CU"),
    ("storage.k8s.io", "storageclasses", "CU"),
];

/// All that is asked of metadata in an update through a subresource (empty: the object itself): once for all kinds
/// (k8s.io/apiserver `registry/rest/update.go`, `validateCommonFields`), and again by the kind itself, so that causes name
/// the same thing several times.
pub fn updated(kind: &Kind, subresource: &str, old: &Value, new: &Value, errors: &mut Errors) {
    create_any(kind, new, errors);
    update(old, new, errors);
    let row = AGAIN.iter().find(|row| (row.0, row.1) == (kind.group, kind.resource));
    let again = row.filter(|_| subresource.is_empty()).map_or("U", |row| row.2);
    for part in again.chars() {
        if part == 'C' { create(kind, new, errors) } else { update(old, new, errors) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kind;

    fn said(object: &Value, resource: &str) -> Vec<String> {
        let mut errors = Errors::default();
        create(kind::core(resource), object, &mut errors);
        errors.into_list().into_iter().map(|error| format!("{}: {}", error.field, error.message)).collect()
    }

    fn with(mut meta: Value) -> Value {
        meta["namespace"] = "ns".into();
        json!({ "metadata": meta })
    }

    #[test]
    fn names_are_as_their_kind_has_them() {
        let long = "a".repeat(64);
        for (resource, name, fits) in [
            ("configmaps", "a.b", true),
            ("configmaps", "A", false),
            ("services", "a.b", false),
            ("services", "1a", false),
            ("services", "a1", true),
            ("configmaps", long.as_str(), true),
            ("services", long.as_str(), false),
        ] {
            assert_eq!(said(&with(json!({ "name": name })), resource).is_empty(), fits, "{resource} {name}");
        }
        let role = kind::find("rbac.authorization.k8s.io", "v1", "roles").expect("a row");
        assert!(name(role, "system:Node", false).is_empty());
        assert_eq!(name(role, "a/b%", false), ["may not contain '/'", "may not contain '%'"]);
    }

    #[test]
    fn generated_names_may_begin_with_what_ends_in_a_dash() {
        assert!(said(&with(json!({ "generateName": "web-", "name": "web-x2b4z" })), "configmaps").is_empty());
        let wrong = said(&with(json!({ "generateName": "Bad_", "name": "Bad_x2b4z" })), "configmaps");
        assert_eq!(wrong.len(), 2, "{wrong:?}");
        assert!(wrong[0].starts_with("metadata.generateName: Invalid value: \"Bad_\""), "{wrong:?}");
        assert_eq!(said(&with(json!({})), "pods"), ["metadata.name: Required value: name or generateName is required"]);
    }

    #[test]
    fn owners_are_complete_and_one_controls() {
        let owner =
            |name: &str| json!({ "apiVersion": "v1", "kind": "Pod", "name": name, "uid": "u", "controller": true });
        let wrong = said(&with(json!({ "name": "x", "ownerReferences": [owner("p"), owner("q")] })), "configmaps");
        let wanted = "metadata.ownerReferences: Invalid value: [{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"name\":\"p\",\
                      \"uid\":\"u\",\"controller\":true},{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"name\":\"q\",\"uid\":\"u\",\
                      \"controller\":true}]: Only one reference can have Controller set to true. Found \"true\" in \
                      references for Pod/p and Pod/q";
        assert_eq!(wrong, [wanted]);
        let event = json!({ "apiVersion": "v1", "kind": "Event", "name": "", "uid": "u" });
        let wrong = said(&with(json!({ "name": "x", "ownerReferences": [event] })), "configmaps");
        assert_eq!(wrong.len(), 2, "{wrong:?}");
    }

    #[test]
    fn an_update_keeps_identity_and_adds_no_finalizer_while_deleting() {
        let old = json!({ "metadata": { "name": "a", "uid": "u", "deletionTimestamp": "t", "finalizers": ["x/a"] } });
        let mut new = old.clone();
        new["metadata"]["finalizers"] = json!(["x/b", "x/a"]);
        new["metadata"]["uid"] = "other".into();
        let mut errors = Errors::default();
        update(&old, &new, &mut errors);
        let fields: Vec<String> = errors.into_list().into_iter().map(|error| error.message).collect();
        assert_eq!(
            fields,
            [
                "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers \
                 []string{\"x/b\"}",
                "Invalid value: \"other\": field is immutable"
            ]
        );
    }

    #[test]
    fn rows_are_sorted() {
        assert!(FORMS.is_sorted_by(|a, b| (a.0, a.1) < (b.0, b.1)));
        assert!(AGAIN.is_sorted_by(|a, b| (a.0, a.1) < (b.0, b.1)));
    }

    #[test]
    fn selectors_need_known_operators_and_fitting_values() {
        let selector = json!({ "matchExpressions": [{ "key": "a", "operator": "In" }, { "key": "a", "operator": "Exists", "values": ["x"] }, {}] });
        let mut errors = Errors::default();
        label_selector(&selector, &Path::default().child("s"), &mut errors);
        assert_eq!(errors.into_list().len(), 5);
    }
}

//! Storage classes: who provisions, and that nothing of it changes.
//!
//! Source: k8s.io/kubernetes `pkg/apis/storage/validation/validation.go`, `ValidateTopologySelectorTerm`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::validate::field::{Errors, Path};
use crate::validate::read::{entries, held, list, text, texts};
use crate::validate::{LENIENT, Rules, names, root};

const POLICIES: [&str; 2] = ["Delete", "Retain"];
const MODES: [&str; 2] = ["Immediate", "WaitForFirstConsumer"];
const PARAMETERS_MAX: usize = 512;
/// All parameters together, bytes.
const PARAMETER_BYTES_MAX: usize = 256 << 10;

/// Of storage classes.
pub const CLASS: Rules = Rules { create: class, update: class_update, ..LENIENT };

fn class(class: &Value, errors: &mut Errors) {
    let provisioner = text(class, "provisioner").to_lowercase();
    if provisioner.is_empty() {
        errors.required(&root().child("provisioner"), "");
    } else {
        errors.malformed(&root().child("provisioner"), &provisioner, &names::qualified_name(&provisioner));
    }
    parameters(class, errors);
    let policy = text(class, "reclaimPolicy");
    if !policy.is_empty() && !POLICIES.contains(&policy) {
        errors.not_supported(&root().child("reclaimPolicy"), policy, &POLICIES);
    }
    if held(class, "volumeBindingMode").is_some() && !MODES.contains(&text(class, "volumeBindingMode")) {
        errors.not_supported(&root().child("volumeBindingMode"), text(class, "volumeBindingMode"), &MODES);
    }
    topologies(list(class, "allowedTopologies"), errors);
}

fn parameters(class: &Value, errors: &mut Errors) {
    let place = root().child("parameters");
    if entries(class, "parameters").count() > PARAMETERS_MAX {
        return errors.too_long(&place, PARAMETERS_MAX);
    }
    let mut bytes = 0;
    for (key, value) in entries(class, "parameters") {
        if key.is_empty() {
            errors.invalid(&place, key, "field can not be empty.");
        }
        bytes += key.len() + value.as_str().map_or(0, str::len);
    }
    if bytes > PARAMETER_BYTES_MAX {
        errors.too_long(&place, PARAMETER_BYTES_MAX);
    }
}

/// What a term asks for: the values of each key.
type Term<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

fn topologies(terms: &[Value], errors: &mut Errors) {
    // Kubernetes compares with as many empty terms as there are terms, too.
    let mut seen: Vec<Term<'_>> = vec![Term::new(); terms.len()];
    for (at, term) in terms.iter().enumerate() {
        let path = root().child("allowedTopologies").index(at);
        let term = topology(term, &path, errors);
        for _ in seen.iter().filter(|other| **other == term) {
            errors.duplicate(&path.child("matchLabelExpressions"), "");
        }
        seen.push(term);
    }
}

fn topology<'a>(term: &'a Value, path: &Path, errors: &mut Errors) -> Term<'a> {
    let mut keys = Term::new();
    for (at, requirement) in list(term, "matchLabelExpressions").iter().enumerate() {
        let (path, key) = (path.child("matchLabelExpressions").index(at), text(requirement, "key"));
        let mut values = BTreeSet::new();
        if list(requirement, "values").is_empty() {
            errors.required(&path.child("values"), "");
        }
        for (at, value) in texts(requirement, "values").enumerate() {
            if !values.insert(value) {
                errors.duplicate(&path.child("values").index(at), value);
            }
        }
        errors.malformed(&path.child("key"), key, &names::qualified_name(key));
        if keys.insert(key, values).is_some() {
            errors.duplicate(&path.child("key"), key);
        }
    }
    keys
}

fn class_update(old: &Value, new: &Value, errors: &mut Errors) {
    class(new, errors);
    if !entries(old, "parameters").eq(entries(new, "parameters")) {
        errors.invalid(&root().child("parameters"), &new["parameters"], "field is immutable");
    }
    for field in ["provisioner", "reclaimPolicy", "volumeBindingMode"] {
        if text(old, field) != text(new, field) {
            errors.invalid(&root().child(field), &new[field], "field is immutable");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::validate::field::said;

    fn fine() -> Value {
        json!({ "provisioner": "example.com/p", "reclaimPolicy": "Delete", "volumeBindingMode": "Immediate" })
    }

    #[test]
    fn classes_name_who_provisions_and_how() {
        assert!(said(|errors| class(&fine(), errors)).is_empty());
        let bad = json!({ "provisioner": "Bad!", "reclaimPolicy": "Recycle", "volumeBindingMode": "" });
        let wrong = said(|errors| class(&bad, errors));
        assert_eq!(wrong.len(), 3, "{wrong:?}");
        assert!(wrong[0].starts_with("provisioner: Invalid value: \"bad!\": name part"), "{wrong:?}");
    }

    #[test]
    fn nothing_of_a_class_changes() {
        let mut new = fine();
        new["parameters"] = json!({ "a": "b" });
        new["reclaimPolicy"] = "Retain".into();
        assert_eq!(
            said(|errors| class_update(&fine(), &new, errors)),
            [
                "parameters: Invalid value: {\"a\":\"b\"}: field is immutable",
                "reclaimPolicy: Invalid value: \"Retain\": field is immutable",
            ]
        );
    }

    #[test]
    fn topologies_differ() {
        let term = json!({ "matchLabelExpressions": [{ "key": "zone", "values": ["a"] }] });
        for (terms, wrong) in [
            (json!([term]), 0),
            (json!([term, term]), 1),
            (json!([{}]), 1),
            (json!([{ "matchLabelExpressions": [{ "key": "z", "values": ["a", "a"] }, { "key": "z" }] }]), 3),
        ] {
            let mut class_of_terms = fine();
            class_of_terms["allowedTopologies"] = terms.clone();
            assert_eq!(said(|errors| class(&class_of_terms, errors)).len(), wrong, "{terms}");
        }
    }
}

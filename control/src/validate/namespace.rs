//! Namespaces: finalizers, phases, and the labels that PodSecurity reads.
//!
//! Source: k8s.io/kubernetes `pkg/apis/core/validation/validation.go`, k8s.io/pod-security-admission `api/helpers.go`.

use serde_json::Value;

use crate::validate::field::Errors;
use crate::validate::metadata::finalizer;
use crate::validate::read::{held, text, texts};
use crate::validate::{Rules, root};

const LEVELS: [&str; 3] = ["privileged", "baseline", "restricted"];

/// Of namespaces.
pub const RULES: Rules = Rules { create, update, status, others: &[("finalize", finalize)] };

fn create(namespace: &Value, errors: &mut Errors) {
    finalizers(namespace, errors);
    // Admission looks only at what is valid so far.
    if errors.is_empty() {
        pod_security(namespace, errors);
    }
}

fn update(old: &Value, new: &Value, errors: &mut Errors) {
    finalizers(new, errors);
    let (mut before, mut after) = (Errors::default(), Errors::default());
    pod_security(old, &mut before);
    pod_security(new, &mut after);
    // What was wrong already may stay.
    if errors.is_empty() && before.into_list() != after.into_list() {
        pod_security(new, errors);
    }
}

fn finalizers(namespace: &Value, errors: &mut Errors) {
    for word in texts(&namespace["spec"], "finalizers") {
        finalizer(word, &root().child("spec").child("finalizers"), errors);
    }
}

fn finalize(_: &Value, namespace: &Value, errors: &mut Errors) {
    for (at, word) in texts(&namespace["spec"], "finalizers").enumerate() {
        finalizer(word, &root().child("spec").child("finalizers").index(at), errors);
    }
}

fn status(_: &Value, new: &Value, errors: &mut Errors) {
    let (phase, place) = (text(&new["status"], "phase"), root().child("status").child("Phase"));
    if held(&new["metadata"], "deletionTimestamp").is_none() {
        if phase != "Active" {
            errors.invalid(&place, phase, "may only be 'Active' if `deletionTimestamp` is empty");
        }
    } else if phase != "Terminating" {
        errors.invalid(&place, phase, "may only be 'Terminating' if `deletionTimestamp` is not empty");
    }
}

fn pod_security(namespace: &Value, errors: &mut Errors) {
    let labels = &namespace["metadata"]["labels"];
    for mode in ["enforce", "audit", "warn"] {
        let (level, version) =
            (format!("pod-security.kubernetes.io/{mode}"), format!("pod-security.kubernetes.io/{mode}-version"));
        let place = |key: &str| root().child("metadata").child("labels").key(key);
        if held(labels, &level).is_some_and(|_| !LEVELS.contains(&text(labels, &level))) {
            let why = format!("must be one of {}", LEVELS.join(", "));
            errors.invalid(&place(&level), text(labels, &level), &why);
        }
        if held(labels, &version).is_some_and(|_| !is_version(text(labels, &version))) {
            errors.invalid(&place(&version), text(labels, &version), "must be \"latest\" or \"v1.x\"");
        }
    }
}

fn is_version(text: &str) -> bool {
    let minor = text.strip_prefix("v1.").unwrap_or_default();
    let number = !minor.is_empty() && minor.bytes().all(|byte| byte.is_ascii_digit());
    text == "latest" || (number && (minor == "0" || !minor.starts_with('0')))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn labels_of_pod_security_have_known_words() {
        for (key, value, fits) in [
            ("enforce", "baseline", true),
            ("enforce", "strict", false),
            ("warn-version", "v1.30", true),
            ("warn-version", "v1.030", false),
            ("audit-version", "1.2", false),
            ("audit-version", "latest", true),
        ] {
            let label = format!("pod-security.kubernetes.io/{key}");
            let namespace = json!({ "metadata": { "labels": { label: value } } });
            let mut errors = Errors::default();
            create(&namespace, &mut errors);
            assert_eq!(errors.is_empty(), fits, "{key} {value}");
            let mut errors = Errors::default();
            update(&namespace, &namespace, &mut errors);
            assert!(errors.is_empty(), "what was wrong may stay: {key} {value}");
        }
    }

    #[test]
    fn finalizers_have_a_domain_or_are_known() {
        for (word, wrong) in [("kubernetes", 0), ("example.com/f", 0), ("bare", 1), ("Bad_Value!", 2)] {
            let mut errors = Errors::default();
            create(&json!({ "spec": { "finalizers": [word] } }), &mut errors);
            assert_eq!(errors.len(), wrong, "{word}");
        }
    }
}

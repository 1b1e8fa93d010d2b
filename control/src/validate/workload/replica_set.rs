//! ReplicaSets. Source: k8s.io/kubernetes `pkg/apis/apps/validation/validation.go`.

use serde_json::Value;

use crate::validate::field::Errors;
use crate::validate::workload::{counts, parts_of, same_selector, selected_template};
use crate::validate::{LENIENT, Rules, root};

/// Of ReplicaSets.
pub const RULES: Rules = Rules { create, update, status, ..LENIENT };

fn create(set: &Value, errors: &mut Errors) {
    let (spec, path) = (&set["spec"], root().child("spec"));
    counts(spec, &["replicas", "minReadySeconds"], &path, errors);
    selected_template(spec, &path, errors);
}

fn update(old: &Value, new: &Value, errors: &mut Errors) {
    create(new, errors);
    same_selector(old, new, &root().child("spec"), errors);
}

fn status(_old: &Value, new: &Value, errors: &mut Errors) {
    let (status, path) = (&new["status"], root().child("status"));
    let all = ["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration"];
    counts(status, &all, &path, errors);
    parts_of(status, &["fullyLabeledReplicas", "readyReplicas", "availableReplicas"], &path, errors);
}

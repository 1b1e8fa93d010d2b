//! ControllerRevisions: a past state never changes. Source: k8s.io/kubernetes `pkg/apis/apps/validation/validation.go`.

use serde_json::Value;

use crate::validate::field::Errors;
use crate::validate::read::held;
use crate::validate::workload::counts;
use crate::validate::{LENIENT, Rules, root};

/// Of ControllerRevisions.
pub const RULES: Rules = Rules { create, update, ..LENIENT };

fn create(revision: &Value, errors: &mut Errors) {
    if held(revision, "data").is_none() {
        errors.required(&root().child("data"), "data is mandatory");
    }
    counts(revision, &["revision"], &root(), errors);
}

fn update(old: &Value, new: &Value, errors: &mut Errors) {
    counts(new, &["revision"], &root(), errors);
    if old["data"] != new["data"] {
        errors.invalid(&root().child("data"), &new["data"], "field is immutable");
    }
}

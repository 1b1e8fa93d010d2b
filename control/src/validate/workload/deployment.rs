//! Deployments. Source: k8s.io/kubernetes `pkg/apis/apps/validation/validation.go`.

use serde_json::Value;

use crate::validate::field::{Errors, Path};
use crate::validate::read::{held, number, text};
use crate::validate::show::{As, DEPLOYMENT_STRATEGY};
use crate::validate::workload::{NOT_NEGATIVE, counts, parts_of, same_selector, selected_template};
use crate::validate::{LENIENT, Rules, names, root};

/// Of Deployments.
pub const RULES: Rules = Rules { create, update, status, ..LENIENT };

fn create(deployment: &Value, errors: &mut Errors) {
    let (spec, path) = (&deployment["spec"], root().child("spec"));
    counts(spec, &["replicas"], &path, errors);
    selected_template(spec, &path, errors);
    strategy(&spec["strategy"], &path.child("strategy"), errors);
    counts(spec, &["minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"], &path, errors);
    if let Some(deadline) = number(spec, "progressDeadlineSeconds")
        && deadline <= number(spec, "minReadySeconds").unwrap_or(0)
    {
        errors.invalid(&path.child("progressDeadlineSeconds"), &deadline, "must be greater than minReadySeconds");
    }
}

fn update(old: &Value, new: &Value, errors: &mut Errors) {
    create(new, errors);
    same_selector(old, new, &root().child("spec"), errors);
}

fn strategy(strategy: &Value, path: &Path, errors: &mut Errors) {
    let (rolling, place) = (held(strategy, "rollingUpdate"), path.child("rollingUpdate"));
    match text(strategy, "type") {
        "Recreate" if rolling.is_some() => {
            errors.forbidden(&place, "may not be specified when strategy `type` is 'Recreate'");
        }
        "Recreate" => {}
        // Defaults fill the type.
        "RollingUpdate" | "" => {
            if let Some(rolling) = rolling {
                rolling_update(rolling, &place, errors);
            }
        }
        _ => errors.not_supported(path, &As(strategy, &DEPLOYMENT_STRATEGY), &["Recreate", "RollingUpdate"]),
    }
}

fn rolling_update(rolling: &Value, path: &Path, errors: &mut Errors) {
    for field in ["maxUnavailable", "maxSurge"] {
        count_or_percent(&rolling[field], &path.child(field), errors);
    }
    let (unavailable, place) = (&rolling["maxUnavailable"], path.child("maxUnavailable"));
    // One that is no number at all counts as nothing.
    let nothing = |field: &str| held(rolling, field).is_some_and(|value| amount(value) == 0);
    if nothing("maxUnavailable") && nothing("maxSurge") {
        errors.invalid(&place, unavailable, "may not be 0 when `maxSurge` is 0");
    }
    if percent(unavailable).is_some_and(|percent| percent > 100) {
        errors.invalid(&place, unavailable, "must not be greater than 100%");
    }
}

/// A whole number that is not negative, or a percentage.
pub fn count_or_percent(value: &Value, path: &Path, errors: &mut Errors) {
    match value {
        Value::String(text) => errors.malformed(path, value, &names::percent(text)),
        other => {
            if let Some(number) = other.as_i64().filter(|number| *number < 0) {
                errors.invalid(path, &number, NOT_NEGATIVE);
            }
        }
    }
}

fn percent(value: &Value) -> Option<i64> {
    value.as_str().filter(|text| names::percent(text).is_empty())?.strip_suffix('%')?.parse().ok()
}

fn amount(value: &Value) -> i64 {
    percent(value).or_else(|| value.as_i64()).unwrap_or(0)
}

fn status(old: &Value, new: &Value, errors: &mut Errors) {
    let (status, path) = (&new["status"], root().child("status"));
    let all = [
        "observedGeneration",
        "replicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
        "unavailableReplicas",
        "collisionCount",
    ];
    counts(status, &all, &path, errors);
    parts_of(status, &["updatedReplicas", "readyReplicas", "availableReplicas"], &path, errors);
    if let Some(before) = number(&old["status"], "collisionCount") {
        let after = number(status, "collisionCount").unwrap_or(0);
        if after < before || held(status, "collisionCount").is_none() {
            errors.invalid(&path.child("collisionCount"), &after, "cannot be decremented");
        }
    }
}

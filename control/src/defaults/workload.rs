//! What makes pods.

use serde_json::Value;

use crate::defaults::{Fields, below, default, default_absent, text};

/// ReplicaSets kept for going back.
const REVISIONS: i64 = 10;
/// Seconds without progress until a rollout has failed.
const DEADLINE: i64 = 600;

pub(super) fn deployment(fields: &mut Fields) {
    let spec = below(fields, "spec");
    default_absent(spec, "replicas", 1);
    let strategy = below(spec, "strategy");
    default(strategy, "type", "RollingUpdate");
    if text(strategy, "type") == "RollingUpdate" {
        default_absent(strategy, "rollingUpdate", Value::Object(Fields::new()));
        let rolling = below(strategy, "rollingUpdate");
        default_absent(rolling, "maxUnavailable", "25%");
        default_absent(rolling, "maxSurge", "25%");
    }
    default_absent(spec, "revisionHistoryLimit", REVISIONS);
    default_absent(spec, "progressDeadlineSeconds", DEADLINE);
}

pub(super) fn replica_set(fields: &mut Fields) {
    default_absent(below(fields, "spec"), "replicas", 1);
}

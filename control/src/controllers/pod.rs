//! PURE: what controllers ask of pods. Source: k8s.io/kubernetes `pkg/api/v1/pod/util.go`.

use jiff::Timestamp;
use serde_json::Value;

use crate::controllers::conditions;
use crate::reconcile::world::Item;

/// Whether it runs, or will.
pub(crate) fn active(pod: &Item) -> bool {
    !finished(&pod.value) && !pod.deleting()
}

/// Whether its containers will never run again.
pub(crate) fn finished(pod: &Value) -> bool {
    matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
}

/// Whether it serves.
pub(crate) fn ready(pod: &Value) -> bool {
    conditions::is_true(pod, "Ready")
}

/// Since when it has been ready.
pub(crate) fn ready_since(pod: &Value) -> Option<Timestamp> {
    conditions::find(pod, "Ready")
        .filter(|ready| ready["status"] == "True")
        .and_then(|ready| ready["lastTransitionTime"].as_str()?.parse().ok())
}

/// Whether it has been ready for `min_ready` seconds; else seconds until it will have been, if it is ready at all.
pub(crate) fn available(pod: &Value, min_ready: i64, now: Timestamp) -> Result<(), Option<i64>> {
    if !ready(pod) {
        return Err(None);
    }
    let since = ready_since(pod).map_or(min_ready, |since| now.as_second() - since.as_second());
    if min_ready == 0 || since >= min_ready { Ok(()) } else { Err(Some(min_ready - since)) }
}

/// How often its containers were started again, in all.
pub(crate) fn restarts(pod: &Value) -> i64 {
    let statuses = pod["status"]["containerStatuses"].as_array().into_iter().flatten();
    statuses.filter_map(|status| status["restartCount"].as_i64()).sum()
}

//! PURE: taints and who tolerates them. Source: k8s.io/component-helpers `scheduling/corev1/helpers.go`.

use serde_json::Value;

/// Whether a pod bears a taint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tolerated {
    No,
    /// Seconds.
    For(i64),
    Always,
}

/// The longest that any toleration of the pod allows.
pub(crate) fn tolerated(pod: &Value, taint: &Value) -> Tolerated {
    let all = pod["spec"]["tolerations"].as_array().into_iter().flatten();
    let times =
        all.filter(|toleration| covers(toleration, taint)).map(|toleration| toleration["tolerationSeconds"].as_i64());
    times.fold(Tolerated::No, |held, time| match (held, time) {
        (Tolerated::Always, _) | (_, None) => Tolerated::Always,
        (Tolerated::For(held), Some(time)) => Tolerated::For(held.max(time)),
        (Tolerated::No, Some(time)) => Tolerated::For(time.max(0)),
    })
}

fn covers(toleration: &Value, taint: &Value) -> bool {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let effect = text(&toleration["effect"]);
    if !effect.is_empty() && effect != text(&taint["effect"]) {
        return false;
    }
    let key = text(&toleration["key"]);
    if !key.is_empty() && key != text(&taint["key"]) {
        return false;
    }
    match toleration["operator"].as_str() {
        Some("Exists") => true,
        _ => !key.is_empty() && text(&toleration["value"]) == text(&taint["value"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tolerations() {
        let taint = json!({ "key": "k", "value": "v", "effect": "NoExecute" });
        let pod = |toleration: Value| json!({ "spec": { "tolerations": [toleration] } });
        for (toleration, wanted) in [
            (json!({ "operator": "Exists" }), Tolerated::Always),
            (json!({ "key": "k", "value": "v" }), Tolerated::Always),
            (json!({ "key": "k", "operator": "Exists", "tolerationSeconds": 5 }), Tolerated::For(5)),
            (json!({ "key": "k", "value": "other" }), Tolerated::No),
            (json!({ "key": "k", "operator": "Exists", "effect": "NoSchedule" }), Tolerated::No),
        ] {
            assert_eq!(tolerated(&pod(toleration.clone()), &taint), wanted, "{toleration}");
        }
    }
}

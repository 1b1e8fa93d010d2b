//! What the agent tells of a pod as Events: what was done for it, and what went wrong.
//!
//! Source: Kubernetes' `pkg/kubelet/events/event.go`, `kuberuntime_container.go`, `images/image_manager.go`.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};
use serde_json::{Value, json};

use super::memory::Outcome;
use super::pod::Step;
use super::probe::Kind;
use super::spec;

/// One thing to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    severity: &'static str,
    reason: &'static str,
    message: String,
    container: Option<String>,
}

fn told(severity: &'static str, reason: &'static str, message: impl Into<String>, container: Option<&str>) -> Told {
    Told { severity, reason, message: message.into(), container: container.map(str::to_owned) }
}

const NORMAL: &str = "Normal";
const WARNING: &str = "Warning";

/// What a step that was carried out is worth telling.
pub fn of_step(pod: &Pod, step: &Step, outcome: &Outcome) -> Vec<Told> {
    let image = |name: &str| spec::all(pod).find(|held| held.name == name).map_or("", spec::image);
    match (step, outcome) {
        (Step::SetUpVolumes, Outcome::Failed(_, why)) => vec![told(WARNING, "FailedMount", why, None)],
        (Step::CreateSandbox { .. } | Step::AttachNetwork { .. }, Outcome::Failed(_, why)) => {
            let text = format!("Failed to create pod sandbox: {why}");
            vec![told(WARNING, "FailedCreatePodSandBox", text, None)]
        }
        (Step::EnsureImage { container }, Outcome::Pulled(time)) => {
            let name = image(container);
            let text = match time {
                Some(time) => format!("Successfully pulled image \"{name}\" in {:.3}s", time.as_secs_f64()),
                None => format!("Container image \"{name}\" already present on machine"),
            };
            vec![told(NORMAL, "Pulled", text, Some(container))]
        }
        (Step::EnsureImage { container }, Outcome::Failed(reason, why)) => {
            let (word, text) = match reason.as_str() {
                "ErrImageNeverPull" => ("ErrImageNeverPull", why.clone()),
                "InvalidImageName" => ("InspectFailed", why.clone()),
                _ => ("Failed", format!("Failed to pull image \"{}\": {why}", image(container))),
            };
            let error = told(WARNING, "Failed", format!("Error: {reason}"), Some(container));
            vec![told(WARNING, word, text, Some(container)), error]
        }
        (Step::Start { container, .. }, Outcome::Started(_)) => vec![
            told(NORMAL, "Created", "Container created", Some(container)),
            told(NORMAL, "Started", "Container started", Some(container)),
        ],
        (Step::Start { container, .. }, Outcome::Failed(_, why)) => {
            vec![told(WARNING, "Failed", format!("Error: {why}"), Some(container))]
        }
        (Step::PostStart { container, .. }, Outcome::Failed(..)) => {
            vec![told(WARNING, "FailedPostStartHook", "PostStartHook failed", Some(container))]
        }
        (Step::PreStop { container, .. }, Outcome::Failed(..)) => {
            vec![told(WARNING, "FailedPreStopHook", "PreStopHook failed", Some(container))]
        }
        (Step::Terminate { container, why, .. }, Outcome::Done) => {
            vec![told(NORMAL, "Killing", why, Some(container))]
        }
        _ => Vec::new(),
    }
}

/// An image is not there and is fetched now.
pub fn of_pull(container: &str, image: &str) -> Told {
    told(NORMAL, "Pulling", format!("Pulling image \"{image}\""), Some(container))
}

/// A probe that has failed.
pub fn of_probe(kind: Kind, container: &str, why: &str) -> Told {
    told(WARNING, "Unhealthy", format!("{} probe failed: {why}", kind.word()), Some(container))
}

/// Containers that have begun to wait before they are tried again.
pub fn of_status(pod: &Pod, before: &PodStatus, after: &PodStatus) -> Vec<Told> {
    fn waits(status: &PodStatus) -> impl Iterator<Item = (&ContainerStatus, &str)> {
        let all = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
        all.filter_map(|held| Some((held, held.state.as_ref()?.waiting.as_ref()?.reason.as_deref()?)))
    }
    let fresh =
        waits(after).filter(|(held, reason)| !waits(before).any(|(old, was)| old.name == held.name && was == *reason));
    let meta = &pod.metadata;
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    let (name, namespace, uid) = (text(&meta.name), text(&meta.namespace), text(&meta.uid));
    let one = |(held, reason): (&ContainerStatus, &str)| match reason {
        "CrashLoopBackOff" => {
            let text = format!("Back-off restarting failed container {} in pod {name}_{namespace}({uid})", held.name);
            vec![told(WARNING, "BackOff", text, Some(&held.name))]
        }
        "ImagePullBackOff" => vec![
            told(NORMAL, "BackOff", format!("Back-off pulling image \"{}\"", held.image), Some(&held.name)),
            told(WARNING, "Failed", "Error: ImagePullBackOff", Some(&held.name)),
        ],
        _ => Vec::new(),
    };
    fresh.flat_map(one).collect()
}

/// The v1 Event. What is told twice has one name: it is counted.
pub fn object(pod: &Pod, event: &Told, now: Timestamp) -> Value {
    let meta = &pod.metadata;
    let node = spec::of(pod).node_name.as_deref().unwrap_or_default();
    let (name, uid) = (meta.name.as_deref().unwrap_or_default(), meta.uid.as_deref().unwrap_or_default());
    let container = event.container.as_deref().unwrap_or_default();
    let words = [uid, container, event.severity, event.reason, &event.message].join("\0");
    let number = spec::fnv64(words.as_bytes());
    let mut about = json!({ "apiVersion": "v1", "kind": "Pod", "name": name, "namespace": meta.namespace, "uid": uid });
    if !container.is_empty() {
        let init = spec::init_containers(pod).iter().any(|held| held.name == container);
        let list = if init { "initContainers" } else { "containers" };
        about["fieldPath"] = format!("spec.{list}{{{container}}}").into();
    }
    let time = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": { "name": format!("{name}.{number:016x}"), "namespace": meta.namespace },
        "involvedObject": about, "type": event.severity, "reason": event.reason, "message": event.message, "count": 1,
        "source": { "component": "kubelet", "host": node }, "reportingComponent": "kubelet", "reportingInstance": node,
        "firstTimestamp": time, "lastTimestamp": time, "eventTime": null,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Pod {
        let pod = json!({ "metadata": { "name": "p", "namespace": "ns", "uid": "u" },
            "spec": { "nodeName": "n", "containers": [{ "name": "c", "image": "i:1" }] } });
        serde_json::from_value(pod).expect("a Pod")
    }

    fn shown(events: Vec<Told>) -> Vec<String> {
        events.into_iter().map(|held| format!("{} {}: {}", held.severity, held.reason, held.message)).collect()
    }

    #[test]
    fn steps_are_told_in_the_kubelets_words() {
        let image = Step::EnsureImage { container: "c".into() };
        let failed = |reason: &str, why: &str| Outcome::Failed(reason.into(), why.into());
        assert_eq!(
            shown(of_step(&pod(), &image, &Outcome::Pulled(None))),
            ["Normal Pulled: Container image \"i:1\" already present on machine"]
        );
        assert_eq!(
            shown(of_step(&pod(), &image, &failed("ErrImagePull", "refused"))),
            ["Warning Failed: Failed to pull image \"i:1\": refused", "Warning Failed: Error: ErrImagePull"]
        );
        let volumes = failed("FailedMount", "no secret");
        assert_eq!(shown(of_step(&pod(), &Step::SetUpVolumes, &volumes)), ["Warning FailedMount: no secret"]);
        assert!(of_step(&pod(), &Step::SetUpVolumes, &Outcome::Done).is_empty());
    }

    #[test]
    fn waiting_is_told_once_and_the_same_event_has_the_same_name() {
        let status = |reason: &str| -> PodStatus {
            let held = json!({ "name": "c", "image": "i:1", "imageID": "", "ready": false, "restartCount": 1,
                "state": { "waiting": { "reason": reason } } });
            serde_json::from_value(json!({ "containerStatuses": [held] })).expect("a status")
        };
        let fresh = of_status(&pod(), &status("ContainerCreating"), &status("CrashLoopBackOff"));
        assert_eq!(shown(fresh.clone()), ["Warning BackOff: Back-off restarting failed container c in pod p_ns(u)"]);
        assert!(of_status(&pod(), &status("CrashLoopBackOff"), &status("CrashLoopBackOff")).is_empty());
        let [one, other] = [0, 60].map(|at| object(&pod(), &fresh[0], Timestamp::from_second(at).expect("a time")));
        assert_eq!(one["metadata"], other["metadata"]);
        assert_eq!(one["involvedObject"]["fieldPath"], "spec.containers{c}");
        let probed = object(&pod(), &of_probe(Kind::Liveness, "c", "gone"), Timestamp::UNIX_EPOCH);
        assert_eq!(
            (&probed["message"], &probed["source"]["host"]),
            (&"Liveness probe failed: gone".into(), &"n".into())
        );
        assert_ne!(one["metadata"]["name"], probed["metadata"]["name"]);
    }
}

//! PURE: what a pod's row says: how many containers are ready, what keeps it from running, how often it restarted.
//!
//! Source: k8s.io/kubernetes `pkg/printers/internalversion/printers.go`, `printPod`.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::cells::{items, number};
use super::duration::{human, time};

/// The row's condition, when the pod has run to its end.
pub(super) fn completed(pod: &Value) -> Option<Value> {
    let (reason, message) = match pod["status"]["phase"].as_str()? {
        "Succeeded" => ("Succeeded", "The pod has completed successfully."),
        "Failed" => ("Failed", "The pod failed."),
        _ => return None,
    };
    Some(json!({ "type": "Completed", "status": "True", "reason": reason, "message": message }))
}

/// What the containers of a pod say together.
#[derive(Default)]
struct Summary {
    ready: usize,
    total: usize,
    restarts: i64,
    last_restart: Option<Timestamp>,
    reason: String,
}

impl Summary {
    fn of(pod: &Value) -> Summary {
        let status = &pod["status"];
        let reason = status["reason"].as_str().filter(|reason| !reason.is_empty()).or(status["phase"].as_str());
        let mut summary = Summary {
            total: items(&pod["spec"]["containers"]).count(),
            reason: reason.unwrap_or_default().to_owned(),
            ..Summary::default()
        };
        let gated =
            |condition: &&Value| condition["type"] == "PodScheduled" && condition["reason"] == "SchedulingGated";
        if items(&status["conditions"]).any(|condition| gated(&condition)) {
            summary.reason = "SchedulingGated".to_owned();
        }
        summary.total += items(&pod["spec"]["initContainers"]).filter(|container| sidecar(container)).count();
        let (sidecars, initializing) = summary.init(pod);
        if !initializing || condition(status, "Initialized") {
            (summary.restarts, summary.last_restart) = sidecars;
            summary.containers(status);
        }
        summary.end(pod);
        summary
    }

    /// Looks at the containers that run first; answers what of their restarts counts later, and whether one still runs.
    fn init(&mut self, pod: &Value) -> ((i64, Option<Timestamp>), bool) {
        let named: Vec<&Value> = items(&pod["spec"]["initContainers"]).collect();
        let mut sidecars = (0, None);
        for (done, container) in items(&pod["status"]["initContainerStatuses"]).enumerate() {
            let stays = named.iter().any(|spec| spec["name"] == container["name"] && sidecar(spec));
            let last = time(&container["lastState"]["terminated"]["finishedAt"]);
            self.restarted(container);
            if stays {
                sidecars = (sidecars.0 + number(&container["restartCount"]), sidecars.1.max(last));
            }
            let terminated = &container["state"]["terminated"];
            if terminated.is_object() && number(&terminated["exitCode"]) == 0 {
                continue;
            }
            if stays && container["started"] == true {
                self.ready += usize::from(container["ready"] == true);
                continue;
            }
            let waiting = container["state"]["waiting"]["reason"].as_str().unwrap_or_default();
            self.reason = if terminated.is_object() {
                format!("Init:{}", ended(terminated))
            } else if !waiting.is_empty() && waiting != "PodInitializing" {
                format!("Init:{waiting}")
            } else {
                format!("Init:{done}/{}", named.len())
            };
            return (sidecars, true);
        }
        (sidecars, false)
    }

    fn containers(&mut self, status: &Value) {
        let mut running = false;
        for container in items(&status["containerStatuses"]).rev() {
            self.restarted(container);
            let state = &container["state"];
            let waiting = state["waiting"]["reason"].as_str().unwrap_or_default();
            if !waiting.is_empty() {
                waiting.clone_into(&mut self.reason);
            } else if state["terminated"].is_object() {
                self.reason = ended(&state["terminated"]);
            } else if container["ready"] == true && state["running"].is_object() {
                running = true;
                self.ready += 1;
            }
        }
        if self.reason == "Completed" && running {
            let ready = condition(status, "Ready");
            self.reason = if ready { "Running" } else { "NotReady" }.to_owned();
        }
    }

    fn restarted(&mut self, container: &Value) {
        self.restarts += number(&container["restartCount"]);
        self.last_restart = self.last_restart.max(time(&container["lastState"]["terminated"]["finishedAt"]));
    }

    /// A pod that is being deleted says so, unless it has ended already.
    fn end(&mut self, pod: &Value) {
        if pod["metadata"]["deletionTimestamp"].is_null() {
            return;
        }
        let over = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
        if pod["status"]["reason"] == "NodeLost" {
            self.reason = "Unknown".to_owned();
        } else if !over {
            self.reason = "Terminating".to_owned();
        }
    }
}

/// Init containers that go on beside the others.
fn sidecar(container: &Value) -> bool {
    container["restartPolicy"] == "Always"
}

fn ended(terminated: &Value) -> String {
    match (terminated["reason"].as_str().unwrap_or_default(), number(&terminated["signal"])) {
        ("", 0) => format!("ExitCode:{}", number(&terminated["exitCode"])),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

fn condition(status: &Value, kind: &str) -> bool {
    items(&status["conditions"]).any(|condition| condition["type"] == kind && condition["status"] == "True")
}

pub(super) fn ready(pod: &Value) -> String {
    let Summary { ready, total, .. } = Summary::of(pod);
    format!("{ready}/{total}")
}

pub(super) fn status(pod: &Value) -> String {
    Summary::of(pod).reason
}

pub(super) fn restarts(pod: &Value, now: Timestamp) -> String {
    match Summary::of(pod) {
        Summary { restarts, last_restart: Some(last), .. } if restarts != 0 => {
            format!("{restarts} ({} ago)", human(now.as_second() - last.as_second()))
        }
        Summary { restarts, .. } => restarts.to_string(),
    }
}

pub(super) fn readiness_gates(pod: &Value) -> String {
    let gates: Vec<&Value> = items(&pod["spec"]["readinessGates"]).collect();
    if gates.is_empty() {
        return "<none>".to_owned();
    }
    let open = |gate: &&&Value| gate["conditionType"].as_str().is_some_and(|kind| condition(&pod["status"], kind));
    format!("{}/{}", gates.iter().filter(open).count(), gates.len())
}

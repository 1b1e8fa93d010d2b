//! The conditions of a pod, with their transition times.
//!
//! Source: kubelet's `status/generate.go`; the order is the kubelet's.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::observed::{Container, Observed};
use super::{container_status, spec};

/// The condition types that the agent decides; all others in a status belong to somebody else and are kept.
pub const OWNED: [&str; 5] = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];

/// Whether a condition holds, and if not why.
struct Verdict {
    holds: bool,
    reason: Option<&'static str>,
    message: Option<String>,
}

const TRUE: Verdict = Verdict { holds: true, reason: None, message: None };

fn not(reason: &'static str, message: String) -> Verdict {
    Verdict { holds: false, reason: Some(reason), message: (!message.is_empty()).then_some(message) }
}

/// All conditions for a status that is otherwise complete.
pub(super) fn conditions(pod: &Pod, observed: &Observed, status: &PodStatus, now: Timestamp) -> Vec<PodCondition> {
    let networked =
        observed.sandbox().is_some_and(|s| observed.memory.network.as_ref().is_some_and(|(id, _)| *id == s.id));
    let containers = containers_ready(pod, status);
    let ready = ready(pod, observed, &containers);
    let sandbox = Verdict { holds: networked, reason: None, message: None };
    let verdicts = [sandbox, initialization(pod, observed, status), ready, containers, TRUE];
    let mut conditions: Vec<_> = OWNED
        .iter()
        .zip(verdicts)
        .map(|(type_, verdict)| condition(type_, verdict, pod, &observed.previous, now))
        .collect();
    let foreign = observed.previous.conditions.iter().flatten();
    conditions.extend(foreign.filter(|c| !OWNED.contains(&c.type_.as_str())).cloned());
    conditions
}

/// Whether all init containers are done (sidecars: started).
pub(super) fn initialized(pod: &Pod, observed: &Observed) -> bool {
    incomplete(pod, observed).is_empty()
}

fn incomplete<'a>(pod: &'a Pod, observed: &Observed) -> Vec<&'a str> {
    let begun = spec::containers(pod).iter().any(|c| observed.newest(&c.name).is_some());
    spec::init_containers(pod)
        .iter()
        .filter(|c| {
            let instance = observed.newest(&c.name);
            let done = if spec::is_sidecar(c) {
                instance.is_some_and(|i| container_status::started(c, i, observed))
            } else {
                instance.and_then(Container::exit).is_some_and(|e| e.code == 0)
            };
            !done && !begun
        })
        .map(|c| c.name.as_str())
        .collect()
}

fn initialization(pod: &Pod, observed: &Observed, status: &PodStatus) -> Verdict {
    let names = incomplete(pod, observed);
    if status.phase.as_deref() == Some("Succeeded") {
        return Verdict { reason: Some("PodCompleted"), ..TRUE };
    }
    if names.is_empty() { TRUE } else { not("ContainersNotInitialized", listed("incomplete", &names)) }
}

fn containers_ready(pod: &Pod, status: &PodStatus) -> Verdict {
    match status.phase.as_deref() {
        Some("Succeeded") => return not("PodCompleted", String::new()),
        Some("Failed") => return not("PodFailed", String::new()),
        _ => {}
    }
    let sidecars = spec::init_containers(pod).iter().filter(|c| spec::is_sidecar(c)).map(|c| c.name.as_str());
    let wanted: Vec<_> = sidecars.chain(spec::containers(pod).iter().map(|c| c.name.as_str())).collect();
    let all = || status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    let unready: Vec<_> =
        wanted.into_iter().filter(|name| !all().any(|s: &ContainerStatus| s.name == *name && s.ready)).collect();
    if unready.is_empty() { TRUE } else { not("ContainersNotReady", listed("unready", &unready)) }
}

fn ready(pod: &Pod, observed: &Observed, containers: &Verdict) -> Verdict {
    if !containers.holds {
        return Verdict { holds: false, reason: containers.reason, message: containers.message.clone() };
    }
    let mut unmet = Vec::new();
    for gate in spec::of(pod).readiness_gates.iter().flatten() {
        let found = observed.previous.conditions.iter().flatten().find(|c| c.type_ == gate.condition_type);
        let wrong = match found {
            None => "does not exist".to_owned(),
            Some(c) if c.status != "True" => format!("is \"{}\"", c.status),
            Some(_) => continue,
        };
        unmet.push(format!("corresponding condition of pod readiness gate \"{}\" {wrong}.", gate.condition_type));
    }
    if unmet.is_empty() { TRUE } else { not("ReadinessGatesNotReady", unmet.join(", ")) }
}

fn listed(what: &str, names: &[&str]) -> String {
    format!("containers with {what} status: [{}]", names.join(" "))
}

fn condition(type_: &str, verdict: Verdict, pod: &Pod, previous: &PodStatus, now: Timestamp) -> PodCondition {
    let status = if verdict.holds { "True" } else { "False" };
    let before = previous.conditions.iter().flatten().find(|c| c.type_ == type_);
    let since = before.filter(|c| c.status == status).and_then(|c| c.last_transition_time.clone());
    PodCondition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        last_probe_time: None,
        last_transition_time: Some(since.unwrap_or(Time(now))),
        reason: verdict.reason.map(str::to_owned),
        message: verdict.message,
        observed_generation: pod.metadata.generation,
    }
}

//! A pod's v1 PodStatus as the kubelet writes it.
//!
//! Source: kubelet's `generateAPIPodStatus`, `getPhase` and `status/generate.go`.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::observed::Observed;
use super::{condition, container_status, pod, quantity, spec};

/// What happened to the app and init containers, counted.
#[derive(Debug, Default)]
struct Count {
    waiting: usize,
    running: usize,
    stopped: usize,
    succeeded: usize,
}

/// The status to report.
pub fn status(pod: &Pod, observed: &Observed, now: Timestamp) -> PodStatus {
    let previous = &observed.previous;
    let init = container_status::init(pod, observed, now);
    let app = container_status::app(pod, observed, now);
    let (phase, reason, message) = phase(pod, observed, &init, &app, now);
    let ips = addresses(pod, observed);
    let host_ips: Vec<_> = observed.host_ips.iter().map(|ip| HostIP { ip: ip.to_string() }).collect();
    let mut status = PodStatus {
        conditions: None,
        container_statuses: Some(app),
        host_ip: host_ips.first().map(|h| h.ip.clone()),
        host_ips: (!host_ips.is_empty()).then_some(host_ips),
        init_container_statuses: (!init.is_empty()).then_some(init),
        message,
        observed_generation: pod.metadata.generation,
        phase: Some(phase),
        pod_ip: ips.first().cloned(),
        pod_ips: (!ips.is_empty()).then(|| ips.into_iter().map(|ip| PodIP { ip }).collect()),
        qos_class: previous.qos_class.clone().or_else(|| Some(quantity::qos_class(pod).to_owned())),
        reason,
        start_time: previous.start_time.clone().or(Some(Time(now))),
        nominated_node_name: previous.nominated_node_name.clone(),
        resource_claim_statuses: previous.resource_claim_statuses.clone(),
        ..PodStatus::default()
    };
    status.conditions = Some(condition::conditions(pod, observed, &status, now));
    status
}

/// Whether a stored status says what the node told: its phase, and its conditions whatever others have added. It does not
/// when a node controller that heard nothing of the node wrote that its pods do not serve.
///
/// Source: kubelet's `needsReconcile`.
pub fn says(stored: &PodStatus, told: &PodStatus) -> bool {
    let conditions = |status: &PodStatus| status.conditions.clone().unwrap_or_default();
    let stored_conditions = conditions(stored);
    let held = |told: &PodCondition| stored_conditions.iter().any(|c| c.type_ == told.type_ && c.status == told.status);
    stored.phase == told.phase && conditions(told).iter().all(held)
}

/// Whether the pod has ended for good: nothing of it is ever started again.
pub fn terminal(pod: &Pod, observed: &Observed, now: Timestamp) -> bool {
    let init = container_status::init(pod, observed, now);
    let app = container_status::app(pod, observed, now);
    ended(&phase(pod, observed, &init, &app, now).0)
}

/// When `activeDeadlineSeconds` runs out.
pub fn deadline(pod: &Pod, observed: &Observed) -> Option<Timestamp> {
    let seconds = spec::of(pod).active_deadline_seconds?;
    let start = observed.previous.start_time.as_ref()?;
    Some(pod::after(start.0, seconds))
}

fn ended(phase: &str) -> bool {
    matches!(phase, "Succeeded" | "Failed")
}

type Phase = (String, Option<String>, Option<String>);

fn phase(pod: &Pod, observed: &Observed, init: &[ContainerStatus], app: &[ContainerStatus], now: Timestamp) -> Phase {
    let previous = &observed.previous;
    if let Some(before) = previous.phase.as_deref().filter(|p| ended(p)) {
        return (before.to_owned(), previous.reason.clone(), previous.message.clone());
    }
    if deadline(pod, observed).is_some_and(|at| at <= now) {
        let message = "Pod was active on the node longer than the specified deadline";
        return ("Failed".to_owned(), Some("DeadlineExceeded".to_owned()), Some(message.to_owned()));
    }
    let ending = spec::deleted(pod) || observed.memory.ending_since.is_some();
    (of_containers(pod, ending, init, app).to_owned(), None, None)
}

/// Source: kubelet's `getPhase`.
fn of_containers(pod: &Pod, ending: bool, init: &[ContainerStatus], app: &[ContainerStatus]) -> &'static str {
    let policy = match spec::restart_policy(pod) {
        // Nothing starts again in a pod that is wound down.
        _ if ending => spec::RestartPolicy::Never,
        policy => policy,
    };
    let begun = app.iter().any(|s| current(s).running.is_some() || exit_code(s).is_some());
    let mut pending = 0;
    for (container, status) in spec::init_containers(pod).iter().zip(init) {
        let failed = exit_code(status).is_some_and(|code| code != 0);
        if spec::is_sidecar(container) {
            pending += usize::from(!begun && status.started != Some(true));
        } else if failed && policy == spec::RestartPolicy::Never {
            return "Failed";
        } else {
            pending += usize::from(!begun && exit_code(status) != Some(0));
        }
    }
    let count = count(app);
    if pending > 0 || count.waiting > 0 {
        return "Pending";
    }
    if count.running > 0 {
        return "Running";
    }
    if count.stopped == 0 {
        return "Pending";
    }
    match policy {
        spec::RestartPolicy::Always => "Running",
        _ if count.stopped == count.succeeded => "Succeeded",
        spec::RestartPolicy::Never => "Failed",
        spec::RestartPolicy::OnFailure => "Running",
    }
}

fn count(app: &[ContainerStatus]) -> Count {
    let mut count = Count::default();
    for status in app {
        if current(status).running.is_some() {
            count.running += 1;
        } else if let Some(code) = exit_code(status) {
            count.stopped += 1;
            count.succeeded += usize::from(code == 0 && current(status).terminated.is_some());
        } else {
            count.waiting += 1;
        }
    }
    count
}

fn current(status: &ContainerStatus) -> k8s_openapi::api::core::v1::ContainerState {
    status.state.clone().unwrap_or_default()
}

/// Code of the last end: of the current state, or of the one before while the container waits to start again.
fn exit_code(status: &ContainerStatus) -> Option<i32> {
    let state = status.state.as_ref()?;
    if let Some(terminated) = &state.terminated {
        return Some(terminated.exit_code);
    }
    state.waiting.as_ref()?;
    let last = status.last_state.as_ref()?.terminated.as_ref()?;
    Some(last.exit_code)
}

/// The pod's addresses; those of the past stay when the sandbox is gone.
fn addresses(pod: &Pod, observed: &Observed) -> Vec<String> {
    if spec::host_network(pod) {
        if observed.sandboxes.is_empty() {
            return Vec::new();
        }
        return observed.host_ips.iter().map(ToString::to_string).collect();
    }
    match (&observed.memory.network, &observed.previous.pod_ips) {
        (Some((_, ips)), _) => ips.iter().map(ToString::to_string).collect(),
        (None, Some(before)) if observed.sandbox().is_none() && !observed.containers.is_empty() => {
            before.iter().map(|ip| ip.ip.clone()).collect()
        }
        _ => Vec::new(),
    }
}

//! Winding down: one container (hook, signal, kill), a pod that has ended, a pod that is to go.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::memory::{Progress, Stopping};
use super::observed::{Container, Observed};
use super::pod::{Plan, Step, after};
use super::{backoff, spec};

/// Time between the stop signal and SIGKILL, whatever else used the grace period up. Units: seconds.
/// Source: kubelet's `minimumGracePeriodInSeconds`.
const TERM_MIN_S: i64 = 2;
/// A container that survives SIGKILL gets another one after this time. Units: seconds.
const KILL_AGAIN_S: i64 = 10;

/// How fast a container is stopped.
#[derive(Debug, Clone, Copy)]
pub(super) struct Haste {
    /// Units: seconds.
    grace_s: i64,
    /// The stop began with the pod's, not with the container's own.
    since: Option<Timestamp>,
}

impl Haste {
    pub(super) fn grace(grace_s: i64) -> Self {
        Self { grace_s, since: None }
    }
}

/// The next step to stop one running container.
pub(super) fn container(
    plan: &mut Plan,
    pod: &Pod,
    observed: &Observed,
    instance: &Container,
    haste: Haste,
    why: &str,
    now: Timestamp,
) {
    let memory = observed.memory.container(&instance.name).and_then(|m| m.stopping.as_ref());
    let fresh = Stopping {
        id: instance.id.clone(),
        since: haste.since.unwrap_or(now),
        hook: Progress::Unknown,
        term_at: None,
        kill_at: None,
    };
    let stopping = memory.filter(|s| s.id == instance.id).unwrap_or(&fresh);
    let deadline = after(haste.since.unwrap_or(stopping.since), haste.grace_s);
    let (name, id) = (instance.name.clone(), instance.id.clone());
    let Some(term_at) = stopping.term_at else {
        let hook = spec::all(pod).find(|c| c.name == name).and_then(spec::pre_stop);
        match &stopping.hook {
            Progress::Unknown if hook.is_some() => {
                plan.push(Step::PreStop { container: name, id, why: why.to_owned() });
            }
            Progress::Running(_) if now < deadline => plan.wake(deadline),
            _ => plan.push(Step::Terminate { container: name, id, why: why.to_owned() }),
        }
        return;
    };
    let kill_at = match stopping.kill_at {
        Some(at) => after(at, KILL_AGAIN_S),
        // A pod that was given less than that has less.
        None => deadline.max(after(term_at, TERM_MIN_S.min(haste.grace_s))),
    };
    if plan.retry(Some(kill_at), now) {
        plan.push(Step::Kill { container: name, id });
    }
}

/// Stops what still runs of a pod that has ended, and frees its network and volumes; dead containers stay for their
/// logs until the pod is deleted.
pub(super) fn retire(plan: &mut Plan, pod: &Pod, observed: &Observed, now: Timestamp) {
    if !quiet(plan, pod, observed, now) {
        return;
    }
    for sandbox in observed.sandboxes.iter().filter(|s| s.running) {
        plan.push(Step::StopSandbox { id: sandbox.id.clone() });
    }
    tear_down(plan, observed, now);
}

/// Stops and removes everything of a pod that is to go.
pub(super) fn remove(plan: &mut Plan, pod: &Pod, observed: &Observed, now: Timestamp) {
    if !quiet(plan, pod, observed, now) {
        return;
    }
    for container in &observed.containers {
        plan.push(Step::Remove { container: container.name.clone(), id: container.id.clone() });
    }
    for sandbox in &observed.sandboxes {
        if sandbox.running {
            plan.push(Step::StopSandbox { id: sandbox.id.clone() });
        }
        plan.push(Step::RemoveSandbox { id: sandbox.id.clone() });
    }
    tear_down(plan, observed, now);
    if plan.steps.is_empty() && observed.memory.volumes == Progress::Gone {
        plan.push(Step::Finish);
    }
}

fn tear_down(plan: &mut Plan, observed: &Observed, now: Timestamp) {
    let retry_at = observed.memory.tear_down_failure.as_ref().map(backoff::operation);
    if observed.memory.volumes != Progress::Gone && plan.retry(retry_at, now) {
        plan.push(Step::TearDownVolumes);
    }
}

/// Stops what runs: app containers at once, then sidecars from the last to the first. True when nothing runs.
fn quiet(plan: &mut Plan, pod: &Pod, observed: &Observed, now: Timestamp) -> bool {
    let haste = Haste { grace_s: spec::grace_s(pod), since: observed.memory.ending_since };
    let why = |name: &str| format!("Stopping container {name}");
    let sidecars: Vec<_> = spec::init_containers(pod).iter().filter(|c| spec::is_sidecar(c)).collect();
    let running = || observed.containers.iter().filter(|c| c.running());
    let mut quiet = true;
    for instance in running().filter(|i| !sidecars.iter().any(|s| s.name == i.name)) {
        quiet = false;
        container(plan, pod, observed, instance, haste, &why(&instance.name), now);
    }
    if !quiet {
        return false;
    }
    let next = sidecars.iter().rev().find_map(|s| running().find(|i| i.name == s.name));
    if let Some(instance) = next {
        container(plan, pod, observed, instance, haste, &why(&instance.name), now);
    }
    next.is_none()
}

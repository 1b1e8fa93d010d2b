//! Which containers to start, start again or replace, in a pod whose sandbox and network stand.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container as Spec, Pod};

use super::memory::{ContainerMemory, Progress};
use super::observed::{Container, Observed, State};
use super::pod::{Plan, Step};
use super::spec::{PullPolicy, RestartPolicy};
use super::{backoff, container_status, spec, stop};

/// Init containers one after the other, then all app containers.
pub(super) fn containers(plan: &mut Plan, pod: &Pod, observed: &Observed, now: Timestamp) {
    let begun = spec::containers(pod).iter().any(|c| observed.in_sandbox(&c.name).is_some());
    for container in spec::init_containers(pod) {
        if !init(plan, pod, observed, container, begun, now) && !begun {
            return;
        }
    }
    for container in spec::containers(pod) {
        let policy = spec::restart_policy(pod);
        advance(plan, pod, observed, container, policy, observed.newest(&container.name), now);
    }
}

/// Advances one init container; true when the next may start.
fn init(plan: &mut Plan, pod: &Pod, observed: &Observed, container: &Spec, begun: bool, now: Timestamp) -> bool {
    let instance = observed.in_sandbox(&container.name);
    if spec::is_sidecar(container) {
        advance(plan, pod, observed, container, RestartPolicy::Always, instance, now);
        return instance.is_some_and(|i| i.running() && container_status::started(container, i, observed));
    }
    if begun {
        return true;
    }
    // Once an init container was pruned or belongs to an earlier sandbox, it runs again: it must be idempotent.
    let done = instance.and_then(Container::exit).is_some_and(|exit| exit.code == 0);
    if !done {
        let policy = match spec::restart_policy(pod) {
            RestartPolicy::Always => RestartPolicy::OnFailure,
            other => other,
        };
        advance(plan, pod, observed, container, policy, instance, now);
    }
    done
}

/// Brings one container a step further.
fn advance(
    plan: &mut Plan,
    pod: &Pod,
    observed: &Observed,
    container: &Spec,
    policy: RestartPolicy,
    instance: Option<&Container>,
    now: Timestamp,
) {
    // Numbers go on from any earlier instance, of an earlier sandbox too.
    let earlier = observed.newest(&container.name);
    let restart = earlier.map_or(0, |e| e.restart + 1);
    let Some(instance) = instance else {
        let backoff_s = earlier.map_or(0, |e| e.backoff_s);
        start(plan, observed, container, restart, backoff_s, now);
        return;
    };
    match &instance.state {
        // The agent ended between making and starting it.
        State::Created => {
            plan.push(Step::Remove { container: container.name.clone(), id: instance.id.clone() });
        }
        State::Running { .. } => running(plan, pod, observed, container, instance, now),
        State::Exited(exit) if policy.restarts(exit.code) => {
            let (at, next) = backoff::restart(instance);
            if plan.retry(Some(at), now) {
                start(plan, observed, container, restart, next, now);
            }
        }
        State::Exited(_) => {}
    }
}

fn running(plan: &mut Plan, pod: &Pod, observed: &Observed, container: &Spec, instance: &Container, now: Timestamp) {
    let memory = observed.memory.container(&container.name);
    let failed = memory.and_then(|m| m.health.as_ref()).filter(|h| h.id == instance.id).and_then(|h| h.failed.clone());
    let hook = memory.and_then(|m| m.post_start.as_ref()).filter(|(id, _)| *id == instance.id).map(|(_, p)| p);
    let why = if instance.hash != spec::hash(container) {
        format!("Container {} definition changed, will be restarted", container.name)
    } else if let Some(failed) = failed {
        failed
    } else if let Some(Progress::Failed(_)) = hook {
        "FailedPostStartHook".to_owned()
    } else {
        if hook == Some(&Progress::Unknown) {
            plan.push(Step::PostStart { container: container.name.clone(), id: instance.id.clone() });
        }
        return;
    };
    let haste = stop::Haste::grace(probe_grace(container).unwrap_or_else(|| spec::grace_s(pod)));
    stop::container(plan, pod, observed, instance, haste, &why, now);
}

fn probe_grace(container: &Spec) -> Option<i64> {
    container.liveness_probe.as_ref().and_then(|p| p.termination_grace_period_seconds)
}

fn start(plan: &mut Plan, observed: &Observed, container: &Spec, restart: u32, backoff_s: u32, now: Timestamp) {
    let none = ContainerMemory::default();
    let memory = observed.memory.container(&container.name).unwrap_or(&none);
    if !plan.retry(memory.start_failure.as_ref().map(backoff::operation), now) {
        return;
    }
    match &memory.image {
        Progress::Done => plan.push(Step::Start {
            container: container.name.clone(),
            restart,
            backoff_s,
            post_start: spec::post_start(container).is_some(),
        }),
        Progress::Running(_) => {}
        Progress::Failed(failure) => {
            // An image that must not be pulled may still be loaded by somebody: look again, as for one that is pulled.
            let at = match spec::pull_policy(container) {
                PullPolicy::Never => backoff::operation(failure),
                _ => backoff::image(failure),
            };
            if plan.retry(Some(at), now) {
                plan.push(Step::EnsureImage { container: container.name.clone() });
            }
        }
        Progress::Unknown | Progress::Gone => {
            plan.push(Step::EnsureImage { container: container.name.clone() });
        }
    }
}

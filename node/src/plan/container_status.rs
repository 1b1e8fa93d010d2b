//! The ContainerStatus of each container: waiting, running or terminated, with the state before.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{
    Container as Spec, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, Pod, VolumeMount, VolumeMountStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::backoff;
use super::memory::{Failure, Health, Progress};
use super::observed::{Container, Exit, Observed, State};
use super::spec::{self, RestartPolicy};

/// A failed pull is called by its own reason this long, then `ImagePullBackOff` until the next try. Units: seconds.
const PULL_ERROR_SHOWN_S: i64 = 2;

/// Statuses of the app containers.
pub fn app(pod: &Pod, observed: &Observed, now: Timestamp) -> Vec<ContainerStatus> {
    let initialized = super::condition::initialized(pod, observed);
    let waiting =
        if initialized || spec::init_containers(pod).is_empty() { "ContainerCreating" } else { "PodInitializing" };
    let policy = spec::restart_policy(pod);
    spec::containers(pod).iter().map(|c| one(pod, c, observed, policy, waiting, now)).collect()
}

/// Statuses of the init containers.
pub fn init(pod: &Pod, observed: &Observed, now: Timestamp) -> Vec<ContainerStatus> {
    let policy = match spec::restart_policy(pod) {
        RestartPolicy::Always => RestartPolicy::OnFailure,
        other => other,
    };
    let mut statuses: Vec<_> = spec::init_containers(pod)
        .iter()
        .map(|c| {
            one(
                pod,
                c,
                observed,
                if spec::is_sidecar(c) { RestartPolicy::Always } else { policy },
                "PodInitializing",
                now,
            )
        })
        .collect();
    for (container, status) in spec::init_containers(pod).iter().zip(&mut statuses) {
        if !spec::is_sidecar(container) {
            let code = status.state.as_ref().and_then(|s| s.terminated.as_ref()).map(|t| t.exit_code);
            status.ready = code == Some(0);
        }
    }
    statuses
}

/// Whether an instance counts as started: its startup probe (if any) and its postStart hook (if any) have succeeded.
pub fn started(container: &Spec, instance: &Container, observed: &Observed) -> bool {
    let memory = observed.memory.container(&container.name);
    let hooked = memory
        .and_then(|m| m.post_start.as_ref())
        .filter(|(id, _)| *id == instance.id)
        .is_none_or(|(_, hook)| *hook == Progress::Done);
    hooked && (container.startup_probe.is_none() || health(observed, instance).is_some_and(|h| h.started))
}

fn ready(container: &Spec, instance: &Container, observed: &Observed) -> bool {
    started(container, instance, observed)
        && (container.readiness_probe.is_none() || health(observed, instance).is_some_and(|h| h.ready))
}

fn health<'a>(observed: &'a Observed, instance: &Container) -> Option<&'a Health> {
    let memory = observed.memory.container(&instance.name)?;
    memory.health.as_ref().filter(|h| h.id == instance.id)
}

fn one(
    pod: &Pod,
    container: &Spec,
    observed: &Observed,
    policy: RestartPolicy,
    waiting: &str,
    now: Timestamp,
) -> ContainerStatus {
    let instance = observed.newest(&container.name);
    let last = observed.before_newest(&container.name).and_then(Container::exit).map(|exit| {
        let before = observed.before_newest(&container.name).expect("its exit was just seen");
        terminated(before, exit)
    });
    let mut status = ContainerStatus {
        name: container.name.clone(),
        image: spec::image(container).to_owned(),
        image_id: String::new(),
        last_state: Some(ContainerState { terminated: last, ..ContainerState::default() }),
        started: Some(false),
        volume_mounts: mounts(container),
        ..ContainerStatus::default()
    };
    let Some(instance) = instance else {
        status.state = Some(wait(trouble(container, observed, now).unwrap_or_else(|| (waiting.to_owned(), None))));
        return status;
    };
    status.restart_count = i32::try_from(instance.restart).unwrap_or(i32::MAX);
    status.image.clone_from(&instance.image);
    status.image_id = image_id(&instance.image_id);
    status.container_id = Some(id(instance));
    status.resources.clone_from(&container.resources);
    status.allocated_resources = container.resources.as_ref().and_then(|held| held.requests.clone());
    match &instance.state {
        State::Created => status.state = Some(wait((waiting.to_owned(), None))),
        State::Running { started_at } => {
            status.state = Some(ContainerState {
                running: Some(ContainerStateRunning { started_at: Some(Time(*started_at)) }),
                ..ContainerState::default()
            });
            status.started = Some(started(container, instance, observed));
            status.ready = ready(container, instance, observed);
        }
        State::Exited(exit) => exited(&mut status, pod, container, instance, exit, observed, policy, now),
    }
    status
}

/// What is mounted where (KEP-3857).
fn mounts(container: &Spec) -> Option<Vec<VolumeMountStatus>> {
    let one = |held: &VolumeMount| VolumeMountStatus {
        name: held.name.clone(),
        mount_path: held.mount_path.clone(),
        read_only: held.read_only.filter(|read_only| *read_only),
        recursive_read_only: (held.read_only == Some(true)).then(|| "Disabled".to_owned()),
        ..VolumeMountStatus::default()
    };
    container.volume_mounts.as_ref().map(|held| held.iter().map(one).collect())
}

#[expect(clippy::too_many_arguments, reason = "one call, the parts of one decision")]
fn exited(
    status: &mut ContainerStatus,
    pod: &Pod,
    container: &Spec,
    instance: &Container,
    exit: &Exit,
    observed: &Observed,
    policy: RestartPolicy,
    now: Timestamp,
) {
    let ended = terminated(instance, exit);
    let over = spec::deleted(pod) || observed.memory.ending_since.is_some() || !policy.restarts(exit.code);
    let (at, _) = backoff::restart(instance);
    let waits = if over {
        None
    } else if at > now {
        Some(("CrashLoopBackOff".to_owned(), Some(crash_message(pod, container, instance))))
    } else {
        trouble(container, observed, now)
    };
    let Some(waits) = waits else {
        status.state = Some(ContainerState { terminated: Some(ended), ..ContainerState::default() });
        return;
    };
    status.state = Some(wait(waits));
    status.last_state = Some(ContainerState { terminated: Some(ended), ..ContainerState::default() });
}

/// Source: kubelet's `doBackOff`.
fn crash_message(pod: &Pod, container: &Spec, instance: &Container) -> String {
    let meta = &pod.metadata;
    format!(
        "back-off {} restarting failed container={} pod={}_{}({})",
        go_duration(instance.backoff_s),
        container.name,
        meta.name.as_deref().unwrap_or_default(),
        meta.namespace.as_deref().unwrap_or_default(),
        meta.uid.as_deref().unwrap_or_default(),
    )
}

/// A whole number of seconds as Go prints a duration.
fn go_duration(seconds: u32) -> String {
    match (seconds / 60, seconds % 60) {
        (0, s) => format!("{s}s"),
        (m, s) => format!("{m}m{s}s"),
    }
}

type Waiting = (String, Option<String>);

/// What keeps a container from starting, if something does.
fn trouble(container: &Spec, observed: &Observed, now: Timestamp) -> Option<Waiting> {
    let memory = observed.memory.container(&container.name)?;
    if let Progress::Failed(failure) | Progress::Running(Some(failure)) = &memory.image {
        let shown_until = failure.at + SignedDuration::from_secs(PULL_ERROR_SHOWN_S);
        if failure.reason == "ErrImagePull" && shown_until <= now {
            let message = format!(
                "Back-off pulling image \"{}\": {}: {}",
                spec::image(container),
                failure.reason,
                failure.message
            );
            return Some(("ImagePullBackOff".to_owned(), Some(message)));
        }
        return Some(reason(failure));
    }
    memory.start_failure.as_ref().map(reason)
}

fn reason(failure: &Failure) -> Waiting {
    (failure.reason.clone(), Some(failure.message.clone()))
}

fn wait((reason, message): Waiting) -> ContainerState {
    ContainerState {
        waiting: Some(ContainerStateWaiting { reason: Some(reason), message }),
        ..ContainerState::default()
    }
}

fn terminated(instance: &Container, exit: &Exit) -> ContainerStateTerminated {
    ContainerStateTerminated {
        container_id: Some(id(instance)),
        exit_code: exit.code,
        finished_at: Some(Time(exit.finished_at)),
        message: exit.message.clone(),
        reason: Some(exit.reason.clone()),
        signal: None,
        started_at: exit.started_at.map(Time),
    }
}

fn id(instance: &Container) -> String {
    format!("docker://{}", instance.id)
}

fn image_id(id: &str) -> String {
    if id.contains('@') { format!("docker-pullable://{id}") } else { format!("docker://{id}") }
}

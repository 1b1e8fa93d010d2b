//! The next steps for a pod: `(specification, observed, now) -> Plan`.
//!
//! Every step is safe to repeat. A plan holds what can be done at once; the shell carries it out, looks again and asks
//! again, until the plan is empty and only `wake_at` is left. Source: kubelet's `computePodActions`.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;

use super::memory::{Failure, Progress};
use super::observed::Observed;
use super::{backoff, spec, start, status, stop};

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Put the pod's volumes in place.
    SetUpVolumes,
    /// Make and start a sandbox.
    CreateSandbox {
        /// Number of the sandbox, from 0.
        attempt: u32,
    },
    /// Give the sandbox its addresses.
    AttachNetwork {
        /// The sandbox.
        id: String,
    },
    /// Have the image for the container's next start, by pulling it if the policy says so.
    EnsureImage {
        /// The container.
        container: String,
    },
    /// Make and start an instance of a container.
    Start {
        /// The container.
        container: String,
        /// The instance's `restart` label.
        restart: u32,
        /// The instance's back-off label. Units: seconds.
        backoff_s: u32,
        /// The container has a postStart hook.
        post_start: bool,
    },
    /// Run the postStart hook.
    PostStart {
        /// The container.
        container: String,
        /// The instance.
        id: String,
    },
    /// Run the preStop hook.
    PreStop {
        /// The container.
        container: String,
        /// The instance.
        id: String,
        /// Why the container stops.
        why: String,
    },
    /// Send the stop signal.
    Terminate {
        /// The container.
        container: String,
        /// The instance.
        id: String,
        /// Why the container stops.
        why: String,
    },
    /// Send SIGKILL.
    Kill {
        /// The container.
        container: String,
        /// The instance.
        id: String,
    },
    /// Remove a dead instance.
    Remove {
        /// The container.
        container: String,
        /// The instance.
        id: String,
    },
    /// End a sandbox and its network.
    StopSandbox {
        /// The sandbox.
        id: String,
    },
    /// Remove a dead sandbox.
    RemoveSandbox {
        /// The sandbox.
        id: String,
    },
    /// Unmount and remove the pod's volumes.
    TearDownVolumes,
    /// Tell that nothing of the pod is left.
    Finish,
}

/// What to do now, and when to look again if nothing else happens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// To do, in this order.
    pub steps: Vec<Step>,
    /// Look again then.
    pub wake_at: Option<Timestamp>,
}

impl Plan {
    pub(super) fn push(&mut self, step: Step) {
        self.steps.push(step);
    }

    pub(super) fn wake(&mut self, at: Timestamp) {
        self.wake_at = Some(self.wake_at.map_or(at, |other| other.min(at)));
    }

    /// Whether what failed may be tried again; if not yet, looks again when it may.
    pub(super) fn retry(&mut self, at: Option<Timestamp>, now: Timestamp) -> bool {
        match at {
            Some(at) if at > now => {
                self.wake(at);
                false
            }
            _ => true,
        }
    }
}

/// The next steps for a pod.
pub fn plan(pod: &Pod, observed: &Observed, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    if observed.memory.finished {
        return plan;
    }
    if spec::deleted(pod) || observed.memory.removed {
        stop::remove(&mut plan, pod, observed, now);
    } else if status::terminal(pod, observed, now) {
        stop::retire(&mut plan, pod, observed, now);
    } else {
        run(&mut plan, pod, observed, now);
    }
    plan
}

fn run(plan: &mut Plan, pod: &Pod, observed: &Observed, now: Timestamp) {
    if let Some(deadline) = status::deadline(pod, observed) {
        plan.wake(deadline);
    }
    prune(plan, observed);
    if !volumes(plan, observed, now) {
        return;
    }
    let Some(sandbox) = observed.sandbox() else {
        new_sandbox(plan, pod, observed, now);
        return;
    };
    if observed.memory.network.as_ref().is_none_or(|(id, _)| *id != sandbox.id) {
        let at = observed.memory.network_failure.as_ref().map(backoff::operation);
        if plan.retry(at, now) {
            plan.push(Step::AttachNetwork { id: sandbox.id.clone() });
        }
        return;
    }
    start::containers(plan, pod, observed, now);
}

fn volumes(plan: &mut Plan, observed: &Observed, now: Timestamp) -> bool {
    match &observed.memory.volumes {
        Progress::Done => true,
        Progress::Running(_) => false,
        Progress::Failed(failure) => {
            if plan.retry(Some(backoff::operation(failure)), now) {
                plan.push(Step::SetUpVolumes);
            }
            false
        }
        Progress::Unknown | Progress::Gone => {
            plan.push(Step::SetUpVolumes);
            false
        }
    }
}

/// A pod without a living sandbox: whatever still runs shares a dead network namespace and has to go first.
fn new_sandbox(plan: &mut Plan, pod: &Pod, observed: &Observed, now: Timestamp) {
    let mut quiet = true;
    for container in observed.containers.iter().filter(|c| c.running()) {
        quiet = false;
        let why = "Pod sandbox changed, it will be killed and re-created.";
        stop::container(plan, pod, observed, container, stop::Haste::grace(2), why, now);
    }
    let failed = observed.memory.sandbox_failure.as_ref();
    if quiet && plan.retry(failed.map(|f: &Failure| backoff::operation(f)), now) {
        let attempt = observed.sandboxes.first().map_or(0, |s| s.attempt + 1);
        plan.push(Step::CreateSandbox { attempt });
    }
}

/// Removes what nobody asks about any more: dead sandboxes but the newest, dead instances but the two newest.
fn prune(plan: &mut Plan, observed: &Observed) {
    for sandbox in observed.sandboxes.iter().skip(1) {
        let id = sandbox.id.clone();
        if sandbox.running {
            plan.push(Step::StopSandbox { id: id.clone() });
        }
        plan.push(Step::RemoveSandbox { id });
    }
    for (at, container) in observed.containers.iter().enumerate() {
        let newer = observed.containers[..at].iter().filter(|c| c.name == container.name).count();
        if newer >= 2 && container.exit().is_some() {
            plan.push(Step::Remove { container: container.name.clone(), id: container.id.clone() });
        }
    }
}

/// `from` plus whole seconds.
pub(super) fn after(from: Timestamp, seconds: i64) -> Timestamp {
    from.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(from)
}

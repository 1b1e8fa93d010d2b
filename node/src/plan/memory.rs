//! What the agent remembers of its own attempts for one pod, and how each outcome changes that.
//!
//! Everything here may be lost at any time (the agent restarts): then it is attempted again, which is safe.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;

use super::pod::Step;

/// The agent's memory of one pod.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// Whether the volumes are in place.
    pub volumes: Progress,
    /// Whether the last attempt to remove them failed.
    pub tear_down_failure: Option<Failure>,
    /// Whether the last attempt at a sandbox failed.
    pub sandbox_failure: Option<Failure>,
    /// Addresses given to a sandbox (by its id).
    pub network: Option<(String, Vec<IpAddr>)>,
    /// Whether the last attempt at the network failed.
    pub network_failure: Option<Failure>,
    /// Per container name.
    pub containers: BTreeMap<String, ContainerMemory>,
    /// When the pod began to be wound down.
    pub ending_since: Option<Timestamp>,
    /// The pod's object is gone from the API, or was never there.
    pub removed: bool,
    /// Everything of the pod is gone from this node.
    pub finished: bool,
}

/// Something that is attempted until it works.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Progress {
    /// Not tried in this life of the agent.
    #[default]
    Unknown,
    /// Under way in the background; what became of the attempt before, if that failed.
    Running(Option<Failure>),
    /// Done.
    Done,
    /// Failed last time.
    Failed(Failure),
    /// Undone for good.
    Gone,
}

/// A failed attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Kubernetes' reason, e.g. `ErrImagePull`.
    pub reason: String,
    /// For the user.
    pub message: String,
    /// When.
    pub at: Timestamp,
    /// How many in a row, this one included.
    pub failures: u32,
}

/// Memory of one container.
#[derive(Debug, Clone, Default)]
pub struct ContainerMemory {
    /// Whether the image is there for the next start.
    pub image: Progress,
    /// The last start failed before an instance existed.
    pub start_failure: Option<Failure>,
    /// The stop under way, of the instance with this id.
    pub stopping: Option<Stopping>,
    /// The postStart hook of the instance with this id.
    pub post_start: Option<(String, Progress)>,
    /// What probes found about the instance with this id.
    pub health: Option<Health>,
}

/// A container on its way down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopping {
    /// The instance.
    pub id: String,
    /// When the stop began.
    pub since: Timestamp,
    /// The preStop hook.
    pub hook: Progress,
    /// When the stop signal was sent.
    pub term_at: Option<Timestamp>,
    /// When SIGKILL was sent last.
    pub kill_at: Option<Timestamp>,
}

/// What probes found about one instance.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Health {
    /// The instance.
    pub id: String,
    /// The startup probe has succeeded.
    pub started: bool,
    /// The readiness probe succeeds.
    pub ready: bool,
    /// A liveness or startup probe has failed for good, and how.
    pub failed: Option<String>,
}

/// How a step went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Handed to the background; its own outcome follows.
    Begun,
    /// Done.
    Done,
    /// The image is there; so long it was pulled, if it was.
    Pulled(Option<std::time::Duration>),
    /// The sandbox has these addresses.
    Addresses(String, Vec<IpAddr>),
    /// An instance with this id was started.
    Started(String),
    /// Failed: reason and message for the user.
    Failed(String, String),
}

impl Memory {
    /// Memory of a container.
    pub fn container(&self, name: &str) -> Option<&ContainerMemory> {
        self.containers.get(name)
    }

    /// Records how a step went.
    pub fn record(&mut self, step: &Step, outcome: Outcome, now: Timestamp) {
        match step {
            Step::SetUpVolumes => self.volumes = progress(&self.volumes, outcome, now),
            Step::TearDownVolumes => {
                self.tear_down_failure = failure(self.tear_down_failure.as_ref(), outcome, now);
                if self.tear_down_failure.is_none() {
                    self.volumes = Progress::Gone;
                }
            }
            Step::CreateSandbox { .. } => {
                self.sandbox_failure = failure(self.sandbox_failure.as_ref(), outcome, now);
            }
            Step::AttachNetwork { .. } => match outcome {
                Outcome::Addresses(id, ips) => {
                    self.network = Some((id, ips));
                    self.network_failure = None;
                }
                other => self.network_failure = failure(self.network_failure.as_ref(), other, now),
            },
            Step::StopSandbox { id } | Step::RemoveSandbox { id } => {
                self.network = self.network.take().filter(|(of, _)| of != id);
            }
            Step::Finish => self.finished = true,
            Step::Remove { .. } => {}
            Step::EnsureImage { container }
            | Step::Start { container, .. }
            | Step::PostStart { container, .. }
            | Step::PreStop { container, .. }
            | Step::Terminate { container, .. }
            | Step::Kill { container, .. } => {
                let memory = self.containers.entry(container.clone()).or_default();
                memory.record(step, outcome, now);
            }
        }
    }
}

impl ContainerMemory {
    fn record(&mut self, step: &Step, outcome: Outcome, now: Timestamp) {
        match step {
            Step::EnsureImage { .. } => self.image = progress(&self.image, outcome, now),
            Step::Start { post_start, .. } => match outcome {
                Outcome::Started(id) => {
                    self.start_failure = None;
                    self.stopping = None;
                    self.image = Progress::Unknown;
                    self.post_start = post_start.then_some((id, Progress::Unknown));
                }
                other => self.start_failure = failure(self.start_failure.as_ref(), other, now),
            },
            Step::PostStart { id, .. } => {
                self.post_start = Some((id.clone(), progress(&Progress::Unknown, outcome, now)));
            }
            Step::PreStop { id, .. } => {
                self.stopping_of(id, now).hook = progress(&Progress::Unknown, outcome, now);
            }
            Step::Terminate { id, .. } => self.stopping_of(id, now).term_at = Some(now),
            Step::Kill { id, .. } => self.stopping_of(id, now).kill_at = Some(now),
            _ => {}
        }
    }

    fn stopping_of(&mut self, id: &str, now: Timestamp) -> &mut Stopping {
        if self.stopping.as_ref().is_none_or(|s| s.id != id) {
            self.stopping = None;
        }
        self.stopping.get_or_insert_with(|| Stopping {
            id: id.to_owned(),
            since: now,
            hook: Progress::Unknown,
            term_at: None,
            kill_at: None,
        })
    }
}

fn progress(before: &Progress, outcome: Outcome, now: Timestamp) -> Progress {
    let earlier = match before {
        Progress::Failed(failure) | Progress::Running(Some(failure)) => Some(failure),
        _ => None,
    };
    match outcome {
        Outcome::Begun => Progress::Running(earlier.cloned()),
        Outcome::Failed(..) => failure(earlier, outcome, now).map_or(Progress::Unknown, Progress::Failed),
        _ => Progress::Done,
    }
}

fn failure(before: Option<&Failure>, outcome: Outcome, now: Timestamp) -> Option<Failure> {
    match outcome {
        Outcome::Failed(reason, message) => {
            Some(Failure { reason, message, at: now, failures: before.map_or(0, |f| f.failures).saturating_add(1) })
        }
        _ => None,
    }
}

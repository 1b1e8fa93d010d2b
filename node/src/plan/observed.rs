//! What was seen of one pod on this node: its sandboxes, its containers, and what the agent remembers of its own attempts.

use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodStatus;

use super::memory::Memory;

/// A sandbox: the container that owns a pod's namespaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    /// The engine's id.
    pub id: String,
    /// Counts the pod's sandboxes from 0.
    pub attempt: u32,
    /// Whether its process lives.
    pub running: bool,
    /// When it was created.
    pub created_at: Timestamp,
    /// Process id of the pause process on the host; its network namespace is the pod's. 0 when not running or simulated.
    pub pid: u32,
    /// Addresses that the engine's own network gave it, if any.
    pub engine_ips: Vec<IpAddr>,
}

/// One instance of one container of the pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// The engine's id.
    pub id: String,
    /// The container's name in the pod's spec.
    pub name: String,
    /// Counts the instances of this container from 0: `restartCount`.
    pub restart: u32,
    /// How long this container waits after an exit of this instance. Units: seconds. See [`super::backoff`].
    pub backoff_s: u32,
    /// The sandbox it was started in.
    pub sandbox: String,
    /// [`super::spec::hash`] of the definition it was made from.
    pub hash: String,
    /// Image as the spec named it.
    pub image: String,
    /// Id of the image (`sha256:…`, or a digest reference).
    pub image_id: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// What it does now.
    pub state: State,
}

/// What a container instance does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Made, never started.
    Created,
    /// Running.
    Running {
        /// Since when.
        started_at: Timestamp,
    },
    /// Ended, or failed to start.
    Exited(Exit),
}

/// How an instance ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// Start of the process; absent when it never started.
    pub started_at: Option<Timestamp>,
    /// End of the process.
    pub finished_at: Timestamp,
    /// Exit code; 128 + signal for a signal's.
    pub code: i32,
    /// `Completed`, `Error`, `OOMKilled`, `StartError`.
    pub reason: String,
    /// Termination message; bounded by the runtime.
    pub message: Option<String>,
}

/// All that is known about one pod at one moment.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// Sandboxes, newest first.
    pub sandboxes: Vec<Sandbox>,
    /// Container instances, newest first.
    pub containers: Vec<Container>,
    /// What the agent remembers of its attempts.
    pub memory: Memory,
    /// The status last reported (or found in the API at the start).
    pub previous: PodStatus,
    /// Addresses of this node, for `hostIP`.
    pub host_ips: Vec<IpAddr>,
}

impl Observed {
    /// The newest sandbox, when it runs.
    pub fn sandbox(&self) -> Option<&Sandbox> {
        self.sandboxes.first().filter(|s| s.running)
    }

    /// The newest instance of a container.
    pub fn newest(&self, name: &str) -> Option<&Container> {
        self.containers.iter().find(|c| c.name == name)
    }

    /// The newest instance of a container that belongs to the running sandbox.
    pub fn in_sandbox(&self, name: &str) -> Option<&Container> {
        let sandbox = self.sandbox()?;
        self.newest(name).filter(|c| c.sandbox == sandbox.id)
    }

    /// The instance before the newest.
    pub fn before_newest(&self, name: &str) -> Option<&Container> {
        self.containers.iter().filter(|c| c.name == name).nth(1)
    }
}

impl Container {
    /// Whether its process lives.
    pub fn running(&self) -> bool {
        matches!(self.state, State::Running { .. })
    }

    /// How it ended, if it did.
    pub fn exit(&self) -> Option<&Exit> {
        match &self.state {
            State::Exited(exit) => Some(exit),
            _ => None,
        }
    }
}

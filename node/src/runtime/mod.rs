//! The container engine, as the agent needs it: a true edge, with Docker Engine behind it or a simulation.

pub mod docker;
pub mod pause;
pub mod sim;

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::plan::config::{ContainerConfig, Credentials, LogOptions, PodId, SandboxConfig};
use crate::plan::observed::{Container, Sandbox};
use crate::plan::spec::PullPolicy;

/// What an engine could not do, by what the caller does next.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RuntimeError {
    /// The thing is not there (any more).
    #[error("{0} does not exist")]
    NotFound(String),
    /// The image cannot be had; the text is for the user.
    #[error("{message}")]
    Image {
        /// `ErrImagePull`, `ErrImageNeverPull`, `InvalidImageName`.
        reason: &'static str,
        /// For the user.
        message: String,
    },
    /// The engine refused or failed; trying again may help.
    #[error("{0}")]
    Engine(String),
    /// It took too long.
    #[error("{0} timed out")]
    Timeout(&'static str),
}

/// What belongs to one pod on the engine.
#[derive(Debug, Clone, Default)]
pub struct Contents {
    /// Newest first.
    pub sandboxes: Vec<Sandbox>,
    /// Newest first.
    pub containers: Vec<Container>,
}

/// An image that is there.
#[derive(Debug, Clone)]
pub struct Image {
    /// `sha256:…`, or a digest reference.
    pub id: String,
    /// The user it runs as; empty for root.
    pub user: String,
    /// Time a pull took; None when it was there already.
    pub pulled_in: Option<Duration>,
}

/// What a command in a container gave.
#[derive(Debug, Clone)]
pub struct Executed {
    /// Exit code.
    pub code: i64,
    /// Output of both streams; at most [`EXEC_OUTPUT_MAX`] bytes.
    pub output: String,
}

/// Bound on the output kept of a command run for a probe or hook. Units: bytes. Source: kubelet's `maxRespBodyLength`.
pub const EXEC_OUTPUT_MAX: usize = 10 << 10;

/// A signal for a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// The container's own stop signal.
    Stop,
    /// SIGKILL.
    Kill,
}

/// About the engine, for the Node object.
#[derive(Debug, Clone)]
pub struct EngineInfo {
    /// As `containerRuntimeVersion` has it, e.g. `docker://20.10.24`.
    pub version: String,
}

/// A container engine. Every call is safe to repeat and bounded in time.
///
/// # Errors
///
/// All calls fail with a [`RuntimeError`] when the engine does.
pub trait Runtime: Send + Sync + 'static {
    /// Set where nothing runs for real: probes over the network find nobody and count as answered.
    const SIMULATED: bool = false;

    /// About the engine.
    fn info(&self) -> impl Future<Output = Result<EngineInfo, RuntimeError>> + Send;

    /// Pods of which anything is on the engine.
    fn pods(&self) -> impl Future<Output = Result<Vec<PodId>, RuntimeError>> + Send;

    /// What is on the engine of one pod.
    fn contents(&self, uid: &str) -> impl Future<Output = Result<Contents, RuntimeError>> + Send;

    /// Makes and starts a sandbox.
    fn create_sandbox(&self, config: &SandboxConfig) -> impl Future<Output = Result<String, RuntimeError>> + Send;

    /// Has an image, pulling it if the policy says so; `pulls` is told before that.
    fn ensure_image(
        &self,
        image: &str,
        policy: PullPolicy,
        credentials: &[Credentials],
        pulls: &(dyn Fn() + Send + Sync),
    ) -> impl Future<Output = Result<Image, RuntimeError>> + Send;

    /// Makes and starts a container. An instance that could not start is left as one that ended with `StartError`.
    fn start(&self, config: &ContainerConfig) -> impl Future<Output = Result<String, RuntimeError>> + Send;

    /// Sends a signal to a sandbox or container; one that does not run is not an error.
    fn signal(&self, id: &str, signal: Signal) -> impl Future<Output = Result<(), RuntimeError>> + Send;

    /// Removes a sandbox or container that has ended; one that is not there is not an error.
    fn remove(&self, id: &str) -> impl Future<Output = Result<(), RuntimeError>> + Send;

    /// Runs a command in a container and waits for it, for so long; what is left of it then is killed.
    fn exec(
        &self,
        id: &str,
        command: &[String],
        limit: Duration,
    ) -> impl Future<Output = Result<Executed, RuntimeError>> + Send;

    /// Sends a container's log into the channel until its end, or for ever if it follows. A closed channel ends it.
    fn logs(
        &self,
        id: &str,
        options: &LogOptions,
        sink: mpsc::Sender<Bytes>,
    ) -> impl Future<Output = Result<(), RuntimeError>> + Send;

    /// What every sandbox and container that runs uses, without rates.
    fn measure(&self) -> impl Future<Output = Result<Vec<proto::agent::ContainerUsage>, RuntimeError>> + Send;

    /// Sends the uid of each pod of which something has changed into the channel, until the engine hangs up.
    fn watch(&self, sink: mpsc::Sender<String>) -> impl Future<Output = Result<(), RuntimeError>> + Send;
}

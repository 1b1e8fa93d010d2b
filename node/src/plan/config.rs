//! What a sandbox, a container and a log request are made of, in an engine's terms; no decision is left in them.

use std::path::PathBuf;

/// Identifies a pod on the engine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodId {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// A sandbox to make.
#[derive(Debug, Clone)]
pub struct SandboxConfig {
    /// The pod.
    pub pod: PodId,
    /// Number of the sandbox, from 0.
    pub attempt: u32,
    /// Host name inside the pod; the node's own with the node's network.
    pub hostname: Option<String>,
    /// Engine's network mode: `none`, `host`, `bridge`.
    pub network: String,
    /// The node's IPC namespace instead of the pod's own.
    pub host_ipc: bool,
    /// The node's PID namespace.
    pub host_pid: bool,
    /// Kernel parameters of the pod's namespaces.
    pub sysctls: Vec<(String, String)>,
}

/// A directory or file of the node inside a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// On the node.
    pub source: PathBuf,
    /// In the container.
    pub target: String,
    /// No writes.
    pub read_only: bool,
    /// `rprivate`, `rslave`, `rshared`.
    pub propagation: &'static str,
}

/// A container to make.
#[derive(Debug, Clone, Default)]
pub struct ContainerConfig {
    /// The pod.
    pub pod: Option<PodId>,
    /// Name in the pod's spec.
    pub name: String,
    /// Number of the instance, from 0.
    pub restart: u32,
    /// See [`crate::plan::observed::Container::backoff_s`].
    pub backoff_s: u32,
    /// See [`crate::plan::spec::hash`].
    pub hash: String,
    /// Sandbox whose namespaces it joins.
    pub sandbox: String,
    /// Image reference.
    pub image: String,
    /// Replaces the image's entry point.
    pub command: Option<Vec<String>>,
    /// Replaces the image's arguments.
    pub args: Option<Vec<String>>,
    /// Environment.
    pub env: Vec<(String, String)>,
    /// Working directory.
    pub working_dir: Option<String>,
    /// Mounts, outer ones first.
    pub mounts: Vec<Mount>,
    /// Keeps a standard input open.
    pub stdin: bool,
    /// Closes it after the first client.
    pub stdin_once: bool,
    /// Has a terminal.
    pub tty: bool,
    /// Signal that asks it to end, e.g. `SIGTERM`; the image's own if unset.
    pub stop_signal: Option<String>,
    /// The pod's one PID namespace instead of its own.
    pub share_pid: bool,
    /// The node's PID namespace.
    pub host_pid: bool,
    /// What it may do.
    pub security: Security,
    /// What it may use.
    pub resources: Resources,
}

/// What a container may do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Security {
    /// `uid`, `uid:gid`; the image's if unset.
    pub user: Option<String>,
    /// Further groups.
    pub groups: Vec<i64>,
    /// Capabilities beyond the engine's default.
    pub cap_add: Vec<String>,
    /// Capabilities less than the engine's default.
    pub cap_drop: Vec<String>,
    /// Everything allowed.
    pub privileged: bool,
    /// No writes to the image's files.
    pub read_only_root: bool,
    /// No process gains more than its parent has.
    pub no_new_privileges: bool,
    /// No system call filter.
    pub seccomp_unconfined: bool,
}

/// What a container may use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resources {
    /// Relative weight of CPU time.
    pub cpu_shares: i64,
    /// CPU time per period of 100 ms. Units: microseconds; 0 is unlimited.
    pub cpu_quota_us: i64,
    /// Units: bytes; 0 is unlimited.
    pub memory_bytes: i64,
    /// How willingly the kernel kills it, 0 to 1000.
    pub oom_score: i64,
}

/// Access to a registry, from an image pull secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Host of the registry, with port if it has one.
    pub registry: String,
    /// User name.
    pub username: String,
    /// Password.
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("registry", &self.registry).finish_non_exhaustive()
    }
}

/// Which part of a log is wanted.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogOptions {
    /// Go on as it grows.
    pub follow: bool,
    /// Each line starts with its time.
    pub timestamps: bool,
    /// So many lines from the end.
    pub tail_lines: Option<i64>,
    /// Only lines since then. Units: milliseconds of Unix time.
    pub since_ms: Option<i64>,
    /// At most so many bytes.
    pub limit_bytes: Option<i64>,
}

//! Reading a pod's specification: the defaults the API server has filled in are assumed again here, so that a pod
//! from any source is read the same way.

use k8s_openapi::api::core::v1::{Container, Lifecycle, LifecycleHandler, Pod, PodSpec};

/// When containers are started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Whatever the exit code.
    Always,
    /// After a failure.
    OnFailure,
    /// Never.
    Never,
}

/// When an image is pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullPolicy {
    /// Before every start.
    Always,
    /// When it is not there.
    IfNotPresent,
    /// Never.
    Never,
}

/// The pod's specification, or an empty one.
pub fn of(pod: &Pod) -> &PodSpec {
    static EMPTY: std::sync::LazyLock<PodSpec> = std::sync::LazyLock::new(PodSpec::default);
    pod.spec.as_ref().unwrap_or(&EMPTY)
}

/// The pod's restart policy.
pub fn restart_policy(pod: &Pod) -> RestartPolicy {
    match of(pod).restart_policy.as_deref() {
        Some("Never") => RestartPolicy::Never,
        Some("OnFailure") => RestartPolicy::OnFailure,
        _ => RestartPolicy::Always,
    }
}

impl RestartPolicy {
    /// Whether a container that ended with this code starts again.
    pub fn restarts(self, code: i32) -> bool {
        match self {
            Self::Always => true,
            Self::OnFailure => code != 0,
            Self::Never => false,
        }
    }
}

/// Init containers in order, sidecars among them.
pub fn init_containers(pod: &Pod) -> &[Container] {
    of(pod).init_containers.as_deref().unwrap_or_default()
}

/// App containers.
pub fn containers(pod: &Pod) -> &[Container] {
    &of(pod).containers
}

/// All containers of the pod, init containers first.
pub fn all(pod: &Pod) -> impl Iterator<Item = &Container> {
    init_containers(pod).iter().chain(containers(pod))
}

/// Whether an init container is a sidecar: one that keeps running beside the app containers (KEP-753).
pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// When the container's image is pulled.
pub fn pull_policy(container: &Container) -> PullPolicy {
    match container.image_pull_policy.as_deref() {
        Some("Always") => PullPolicy::Always,
        Some("Never") => PullPolicy::Never,
        Some(_) => PullPolicy::IfNotPresent,
        None if latest(image(container)) => PullPolicy::Always,
        None => PullPolicy::IfNotPresent,
    }
}

/// The container's image reference.
pub fn image(container: &Container) -> &str {
    container.image.as_deref().unwrap_or_default()
}

fn latest(image: &str) -> bool {
    let name = image.rsplit('/').next().unwrap_or(image);
    !name.contains('@') && name.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

/// Whether the pod uses the node's network.
pub fn host_network(pod: &Pod) -> bool {
    of(pod).host_network == Some(true)
}

/// Time the pod's containers have to end after the first signal. Units: seconds; at least 1.
pub fn grace_s(pod: &Pod) -> i64 {
    pod.metadata.deletion_grace_period_seconds.or(of(pod).termination_grace_period_seconds).unwrap_or(30).max(1)
}

/// Whether the API asks for the pod's end.
pub fn deleted(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// The preStop hook.
pub fn pre_stop(container: &Container) -> Option<&LifecycleHandler> {
    container.lifecycle.as_ref().and_then(|l| l.pre_stop.as_ref())
}

/// The postStart hook.
pub fn post_start(container: &Container) -> Option<&LifecycleHandler> {
    container.lifecycle.as_ref().and_then(|l: &Lifecycle| l.post_start.as_ref())
}

/// Identifies the definition an instance is made from: a running instance of another definition is replaced.
///
/// FNV-1a, because the value outlives this build (it is a label). Only name and image count, the fields that may change in a running pod (source: kubelet's `HashContainer`).
pub fn hash(container: &Container) -> String {
    let bytes: Vec<u8> = container.name.bytes().chain([0]).chain(image(container).bytes()).collect();
    format!("{:016x}", fnv64(&bytes))
}

/// FNV-1a.
pub(super) fn fnv64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

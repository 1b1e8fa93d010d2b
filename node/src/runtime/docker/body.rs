//! Our configurations as the bodies of Docker's API: names, labels, host configuration. No calls.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, HealthConfig, HostConfig, HostConfigLogConfig, Mount as DockerMount, MountBindOptions,
    MountBindOptionsPropagationEnum, MountType,
};

use super::super::pause;
use crate::plan::config::{ContainerConfig, Mount, PodId, SandboxConfig};

pub(super) const NODE: &str = "raftsman.io/node";
pub(super) const KIND: &str = "raftsman.io/kind";
pub(super) const ATTEMPT: &str = "raftsman.io/attempt";
pub(super) const RESTART: &str = "raftsman.io/restart";
pub(super) const BACKOFF_S: &str = "raftsman.io/backoff-s";
pub(super) const HASH: &str = "raftsman.io/hash";
pub(super) const SANDBOX: &str = "raftsman.io/sandbox";
/// The names that the kubelet used on Docker, which tools for it look for.
pub(super) const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
pub(super) const POD_NAME: &str = "io.kubernetes.pod.name";
pub(super) const POD_UID: &str = "io.kubernetes.pod.uid";
pub(super) const CONTAINER: &str = "io.kubernetes.container.name";

/// Bound on the processes of one container.
const PIDS_MAX: i64 = 4096;
/// Bound on a container's log: this many files of [`LOG_FILE_SIZE`].
const LOG_FILES: &str = "5";
const LOG_FILE_SIZE: &str = "10m";
/// Period of the CPU quota. Units: microseconds.
const CPU_PERIOD_US: i64 = 100_000;

pub(super) fn sandbox_name(config: &SandboxConfig) -> String {
    name("POD", &config.pod, config.attempt)
}

pub(super) fn container_name(config: &ContainerConfig) -> String {
    config.pod.as_ref().map_or_else(|| config.name.clone(), |pod| name(&config.name, pod, config.restart))
}

fn name(container: &str, pod: &PodId, number: u32) -> String {
    format!("k8s_{container}_{}_{}_{}_{number}", pod.name, pod.namespace, pod.uid)
}

fn labels(pod: &PodId, container: &str, kind: &str, node: &str) -> HashMap<String, String> {
    let pairs = [
        (NODE, node),
        (KIND, kind),
        (POD_NAMESPACE, &pod.namespace),
        (POD_NAME, &pod.name),
        (POD_UID, &pod.uid),
        (CONTAINER, container),
    ];
    pairs.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

fn log_config() -> HostConfigLogConfig {
    let options = [("max-file", LOG_FILES), ("max-size", LOG_FILE_SIZE)];
    let config = options.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    HostConfigLogConfig { typ: Some("json-file".to_owned()), config: Some(config) }
}

pub(super) fn sandbox(config: &SandboxConfig, node: &str) -> ContainerCreateBody {
    let mut labels = labels(&config.pod, "POD", "sandbox", node);
    labels.insert(ATTEMPT.to_owned(), config.attempt.to_string());
    let host_config = HostConfig {
        network_mode: Some(config.network.clone()),
        ipc_mode: Some(if config.host_ipc { "host" } else { "shareable" }.to_owned()),
        pid_mode: config.host_pid.then(|| "host".to_owned()),
        sysctls: Some(config.sysctls.iter().cloned().collect()),
        cpu_shares: Some(2),
        log_config: Some(log_config()),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        ..HostConfig::default()
    };
    ContainerCreateBody {
        image: Some(format!("{}:{}", pause::IMAGE_REPOSITORY, pause::IMAGE_TAG)),
        hostname: config.hostname.clone(),
        labels: Some(labels),
        host_config: Some(host_config),
        ..ContainerCreateBody::default()
    }
}

pub(super) fn container(config: &ContainerConfig, node: &str) -> ContainerCreateBody {
    let none = PodId { namespace: String::new(), name: String::new(), uid: String::new() };
    let mut labels = labels(config.pod.as_ref().unwrap_or(&none), &config.name, "container", node);
    labels.extend([
        (RESTART.to_owned(), config.restart.to_string()),
        (BACKOFF_S.to_owned(), config.backoff_s.to_string()),
        (HASH.to_owned(), config.hash.clone()),
        (SANDBOX.to_owned(), config.sandbox.clone()),
    ]);
    ContainerCreateBody {
        image: Some(config.image.clone()),
        entrypoint: config.command.clone(),
        cmd: config.args.clone(),
        env: Some(config.env.iter().map(|(k, v)| format!("{k}={v}")).collect()),
        working_dir: config.working_dir.clone(),
        user: config.security.user.clone(),
        open_stdin: Some(config.stdin),
        stdin_once: Some(config.stdin_once),
        tty: Some(config.tty),
        stop_signal: config.stop_signal.clone(),
        // Kubernetes' probes decide, not the image's.
        healthcheck: Some(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() }),
        labels: Some(labels),
        host_config: Some(host_config(config)),
        ..ContainerCreateBody::default()
    }
}

fn host_config(config: &ContainerConfig) -> HostConfig {
    let (security, resources) = (&config.security, &config.resources);
    let joined = format!("container:{}", config.sandbox);
    let mut security_opt = Vec::new();
    if security.no_new_privileges {
        security_opt.push("no-new-privileges".to_owned());
    }
    if security.seccomp_unconfined {
        security_opt.push("seccomp=unconfined".to_owned());
    }
    let pid_mode = match (config.host_pid, config.share_pid) {
        (true, _) => Some("host".to_owned()),
        (false, true) => Some(joined.clone()),
        (false, false) => None,
    };
    HostConfig {
        network_mode: Some(joined.clone()),
        ipc_mode: Some(joined),
        pid_mode,
        mounts: Some(config.mounts.iter().map(mount).collect()),
        log_config: Some(log_config()),
        pids_limit: Some(PIDS_MAX),
        cpu_shares: Some(resources.cpu_shares),
        cpu_period: (resources.cpu_quota_us > 0).then_some(CPU_PERIOD_US),
        cpu_quota: (resources.cpu_quota_us > 0).then_some(resources.cpu_quota_us),
        memory: (resources.memory_bytes > 0).then_some(resources.memory_bytes),
        memory_swap: (resources.memory_bytes > 0).then_some(resources.memory_bytes),
        oom_score_adj: Some(resources.oom_score),
        privileged: Some(security.privileged),
        cap_add: Some(security.cap_add.clone()),
        cap_drop: Some(security.cap_drop.clone()),
        group_add: Some(security.groups.iter().map(ToString::to_string).collect()),
        readonly_rootfs: Some(security.read_only_root),
        security_opt: Some(security_opt),
        ..HostConfig::default()
    }
}

fn mount(mount: &Mount) -> DockerMount {
    let propagation = match mount.propagation {
        "rshared" => MountBindOptionsPropagationEnum::RSHARED,
        "rslave" => MountBindOptionsPropagationEnum::RSLAVE,
        _ => MountBindOptionsPropagationEnum::RPRIVATE,
    };
    DockerMount {
        typ: Some(MountType::BIND),
        source: Some(mount.source.to_string_lossy().into_owned()),
        target: Some(mount.target.clone()),
        read_only: Some(mount.read_only),
        bind_options: Some(MountBindOptions { propagation: Some(propagation), ..MountBindOptions::default() }),
        ..DockerMount::default()
    }
}

//! From a pod's specification to the configuration of its sandbox and containers.
//!
//! Source: kubelet's `kuberuntime_sandbox.go`, `kuberuntime_container_linux.go`, `security_context.go`, `qos/policy.go`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, PodSecurityContext, SecurityContext};

use super::config::{ContainerConfig, Mount, PodId, Resources, SandboxConfig, Security};
use super::expand::expand;
use super::{quantity, spec};

/// Longest host name. Source: `sethostname(2)`.
const HOSTNAME_MAX: usize = 63;

/// What a container's configuration is made from besides the pod.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// Number of the instance.
    pub restart: u32,
    /// Back-off that the instance carries. Units: seconds.
    pub backoff_s: u32,
    /// The sandbox to join.
    pub sandbox: &'a str,
    /// The environment.
    pub env: BTreeMap<String, String>,
    /// The mounts.
    pub mounts: Vec<Mount>,
    /// The user its image runs as; empty for root.
    pub image_user: &'a str,
    /// Memory of the node. Units: bytes.
    pub node_memory_bytes: i64,
}

/// The pod's identity.
pub fn pod_id(pod: &Pod) -> PodId {
    let meta = &pod.metadata;
    let text = |t: &Option<String>| t.clone().unwrap_or_default();
    PodId { namespace: text(&meta.namespace), name: text(&meta.name), uid: text(&meta.uid) }
}

/// The host name inside the pod.
pub fn hostname(pod: &Pod) -> String {
    let name = spec::of(pod).hostname.as_deref().or(pod.metadata.name.as_deref()).unwrap_or_default();
    let cut = name.char_indices().nth(HOSTNAME_MAX).map_or(name.len(), |(at, _)| at);
    name[..cut].trim_end_matches(['-', '.']).to_owned()
}

/// The sandbox to make for a pod; `network` is the engine's mode for pods with a network of their own.
pub fn sandbox(pod: &Pod, attempt: u32, network: &str) -> SandboxConfig {
    let of = spec::of(pod);
    let host = spec::host_network(pod);
    let sysctls = of.security_context.iter().flat_map(|s| s.sysctls.iter().flatten());
    SandboxConfig {
        pod: pod_id(pod),
        attempt,
        hostname: (!host).then(|| hostname(pod)),
        network: if host { "host" } else { network }.to_owned(),
        host_ipc: of.host_ipc == Some(true),
        host_pid: of.host_pid == Some(true),
        sysctls: sysctls.map(|s| (s.name.clone(), s.value.clone())).collect(),
    }
}

/// The configuration of one instance of a container.
///
/// # Errors
///
/// The message of a `CreateContainerConfigError`: the pod forbids what the container would do.
pub fn container(pod: &Pod, container: &Container, inputs: Inputs<'_>) -> Result<ContainerConfig, String> {
    let of = spec::of(pod);
    let expanded = |texts: &Option<Vec<String>>| {
        let one = |text: &String| expand(text, |name| inputs.env.get(name).map(String::as_str));
        texts.as_ref().filter(|t| !t.is_empty()).map(|texts| texts.iter().map(one).collect())
    };
    let resources = resources(pod, container, inputs.node_memory_bytes);
    Ok(ContainerConfig {
        pod: Some(pod_id(pod)),
        name: container.name.clone(),
        restart: inputs.restart,
        backoff_s: inputs.backoff_s,
        hash: spec::hash(container),
        sandbox: inputs.sandbox.to_owned(),
        image: spec::image(container).to_owned(),
        command: expanded(&container.command),
        args: expanded(&container.args),
        env: inputs.env.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
        working_dir: container.working_dir.clone().filter(|d| !d.is_empty()),
        mounts: inputs.mounts,
        stdin: container.stdin == Some(true),
        stdin_once: container.stdin_once == Some(true),
        tty: container.tty == Some(true),
        stop_signal: container.lifecycle.as_ref().and_then(|l| l.stop_signal.clone()),
        share_pid: of.share_process_namespace == Some(true),
        host_pid: of.host_pid == Some(true),
        security: security(pod, container, inputs.image_user)?,
        resources,
    })
}

fn resources(pod: &Pod, container: &Container, node_memory_bytes: i64) -> Resources {
    let whole = |milli: i128| i64::try_from(milli).unwrap_or(i64::MAX);
    let cpu_request = quantity::request_milli(container, "cpu").map_or(0, whole);
    let cpu_limit = quantity::limit_milli(container, "cpu").map_or(0, whole);
    let memory_request = quantity::request_milli(container, "memory").map_or(0, |m| whole(m / 1000));
    let memory_limit = quantity::limit_milli(container, "memory").map_or(0, |m| whole(m / 1000));
    let oom_score = match quantity::qos_class(pod) {
        // The kubelet's -997 needs a privilege that an engine may lack; 0 still outlives all others.
        "Guaranteed" => 0,
        "BestEffort" => 1000,
        _ => (1000 - memory_request.saturating_mul(1000) / node_memory_bytes.max(1)).clamp(3, 999),
    };
    Resources {
        cpu_shares: (cpu_request.saturating_mul(1024) / 1000).clamp(2, 262_144),
        cpu_quota_us: if cpu_limit > 0 { cpu_limit.saturating_mul(100).max(1000) } else { 0 },
        memory_bytes: memory_limit,
        oom_score,
    }
}

fn security(pod: &Pod, container: &Container, image_user: &str) -> Result<Security, String> {
    let (no_pod, no_own) = (PodSecurityContext::default(), SecurityContext::default());
    let whole = spec::of(pod).security_context.as_ref().unwrap_or(&no_pod);
    let own = container.security_context.as_ref().unwrap_or(&no_own);
    let user = own.run_as_user.or(whole.run_as_user);
    let group = own.run_as_group.or(whole.run_as_group);
    if own.run_as_non_root.or(whole.run_as_non_root) == Some(true) {
        non_root(user, image_user).map_err(|why| {
            let id = pod_id(pod);
            format!("{why} (pod: \"{}_{}({})\", container: {})", id.name, id.namespace, id.uid, container.name)
        })?;
    }
    let image_user = image_user.split(':').next().filter(|u| !u.is_empty()).unwrap_or("0");
    let user = match (user, group) {
        (None, None) => None,
        (Some(user), None) => Some(user.to_string()),
        (Some(user), Some(group)) => Some(format!("{user}:{group}")),
        (None, Some(group)) => Some(format!("{image_user}:{group}")),
    };
    let profile = own.seccomp_profile.as_ref().or(whole.seccomp_profile.as_ref());
    let seccomp = profile.map_or("RuntimeDefault", |p| p.type_.as_str());
    if !matches!(seccomp, "RuntimeDefault" | "Unconfined") {
        return Err(format!("seccomp profile type {seccomp} is not supported by this agent"));
    }
    let capabilities = own.capabilities.clone().unwrap_or_default();
    Ok(Security {
        user,
        groups: whole.supplemental_groups.iter().flatten().copied().chain(whole.fs_group).collect(),
        cap_add: capabilities.add.unwrap_or_default(),
        cap_drop: capabilities.drop.unwrap_or_default(),
        privileged: own.privileged == Some(true),
        read_only_root: own.read_only_root_filesystem == Some(true),
        no_new_privileges: own.allow_privilege_escalation == Some(false),
        seccomp_unconfined: seccomp == "Unconfined",
    })
}

/// Source: kubelet's `verifyRunAsNonRoot`.
fn non_root(user: Option<i64>, image_user: &str) -> Result<(), String> {
    match user {
        Some(0) => return Err("container's runAsUser breaks non-root policy".to_owned()),
        Some(_) => return Ok(()),
        None => {}
    }
    let name = image_user.split(':').next().unwrap_or_default();
    match name.parse::<i64>() {
        Ok(0) => Err("container has runAsNonRoot and image will run as root".to_owned()),
        Ok(_) => Ok(()),
        Err(_) if name.is_empty() => Err("container has runAsNonRoot and image will run as root".to_owned()),
        Err(_) => Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({name}), cannot verify user is non-root"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(pod_spec: serde_json::Value, image_user: &str) -> Result<ContainerConfig, String> {
        let mut spec = pod_spec;
        spec["containers"][0]["name"] = json!("app");
        let pod: Pod =
            serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u"}, "spec": spec}))
                .expect("a pod");
        let inputs = Inputs {
            restart: 0,
            backoff_s: 0,
            sandbox: "s",
            env: [("A".to_owned(), "1".to_owned())].into(),
            mounts: Vec::new(),
            image_user,
            node_memory_bytes: 1 << 30,
        };
        container(&pod, &spec::containers(&pod)[0], inputs)
    }

    #[test]
    fn resources_become_shares_quota_and_scores() {
        for (resources, shares, quota, memory, oom) in [
            (json!({}), 2, 0, 0, 1000),
            (json!({"limits": {"cpu": "500m", "memory": "64Mi"}}), 512, 50_000, 64 << 20, 0),
            (json!({"requests": {"cpu": "1", "memory": "512Mi"}}), 1024, 0, 0, 500),
            (json!({"limits": {"cpu": "1m"}}), 2, 1000, 0, 999),
        ] {
            let got = check(json!({"containers": [{"resources": resources}]}), "").expect("valid").resources;
            let expected = Resources { cpu_shares: shares, cpu_quota_us: quota, memory_bytes: memory, oom_score: oom };
            assert_eq!(got, expected, "{resources}");
        }
    }

    #[test]
    fn users_and_groups_come_from_container_then_pod() {
        let got = check(
            json!({"securityContext": {"runAsUser": 1, "fsGroup": 7, "supplementalGroups": [8]},
                "containers": [{"securityContext": {"runAsGroup": 2, "allowPrivilegeEscalation": false},
                    "command": ["x$(A)"]}]}),
            "",
        )
        .expect("valid");
        assert_eq!(got.security.user.as_deref(), Some("1:2"));
        assert_eq!(got.security.groups, [8, 7]);
        assert!(got.security.no_new_privileges);
        assert_eq!(got.command, Some(vec!["x1".to_owned()]));
    }

    #[test]
    fn root_is_refused_where_it_must_be() {
        let refused = |user, image| {
            check(json!({"securityContext": {"runAsNonRoot": true, "runAsUser": user}, "containers": [{}]}), image)
        };
        let because = |e: &str| format!("{e} (pod: \"p_ns(u)\", container: app)");
        let root = because("container has runAsNonRoot and image will run as root");
        assert_eq!(refused(json!(null), "").expect_err("root"), root);
        assert_eq!(refused(json!(0), "5").expect_err("root"), because("container's runAsUser breaks non-root policy"));
        assert!(refused(json!(null), "nginx").expect_err("unknown").contains("non-numeric user (nginx)"));
        assert!(refused(json!(null), "5:5").is_ok());
    }
}

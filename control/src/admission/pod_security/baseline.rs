//! The checks of the level `baseline`: no known way to more privileges.
//!
//! Source: k8s.io/pod-security-admission `policy/check_*.go`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::policy::Version;
use super::verdict::{Pod, Violation, containers, name, plural, quoted, uses};

/// Looks at a pod by the rules of a version.
type Check = fn(&Pod<'_>, u32) -> Option<Violation>;

/// Id, since which minor version, the check. Sorted by id.
const TABLE: [(&str, u32, Check); 13] = [
    ("appArmorProfile", 0, app_armor),
    ("capabilities_baseline", 0, capabilities),
    ("hostNamespaces", 0, host_namespaces),
    ("hostPathVolumes", 0, host_path),
    ("hostPorts", 0, host_ports),
    ("hostProbesAndHostLifecycle", 34, probe_hosts),
    ("privileged", 0, privileged),
    ("procMount_baseline", 0, proc_mount),
    ("seLinuxOptions", 0, se_linux),
    ("seccompProfile_baseline", 0, seccomp_annotations),
    ("seccompProfile_baseline", 19, seccomp),
    ("sysctls", 0, sysctls),
    ("windowsHostProcess", 0, host_process),
];

/// What a pod breaks, but for checks that stricter ones replace.
pub(super) fn violations(pod: &Pod<'_>, version: Version, replaced: &[&str]) -> Vec<Violation> {
    let minor = version.unwrap_or(u32::MAX);
    let newest = |(id, since, _): &&(&str, u32, Check)| {
        let newer = TABLE.iter().any(|(other, at, _)| other == id && at > since && *at <= minor);
        *since <= minor && !newer && !replaced.contains(id)
    };
    TABLE.iter().filter(newest).filter_map(|(.., check)| check(pod, minor)).collect()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn app_armor(pod: &Pod<'_>, _: u32) -> Option<Violation> {
    let wrong = |context: &Value| {
        let profile = context["appArmorProfile"].as_object()?;
        let kind = profile.get("type").and_then(Value::as_str).unwrap_or_default();
        (!matches!(kind, "RuntimeDefault" | "Localhost")).then(|| kind.to_owned())
    };
    let (mut setters, values) = pod.setters(wrong);
    let allowed = |value: &str| value.is_empty() || value == "runtime/default" || value.starts_with("localhost/");
    let annotations = pod.metadata["annotations"].as_object().into_iter().flatten();
    let mut forbidden: Vec<String> = annotations
        .filter(|(key, _)| key.starts_with("container.apparmor.security.beta.kubernetes.io/"))
        .filter_map(|(key, value)| Some((key, value.as_str()?)).filter(|(_, value)| !allowed(value)))
        .map(|(key, value)| format!("{key}={value:?}"))
        .collect();
    forbidden.sort();
    if !forbidden.is_empty() {
        setters.push(plural(forbidden.len(), "annotation"));
    }
    let values: Vec<String> = values.into_iter().chain(forbidden).collect();
    let reason = plural(values.len(), "forbidden AppArmor profile");
    let detail = format!("{} must not set AppArmor profile type to {}", setters.join(" and "), quoted(&values));
    if setters.is_empty() { None } else { Violation::new(&reason, detail) }
}

fn capabilities(pod: &Pod<'_>, _: u32) -> Option<Violation> {
    const ALLOWED: [&str; 13] = [
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ];
    let mut others = BTreeSet::new();
    let bad = pod.containers().filter(|container| {
        let added = container["securityContext"]["capabilities"]["add"].as_array().into_iter().flatten();
        let new: Vec<&str> = added.filter_map(Value::as_str).filter(|added| !ALLOWED.contains(added)).collect();
        others.extend(new.iter().map(|added| (*added).to_owned()));
        !new.is_empty()
    });
    let bad: Vec<String> = bad.map(name).collect();
    let detail =
        format!("{} must not include {} in securityContext.capabilities.add", containers(&bad)?, quoted(&others));
    Violation::new("non-default capabilities", detail)
}

fn host_namespaces(pod: &Pod<'_>, _: u32) -> Option<Violation> {
    let shared = ["hostNetwork", "hostPID", "hostIPC"].into_iter().filter(|field| pod.spec[field] == true);
    let shared: Vec<String> = shared.map(|field| format!("{field}=true")).collect();
    if shared.is_empty() { None } else { Violation::new("host namespaces", shared.join(", ")) }
}

fn host_path(pod: &Pod<'_>, _: u32) -> Option<Violation> {
    let volumes = pod.spec["volumes"].as_array().into_iter().flatten();
    let paths: Vec<String> = volumes.filter(|volume| volume["hostPath"].is_object()).map(name).collect();
    let detail = format!("{} {}", plural(paths.len(), "volume"), quoted(&paths));
    if paths.is_empty() { None } else { Violation::new("hostPath volumes", detail) }
}

fn host_ports(pod: &Pod<'_>, _: u32) -> Option<Violation> {
    let mut used = BTreeSet::new();
    let bad = pod.containers().filter(|container| {
        let ports = container["ports"].as_array().into_iter().flatten();
        let ports: Vec<i64> = ports.filter_map(|port| port["hostPort"].as_i64()).filter(|port| *port != 0).collect();
        used.extend(ports.iter().map(i64::to_string));
        !ports.is_empty()
    });
    let bad: Vec<String> = bad.map(name).collect();
    let ports = used.iter().cloned().collect::<Vec<_>>().join(", ");
    let detail = format!("{} {} {} {ports}", containers(&bad)?, uses(bad.len()), plural(used.len(), "hostPort"));
    Violation::new("hostPort", detail)
}

fn probe_hosts(pod: &Pod<'_>, _: u32) -> Option<Violation> {
    const HANDLERS: [&str; 5] =
        ["/livenessProbe", "/readinessProbe", "/startupProbe", "/lifecycle/postStart", "/lifecycle/preStop"];
    let (mut hosts, mut bad) = (BTreeSet::new(), BTreeSet::new());
    for container in pod.containers() {
        for handler in HANDLERS.iter().filter_map(|place| container.pointer(place)) {
            let named = ["httpGet", "tcpSocket"].iter().map(|kind| text(&handler[*kind], "host"));
            for host in named.filter(|host| !host.is_empty()) {
                hosts.insert(host.to_owned());
                bad.insert(name(container));
            }
        }
    }
    let bad: Vec<String> = bad.into_iter().collect();
    let what = plural(hosts.len(), "probe or lifecycle host");
    Violation::new(
        "probe or lifecycle host",
        format!("{} {} {what} {}", containers(&bad)?, uses(bad.len()), quoted(&hosts)),
    )
}

fn privileged(pod: &Pod<'_>, _: u32) -> Option<Violation> {
    let bad = pod.named(|container| container["securityContext"]["privileged"] == true);
    Violation::new("privileged", format!("{} must not set securityContext.privileged=true", containers(&bad)?))
}

fn proc_mount(pod: &Pod<'_>, minor: u32) -> Option<Violation> {
    if minor >= 35 && pod.own_users() { None } else { masked(pod) }
}

/// `/proc` must be masked.
pub(super) fn masked(pod: &Pod<'_>) -> Option<Violation> {
    let mount = |container: &Value| container["securityContext"]["procMount"].as_str().map(str::to_owned);
    let unmasked = |container: &Value| mount(container).filter(|mount| mount != "Default");
    let bad = pod.named(|container| unmasked(container).is_some());
    let values: BTreeSet<String> = pod.containers().filter_map(unmasked).collect();
    let detail = format!("{} must not set securityContext.procMount to {}", containers(&bad)?, quoted(&values));
    Violation::new("procMount", detail)
}

fn se_linux(pod: &Pod<'_>, minor: u32) -> Option<Violation> {
    let allowed = |kind: &str| {
        matches!(kind, "" | "container_t" | "container_init_t" | "container_kvm_t")
            || (minor >= 31 && kind == "container_engine_t")
    };
    let (mut types, mut user, mut role) = (BTreeSet::new(), false, false);
    let mut wrong = |context: &Value| {
        let options = &context["seLinuxOptions"];
        let (kind, has_user, has_role) =
            (text(options, "type"), !text(options, "user").is_empty(), !text(options, "role").is_empty());
        if !allowed(kind) {
            types.insert(kind.to_owned());
        }
        (user, role) = (user || has_user, role || has_role);
        !allowed(kind) || has_user || has_role
    };
    let mut setters: Vec<String> = Vec::new();
    if wrong(&pod.spec["securityContext"]) {
        setters.push("pod".to_owned());
    }
    let bad: Vec<String> =
        pod.containers().filter(|container| wrong(&container["securityContext"])).map(name).collect();
    setters.extend(containers(&bad));
    let mut set = Vec::new();
    if !types.is_empty() {
        set.push(format!("{} {}", plural(types.len(), "type"), quoted(&types)));
    }
    set.extend(user.then(|| "user may not be set".to_owned()));
    set.extend(role.then(|| "role may not be set".to_owned()));
    let detail = format!("{} set forbidden securityContext.seLinuxOptions: {}", setters.join(" and "), set.join("; "));
    if setters.is_empty() { None } else { Violation::new("seLinuxOptions", detail) }
}

fn seccomp_annotations(pod: &Pod<'_>, _: u32) -> Option<Violation> {
    let ours = |key: &str| {
        key == "seccomp.security.alpha.kubernetes.io/pod"
            || key.starts_with("container.seccomp.security.alpha.kubernetes.io/")
    };
    let allowed =
        |value: &str| matches!(value, "" | "runtime/default" | "docker/default") || value.starts_with("localhost/");
    let annotations = pod.metadata["annotations"].as_object().into_iter().flatten();
    let mut forbidden: Vec<String> = annotations
        .filter(|(key, _)| ours(key))
        .filter_map(|(key, value)| Some((key, value.as_str()?)).filter(|(_, value)| !allowed(value)))
        .map(|(key, value)| format!("{key}={value:?}"))
        .collect();
    forbidden.sort();
    let detail = format!("forbidden {} {}", plural(forbidden.len(), "annotation"), forbidden.join(", "));
    if forbidden.is_empty() { None } else { Violation::new("seccompProfile", detail) }
}

/// A seccomp profile that is none of those allowed.
pub(super) fn wrong_seccomp(context: &Value) -> Option<String> {
    let profile = context["seccompProfile"].as_object()?;
    let kind = profile.get("type").and_then(Value::as_str).unwrap_or_default();
    (!matches!(kind, "RuntimeDefault" | "Localhost")).then(|| kind.to_owned())
}

fn seccomp(pod: &Pod<'_>, _: u32) -> Option<Violation> {
    let (setters, values) = pod.setters(wrong_seccomp);
    let (setters, values) = (setters.join(" and "), quoted(&values));
    let detail = format!("{setters} must not set securityContext.seccompProfile.type to {values}");
    if setters.is_empty() { None } else { Violation::new("seccompProfile", detail) }
}

fn sysctls(pod: &Pod<'_>, minor: u32) -> Option<Violation> {
    /// Since which minor version each is harmless.
    const ALLOWED: [(&str, u32); 12] = [
        ("kernel.shm_rmid_forced", 0),
        ("net.ipv4.ip_local_port_range", 0),
        ("net.ipv4.tcp_syncookies", 0),
        ("net.ipv4.ping_group_range", 0),
        ("net.ipv4.ip_unprivileged_port_start", 0),
        ("net.ipv4.ip_local_reserved_ports", 27),
        ("net.ipv4.tcp_keepalive_time", 29),
        ("net.ipv4.tcp_fin_timeout", 29),
        ("net.ipv4.tcp_keepalive_intvl", 29),
        ("net.ipv4.tcp_keepalive_probes", 29),
        ("net.ipv4.tcp_rmem", 32),
        ("net.ipv4.tcp_wmem", 32),
    ];
    let set = pod.spec["securityContext"]["sysctls"].as_array().into_iter().flatten().map(name);
    let allowed = |set: &String| ALLOWED.iter().any(|(name, since)| name == set && *since <= minor);
    let forbidden: Vec<String> = set.filter(|set| !allowed(set)).collect();
    if forbidden.is_empty() { None } else { Violation::new("forbidden sysctls", forbidden.join(", ")) }
}

fn host_process(pod: &Pod<'_>, _: u32) -> Option<Violation> {
    let wrong = |context: &Value| (context["windowsOptions"]["hostProcess"] == true).then(String::new);
    let (setters, _) = pod.setters(wrong);
    let detail = format!("{} must not set securityContext.windowsOptions.hostProcess=true", setters.join(" and "));
    if setters.is_empty() { None } else { Violation::new("hostProcess", detail) }
}

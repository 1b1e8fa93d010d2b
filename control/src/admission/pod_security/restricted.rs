//! The checks of the level `restricted`, beyond those of `baseline`: current practice of hardening.
//!
//! Source: k8s.io/pod-security-admission `policy/check_*.go`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::baseline::{masked, wrong_seccomp};
use super::policy::Version;
use super::verdict::{Pod, Violation, containers, name, plural, quoted, uses};

/// Looks at a pod by the rules of a version.
type Check = fn(&Pod<'_>, u32) -> Option<Violation>;

/// Id, since which minor version, the check, the check of the lower level that it replaces. Sorted by id.
const TABLE: [(&str, u32, Check, &str); 7] = [
    ("allowPrivilegeEscalation", 8, escalation, ""),
    ("capabilities_restricted", 22, capabilities, "capabilities_baseline"),
    ("procMount_restricted", 35, proc_mount, "procMount_baseline"),
    ("restrictedVolumes", 0, volumes, "hostPathVolumes"),
    ("runAsNonRoot", 0, non_root, ""),
    ("runAsUser", 23, user, ""),
    ("seccompProfile_restricted", 19, seccomp, "seccompProfile_baseline"),
];

/// The checks of the lower level that are replaced.
pub(super) fn overrides(version: Version) -> Vec<&'static str> {
    let minor = version.unwrap_or(u32::MAX);
    TABLE.iter().filter(|(_, since, ..)| *since <= minor).map(|(.., replaced)| *replaced).collect()
}

/// What a pod breaks.
pub(super) fn violations(pod: &Pod<'_>, version: Version) -> Vec<Violation> {
    let minor = version.unwrap_or(u32::MAX);
    TABLE.iter().filter(|(_, since, ..)| *since <= minor).filter_map(|(_, _, check, _)| check(pod, minor)).collect()
}

/// Fields that mean nothing there are not asked for.
fn exempt(pod: &Pod<'_>, minor: u32) -> bool {
    minor >= 25 && pod.windows()
}

fn escalation(pod: &Pod<'_>, minor: u32) -> Option<Violation> {
    if exempt(pod, minor) {
        return None;
    }
    let bad = pod.named(|container| container["securityContext"]["allowPrivilegeEscalation"] != false);
    let detail = format!("{} must set securityContext.allowPrivilegeEscalation=false", containers(&bad)?);
    Violation::new("allowPrivilegeEscalation != false", detail)
}

fn capabilities(pod: &Pod<'_>, minor: u32) -> Option<Violation> {
    if exempt(pod, minor) {
        return None;
    }
    let list = |container: &Value, what: &str| -> Vec<String> {
        let list = container["securityContext"]["capabilities"][what].as_array().into_iter().flatten();
        list.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let keeping = pod.named(|container| !list(container, "drop").iter().any(|dropped| dropped == "ALL"));
    let added = |container: &Value| {
        let mut added = list(container, "add");
        added.retain(|added| added != "NET_BIND_SERVICE");
        added
    };
    let adding = pod.named(|container| !added(container).is_empty());
    let all: BTreeSet<String> = pod.containers().flat_map(added).collect();
    let keeping = containers(&keeping).map(|who| format!("{who} must set securityContext.capabilities.drop=[\"ALL\"]"));
    let adding = containers(&adding)
        .map(|who| format!("{who} must not include {} in securityContext.capabilities.add", quoted(&all)));
    let details: Vec<String> = keeping.into_iter().chain(adding).collect();
    if details.is_empty() { None } else { Violation::new("unrestricted capabilities", details.join("; ")) }
}

fn proc_mount(pod: &Pod<'_>, _: u32) -> Option<Violation> {
    masked(pod)
}

fn volumes(pod: &Pod<'_>, _: u32) -> Option<Violation> {
    const ALLOWED: [&str; 8] =
        ["configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"];
    let (mut bad, mut types) = (Vec::new(), BTreeSet::new());
    for volume in pod.spec["volumes"].as_array().into_iter().flatten() {
        let fields =
            || volume.as_object().into_iter().flatten().filter(|(field, value)| *field != "name" && !value.is_null());
        if fields().any(|(field, _)| ALLOWED.contains(&field.as_str())) {
            continue;
        }
        bad.push(name(volume));
        types.insert(fields().next().map_or_else(|| "unknown".to_owned(), |(field, _)| field.clone()));
    }
    let (count, what) = (bad.len(), plural(types.len(), "restricted volume type"));
    let detail = format!("{} {} {} {what} {}", plural(count, "volume"), quoted(&bad), uses(count), quoted(&types));
    if bad.is_empty() { None } else { Violation::new("restricted volume types", detail) }
}

fn non_root(pod: &Pod<'_>, _: u32) -> Option<Violation> {
    if pod.own_users() {
        return None;
    }
    let said = |context: &Value| context["runAsNonRoot"].as_bool();
    let (setters, _) = pod.setters(|context| (said(context) == Some(false)).then(String::new));
    if !setters.is_empty() {
        let detail = format!("{} must not set securityContext.runAsNonRoot=false", setters.join(" and "));
        return Violation::new("runAsNonRoot != true", detail);
    }
    let whole = said(&pod.spec["securityContext"]) == Some(true);
    let silent = pod.named(|container| !whole && said(&container["securityContext"]).is_none());
    let detail = format!("pod or {} must set securityContext.runAsNonRoot=true", containers(&silent)?);
    Violation::new("runAsNonRoot != true", detail)
}

fn user(pod: &Pod<'_>, _: u32) -> Option<Violation> {
    if pod.own_users() {
        return None;
    }
    let (setters, _) = pod.setters(|context| (context["runAsUser"] == 0).then(String::new));
    let detail = format!("{} must not set runAsUser=0", setters.join(" and "));
    if setters.is_empty() { None } else { Violation::new("runAsUser=0", detail) }
}

fn seccomp(pod: &Pod<'_>, minor: u32) -> Option<Violation> {
    if exempt(pod, minor) {
        return None;
    }
    let (setters, values) = pod.setters(wrong_seccomp);
    if !setters.is_empty() {
        let (setters, values) = (setters.join(" and "), quoted(&values));
        let detail = format!("{setters} must not set securityContext.seccompProfile.type to {values}");
        return Violation::new("seccompProfile", detail);
    }
    let set = |context: &Value| context["seccompProfile"].is_object();
    let whole = set(&pod.spec["securityContext"]);
    let silent = pod.named(|container| !whole && !set(&container["securityContext"]));
    let detail = format!(
        "pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
        containers(&silent)?
    );
    Violation::new("seccompProfile", detail)
}

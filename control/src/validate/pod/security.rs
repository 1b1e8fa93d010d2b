//! Security contexts of pods and containers.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::validate::field::{Errors, Path};
use crate::validate::names;
use crate::validate::pod::spec::word_if_held;
use crate::validate::pod::{containers, profile, windows};
use crate::validate::read::{flag, held, list, number, text};
use crate::validate::show::{As, SECURITY_CONTEXT};

/// The longest name of a kernel parameter. Units: bytes.
const SYSCTL: usize = 253;
const SYSCTL_FORM: &str = r"^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";

/// The number of a user or group.
pub(super) fn id(object: &Value, field: &str, path: &Path, errors: &mut Errors) {
    if let Some(id) = number(object, field) {
        errors.malformed(&path.child(field), &id, &names::in_range(id, 0, i64::from(i32::MAX)));
    }
}

/// `securityContext` of a pod, with what its spec says beside it.
pub(super) fn of_pod(spec: &Value, path: &Path, errors: &mut Errors) {
    let context = &spec["securityContext"];
    for field in ["fsGroup", "runAsUser", "runAsGroup"] {
        id(context, field, path, errors);
    }
    groups(context, path, errors);
    if flag(spec, "shareProcessNamespace") && flag(spec, "hostPID") {
        let why = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.invalid(&path.child("shareProcessNamespace"), &true, why);
    }
    sysctls(spec, list(context, "sysctls"), &path.child("sysctls"), errors);
    word_if_held(context, "fsGroupChangePolicy", &["Always", "OnRootMismatch"], path, errors);
    profiles(context, path, errors);
    word_if_held(context, "supplementalGroupsPolicy", &["Merge", "Strict"], path, errors);
    word_if_held(context, "seLinuxChangePolicy", &["MountOption", "Recursive"], path, errors);
}

/// `supplementalGroups`
pub(super) fn groups(object: &Value, path: &Path, errors: &mut Errors) {
    for (at, group) in list(object, "supplementalGroups").iter().enumerate() {
        let group = group.as_i64().unwrap_or(0);
        let wrong = names::in_range(group, 0, i64::from(i32::MAX));
        errors.malformed(&path.child("supplementalGroups").index(at), &group, &wrong);
    }
}

fn profiles(context: &Value, path: &Path, errors: &mut Errors) {
    if let Some(profile) = held(context, "seccompProfile") {
        profile::seccomp(profile, &path.child("seccompProfile"), errors);
    }
    if let Some(options) = held(context, "windowsOptions") {
        windows::options(options, &path.child("windowsOptions"), errors);
    }
    if let Some(profile) = held(context, "appArmorProfile") {
        profile::app_armor(profile, &path.child("appArmorProfile"), errors);
    }
}

fn sysctls(spec: &Value, sysctls: &[Value], path: &Path, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (at, sysctl) in sysctls.iter().enumerate() {
        let (path, name) = (path.index(at).child("name"), text(sysctl, "name"));
        let fresh = seen.insert(name);
        if name.is_empty() {
            errors.required(&path, "");
        } else if !is_sysctl(name) {
            let why = format!("must have at most {SYSCTL} characters and match regex {SYSCTL_FORM}");
            errors.invalid(&path, name, &why);
        } else if !fresh {
            errors.duplicate(&path, name);
        }
        match namespace_of(name) {
            Some("hostNetwork") if flag(spec, "hostNetwork") => {
                errors.invalid(&path, name, "may not be specified when 'hostNetwork' is true");
            }
            Some("hostIPC") if flag(spec, "hostIPC") => {
                errors.invalid(&path, name, "may not be specified when 'hostIPC' is true");
            }
            _ => {}
        }
    }
}

fn is_sysctl(name: &str) -> bool {
    let fits = |part: &str| {
        let end = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
        part.starts_with(end)
            && part.ends_with(end)
            && part.chars().all(|letter| end(letter) || matches!(letter, '-' | '_'))
    };
    name.len() <= SYSCTL && name.split(['.', '/']).all(fits)
}

/// Which field shares the namespace of a kernel parameter with the node.
/// Source: k8s.io/component-helpers `node/util/sysctl/namespace.go`.
fn namespace_of(name: &str) -> Option<&'static str> {
    let slashes = name.find(['.', '/']).is_some_and(|at| name[at..].starts_with('/'));
    let name = if slashes { name.replace('/', ".") } else { name.to_owned() };
    if name.starts_with("net.") {
        return Some("hostNetwork");
    }
    let ipc = name == "kernel.sem"
        || ["kernel.shm", "kernel.msg", "fs.mqueue."].iter().any(|prefix| name.starts_with(prefix));
    ipc.then_some("hostIPC")
}

/// Users of its own do not go with namespaces of the node.
pub(super) fn own_users(spec: &Value, path: &Path, errors: &mut Errors) {
    let why = "when `hostUsers` is false";
    // Two are named as Go's fields are.
    for (field, named) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
        if flag(spec, field) {
            errors.forbidden(&path.child(named), why);
        }
    }
    for (_, path) in containers(spec, path).filter(|(container, _)| !list(container, "volumeDevices").is_empty()) {
        errors.forbidden(&path.child("volumeDevices"), why);
    }
}

/// `securityContext` of a container.
pub(super) fn of_container(context: &Value, host_users: bool, path: &Path, errors: &mut Errors) {
    for field in ["runAsUser", "runAsGroup"] {
        id(context, field, path, errors);
    }
    word_if_held(context, "procMount", &["Default", "Unmasked"], path, errors);
    if host_users && text(context, "procMount") == "Unmasked" {
        errors.invalid(&path.child("procMount"), "Unmasked", "`hostUsers` must be false to use `Unmasked`");
    }
    if let Some(profile) = held(context, "seccompProfile") {
        profile::seccomp(profile, &path.child("seccompProfile"), errors);
    }
    if context["allowPrivilegeEscalation"] == false {
        escalates(context, path, errors);
    }
    if let Some(options) = held(context, "windowsOptions") {
        windows::options(options, &path.child("windowsOptions"), errors);
    }
    if let Some(profile) = held(context, "appArmorProfile") {
        profile::app_armor(profile, &path.child("appArmorProfile"), errors);
    }
}

/// What cannot be had without gaining privileges.
fn escalates(context: &Value, path: &Path, errors: &mut Errors) {
    let shown = As(context, &SECURITY_CONTEXT);
    if flag(context, "privileged") {
        let why = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
        errors.invalid(path, &shown, why);
    }
    for _ in list(&context["capabilities"], "add").iter().filter(|capability| *capability == "CAP_SYS_ADMIN") {
        let why = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
        errors.invalid(path, &shown, why);
    }
}

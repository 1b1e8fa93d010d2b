//! Which system a pod is for, and what only Windows has.

use serde_json::Value;

use crate::validate::field::{Errors, Path};
use crate::validate::names;
use crate::validate::pod::containers;
use crate::validate::read::{flag, held, list, text};

/// Units: KiB.
const CREDENTIALS: usize = 64;
/// Units: bytes.
const DOMAIN: usize = 256;
const USER: usize = 104;

const NOT_FOR_WINDOWS: &str = "cannot be set for a windows pod";
/// Of a pod, in Kubernetes' order: whether it lies in its security context, its name.
const OF_LINUX_PODS: [(bool, &str); 15] = [
    (true, "appArmorProfile"),
    (true, "seLinuxOptions"),
    (false, "hostUsers"),
    (false, "hostPID"),
    (false, "hostIPC"),
    (true, "seccompProfile"),
    (true, "fsGroup"),
    (true, "fsGroupChangePolicy"),
    (true, "sysctls"),
    (false, "shareProcessNamespace"),
    (true, "runAsUser"),
    (true, "runAsGroup"),
    (true, "supplementalGroups"),
    (true, "supplementalGroupsPolicy"),
    (true, "seLinuxChangePolicy"),
];
const OF_LINUX_CONTAINERS: [&str; 10] = [
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
];

/// `os`, and what does not go with it.
pub(super) fn system(spec: &Value, path: &Path, errors: &mut Errors) {
    let Some(system) = held(spec, "os") else { return };
    let context = path.child("securityContext");
    match text(system, "name") {
        "" => errors.required(&path.child("os").child("name"), ""),
        "linux" => {
            let why = "windows options cannot be set for a linux pod";
            if held(&spec["securityContext"], "windowsOptions").is_some() {
                errors.forbidden(&context.child("windowsOptions"), why);
            }
            for (container, path) in containers(spec, path) {
                if held(&container["securityContext"], "windowsOptions").is_some() {
                    errors.forbidden(&path.child("securityContext").child("windowsOptions"), why);
                }
            }
        }
        "windows" => without_linux(spec, path, errors),
        other => errors.not_supported(&path.child("os"), other, &["linux", "windows"]),
    }
}

fn without_linux(spec: &Value, path: &Path, errors: &mut Errors) {
    let context = path.child("securityContext");
    for (of_context, field) in OF_LINUX_PODS {
        let (object, path) = if of_context { (&spec["securityContext"], &context) } else { (spec, path) };
        let set = match field {
            "hostPID" | "hostIPC" => flag(object, field),
            "sysctls" => !list(object, field).is_empty(),
            _ => held(object, field).is_some(),
        };
        if set {
            errors.forbidden(&path.child(field), NOT_FOR_WINDOWS);
        }
    }
    for (container, path) in containers(spec, path) {
        for field in OF_LINUX_CONTAINERS {
            if held(&container["securityContext"], field).is_some() {
                errors.forbidden(&path.child("securityContext").child(field), NOT_FOR_WINDOWS);
            }
        }
    }
}

/// Containers that are processes of the node: all of a pod or none.
pub(super) fn host_process(spec: &Value, path: &Path, errors: &mut Errors) {
    let of = |context: &Value| context["windowsOptions"]["hostProcess"].as_bool();
    let whole = of(&spec["securityContext"]);
    let (mut count, mut processes) = (0, 0);
    for (container, path) in containers(spec, path) {
        count += 1;
        let own = of(&container["securityContext"]);
        if let (Some(whole), Some(own)) = (whole, own)
            && whole != own
        {
            let place = path.child("securityContext").child("windowsOptions").child("hostProcess");
            let why = format!("pod hostProcess value must be identical if both are specified, was {whole}");
            errors.invalid(&place, &own, &why);
        }
        processes += u32::from(own.or(whole) == Some(true));
    }
    if processes == 0 {
        return;
    }
    if processes != count {
        let why = "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        errors.invalid(path, "", why);
    }
    if !flag(spec, "hostNetwork") {
        let why = "hostNetwork must be true if pod contains any hostProcess containers";
        errors.invalid(&path.child("hostNetwork"), &false, why);
    }
}

/// `windowsOptions`
pub(super) fn options(options: &Value, path: &Path, errors: &mut Errors) {
    if held(options, "gmsaCredentialSpecName").is_some() {
        let name = text(options, "gmsaCredentialSpecName");
        errors.malformed(&path.child("gmsaCredentialSpecName"), name, &names::dns1123_subdomain(name));
    }
    if held(options, "gmsaCredentialSpec").is_some() {
        let (credentials, path) = (text(options, "gmsaCredentialSpec"), path.child("gmsaCredentialSpec"));
        if credentials.is_empty() {
            errors.invalid(&path, credentials, "gmsaCredentialSpec cannot be an empty string");
        } else if credentials.len() > CREDENTIALS * 1024 {
            errors.invalid(&path, credentials, &format!("gmsaCredentialSpec size must be under {CREDENTIALS} KiB"));
        }
    }
    if held(options, "runAsUserName").is_some() {
        let name = text(options, "runAsUserName");
        for why in user_name(name) {
            errors.invalid(&path.child("runAsUserName"), name, &why);
        }
    }
}

/// What is wrong with `DOMAIN\user`.
fn user_name(name: &str) -> Vec<String> {
    let one = |why: &str| vec![why.to_owned()];
    if name.is_empty() {
        return one("runAsUserName cannot be an empty string");
    }
    if name.bytes().any(|byte| byte.is_ascii_control()) {
        return one("runAsUserName cannot contain control characters");
    }
    let (domain, user) = match name.split('\\').collect::<Vec<_>>().as_slice() {
        [user] => (None, *user),
        [domain, user] => (Some(*domain), *user),
        _ => return one("runAsUserName cannot contain more than one backslash"),
    };
    let mut wrong = Vec::new();
    if domain.is_some_and(|domain| domain.len() >= DOMAIN) {
        wrong.push(format!("runAsUserName's Domain length must be under {DOMAIN} characters"));
    }
    if domain.is_some_and(|domain| !is_net_bios(domain) && !is_domain(domain)) {
        wrong.push("runAsUserName's Domain doesn't match the NetBios nor the DNS format".to_owned());
    }
    if user.is_empty() {
        wrong.push("runAsUserName's User cannot be empty".to_owned());
    } else if user.len() > USER {
        wrong.push(format!("runAsUserName's User length must not be longer than {USER} characters"));
    }
    if !user.is_empty() && user.chars().all(|letter| matches!(letter, '.' | ' ')) {
        wrong.push("runAsUserName's User cannot contain only periods or spaces".to_owned());
    }
    if user.contains(|letter: char| "\"/\\:;|=,+*?<>@[]".contains(letter)) {
        let why = r#"runAsUserName's User cannot contain the following characters: "/\:;|=,+*?<>@[]"#;
        wrong.push(why.to_owned());
    }
    wrong
}

fn is_net_bios(domain: &str) -> bool {
    (1..=15).contains(&domain.chars().count())
        && !domain.starts_with('.')
        && !domain.contains(|letter: char| "\\/:*?\"<>|".contains(letter))
}

fn is_domain(domain: &str) -> bool {
    domain.split('.').all(|label| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    })
}

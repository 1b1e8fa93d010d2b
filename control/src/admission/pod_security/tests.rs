//! Levels and checks.

use serde_json::json;

use super::super::tests::{admin, world, write};
use super::*;

fn leveled(level: Level, version: Option<u32>) -> Leveled {
    Leveled { level, version }
}

fn broken(level: Level, version: Option<u32>, spec: Value) -> String {
    verdict::detailed(&violations(leveled(level, version), &json!({ "metadata": {}, "spec": spec })))
}

/// What `restricted` asks of a pod that says nothing.
const SILENT: &str = "allowPrivilegeEscalation != false (container \"c\" must set securityContext.allowPrivilegeEscalation=false), \
    unrestricted capabilities (container \"c\" must set securityContext.capabilities.drop=[\"ALL\"]), \
    runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true), \
    seccompProfile (pod or container \"c\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")";

#[test]
fn each_check_of_the_lower_level_says_what_is_wrong() {
    let context = |context: Value| json!({ "containers": [{ "name": "c", "securityContext": context }] });
    for (spec, text) in [
        (json!({ "hostPID": true, "hostIPC": true }), "host namespaces (hostPID=true, hostIPC=true)"),
        (
            context(json!({ "privileged": true })),
            "privileged (container \"c\" must not set securityContext.privileged=true)",
        ),
        (
            context(json!({ "capabilities": { "add": ["SYS_TIME", "CHOWN", "NET_ADMIN"] } })),
            "non-default capabilities (container \"c\" must not include \"NET_ADMIN\", \"SYS_TIME\" in securityContext.capabilities.add)",
        ),
        (
            context(json!({ "procMount": "Unmasked" })),
            "procMount (container \"c\" must not set securityContext.procMount to \"Unmasked\")",
        ),
        (
            json!({ "volumes": [{ "name": "a", "hostPath": {} }, { "name": "b", "hostPath": {} }] }),
            "hostPath volumes (volumes \"a\", \"b\")",
        ),
        (
            json!({ "containers": [{ "name": "c", "ports": [{ "hostPort": 80 }, { "hostPort": 443 }] }] }),
            "hostPort (container \"c\" uses hostPorts 443, 80)",
        ),
        (
            json!({ "containers": [{ "name": "c", "lifecycle": { "preStop": { "tcpSocket": { "host": "h" } } } }] }),
            "probe or lifecycle host (container \"c\" uses probe or lifecycle host \"h\")",
        ),
        (
            json!({ "securityContext": { "seLinuxOptions": { "type": "spc_t", "user": "u", "role": "r" } } }),
            "seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type \"spc_t\"; user may not be set; role may not be set)",
        ),
        (
            json!({ "securityContext": { "appArmorProfile": { "type": "Unconfined" } } }),
            "forbidden AppArmor profile (pod must not set AppArmor profile type to \"Unconfined\")",
        ),
        (
            json!({ "securityContext": { "seccompProfile": { "type": "Unconfined" } } }),
            "seccompProfile (pod must not set securityContext.seccompProfile.type to \"Unconfined\")",
        ),
        (
            json!({ "securityContext": { "sysctls": [{ "name": "kernel.msgmax" }] } }),
            "forbidden sysctls (kernel.msgmax)",
        ),
        (
            json!({ "securityContext": { "windowsOptions": { "hostProcess": true } } }),
            "hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)",
        ),
    ] {
        assert_eq!(broken(Level::Baseline, None, spec), text);
    }
}

#[test]
fn the_higher_level_asks_for_more_and_says_it_once() {
    let plain = || json!({ "containers": [{ "name": "c" }] });
    assert_eq!(broken(Level::Restricted, None, plain()), SILENT);
    let mut path = plain();
    path["volumes"] = json!([{ "name": "h", "hostPath": { "path": "/" } }]);
    let text = broken(Level::Restricted, None, path);
    assert!(text.contains("restricted volume types (volume \"h\" uses restricted volume type \"hostPath\")"), "{text}");
    assert!(!text.contains("hostPath volumes"), "{text}");
    let good = json!({ "securityContext": { "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } },
        "containers": [{ "name": "c", "securityContext": { "allowPrivilegeEscalation": false,
            "capabilities": { "drop": ["ALL"], "add": ["NET_BIND_SERVICE"] } } }] });
    assert_eq!(broken(Level::Restricted, None, good), "");
}

#[test]
fn old_versions_know_less() {
    let plain = json!({ "containers": [{ "name": "c" }] });
    let text = broken(Level::Restricted, Some(18), plain);
    assert!(text.starts_with("allowPrivilegeEscalation") && text.ends_with("runAsNonRoot=true)"), "{text}");
    let sysctl = json!({ "securityContext": { "sysctls": [{ "name": "net.ipv4.tcp_rmem" }] } });
    assert_eq!(broken(Level::Baseline, Some(32), sysctl.clone()), "");
    assert_eq!(broken(Level::Baseline, Some(31), sysctl), "forbidden sysctls (net.ipv4.tcp_rmem)");
    let unmasked =
        json!({ "hostUsers": false, "containers": [{ "name": "c", "securityContext": { "procMount": "Unmasked" } }] });
    assert_eq!(broken(Level::Baseline, None, unmasked.clone()), "");
    assert!(broken(Level::Baseline, Some(34), unmasked.clone()).starts_with("procMount"));
    assert!(broken(Level::Restricted, None, unmasked).contains("procMount"));
}

#[test]
fn pods_are_refused_and_their_makers_warned_of() {
    let labels = json!({ "metadata": { "labels": { "pod-security.kubernetes.io/enforce": "restricted" } } });
    let world = world().with("namespaces", "", "ns", labels);
    let spec = json!({ "containers": [{ "name": "c" }] });
    let create =
        |resource: &str, object: Value| write(&world, &admin(), Operation::Create, (resource, "", ""), (None, object));
    let refused = create("pods", json!({ "metadata": { "name": "p" }, "spec": spec })).expect_err("refused");
    assert_eq!(refused, format!("pods \"p\" is forbidden: violates PodSecurity \"restricted:latest\": {SILENT}"));
    let (_, warnings) = create("deployments", json!({ "spec": { "template": { "spec": spec } } })).expect("warned");
    assert_eq!(warnings, [format!("would violate PodSecurity \"restricted:latest\": {SILENT}")]);
    let old = json!({ "metadata": { "name": "p" }, "spec": spec });
    let mut new = old.clone();
    new["spec"]["containers"][0]["image"] = "other".into();
    let update = |new: Value| write(&world, &admin(), Operation::Update, ("pods", "", "p"), (Some(old.clone()), new));
    assert!(update(new.clone()).is_ok(), "a new image breaks nothing new");
    new["spec"]["hostNetwork"] = true.into();
    assert!(update(new).is_err());
}

#[test]
fn a_new_level_names_the_pods_that_break_it() {
    let pod = |spec: Value| json!({ "metadata": {}, "spec": spec });
    let host = json!({ "hostNetwork": true });
    let world = world().with("pods", "ns", "a", pod(host.clone())).with("pods", "ns", "b", pod(host)).with(
        "pods",
        "ns",
        "good",
        pod(json!({})),
    );
    let namespace = |level: &str| json!({ "metadata": { "name": "ns", "labels": { "pod-security.kubernetes.io/enforce": level } } });
    let kind = kind::core("namespaces");
    let update = |old: &Value, new: &Value| {
        let user = admin();
        let request = Request {
            operation: Operation::Update,
            kind,
            subresource: "",
            namespace: "",
            name: "ns",
            old: Some(old),
            user: &user,
            random: [0; 5],
        };
        validate(&request, &world, new).map_err(|status| status.message)
    };
    assert_eq!(
        update(&json!({ "metadata": {} }), &namespace("baseline")),
        Ok(vec![
            "existing pods in namespace \"ns\" violate the new PodSecurity enforce level \"baseline:latest\""
                .to_owned(),
            "a (and 1 other pod): host namespaces".to_owned(),
        ])
    );
    assert_eq!(update(&namespace("restricted"), &namespace("baseline")), Ok(vec![]));
    assert!(update(&namespace("baseline"), &namespace("none")).is_err_and(|why| why.contains("must be one of")));
    assert_eq!(update(&namespace("none"), &namespace("none")), Ok(vec![]));
}

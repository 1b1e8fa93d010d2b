//! PURE: what a client is told about an object that is allowed but no longer wise: HTTP `Warning` headers.
//!
//! Source: k8s.io/kubernetes `pkg/api/{pod,service,persistentvolume,persistentvolumeclaim,storage}/warnings.go` and the
//! `WarningsOnCreate` of strategies.

mod pod;

use serde_json::Value;

use crate::kind::Kind;
use crate::validate::amount::Amount;
use crate::validate::field::Path;
use crate::validate::read::{held, list, text};
use crate::validate::{names, root, service};

/// Node labels that were renamed: the old one, since when, what says it now.
const NODE_LABELS: [(&str, &str, &str); 5] = [
    ("beta.kubernetes.io/arch", "v1.14", "kubernetes.io/arch"),
    ("beta.kubernetes.io/instance-type", "v1.17", "node.kubernetes.io/instance-type"),
    ("beta.kubernetes.io/os", "v1.14", "kubernetes.io/os"),
    ("failure-domain.beta.kubernetes.io/region", "v1.17", "topology.kubernetes.io/region"),
    ("failure-domain.beta.kubernetes.io/zone", "v1.17", "topology.kubernetes.io/zone"),
];
/// Sources of volumes that went out of use.
const SOURCES: [(&str, &str); 6] = [
    ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
];
const BETA_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const BETA_MOUNT_OPTIONS: &str = "volume.beta.kubernetes.io/mount-options";
const MOUNTABLE_SECRETS: &str = "kubernetes.io/enforce-mountable-secrets";

/// What is said with every answer about a kind: that it is going.
pub fn of_kind(kind: &Kind) -> Option<&'static str> {
    ((kind.group, kind.resource) == ("", "endpoints"))
        .then_some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice")
}

/// What is said of a new object.
pub fn create(kind: &Kind, object: &Value) -> Vec<String> {
    let mut said = Vec::new();
    match (kind.group, kind.resource) {
        ("", "pods") => {
            host_name(object, "the Pod's hostname", &mut said);
            pod::check(&object["metadata"], &object["spec"], &root(), false, &mut said);
        }
        ("apps", "deployments" | "replicasets") => {
            host_name(object, "Pod names and hostnames", &mut said);
            template(object, &mut said);
        }
        _ => others(kind, object, &mut said),
    }
    said
}

/// What is said of the next version of an object; `wished`: it wishes for something new.
pub fn update(kind: &Kind, wished: bool, object: &Value) -> Vec<String> {
    let mut said = Vec::new();
    match (kind.group, kind.resource) {
        // Nobody writes them by hand, and much is written.
        ("", "pods") => {}
        ("apps", "deployments" | "replicasets") if wished => template(object, &mut said),
        ("apps", "deployments" | "replicasets") => {}
        _ => others(kind, object, &mut said),
    }
    said
}

fn others(kind: &Kind, object: &Value, said: &mut Vec<String>) {
    let spec = &object["spec"];
    match (kind.group, kind.resource) {
        ("", "services") => said.extend(service::warnings(object)),
        ("", "persistentvolumes") => volume(object, said),
        ("", "persistentvolumeclaims") => {
            beta_class(object, said);
            claim(spec, &root().child("spec"), said);
        }
        ("", "secrets") => certificate(object, said),
        ("", "serviceaccounts") if held(&object["metadata"]["annotations"], MOUNTABLE_SECRETS).is_some() => {
            said.push(format!(
                "metadata.annotations[{MOUNTABLE_SECRETS}]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"
            ));
        }
        ("", "nodes") => {
            if held(spec, "configSource").is_some() {
                said.push("spec.configSource: the feature is no longer supported".to_owned());
            }
            if !text(spec, "externalID").is_empty() {
                said.push("spec.externalID: this field is deprecated, and is unused by Kubernetes".to_owned());
            }
        }
        ("discovery.k8s.io", "endpointslices") if text(object, "addressType") == "FQDN" => {
            said.push("addressType: FQDN endpoints are deprecated".to_owned());
        }
        ("storage.k8s.io", "storageclasses") => {
            for (at, term) in list(object, "allowedTopologies").iter().enumerate() {
                let path = root().child("allowedTopologies").index(at).child("matchLabelExpressions");
                renamed_keys(list(term, "matchLabelExpressions"), &path, said);
            }
        }
        _ => {}
    }
}

fn host_name(object: &Value, used: &str, said: &mut Vec<String>) {
    let wrong = names::dns1123_label(text(&object["metadata"], "name"));
    if !wrong.is_empty() {
        said.push(format!(
            "metadata.name: this is used in {used}, which can result in surprising behavior; a DNS label is recommended: [{}]",
            wrong.join(" ")
        ));
    }
}

fn template(object: &Value, said: &mut Vec<String>) {
    let (template, path) = (&object["spec"]["template"], root().child("spec").child("template"));
    pod::check(&template["metadata"], &template["spec"], &path, true, said);
}

/// Bytes are whole.
fn fractional(value: &Value, place: &Path, said: &mut Vec<String>) {
    if !value.is_null() && !Amount::of(value).is_whole() {
        said.push(format!("{place}: fractional byte value \"{}\" is invalid, must be an integer", Amount::of(value)));
    }
}

fn renamed_keys(requirements: &[Value], path: &Path, said: &mut Vec<String>) {
    for (at, requirement) in requirements.iter().enumerate() {
        if let Some((label, since, now)) = NODE_LABELS.iter().find(|row| row.0 == text(requirement, "key")) {
            let place = path.index(at).child("key");
            said.push(format!("{place}: {label} is deprecated since {since}; use \"{now}\" instead"));
        }
    }
}

fn claim(spec: &Value, path: &Path, said: &mut Vec<String>) {
    for kind in ["requests", "limits"] {
        let place = path.child("resources").child(kind).key("storage");
        fractional(&spec["resources"][kind]["storage"], &place, said);
    }
}

fn beta_class(object: &Value, said: &mut Vec<String>) {
    if held(&object["metadata"]["annotations"], BETA_CLASS).is_some() {
        said.push(format!(
            "metadata.annotations[{BETA_CLASS}]: deprecated since v1.8; use \"storageClassName\" attribute instead"
        ));
    }
}

fn volume(volume: &Value, said: &mut Vec<String>) {
    let (spec, path) = (&volume["spec"], root().child("spec"));
    beta_class(volume, said);
    if held(&volume["metadata"]["annotations"], BETA_MOUNT_OPTIONS).is_some() {
        said.push(format!(
            "metadata.annotations[{BETA_MOUNT_OPTIONS}]: deprecated since v1.31; use \"mountOptions\" attribute instead"
        ));
    }
    if text(spec, "persistentVolumeReclaimPolicy") == "Recycle" {
        said.push(
            "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended \
             approach is to use dynamic provisioning."
                .to_owned(),
        );
    }
    let terms = list(&spec["nodeAffinity"]["required"], "nodeSelectorTerms");
    for (at, term) in terms.iter().enumerate() {
        let place = path.child("nodeAffinity").child("required").child("nodeSelectorTerms").index(at);
        renamed_keys(list(term, "matchExpressions"), &place.child("matchExpressions"), said);
    }
    for (field, why) in SOURCES.iter().filter(|(field, _)| held(spec, field).is_some()) {
        said.push(format!("{}: {why}", path.child(field)));
    }
    fractional(&spec["capacity"]["storage"], &path.child("capacity").key("storage"), said);
}

/// A certificate and a key that cannot be either.
fn certificate(secret: &Value, said: &mut Vec<String>) {
    use base64::Engine;
    if text(secret, "type") != "kubernetes.io/tls" {
        return;
    }
    let is_pem = |key: &str| {
        let bytes = base64::engine::general_purpose::STANDARD.decode(text(&secret["data"], key)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).contains("-----BEGIN ")
    };
    if !is_pem("tls.crt") {
        said.push("tls: failed to find any PEM data in certificate input".to_owned());
    } else if !is_pem("tls.key") {
        said.push("tls: failed to find any PEM data in key input".to_owned());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kind;

    #[test]
    fn templates_are_looked_at_when_they_are_new() {
        let deployments = kind::find("apps", "v1", "deployments").expect("a row");
        let object = json!({ "metadata": { "name": "d" }, "spec": { "template": { "spec": { "topologySpreadConstraints": [{ "topologyKey": "zone" }] } } } });
        let wanted =
            ["spec.template.spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in \
                       matching no pod"];
        assert_eq!(create(deployments, &object), wanted);
        assert_eq!(update(deployments, true, &object), wanted);
        assert!(update(deployments, false, &object).is_empty());
    }

    #[test]
    fn pods_are_looked_at_once() {
        let object = json!({ "metadata": { "name": "a.b" }, "spec": {
            "nodeSelector": { "beta.kubernetes.io/os": "linux" },
            "containers": [{ "resources": { "requests": { "memory": "100m" } }, "env": [{ "name": "A" }, { "name": "A" }] }],
        } });
        let said = create(kind::core("pods"), &object);
        assert_eq!(
            said,
            [
                "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is \
                 recommended: [must not contain dots]",
                "spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead",
                "spec.containers[0].resources.requests[memory]: fractional byte value \"100m\" is invalid, must be an \
                 integer",
                "spec.containers[0].env[1]: hides previous definition of \"A\", which may be dropped when using apply",
            ]
        );
        assert!(update(kind::core("pods"), true, &object).is_empty());
    }

    #[test]
    fn kinds_and_sources_that_go() {
        assert!(of_kind(kind::core("endpoints")).is_some() && of_kind(kind::core("pods")).is_none());
        let volume = json!({ "spec": { "rbd": {}, "persistentVolumeReclaimPolicy": "Recycle" } });
        assert_eq!(create(kind::core("persistentvolumes"), &volume).len(), 2);
        let secret = json!({ "type": "kubernetes.io/tls", "data": { "tls.crt": "" } });
        assert_eq!(create(kind::core("secrets"), &secret), ["tls: failed to find any PEM data in certificate input"]);
    }
}

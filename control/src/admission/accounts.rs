//! ServiceAccount: every pod runs as an account that is there, and finds its token.
//!
//! Source: k8s.io/kubernetes `plugin/pkg/admission/serviceaccount`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Cluster, Operation, Request};
use crate::gateway::select::references;
use crate::kind;
use crate::registry::{names, prepare::meta_str};
use crate::status::Status;

/// The account of pods that name none.
const DEFAULT: &str = "default";
/// Volumes with the token are called so, with a suffix.
const VOLUME: &str = "kube-api-access";
/// Where containers find the token.
const MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// How long the token holds: a little more than an hour, which tells it from one that somebody asked for.
const TOKEN_SECONDS: i64 = 60 * 60 + 7;
/// A pod that a node runs by itself, shown in the API.
const MIRROR: &str = "kubernetes.io/config.mirror";
/// Says on an account that its pods may use no secrets but those it lists.
const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";

fn concerns(request: &Request<'_>) -> bool {
    request.operation == Operation::Create && request.is("", "pods")
}

pub(super) fn admit(request: &Request<'_>, cluster: &dyn Cluster, pod: &mut Value) -> Result<(), Status> {
    if !concerns(request) || is_mirror(pod) {
        return Ok(());
    }
    if !pod["spec"].is_object() {
        pod["spec"] = json!({});
    }
    let named = ["serviceAccountName", "serviceAccount"].map(|field| pod["spec"][field].as_str().unwrap_or_default());
    let name = named.into_iter().find(|name| !name.is_empty()).unwrap_or(DEFAULT).to_owned();
    pod["spec"]["serviceAccountName"] = name.clone().into();
    // The old name of the field, kept equal.
    pod["spec"]["serviceAccount"] = name.into();
    let account = account(request, cluster, pod)?;
    let wanted = |object: &Value| object["automountServiceAccountToken"].as_bool();
    if wanted(&pod["spec"]).or(wanted(&account)).unwrap_or(true) {
        mount(&mut pod["spec"], request.random);
    }
    if pod["spec"]["imagePullSecrets"].as_array().is_none_or(Vec::is_empty) {
        let secrets = account["imagePullSecrets"].as_array().into_iter().flatten();
        let secrets: Vec<Value> = secrets.map(|secret| json!({ "name": secret["name"] })).collect();
        if !secrets.is_empty() {
            pod["spec"]["imagePullSecrets"] = secrets.into();
        }
    }
    Ok(())
}

pub(super) fn validate(request: &Request<'_>, cluster: &dyn Cluster, pod: &Value) -> Result<Vec<String>, Status> {
    if !concerns(request) {
        return Ok(Vec::new());
    }
    if is_mirror(pod) {
        return mirror(request, pod).map(|()| Vec::new());
    }
    let account = account(request, cluster, pod)?;
    if account["metadata"]["annotations"][ENFORCE] == "true" {
        limit(request, &account, pod)?;
    }
    Ok(Vec::new())
}

fn is_mirror(pod: &Value) -> bool {
    pod["metadata"]["annotations"].get(MIRROR).is_some()
}

fn account(request: &Request<'_>, cluster: &dyn Cluster, pod: &Value) -> Result<Value, Status> {
    let (namespace, name) = (request.namespace, pod["spec"]["serviceAccountName"].as_str().unwrap_or_default());
    if name.is_empty() {
        let why = format!("no service account specified for pod {namespace}/{}", meta_str(pod, "name"));
        return Err(request.forbid(pod, &why));
    }
    cluster.get(kind::core("serviceaccounts"), namespace, name).ok_or_else(|| {
        let why = format!("error looking up service account {namespace}/{name}: serviceaccount \"{name}\" not found");
        request.forbid(pod, &why)
    })
}

/// Gives every container the volume with the token, unless something else is mounted there.
fn mount(spec: &mut Value, random: [u8; 5]) {
    let held = spec["volumes"].as_array().into_iter().flatten().filter_map(|volume| volume["name"].as_str());
    let held = held.map(str::to_owned).find(|name| name.starts_with(&format!("{VOLUME}-")));
    let name = held.clone().unwrap_or_else(|| names::generate(&format!("{VOLUME}-"), random));
    let mut needed = false;
    for list in ["initContainers", "containers"] {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten();
        for container in containers.filter(|container| container.is_object()) {
            let mounts = container["volumeMounts"].as_array().cloned().unwrap_or_default();
            if mounts.iter().any(|mount| mount["mountPath"] == MOUNT) {
                continue;
            }
            let own = json!({ "name": name, "readOnly": true, "mountPath": MOUNT });
            container["volumeMounts"] = mounts.into_iter().chain([own]).collect();
            needed = true;
        }
    }
    if needed && held.is_none() {
        let volumes = spec["volumes"].as_array().cloned().unwrap_or_default();
        spec["volumes"] = volumes.into_iter().chain([volume(&name)]).collect();
    }
}

fn volume(name: &str) -> Value {
    let namespace = json!({ "apiVersion": "v1", "fieldPath": "metadata.namespace" });
    json!({ "name": name, "projected": { "defaultMode": 0o644, "sources": [
        { "serviceAccountToken": { "expirationSeconds": TOKEN_SECONDS, "path": "token" } },
        { "configMap": { "name": "kube-root-ca.crt", "items": [{ "key": "ca.crt", "path": "ca.crt" }] } },
        { "downwardAPI": { "items": [{ "path": "namespace", "fieldRef": namespace }] } },
    ] } })
}

/// What a node runs by itself has no part in the cluster's secrets.
fn mirror(request: &Request<'_>, pod: &Value) -> Result<(), Status> {
    let account = pod["spec"]["serviceAccountName"].as_str().unwrap_or_default();
    if !account.is_empty() {
        return Err(request.forbid(pod, "a mirror pod may not reference service accounts"));
    }
    if !secrets(request, pod).is_empty() {
        return Err(request.forbid(pod, "a mirror pod may not reference secrets"));
    }
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    let mut sources = volumes.flat_map(|volume| volume["projected"]["sources"].as_array().into_iter().flatten());
    if sources.any(|source| source["serviceAccountToken"].is_object()) {
        return Err(request.forbid(pod, "a mirror pod may not use service account token volume projections"));
    }
    Ok(())
}

/// Names of the secrets that a pod uses.
fn secrets(request: &Request<'_>, pod: &Value) -> BTreeSet<String> {
    let found = references(&pod["spec"], request.namespace).into_iter();
    found.filter(|(resource, ..)| resource == "secrets").map(|(_, _, name)| name).collect()
}

/// Pods of an account that enforces its list use the secrets on it alone.
fn limit(request: &Request<'_>, account: &Value, pod: &Value) -> Result<(), Status> {
    let named = |list: &Value| -> BTreeSet<String> {
        let names = list.as_array().into_iter().flatten().filter_map(|item| item["name"].as_str());
        names.map(str::to_owned).collect()
    };
    let (mountable, pull) = (named(&account["secrets"]), named(&account["imagePullSecrets"]));
    let pulled = named(&pod["spec"]["imagePullSecrets"]);
    let name = meta_str(account, "name");
    if let Some(other) = pulled.difference(&pull).next() {
        let why = format!(
            "imagePullSecrets references Secret \"{other}\" which is not referenced as an imagePullSecret by service account {name}"
        );
        return Err(request.forbid(pod, &why));
    }
    let used = secrets(request, pod);
    if let Some(other) = used.difference(&pulled).find(|used| !mountable.contains(*used)) {
        let why = format!("references Secret \"{other}\" which is not referenced by service account {name}");
        return Err(request.forbid(pod, &why));
    }
    Ok(())
}

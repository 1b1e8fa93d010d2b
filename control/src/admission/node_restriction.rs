//! NodeRestriction: a node changes itself and its pods, and nothing else.
//!
//! Source: k8s.io/kubernetes `plugin/pkg/admission/noderestriction`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Cluster, Operation, Request};
use crate::authz::node::node_of;
use crate::gateway::select::references;
use crate::status::Status;

/// Labels of nodes that nodes may not set themselves.
const RESERVED: &str = "node-restriction.kubernetes.io/";
const MIRROR: &str = "kubernetes.io/config.mirror";

pub(super) fn admit(request: &Request<'_>, _: &dyn Cluster, object: &mut Value) -> Result<(), Status> {
    check(request, object)
}

pub(super) fn validate(request: &Request<'_>, _: &dyn Cluster, object: &Value) -> Result<Vec<String>, Status> {
    check(request, object).map(|()| Vec::new())
}

fn check(request: &Request<'_>, object: &Value) -> Result<(), Status> {
    let Some(node) = node_of(request.user) else { return Ok(()) };
    if node.is_empty() {
        let why = format!("could not determine node from user {:?}", request.user.name);
        return Err(request.forbid(object, &why));
    }
    match (request.kind.group, request.kind.resource) {
        ("", "pods") => pod(request, node, object),
        ("", "nodes") => itself(request, node, object),
        ("coordination.k8s.io", "leases") if request.namespace == "kube-node-lease" => {
            let name = object["metadata"]["name"].as_str().unwrap_or(request.name);
            let why = "can only access node lease with the same name as the requesting node";
            if name == node { Ok(()) } else { Err(request.forbid(object, why)) }
        }
        _ => Ok(()),
    }
}

fn pod(request: &Request<'_>, node: &str, pod: &Value) -> Result<(), Status> {
    let on = |pod: &Value| pod["spec"]["nodeName"].as_str() == Some(node);
    match (request.operation, request.subresource) {
        (Operation::Create, "") => created(request, node, pod),
        (Operation::Delete, "") if !on(pod) => {
            let why = format!("node {node:?} can only delete pods with spec.nodeName set to itself");
            Err(request.forbid(pod, &why))
        }
        (Operation::Delete, "") => Ok(()),
        (Operation::Update, "status") => {
            if !request.old.is_some_and(on) {
                let why = format!("node {node:?} can only update pod status for pods with spec.nodeName set to itself");
                return Err(request.forbid(pod, &why));
            }
            let labels = |pod: &Value| pod["metadata"]["labels"].clone();
            if request.old.map(labels) != Some(labels(pod)) {
                let why = format!("node {node:?} cannot update labels through pod status");
                return Err(request.forbid(pod, &why));
            }
            Ok(())
        }
        (operation, subresource) => {
            let why = format!("unexpected operation {operation:?} of node {node:?} on pods {subresource:?}");
            Err(request.forbid(pod, &why))
        }
    }
}

fn created(request: &Request<'_>, node: &str, pod: &Value) -> Result<(), Status> {
    let refuse = |why: String| Err(request.forbid(pod, &why));
    if pod["metadata"]["annotations"].get(MIRROR).is_none() {
        return refuse(format!("pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"));
    }
    if pod["spec"]["nodeName"].as_str() != Some(node) {
        return refuse(format!("node {node:?} can only create pods with spec.nodeName set to itself"));
    }
    let owners = pod["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
    let own = |owner: &Value| owner["apiVersion"] == "v1" && owner["kind"] == "Node" && owner["name"] == node;
    if owners.len() > 1 || owners.iter().any(|owner| !own(owner) || owner["blockOwnerDeletion"] == true) {
        return refuse(format!("node {node:?} can only create pods with an owner reference set to itself"));
    }
    if pod["spec"]["serviceAccountName"].as_str().is_some_and(|name| !name.is_empty()) {
        return refuse(format!("node {node:?} can not create pods that reference a service account"));
    }
    for (resource, what) in
        [("secrets", "secrets"), ("configmaps", "configmaps"), ("persistentvolumeclaims", "persistentvolumeclaims")]
    {
        if references(&pod["spec"], request.namespace).iter().any(|(held, ..)| held == resource) {
            return refuse(format!("node {node:?} can not create pods that reference {what}"));
        }
    }
    Ok(())
}

fn itself(request: &Request<'_>, node: &str, object: &Value) -> Result<(), Status> {
    let name =
        if request.name.is_empty() { object["metadata"]["name"].as_str().unwrap_or_default() } else { request.name };
    let refuse = |why: String| Err(request.forbid(object, &why));
    if name != node {
        return refuse(format!("node {node:?} is not allowed to modify node {name:?}"));
    }
    if request.operation == Operation::Delete {
        return Ok(());
    }
    let changed = changed_labels(request.old, object);
    if !changed.is_empty() {
        return refuse(format!("node {node:?} is not allowed to modify labels: {}", changed.join(", ")));
    }
    let Some(old) = request.old else { return Ok(()) };
    if old["spec"]["taints"] != object["spec"]["taints"] {
        return refuse(format!("node {node:?} is not allowed to modify taints"));
    }
    // A node that could name an owner could have itself removed by it.
    if old["metadata"]["ownerReferences"] != object["metadata"]["ownerReferences"] {
        return refuse(format!("node {node:?} is not allowed to modify ownerReferences"));
    }
    Ok(())
}

/// Reserved labels that differ.
fn changed_labels(old: Option<&Value>, new: &Value) -> Vec<String> {
    let labels = |object: &Value| -> BTreeMap<String, Value> {
        let all = object["metadata"]["labels"].as_object().into_iter().flatten();
        all.filter(|(key, _)| key.starts_with(RESERVED)).map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    let (old, new) = (old.map(labels).unwrap_or_default(), labels(new));
    let mut changed: Vec<String> =
        old.keys().chain(new.keys()).filter(|key| old.get(*key) != new.get(*key)).cloned().collect();
    changed.sort();
    changed.dedup();
    changed
}

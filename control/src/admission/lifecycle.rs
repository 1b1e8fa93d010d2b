//! NamespaceLifecycle: nothing begins in a namespace that is not there or ends, and some namespaces never end.
//!
//! Source: k8s.io/apiserver `admission/plugin/namespace/lifecycle`.

use serde_json::{Value, json};

use super::{Cluster, Operation, Request};
use crate::kind;
use crate::status::Status;

/// Namespaces that may not be deleted.
const IMMORTAL: [&str; 3] = ["default", "kube-public", "kube-system"];

pub(super) fn admit(request: &Request<'_>, cluster: &dyn Cluster, object: &mut Value) -> Result<(), Status> {
    if request.namespace.is_empty() || !request.kind.namespaced {
        return Ok(());
    }
    let (kind, name) = (kind::core("namespaces"), request.namespace);
    let namespace = cluster.get(kind, "", name).ok_or_else(|| Status::not_found(kind, name))?;
    let ends = !namespace["metadata"]["deletionTimestamp"].is_null() || namespace["status"]["phase"] == "Terminating";
    if request.operation != Operation::Create || !ends {
        return Ok(());
    }
    let why = format!("unable to create new content in namespace {name} because it is being terminated");
    let mut status = request.forbid(object, &why);
    status.details["causes"] = json!([{ "reason": "NamespaceTerminating",
        "message": format!("namespace {name} is being terminated"), "field": "metadata.namespace" }]);
    Err(status)
}

pub(super) fn validate(request: &Request<'_>, _: &dyn Cluster, object: &Value) -> Result<Vec<String>, Status> {
    let deleted = request.operation == Operation::Delete && request.is("", "namespaces");
    if deleted && IMMORTAL.contains(&request.name) {
        return Err(request.forbid(object, "this namespace may not be deleted"));
    }
    Ok(Vec::new())
}

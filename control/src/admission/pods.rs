//! What pods and nodes get by themselves: priorities, tolerations, taints, topology labels; and what must agree with a
//! RuntimeClass.
//!
//! Source: k8s.io/kubernetes `plugin/pkg/admission/{priority,defaulttolerationseconds,nodetaint,runtimeclass,podtopologylabels}`.

use serde_json::{Value, json};

use super::{Cluster, Operation, Request};
use crate::kind;
use crate::registry::prepare::metadata;
use crate::status::Status;

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// How long pods stay on a node that is not ready, unless they say otherwise.
pub(crate) const TOLERATED_SECONDS: i64 = 300;
/// The classes that every cluster has.
const CLASSES: [(&str, i64); 2] = [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];
/// What pods of those classes, and of none, do to others.
const PREEMPTION: &str = "PreemptLowerPriority";
/// Labels of a node that its pods get.
const TOPOLOGY: [&str; 2] = ["topology.kubernetes.io/region", "topology.kubernetes.io/zone"];

/// The fields of a pod's spec, made when absent.
fn spec(pod: &mut Value) -> &mut Value {
    if !pod["spec"].is_object() {
        pod["spec"] = json!({});
    }
    &mut pod["spec"]
}

/// Priority: a number for the class that a pod names.
pub(super) fn prioritize(request: &Request<'_>, _: &dyn Cluster, pod: &mut Value) -> Result<(), Status> {
    if !request.is("", "pods") {
        return Ok(());
    }
    if request.operation == Operation::Update {
        let old = request.old.map(|old| &old["spec"]);
        for field in ["priority", "preemptionPolicy"] {
            let kept = old.and_then(|old| old.get(field)).filter(|_| pod["spec"][field].is_null());
            if let Some(kept) = kept {
                spec(pod)[field] = kept.clone();
            }
        }
        return Ok(());
    }
    let class = pod["spec"]["priorityClassName"].as_str().unwrap_or_default();
    let priority = match CLASSES.iter().find(|(name, _)| *name == class) {
        Some((_, priority)) => *priority,
        None if class.is_empty() => 0,
        None => return Err(request.forbid(pod, &format!("no PriorityClass with name {class} was found"))),
    };
    if let Some(given) = pod["spec"]["priority"].as_i64().filter(|given| *given != priority) {
        let why = format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller \
             computed {priority} from the given PriorityClass name"
        );
        return Err(request.forbid(pod, &why));
    }
    if let Some(given) = pod["spec"]["preemptionPolicy"].as_str().filter(|given| *given != PREEMPTION) {
        let why = format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission \
             controller computed {PREEMPTION} from the given PriorityClass name"
        );
        return Err(request.forbid(pod, &why));
    }
    let spec = spec(pod);
    spec["priority"] = priority.into();
    spec["preemptionPolicy"] = PREEMPTION.into();
    Ok(())
}

/// DefaultTolerationSeconds: nodes may be away for a moment.
pub(super) fn tolerate(request: &Request<'_>, _: &dyn Cluster, pod: &mut Value) -> Result<(), Status> {
    if !request.is("", "pods") || request.operation == Operation::Delete {
        return Ok(());
    }
    let spec = spec(pod);
    let mut all = spec["tolerations"].as_array().cloned().unwrap_or_default();
    for taint in [NOT_READY, UNREACHABLE] {
        let says = |toleration: &Value, field: &str, wanted: &str| {
            let value = toleration[field].as_str().unwrap_or_default();
            value.is_empty() || value == wanted
        };
        let covers = |toleration: &Value| says(toleration, "key", taint) && says(toleration, "effect", "NoExecute");
        if !all.iter().any(covers) {
            all.push(json!({ "key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": TOLERATED_SECONDS }));
        }
    }
    spec["tolerations"] = all.into();
    Ok(())
}

/// TaintNodesByCondition: a new node takes no pods until it has said that it is ready.
pub(super) fn taint(request: &Request<'_>, _: &dyn Cluster, node: &mut Value) -> Result<(), Status> {
    if request.operation != Operation::Create || !request.is("", "nodes") {
        return Ok(());
    }
    let mut taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
    if !taints.iter().any(|taint| taint["key"] == NOT_READY && taint["effect"] == "NoSchedule") {
        taints.push(json!({ "key": NOT_READY, "effect": "NoSchedule" }));
        spec(node)["taints"] = taints.into();
    }
    Ok(())
}

/// RuntimeClass: none is served, so none can be named.
pub(super) fn runtime_class(request: &Request<'_>, _: &dyn Cluster, pod: &mut Value) -> Result<(), Status> {
    if request.operation != Operation::Create || !request.is("", "pods") {
        return Ok(());
    }
    match pod["spec"]["runtimeClassName"].as_str() {
        Some(class) => Err(request.forbid(pod, &format!("pod rejected: RuntimeClass {class:?} not found"))),
        None => Ok(()),
    }
}

/// RuntimeClass: overhead comes from a class alone.
pub(super) fn overhead(request: &Request<'_>, _: &dyn Cluster, pod: &Value) -> Result<Vec<String>, Status> {
    let concerned = request.operation == Operation::Create && request.is("", "pods");
    if concerned && pod["spec"]["overhead"].as_object().is_some_and(|overhead| !overhead.is_empty()) {
        let why = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
        return Err(request.forbid(pod, why));
    }
    Ok(Vec::new())
}

/// PodTopologyLabels: a pod says where it is.
pub(super) fn topology(request: &Request<'_>, cluster: &dyn Cluster, pod: &mut Value) -> Result<(), Status> {
    let pods = (request.kind.group, request.kind.resource) == ("", "pods");
    let bound = match (request.operation, request.subresource) {
        (Operation::Create, "") => true,
        (Operation::Update, "binding") => {
            request.old.is_some_and(|old| old["spec"]["nodeName"].as_str().is_none_or(str::is_empty))
        }
        _ => false,
    };
    let node = pod["spec"]["nodeName"].as_str().filter(|name| pods && bound && !name.is_empty());
    let Some(node) = node.and_then(|name| cluster.get(kind::core("nodes"), "", name)) else { return Ok(()) };
    for label in TOPOLOGY {
        if let Some(value) = node["metadata"]["labels"].get(label) {
            let labels = metadata(pod).entry("labels").or_insert_with(|| json!({}));
            labels[label] = value.clone();
        }
    }
    Ok(())
}

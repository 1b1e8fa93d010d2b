//! PURE: EndpointSlices: what service proxies read. Source: k8s.io/endpointslice `reconciler.go`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::controllers::endpoints::{self, Endpoint, SERVICE_NAME, TRIGGERED, endpoints, target};
use crate::controllers::{Observed, Plan, owner, pod};
use crate::kind::{self, Kind};
use crate::reconcile::world::Item;
use crate::registry::commit::{Change, Part};
use crate::registry::key::Key;

/// Endpoints in a slice at most.
const PER_SLICE: usize = 100;
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslice-controller.k8s.io";

fn kind() -> &'static Kind {
    kind::find("discovery.k8s.io", "v1", "endpointslices").expect("a row of the table")
}

pub(crate) fn plan(observed: &Observed<'_>, key: &Key) -> Plan {
    // Slices of a Service that is gone go with their owner.
    let Some(service) = endpoints::served(observed, key) else { return Plan::default() };
    let mut groups: BTreeMap<String, (Vec<Value>, VecDeque<Value>)> = BTreeMap::new();
    let found = endpoints(observed, service);
    for endpoint in &found {
        let ports = endpoint.ports.clone();
        let group = groups.entry(json!(ports).to_string()).or_insert_with(|| (ports, VecDeque::new()));
        group.1.push_back(described(service, endpoint));
    }
    let since = endpoints::triggered(service, &found);
    if groups.is_empty() {
        groups.insert("[]".to_owned(), (Vec::new(), VecDeque::new()));
    }
    let held: Vec<&Arc<Item>> = observed.world.owned(service.uid()).filter(|item| ours(item)).collect();
    let mut changes = Vec::new();
    for slice in held {
        let ports = slice.value["ports"].as_array().cloned().unwrap_or_default();
        match groups.get_mut(&json!(ports).to_string()) {
            Some((_, wanted)) => changes.extend(refill(service, slice, wanted, since)),
            None => changes.push(Change::Delete(slice.key.clone(), Default::default())),
        }
    }
    let filled = changes.len();
    for (ports, wanted) in groups.values_mut() {
        let reused =
            wanted.is_empty() && observed.world.owned(service.uid()).any(|item| ours(item) && has(item, ports));
        while !wanted.is_empty() || !(reused || changes.len() > filled) {
            let some: Vec<Value> = wanted.drain(..wanted.len().min(PER_SLICE)).collect();
            changes.push(Change::Create { kind: kind(), object: slice(service, ports, some, since) });
        }
    }
    if changes.is_empty() {
        return Plan::default();
    }
    changes.push(Change::Guard(key.clone(), service.revision));
    Plan::of(changes)
}

fn ours(item: &Item) -> bool {
    item.key.kind == kind() && item.value["metadata"]["labels"][MANAGED_BY] == MANAGER && !item.deleting()
}

fn has(slice: &Item, ports: &[Value]) -> bool {
    slice.value["ports"].as_array().map_or(ports.is_empty(), |held| held == ports)
}

/// Keeps what is still wanted where it is, and takes new ones as far as there is room.
fn refill(service: &Item, slice: &Item, wanted: &mut VecDeque<Value>, since: &str) -> Option<Change> {
    let mut endpoints = Vec::new();
    for held in slice.value["endpoints"].as_array().into_iter().flatten() {
        let same = wanted.iter().position(|want| want["addresses"] == held["addresses"]);
        endpoints.extend(same.and_then(|at| wanted.remove(at)));
    }
    let room = PER_SLICE.saturating_sub(endpoints.len()).min(wanted.len());
    endpoints.extend(wanted.drain(..room));
    let mut object = slice.value.clone();
    object["metadata"]["labels"] = labels(service);
    object["endpoints"] = if endpoints.is_empty() { Value::Null } else { endpoints.into() };
    if object == slice.value {
        return None;
    }
    object["metadata"]["annotations"][TRIGGERED] = since.into();
    Some(Change::Update { kind: kind(), part: Part::Main, object })
}

fn labels(service: &Item) -> Value {
    let mut labels = service.value["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    labels.insert(SERVICE_NAME.into(), service.key.name.clone().into());
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    if service.value["spec"]["clusterIP"] == "None" {
        labels.insert("service.kubernetes.io/headless".into(), "".into());
    }
    labels.into()
}

fn slice(service: &Item, ports: &[Value], endpoints: Vec<Value>, since: &str) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {
            "generateName": format!("{}-", service.key.name), "namespace": service.key.namespace,
            "labels": labels(service), "annotations": { TRIGGERED: since }, "ownerReferences": [owner::reference(service)],
        },
        "endpoints": endpoints, "ports": ports,
    })
}

fn described(service: &Item, endpoint: &Endpoint<'_>) -> Value {
    let serving = pod::ready(&endpoint.pod.value);
    let mut made = json!({
        "addresses": [endpoint.address],
        "conditions": { "ready": endpoint.ready, "serving": serving, "terminating": endpoint.pod.deleting() },
        "targetRef": target(endpoint.pod),
    });
    if let Some(node) = endpoint.pod.node() {
        made["nodeName"] = node.into();
    }
    if let Some(name) = endpoints::hostname(service, endpoint.pod) {
        made["hostname"] = name.into();
    }
    made
}

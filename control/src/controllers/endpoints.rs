//! PURE: which pods serve a Service, and the Endpoints object that says so to old clients.
//!
//! Source: k8s.io/kubernetes `pkg/controller/endpoint/endpoints_controller.go`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::controllers::{Observed, Plan, conditions, pod};
use crate::kind::{self, Kind};
use crate::reconcile::world::{Changed, Item, World};
use crate::registry::commit::{Change, Part};
use crate::registry::key::Key;
use crate::selector::Labels;

/// Says on slices and Endpoints which Service they are of.
pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Says who keeps an Endpoints object.
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const MANAGER: &str = "endpoint-controller";

pub(crate) fn wakes(world: &World, changed: &Changed, keys: &mut Vec<Key>) {
    let services = kind::core("services");
    let service = |name: &str| Key { kind: services, namespace: changed.key.namespace.clone(), name: name.to_owned() };
    if changed.is("", "services") {
        keys.push(changed.key.clone());
    } else if changed.is("", "endpoints") {
        keys.push(service(&changed.key.name));
    } else if changed.is("discovery.k8s.io", "endpointslices") {
        let label = |item: &Arc<Item>| Some(service(item.value["metadata"]["labels"][SERVICE_NAME].as_str()?));
        keys.extend(changed.both().filter_map(label));
    } else if changed.is("", "pods") && relevant(changed) {
        let takes = |service: &&Arc<Item>| changed.both().any(|pod| selects(service, &pod.value));
        keys.extend(world.list(services, &changed.key.namespace).filter(takes).map(|item| item.key.clone()));
    }
}

/// Whether a change of a pod can matter to anybody who sends it requests.
fn relevant(changed: &Changed) -> bool {
    let facts = |pod: &Item| {
        let value = &pod.value;
        let meta = &value["metadata"];
        (
            (meta["labels"].clone(), pod.deleting(), value["status"]["podIP"].clone()),
            (pod::ready(value), pod::finished(value), value["spec"]["nodeName"].clone()),
        )
    };
    changed.old.as_deref().map(facts) != changed.new.as_deref().map(facts)
}

/// Whether a Service's selector takes a pod.
pub(crate) fn selects(service: &Item, pod: &Value) -> bool {
    let selector = &service.value["spec"]["selector"];
    let some = selector.as_object().is_some_and(|selector| !selector.is_empty());
    some && Labels::of(&json!({ "matchLabels": selector }))
        .is_some_and(|labels| labels.matches(pod["metadata"]["labels"].as_object()))
}

/// A Service whose endpoints are ours to keep.
pub(crate) fn served<'a>(observed: &Observed<'a>, key: &Key) -> Option<&'a Arc<Item>> {
    let service = observed.world.get(key)?;
    let spec = &service.value["spec"];
    let selective = spec["selector"].as_object().is_some_and(|selector| !selector.is_empty());
    (selective && spec["type"] != "ExternalName" && !service.deleting()).then_some(service)
}

/// A pod that a Service selects, as an endpoint.
pub(crate) struct Endpoint<'a> {
    pub(crate) pod: &'a Arc<Item>,
    pub(crate) address: String,
    pub(crate) ready: bool,
    pub(crate) ports: Vec<Value>,
}

/// The endpoints of a Service, in the order of their pods' names.
pub(crate) fn endpoints<'a>(observed: &Observed<'a>, service: &'a Item) -> Vec<Endpoint<'a>> {
    let anyway = service.value["spec"]["publishNotReadyAddresses"] == true;
    let pods = observed.world.list(kind::core("pods"), &service.key.namespace);
    let endpoint = |pod: &'a Arc<Item>| {
        let address = pod.value["status"]["podIP"].as_str().filter(|address| !address.is_empty())?.to_owned();
        let ready = anyway || (pod::ready(&pod.value) && !pod.deleting());
        Some(Endpoint { pod, address, ready, ports: ports(service, &pod.value) })
    };
    pods.filter(|pod| !pod::finished(&pod.value) && selects(service, &pod.value)).filter_map(endpoint).collect()
}

/// The ports of a Service as a pod serves them: names become numbers; a name that the pod lacks is left out.
fn ports(service: &Item, pod: &Value) -> Vec<Value> {
    let all = service.value["spec"]["ports"].as_array().into_iter().flatten();
    all.filter_map(|port| {
        let protocol = port["protocol"].as_str().unwrap_or("TCP");
        let target = match &port["targetPort"] {
            Value::String(name) => match name.parse::<u64>() {
                Ok(number) => Some(number),
                Err(_) => named_port(pod, name, protocol),
            },
            Value::Number(number) if number.as_u64() != Some(0) => number.as_u64(),
            _ => port["port"].as_u64(),
        };
        let mut made =
            json!({ "name": port["name"].as_str().unwrap_or_default(), "port": target?, "protocol": protocol });
        if !port["appProtocol"].is_null() {
            made["appProtocol"] = port["appProtocol"].clone();
        }
        Some(made)
    })
    .collect()
}

fn named_port(pod: &Value, name: &str, protocol: &str) -> Option<u64> {
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    let ports = containers.flat_map(|container| container["ports"].as_array().into_iter().flatten());
    let mut same = ports.filter(|port| port["name"] == name && port["protocol"].as_str().unwrap_or("TCP") == protocol);
    same.find_map(|port| port["containerPort"].as_u64())
}

/// Says when what an object tells began to be so.
pub(crate) const TRIGGERED: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// Since when a Service's endpoints are what they are: it was made, or a pod became ready or stopped to be
/// (k8s.io/endpointslice `trigger_time_tracker.go`).
pub(crate) fn triggered<'a>(service: &'a Item, endpoints: &[Endpoint<'a>]) -> &'a str {
    let since =
        |endpoint: &Endpoint<'a>| conditions::find(&endpoint.pod.value, "Ready")?["lastTransitionTime"].as_str();
    let made = service.value["metadata"]["creationTimestamp"].as_str();
    endpoints.iter().filter_map(since).chain(made).max().unwrap_or_default()
}

/// The name that a pod has below its Service's.
pub(crate) fn hostname<'a>(service: &Item, pod: &'a Item) -> Option<&'a str> {
    let spec = &pod.value["spec"];
    spec["hostname"].as_str().filter(|name| !name.is_empty() && spec["subdomain"] == service.key.name.as_str())
}

/// How an endpoint names its pod.
pub(crate) fn target(pod: &Item) -> Value {
    json!({ "kind": "Pod", "namespace": pod.key.namespace, "name": pod.key.name, "uid": pod.uid() })
}

pub(crate) fn plan(observed: &Observed<'_>, key: &Key) -> Plan {
    let kind: &'static Kind = kind::core("endpoints");
    let held = observed.world.named(kind, &key.namespace, &key.name);
    let Some(service) = served(observed, key) else {
        let gone = observed.world.get(key).is_none();
        let ours = held.filter(|held| gone && held.value["metadata"]["labels"][MANAGED_BY] == MANAGER);
        let end = |held: &Arc<Item>| Change::Delete(held.key.clone(), Default::default());
        return Plan::of(ours.into_iter().map(end).collect());
    };
    let found = endpoints(observed, service);
    let subsets = subsets(service, &found);
    let mut labels = service.value["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    if service.value["spec"]["clusterIP"] == "None" {
        labels.insert("service.kubernetes.io/headless".into(), "".into());
    }
    let mut object = held.map_or_else(
        || json!({ "apiVersion": "v1", "kind": "Endpoints", "metadata": { "name": key.name, "namespace": key.namespace } }),
        |held| held.value.clone(),
    );
    object["metadata"]["labels"] = labels.into();
    match subsets.is_empty() {
        true => object.as_object_mut().expect("an object").retain(|field, _| field != "subsets"),
        false => object["subsets"] = subsets.into(),
    }
    if held.is_some_and(|held| held.value == object) {
        return Plan::default();
    }
    object["metadata"]["annotations"][TRIGGERED] = triggered(service, &found).into();
    let guard = Change::Guard(key.clone(), service.revision);
    match held {
        Some(_) => Plan::of(vec![Change::Update { kind, part: Part::Main, object }, guard]),
        None => Plan::of(vec![Change::Create { kind, object }, guard]),
    }
}

/// Endpoints with the same ports lie in one subset.
fn subsets(service: &Item, endpoints: &[Endpoint<'_>]) -> Vec<Value> {
    let mut by_ports: BTreeMap<String, (Vec<Value>, [Vec<Value>; 2])> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for endpoint in endpoints.iter().filter(|endpoint| endpoint.ready || !endpoint.pod.deleting()) {
        if !seen.insert(endpoint.address.clone()) {
            continue;
        }
        let mut ports = endpoint.ports.clone();
        for port in &mut ports {
            if port["name"] == "" {
                port.as_object_mut().expect("made above").remove("name");
            }
        }
        let mut address = json!({ "ip": endpoint.address, "targetRef": target(endpoint.pod) });
        if let Some(node) = endpoint.pod.node() {
            address["nodeName"] = node.into();
        }
        if let Some(name) = hostname(service, endpoint.pod) {
            address["hostname"] = name.into();
        }
        let place = by_ports.entry(json!(ports).to_string()).or_insert_with(|| (ports, [Vec::new(), Vec::new()]));
        place.1[usize::from(!endpoint.ready)].push(address);
    }
    let subset = |(ports, [ready, waiting]): (Vec<Value>, [Vec<Value>; 2])| {
        let mut subset = json!({});
        for (field, mut list) in [("addresses", ready), ("notReadyAddresses", waiting), ("ports", ports)] {
            if field != "ports" {
                list.sort_by_cached_key(|address| address["ip"].as_str().unwrap_or_default().to_owned());
            }
            if !list.is_empty() {
                subset[field] = list.into();
            }
        }
        subset
    };
    by_ports.into_values().map(subset).collect()
}

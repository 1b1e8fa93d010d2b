//! The Service `kubernetes`: how pods reach the API. The leader keeps its endpoints: the servers that answer.
//!
//! Source: k8s.io/kubernetes `pkg/controlplane/{controller/kubernetesservice,reconcilers}`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};
use store::api::MemberId;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::cluster::api_address;
use crate::kind::{self, Kind};
use crate::registry::shell::{By, Registry, Target};
use crate::status::Status;

/// Namespace and name of all of it.
const PLACE: (&str, &str) = ("default", "kubernetes");
/// Between looks, and between signs of life.
const LOOK: Duration = Duration::from_secs(2);
/// A server that has been silent for so long is no endpoint.
const SILENT: Duration = Duration::from_secs(6);
/// A sign of life: others may come by the same way.
const SIGN: &[u8] = b"server-alive";

/// The Service, on the first address of its range.
pub(crate) fn service(address: IpAddr, port: u16) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": PLACE.1, "namespace": PLACE.0,
            "labels": { "component": "apiserver", "provider": "kubernetes" } },
        "spec": { "type": "ClusterIP", "clusterIP": address.to_string(), "clusterIPs": [address.to_string()],
            "sessionAffinity": "None", "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
            "ports": [{ "name": "https", "protocol": "TCP", "port": 443, "targetPort": port }] },
    })
}

/// Shows that this server lives, and keeps the endpoints while it leads, until told to stop.
pub(crate) async fn keep(registry: Registry, stop: CancellationToken) {
    let store = registry.store().clone();
    let (mut tick, mut arrived) = (tokio::time::interval(LOOK), store.datagrams());
    let mut heard: BTreeMap<MemberId, Instant> = BTreeMap::new();
    let mut leads: Option<Instant> = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            datagram = arrived.recv() => match datagram {
                Ok((from, bytes)) if bytes.as_ref() == SIGN => {
                    heard.insert(from, Instant::now());
                }
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            },
            _ = tick.tick() => {
                store.broadcast(Bytes::from_static(SIGN));
                leads = store.leadership().borrow().acting.then(|| leads.unwrap_or_else(Instant::now));
                // Who leads for a short time only has not heard everybody yet.
                let Some(since) = leads else { continue };
                heard.retain(|_, at| at.elapsed() < SILENT);
                let lives = |id: MemberId| id == store.id() || heard.contains_key(&id) || since.elapsed() < SILENT;
                let members = store.members();
                let addresses = members.iter().filter(|member| lives(member.id)).map(api_address);
                if let Err(status) = write(&registry, &endpoints(addresses)).await {
                    tracing::warn!(message = status.message, "the API's own endpoints are not kept");
                }
            }
        }
    }
}

/// The addresses that pods can reach, by port.
fn endpoints(addresses: impl Iterator<Item = String>) -> BTreeMap<u16, BTreeSet<IpAddr>> {
    let mut ports: BTreeMap<u16, BTreeSet<IpAddr>> = BTreeMap::new();
    let reached =
        |address: &SocketAddr| address.is_ipv4() && !address.ip().is_loopback() && !address.ip().is_unspecified();
    for address in addresses.filter_map(|address| address.parse::<SocketAddr>().ok()).filter(reached) {
        ports.entry(address.port()).or_default().insert(address.ip());
    }
    ports
}

/// The Endpoints object, and a slice for each port.
fn objects(ports: &BTreeMap<u16, BTreeSet<IpAddr>>) -> Vec<(&'static Kind, Value)> {
    let port = |port: u16| json!([{ "name": "https", "port": port, "protocol": "TCP" }]);
    let subset = |(number, addresses): (&u16, &BTreeSet<IpAddr>)| {
        let addresses: Vec<Value> = addresses.iter().map(|ip| json!({ "ip": ip.to_string() })).collect();
        json!({ "addresses": addresses, "ports": port(*number) })
    };
    let whole = json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": { "name": PLACE.1, "namespace": PLACE.0,
            "labels": { "endpointslice.kubernetes.io/skip-mirror": "true" } },
        "subsets": ports.iter().map(subset).collect::<Vec<_>>(),
    });
    let slices = kind::find("discovery.k8s.io", "v1", "endpointslices").expect("a row of the table");
    let slice = |(at, (number, addresses)): (usize, (&u16, &BTreeSet<IpAddr>))| {
        let name = if at == 0 { PLACE.1.to_owned() } else { format!("{}-{number}", PLACE.1) };
        let endpoint = |ip: &IpAddr| json!({ "addresses": [ip.to_string()], "conditions": { "ready": true } });
        let object = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": { "name": name, "namespace": PLACE.0, "labels": { "kubernetes.io/service-name": PLACE.1 } },
            "endpoints": addresses.iter().map(endpoint).collect::<Vec<_>>(), "ports": port(*number),
        });
        (slices, object)
    };
    std::iter::once((kind::core("endpoints"), whole)).chain(ports.iter().enumerate().map(slice)).collect()
}

async fn write(registry: &Registry, ports: &BTreeMap<u16, BTreeSet<IpAddr>>) -> Result<(), Status> {
    if ports.is_empty() {
        return Ok(());
    }
    for (kind, object) in objects(ports) {
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let target = Target { kind, namespace: PLACE.0, name: &name, subresource: "" };
        let Ok(held) = registry.get(&registry.store().view(), target) else {
            registry.create(target, object, By::manager("kube-apiserver")).await?;
            continue;
        };
        let same = ["subsets", "endpoints", "ports"].iter().all(|field| covers(&held.value[*field], &object[*field]));
        if !same {
            let change = |mut held: Value| {
                for field in ["subsets", "endpoints", "ports"] {
                    if let Some(value) = object.get(field) {
                        held[field] = value.clone();
                    }
                }
                Ok(held)
            };
            registry.modify(target, By::manager("kube-apiserver"), change).await?;
        }
    }
    Ok(())
}

/// Whether what is held says what is wanted; it may say more, which defaults have added.
fn covers(held: &Value, wanted: &Value) -> bool {
    match (held, wanted) {
        (_, Value::Null) => true,
        (Value::Object(held), Value::Object(wanted)) => {
            wanted.iter().all(|(field, wanted)| held.get(field).is_some_and(|held| covers(held, wanted)))
        }
        (Value::Array(held), Value::Array(wanted)) => {
            held.len() == wanted.len() && held.iter().zip(wanted).all(|(held, wanted)| covers(held, wanted))
        }
        (held, wanted) => held == wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_that_pods_can_reach_are_endpoints() {
        let addresses =
            ["10.0.0.2:6443", "10.0.0.1:6443", "10.0.0.3:7443", "127.0.0.1:6443", "[::1]:6443", "a:6443", ""];
        let ports = endpoints(addresses.into_iter().map(str::to_owned));
        let objects = objects(&ports);
        assert_eq!(
            objects[0].1["subsets"][0],
            json!({ "addresses": [{ "ip": "10.0.0.1" }, { "ip": "10.0.0.2" }],
                "ports": [{ "name": "https", "port": 6443, "protocol": "TCP" }] })
        );
        let names: Vec<&Value> = objects.iter().map(|(_, object)| &object["metadata"]["name"]).collect();
        assert_eq!(names, ["kubernetes", "kubernetes", "kubernetes-7443"]);
        let stored = json!({ "addresses": [{ "ip": "10.0.0.1", "more": 1 }] });
        assert!(covers(&stored, &json!({ "addresses": [{ "ip": "10.0.0.1" }] })));
        assert!(
            !covers(&stored, &json!({ "addresses": [] })) && !covers(&stored, &json!({ "addresses": [{ "ip": "x" }] }))
        );
    }
}

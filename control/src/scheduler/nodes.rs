//! PURE: nodes as the scheduler sees them, and what a pod wants of one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use crate::controllers::{pod, volume};
use crate::kind;
use crate::quantity;
use crate::reconcile::world::{Item, World};

/// Amounts by resource, in thousandths.
pub(super) type Amounts = BTreeMap<String, i64>;

/// A node and what runs on it.
pub(super) struct Node {
    pub(super) name: String,
    pub(super) item: Arc<Item>,
    pub(super) allocatable: Amounts,
    pub(super) used: Amounts,
    pub(super) pods: i64,
    /// `protocol/port` and the address it is taken on.
    pub(super) ports: BTreeSet<(String, String)>,
    /// Active pods by the uid of what controls them.
    pub(super) kin: BTreeMap<String, i64>,
    /// Active pods: for topology spread.
    pub(super) active: Vec<Arc<Item>>,
}

/// What a pod takes of its node; it does not change with the pod's status.
#[derive(Debug)]
pub(crate) struct Footprint {
    pub(super) requests: Amounts,
    /// `protocol/port` and the address it is taken on.
    pub(super) ports: BTreeSet<(String, String)>,
    /// The uid of what controls it.
    pub(super) controller: Option<String>,
}

impl Footprint {
    pub(crate) fn of(pod: &Item) -> Footprint {
        Footprint {
            requests: requests(&pod.value),
            ports: host_ports(&pod.value),
            controller: pod.controller().and_then(|owner| owner["uid"].as_str().map(str::to_owned)),
        }
    }
}

/// All nodes, in the order of their names.
pub(super) struct Nodes {
    pub(super) all: Vec<Node>,
    /// Places of nodes that were given a pod, in order.
    pub(super) given: Vec<usize>,
    /// Most active pods of one controller on one node.
    most: BTreeMap<String, i64>,
}

/// A pod that waits for a node.
pub(super) struct Wants<'a> {
    pub(super) pod: &'a Arc<Item>,
    pub(super) footprint: &'a Footprint,
    /// Node affinities of the volumes that it uses.
    pub(super) volumes: Vec<&'a Value>,
    /// A claim that is not there.
    pub(super) missing_claim: Option<String>,
}

impl<'a> Wants<'a> {
    pub(super) fn of(world: &'a World, pod: &'a Arc<Item>) -> Self {
        let claims: Vec<(String, Option<&Arc<Item>>)> = volume::claims_of(&pod.value)
            .map(|name| {
                let claim = world.named(kind::core("persistentvolumeclaims"), &pod.key.namespace, name);
                (name.to_owned(), claim)
            })
            .collect();
        let volume = |claim: &&'a Arc<Item>| {
            world.named(kind::core("persistentvolumes"), "", claim.value["spec"]["volumeName"].as_str()?)
        };
        let held = claims.iter().filter_map(|(_, claim)| *claim).collect::<Vec<_>>();
        Wants {
            pod,
            footprint: pod.footprint(),
            volumes: held
                .iter()
                .filter_map(volume)
                .map(|volume| &volume.value["spec"]["nodeAffinity"]["required"])
                .collect(),
            missing_claim: claims.iter().find(|(_, claim)| claim.is_none()).map(|(name, _)| name.clone()),
        }
    }

    /// Whether a host port that it wants is taken.
    pub(super) fn port_conflict(&self, node: &Node) -> bool {
        let clash = |(port, address): &(String, String)| {
            node.ports
                .iter()
                .any(|(taken, on)| taken == port && (on == address || on == "0.0.0.0" || address == "0.0.0.0"))
        };
        self.footprint.ports.iter().any(clash)
    }
}

/// The larger of all containers together and each init container, and the overhead; init containers that go on running
/// count as containers.
fn requests(pod: &Value) -> Amounts {
    let of = |container: &Value| -> Amounts {
        let asked = container["resources"]["requests"].as_object().into_iter().flatten();
        asked.map(|(name, amount)| (name.clone(), quantity::milli(amount).unwrap_or(0))).collect()
    };
    let list = |field: &str| pod["spec"][field].as_array().cloned().unwrap_or_default();
    let add = |sum: &mut Amounts, more: &Amounts| {
        for (name, amount) in more {
            let held = sum.entry(name.clone()).or_default();
            *held = held.saturating_add(*amount);
        }
    };
    let (mut running, mut most) = (Amounts::new(), Amounts::new());
    for container in list("initContainers") {
        let mut now = running.clone();
        add(&mut now, &of(&container));
        if container["restartPolicy"] == "Always" {
            running.clone_from(&now);
        }
        for (name, amount) in now {
            let held = most.entry(name).or_default();
            *held = (*held).max(amount);
        }
    }
    list("containers").iter().for_each(|container| add(&mut running, &of(container)));
    for (name, amount) in running {
        let held = most.entry(name).or_default();
        *held = (*held).max(amount);
    }
    add(&mut most, &of(&serde_json::json!({ "resources": { "requests": pod["spec"]["overhead"] } })));
    most
}

fn host_ports(pod: &Value) -> BTreeSet<(String, String)> {
    let own_network = pod["spec"]["hostNetwork"] != true;
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    let ports = containers.flat_map(|container| container["ports"].as_array().into_iter().flatten());
    let taken = ports.filter_map(|port| {
        let given = port["hostPort"].as_u64().filter(|port| *port > 0);
        let number = given.or_else(|| port["containerPort"].as_u64().filter(|_| !own_network))?;
        let protocol = port["protocol"].as_str().unwrap_or("TCP");
        let address = port["hostIP"].as_str().filter(|address| !address.is_empty()).unwrap_or("0.0.0.0");
        Some((format!("{protocol}/{number}"), address.to_owned()))
    });
    taken.collect()
}

impl Nodes {
    pub(super) fn of(world: &World) -> Nodes {
        let all = world.list(kind::core("nodes"), "").map(|item| {
            let amounts = item.value["status"]["allocatable"].as_object().into_iter().flatten();
            let allocatable =
                amounts.map(|(name, amount)| (name.clone(), quantity::milli(amount).unwrap_or(0))).collect();
            let mut node = Node {
                name: item.key.name.clone(),
                item: Arc::clone(item),
                allocatable,
                used: Amounts::new(),
                pods: 0,
                ports: BTreeSet::new(),
                kin: BTreeMap::new(),
                active: Vec::new(),
            };
            for pod in world.pods_on(&item.key.name).filter(|pod| !pod::finished(&pod.value)) {
                node.take(pod);
            }
            node
        });
        let all: Vec<Node> = all.collect();
        let mut most: BTreeMap<String, i64> = BTreeMap::new();
        for (controller, count) in all.iter().flat_map(|node| &node.kin) {
            let held = most.entry(controller.clone()).or_default();
            *held = (*held).max(*count);
        }
        Nodes { all, given: Vec::new(), most }
    }

    /// The most pods of the pod's controller that one node has.
    pub(super) fn most_kin(&self, wants: &Wants<'_>) -> i64 {
        let held = wants.footprint.controller.as_ref().and_then(|controller| self.most.get(controller));
        held.copied().unwrap_or(0)
    }

    /// The pod is as good as there.
    pub(super) fn hold(&mut self, at: usize, wants: &Wants<'_>) {
        self.all[at].take(wants.pod);
        self.given.push(at);
        if let Some(controller) = &wants.footprint.controller {
            let count = self.all[at].kin.get(controller).copied().unwrap_or(0);
            let held = self.most.entry(controller.clone()).or_default();
            *held = (*held).max(count);
        }
    }
}

impl Node {
    pub(super) fn label(&self, key: &str) -> Option<&str> {
        self.item.value["metadata"]["labels"][key].as_str()
    }

    fn take(&mut self, pod: &Arc<Item>) {
        let footprint = pod.footprint();
        for (name, amount) in &footprint.requests {
            match self.used.get_mut(name) {
                Some(held) => *held = held.saturating_add(*amount),
                None => drop(self.used.insert(name.clone(), *amount)),
            }
        }
        self.pods += 1;
        self.ports.extend(footprint.ports.iter().cloned());
        if pod.deleting() {
            return;
        }
        if let Some(controller) = &footprint.controller {
            *self.kin.entry(controller.clone()).or_default() += 1;
        }
        self.active.push(Arc::clone(pod));
    }
}

//! PURE: pods that want the same share what was found out about the nodes: after each placement only the nodes that
//! were given a pod are looked at again.
//!
//! It says what looking at every node would say (the property test below), in a time that does not grow with them.
//! Source of the idea: Kubernetes' KEP-5598.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::nodes::{Nodes, Wants};
use super::{filter, look, score};

/// Wishes as text: equal for pods that every filter and score takes for the same.
type Class = String;

/// What is known of the nodes, by wishes.
#[derive(Default)]
pub(super) struct Rankings(BTreeMap<Class, Ranking>);

/// The nodes that may, by score.
#[derive(Default)]
struct Ranking {
    fitting: BTreeSet<(i64, usize)>,
    /// Of each node that may.
    scores: BTreeMap<usize, i64>,
    /// Up to here of [`Nodes::given`] it is true.
    seen: usize,
    /// Scores of all nodes depend on it.
    most: i64,
    /// Why none of them may, as of a place of [`Nodes::given`].
    refused: Option<(usize, String)>,
}

/// Pods whose place depends on more than one node at a time, or on volumes, are looked at one by one.
fn class(wants: &Wants<'_>) -> Option<Class> {
    let spec = &wants.pod.value["spec"];
    let alone = spec["topologySpreadConstraints"].as_array().is_some_and(|all| !all.is_empty())
        || !wants.volumes.is_empty()
        || wants.missing_claim.is_some();
    let wishes: Vec<&Value> = ["nodeSelector", "affinity", "tolerations"].iter().map(|field| &spec[*field]).collect();
    let footprint = wants.footprint;
    let class = json!([footprint.requests, footprint.ports, footprint.controller, wishes]);
    (!alone).then(|| class.to_string())
}

impl Rankings {
    /// The best node for a pod, or how many nodes said no, and why.
    pub(super) fn best(&mut self, nodes: &Nodes, wants: &Wants<'_>) -> Result<usize, String> {
        let Some(class) = class(wants) else { return look(nodes, wants) };
        let ranking = self.0.entry(class).or_insert_with(|| Ranking::of(nodes, wants));
        let most = nodes.most_kin(wants);
        if ranking.most != most {
            *ranking = Ranking::of(nodes, wants);
        }
        for at in &nodes.given[ranking.seen..] {
            ranking.look(*at, nodes, wants);
        }
        ranking.seen = nodes.given.len();
        if let Some((_, at)) = ranking.fitting.last() {
            return Ok(*at);
        }
        match &ranking.refused {
            Some((seen, why)) if *seen == ranking.seen => Err(why.clone()),
            _ => {
                let found = look(nodes, wants);
                ranking.refused = found.as_ref().err().map(|why| (ranking.seen, why.clone()));
                found
            }
        }
    }
}

impl Ranking {
    fn of(nodes: &Nodes, wants: &Wants<'_>) -> Ranking {
        let mut ranking = Ranking { seen: nodes.given.len(), most: nodes.most_kin(wants), ..Ranking::default() };
        (0..nodes.all.len()).for_each(|at| ranking.look(at, nodes, wants));
        ranking
    }

    fn look(&mut self, at: usize, nodes: &Nodes, wants: &Wants<'_>) {
        if let Some(old) = self.scores.remove(&at) {
            self.fitting.remove(&(old, at));
        }
        let node = &nodes.all[at];
        if filter::check(node, wants).is_ok() {
            let score = score::of(nodes, node, wants);
            self.scores.insert(at, score);
            self.fitting.insert((score, at));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::kind;
    use crate::reconcile::world::{Item, World};
    use crate::registry::key::Key;

    fn item(resource: &str, name: &str, mut value: Value) -> Item {
        let namespace = if resource == "pods" { "ns" } else { "" }.to_owned();
        value["metadata"]["name"] = name.into();
        Item::new(Key { kind: kind::core(resource), namespace, name: name.to_owned() }, value, 1)
    }

    /// A pod of one of a few kinds: small, large, of a controller, choosy, with a port.
    fn pod(number: usize, sort: u8) -> Item {
        let cpu = if sort.is_multiple_of(2) { "300m" } else { "1" };
        let port = if sort == 5 { json!([{ "containerPort": 80, "hostPort": 80 }]) } else { Value::Null };
        let owner = json!([{ "uid": format!("rs-{}", sort / 2), "controller": true }]);
        let owners = if sort < 4 { owner } else { Value::Null };
        let selector = if sort == 6 { json!({ "disk": "ssd" }) } else { Value::Null };
        let containers = json!([{ "name": "c", "ports": port, "resources": { "requests": { "cpu": cpu } } }]);
        let meta = json!({ "labels": { "app": format!("{sort}") }, "ownerReferences": owners });
        let spec = json!({ "containers": containers, "nodeSelector": selector });
        item("pods", &format!("p{number}"), json!({ "metadata": meta, "spec": spec }))
    }

    proptest! {
        #[test]
        fn shared_knowledge_says_what_a_look_at_every_node_says(
            sizes in proptest::collection::vec(1..4_u8, 1..8),
            sorts in proptest::collection::vec(0..7_u8, 1..40),
        ) {
            let mut world = World::default();
            for (at, size) in sizes.iter().enumerate() {
                let labels = if size.is_multiple_of(2) { json!({ "disk": "ssd" }) } else { json!({}) };
                let room = json!({ "cpu": size.to_string(), "memory": "8Gi", "pods": "5" });
                let node = json!({ "metadata": { "labels": labels }, "spec": {}, "status": { "allocatable": room } });
                world.put(item("nodes", &format!("n{at}"), node));
            }
            let (mut nodes, mut rankings) = (Nodes::of(&world), Rankings::default());
            for (number, sort) in sorts.into_iter().enumerate() {
                let pod = Arc::new(pod(number, sort));
                let wants = Wants::of(&world, &pod);
                let slow = look(&nodes, &wants);
                prop_assert_eq!(rankings.best(&nodes, &wants), slow.clone());
                if let Ok(at) = slow {
                    nodes.hold(at, &wants);
                }
            }
        }
    }
}

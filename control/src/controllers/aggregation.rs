//! PURE: cluster roles that are made of others: their rules are those of the roles that their selectors take.
//!
//! Source: k8s.io/kubernetes `pkg/controller/clusterroleaggregation`.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::controllers::{Observed, Plan};
use crate::kind::{self, Kind};
use crate::reconcile::world::{Changed, Item, World};
use crate::registry::commit::{Change, Part};
use crate::registry::key::Key;
use crate::selector::Labels;

fn kind() -> &'static Kind {
    kind::find("rbac.authorization.k8s.io", "v1", "clusterroles").expect("a row of the table")
}

fn selectors(role: &Item) -> impl Iterator<Item = &Value> {
    role.value["aggregationRule"]["clusterRoleSelectors"].as_array().into_iter().flatten()
}

/// Any change of a cluster role can matter to every aggregated one; those are few.
pub(crate) fn wakes(world: &World, changed: &Changed, keys: &mut Vec<Key>) {
    if changed.is("rbac.authorization.k8s.io", "clusterroles") {
        keys.extend(
            world.list(kind(), "").filter(|role| selectors(role).next().is_some()).map(|role| role.key.clone()),
        );
    }
}

pub(crate) fn plan(observed: &Observed<'_>, key: &Key) -> Plan {
    let Some(role) = observed.world.get(key).filter(|role| !role.deleting()) else { return Plan::default() };
    let mut wanted: Vec<&Value> = Vec::new();
    if selectors(role).next().is_none() {
        return Plan::default();
    }
    for selector in selectors(role).filter_map(Labels::of) {
        let taken =
            |other: &&Arc<Item>| other.key != *key && selector.matches(other.value["metadata"]["labels"].as_object());
        for rule in observed.world.list(kind(), "").filter(taken).flat_map(|other| rules(other)) {
            if !wanted.contains(&rule) {
                wanted.push(rule);
            }
        }
    }
    // What is applied says nothing of rules when there are none: those that somebody else wrote stay.
    if wanted.iter().copied().eq(rules(role)) || (wanted.is_empty() && !role.controlled) {
        return Plan::default();
    }
    let mut object = role.value.clone();
    object["rules"] = json!(wanted);
    Plan::of(vec![Change::Update { kind: kind(), part: Part::Main, object }])
}

fn rules(role: &Item) -> impl Iterator<Item = &Value> {
    role.value["rules"].as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::controllers::{Failover, Settings};

    fn role(world: &mut World, name: &str, revision: i64, value: Value) {
        let key = Key { kind: kind(), namespace: String::new(), name: name.to_owned() };
        let mut value = value;
        value["metadata"]["name"] = name.into();
        world.put(Item::new(key, value, revision));
    }

    fn rule(resource: &str) -> Value {
        json!({ "apiGroups": [""], "resources": [resource], "verbs": ["get"] })
    }

    /// The rules that the plan writes; none when it writes nothing.
    fn planned(world: &World) -> Option<Value> {
        let range = |text: &str| text.parse().expect("a range");
        let ranges =
            crate::registry::allocation::Ranges { services: range("10.96.0.0/16"), pods: range("10.244.0.0/16") };
        let settings = Settings { ranges, ca_pem: String::new(), failover: Failover::Fast };
        let now = "2026-01-01T00:00:00Z".parse().expect("a time");
        let observed = Observed { world, now, silent: &|_| None, leading_for: Duration::ZERO, settings: &settings };
        let key = Key { kind: kind(), namespace: String::new(), name: "all".to_owned() };
        match plan(&observed, &key).txns.first()?.changes.first()? {
            Change::Update { object, .. } => Some(object["rules"].clone()),
            _ => None,
        }
    }

    #[test]
    fn rules_are_gathered_once_and_go_with_their_roles() {
        let mut world = World::default();
        let selector = json!([{ "matchLabels": { "to": "all" } }, { "matchLabels": { "too": "all" } }]);
        let aggregated =
            |rules: Value| json!({ "aggregationRule": { "clusterRoleSelectors": selector }, "rules": rules });
        role(&mut world, "all", 1, aggregated(json!(null)));
        let labels = |labels: Value, rules: Value| json!({ "metadata": { "labels": labels }, "rules": rules });
        role(&mut world, "a", 2, labels(json!({ "to": "all", "too": "all" }), json!([rule("pods")])));
        role(&mut world, "b", 3, labels(json!({ "too": "all" }), json!([rule("pods"), rule("nodes")])));
        role(&mut world, "c", 4, labels(json!({ "to": "other" }), json!([rule("secrets")])));
        assert_eq!(planned(&world), Some(json!([rule("pods"), rule("nodes")])));
        role(&mut world, "all", 5, aggregated(json!([rule("pods"), rule("nodes")])));
        assert_eq!(planned(&world), None);
        world.remove(&Key { kind: kind(), namespace: String::new(), name: "b".to_owned() });
        assert_eq!(planned(&world), Some(json!([rule("pods")])));
        world.remove(&Key { kind: kind(), namespace: String::new(), name: "a".to_owned() });
        assert_eq!(planned(&world), None, "rules of another author stay");
        let mut own = aggregated(json!([rule("pods")]));
        own["metadata"] = json!({ "managedFields": [{ "manager": "kube-controller-manager" }] });
        role(&mut world, "all", 6, own);
        assert_eq!(planned(&world), Some(json!([])));
    }
}

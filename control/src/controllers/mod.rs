//! PURE: the controllers. Each is a planner, one file and one row of `TABLE`; `reconcile` runs them all.

mod aggregation;
pub(crate) mod conditions;
mod deployment;
mod endpoints;
pub mod events;
mod garbage;
mod namespace;
mod node_ipam;
mod node_lifecycle;
mod owner;
pub(crate) mod pod;
mod protection;
mod replicaset;
mod rollout;
mod service_account;
mod slices;
pub(crate) mod volume;

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::reconcile::world::{Changed, World};
use crate::registry::allocation::Ranges;
use crate::registry::commit::{Change, Part, Txn};
use crate::registry::key::Key;
use crate::scheduler;

/// The field manager of controllers' writes.
pub(crate) const MANAGER: &str = "kube-controller-manager";

/// What planners are told besides objects.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What pods and Services get addresses from.
    pub ranges: Ranges,
    /// The cluster's authority, as PEM.
    pub ca_pem: String,
    /// When pods of silent nodes are replaced.
    pub failover: Failover,
}

/// When pods of a silent node are replaced that say nothing of it themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Failover {
    /// At once.
    #[default]
    Fast,
    /// After the 300 s that the API, as Kubernetes', writes into every pod.
    Kubernetes,
}

/// All that a planner sees.
pub struct Observed<'a> {
    /// The objects, at one revision.
    pub world: &'a World,
    /// The time.
    pub now: Timestamp,
    /// How long a node's agent has been silent; none: this server never heard it.
    pub silent: &'a dyn Fn(&str) -> Option<Duration>,
    /// Since when this server has led.
    pub leading_for: Duration,
    /// What does not change.
    pub settings: &'a Settings,
}

/// What a planner wants.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Each is all or nothing, independent of the others.
    pub txns: Vec<Txn>,
    /// When to look again though nothing has changed.
    pub wake_in: Option<Duration>,
}

impl Plan {
    /// One transaction.
    pub(crate) fn of(changes: Vec<Change>) -> Plan {
        Plan { txns: vec![Txn { manager: MANAGER, changes }], wake_in: None }
    }

    /// Adds a transaction.
    pub(crate) fn and(mut self, changes: Vec<Change>) -> Plan {
        self.txns.push(Txn { manager: MANAGER, changes });
        self
    }

    /// Looks again after a time, or earlier.
    pub(crate) fn wake(mut self, wait: Option<Duration>) -> Plan {
        self.wake_in = [self.wake_in, wait].into_iter().flatten().min();
        self
    }
}

/// A changed status.
pub(crate) fn status_update(item: &crate::reconcile::world::Item, status: Value) -> Change {
    let mut object = item.value.clone();
    object["status"] = status;
    Change::Update { kind: item.key.kind, part: Part::Status, object }
}

/// A row of the table.
pub struct Controller {
    /// As `--controllers` names it: kube-controller-manager's names.
    pub name: &'static str,
    /// Which keys a change wakes.
    pub wakes: fn(&World, &Changed, &mut Vec<Key>),
    /// Keys planned at the beginning of each leadership, whatever objects there are.
    pub always: fn() -> Vec<Key>,
    /// Decides.
    pub plan: fn(&Observed<'_>, &Key) -> Plan,
}

const fn row(
    name: &'static str,
    wakes: fn(&World, &Changed, &mut Vec<Key>),
    plan: fn(&Observed<'_>, &Key) -> Plan,
) -> Controller {
    Controller { name, wakes, always: Vec::new, plan }
}

/// Every controller: a new one is a file and a row.
pub static TABLE: &[Controller] = &[
    row("clusterrole-aggregation-controller", aggregation::wakes, aggregation::plan),
    row("deployment-controller", deployment::wakes, deployment::plan),
    row("endpoints-controller", endpoints::wakes, endpoints::plan),
    row("endpointslice-controller", endpoints::wakes, slices::plan),
    row("event-ttl-controller", events::wakes, events::expire),
    row("garbage-collector-controller", garbage::wakes, garbage::plan),
    row("namespace-controller", namespace::wakes, namespace::plan),
    row("node-ipam-controller", node_ipam::wakes, node_ipam::plan),
    Controller {
        always: node_lifecycle::always,
        ..row("node-lifecycle-controller", node_lifecycle::wakes, node_lifecycle::plan)
    },
    row("persistentvolume-binder-controller", volume::wakes, volume::plan),
    row("persistentvolume-protection-controller", protection::wakes_volumes, protection::volume),
    row("persistentvolumeclaim-protection-controller", protection::wakes_claims, protection::claim),
    row("pod-garbage-collector-controller", node_lifecycle::wakes_orphans, node_lifecycle::collect),
    row("replicaset-controller", replicaset::wakes, replicaset::plan),
    row("root-ca-certificate-publisher-controller", service_account::wakes, service_account::publish),
    row("scheduler", scheduler::wakes, scheduler::plan),
    row("serviceaccount-controller", service_account::wakes, service_account::plan),
];

/// Which controllers run, as kube-controller-manager's `--controllers` says it: `*`, `name`, `-name`.
#[derive(Clone, Debug)]
pub struct Enabled(Vec<String>);

impl Default for Enabled {
    fn default() -> Self {
        Enabled(vec!["*".to_owned()])
    }
}

impl Enabled {
    /// Reads a list.
    ///
    /// # Errors
    /// When a name is not in the table.
    pub fn new(words: Vec<String>) -> Result<Enabled, String> {
        let known = |word: &&str| *word == "*" || TABLE.iter().any(|row| row.name == *word);
        let plain = |word: &String| word.trim_start_matches('-').to_owned();
        match words.iter().map(plain).find(|word| !known(&word.as_str())) {
            None => Ok(Enabled(words)),
            Some(unknown) => {
                let names: Vec<&str> = TABLE.iter().map(|row| row.name).collect();
                Err(format!("{unknown:?} is no controller; there are: {}", names.join(", ")))
            }
        }
    }

    /// Whether a controller runs.
    pub fn has(&self, name: &str) -> bool {
        let said = |wanted: &str| self.0.iter().any(|word| word == wanted);
        said(name) || (said("*") && !said(&format!("-{name}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted() {
        assert!(TABLE.is_sorted_by(|a, b| a.name < b.name));
    }

    #[test]
    fn controllers_are_chosen_as_kube_controller_manager_does() {
        let enabled = |text: &str| Enabled::new(text.split(',').map(str::to_owned).collect());
        assert!(enabled("*,-scheduler").is_ok_and(|some| some.has("replicaset-controller") && !some.has("scheduler")));
        assert!(enabled("-*").is_ok_and(|some| !some.has("scheduler")));
        assert!(enabled("scheduler").is_ok_and(|some| some.has("scheduler") && !some.has("deployment-controller")));
        assert!(enabled("*,-shceduler").is_err_and(|why| why.contains("there are")));
    }
}

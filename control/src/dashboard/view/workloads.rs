//! PURE: what runs pods, and the services before them.

use askama::Template;
use jiff::Timestamp;
use serde_json::Value;

use super::{Cells, Condition, Link, Listing, State, Tone, condition, conditions, items, number, word};
use crate::dashboard::place::Place;
use crate::kind::{self, Kind};

/// Marks for single pods in a row at most; more are a number only.
const PIPS_MAX: i64 = 24;

/// The table of workloads.
#[derive(Template)]
#[template(path = "dashboard/workloads.html")]
pub struct Workloads {
    /// By kind, namespace and name.
    pub rows: Vec<WorkloadRow>,
    /// How many there are besides.
    pub left: usize,
    /// Whether rows say their namespace.
    pub namespaces: bool,
}

/// A workload.
pub struct WorkloadRow {
    /// Its name and its page.
    pub name: Link,
    /// e.g. `Deployment`.
    pub kind: &'static str,
    /// Its namespace.
    pub namespace: String,
    /// Pods that are ready, of those that are wanted.
    pub ready: String,
    /// A mark for each pod that is wanted: whether it is ready.
    pub pips: Vec<bool>,
    /// How it does.
    pub state: State,
    /// What its containers run.
    pub images: Vec<String>,
    /// Since it was created.
    pub age: String,
}

/// One workload in full.
#[derive(Template)]
#[template(path = "dashboard/workload.html")]
pub struct Workload {
    /// As in the table.
    pub row: WorkloadRow,
    /// Pods that are as its template says.
    pub updated: i64,
    /// Pods that are wanted; none for kinds that count otherwise.
    pub replicas: Option<i64>,
    /// Which pods are its own.
    pub selector: String,
    /// How pods are replaced.
    pub strategy: String,
    /// Conditions.
    pub conditions: Vec<Condition>,
}

/// The table of services.
#[derive(Template)]
#[template(path = "dashboard/services.html")]
pub struct Services {
    /// By namespace and name.
    pub rows: Vec<ServiceRow>,
    /// How many there are besides.
    pub left: usize,
    /// Whether rows say their namespace.
    pub namespaces: bool,
}

/// A service.
pub struct ServiceRow {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// e.g. `NodePort`.
    pub kind: String,
    /// Its address in the cluster.
    pub address: String,
    /// Its ports.
    pub ports: String,
    /// Which pods it leads to.
    pub selector: String,
    /// Since it was created.
    pub age: String,
}

/// Pods that are ready and pods that are wanted.
pub fn counts(kind: &Kind, object: &Value) -> (i64, i64) {
    match kind.resource {
        "daemonsets" => (number(object, "/status/numberReady"), number(object, "/status/desiredNumberScheduled")),
        "jobs" => {
            let wanted = object.pointer("/spec/completions").or(object.pointer("/spec/parallelism"));
            (number(object, "/status/succeeded"), wanted.and_then(Value::as_i64).unwrap_or(1))
        }
        "cronjobs" => {
            let active = i64::try_from(items(object, "/status/active").len()).unwrap_or(i64::MAX);
            (active, active)
        }
        _ => (
            number(object, "/status/readyReplicas"),
            object.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1),
        ),
    }
}

/// How a workload does.
pub fn state(kind: &Kind, object: &Value) -> State {
    if !object["metadata"]["deletionTimestamp"].is_null() {
        return State::new("Deleting", Tone::Busy);
    }
    let observed = number(object, "/status/observedGeneration") >= number(object, "/metadata/generation");
    let (ready, wanted) = counts(kind, object);
    let failed = |kind: &str| condition(object, kind) == "True";
    match kind.resource {
        "jobs" if failed("Failed") => State::new("Failed", Tone::Bad),
        "jobs" if failed("Complete") => State::new("Complete", Tone::Idle),
        "jobs" => State::new("Running", Tone::Busy),
        "cronjobs" if object["spec"]["suspend"] == true => State::new("Suspended", Tone::Idle),
        "cronjobs" => State::new("Scheduled", Tone::Good),
        _ if object["spec"]["paused"] == true => State::new("Paused", Tone::Busy),
        _ if failed("ReplicaFailure") => State::new("Cannot create pods", Tone::Bad),
        _ if condition(object, "Progressing") == "False" => State::new("Stuck", Tone::Bad),
        "deployments" | "statefulsets" if !observed || !updated(object, wanted) => {
            State::new("Rolling out", Tone::Busy)
        }
        _ if ready < wanted => State::new("Starting", Tone::Busy),
        _ if wanted == 0 => State::new("Scaled to zero", Tone::Idle),
        _ => State::new("Running", Tone::Good),
    }
}

/// Whether every pod is as the template says, and no other is left.
fn updated(object: &Value, wanted: i64) -> bool {
    number(object, "/status/updatedReplicas") >= wanted && number(object, "/status/replicas") <= wanted
}

/// Rows of these objects.
pub fn rows(kind: &'static Kind, objects: &[Value], now: Timestamp) -> Vec<WorkloadRow> {
    let cells = Cells::of(kind, objects, now);
    let row = |(at, object): (usize, &Value)| {
        let own = |pointer: &str| word(object, pointer).to_owned();
        let (namespace, name) = (own("/metadata/namespace"), own("/metadata/name"));
        let (ready, wanted) = counts(kind, object);
        let template = if kind.resource == "cronjobs" { "/spec/jobTemplate/spec/template" } else { "/spec/template" };
        let containers = items(object, &format!("{template}/spec/containers"));
        let place = Place::Workload { kind, namespace: namespace.clone(), name: name.clone() };
        WorkloadRow {
            name: Link { text: name, href: place.href() },
            kind: kind.kind,
            namespace,
            ready: format!("{ready}/{wanted}"),
            pips: if wanted <= PIPS_MAX { (0..wanted).map(|pod| pod < ready).collect() } else { Vec::new() },
            state: state(kind, object),
            images: containers.iter().map(|container| word(container, "/image").to_owned()).collect(),
            age: cells.text(at, "Age"),
        }
    };
    objects.iter().enumerate().map(row).collect()
}

/// Whether something else shows it: a ReplicaSet of a Deployment, a Job of a CronJob.
pub fn is_part(object: &Value) -> bool {
    items(object, "/metadata/ownerReferences").iter().any(|owner| owner["controller"] == true)
}

/// One workload; none when it says nothing of itself.
pub fn workload(kind: &'static Kind, object: &Value, now: Timestamp) -> Option<Workload> {
    let row = rows(kind, std::slice::from_ref(object), now).pop()?;
    let scales = kind.subresource("scale").is_some();
    let strategy = [word(object, "/spec/strategy/type"), word(object, "/spec/updateStrategy/type")];
    Some(Workload {
        row,
        updated: number(object, "/status/updatedReplicas"),
        replicas: scales.then(|| counts(kind, object).1),
        selector: crate::selector::printed(&object["spec"]["selector"]),
        strategy: strategy.concat(),
        conditions: conditions(object, &["ReplicaFailure", "Failed"]),
    })
}

/// The table of services.
pub fn services(mut listing: Listing, namespaces: bool, now: Timestamp) -> Services {
    let left = listing.items.len().saturating_sub(super::ROWS_MAX);
    listing.items.truncate(super::ROWS_MAX);
    let cells = Cells::of(kind::core("services"), &listing.items, now);
    let row = |(at, service): (usize, &Value)| ServiceRow {
        name: word(service, "/metadata/name").to_owned(),
        namespace: word(service, "/metadata/namespace").to_owned(),
        kind: cells.text(at, "Type"),
        address: cells.text(at, "Cluster-IP"),
        ports: cells.text(at, "Port(s)"),
        selector: cells.text(at, "Selector"),
        age: cells.text(at, "Age"),
    };
    Services { rows: listing.items.iter().enumerate().map(row).collect(), left, namespaces }
}

//! PURE: nodes: whether they are ready, what they have, what is used of it.

use std::collections::BTreeMap;

use askama::Template;
use jiff::Timestamp;
use serde_json::Value;

use super::figures::{self, Amounts, Bar, Usage};
use super::{Cells, Condition, Link, Listing, State, Tone, condition, conditions, items, word};
use crate::controllers::pod;
use crate::dashboard::place::Place;
use crate::kind;
use crate::quantity;

/// The table of nodes.
#[derive(Template)]
#[template(path = "dashboard/nodes.html")]
pub struct Nodes {
    /// By name.
    pub rows: Vec<NodeRow>,
    /// Rows that are left out.
    pub left: usize,
}

/// A node.
pub struct NodeRow {
    /// Its name and its page.
    pub name: Link,
    /// Ready or not, with or without scheduling.
    pub state: State,
    /// Cores.
    pub cpu: Bar,
    /// Bytes.
    pub memory: Bar,
    /// Pods on it, of those that it takes.
    pub pods: String,
    /// Its address.
    pub address: String,
    /// Of its agent.
    pub version: String,
    /// Since it joined.
    pub age: String,
}

/// One node in full.
#[derive(Template)]
#[template(path = "dashboard/node.html")]
pub struct Node {
    /// As in the table.
    pub row: NodeRow,
    /// Conditions.
    pub conditions: Vec<Condition>,
    /// What its agent says of the machine: label and value.
    pub facts: Vec<(&'static str, String)>,
    /// As `key=value:effect`.
    pub taints: Vec<String>,
}

/// What pods take of each node: their number, and what they ask for.
fn taken(pods: &[Value]) -> BTreeMap<&str, (usize, Amounts)> {
    let mut taken: BTreeMap<&str, (usize, Amounts)> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| !pod::finished(pod)) {
        let (count, amounts) = taken.entry(word(pod, "/spec/nodeName")).or_default();
        *count += 1;
        *amounts = amounts.plus(Amounts::requested(pod));
    }
    taken
}

/// How a node does.
fn state(node: &Value, text: &str) -> State {
    let tone = match condition(node, "Ready") {
        "True" if node["spec"]["unschedulable"] == true => Tone::Busy,
        "True" => Tone::Good,
        _ => Tone::Bad,
    };
    State::new(text.replace(",SchedulingDisabled", ", cordoned"), tone)
}

fn rows(nodes: &[Value], pods: &[Value], usage: &Usage, now: Timestamp) -> Vec<NodeRow> {
    let (cells, taken) = (Cells::of(kind::core("nodes"), nodes, now), taken(pods));
    let row = |(at, node): (usize, &Value)| {
        let name = word(node, "/metadata/name").to_owned();
        let (count, asked) = taken.get(name.as_str()).copied().unwrap_or_default();
        let used = usage.nodes.get(&name);
        let whole = Amounts::parse(&node["status"]["allocatable"]);
        let address = items(node, "/status/addresses").iter().find(|address| address["type"] == "InternalIP");
        NodeRow {
            state: state(node, &cells.text(at, "Status")),
            cpu: Bar::new(used.map(|used| used.cpu), asked.cpu, whole.cpu, figures::cores),
            memory: Bar::new(used.map(|used| used.memory), asked.memory, whole.memory, figures::bytes),
            pods: format!("{count}/{}", quantity::units(&node["status"]["allocatable"]["pods"])),
            address: address.map(|address| word(address, "/address").to_owned()).unwrap_or_default(),
            version: cells.text(at, "Version"),
            age: cells.text(at, "Age"),
            name: Link { href: Place::Node { name: name.clone() }.href(), text: name },
        }
    };
    nodes.iter().enumerate().map(row).collect()
}

/// The table of nodes. `pods`: those of all namespaces, as far as they may be seen.
pub fn nodes(mut listing: Listing, pods: &Listing, usage: &Usage, now: Timestamp) -> Nodes {
    let left = listing.items.len().saturating_sub(super::ROWS_MAX);
    listing.items.truncate(super::ROWS_MAX);
    Nodes { rows: rows(&listing.items, &pods.items, usage, now), left }
}

/// How many nodes are ready, of how many.
pub fn ready(listing: &Listing) -> (usize, usize) {
    let ready = listing.items.iter().filter(|node| condition(node, "Ready") == "True").count();
    (ready, listing.items.len())
}

/// One node; none when it says nothing of itself.
pub fn node(object: &Value, pods: &Listing, usage: &Usage, now: Timestamp) -> Option<Node> {
    let row = rows(std::slice::from_ref(object), &pods.items, usage, now).pop()?;
    let fact = |label, pointer: &str| (label, word(object, pointer).to_owned());
    let facts = [
        fact("System", "/status/nodeInfo/osImage"),
        fact("Kernel", "/status/nodeInfo/kernelVersion"),
        fact("Containers", "/status/nodeInfo/containerRuntimeVersion"),
        fact("Architecture", "/status/nodeInfo/architecture"),
        fact("Pod addresses", "/spec/podCIDR"),
    ];
    let taint = |taint: &Value| {
        let value = word(taint, "/value");
        let value = if value.is_empty() { String::new() } else { format!("={value}") };
        format!("{}{value}:{}", word(taint, "/key"), word(taint, "/effect"))
    };
    Some(Node {
        row,
        conditions: conditions(object, &["NetworkUnavailable"]),
        facts: facts.into_iter().filter(|(_, value)| !value.is_empty()).collect(),
        taints: items(object, "/spec/taints").iter().map(taint).collect(),
    })
}

//! PURE: what nodes, pods and containers use: the newest report of every node, wherever it is connected, and its parts
//! on their way between servers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proto::agent::{ContainerUsage, NodeUsage, UsagePart, UsageReport};
use proto::prometheus::{SANDBOX, sum};

/// A node that reported nothing for so long is not shown.
const STALE: Duration = Duration::from_secs(60);
/// Containers in one part: a part must fit a datagram (64 KiB) with names of any length.
const CONTAINERS_PER_PART: usize = 32;
/// Nodes remembered at most.
const NODES_MAX: usize = 16_384;
/// Parts of one report at most: bounds what a report of another server may take.
const PARTS_MAX: u32 = 256;

/// What something uses now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Units: billionths of a CPU.
    pub cpu_nanocores: u64,
    /// The working set. Units: bytes.
    pub memory_bytes: u64,
    /// Units: bytes.
    pub filesystem_bytes: u64,
    /// Since the start. Units: bytes.
    pub network_receive_bytes: u64,
    /// Since the start. Units: bytes.
    pub network_transmit_bytes: u64,
}

/// One node, as [`super::Gateway::usage`] shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeUsed {
    /// The whole node, not its pods alone.
    pub used: Used,
    /// What there is: `cpu_nanocores`, `memory_bytes` and `filesystem_bytes`.
    pub capacity: Used,
    /// When it was measured. Units: milliseconds since 1970.
    pub time_ms: i64,
    /// Over which the rates were taken. Units: milliseconds.
    pub window_ms: i64,
    /// Containers are simulated, and so are these numbers.
    pub simulated: bool,
    /// Its pods.
    pub pods: Vec<PodUsed>,
}

impl NodeUsed {
    /// One of its pods.
    pub fn pod(&self, uid: &str) -> Option<&PodUsed> {
        self.pods.iter().find(|pod| pod.uid == uid)
    }
}

/// One pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodUsed {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// All its containers together.
    pub used: Used,
    /// Each container by name.
    pub containers: BTreeMap<String, Used>,
}

/// The newest reports.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    held: BTreeMap<String, Held>,
    /// Nodes of own sessions that reported since the parts were taken.
    fresh: std::collections::BTreeSet<String>,
}

#[derive(Debug, Default)]
struct Held {
    whole: Option<(Arc<UsageReport>, Instant)>,
    /// A newer one of which not every part has come.
    next: (i64, BTreeMap<u32, UsageReport>),
}

impl Reports {
    /// A session of this server heard a report.
    pub(crate) fn heard(&mut self, node: &str, report: UsageReport, now: Instant) {
        if self.room(node) {
            self.held.entry(node.to_owned()).or_default().whole = Some((Arc::new(report), now));
            self.fresh.insert(node.to_owned());
        }
    }

    fn room(&self, node: &str) -> bool {
        self.held.len() < NODES_MAX || self.held.contains_key(node)
    }

    /// What the other servers have to be told; of so many parts about, the rest is left for the next time.
    pub(crate) fn parts(&mut self, most: usize) -> Vec<UsagePart> {
        let mut parts = Vec::new();
        while parts.len() < most {
            let Some(node) = self.fresh.pop_first() else { break };
            let whole = self.held.get(&node).and_then(|held| held.whole.as_ref());
            parts.extend(whole.map(|(report, _)| split(&node, report)).unwrap_or_default());
        }
        parts
    }

    /// Another server told a part.
    pub(crate) fn receive(&mut self, part: UsagePart, now: Instant) {
        let Some(report) = part.report else { return };
        if !self.room(&part.node) || part.part >= part.parts || part.parts > PARTS_MAX {
            return;
        }
        let held = self.held.entry(part.node).or_default();
        let known = held.whole.as_ref().map_or(i64::MIN, |(whole, _)| whole.time_ms);
        if report.time_ms <= known || report.time_ms < held.next.0 {
            return;
        }
        if report.time_ms > held.next.0 {
            held.next = (report.time_ms, BTreeMap::new());
        }
        held.next.1.insert(part.part, report);
        if held.next.1.len() == usize::try_from(part.parts).unwrap_or(usize::MAX) {
            let parts = std::mem::take(&mut held.next.1).into_values();
            if let Some(whole) = parts.reduce(joined) {
                held.whole = Some((Arc::new(whole), now));
            }
        }
    }

    /// The newest report of a node, if it is not stale.
    pub(crate) fn of(&self, node: &str, now: Instant) -> Option<Arc<UsageReport>> {
        let (report, at) = self.held.get(node)?.whole.as_ref()?;
        (now.saturating_duration_since(*at) < STALE).then(|| Arc::clone(report))
    }

    /// All that is not stale; what is, is forgotten.
    pub(crate) fn all(&mut self, now: Instant) -> BTreeMap<String, Arc<UsageReport>> {
        self.held
            .retain(|_, held| held.whole.as_ref().is_none_or(|(_, at)| now.saturating_duration_since(*at) < STALE));
        let whole = |(node, held): (&String, &Held)| Some((node.clone(), Arc::clone(&held.whole.as_ref()?.0)));
        self.held.iter().filter_map(whole).collect()
    }
}

fn split(node: &str, report: &UsageReport) -> Vec<UsagePart> {
    let mut chunks: Vec<&[ContainerUsage]> = report.containers.chunks(CONTAINERS_PER_PART).collect();
    if chunks.is_empty() {
        chunks.push(&[]);
    }
    let parts = u32::try_from(chunks.len()).unwrap_or(u32::MAX);
    let part = |(part, containers): (u32, &[ContainerUsage])| {
        // What is said of the node itself is said once.
        let node_usage = if part == 0 { report.node.clone() } else { None };
        let (time_ms, window_ms) = (report.time_ms, report.window_ms);
        let report = UsageReport { time_ms, window_ms, node: node_usage, containers: containers.to_vec() };
        UsagePart { node: node.to_owned(), part, parts, report: Some(report) }
    };
    (0..parts).zip(chunks).map(part).collect()
}

fn joined(mut whole: UsageReport, part: UsageReport) -> UsageReport {
    whole.node = whole.node.or(part.node);
    whole.containers.extend(part.containers);
    whole
}

/// A node's report as people want to see it.
pub(crate) fn shown(report: &UsageReport) -> NodeUsed {
    let none = NodeUsage::default();
    let node = report.node.as_ref().unwrap_or(&none);
    let usage = node.usage.unwrap_or_default();
    let mut used = Used {
        cpu_nanocores: usage.cpu_nanocores,
        memory_bytes: usage.memory_working_set_bytes,
        filesystem_bytes: usage.filesystem_used_bytes,
        ..Used::default()
    };
    for interface in &node.interfaces {
        used.network_receive_bytes = used.network_receive_bytes.saturating_add(interface.receive_bytes);
        used.network_transmit_bytes = used.network_transmit_bytes.saturating_add(interface.transmit_bytes);
    }
    let capacity = Used {
        cpu_nanocores: u64::from(node.cpus) * 1_000_000_000,
        memory_bytes: node.memory_bytes,
        filesystem_bytes: usage.filesystem_capacity_bytes,
        ..Used::default()
    };
    let (time_ms, window_ms) = (report.time_ms, report.window_ms);
    NodeUsed { used, capacity, time_ms, window_ms, simulated: node.simulated, pods: pods(report) }
}

fn pods(report: &UsageReport) -> Vec<PodUsed> {
    let mut all: BTreeMap<(&str, &str, &str), Vec<&ContainerUsage>> = BTreeMap::new();
    for held in &report.containers {
        all.entry((&held.namespace, &held.pod, &held.pod_uid)).or_default().push(held);
    }
    let of = |held: &ContainerUsage| {
        let usage = held.usage.unwrap_or_default();
        Used {
            cpu_nanocores: usage.cpu_nanocores,
            memory_bytes: usage.memory_working_set_bytes,
            filesystem_bytes: usage.filesystem_used_bytes,
            network_receive_bytes: held.interfaces.iter().map(|interface| interface.receive_bytes).sum(),
            network_transmit_bytes: held.interfaces.iter().map(|interface| interface.transmit_bytes).sum(),
        }
    };
    let pod = |((namespace, name, uid), held): ((&str, &str, &str), Vec<&ContainerUsage>)| {
        let whole = sum(held.iter().filter_map(|held| held.usage.as_ref()));
        let used = Used {
            cpu_nanocores: whole.cpu_nanocores,
            memory_bytes: whole.memory_working_set_bytes,
            filesystem_bytes: whole.filesystem_used_bytes,
            network_receive_bytes: held.iter().map(|held| of(held).network_receive_bytes).sum(),
            network_transmit_bytes: held.iter().map(|held| of(held).network_transmit_bytes).sum(),
        };
        let own = held.iter().filter(|held| held.container != SANDBOX);
        let containers = own.map(|held| (held.container.clone(), of(held))).collect();
        PodUsed { namespace: namespace.to_owned(), name: name.to_owned(), uid: uid.to_owned(), used, containers }
    };
    all.into_iter().map(pod).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::agent::Usage;

    fn report(time_ms: i64, containers: usize) -> UsageReport {
        let container = |at: usize| ContainerUsage {
            namespace: "ns".into(),
            pod: format!("p{}", at / 2),
            pod_uid: format!("u{}", at / 2),
            container: if at.is_multiple_of(2) { SANDBOX.into() } else { "app".into() },
            usage: Some(Usage { cpu_nanocores: 5, memory_working_set_bytes: 10, ..Usage::default() }),
            ..ContainerUsage::default()
        };
        let node = NodeUsage { cpus: 2, memory_bytes: 100, ..NodeUsage::default() };
        let containers = (0..containers).map(container).collect();
        UsageReport { time_ms, window_ms: 1, node: Some(node), containers }
    }

    #[test]
    fn a_report_reaches_another_server_in_parts_of_any_order() {
        let (now, mut here, mut there) = (Instant::now(), Reports::default(), Reports::default());
        here.heard("n", report(7, 100), now);
        let mut parts = here.parts(1);
        assert!(parts.len() > 1 && here.parts(1).is_empty(), "told once");
        parts.reverse();
        let last = parts.pop().expect("more than one");
        parts.into_iter().for_each(|part| there.receive(part, now));
        assert!(there.of("n", now).is_none(), "not whole yet");
        there.receive(last, now);
        let mut known = UsageReport::clone(&there.of("n", now).expect("whole"));
        known.containers.sort_by(|a, b| (&a.pod, &a.container).cmp(&(&b.pod, &b.container)));
        let mut told = report(7, 100);
        told.containers.sort_by(|a, b| (&a.pod, &a.container).cmp(&(&b.pod, &b.container)));
        assert_eq!(known, told);
        assert!(there.parts(1).is_empty(), "only one's own nodes are told");
    }

    #[test]
    fn an_older_report_changes_nothing_and_a_silent_node_is_forgotten() {
        let (now, mut reports) = (Instant::now(), Reports::default());
        reports.heard("n", report(7, 2), now);
        split("n", &report(6, 4)).into_iter().for_each(|part| reports.receive(part, now));
        assert_eq!(reports.of("n", now).expect("known").containers.len(), 2);
        split("n", &report(8, 4)).into_iter().for_each(|part| reports.receive(part, now));
        assert_eq!(reports.of("n", now).expect("known").containers.len(), 4);
        assert!(reports.of("n", now + STALE).is_none());
        assert!(reports.all(now + STALE).is_empty());
    }

    #[test]
    fn pods_are_the_sum_of_their_containers() {
        let shown = shown(&report(7, 4));
        assert_eq!((shown.capacity.cpu_nanocores, shown.pods.len()), (2_000_000_000, 2));
        assert_eq!(shown.pods[0].used.cpu_nanocores, 10);
        assert_eq!(shown.pods[0].containers.keys().collect::<Vec<_>>(), ["app"]);
    }
}

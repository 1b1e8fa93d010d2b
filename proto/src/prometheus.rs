//! A usage report as Prometheus text, with the names that cAdvisor gives.
//!
//! Source: cadvisor `metrics/prometheus.go`; the labels are the kubelet's (`containerPrometheusLabelsFunc`).

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::agent::{ContainerUsage, InterfaceUsage, Usage, UsageReport};

/// The container of a pod that has the pod's network.
pub const SANDBOX: &str = "POD";

/// How a number is written.
#[derive(Clone, Copy)]
enum Unit {
    /// As it is.
    Plain,
    /// Nanoseconds, written as seconds.
    Nanoseconds,
}

/// A family of numbers about containers: name, type, help, the number and its unit.
type Family = (&'static str, &'static str, &'static str, fn(&Usage) -> u64, Unit);

const CONTAINER: [Family; 14] = [
    ("cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed", |u| u.cpu_usage_ns, Unit::Nanoseconds),
    ("cpu_user_seconds_total", "counter", "Cumulative user cpu time consumed", |u| u.cpu_user_ns, Unit::Nanoseconds),
    (
        "cpu_system_seconds_total",
        "counter",
        "Cumulative system cpu time consumed",
        |u| u.cpu_system_ns,
        Unit::Nanoseconds,
    ),
    ("cpu_cfs_periods_total", "counter", "Elapsed periods of the CPU quota", |u| u.cpu_periods, Unit::Plain),
    (
        "cpu_cfs_throttled_periods_total",
        "counter",
        "Periods in which the CPU quota was used up",
        |u| u.cpu_throttled_periods,
        Unit::Plain,
    ),
    (
        "cpu_cfs_throttled_seconds_total",
        "counter",
        "Time waited for CPU quota",
        |u| u.cpu_throttled_ns,
        Unit::Nanoseconds,
    ),
    ("memory_usage_bytes", "gauge", "All memory in use", |u| u.memory_usage_bytes, Unit::Plain),
    (
        "memory_working_set_bytes",
        "gauge",
        "Memory that cannot be given up without harm",
        |u| u.memory_working_set_bytes,
        Unit::Plain,
    ),
    ("memory_rss", "gauge", "Anonymous memory", |u| u.memory_rss_bytes, Unit::Plain),
    ("memory_cache", "gauge", "Page cache", |u| u.memory_cache_bytes, Unit::Plain),
    ("spec_memory_limit_bytes", "gauge", "Memory limit, 0 for none", |u| u.memory_limit_bytes, Unit::Plain),
    ("fs_usage_bytes", "gauge", "Bytes written to the container's own layer", |u| u.filesystem_used_bytes, Unit::Plain),
    ("fs_limit_bytes", "gauge", "Size of its file system", |u| u.filesystem_capacity_bytes, Unit::Plain),
    ("processes", "gauge", "Processes and threads", |u| u.processes, Unit::Plain),
];

/// Families about network interfaces.
type OfInterface = (&'static str, &'static str, fn(&InterfaceUsage) -> u64);

const NETWORK: [OfInterface; 8] = [
    ("receive_bytes_total", "Bytes received", |i| i.receive_bytes),
    ("receive_packets_total", "Packets received", |i| i.receive_packets),
    ("receive_errors_total", "Errors while receiving", |i| i.receive_errors),
    ("receive_packets_dropped_total", "Packets dropped while receiving", |i| i.receive_dropped),
    ("transmit_bytes_total", "Bytes transmitted", |i| i.transmit_bytes),
    ("transmit_packets_total", "Packets transmitted", |i| i.transmit_packets),
    ("transmit_errors_total", "Errors while transmitting", |i| i.transmit_errors),
    ("transmit_packets_dropped_total", "Packets dropped while transmitting", |i| i.transmit_dropped),
];

/// Who is measured, as labels.
struct Subject<'a> {
    labels: String,
    usage: Usage,
    interfaces: &'a [InterfaceUsage],
    started_ms: i64,
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn labels(pairs: [(&str, &str); 6]) -> String {
    let written: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
    written.join(",")
}

/// The usage of the containers of a pod, added up; limits are not.
pub fn sum<'a>(usages: impl IntoIterator<Item = &'a Usage>) -> Usage {
    usages.into_iter().fold(Usage::default(), |all, one| Usage {
        cpu_usage_ns: all.cpu_usage_ns.saturating_add(one.cpu_usage_ns),
        cpu_user_ns: all.cpu_user_ns.saturating_add(one.cpu_user_ns),
        cpu_system_ns: all.cpu_system_ns.saturating_add(one.cpu_system_ns),
        cpu_nanocores: all.cpu_nanocores.saturating_add(one.cpu_nanocores),
        cpu_periods: all.cpu_periods.saturating_add(one.cpu_periods),
        cpu_throttled_periods: all.cpu_throttled_periods.saturating_add(one.cpu_throttled_periods),
        cpu_throttled_ns: all.cpu_throttled_ns.saturating_add(one.cpu_throttled_ns),
        memory_usage_bytes: all.memory_usage_bytes.saturating_add(one.memory_usage_bytes),
        memory_working_set_bytes: all.memory_working_set_bytes.saturating_add(one.memory_working_set_bytes),
        memory_rss_bytes: all.memory_rss_bytes.saturating_add(one.memory_rss_bytes),
        memory_cache_bytes: all.memory_cache_bytes.saturating_add(one.memory_cache_bytes),
        memory_limit_bytes: 0,
        filesystem_used_bytes: all.filesystem_used_bytes.saturating_add(one.filesystem_used_bytes),
        filesystem_capacity_bytes: all.filesystem_capacity_bytes.max(one.filesystem_capacity_bytes),
        processes: all.processes.saturating_add(one.processes),
    })
}

/// Everything that is measured: the node, its pods, their containers.
fn subjects(report: &UsageReport) -> Vec<Subject<'_>> {
    let mut all = Vec::new();
    if let Some(node) = &report.node {
        let empty = ("container", "");
        let id = [empty, ("id", "/"), ("image", ""), ("name", ""), ("namespace", ""), ("pod", "")];
        let usage = node.usage.unwrap_or_default();
        all.push(Subject { labels: labels(id), usage, interfaces: &node.interfaces, started_ms: 0 });
    }
    let mut pods: BTreeMap<(&str, &str, &str), Vec<&ContainerUsage>> = BTreeMap::new();
    for held in &report.containers {
        pods.entry((&held.namespace, &held.pod, &held.pod_uid)).or_default().push(held);
    }
    for ((namespace, pod, uid), containers) in pods {
        let of_pod = [("namespace", namespace), ("pod", pod)];
        let id = format!("/kubepods/pod{uid}");
        let usage = sum(containers.iter().filter_map(|held| held.usage.as_ref()));
        let pairs = [("container", ""), ("id", id.as_str()), ("image", ""), ("name", ""), of_pod[0], of_pod[1]];
        all.push(Subject { labels: labels(pairs), usage, interfaces: &[], started_ms: 0 });
        for held in containers {
            let id = format!("{id}/{}", held.id);
            let pairs = [
                ("container", held.container.as_str()),
                ("id", id.as_str()),
                ("image", held.image.as_str()),
                ("name", held.id.as_str()),
                of_pod[0],
                of_pod[1],
            ];
            let (usage, started_ms) = (held.usage.unwrap_or_default(), held.started_ms);
            all.push(Subject { labels: labels(pairs), usage, interfaces: &held.interfaces, started_ms });
        }
    }
    all
}

fn number(value: u64, unit: Unit) -> String {
    match unit {
        Unit::Plain => value.to_string(),
        Unit::Nanoseconds => {
            let text = format!("{}.{:09}", value / 1_000_000_000, value % 1_000_000_000);
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
    }
}

/// The text (version 0.0.4 of the format), each number with the time of its measurement.
pub fn cadvisor(report: &UsageReport) -> String {
    let (all, time) = (subjects(report), report.time_ms);
    let mut out = String::new();
    let head = |out: &mut String, name: &str, kind: &str, help: &str| {
        // Writing into a string does not fail.
        let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    };
    for (name, kind, help, value, unit) in CONTAINER {
        let name = format!("container_{name}");
        head(&mut out, &name, kind, help);
        let cpu = if name == "container_cpu_usage_seconds_total" { ",cpu=\"total\"" } else { "" };
        for subject in &all {
            let value = number(value(&subject.usage), unit);
            let _ = writeln!(out, "{name}{{{}{cpu}}} {value} {time}", subject.labels);
        }
    }
    let name = "container_start_time_seconds";
    head(&mut out, name, "gauge", "Start of the container, seconds since 1970");
    for subject in all.iter().filter(|subject| subject.started_ms > 0) {
        let _ = writeln!(out, "{name}{{{}}} {} {time}", subject.labels, subject.started_ms / 1000);
    }
    for (name, help, value) in NETWORK {
        let name = format!("container_network_{name}");
        head(&mut out, &name, "counter", help);
        for subject in &all {
            for interface in subject.interfaces {
                let of = escaped(&interface.name);
                let _ = writeln!(out, "{name}{{{},interface=\"{of}\"}} {} {time}", subject.labels, value(interface));
            }
        }
    }
    if let Some(node) = &report.node {
        head(&mut out, "machine_cpu_cores", "gauge", "Logical CPU cores of the node");
        let _ = writeln!(out, "machine_cpu_cores {} {time}", node.cpus);
        head(&mut out, "machine_memory_bytes", "gauge", "Memory of the node");
        let _ = writeln!(out, "machine_memory_bytes {} {time}", node.memory_bytes);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::NodeUsage;

    #[test]
    fn containers_pods_and_the_node_have_cadvisors_names() {
        let usage = |ns: u64| Some(Usage { cpu_usage_ns: ns, memory_rss_bytes: 7, ..Usage::default() });
        let container = |name: &str, ns: u64, interfaces: Vec<InterfaceUsage>| ContainerUsage {
            namespace: "shop".into(),
            pod: "web".into(),
            pod_uid: "u".into(),
            container: name.into(),
            id: format!("id-{name}"),
            image: "a\"b".into(),
            usage: usage(ns),
            interfaces,
            ..ContainerUsage::default()
        };
        let eth0 = InterfaceUsage { name: "eth0".into(), receive_bytes: 12, ..InterfaceUsage::default() };
        let report = UsageReport {
            time_ms: 5,
            node: Some(NodeUsage { usage: usage(3_000_000_000), cpus: 2, ..NodeUsage::default() }),
            containers: vec![container("app", 1_500_000_000, Vec::new()), container(SANDBOX, 1, vec![eth0])],
            ..UsageReport::default()
        };
        let text = cadvisor(&report);
        let cpu: Vec<&str> = text.lines().filter(|line| line.starts_with("container_cpu_usage")).collect();
        assert_eq!(
            cpu,
            [
                r#"container_cpu_usage_seconds_total{container="",id="/",image="",name="",namespace="",pod="",cpu="total"} 3 5"#,
                r#"container_cpu_usage_seconds_total{container="",id="/kubepods/podu",image="",name="",namespace="shop",pod="web",cpu="total"} 1.500000001 5"#,
                r#"container_cpu_usage_seconds_total{container="app",id="/kubepods/podu/id-app",image="a\"b",name="id-app",namespace="shop",pod="web",cpu="total"} 1.5 5"#,
                r#"container_cpu_usage_seconds_total{container="POD",id="/kubepods/podu/id-POD",image="a\"b",name="id-POD",namespace="shop",pod="web",cpu="total"} 0.000000001 5"#,
            ]
        );
        assert!(text.contains("pod=\"web\",interface=\"eth0\"} 12 5\n"), "{text}");
        assert!(text.contains("machine_cpu_cores 2 5\n"));
        for family in text.lines().filter(|line| !line.starts_with('#')) {
            assert!(family.split(' ').count() >= 3, "{family}");
        }
    }
}

//! PURE: what the node uses as a page for people: one line each for the node, its pods and their containers.

use proto::agent::{Usage, UsageReport};
use proto::prometheus::SANDBOX;

/// Plain text; the machine-readable form is at `/metrics`.
pub(crate) fn page(node: &str, report: &UsageReport) -> String {
    let mut rows = vec![["NAME", "CPU", "MEMORY", "DISK"].map(str::to_owned)];
    let of_node = report.node.as_ref().and_then(|node| node.usage).unwrap_or_default();
    rows.push(row(format!("node {node}"), &of_node));
    let mut all: Vec<_> = report.containers.iter().filter(|held| held.container != SANDBOX).collect();
    all.sort_by_key(|held| (&held.namespace, &held.pod, &held.container));
    for held in all {
        let name = format!("{}/{} {}", held.namespace, held.pod, held.container);
        rows.push(row(name, &held.usage.unwrap_or_default()));
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2), width(3)];
    let line = |row: &[String; 4]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut text: Vec<String> = rows.iter().map(line).collect();
    text.push(String::new());
    text.join("\n")
}

fn row(name: String, usage: &Usage) -> [String; 4] {
    let mebibytes = |bytes: u64| format!("{} MiB", bytes >> 20);
    let cpu = format!("{}m", usage.cpu_nanocores / 1_000_000);
    [name, cpu, mebibytes(usage.memory_working_set_bytes), mebibytes(usage.filesystem_used_bytes)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::agent::{ContainerUsage, NodeUsage};

    #[test]
    fn a_line_for_each() {
        let usage =
            |cpu_nanocores| Some(Usage { cpu_nanocores, memory_working_set_bytes: 5 << 20, ..Usage::default() });
        let container = |name: &str| ContainerUsage {
            namespace: "shop".into(),
            pod: "web".into(),
            container: name.into(),
            usage: usage(3_000_000),
            ..ContainerUsage::default()
        };
        let node = NodeUsage { usage: usage(250_000_000), ..NodeUsage::default() };
        let containers = vec![container("app"), container(SANDBOX)];
        let report = UsageReport { node: Some(node), containers, ..UsageReport::default() };
        let wanted =
            "NAME          CPU   MEMORY  DISK\nnode n        250m  5 MiB   0 MiB\nshop/web app  3m    5 MiB   0 MiB\n";
        assert_eq!(page("n", &report), wanted);
    }
}

//! PURE: what was measured as `NodeMetrics`, `PodMetrics` and tables of them.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{GROUP, VERSION};
use crate::gateway::usage::{NodeUsed, Used};
use crate::registry::removal::rfc3339;

/// What was measured of one object: its containers, or the one nameless thing that a node is.
pub(super) struct Row {
    metadata: Value,
    timestamp: String,
    window: String,
    /// By container.
    parts: Vec<(String, Used)>,
}

impl Row {
    pub(super) fn new(object: &Value, measured: &NodeUsed, parts: Vec<(String, Used)>) -> Row {
        let timestamp = rfc3339(Timestamp::from_millisecond(measured.time_ms).unwrap_or(Timestamp::UNIX_EPOCH));
        let mut metadata = json!({ "name": object["metadata"]["name"], "creationTimestamp": timestamp });
        for field in ["namespace", "labels"] {
            if let Some(value) = object["metadata"].get(field) {
                metadata[field] = value.clone();
            }
        }
        Row { metadata, timestamp, window: seconds(measured.window_ms), parts }
    }

    /// The object; in lists they do not repeat what they are.
    pub(super) fn object(&self, kind: Option<&str>) -> Value {
        let mut object = json!({ "metadata": self.metadata, "timestamp": self.timestamp, "window": self.window });
        if let Some(kind) = kind {
            object["kind"] = kind.into();
            object["apiVersion"] = format!("{GROUP}/{VERSION}").into();
        }
        match self.parts.as_slice() {
            [(name, used)] if name.is_empty() => object["usage"] = usage(used),
            parts => {
                let one = |(name, used): &(String, Used)| json!({ "name": name, "usage": usage(used) });
                object["containers"] = parts.iter().map(one).collect();
            }
        }
        object
    }
}

fn usage(used: &Used) -> Value {
    json!({ "cpu": cpu(used.cpu_nanocores), "memory": memory(used.memory_bytes) })
}

/// A table of `kubectl get`.
pub(super) fn table(rows: &[Row]) -> Value {
    let column = |name: &str, format: &str, text: &str| json!({ "name": name, "type": "string", "format": format, "description": text, "priority": 0 });
    let columns = [
        column("Name", "name", "Name of the resource"),
        column("cpu", "quantity", "CPU in use"),
        column("memory", "quantity", "Memory in use, the working set"),
        column("Window", "duration", "Time over which it was measured"),
    ];
    let row = |row: &Row| {
        let (nanocores, bytes) = row.parts.iter().fold((0, 0), |(cpu, memory): (u64, u64), (_, used)| {
            (cpu.saturating_add(used.cpu_nanocores), memory.saturating_add(used.memory_bytes))
        });
        let object =
            json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": row.metadata });
        json!({ "cells": [row.metadata["name"], cpu(nanocores), memory(bytes), row.window], "object": object })
    };
    let rows: Vec<Value> = rows.iter().map(row).collect();
    json!({ "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {}, "columnDefinitions": columns, "rows": rows })
}

/// Billionths of a CPU as a canonical quantity. Source: k8s.io/apimachinery `api/resource/quantity.go`.
fn cpu(nanocores: u64) -> String {
    let (mut number, mut suffixes) = (nanocores, ["n", "u", "m", ""].iter());
    let mut suffix = suffixes.next();
    while number.is_multiple_of(1000) && suffix.is_some_and(|held| !held.is_empty()) {
        number /= 1000;
        suffix = suffixes.next();
    }
    format!("{number}{}", suffix.copied().unwrap_or_default())
}

/// Bytes as a canonical binary quantity.
fn memory(bytes: u64) -> String {
    let (mut number, mut suffix) = (bytes, "");
    for next in ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"] {
        if number == 0 || !number.is_multiple_of(1024) {
            break;
        }
        number /= 1024;
        suffix = next;
    }
    format!("{number}{suffix}")
}

/// As Go writes a duration of less than an hour.
fn seconds(milliseconds: i64) -> String {
    let (minutes, rest) = (milliseconds / 60_000, milliseconds % 60_000);
    let fraction = format!("{:03}", rest % 1000);
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    let minutes = if minutes > 0 { format!("{minutes}m") } else { String::new() };
    format!("{minutes}{}{point}{fraction}s", rest / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_canonical() {
        let cpus = [(0, "0"), (1, "1n"), (250_000_000, "250m"), (2_000_000_000, "2"), (1_500_000, "1500u")];
        cpus.into_iter().for_each(|(number, text)| assert_eq!(cpu(number), text));
        let bytes = [(0, "0"), (1000, "1000"), (1024, "1Ki"), (3 << 20, "3Mi"), (1_536 << 10, "1536Ki")];
        bytes.into_iter().for_each(|(number, text)| assert_eq!(memory(number), text));
        let times = [(15_000, "15s"), (10_060, "10.06s"), (61_500, "1m1.5s")];
        times.into_iter().for_each(|(number, text)| assert_eq!(seconds(number), text));
    }

    #[test]
    fn nodes_have_a_usage_and_pods_have_containers() {
        let measured = NodeUsed { time_ms: 1_700_000_000_000, window_ms: 15_000, ..NodeUsed::default() };
        let used = Used { cpu_nanocores: 5, memory_bytes: 2048, ..Used::default() };
        let node = json!({ "metadata": { "name": "n", "labels": { "a": "b" }, "uid": "x" } });
        let row = Row::new(&node, &measured, vec![(String::new(), used)]);
        let object = row.object(Some("NodeMetrics"));
        assert_eq!(object["usage"], json!({ "cpu": "5n", "memory": "2Ki" }));
        assert_eq!(object["metadata"]["labels"], json!({ "a": "b" }));
        assert!(object["metadata"].get("uid").is_none());
        let pod = json!({ "metadata": { "name": "p", "namespace": "ns" } });
        let row = Row::new(&pod, &measured, vec![("a".to_owned(), used), ("b".to_owned(), used)]);
        assert_eq!(
            row.object(None)["containers"][1],
            json!({ "name": "b", "usage": { "cpu": "5n", "memory": "2Ki" } })
        );
        assert_eq!(table(&[row])["rows"][0]["cells"], json!(["p", "10n", "4Ki", "15s"]));
    }
}

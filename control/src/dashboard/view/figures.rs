//! PURE: amounts as people read them, and bars that show them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Tone, items, word};
use crate::quantity;

/// An amount above this part of what there is deserves a look. Units: per cent.
const HIGH: i64 = 85;

/// What runs uses, as `metrics.k8s.io` tells it.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// By node.
    pub nodes: BTreeMap<String, Amounts>,
    /// By namespace and name.
    pub pods: BTreeMap<(String, String), Amounts>,
}

/// CPU and memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    /// Units: thousandths of a core.
    pub cpu: i64,
    /// Units: bytes.
    pub memory: i64,
}

impl Amounts {
    /// Of a list of resources: `{"cpu": "100m", "memory": "64Mi"}`.
    pub fn parse(resources: &Value) -> Amounts {
        Amounts { cpu: quantity::milli(&resources["cpu"]).unwrap_or(0), memory: quantity::units(&resources["memory"]) }
    }

    /// Both together.
    pub fn plus(self, other: Amounts) -> Amounts {
        Amounts { cpu: self.cpu.saturating_add(other.cpu), memory: self.memory.saturating_add(other.memory) }
    }

    /// What the containers of a pod ask for.
    pub fn requested(pod: &Value) -> Amounts {
        let containers = items(pod, "/spec/containers").iter();
        containers
            .map(|container| Amounts::parse(&container["resources"]["requests"]))
            .fold(Amounts::default(), Amounts::plus)
    }
}

impl Usage {
    /// From the lists of `NodeMetrics` and `PodMetrics`.
    pub fn parse(nodes: &Value, pods: &Value) -> Usage {
        let node = |item: &Value| (word(item, "/metadata/name").to_owned(), Amounts::parse(&item["usage"]));
        let pod = |item: &Value| {
            let containers = items(item, "/containers").iter().map(|container| Amounts::parse(&container["usage"]));
            let key = (word(item, "/metadata/namespace").to_owned(), word(item, "/metadata/name").to_owned());
            (key, containers.fold(Amounts::default(), Amounts::plus))
        };
        Usage {
            nodes: items(nodes, "/items").iter().map(node).collect(),
            pods: items(pods, "/items").iter().map(pod).collect(),
        }
    }
}

/// Cores: `0.25`.
pub fn cores(milli: i64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
    let cores = milli as f64 / 1000.0;
    match milli {
        0 => "0".to_owned(),
        1..10 => format!("{cores:.3}"),
        _ if milli % 1000 == 0 => format!("{cores:.0}"),
        10..10_000 => format!("{cores:.2}"),
        _ => format!("{cores:.0}"),
    }
}

/// Bytes: `34 MiB`.
pub fn bytes(bytes: i64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
    let mut amount = bytes as f64;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB", "PiB"] {
        if amount < 1024.0 {
            break;
        }
        amount /= 1024.0;
        unit = next;
    }
    if amount >= 10.0 || unit == "B" { format!("{amount:.0} {unit}") } else { format!("{amount:.1} {unit}") }
}

/// Used and asked for, of what there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bar {
    /// What is used, as words; a dash when nobody knows.
    pub used: String,
    /// What there is, as words.
    pub whole: String,
    /// What pods ask for, as words.
    pub asked: String,
    /// Units: per cent; at most 100.
    pub used_percent: i64,
    /// Units: per cent; at most 100.
    pub asked_percent: i64,
    /// Whether it is much.
    pub tone: Tone,
}

impl Bar {
    /// `used`: none when nobody knows.
    pub fn new(used: Option<i64>, asked: i64, whole: i64, print: fn(i64) -> String) -> Bar {
        let percent = |amount: i64| if whole > 0 { (amount.saturating_mul(100) / whole).clamp(0, 100) } else { 0 };
        let used_percent = percent(used.unwrap_or(0));
        Bar {
            used: used.map_or_else(|| "—".to_owned(), print),
            whole: print(whole),
            asked: print(asked),
            used_percent,
            asked_percent: percent(asked),
            tone: if used_percent > HIGH { Tone::Bad } else { Tone::Good },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn amounts_are_short() {
        let said: Vec<String> = [0, 4, 250, 1500, 2000, 64_100].map(cores).to_vec();
        assert_eq!(said, ["0", "0.004", "0.25", "1.50", "2", "64"]);
        let said: Vec<String> = [0, 900, 1536, 34 << 20, 5 << 30, 64 << 30].map(bytes).to_vec();
        assert_eq!(said, ["0 B", "900 B", "1.5 KiB", "34 MiB", "5.0 GiB", "64 GiB"]);
    }

    #[test]
    fn usage_is_read_from_metrics() {
        let nodes =
            json!({ "items": [{ "metadata": { "name": "n" }, "usage": { "cpu": "156340n", "memory": "2Ki" } }] });
        let container = |cpu: &str| json!({ "usage": { "cpu": cpu, "memory": "1Mi" } });
        let pods = json!({ "items": [
            { "metadata": { "name": "p", "namespace": "a" }, "containers": [container("1m"), container("2m")] },
        ] });
        let usage = Usage::parse(&nodes, &pods);
        assert_eq!(usage.nodes["n"], Amounts { cpu: 1, memory: 2048 });
        assert_eq!(usage.pods[&("a".to_owned(), "p".to_owned())], Amounts { cpu: 3, memory: 2 << 20 });
        assert!(Usage::parse(&Value::Null, &Value::Null).nodes.is_empty());
    }

    #[test]
    fn bars_stay_in_their_frame() {
        let bar = Bar::new(Some(1900), 4000, 2000, cores);
        assert_eq!((bar.used_percent, bar.asked_percent, bar.tone), (95, 100, Tone::Bad));
        assert_eq!(Bar::new(None, 0, 0, cores).used, "—");
    }
}

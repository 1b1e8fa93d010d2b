//! PURE: from what was used since the start to what is used now: the difference of two measurements.

use std::collections::BTreeMap;

use proto::agent::{Usage, UsageReport};

/// Names the node among its containers.
const NODE: &str = "";

/// The measurement before.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    time_ms: Option<i64>,
    /// CPU time by container id.
    cpu_ns: BTreeMap<String, u64>,
}

impl Rates {
    /// Completes a report with its rates and keeps it for the next one.
    pub(crate) fn complete(&mut self, report: &mut UsageReport) {
        let window_ms = self.time_ms.map_or(0, |before| report.time_ms - before);
        report.window_ms = window_ms.max(0);
        let mut next = BTreeMap::new();
        let node = report.node.as_mut().and_then(|node| node.usage.as_mut());
        let containers = report.containers.iter_mut();
        let containers = containers.filter_map(|held| Some((held.id.as_str(), held.started_ms, held.usage.as_mut()?)));
        for (id, started_ms, usage) in node.map(|usage| (NODE, 0, usage)).into_iter().chain(containers) {
            let before = self.cpu_ns.get(id).map(|cpu_ns| (*cpu_ns, window_ms));
            // One that has just started is measured since then.
            let fresh = (started_ms > 0).then(|| (0, report.time_ms - started_ms));
            if let Some((cpu_ns, span_ms)) = before.or(fresh) {
                usage.cpu_nanocores = rate(usage, cpu_ns, span_ms);
            }
            next.insert(id.to_owned(), usage.cpu_usage_ns);
        }
        (self.time_ms, self.cpu_ns) = (Some(report.time_ms), next);
    }
}

/// Units: nanoseconds per second.
fn rate(usage: &Usage, before_ns: u64, span_ms: i64) -> u64 {
    let span_ms = u128::from(span_ms.max(0).unsigned_abs());
    let used = u128::from(usage.cpu_usage_ns.saturating_sub(before_ns));
    (used * 1000).checked_div(span_ms).and_then(|rate| u64::try_from(rate).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::agent::{ContainerUsage, NodeUsage};

    fn report(time_ms: i64, node_ns: u64, container_ns: u64) -> UsageReport {
        let usage = |cpu_usage_ns| Some(Usage { cpu_usage_ns, ..Usage::default() });
        let container =
            ContainerUsage { id: "c".into(), started_ms: 500, usage: usage(container_ns), ..ContainerUsage::default() };
        let node = NodeUsage { usage: usage(node_ns), ..NodeUsage::default() };
        UsageReport { time_ms, node: Some(node), containers: vec![container], ..UsageReport::default() }
    }

    fn rates(report: &UsageReport) -> (i64, u64, u64) {
        let node = report.node.as_ref().and_then(|node| node.usage).expect("measured");
        (report.window_ms, node.cpu_nanocores, report.containers[0].usage.expect("measured").cpu_nanocores)
    }

    #[test]
    fn the_second_measurement_has_rates_and_a_new_container_has_one_at_once() {
        let mut known = Rates::default();
        let mut first = report(1000, 100, 250_000_000);
        known.complete(&mut first);
        assert_eq!(rates(&first), (0, 0, 500_000_000));
        let mut second = report(3000, 4_000_000_100, 350_000_000);
        known.complete(&mut second);
        assert_eq!(rates(&second), (2000, 2_000_000_000, 50_000_000));
        // A clock that went back, a counter that began anew.
        let mut third = report(2000, 0, 0);
        known.complete(&mut third);
        assert_eq!(rates(&third), (0, 0, 0));
    }
}

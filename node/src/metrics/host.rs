//! PURE: `/proc`: the machine's processors and memory, its tasks, and the interfaces of a network namespace.
//!
//! Source: `proc(5)`.

use proto::agent::{InterfaceUsage, Usage};

/// `USER_HZ`.
const TICK_NS: u64 = 10_000_000;

/// A line `Name:   123 kB` of `/proc/meminfo`, in bytes.
pub(crate) fn meminfo(file: &str, name: &str) -> Option<u64> {
    let line = file.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Completes what the root group said of the machine: not every kernel says everything there.
pub(crate) fn complete(mut usage: Usage, stat: &str, memory: &str, limit: u64) -> Usage {
    if usage.cpu_usage_ns == 0 {
        let first = stat.lines().find_map(|line| line.strip_prefix("cpu ")).unwrap_or_default();
        let ticks: Vec<u64> = first.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let of = |columns: &[usize]| -> u64 {
            columns.iter().filter_map(|at| ticks.get(*at)).sum::<u64>().saturating_mul(TICK_NS)
        };
        // user, nice; system, irq, softirq. Idle and waiting are not used, stolen time is somebody else's.
        (usage.cpu_user_ns, usage.cpu_system_ns) = (of(&[0, 1]), of(&[2, 5, 6]));
        usage.cpu_usage_ns = usage.cpu_user_ns.saturating_add(usage.cpu_system_ns);
    }
    let of = |name: &str| meminfo(memory, name).unwrap_or(0);
    if usage.memory_usage_bytes == 0 {
        usage.memory_usage_bytes = of("MemTotal").saturating_sub(of("MemFree"));
        usage.memory_working_set_bytes = usage.memory_usage_bytes.saturating_sub(of("Inactive(file)"));
    }
    if usage.memory_rss_bytes == 0 {
        usage.memory_rss_bytes = of("AnonPages");
    }
    if usage.memory_cache_bytes == 0 {
        usage.memory_cache_bytes = of("Cached");
    }
    usage.memory_limit_bytes = limit;
    usage
}

/// All tasks of the machine, from `/proc/loadavg`.
pub(crate) fn tasks(loadavg: &str) -> Option<u64> {
    let (_, all) = loadavg.split_whitespace().nth(3)?.split_once('/')?;
    all.parse().ok()
}

/// The interfaces of `/proc/PID/net/dev`, but for loopback.
pub(crate) fn interfaces(file: &str) -> Vec<InterfaceUsage> {
    let one = |line: &str| {
        let (name, numbers) = line.split_once(':')?;
        let numbers: Vec<u64> = numbers.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let at = |column: usize| numbers.get(column).copied().unwrap_or(0);
        (name.trim() != "lo" && numbers.len() >= 16).then(|| InterfaceUsage {
            name: name.trim().to_owned(),
            receive_bytes: at(0),
            receive_packets: at(1),
            receive_errors: at(2),
            receive_dropped: at(3),
            transmit_bytes: at(8),
            transmit_packets: at(9),
            transmit_errors: at(10),
            transmit_dropped: at(11),
        })
    };
    file.lines().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: &str =
        "MemTotal: 1000 kB\nMemFree: 400 kB\nCached: 200 kB\nInactive(file): 100 kB\nAnonPages: 50 kB\n";

    #[test]
    fn the_machine_is_measured_without_control_groups_too() {
        let stat = "cpu  100 10 30 9999 5 2 3 44 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        let usage = complete(Usage::default(), stat, MEMORY, 7);
        assert_eq!((usage.cpu_user_ns, usage.cpu_system_ns), (1_100_000_000, 350_000_000));
        assert_eq!(usage.cpu_usage_ns, 1_450_000_000);
        assert_eq!((usage.memory_usage_bytes, usage.memory_working_set_bytes), (600 << 10, 500 << 10));
        assert_eq!(
            (usage.memory_rss_bytes, usage.memory_cache_bytes, usage.memory_limit_bytes),
            (50 << 10, 200 << 10, 7)
        );
        let known = Usage { cpu_usage_ns: 1, memory_usage_bytes: 2, memory_working_set_bytes: 1, ..Usage::default() };
        let usage = complete(known, stat, MEMORY, 0);
        assert_eq!((usage.cpu_usage_ns, usage.memory_usage_bytes, usage.memory_working_set_bytes), (1, 2, 1));
    }

    #[test]
    fn interfaces_and_tasks() {
        let file = "Inter-|   Receive                                                |  Transmit\n face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n    lo:       9       9    0    0    0     0          0         0        9       9    0    0    0     0       0          0\n  eth0:     286       3    1    2    0     0          0         0       77       4    5    6    0     0       0          0\n";
        let found = interfaces(file);
        assert_eq!(found.len(), 1);
        let eth0 = &found[0];
        assert_eq!((eth0.name.as_str(), eth0.receive_bytes, eth0.receive_dropped), ("eth0", 286, 2));
        assert_eq!((eth0.transmit_bytes, eth0.transmit_packets, eth0.transmit_dropped), (77, 4, 6));
        assert_eq!(tasks("5.85 3.81 1.87 9/146 18705\n"), Some(146));
        assert_eq!(meminfo(MEMORY, "MemTotal"), Some(1000 << 10));
    }
}

//! PURE: the files of a control group, of both versions, as usage.
//!
//! Source: kernel `Documentation/admin-guide/cgroup-v1/{cpuacct,memory}.rst`, `cgroup-v2.rst`; the working set is
//! cAdvisor's: all memory but inactive files.

use proto::agent::Usage;

/// Where the kernel shows control groups.
pub(crate) const MOUNT: &str = "/sys/fs/cgroup";
/// `USER_HZ`: the same on every architecture that matters.
const TICKS_PER_SECOND: u64 = 100;
/// A limit of version 1 above this is none: the kernel writes its own largest number, by pages.
const LIMITLESS: u64 = 1 << 62;

/// Which interface the kernel offers for a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// A hierarchy per controller.
    V1,
    /// One for all.
    V2,
}

/// A file: its controller (empty: the one hierarchy) and its name.
pub(crate) type File = (&'static str, &'static str);

/// The path of a file of a process's group, from `/proc/PID/cgroup`.
pub(crate) fn path(groups: &str, (controller, name): File) -> Option<String> {
    let mut lines = groups.lines().filter_map(|line| {
        let (_, rest) = line.split_once(':')?;
        rest.split_once(':')
    });
    let (_, group) = lines.find(|(held, _)| held.split(',').any(|one| one == controller))?;
    let group = if group == "/" { "" } else { group };
    let hierarchy = if controller.is_empty() { String::new() } else { format!("/{controller}") };
    Some(format!("{MOUNT}{hierarchy}{group}/{name}"))
}

/// Which version holds the controllers, from `/proc/PID/cgroup`: with both mounted, version 1 does.
pub(crate) fn version(groups: &str) -> Version {
    let memory = |line: &str| line.split(':').nth(1).is_some_and(|held| held.split(',').any(|one| one == "memory"));
    if groups.lines().any(memory) { Version::V1 } else { Version::V2 }
}

fn field(text: &str, name: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

fn whole(text: &str) -> u64 {
    text.trim().parse().unwrap_or(0)
}

/// What the files say; `read` gives the text of one, empty when it is not there.
pub(crate) fn usage(version: Version, read: impl Fn(File) -> String) -> Usage {
    match version {
        Version::V1 => v1(read),
        Version::V2 => v2(read),
    }
}

fn v1(read: impl Fn(File) -> String) -> Usage {
    let (ticks, quota) = (read(("cpuacct", "cpuacct.stat")), read(("cpu", "cpu.stat")));
    let stat = read(("memory", "memory.stat"));
    let seconds = |name: &str| field(&ticks, name).saturating_mul(1_000_000_000 / TICKS_PER_SECOND);
    let (usage, limit) =
        (whole(&read(("memory", "memory.usage_in_bytes"))), whole(&read(("memory", "memory.limit_in_bytes"))));
    Usage {
        cpu_usage_ns: whole(&read(("cpuacct", "cpuacct.usage"))),
        cpu_user_ns: seconds("user"),
        cpu_system_ns: seconds("system"),
        cpu_periods: field(&quota, "nr_periods"),
        cpu_throttled_periods: field(&quota, "nr_throttled"),
        cpu_throttled_ns: field(&quota, "throttled_time"),
        memory_usage_bytes: usage,
        memory_working_set_bytes: usage.saturating_sub(field(&stat, "total_inactive_file")),
        memory_rss_bytes: field(&stat, "total_rss"),
        memory_cache_bytes: field(&stat, "total_cache"),
        memory_limit_bytes: if limit >= LIMITLESS { 0 } else { limit },
        processes: whole(&read(("pids", "pids.current"))),
        ..Usage::default()
    }
}

fn v2(read: impl Fn(File) -> String) -> Usage {
    let (cpu, stat) = (read(("", "cpu.stat")), read(("", "memory.stat")));
    let microseconds = |name: &str| field(&cpu, name).saturating_mul(1000);
    let usage = whole(&read(("", "memory.current")));
    Usage {
        cpu_usage_ns: microseconds("usage_usec"),
        cpu_user_ns: microseconds("user_usec"),
        cpu_system_ns: microseconds("system_usec"),
        cpu_periods: field(&cpu, "nr_periods"),
        cpu_throttled_periods: field(&cpu, "nr_throttled"),
        cpu_throttled_ns: microseconds("throttled_usec"),
        memory_usage_bytes: usage,
        memory_working_set_bytes: usage.saturating_sub(field(&stat, "inactive_file")),
        memory_rss_bytes: field(&stat, "anon"),
        memory_cache_bytes: field(&stat, "file"),
        // `max`, which is no number, is none.
        memory_limit_bytes: whole(&read(("", "memory.max"))),
        processes: whole(&read(("", "pids.current"))),
        ..Usage::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "9:name=systemd:/docker/0312\n8:pids:/docker/0312\n4:memory:/docker/0312\n2:cpu,cpuacct:/docker/0312\n0::/docker/0312\n";
    const V2: &str = "0::/system.slice/docker-0312.scope\n";

    #[test]
    fn the_files_of_a_process_are_found() {
        assert_eq!((version(V1), version(V2)), (Version::V1, Version::V2));
        assert_eq!(
            path(V1, ("cpuacct", "cpuacct.usage")).as_deref(),
            Some("/sys/fs/cgroup/cpuacct/docker/0312/cpuacct.usage")
        );
        assert_eq!(
            path(V2, ("", "memory.stat")).as_deref(),
            Some("/sys/fs/cgroup/system.slice/docker-0312.scope/memory.stat")
        );
        assert_eq!(
            path("4:memory:/\n", ("memory", "memory.stat")).as_deref(),
            Some("/sys/fs/cgroup/memory/memory.stat")
        );
        assert_eq!(path(V2, ("memory", "memory.stat")), None);
    }

    /// As a Debian 12 with version 1 wrote them, cut to the lines that count and their neighbours.
    fn text_v1((_, name): File) -> String {
        let text = match name {
            "cpuacct.usage" => "25086996\n",
            "cpuacct.stat" => "user 1\nsystem 3\n",
            "cpu.stat" => "nr_periods 7\nnr_throttled 2\nthrottled_time 500\nnr_bursts 0\nburst_time 0\n",
            "memory.usage_in_bytes" => "503808\n",
            "memory.limit_in_bytes" => "67108864\n",
            "memory.stat" => {
                "cache 1\nrss 2\ninactive_file 3\ntotal_cache 8192\ntotal_rss 114688\ntotal_rss_huge 0\n\
                 total_inactive_file 4096\ntotal_active_file 0\n"
            }
            "pids.current" => "2\n",
            _ => "",
        };
        text.to_owned()
    }

    /// As a Debian 12 with version 2 writes them.
    fn text_v2((_, name): File) -> String {
        let text = match name {
            "cpu.stat" => {
                "usage_usec 25086\nuser_usec 15000\nsystem_usec 10086\nnr_periods 7\nnr_throttled 2\n\
                 throttled_usec 500\n"
            }
            "memory.current" => "503808\n",
            "memory.max" => "max\n",
            "memory.stat" => "anon 114688\nfile 8192\nkernel 0\ninactive_anon 1\ninactive_file 4096\n",
            "pids.current" => "2\n",
            _ => "",
        };
        text.to_owned()
    }

    #[test]
    fn both_versions_are_read() {
        let one = usage(Version::V1, text_v1);
        assert_eq!((one.cpu_usage_ns, one.cpu_user_ns, one.cpu_system_ns), (25_086_996, 10_000_000, 30_000_000));
        assert_eq!((one.cpu_periods, one.cpu_throttled_periods, one.cpu_throttled_ns), (7, 2, 500));
        let memory = |usage: Usage| {
            (usage.memory_usage_bytes, usage.memory_working_set_bytes, usage.memory_rss_bytes, usage.memory_cache_bytes)
        };
        assert_eq!(memory(one), (503_808, 499_712, 114_688, 8192));
        assert_eq!((one.memory_limit_bytes, one.processes), (67_108_864, 2));
        let two = usage(Version::V2, text_v2);
        assert_eq!((two.cpu_usage_ns, two.cpu_user_ns, two.cpu_system_ns), (25_086_000, 15_000_000, 10_086_000));
        assert_eq!((memory(two), two.memory_limit_bytes, two.cpu_throttled_ns), (memory(one), 0, 500_000));
    }

    #[test]
    fn a_group_without_files_uses_nothing_and_no_limit_is_none() {
        assert_eq!(usage(Version::V1, |_| String::new()), Usage::default());
        assert_eq!(usage(Version::V2, |_| String::new()), Usage::default());
        let limitless = usage(Version::V1, |(_, name)| {
            if name == "memory.limit_in_bytes" { "9223372036854771712\n" } else { "" }.to_owned()
        });
        assert_eq!(limitless.memory_limit_bytes, 0);
    }
}

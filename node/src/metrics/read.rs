//! The kernel's files, read. A process that has ended meanwhile has used nothing.

use std::path::Path;

use proto::agent::{InterfaceUsage, NodeUsage, Usage};

use super::{cgroup, host};

fn text(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// What the control group of a process uses.
pub(crate) fn process(pid: u32) -> Usage {
    let groups = text(format!("/proc/{pid}/cgroup"));
    if groups.is_empty() {
        return Usage::default();
    }
    cgroup::usage(cgroup::version(&groups), |file| cgroup::path(&groups, file).map(text).unwrap_or_default())
}

/// The interfaces of a process's network namespace; none when that is the node's own.
pub(crate) fn network(pid: u32) -> Vec<InterfaceUsage> {
    let namespace = |who: &str| std::fs::read_link(format!("/proc/{who}/ns/net")).ok();
    let (theirs, own) = (namespace(&pid.to_string()), namespace("self"));
    if theirs.is_none() || theirs == own { Vec::new() } else { host::interfaces(&text(format!("/proc/{pid}/net/dev"))) }
}

/// Used and whole size of the file system below a folder. Units: bytes.
pub(crate) fn disk(dir: &Path) -> (u64, u64) {
    let Ok(found) = nix::sys::statvfs::statvfs(dir) else { return (0, 0) };
    let blocks = |blocks: u64| blocks.saturating_mul(found.fragment_size());
    (blocks(found.blocks().saturating_sub(found.blocks_free())), blocks(found.blocks()))
}

/// What the whole machine uses.
pub(crate) fn machine(dir: &Path, cpus: u32, memory_bytes: u64) -> NodeUsage {
    let version = cgroup::version(&text("/proc/self/cgroup"));
    let root = |(controller, name): cgroup::File| text(format!("{}/{controller}/{name}", cgroup::MOUNT));
    let known = cgroup::usage(version, root);
    let mut usage = host::complete(known, &text("/proc/stat"), &text("/proc/meminfo"), memory_bytes);
    (usage.filesystem_used_bytes, usage.filesystem_capacity_bytes) = disk(dir);
    usage.processes = host::tasks(&text("/proc/loadavg")).unwrap_or(0);
    let interfaces = host::interfaces(&text("/proc/self/net/dev"));
    NodeUsage { usage: Some(usage), cpus, memory_bytes, interfaces, simulated: false }
}

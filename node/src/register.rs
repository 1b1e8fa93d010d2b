//! The Node object as the agent wants it registered: what the machine has, and how it is.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use jiff::Timestamp;
use serde_json::{Value, json};

/// Pods that one node runs at most.
const PODS_MAX: u32 = 110;
/// Less free memory than this is pressure (kubelet's `memory.available<100Mi`). Units: bytes.
const MEMORY_LOW: u64 = 100 << 20;
/// Less free disk than a tenth is pressure (kubelet's `nodefs.available<10%`).
const DISK_LOW_PERCENT: u64 = 10;

/// What is known of the machine.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// CPUs that this process may use.
    pub cpus: usize,
    /// Units: bytes.
    pub memory: u64,
    /// Units: bytes.
    pub memory_available: u64,
    /// Of the file system with the data directory. Units: bytes.
    pub disk: u64,
    /// Units: bytes.
    pub disk_free: u64,
    /// Of this boot.
    pub boot_id: String,
    /// Of this installation.
    pub machine_id: String,
    /// The kernel's release.
    pub kernel: String,
    /// The distribution's name.
    pub os_image: String,
    /// As `containerRuntimeVersion` has it.
    pub runtime: String,
}

fn text(path: &str) -> String {
    std::fs::read_to_string(path).map(|t| t.trim().to_owned()).unwrap_or_default()
}

/// A line `Name:   123 kB` of `/proc/meminfo`, in bytes.
fn meminfo(file: &str, name: &str) -> Option<u64> {
    let line = file.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

impl Facts {
    /// Reads what the machine says of itself.
    pub fn read(data_dir: &Path, runtime: String) -> Self {
        let memory = text("/proc/meminfo");
        let total = meminfo(&memory, "MemTotal").unwrap_or(0);
        let limit = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
            .iter()
            .find_map(|path| text(path).parse::<u64>().ok());
        let os = text("/etc/os-release");
        let os = os.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or("Linux").trim_matches('"');
        let disk = nix::sys::statvfs::statvfs(data_dir).ok();
        let blocks = |n: u64, disk: &nix::sys::statvfs::Statvfs| n.saturating_mul(disk.fragment_size());
        Self {
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            memory: limit.map_or(total, |limit| limit.min(total)),
            memory_available: meminfo(&memory, "MemAvailable").unwrap_or(0),
            disk: disk.as_ref().map_or(0, |d| blocks(d.blocks(), d)),
            disk_free: disk.as_ref().map_or(0, |d| blocks(d.blocks_available(), d)),
            boot_id: text("/proc/sys/kernel/random/boot_id"),
            machine_id: text("/etc/machine-id"),
            kernel: text("/proc/sys/kernel/osrelease"),
            os_image: os.to_owned(),
            runtime,
        }
    }
}

/// Go's name of this machine's architecture.
fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The v1 Node.
pub fn node(name: &str, address: IpAddr, labels: &BTreeMap<String, String>, facts: &Facts, now: Timestamp) -> Value {
    let mut all = BTreeMap::from([
        ("kubernetes.io/hostname".to_owned(), name.to_owned()),
        ("kubernetes.io/os".to_owned(), "linux".to_owned()),
        ("kubernetes.io/arch".to_owned(), arch().to_owned()),
    ]);
    all.extend(labels.clone());
    let resources = json!({
        "cpu": facts.cpus.to_string(), "memory": format!("{}Ki", facts.memory / 1024), "pods": PODS_MAX.to_string(),
        "ephemeral-storage": format!("{}Ki", facts.disk / 1024),
    });
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": { "name": name, "labels": all }, "spec": {},
        "status": {
            "capacity": resources, "allocatable": resources,
            "addresses": [{ "type": "InternalIP", "address": address }, { "type": "Hostname", "address": name }],
            "nodeInfo": {
                "architecture": arch(), "operatingSystem": "linux", "bootID": facts.boot_id, "machineID": facts.machine_id,
                "systemUUID": facts.machine_id, "kernelVersion": facts.kernel, "osImage": facts.os_image,
                "containerRuntimeVersion": facts.runtime, "kubeletVersion": "v1.36.0", "kubeProxyVersion": "",
            },
            "conditions": conditions(facts, now),
        },
    })
}

fn conditions(facts: &Facts, now: Timestamp) -> Vec<Value> {
    let now = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let condition = |kind: &str, holds: bool, reason: &str, message: &str| {
        let status = if holds { "True" } else { "False" };
        json!({ "type": kind, "status": status, "reason": reason, "message": message,
            "lastHeartbeatTime": now, "lastTransitionTime": now })
    };
    let memory = facts.memory_available < MEMORY_LOW;
    let disk = facts.disk_free < facts.disk / 100 * DISK_LOW_PERCENT;
    let word = |low: bool, yes: &'static str, no: &'static str| if low { yes } else { no };
    vec![
        condition(
            "MemoryPressure",
            memory,
            word(memory, "KubeletHasInsufficientMemory", "KubeletHasSufficientMemory"),
            word(memory, "the node is short of memory", "the node has memory available"),
        ),
        condition(
            "DiskPressure",
            disk,
            word(disk, "KubeletHasDiskPressure", "KubeletHasNoDiskPressure"),
            word(disk, "the node is short of disk", "the node has disk available"),
        ),
        condition("PIDPressure", false, "KubeletHasSufficientPID", "the node has process ids available"),
        condition("Ready", true, "KubeletReady", "the agent is connected"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_says_what_it_has_and_how_it_is() {
        assert_eq!(meminfo("MemTotal:   16 kB\nMemFree: 1 kB", "MemTotal"), Some(16384));
        let facts =
            Facts { cpus: 4, memory: 8 << 30, memory_available: 1, disk: 1000, disk_free: 500, ..Facts::default() };
        let labels = BTreeMap::from([("zone".to_owned(), "a".to_owned())]);
        let node = node("n1", [10, 0, 0, 1].into(), &labels, &facts, Timestamp::UNIX_EPOCH);
        let typed: k8s_openapi::api::core::v1::Node = serde_json::from_value(node).expect("a Node");
        let status = typed.status.expect("a status");
        assert_eq!(status.capacity.expect("given")["memory"].0, "8388608Ki");
        let says: Vec<_> = status.conditions.iter().flatten().map(|c| (c.type_.as_str(), c.status.as_str())).collect();
        let wanted =
            [("MemoryPressure", "True"), ("DiskPressure", "False"), ("PIDPressure", "False"), ("Ready", "True")];
        assert_eq!(says, wanted);
        assert_eq!(typed.metadata.labels.expect("given")["zone"], "a");
    }
}

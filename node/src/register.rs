//! The Node object as the agent wants it registered: what the machine has, and how it is.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use serde_json::{Value, json};

use crate::metrics::host;
use crate::plan::node_condition::Room;

/// Pods that one node runs at most.
const PODS_MAX: u32 = 110;
/// What is known of the machine.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// CPUs that this process may use.
    pub cpus: usize,
    /// Units: bytes.
    pub memory: u64,
    /// What there is left.
    pub room: Room,
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

impl Facts {
    /// Reads what the machine says of itself.
    pub fn read(data_dir: &Path, runtime: String) -> Self {
        let memory = text("/proc/meminfo");
        let total = host::meminfo(&memory, "MemTotal").unwrap_or(0);
        let limit = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
            .iter()
            .find_map(|path| text(path).parse::<u64>().ok());
        let os = text("/etc/os-release");
        let os = os.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or("Linux").trim_matches('"');
        Self {
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            memory: limit.map_or(total, |limit| limit.min(total)),
            room: room(data_dir),
            boot_id: text("/proc/sys/kernel/random/boot_id"),
            machine_id: text("/etc/machine-id"),
            kernel: text("/proc/sys/kernel/osrelease"),
            os_image: os.to_owned(),
            runtime,
        }
    }
}

/// What there is left on this machine.
pub fn room(data_dir: &Path) -> Room {
    let disk = nix::sys::statvfs::statvfs(data_dir).ok();
    let number = |path: &str| text(path).parse::<u64>().ok();
    let most = ["/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max"].into_iter().filter_map(number).min();
    let (pids, tasks) = (most.unwrap_or(0), host::tasks(&text("/proc/loadavg")).unwrap_or(0));
    Room {
        memory_available: host::meminfo(&text("/proc/meminfo"), "MemAvailable").unwrap_or(u64::MAX),
        disk: disk.as_ref().map_or((0, 0), |disk| {
            let blocks = |blocks: u64| blocks.saturating_mul(disk.fragment_size());
            (blocks(disk.blocks_available()), blocks(disk.blocks()))
        }),
        inodes: disk.as_ref().map_or((0, 0), |disk| (disk.files_available(), disk.files())),
        pids: (pids.saturating_sub(tasks), pids),
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

/// How a node wants to be known.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its address.
    pub address: IpAddr,
    /// Labels besides those of every node.
    pub labels: &'a BTreeMap<String, String>,
    /// Annotations.
    pub annotations: &'a BTreeMap<String, String>,
}

/// The v1 Node.
pub fn node(names: Names<'_>, facts: &Facts, conditions: &[Value]) -> Value {
    let Names { name, address, labels, annotations } = names;
    let mut all = BTreeMap::from([
        ("kubernetes.io/hostname".to_owned(), name.to_owned()),
        ("kubernetes.io/os".to_owned(), "linux".to_owned()),
        ("kubernetes.io/arch".to_owned(), arch().to_owned()),
    ]);
    all.extend(labels.clone());
    let resources = json!({
        "cpu": facts.cpus.to_string(), "memory": format!("{}Ki", facts.memory / 1024), "pods": PODS_MAX.to_string(),
        "ephemeral-storage": format!("{}Ki", facts.room.disk.1 / 1024),
    });
    json!({
        "apiVersion": "v1", "kind": "Node", "spec": {},
        "metadata": { "name": name, "labels": all, "annotations": annotations },
        "status": {
            "capacity": resources, "allocatable": resources,
            "addresses": [{ "type": "InternalIP", "address": address }, { "type": "Hostname", "address": name }],
            "nodeInfo": {
                "architecture": arch(), "operatingSystem": "linux", "bootID": facts.boot_id, "machineID": facts.machine_id,
                "systemUUID": facts.machine_id, "kernelVersion": facts.kernel, "osImage": facts.os_image,
                "containerRuntimeVersion": facts.runtime, "kubeletVersion": "v1.36.0", "kubeProxyVersion": "",
            },
            "conditions": conditions,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_says_what_it_has_and_how_it_is() {
        let room = Room { disk: (500 << 10, 1000 << 10), ..Room::default() };
        let facts = Facts { cpus: 4, memory: 8 << 30, room, ..Facts::default() };
        let (labels, annotations) = (BTreeMap::from([("zone".to_owned(), "a".to_owned())]), BTreeMap::new());
        let names = Names { name: "n1", address: [10, 0, 0, 1].into(), labels: &labels, annotations: &annotations };
        let node = node(names, &facts, &[json!({ "type": "Ready", "status": "True" })]);
        let typed: k8s_openapi::api::core::v1::Node = serde_json::from_value(node).expect("a Node");
        let status = typed.status.expect("a status");
        let capacity = status.capacity.expect("given");
        assert_eq!((capacity["memory"].0.as_str(), capacity["ephemeral-storage"].0.as_str()), ("8388608Ki", "1000Ki"));
        assert_eq!(status.conditions.expect("given")[0].type_, "Ready");
        assert_eq!(typed.metadata.labels.expect("given")["zone"], "a");
    }
}

//! A running cluster on this machine, as `cluster.json` describes it.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use crate::world::layout::{Layout, NODES_MAX, Place, SERVERS_MAX};
use crate::world::process::Process;
use crate::world::{engine, network};

/// What `cluster.json` holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Cluster {
    pub(crate) dir: PathBuf,
    /// Each process has its own network namespace.
    pub(crate) isolated: bool,
    pub(crate) servers: u8,
    pub(crate) nodes: u8,
    pub(crate) runtime: String,
    /// Its servers are members of `raftsman store`, without a Kubernetes API.
    #[serde(default)]
    pub(crate) store: bool,
    /// Its servers' disks and clocks can be broken.
    #[serde(default)]
    pub(crate) breakable: bool,
    /// The binary that they run.
    #[serde(default)]
    pub(crate) binary: PathBuf,
    pub(crate) processes: Vec<Process>,
}

impl Cluster {
    pub(crate) fn layout(&self) -> Layout {
        Layout::new(&self.dir, self.isolated)
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.dir.join("admin.kubeconfig")
    }

    /// # Errors
    /// When there is no cluster in `dir`.
    pub(crate) fn load(dir: &Path) -> anyhow::Result<Self> {
        let dir = dir.canonicalize().with_context(|| format!("there is no cluster in {}", dir.display()))?;
        let path = dir.join("cluster.json");
        let text = std::fs::read(&path).with_context(|| format!("there is no cluster in {}", dir.display()))?;
        serde_json::from_slice(&text).with_context(|| path.display().to_string())
    }

    /// Writes `cluster.json` whole or not at all.
    pub(crate) fn save(&self) -> anyhow::Result<()> {
        let (path, new) = (self.dir.join("cluster.json"), self.dir.join("cluster.json.new"));
        std::fs::write(&new, serde_json::to_vec_pretty(self)?)?;
        std::fs::rename(&new, &path).with_context(|| path.display().to_string())
    }

    /// Every address the layout may have given out.
    pub(crate) fn places(layout: &Layout) -> Vec<Place> {
        (1..=SERVERS_MAX)
            .map(|index| layout.server(index))
            .chain((1..=NODES_MAX).map(|index| layout.node(index)))
            .collect()
    }

    pub(crate) fn process(&self, name: &str) -> anyhow::Result<&Process> {
        self.processes.iter().find(|process| process.name == name).with_context(|| format!("no process {name}"))
    }

    pub(crate) fn of_role<'a>(&'a self, role: &'a str) -> impl Iterator<Item = &'a Process> {
        self.processes.iter().filter(move |process| process.role == role)
    }

    pub(crate) fn server_pids(&self) -> Vec<i32> {
        self.of_role("server").map(|server| server.pid).collect()
    }

    /// Starts a process that has ended, with the command it had.
    pub(crate) fn restart(&mut self, name: &str) -> anyhow::Result<()> {
        let process = self.processes.iter_mut().find(|process| process.name == name).context("no such process")?;
        if process.alive() {
            bail!("{name} still runs");
        }
        process.start()?;
        self.save()
    }

    /// Stops every process and removes namespaces, bridge, containers and engines' files; the rest of the folder stays.
    pub(crate) fn down(&self) -> anyhow::Result<()> {
        for role in ["node", "server"] {
            for process in self.of_role(role) {
                process.stop()?;
            }
        }
        for process in self.of_role("engine") {
            engine::remove(process);
        }
        for mounted in mounts_below(&self.dir) {
            // Volumes in memory: the agents that made them are gone.
            let _ = nix::mount::umount2(&mounted, nix::mount::MntFlags::MNT_DETACH);
        }
        for server in self.of_role("server") {
            // Gigabytes that say nothing: the evidence is what the clients saw, and the logs.
            let _ = std::fs::remove_file(crate::world::disk::image(&self.dir, &server.name));
        }
        let layout = self.layout();
        network::remove(&layout, &Cluster::places(&layout));
        std::fs::remove_file(self.dir.join("cluster.json")).context("cluster.json")
    }
}

/// What is mounted below a folder, the innermost first.
fn mounts_below(dir: &Path) -> Vec<PathBuf> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut found: Vec<PathBuf> = mount_points(&table).filter(|point| point.starts_with(dir)).collect();
    found.sort();
    found.reverse();
    found
}

/// Field 5 of each line of `/proc/PID/mountinfo`. Source: proc_pid_mountinfo(5).
fn mount_points(table: &str) -> impl Iterator<Item = PathBuf> + '_ {
    table.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_read() {
        let table = "22 1 0:5 / /a/b rw - tmpfs tmpfs rw\n23 1 0:6 / /a/b/c rw shared:1 - ext4 /dev/x rw\n";
        assert_eq!(mount_points(table).collect::<Vec<_>>(), [PathBuf::from("/a/b"), PathBuf::from("/a/b/c")]);
    }
}

//! A Docker Engine for each node, in the node's network namespace: several real hosts on one machine.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::world::layout::{Layout, Place};
use crate::world::process::Process;

/// How long an engine may take to answer.
const READY_LIMIT: Duration = Duration::from_secs(60);

/// Sockets have short paths, so they do not lie in the cluster's directory.
fn socket(layout: &Layout, place: &Place) -> String {
    format!("/run/raftsman-{}-{}.sock", layout.tag, place.name)
}

/// Describes the node's engine; `start` it, then `await_ready`.
pub(crate) fn describe(layout: &Layout, place: &Place) -> Process {
    let (data, socket) = (place.data_dir.with_extension("docker"), socket(layout, place));
    let path = |name: &str| data.join(name).display().to_string();
    Process {
        name: format!("{}-engine", place.name),
        role: "engine".to_owned(),
        pid: 0,
        started: 0,
        address: place.address.to_string(),
        data_dir: data.display().to_string(),
        command: vec![
            "dockerd".to_owned(),
            format!("--data-root={}", path("root")),
            format!("--exec-root=/run/raftsman-{}-{}", layout.tag, place.name),
            format!("--pidfile={}", path("pid")),
            format!("--host=unix://{socket}"),
            // The agent makes the pod network.
            "--bridge=none".to_owned(),
            "--iptables=false".to_owned(),
            "--ip-forward=false".to_owned(),
            // Containers go on while the engine restarts.
            "--live-restore".to_owned(),
        ],
        docker_host: Some(format!("unix://{socket}")),
        namespace: place.namespace.clone(),
        log: path("log"),
    }
}

/// Whether an engine answers at `docker_host`.
pub(crate) fn answers(docker_host: &str) -> bool {
    Command::new("timeout")
        .args(["5", docker_client(), "--host", docker_host, "version"])
        .output()
        .is_ok_and(|output| output.status.success())
}

/// Debian's client first: another one on the path may be newer than the engine speaks.
pub(crate) fn docker_client() -> &'static str {
    if Path::new("/usr/bin/docker").exists() { "/usr/bin/docker" } else { "docker" }
}

/// Waits until the engine answers.
pub(crate) fn await_ready(engine: &Process) -> anyhow::Result<()> {
    let host = engine.docker_host.as_deref().context("an engine has a socket")?;
    let deadline = Instant::now() + READY_LIMIT;
    while !answers(host) {
        if !engine.alive() {
            bail!("{} ended:\n{}", engine.name, engine.log_tail());
        }
        if Instant::now() > deadline {
            bail!("{} does not answer after {READY_LIMIT:?}; its log: {}", engine.name, engine.log);
        }
        std::thread::park_timeout(Duration::from_millis(200));
    }
    Ok(())
}

/// Removes every container of a node's engine, then stops it and removes its files.
pub(crate) fn remove(engine: &Process) {
    if let Some(host) = engine.docker_host.as_deref().filter(|_| engine.alive()) {
        let listed = Command::new(docker_client()).args(["--host", host, "ps", "-aq"]).output();
        let ids = listed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        let ids: Vec<_> = ids.split_whitespace().collect();
        if !ids.is_empty() {
            let _ = Command::new(docker_client()).args(["--host", host, "rm", "-f"]).args(&ids).output();
        }
    }
    if let Err(error) = engine.stop() {
        tracing::warn!(engine = engine.name, %error, "the engine did not stop");
    }
    if let Some(socket) = engine.docker_host.as_deref().and_then(|host| host.strip_prefix("unix://")) {
        let _ = std::fs::remove_file(socket);
    }
}

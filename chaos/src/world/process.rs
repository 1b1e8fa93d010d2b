//! Processes that outlive the command that started them, and signals to exactly those.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::world::layout::Place;

/// How long a process may take to end after SIGTERM before it is killed.
const TERM_GRACE: Duration = Duration::from_secs(20);

/// A process and what is needed to start it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    pub(crate) name: String,
    /// `server`, `node` or `engine`.
    pub(crate) role: String,
    pub(crate) pid: i32,
    /// Clock ticks at which the kernel started it: a recycled pid has another.
    pub(crate) started: u64,
    pub(crate) address: String,
    pub(crate) data_dir: String,
    pub(crate) command: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) docker_host: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) namespace: Option<String>,
    pub(crate) log: String,
}

impl Process {
    /// What is to run in a place, with a log in `dir`; `start` starts it.
    pub(crate) fn new(
        dir: &Path,
        place: &Place,
        role: &str,
        command: Vec<String>,
        docker_host: Option<String>,
    ) -> Self {
        Process {
            name: place.name.clone(),
            role: role.to_owned(),
            pid: 0,
            started: 0,
            address: place.address.to_string(),
            data_dir: place.data_dir.display().to_string(),
            command,
            docker_host,
            namespace: place.namespace.clone(),
            log: dir.join(format!("{}.log", place.name)).display().to_string(),
        }
    }

    /// Starts `command` in its own session, with its output appended to `log`.
    pub(crate) fn start(&mut self) -> anyhow::Result<()> {
        let log = File::options().create(true).append(true).open(&self.log).with_context(|| self.log.clone())?;
        let mut command = match &self.namespace {
            Some(namespace) => {
                // nsenter and not `ip netns exec`: that one hides mounts, which an agent and its engine share.
                let mut command = Command::new("nsenter");
                command.arg(format!("--net=/run/netns/{namespace}")).args(&self.command);
                command
            }
            None => {
                let mut command = Command::new(&self.command[0]);
                command.args(&self.command[1..]);
                command
            }
        };
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", self.command[0]))?;
        self.pid = i32::try_from(child.id()).context("pid")?;
        self.started = started(self.pid).with_context(|| format!("{} ended at once; see {}", self.name, self.log))?;
        Ok(())
    }

    /// The folder that its disk is mounted on, where it has one of its own.
    pub(crate) fn disk(&self) -> &Path {
        Path::new(&self.data_dir).parent().unwrap_or(Path::new("/"))
    }

    /// Whether it still runs (a zombie does not).
    pub(crate) fn alive(&self) -> bool {
        let _ = nix::sys::wait::waitpid(Pid::from_raw(self.pid), Some(nix::sys::wait::WaitPidFlag::WNOHANG));
        started(self.pid) == Some(self.started)
    }

    /// Sends a signal, only to the process that was started here.
    pub(crate) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        if !self.alive() {
            bail!("{} (pid {}) is not running", self.name, self.pid);
        }
        signal::kill(Pid::from_raw(self.pid), signal).with_context(|| format!("{signal} to {}", self.name))
    }

    /// SIGKILL, and waits until it is gone.
    pub(crate) fn kill(&self) -> anyhow::Result<()> {
        self.signal(Signal::SIGKILL)?;
        self.await_end(TERM_GRACE)
    }

    /// SIGTERM, then SIGKILL after a grace. Fine when it has ended already.
    pub(crate) fn stop(&self) -> anyhow::Result<()> {
        if !self.alive() {
            return Ok(());
        }
        let _ = self.signal(Signal::SIGCONT);
        self.signal(Signal::SIGTERM)?;
        self.await_end(TERM_GRACE).or_else(|_| self.kill())
    }

    fn await_end(&self, limit: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + limit;
        while self.alive() {
            if Instant::now() > deadline {
                bail!("{} (pid {}) did not end within {limit:?}", self.name, self.pid);
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
        Ok(())
    }

    /// The last lines of its log, for an error.
    pub(crate) fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

/// Field 22 of `/proc/PID/stat`; none when there is no such process or only its zombie.
fn started(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(dir: &Path) -> Process {
        Process {
            name: "sleeper".into(),
            role: "server".into(),
            pid: 0,
            started: 0,
            address: String::new(),
            data_dir: String::new(),
            command: vec!["sleep".into(), "600".into()],
            docker_host: None,
            namespace: None,
            log: dir.join("log").display().to_string(),
        }
    }

    #[test]
    fn a_process_is_started_paused_and_killed() {
        let dir = tempfile::tempdir().unwrap();
        let mut process = sleeper(dir.path());
        process.start().unwrap();
        assert!(process.alive());
        process.signal(Signal::SIGSTOP).unwrap();
        process.stop().unwrap();
        assert!(!process.alive());
        assert!(process.kill().is_err(), "killing a dead process is an error, not a vacuous success");
    }

    #[test]
    fn a_recycled_pid_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let mut process = sleeper(dir.path());
        process.start().unwrap();
        let impostor = Process { started: process.started + 1, ..process.clone() };
        assert!(!impostor.alive());
        impostor.stop().unwrap();
        assert!(process.alive());
        process.kill().unwrap();
    }
}

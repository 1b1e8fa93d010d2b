//! A command in a container, for probes and hooks: run, bounded in time and output.

use std::time::Duration;

use bollard::exec::StartExecResults;
use bollard::models::ExecConfig;
use futures_util::StreamExt;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::super::{EXEC_OUTPUT_MAX, Executed, RuntimeError};
use super::{Docker, engine};

impl Docker {
    pub(super) async fn execute(
        &self,
        container: &str,
        command: &[String],
        limit: Duration,
    ) -> Result<Executed, RuntimeError> {
        let config = ExecConfig {
            cmd: Some(command.to_vec()),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..ExecConfig::default()
        };
        let id = self.client.create_exec(container, config).await.map_err(engine)?.id;
        let Ok(output) = tokio::time::timeout(limit, self.run_exec(&id)).await else {
            self.kill_exec(container, &id).await;
            return Err(RuntimeError::Timeout("command"));
        };
        let output = output?;
        let code = self.client.inspect_exec(&id).await.map_err(engine)?.exit_code.unwrap_or(-1);
        Ok(Executed { code, output })
    }

    async fn run_exec(&self, id: &str) -> Result<String, RuntimeError> {
        let mut kept = Vec::new();
        if let StartExecResults::Attached { mut output, .. } = self.client.start_exec(id, None).await.map_err(engine)? {
            while let Some(chunk) = output.next().await {
                let chunk = chunk.map_err(engine)?.into_bytes();
                let room = EXEC_OUTPUT_MAX.saturating_sub(kept.len());
                kept.extend_from_slice(&chunk[..chunk.len().min(room)]);
            }
        }
        Ok(String::from_utf8_lossy(&kept).into_owned())
    }

    /// Docker cannot end a command: its process is killed, if it is on this machine and surely the container's.
    async fn kill_exec(&self, container: &str, id: &str) {
        let Ok(found) = self.client.inspect_exec(id).await else { return };
        let Some(pid) = found.pid.and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 1) else { return };
        let cgroup = tokio::fs::read_to_string(format!("/proc/{pid}/cgroup")).await.unwrap_or_default();
        if found.running == Some(true) && cgroup.contains(container) {
            let result = kill(Pid::from_raw(pid), Signal::SIGKILL);
            tracing::debug!(pid, ?result, "command outlived its time limit");
        }
    }
}

//! Simulated containers that start, run and stop, for trying the control plane and for scale.
//!
//! A container runs until it is stopped, unless its environment has `SIM_EXIT=CODE@SECONDS`: then it ends by itself.
//! An image whose name contains `sim-missing` cannot be pulled.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use proto::agent::{ContainerUsage, Usage};
use tokio::sync::{Notify, mpsc};

use super::{Contents, EngineInfo, Executed, Image, Runtime, RuntimeError, Signal};
use crate::plan::config::{ContainerConfig, Credentials, LogOptions, PodId, SandboxConfig};
use crate::plan::observed::{Container, Exit, Sandbox, State};
use crate::plan::spec::PullPolicy;

/// Bound on uids of changed pods not yet picked up by the watcher; beyond it the periodic look finds them.
const CHANGED_MAX: usize = 4096;

/// An engine in memory.
#[derive(Debug, Default)]
pub struct Sim {
    state: Mutex<Inner>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    next_id: u64,
    pods: BTreeMap<String, (PodId, Contents)>,
    /// Containers that end by themselves: (when, id) to (uid, exit code).
    ends: BTreeMap<(Timestamp, String), (String, i32)>,
    changed: Vec<String>,
}

impl Inner {
    fn id(&mut self) -> String {
        self.next_id += 1;
        format!("{:064x}", self.next_id)
    }

    fn note(&mut self, uid: &str) {
        if self.changed.len() < CHANGED_MAX {
            self.changed.push(uid.to_owned());
        }
    }

    /// Ends what ends by itself until now.
    fn advance(&mut self, now: Timestamp) {
        while let Some(entry) = self.ends.first_entry().filter(|e| e.key().0 <= now) {
            let ((at, id), (uid, code)) = entry.remove_entry();
            self.end(&uid, &id, code, at);
        }
    }

    fn end(&mut self, uid: &str, id: &str, code: i32, at: Timestamp) {
        let Some((_, contents)) = self.pods.get_mut(uid) else { return };
        let Some(container) = contents.containers.iter_mut().find(|c| c.id == id) else { return };
        if let State::Running { started_at } = container.state {
            let reason = if code == 0 { "Completed" } else { "Error" }.to_owned();
            container.state =
                State::Exited(Exit { started_at: Some(started_at), finished_at: at, code, reason, message: None });
            self.note(uid);
        }
    }

    fn owner(&self, id: &str) -> Option<String> {
        let holds = |c: &Contents| c.sandboxes.iter().any(|s| s.id == id) || c.containers.iter().any(|c| c.id == id);
        self.pods.iter().find(|(_, (_, contents))| holds(contents)).map(|(uid, _)| uid.clone())
    }
}

/// `CODE@SECONDS`.
fn own_end(config: &ContainerConfig) -> Option<(i32, SignedDuration)> {
    let (_, text) = config.env.iter().find(|(name, _)| name == "SIM_EXIT")?;
    let (code, seconds) = text.split_once('@')?;
    Some((code.parse().ok()?, SignedDuration::from_secs(seconds.parse().ok()?)))
}

/// What a simulated container uses: a few thousandths of a CPU and some memory, the same at every look.
fn used(pod: &PodId, container: &Container, now: Timestamp) -> Option<ContainerUsage> {
    let State::Running { started_at } = container.state else { return None };
    let draw = container
        .id
        .bytes()
        .chain(pod.uid.bytes())
        .fold(17_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    let millis = u64::try_from(now.duration_since(started_at).as_millis()).unwrap_or(0);
    // Nanoseconds per millisecond are millionths of a CPU.
    let cpu_usage_ns = millis.saturating_mul(1_000 + draw % 9_000);
    let memory = (8 << 20) + draw % (56 << 20);
    let usage = Usage {
        cpu_usage_ns,
        cpu_user_ns: cpu_usage_ns / 4 * 3,
        cpu_system_ns: cpu_usage_ns / 4,
        memory_usage_bytes: memory + memory / 4,
        memory_working_set_bytes: memory,
        memory_rss_bytes: memory / 4 * 3,
        memory_cache_bytes: memory / 2,
        processes: 1,
        ..Usage::default()
    };
    Some(ContainerUsage {
        namespace: pod.namespace.clone(),
        pod: pod.name.clone(),
        pod_uid: pod.uid.clone(),
        container: container.name.clone(),
        id: container.id.clone(),
        image: container.image.clone(),
        started_ms: started_at.as_millisecond(),
        usage: Some(usage),
        interfaces: Vec::new(),
    })
}

impl Runtime for Sim {
    const SIMULATED: bool = true;

    async fn info(&self) -> Result<EngineInfo, RuntimeError> {
        Ok(EngineInfo { version: format!("sim://{}", env!("CARGO_PKG_VERSION")) })
    }

    async fn pods(&self) -> Result<Vec<PodId>, RuntimeError> {
        Ok(self.state.lock().pods.values().map(|(pod, _)| pod.clone()).collect())
    }

    async fn contents(&self, uid: &str) -> Result<Contents, RuntimeError> {
        let mut state = self.state.lock();
        state.advance(Timestamp::now());
        Ok(state.pods.get(uid).map(|(_, contents)| contents.clone()).unwrap_or_default())
    }

    async fn create_sandbox(&self, config: &SandboxConfig) -> Result<String, RuntimeError> {
        let mut state = self.state.lock();
        let id = state.id();
        let sandbox = Sandbox {
            id: id.clone(),
            attempt: config.attempt,
            running: true,
            created_at: Timestamp::now(),
            pid: 0,
            engine_ips: Vec::new(),
        };
        let entry = state.pods.entry(config.pod.uid.clone());
        entry.or_insert_with(|| (config.pod.clone(), Contents::default())).1.sandboxes.insert(0, sandbox);
        Ok(id)
    }

    async fn ensure_image(
        &self,
        image: &str,
        _: PullPolicy,
        _: &[Credentials],
        pulls: &(dyn Fn() + Send + Sync),
    ) -> Result<Image, RuntimeError> {
        if image.contains("sim-missing") {
            pulls();
            let message = "it is simulated to be missing".to_owned();
            return Err(RuntimeError::Image { reason: "ErrImagePull", message });
        }
        Ok(Image { id: "sha256:0".to_owned(), user: String::new(), pulled_in: None })
    }

    async fn start(&self, config: &ContainerConfig) -> Result<String, RuntimeError> {
        let now = Timestamp::now();
        let mut state = self.state.lock();
        let id = state.id();
        let uid = config.pod.as_ref().map(|p| p.uid.clone()).unwrap_or_default();
        let Some((_, contents)) = state.pods.get_mut(&uid) else {
            return Err(RuntimeError::NotFound(format!("sandbox {}", config.sandbox)));
        };
        let container = Container {
            id: id.clone(),
            name: config.name.clone(),
            restart: config.restart,
            backoff_s: config.backoff_s,
            sandbox: config.sandbox.clone(),
            hash: config.hash.clone(),
            image: config.image.clone(),
            image_id: "sha256:0".to_owned(),
            created_at: now,
            state: State::Running { started_at: now },
        };
        contents.containers.insert(0, container);
        if let Some((code, after)) = own_end(config) {
            state.ends.insert((now + after, id.clone()), (uid, code));
            self.changed.notify_one();
        }
        Ok(id)
    }

    async fn signal(&self, id: &str, signal: Signal) -> Result<(), RuntimeError> {
        let mut state = self.state.lock();
        let Some(uid) = state.owner(id) else { return Ok(()) };
        let code = if signal == Signal::Kill { 137 } else { 143 };
        state.end(&uid, id, code, Timestamp::now());
        if let Some((_, contents)) = state.pods.get_mut(&uid) {
            contents.sandboxes.iter_mut().filter(|s| s.id == id).for_each(|s| s.running = false);
        }
        state.note(&uid);
        self.changed.notify_one();
        Ok(())
    }

    async fn remove(&self, id: &str) -> Result<(), RuntimeError> {
        let mut state = self.state.lock();
        let Some(uid) = state.owner(id) else { return Ok(()) };
        if let Some((_, contents)) = state.pods.get_mut(&uid) {
            contents.sandboxes.retain(|s| s.id != id);
            contents.containers.retain(|c| c.id != id);
            if contents.sandboxes.is_empty() && contents.containers.is_empty() {
                state.pods.remove(&uid);
            }
        }
        Ok(())
    }

    async fn exec(&self, _: &str, _: &[String], _: Duration) -> Result<Executed, RuntimeError> {
        Ok(Executed { code: 0, output: String::new() })
    }

    async fn logs(&self, id: &str, _: &LogOptions, sink: mpsc::Sender<Bytes>) -> Result<(), RuntimeError> {
        let text = format!("container {id} is simulated: it has no output\n");
        // The reader may have gone, which ends the log as well.
        let _ = sink.send(text.into()).await;
        Ok(())
    }

    async fn measure(&self) -> Result<Vec<ContainerUsage>, RuntimeError> {
        let now = Timestamp::now();
        let state = self.state.lock();
        let of_pod = |(pod, contents): &(PodId, Contents)| {
            let usage = |container: &Container| used(pod, container, now);
            contents.containers.iter().filter_map(usage).collect::<Vec<_>>()
        };
        Ok(state.pods.values().flat_map(of_pod).collect())
    }

    async fn watch(&self, sink: mpsc::Sender<String>) -> Result<(), RuntimeError> {
        loop {
            let (changed, next) = {
                let mut state = self.state.lock();
                state.advance(Timestamp::now());
                let next = state.ends.first_key_value().map(|((at, _), _)| *at);
                (std::mem::take(&mut state.changed), next)
            };
            for uid in changed {
                if sink.send(uid).await.is_err() {
                    return Ok(());
                }
            }
            let wait = next.map_or(Duration::from_secs(3600), |at| {
                Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default()
            });
            tokio::select! {
                () = self.changed.notified() => {}
                () = tokio::time::sleep(wait) => {}
                () = sink.closed() => return Ok(()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_simulated_container_uses_a_few_thousandths_of_a_cpu() {
        let pod = PodId { namespace: "ns".into(), name: "p".into(), uid: "u".into() };
        let now = Timestamp::from_second(1000).expect("a time");
        for number in 0..50 {
            let container = Container {
                id: format!("{number:064x}"),
                name: "c".into(),
                restart: 0,
                backoff_s: 0,
                sandbox: "s".into(),
                hash: String::new(),
                image: "i".into(),
                image_id: String::new(),
                created_at: Timestamp::UNIX_EPOCH,
                state: State::Running { started_at: Timestamp::UNIX_EPOCH },
            };
            let usage = used(&pod, &container, now).and_then(|held| held.usage).expect("it runs");
            assert!((1_000_000_000..=10_000_000_000).contains(&usage.cpu_usage_ns), "{usage:?}");
            assert!(usage.memory_working_set_bytes < 64 << 20, "{usage:?}");
        }
    }
}

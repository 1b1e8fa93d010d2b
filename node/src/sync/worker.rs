//! One pod's worker: look, plan, act, tell; then wait for whatever comes first.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, Probe};
use tokio::io::AsyncReadExt;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::execute::{Shared, execute, set_up_volumes};
use super::probes::{Check, address};
use crate::plan::config::LogOptions;
use crate::plan::memory::{Health, Outcome, Progress};
use crate::plan::observed::{Observed, State};
use crate::plan::pod::{Plan, Step, plan};
use crate::plan::probe::{Counter, Kind};
use crate::plan::{event, spec, status, termination};
use crate::runtime::Runtime;

/// A worker looks again after this time even if it was told nothing: events can be lost.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// Volumes are brought up to date in this time: what they show may have changed, tokens expire. As the kubelet.
const REFRESH: jiff::SignedDuration = jiff::SignedDuration::from_secs(60);
/// Bound on rounds of planning before other workers get their turn.
const ROUNDS_MAX: usize = 32;

/// What a worker is told: the pod as it is wanted, a count that grows when something may have changed, and whether
/// the pod's object is gone.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The pod.
    pub pod: Arc<Pod>,
    /// Its object is gone, or was never there.
    pub removed: bool,
}

enum Finished {
    Step(Step, Outcome),
    Probe { kind: Kind, container: String, id: String, verdict: bool, message: String },
}

struct Worker<R> {
    shared: Arc<Shared<R>>,
    /// Last words of instances, by id.
    words: BTreeMap<String, Option<String>>,
    observed: Observed,
    told: Vec<u8>,
    background: JoinSet<Option<Finished>>,
    probing: BTreeMap<(String, Kind), (String, CancellationToken)>,
    /// When the volumes were brought up to date.
    refreshed: Timestamp,
}

/// Works on one pod until nothing of it is left, or the agent ends (which touches no container).
pub async fn work<R: Runtime>(shared: Arc<Shared<R>>, mut wanted: watch::Receiver<Wanted>, stop: CancellationToken) {
    let pod = Arc::clone(&wanted.borrow().pod);
    let observed = Observed {
        previous: pod.status.clone().unwrap_or_default(),
        host_ips: shared.host_ips.clone(),
        ..Observed::default()
    };
    let mut worker = Worker {
        shared,
        words: BTreeMap::new(),
        observed,
        told: Vec::new(),
        background: JoinSet::new(),
        probing: BTreeMap::new(),
        refreshed: Timestamp::now(),
    };
    worker.adopt(&pod);
    while !stop.is_cancelled() {
        let now_wanted = wanted.borrow_and_update().clone();
        worker.observed.memory.removed = now_wanted.removed;
        let wake_at = worker.round(&now_wanted.pod).await;
        if worker.observed.memory.finished {
            break;
        }
        let wait = wake_at.map_or(LOOK_AGAIN, |at| {
            Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default().min(LOOK_AGAIN)
        });
        tokio::select! {
            () = stop.cancelled() => {}
            changed = wanted.changed() => if changed.is_err() { break },
            Some(ended) = worker.background.join_next() => if let Ok(Some(finished)) = ended { worker.finish(&now_wanted.pod, finished) },
            () = tokio::time::sleep(wait) => {}
        }
    }
    worker.background.shutdown().await;
}

impl<R: Runtime> Worker<R> {
    /// Containers that were ready when the agent last spoke are ready until a probe says otherwise.
    fn adopt(&mut self, pod: &Pod) {
        let statuses = pod.status.iter().flat_map(|s| s.container_statuses.iter().flatten());
        for status in statuses {
            let Some(id) = status.container_id.as_deref().and_then(|id| id.strip_prefix("docker://")) else { continue };
            let health =
                Health { id: id.to_owned(), started: status.started == Some(true), ready: status.ready, failed: None };
            self.observed.memory.containers.entry(status.name.clone()).or_default().health = Some(health);
        }
    }

    /// Looks, plans and acts until nothing is left to do now; when to look again.
    async fn round(&mut self, pod: &Arc<Pod>) -> Option<Timestamp> {
        let shared = Arc::clone(&self.shared);
        let _slot = shared.slots.acquire().await.ok()?;
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        for _ in 0..ROUNDS_MAX {
            match shared.runtime.contents(&uid).await {
                Ok(found) => (self.observed.sandboxes, self.observed.containers) = (found.sandboxes, found.containers),
                Err(error) => {
                    tracing::warn!(pod = pod.metadata.name, %error, "the engine does not tell about a pod");
                    return Some(Timestamp::now() + jiff::SignedDuration::from_secs(2));
                }
            }
            self.listen(pod).await;
            let now = Timestamp::now();
            let memory = &self.observed.memory;
            let ending = spec::deleted(pod) || memory.removed || status::terminal(pod, &self.observed, now);
            if ending && memory.ending_since.is_none() {
                self.observed.memory.ending_since = Some(now);
            }
            self.tell(pod, now);
            self.probe(pod);
            let Plan { steps, wake_at } = plan(pod, &self.observed, now);
            if steps.is_empty() {
                self.refresh(pod, now).await;
                return wake_at;
            }
            for step in steps {
                if !self.act(pod, step).await {
                    break;
                }
            }
            if self.observed.memory.finished {
                self.tell(pod, Timestamp::now());
                return None;
            }
        }
        Some(Timestamp::now())
    }

    /// Brings the volumes of a pod that runs up to date, now and then.
    async fn refresh(&mut self, pod: &Pod, now: Timestamp) {
        let memory = &self.observed.memory;
        let quiet = memory.volumes != Progress::Done || memory.ending_since.is_some();
        if quiet || now.duration_since(self.refreshed) < REFRESH {
            return;
        }
        self.refreshed = now;
        if let Outcome::Failed(_, message) = set_up_volumes(&self.shared, pod, &self.observed).await {
            tracing::warn!(pod = pod.metadata.name, message, "the pod's volumes stay as they are");
        }
    }

    /// Completes what is known of instances that have ended by their last words.
    async fn listen(&mut self, pod: &Pod) {
        let (shared, previous, words) = (&self.shared, &self.observed.previous, &mut self.words);
        words.retain(|id, _| self.observed.containers.iter().any(|held| held.id == *id));
        for instance in &mut self.observed.containers {
            let (id, name, restart) = (instance.id.clone(), instance.name.clone(), instance.restart);
            let State::Exited(exit) = &mut instance.state else { continue };
            if exit.message.is_some() {
                continue;
            }
            if !words.contains_key(&id) {
                let told = termination::told(previous, &format!("docker://{id}"));
                let said = match told {
                    Some(told) => Some(told),
                    None => last_words(shared, pod, (&id, &name, restart), exit.code).await,
                };
                words.insert(id.clone(), said);
            }
            exit.message = words.get(&id).cloned().flatten();
        }
    }

    /// Carries a step out, or hands it to the background; false when it failed.
    async fn act(&mut self, pod: &Arc<Pod>, step: Step) -> bool {
        let slow = matches!(step, Step::EnsureImage { .. } | Step::PostStart { .. } | Step::PreStop { .. });
        if slow {
            self.observed.memory.record(&step, Outcome::Begun, Timestamp::now());
            let (shared, pod, observed) = (Arc::clone(&self.shared), Arc::clone(pod), self.observed.clone());
            self.background.spawn(async move {
                let outcome = execute(&shared, &pod, &observed, &step).await;
                Some(Finished::Step(step, outcome))
            });
            return true;
        }
        let outcome = execute(&self.shared, pod, &self.observed, &step).await;
        let failed = matches!(outcome, Outcome::Failed(..));
        if let Outcome::Failed(reason, message) = &outcome {
            tracing::warn!(pod = pod.metadata.name, ?step, reason, message, "a step failed");
        }
        self.say(pod, event::of_step(pod, &step, &outcome));
        self.observed.memory.record(&step, outcome, Timestamp::now());
        !failed
    }

    /// Tells people.
    fn say(&self, pod: &Pod, events: Vec<event::Told>) {
        events.iter().for_each(|told| self.shared.say(pod, told));
    }

    fn finish(&mut self, pod: &Pod, finished: Finished) {
        match finished {
            Finished::Step(step, outcome) => {
                self.say(pod, event::of_step(pod, &step, &outcome));
                self.observed.memory.record(&step, outcome, Timestamp::now());
            }
            Finished::Probe { kind, container, id, verdict, message } => {
                self.probing.remove(&(container.clone(), kind));
                let memory = self.observed.memory.containers.entry(container.clone()).or_default();
                let health = memory.health.get_or_insert_with(Health::default);
                if health.id != id {
                    *health = Health { id, ..Health::default() };
                }
                match (kind, verdict) {
                    (Kind::Startup, true) => health.started = true,
                    (Kind::Readiness, ready) => health.ready = ready,
                    (Kind::Liveness, true) => {}
                    (_, false) => {
                        let word = kind.word().to_lowercase();
                        tracing::info!(container, message, "{word} probe failed for good");
                        health.failed = Some(format!("Container {container} failed {word} probe, will be restarted"));
                    }
                }
            }
        }
    }

    /// Tells the status if it differs from what was told last, or if somebody has written another one since.
    fn tell(&mut self, pod: &Pod, now: Timestamp) {
        let next = status::status(pod, &self.observed, now);
        self.say(pod, event::of_status(pod, &self.observed.previous, &next));
        self.observed.previous = next;
        let json = serde_json::to_vec(&self.observed.previous).expect("a status is plain data");
        let terminated = self.observed.memory.finished;
        if json == self.told && !terminated {
            if !pod.status.as_ref().is_some_and(|stored| status::says(stored, &self.observed.previous)) {
                self.shared.outbox.again(pod.metadata.uid.as_deref().unwrap_or_default());
            }
            return;
        }
        self.told.clone_from(&json);
        let text = |t: &Option<String>| t.clone().unwrap_or_default();
        self.shared.outbox.put(proto::agent::PodStatus {
            namespace: text(&pod.metadata.namespace),
            name: text(&pod.metadata.name),
            uid: text(&pod.metadata.uid),
            status_json: json.into(),
            terminated,
            epoch: self.shared.mirror.position().0,
        });
    }

    /// Has each probe of each running container under way, and ends those of containers that are gone.
    fn probe(&mut self, pod: &Arc<Pod>) {
        let live: Vec<_> = self.observed.containers.iter().filter(|c| c.running()).map(|c| c.id.clone()).collect();
        self.probing.retain(|_, (id, stop)| {
            let keep = live.contains(id);
            if !keep {
                stop.cancel();
            }
            keep
        });
        if self.observed.memory.ending_since.is_some() {
            self.probing.values().for_each(|(_, stop)| stop.cancel());
            return;
        }
        for container in spec::all(pod) {
            let Some(instance) = self.observed.newest(&container.name).filter(|i| i.running()) else { continue };
            let health = self.observed.memory.container(&container.name).and_then(|m| m.health.clone());
            let health = health.filter(|h| h.id == instance.id).unwrap_or_default();
            let started = container.startup_probe.is_none() || health.started;
            let id = instance.id.clone();
            for (kind, probe) in [
                (Kind::Startup, container.startup_probe.as_ref().filter(|_| !health.started)),
                (Kind::Liveness, container.liveness_probe.as_ref().filter(|_| started && health.failed.is_none())),
                (Kind::Readiness, container.readiness_probe.as_ref().filter(|_| started)),
            ] {
                let slot = (container.name.clone(), kind);
                if let (Some(probe), false) = (probe, self.probing.contains_key(&slot)) {
                    let stop = CancellationToken::new();
                    self.probing.insert(slot, (id.clone(), stop.clone()));
                    let ready = (kind == Kind::Readiness).then_some(health.ready);
                    self.spawn_probe(pod, kind, probe.clone(), container.clone(), id.clone(), ready, stop);
                }
            }
        }
    }

    /// Probes until there is a verdict that changes something.
    #[expect(clippy::too_many_arguments, reason = "what one task takes with it")]
    fn spawn_probe(
        &mut self,
        pod: &Arc<Pod>,
        kind: Kind,
        probe: Probe,
        container: Container,
        id: String,
        known: Option<bool>,
        stop: CancellationToken,
    ) {
        let (shared, pod, ip) = (Arc::clone(&self.shared), Arc::clone(pod), address(&self.observed));
        let seconds =
            |n: Option<i32>, default: i32| Duration::from_secs(n.unwrap_or(default).max(0).unsigned_abs().into());
        let period = seconds(probe.period_seconds, 10).max(Duration::from_secs(1));
        let limit = seconds(probe.timeout_seconds, 1).max(Duration::from_secs(1));
        let first = if known == Some(true) { period } else { seconds(probe.initial_delay_seconds, 0) };
        self.background.spawn(async move {
            let mut counter = Counter::new(&probe);
            let mut wait = first;
            loop {
                tokio::select! {
                    () = stop.cancelled() => return None,
                    () = tokio::time::sleep(wait) => {}
                }
                wait = period;
                let result = Check::from(&probe).run(&shared.runtime, &id, ip, Some(&container), limit).await;
                let changes = |verdict: &bool| match kind {
                    Kind::Startup => true,
                    Kind::Liveness => !verdict,
                    Kind::Readiness => known != Some(*verdict),
                };
                let verdict = counter.count(result.is_ok()).filter(changes);
                let message = result.err().unwrap_or_default();
                if counter.worth_telling() {
                    shared.say(&pod, &event::of_probe(kind, &container.name, &message));
                }
                if let Some(verdict) = verdict {
                    return Some(Finished::Probe { kind, container: container.name, id, verdict, message });
                }
            }
        });
    }
}

/// What an instance wrote before it ended, or the end of its log where that is asked for.
async fn last_words<R: Runtime>(
    shared: &Shared<R>,
    pod: &Pod,
    (id, name, restart): (&str, &str, u32),
    code: i32,
) -> Option<String> {
    let file = tokio::fs::File::open(shared.volumes.last_words(pod, name, restart)).await;
    let mut text = Vec::new();
    if let Ok(file) = file {
        let bytes = u64::try_from(termination::FILE_BYTES_MAX).unwrap_or(u64::MAX);
        file.take(bytes).read_to_end(&mut text).await.ok()?;
    }
    let written = termination::from_file(&text);
    let falls_back =
        spec::all(pod).find(|held| held.name == name).is_some_and(|held| termination::falls_back(held, code));
    if written.is_some() || !falls_back {
        return written;
    }
    let (sink, mut lines) = tokio::sync::mpsc::channel::<bytes::Bytes>(16);
    let options = LogOptions { tail_lines: Some(termination::LOG_LINES_MAX), ..LogOptions::default() };
    let gather = async {
        let mut log = Vec::new();
        while let Some(line) = lines.recv().await {
            log.extend_from_slice(&line);
        }
        log
    };
    let (read, log) = tokio::join!(shared.runtime.logs(id, &options, sink), gather);
    read.ok().and_then(|()| termination::from_log(&log))
}

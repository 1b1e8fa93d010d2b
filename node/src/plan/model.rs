//! A pod's world in memory for tests: carries steps out on an [`Observed`], so that plans can be followed to their end.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;

use super::memory::{Health, Outcome, Progress};
use super::observed::{Container, Exit, Observed, Sandbox, State};
use super::pod::{Plan, Step, plan};
use super::{spec, status};

/// A pod and all that was made of it.
pub(crate) struct Model {
    pub(crate) pod: Pod,
    pub(crate) observed: Observed,
    pub(crate) now: Timestamp,
    /// Steps that fail when tried, by their text.
    pub(crate) fails: BTreeSet<String>,
    /// Containers that ignore the stop signal.
    pub(crate) stubborn: BTreeSet<String>,
    ids: u32,
}

impl Model {
    pub(crate) fn new(pod: Pod) -> Self {
        let now = "2026-01-01T00:00:00Z".parse().expect("a timestamp");
        let observed = Observed { host_ips: vec![[10, 0, 0, 1].into()], ..Observed::default() };
        Self { pod, observed, now, fails: BTreeSet::new(), stubborn: BTreeSet::new(), ids: 0 }
    }

    pub(crate) fn wait(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
    }

    /// Plans and executes until nothing is left to do at this moment; the steps taken.
    pub(crate) fn settle(&mut self) -> Vec<String> {
        let mut taken = Vec::new();
        for _ in 0..100 {
            let Plan { steps, .. } = self.plan();
            if steps.is_empty() {
                return taken;
            }
            for step in steps {
                taken.push(text(&step));
                self.execute(&step);
            }
        }
        panic!("no end of steps: {taken:?}");
    }

    pub(crate) fn plan(&mut self) -> Plan {
        let ending = spec::deleted(&self.pod) || status::terminal(&self.pod, &self.observed, self.now);
        if ending && self.observed.memory.ending_since.is_none() {
            self.observed.memory.ending_since = Some(self.now);
        }
        self.observed.previous = status::status(&self.pod, &self.observed, self.now);
        plan(&self.pod, &self.observed, self.now)
    }

    /// Ends the newest instance of a container.
    pub(crate) fn exit(&mut self, name: &str, code: i32) {
        let now = self.now;
        let instance = self.observed.containers.iter_mut().find(|c| c.name == name).expect("an instance");
        if let State::Running { started_at } = instance.state {
            let reason = if code == 0 { "Completed" } else { "Error" };
            instance.state = State::Exited(Exit {
                started_at: Some(started_at),
                finished_at: now,
                code,
                reason: reason.to_owned(),
                message: None,
            });
        }
    }

    /// Sets what probes found about the newest instance of a container.
    pub(crate) fn health(&mut self, name: &str, started: bool, ready: bool, failed: Option<&str>) {
        let id = self.observed.newest(name).expect("an instance").id.clone();
        let memory = self.observed.memory.containers.entry(name.to_owned()).or_default();
        memory.health = Some(Health { id, started, ready, failed: failed.map(str::to_owned) });
    }

    /// What an agent that has just started knows.
    pub(crate) fn forget(&mut self) {
        self.observed.memory = super::memory::Memory::default();
    }

    fn execute(&mut self, step: &Step) {
        let outcome = if self.fails.contains(&text(step)) {
            Outcome::Failed("ErrTest".to_owned(), "it was told to fail".to_owned())
        } else {
            self.act(step)
        };
        self.observed.memory.record(step, outcome, self.now);
    }

    fn act(&mut self, step: &Step) -> Outcome {
        self.ids += 1;
        let observed = &mut self.observed;
        match step {
            Step::CreateSandbox { attempt } => observed.sandboxes.insert(
                0,
                Sandbox {
                    id: format!("s{}", self.ids),
                    attempt: *attempt,
                    running: true,
                    created_at: self.now,
                    pid: 1,
                    engine_ips: Vec::new(),
                },
            ),
            Step::AttachNetwork { id } => return Outcome::Addresses(id.clone(), vec![[10, 1, 0, 2].into()]),
            Step::StopSandbox { id } => {
                observed.sandboxes.iter_mut().filter(|s| s.id == *id).for_each(|s| s.running = false);
            }
            Step::RemoveSandbox { id } => observed.sandboxes.retain(|s| s.id != *id),
            Step::Remove { id, .. } => observed.containers.retain(|c| c.id != *id),
            Step::Terminate { container, .. } if self.stubborn.contains(container) => {}
            Step::Terminate { container, .. } => self.exit(container, 143),
            Step::Kill { container, .. } => self.exit(container, 137),
            Step::Start { container, restart, backoff_s, .. } => {
                return self.start(container, *restart, *backoff_s);
            }
            _ => {}
        }
        Outcome::Done
    }

    fn start(&mut self, name: &str, restart: u32, backoff_s: u32) -> Outcome {
        let container = spec::all(&self.pod).find(|c| c.name == name).expect("in the spec");
        let id = format!("c{}", self.ids);
        let instance = Container {
            id: id.clone(),
            name: name.to_owned(),
            restart,
            backoff_s,
            sandbox: self.observed.sandbox().expect("a sandbox").id.clone(),
            hash: spec::hash(container),
            image: spec::image(container).to_owned(),
            image_id: "sha256:1".to_owned(),
            created_at: self.now,
            state: State::Running { started_at: self.now },
        };
        self.observed.containers.insert(0, instance);
        Outcome::Started(id)
    }
}

/// A step in a few words.
pub(crate) fn text(step: &Step) -> String {
    match step {
        Step::SetUpVolumes => "volumes".to_owned(),
        Step::CreateSandbox { attempt } => format!("sandbox {attempt}"),
        Step::AttachNetwork { .. } => "network".to_owned(),
        Step::EnsureImage { container } => format!("image {container}"),
        Step::Start { container, restart, backoff_s, .. } => format!("start {container} #{restart} next+{backoff_s}s"),
        Step::PostStart { container, .. } => format!("post-start {container}"),
        Step::PreStop { container, .. } => format!("pre-stop {container}"),
        Step::Terminate { container, .. } => format!("term {container}"),
        Step::Kill { container, .. } => format!("kill {container}"),
        Step::Remove { container, .. } => format!("remove {container}"),
        Step::StopSandbox { .. } => "stop sandbox".to_owned(),
        Step::RemoveSandbox { .. } => "remove sandbox".to_owned(),
        Step::TearDownVolumes => "tear down".to_owned(),
        Step::Finish => "finish".to_owned(),
    }
}

/// One line about a status: phase, then each container, then the conditions that hold.
pub(crate) fn summary(model: &mut Model) -> String {
    model.plan();
    let status = &model.observed.previous;
    let containers = status.init_container_statuses.iter().chain(&status.container_statuses).flatten().map(|s| {
        let state = s.state.clone().unwrap_or_default();
        let word = match (&state.waiting, &state.running, &state.terminated) {
            (Some(w), _, _) => w.reason.clone().unwrap_or_default(),
            (_, Some(_), _) if s.ready => "ready".to_owned(),
            (_, Some(_), _) => "running".to_owned(),
            (_, _, Some(t)) => format!("{}({})", t.reason.clone().unwrap_or_default(), t.exit_code),
            _ => "?".to_owned(),
        };
        format!("{}={word}x{}", s.name, s.restart_count)
    });
    let holds = status.conditions.iter().flatten().filter(|c| c.status == "True").map(|c| c.type_.clone());
    let words: Vec<_> = status.phase.iter().cloned().chain(containers).collect();
    format!("{} | {}", words.join(" "), holds.collect::<Vec<_>>().join(" "))
}

/// Marks the images of all containers as there.
pub(crate) fn images_present(model: &mut Model) {
    for container in spec::all(&model.pod).map(|c| c.name.clone()).collect::<Vec<_>>() {
        model.observed.memory.containers.entry(container).or_default().image = Progress::Done;
    }
}

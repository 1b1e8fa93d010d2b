//! The one shell of all controllers: it runs on the acting leader, keeps the world, asks planners, commits their plans.
//!
//! One task owns the world, so a plan sees one revision. At most one commit is under way, and nothing is planned before
//! the world holds what was committed: planners see their own writes and need no expectations.

pub mod queue;
#[cfg(test)]
pub(crate) mod stage;
pub mod world;

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use proto::mvccpb::event::EventType;
use store::api::{Epoch, Revision, WatchBatch, WatchError, WatchSpec};
use tokio_util::sync::CancellationToken;

use crate::controllers::{Enabled, Observed, Settings, TABLE};
use crate::gateway::liveness::Liveness;
use crate::kind::ALL;
use crate::metrics::Metrics;
use crate::reconcile::queue::{Queue, Work};
use crate::reconcile::world::{Changed, Item, World};
use crate::registry::commit::Txn;
use crate::registry::shell::Registry;
use crate::registry::{event_view, key};
use crate::status::Status;

/// Plans asked for before their changes are committed.
const PLANS_PER_ROUND: usize = 512;
/// Changes in one commit, about; bounds the log entry.
const CHANGES_PER_ROUND: usize = 1024;
/// Between attempts to begin a leadership's work.
const BEGIN_AGAIN: Duration = Duration::from_millis(200);

/// What controllers run on.
pub struct Reconciler {
    /// Where they write.
    pub registry: Registry,
    /// When nodes were heard.
    pub liveness: Arc<Liveness>,
    /// What planners are told besides objects.
    pub settings: Settings,
    /// Which rows of the table run.
    pub enabled: Enabled,
    /// Where it is counted what they do.
    pub metrics: Arc<Metrics>,
}

impl Reconciler {
    /// Acts whenever this server leads, until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let mut leadership = self.registry.store().leadership();
        loop {
            let epoch = tokio::select! {
                () = stop.cancelled() => return,
                held = leadership.wait_for(|held| held.acting) => match held {
                    Ok(held) => held.epoch,
                    Err(_) => return,
                },
            };
            let deposed = leadership.wait_for(|held| !held.acting || held.epoch != epoch);
            tokio::select! {
                () = stop.cancelled() => return,
                _ = deposed => tracing::info!(epoch, "this server leads no more"),
                ended = self.lead(epoch) => {
                    tracing::warn!(epoch, why = ended, "controllers begin again");
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = tokio::time::sleep(BEGIN_AGAIN) => {}
                    }
                }
            }
        }
    }

    /// One leadership's work; ends with a reason to begin again.
    async fn lead(&self, epoch: Epoch) -> String {
        if let Err(error) = self.registry.store().barrier().await {
            return error.to_string();
        }
        tracing::info!(epoch, "this server leads: controllers start");
        let mut round = Round::begin(self, epoch);
        match round.turn().await {
            Ok(never) => match never {},
            Err(why) => why,
        }
    }
}

/// Nothing.
enum Never {}

/// Where a leadership's work stands.
struct Round<'a> {
    shell: &'a Reconciler,
    epoch: Epoch,
    world: World,
    queue: Queue,
    /// Nothing is planned before the world has reached it.
    committed: Revision,
    since: Instant,
}

impl<'a> Round<'a> {
    fn begin(shell: &'a Reconciler, epoch: Epoch) -> Self {
        let view = shell.registry.store().view();
        let mut world = World::default();
        world.revision = view.revision();
        for kind in ALL.iter().filter(|kind| kind.stored && !event_view::is_view(kind)) {
            let prefix = key::prefix(kind, "");
            for kv in view.range(prefix.as_bytes(), &key::range_end(&prefix)) {
                if let (Some(key), Some(stored)) = (key::parse(&kv.key), readable(&shell.registry, &kv)) {
                    world.put(Item::new(key, stored.0, stored.1));
                }
            }
        }
        let mut round = Round { shell, epoch, world, queue: Queue::default(), committed: 0, since: Instant::now() };
        let all: Vec<Changed> = round.world.appeared().collect();
        for changed in &all {
            round.wake(changed);
        }
        for (at, controller) in TABLE.iter().enumerate().filter(|(_, row)| shell.enabled.has(row.name)) {
            for key in (controller.always)() {
                round.queue.add(Work { controller: at, key });
            }
        }
        round
    }

    fn wake(&mut self, changed: &Changed) {
        let mut keys = Vec::new();
        for (at, controller) in TABLE.iter().enumerate().filter(|(_, row)| self.shell.enabled.has(row.name)) {
            (controller.wakes)(&self.world, changed, &mut keys);
            for key in keys.drain(..) {
                self.queue.add(Work { controller: at, key });
            }
        }
    }

    /// Plans, commits and follows for ever; ends when the world can no longer be followed.
    async fn turn(&mut self) -> Result<Never, String> {
        let spec = WatchSpec {
            key: key::ROOT.into(),
            range_end: key::range_end(key::ROOT).into(),
            start_revision: self.world.revision + 1,
            prev_kv: false,
        };
        let mut watcher = self.shell.registry.store().watch(&spec);
        let mut commit = None;
        loop {
            if commit.is_none() && self.world.revision >= self.committed {
                let (works, txns) = self.plan();
                for (controller, depth) in self.queue.depths() {
                    self.shell.metrics.waiting(TABLE[controller].name, depth);
                }
                if !works.is_empty() {
                    let verdicts = self.shell.registry.commit(self.epoch, txns);
                    commit = Some(Box::pin(async move { (works, verdicts.await) }));
                }
            }
            let due =
                self.queue.next(Instant::now()).filter(|_| commit.is_none() && self.world.revision >= self.committed);
            tokio::select! {
                batch = watcher.next() => self.absorb(batch)?,
                (works, verdicts) = async { commit.as_mut().expect("checked").await }, if commit.is_some() => {
                    commit = None;
                    self.settle(works, verdicts);
                }
                () = async { tokio::time::sleep_until(due.expect("checked").into()).await }, if due.is_some() => {}
            }
        }
    }

    fn absorb(&mut self, batch: Result<WatchBatch, WatchError>) -> Result<(), String> {
        let batch = batch.map_err(|error| error.to_string())?;
        for event in &batch.events {
            let Some((kv, key)) = event.kv.as_ref().and_then(|kv| Some((kv, key::parse(&kv.key)?))) else { continue };
            let changed = if event.r#type() == EventType::Delete {
                self.world.remove(&key)
            } else {
                readable(&self.shell.registry, kv).map(|(value, at)| self.world.put(Item::new(key, value, at)))
            };
            if let Some(changed) = changed {
                self.wake(&changed);
            }
        }
        self.world.revision = batch.revision;
        Ok(())
    }

    /// Asks planners until there is enough to commit. Each work has one place per transaction of its plan.
    fn plan(&mut self) -> (Vec<Work>, Vec<Txn>) {
        let (mut works, mut txns, mut changes) = (Vec::new(), Vec::new(), 0);
        let (now, time) = (Instant::now(), Timestamp::now());
        self.queue.ripen(now);
        for _ in 0..PLANS_PER_ROUND {
            let Some(work) = self.queue.take() else { break };
            let silent = |node: &str| self.shell.liveness.silent_for(node);
            let observed = Observed {
                world: &self.world,
                now: time,
                silent: &silent,
                leading_for: now - self.since,
                settings: &self.shell.settings,
            };
            let started = Instant::now();
            let plan = (TABLE[work.controller].plan)(&observed, &work.key);
            self.shell.metrics.planned(TABLE[work.controller].name, started.elapsed());
            if let Some(wait) = plan.wake_in {
                self.queue.add_at(now + wait, work.clone());
            }
            for txn in plan.txns.into_iter().filter(|txn| !txn.changes.is_empty()) {
                changes += txn.changes.len();
                works.push(work.clone());
                txns.push(txn);
            }
            if changes >= CHANGES_PER_ROUND {
                break;
            }
        }
        (works, txns)
    }

    fn settle(&mut self, works: Vec<Work>, verdicts: Result<Vec<Result<Revision, Status>>, Status>) {
        let now = Instant::now();
        let verdicts = verdicts.unwrap_or_else(|status| works.iter().map(|_| Err(status.clone())).collect());
        for (work, verdict) in works.into_iter().zip(verdicts) {
            match verdict {
                Ok(revision) => {
                    self.committed = self.committed.max(revision);
                    self.queue.succeeded(&work);
                }
                Err(status) => {
                    let controller = TABLE[work.controller].name;
                    // Somebody else was faster: what they did wakes the planner; all else is worth a line.
                    if status.code != 409 {
                        tracing::warn!(controller, key = ?work.key, message = status.message, "a plan was not taken");
                    }
                    self.queue.failed(now, work);
                }
            }
        }
    }
}

fn readable(registry: &Registry, kv: &proto::mvccpb::KeyValue) -> Option<(serde_json::Value, Revision)> {
    match registry.open(kv) {
        Ok(stored) => Some((stored.value, stored.revision)),
        Err(status) => {
            let key = String::from_utf8_lossy(&kv.key).into_owned();
            tracing::warn!(key, message = status.message, "an object cannot be read; controllers leave it alone");
            None
        }
    }
}

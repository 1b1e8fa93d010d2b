//! What agents say, written into objects: statuses of pods in batches, one log entry for those of all nodes that wait;
//! nodes when they register and when their status changes.
//!
//! The newest status of a pod wins. One that lost a race against another writer is tried again over what that one
//! wrote: an acknowledged status is in the store, or its pod is gone.

use std::collections::BTreeMap;

use bytes::Bytes;
use parking_lot::Mutex;
use proto::agent::{PodStatus, Statuses};
use serde_json::Value;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::status::{Next, merged, next, registered, told};
use crate::kind;
use crate::registry::commit::{Change, Part, Txn};
use crate::registry::key::Key;
use crate::registry::prepare::meta_str;
use crate::registry::removal::DeleteOptions;
use crate::registry::shell::{By, Registry, Target, failed};
use crate::status::Status;

/// Statuses that wait for a place in a batch; sessions wait beyond it.
const QUEUE_MAX: usize = 1024;
/// Statuses in one batch: bounds the log entry.
const BATCH_MAX: usize = 256;
/// Statuses in one batch are of so many bytes together, about; an object may be several times its status.
const BATCH_BYTES: usize = 512 << 10;
/// Events of one session that wait to be written.
const EVENTS_MAX: usize = 512;
/// How often one status loses races before its session ends, and with it everything is said anew.
const RACES_MAX: usize = 64;
/// Who writes, in `managedFields`: the name that agents have in Kubernetes.
const MANAGER: &str = "kubelet";

/// What a session waits to have written: the newest status of each pod and of the node, and the last message's number.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    inner: Mutex<Taken>,
    /// The node's newest status, written or not.
    node: Mutex<Option<Value>>,
    filled: Notify,
}

/// All that waits at one time.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// Everything up to this message.
    pub(crate) sequence: u64,
    pods: BTreeMap<String, PodStatus>,
    /// The node's own status.
    pub(crate) node: Option<Value>,
    /// Events (JSON).
    pub(crate) events: Vec<Bytes>,
}

impl Taken {
    pub(crate) fn pods(&mut self) -> Vec<PodStatus> {
        std::mem::take(&mut self.pods).into_values().collect()
    }
}

impl Waiting {
    pub(crate) fn put(&self, statuses: Statuses) {
        let mut inner = self.inner.lock();
        inner.sequence = statuses.sequence;
        inner.pods.extend(statuses.pods.into_iter().map(|pod| (pod.uid.clone(), pod)));
        if let Ok(node) = serde_json::from_slice::<Value>(&statuses.node_status_json) {
            inner.node = Some(node.clone());
            *self.node.lock() = Some(node);
        }
        drop(inner);
        self.filled.notify_one();
    }

    /// Events to be written; of those beyond the bound nobody is told.
    pub(crate) fn tell(&self, events: Vec<Bytes>) {
        let mut inner = self.inner.lock();
        let room = EVENTS_MAX.saturating_sub(inner.events.len());
        inner.events.extend(events.into_iter().take(room));
        drop(inner);
        self.filled.notify_one();
    }

    /// The node was registered anew, as it was when the session began: its newest status has to be written again.
    pub(crate) fn again(&self) {
        self.inner.lock().node.clone_from(&*self.node.lock());
        self.filled.notify_one();
    }

    /// All that waits; waits until there is something.
    pub(crate) async fn take(&self) -> Taken {
        self.filled.notified().await;
        let mut inner = self.inner.lock();
        let sequence = inner.sequence;
        std::mem::replace(&mut *inner, Taken { sequence, ..Taken::default() })
    }
}

/// A status on its way into the store.
#[derive(Debug)]
pub(crate) struct Job {
    node: String,
    pod: PodStatus,
    status: Value,
    /// It is in the store; what is left is the object's removal.
    written: bool,
    races: usize,
    done: oneshot::Sender<Result<(), Status>>,
}

/// Writes the statuses of all sessions of this server.
#[derive(Clone, Debug)]
pub(crate) struct Committer {
    queue: mpsc::Sender<Job>,
}

impl Committer {
    /// A committer, and what its task (`write`) takes from.
    pub(crate) fn new() -> (Committer, mpsc::Receiver<Job>) {
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        (Committer { queue }, waiting)
    }

    /// Writes statuses of pods of a node; back when all are written. Whoever stops waiting takes back what is not.
    ///
    /// # Errors
    /// When the store does not take one: none of them may be acknowledged.
    pub(crate) async fn commit(&self, node: &str, pods: Vec<PodStatus>) -> Result<(), Status> {
        let gone = || Status::new(503, "ServiceUnavailable", "the server is shutting down");
        let mut written = Vec::with_capacity(pods.len());
        for pod in pods {
            let status = match serde_json::from_slice(&pod.status_json) {
                Ok(status) => status,
                Err(error) => {
                    tracing::warn!(node, pod = pod.name, %error, "a status is no JSON and is not taken");
                    continue;
                }
            };
            let (done, wait) = oneshot::channel();
            let job = Job { node: node.to_owned(), pod, status, written: false, races: 0, done };
            self.queue.send(job).await.map_err(|_| gone())?;
            written.push(wait);
        }
        for wait in written {
            wait.await.map_err(|_| gone())??;
        }
        Ok(())
    }
}

/// Writes what waits, batch after batch, until told to stop.
pub(crate) async fn write(registry: Registry, mut queue: mpsc::Receiver<Job>, stop: CancellationToken) {
    let mut jobs = Vec::new();
    loop {
        if jobs.is_empty() {
            tokio::select! {
                () = stop.cancelled() => return,
                job = queue.recv() => match job {
                    Some(job) => jobs.push(job),
                    None => return,
                },
            }
        }
        let mut bytes: usize = jobs.iter().map(|job| job.pod.status_json.len()).sum();
        while jobs.len() < BATCH_MAX && bytes < BATCH_BYTES {
            let Ok(job) = queue.try_recv() else { break };
            bytes += job.pod.status_json.len();
            jobs.push(job);
        }
        // A session that has ended says everything again elsewhere.
        jobs.retain(|job| !job.done.is_closed());
        jobs = batch(&registry, jobs).await;
    }
}

/// One batch in one log entry; answers those that need another.
async fn batch(registry: &Registry, jobs: Vec<Job>) -> Vec<Job> {
    if let Err(error) = registry.store().barrier().await {
        return give_up(jobs, &failed(error));
    }
    let view = registry.store().view();
    let (mut acting, mut txns) = (Vec::new(), Vec::new());
    for job in jobs {
        let kind = kind::core("pods");
        let key = Key { kind, namespace: job.pod.namespace.clone(), name: job.pod.name.clone() };
        let target = Target { kind, namespace: &key.namespace, name: &key.name, subresource: "status" };
        let object = registry.get(&view, target).ok().map(crate::registry::shell::Stored::shown);
        let change = match next(&job.node, &job.pod, &job.status, object, job.written) {
            Next::Write(object) => Change::Update { kind, part: Part::Status, object },
            Next::Remove => {
                let uid = Some(job.pod.uid.clone());
                Change::Delete(key, DeleteOptions { grace_seconds: Some(0), uid, ..DeleteOptions::default() })
            }
            Next::Done => {
                finish(job, Ok(()));
                continue;
            }
        };
        acting.push(job);
        txns.push(Txn { manager: MANAGER, changes: vec![change] });
    }
    drop(view);
    if txns.is_empty() {
        return Vec::new();
    }
    match registry.commit(0, txns).await {
        Ok(verdicts) => {
            let again = |(job, verdict): (Job, Result<_, Status>)| settle(job, verdict.map(drop));
            acting.into_iter().zip(verdicts).filter_map(again).collect()
        }
        Err(status) => give_up(acting, &status),
    }
}

/// What a verdict means for its status; the job when it needs another batch.
fn settle(mut job: Job, verdict: Result<(), Status>) -> Option<Job> {
    match verdict {
        // What is left may be the removal.
        Ok(()) if !job.written && job.pod.terminated => job.written = true,
        Ok(()) => {
            finish(job, Ok(()));
            return None;
        }
        Err(status) if status.code == 409 && job.races < RACES_MAX => job.races += 1,
        // Nothing will make the store take it: said once, not for ever.
        Err(status) if matches!(status.code, 400 | 403 | 404 | 422) => {
            tracing::warn!(node = job.node, pod = job.pod.name, message = status.message, "a status was not taken");
            finish(job, Ok(()));
            return None;
        }
        Err(status) => {
            finish(job, Err(status));
            return None;
        }
    }
    Some(job)
}

fn finish(job: Job, result: Result<(), Status>) {
    // A session that has ended waits for nothing.
    let _ = job.done.send(result);
}

fn give_up(jobs: Vec<Job>, status: &Status) -> Vec<Job> {
    jobs.into_iter().for_each(|job| finish(job, Err(status.clone())));
    Vec::new()
}

/// Writes what a node tells people, in one log entry. Nothing depends on it: what the store refuses is lost.
pub(crate) async fn events(registry: &Registry, node: &str, events: &[Bytes]) {
    let kind = kind::core("events");
    let view = registry.store().view();
    let mut wanted: BTreeMap<(String, String), Value> = BTreeMap::new();
    for event in events.iter().filter_map(|event| serde_json::from_slice::<Value>(event).ok()) {
        let (namespace, name) = (meta_str(&event, "namespace").to_owned(), meta_str(&event, "name").to_owned());
        let target = Target { kind, namespace: &namespace, name: &name, subresource: "" };
        let stored = || registry.get(&view, target).ok().map(crate::registry::shell::Stored::shown);
        let held = wanted.remove(&(namespace.clone(), name.clone())).or_else(stored);
        if let Some(event) = told(node, event, held) {
            wanted.insert((namespace, name), event);
        }
    }
    drop(view);
    let change = |object: Value| match meta_str(&object, "resourceVersion") {
        "" => Change::Create { kind, object },
        _ => Change::Update { kind, part: Part::Main, object },
    };
    let txns: Vec<Txn> =
        wanted.into_values().map(|object| Txn { manager: MANAGER, changes: vec![change(object)] }).collect();
    let lost = match registry.commit(0, txns).await {
        Ok(verdicts) => verdicts.into_iter().find_map(Result::err),
        Err(status) => Some(status),
    };
    if let Some(status) = lost {
        tracing::debug!(node, message = status.message, "an event was not taken");
    }
}

/// Creates a node's object, or brings it up to date: labels and annotations are merged, the status is the agent's.
///
/// # Errors
/// When the store does not take it, or the object is of another node.
pub(crate) async fn register(registry: &Registry, node: &str, object: &[u8]) -> Result<(), Status> {
    let new: Value = serde_json::from_slice(object).map_err(|e| Status::bad_request(e.to_string()))?;
    if meta_str(&new, "name") != node || new["kind"] != "Node" {
        return Err(Status::bad_request(format!("the registered object is not Node {node:?}")));
    }
    match registry.create(node_target(node, ""), new.clone(), By::manager(MANAGER)).await {
        Err(status) if status.code == 409 => {}
        other => return other.map(|_| ()),
    }
    registry.modify(node_target(node, ""), By::manager(MANAGER), |object| Ok(registered(object, &new))).await?;
    node_status(registry, node, &new["status"]).await
}

fn node_target<'a>(node: &'a str, subresource: &'a str) -> Target<'a> {
    Target { kind: kind::core("nodes"), namespace: "", name: node, subresource }
}

/// Writes a node's status.
///
/// # Errors
/// When the store does not take it.
pub(crate) async fn node_status(registry: &Registry, node: &str, told: &Value) -> Result<(), Status> {
    let change = |mut object: Value| {
        object["status"] = merged(&object["status"], told);
        Ok(object)
    };
    match registry.modify(node_target(node, "status"), By::manager(MANAGER), change).await {
        // Somebody has removed the node: it comes back when it registers again.
        Err(status) if status.code == 404 => Ok(()),
        other => other.map(|_| ()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(terminated: bool) -> (Job, oneshot::Receiver<Result<(), Status>>) {
        let (done, wait) = oneshot::channel();
        let pod = PodStatus { terminated, ..PodStatus::default() };
        (Job { node: "n".into(), pod, status: Value::Null, written: false, races: 0, done }, wait)
    }

    #[test]
    fn a_lost_race_is_run_again_and_is_never_acknowledged() {
        let conflict = || Err(Status::new(409, "Conflict", "lost"));
        let (job, mut wait) = job(false);
        let mut job = settle(job, conflict()).expect("tried again");
        assert!(wait.try_recv().is_err(), "nobody is told that it is written");
        for _ in 1..RACES_MAX {
            job = settle(job, conflict()).expect("again");
        }
        assert!(settle(job, conflict()).is_none());
        assert!(wait.try_recv().expect("told").is_err(), "a session ends rather than that a status is lost");
    }

    #[test]
    fn a_pod_that_ended_needs_its_removal_as_well() {
        let (job, mut wait) = job(true);
        let job = settle(job, Ok(())).expect("the removal is left");
        assert!(job.written && wait.try_recv().is_err());
        assert!(settle(job, Ok(())).is_none() && wait.try_recv().expect("told").is_ok());
    }

    #[tokio::test]
    async fn the_newest_status_of_a_pod_is_taken_with_the_last_messages_number() {
        let waiting = Waiting::default();
        let put = |sequence: u64, text: &str| {
            let pod = PodStatus { uid: "u".into(), status_json: text.to_owned().into(), ..PodStatus::default() };
            waiting.put(Statuses { sequence, pods: vec![pod], ..Statuses::default() });
        };
        put(1, "old");
        put(2, "new");
        let mut taken = waiting.take().await;
        let pods = taken.pods();
        assert_eq!((taken.sequence, pods.len(), &pods[0].status_json[..]), (2, 1, &b"new"[..]));
    }
}

//! Which pods have a worker: those that are assigned, and those of which something is on the engine.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::execute::Shared;
use super::worker::{Wanted, work};
use crate::mirror::Changes;
use crate::plan::config::PodId;
use crate::runtime::Runtime;

/// Bound on events of the engine waiting to be looked at.
const EVENTS_MAX: usize = 1024;
/// The engine's event stream is opened again after this time.
const WATCH_AGAIN: Duration = Duration::from_secs(1);

/// Keeps a worker for each pod of this node until told to stop; containers are left alone then.
pub async fn run<R: Runtime>(shared: Arc<Shared<R>>, node: String, stop: CancellationToken) {
    let mut changes = shared.mirror.subscribe();
    let (sink, mut events) = mpsc::channel(EVENTS_MAX);
    let mut tasks = JoinSet::new();
    let (watching, watch_stop) = (Arc::clone(&shared), stop.clone());
    tasks.spawn(async move {
        while !watch_stop.is_cancelled() {
            tokio::select! {
                () = watch_stop.cancelled() => {}
                result = watching.runtime.watch(sink.clone()) => {
                    tracing::warn!(?result, "the engine's events ended; opening them again");
                    let _ = tokio::time::timeout(WATCH_AGAIN, watch_stop.cancelled()).await;
                }
            }
        }
        String::new()
    });
    let mut pods: BTreeMap<String, watch::Sender<Wanted>> = BTreeMap::new();
    // Gone from here, not yet from the API: no new worker.
    let mut done = BTreeSet::new();
    loop {
        assign(&shared, &node, &mut pods, &mut done, &mut tasks, &stop).await;
        tokio::select! {
            () = stop.cancelled() => break,
            more = changed(&mut changes) => if !more { break },
            Some(uid) = events.recv() => nudge(&pods, &uid),
            Some(Ok(uid)) = tasks.join_next() => {
                pods.remove(&uid);
                shared.outbox.end(&uid);
                done.insert(uid);
            }
        }
    }
    drop(pods);
    while tasks.join_next().await.is_some() {}
}

/// Waits for a change that may concern a pod; false when there will be none. What only the network needs is none.
async fn changed(changes: &mut Changes) -> bool {
    while let Some(changed) = changes.next().await {
        if changed.concerns(|key| !matches!(key.0.as_str(), "nodes" | "services" | "endpointslices")) {
            return true;
        }
    }
    false
}

fn nudge(pods: &BTreeMap<String, watch::Sender<Wanted>>, uid: &str) {
    if let Some(sender) = pods.get(uid) {
        sender.send_modify(|_| {});
    }
}

/// Gives each pod its worker and each worker its pod as it is wanted now.
async fn assign<R: Runtime>(
    shared: &Arc<Shared<R>>,
    node: &str,
    pods: &mut BTreeMap<String, watch::Sender<Wanted>>,
    done: &mut BTreeSet<String>,
    tasks: &mut JoinSet<String>,
    stop: &CancellationToken,
) {
    let mut wanted: BTreeMap<String, Wanted> = BTreeMap::new();
    for pod in shared.mirror.list::<Pod>("pods", None) {
        let here = pod.spec.as_ref().and_then(|s| s.node_name.as_deref()) == Some(node);
        if let (true, Some(uid)) = (here, pod.metadata.uid.clone()) {
            wanted.insert(uid, Wanted { pod: Arc::new(pod), removed: false });
        }
    }
    done.retain(|uid| wanted.contains_key(uid));
    for id in shared.runtime.pods().await.unwrap_or_default() {
        if !wanted.contains_key(&id.uid) && !pods.contains_key(&id.uid) {
            wanted.insert(id.uid.clone(), Wanted { pod: Arc::new(orphan(id)), removed: true });
        }
    }
    for (uid, sender) in pods.iter() {
        if !wanted.contains_key(uid) {
            sender.send_if_modified(|w| !std::mem::replace(&mut w.removed, true));
        }
    }
    for (uid, want) in wanted.into_iter().filter(|(uid, _)| !done.contains(uid)) {
        if let Some(sender) = pods.get(&uid) {
            sender.send_replace(want);
            continue;
        }
        let (sender, receiver) = watch::channel(want);
        pods.insert(uid.clone(), sender);
        let (shared, stop) = (Arc::clone(shared), stop.clone());
        tasks.spawn(async move {
            work(shared, receiver, stop).await;
            uid
        });
    }
}

/// All that is known of a pod of which only containers are left.
fn orphan(id: PodId) -> Pod {
    let mut pod =
        Pod { spec: Some(PodSpec { containers: vec![Container::default()], ..PodSpec::default() }), ..Pod::default() };
    pod.metadata.namespace = Some(id.namespace);
    pod.metadata.name = Some(id.name);
    pod.metadata.uid = Some(id.uid);
    pod
}

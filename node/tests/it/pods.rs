//! Pods on a real engine: they run, crash, are restarted, outlive their agent and end in good order.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodStatus;
use node::mirror::Mirror;
use node::net::EngineNetwork;
use node::plan::downward::Allocatable;
use node::runtime::Runtime;
use node::runtime::docker::Docker;
use node::sync::execute::Shared;
use node::sync::outbox::Outbox;
use node::sync::workers;
use node::volume::Volumes;
use prost::Message;
use proto::agent::{Object, Reference, Update};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::engine::{Engine, IMAGE};

pub(crate) struct Agent {
    pub(crate) mirror: Arc<Mirror>,
    outbox: Arc<Outbox>,
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl Agent {
    pub(crate) async fn start(engine: &Engine, dir: &std::path::Path, name: &str) -> Self {
        let mirror = Arc::new(Mirror::open(dir).unwrap());
        let outbox = Arc::new(Outbox::default());
        let shared = Arc::new(Shared {
            runtime: Docker::connect(&engine.host, name).await.unwrap(),
            mirror: Arc::clone(&mirror),
            outbox: Arc::clone(&outbox),
            volumes: Volumes::new(dir.join("pods")),
            tokens: Default::default(),
            network: Arc::new(EngineNetwork { mode: "none".to_owned() }),
            host_ips: vec![[127, 0, 0, 1].into()],
            node: Allocatable { cpu_milli: 2000, memory_bytes: 1 << 30 },
            slots: tokio::sync::Semaphore::new(4),
        });
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(workers::run(shared, name.to_owned(), stop.clone()));
        Self { mirror, outbox, tasks, stop }
    }

    pub(crate) async fn apply(&self, objects: &[Value]) {
        let upserts = objects.iter().map(|object| {
            let resource = format!("{}s", object["kind"].as_str().unwrap().to_lowercase());
            let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default().to_owned();
            let reference = Reference { resource, namespace: text("namespace"), name: text("name") };
            let object =
                Object { reference: Some(reference), revision: 1, json: serde_json::to_vec(object).unwrap().into() };
            object.encode_to_vec().into()
        });
        let (_, revision) = self.mirror.position();
        let update = Update { epoch: 1, revision: revision + 1, upserts: upserts.collect(), ..Update::default() };
        self.mirror.apply(update).await.unwrap();
    }

    /// Waits until a status of the pod satisfies a condition.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&PodStatus, bool) -> bool) -> PodStatus {
        let mut last = None;
        let found = tokio::time::timeout(Duration::from_secs(60), async {
            loop {
                for pod in self.outbox.take().into_iter().flat_map(|s| s.pods) {
                    let status: PodStatus = serde_json::from_slice(&pod.status_json).unwrap();
                    if holds(&status, pod.terminated) {
                        return status;
                    }
                    last = Some(status);
                }
                self.outbox.wait().await;
            }
        })
        .await;
        found.unwrap_or_else(|_| panic!("not within a minute: {what}; last: {last:#?}"))
    }

    pub(crate) async fn end(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

fn ready(status: &PodStatus) -> bool {
    status.conditions.iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True")
}

fn ids(status: &PodStatus) -> Vec<String> {
    status.container_statuses.iter().flatten().filter_map(|s| s.container_id.clone()).collect()
}

pub(crate) fn pod(node: &str, containers: Value) -> Value {
    json!({"kind": "Pod", "metadata": {"name": "p", "namespace": "ns", "uid": format!("uid-{node}")},
        "spec": {"nodeName": node, "terminationGracePeriodSeconds": 5, "containers": containers, "volumes": [
            {"name": "shared", "emptyDir": {}}, {"name": "conf", "configMap": {"name": "conf"}},
            {"name": "cred", "secret": {"secretName": "cred"}}]}})
}

pub(crate) fn name(test: &str) -> String {
    format!("{test}-{}", Timestamp::now().as_nanosecond())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_a_pod_runs_outlives_its_agent_and_ends() {
    let Some(engine) = Engine::start() else { return };
    let (dir, node) = (tempfile::tempdir().unwrap(), name("runs"));
    let agent = Agent::start(&engine, dir.path(), &node).await;
    let writer = "busybox test \"$MODE\" = fast && busybox grep -q Kubernetes-managed /etc/hosts && busybox cat /conf/mode /cred/key > /shared/out; \
        trap 'exit 0' TERM; while :; do busybox sleep 1; done";
    let mounts = json!([{"name": "shared", "mountPath": "/shared"}, {"name": "conf", "mountPath": "/conf"},
        {"name": "cred", "mountPath": "/cred"}]);
    let wanted = pod(
        &node,
        json!([
        {"name": "writer", "image": IMAGE, "imagePullPolicy": "Never", "command": ["/bin/sh", "-c", writer],
            "volumeMounts": mounts,
            "env": [{"name": "MODE", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "mode"}}}]},
        {"name": "reader", "image": IMAGE, "imagePullPolicy": "Never", "volumeMounts": mounts,
            "command": ["/bin/sh", "-c", "while :; do busybox sleep 1; done"],
            "readinessProbe": {"periodSeconds": 1, "exec": {
                "command": ["/bin/sh", "-c", "test \"$(busybox cat /shared/out)\" = fasthunter2"]}}}]),
    );
    agent
        .apply(&[
            json!({"kind": "ConfigMap", "metadata": {"name": "conf", "namespace": "ns"}, "data": {"mode": "fast"}}),
            json!({"kind": "Secret", "metadata": {"name": "cred", "namespace": "ns"}, "data": {"key": "aHVudGVyMg=="}}),
            wanted.clone(),
        ])
        .await;
    let before = agent.until("the reader sees what the writer wrote", |s, _| ready(s)).await;
    assert_eq!(before.phase.as_deref(), Some("Running"));
    agent.end().await;

    // No server tells this one anything: it knows its pods from its disk.
    let agent = Agent::start(&engine, dir.path(), &node).await;
    let after = agent.until("it is ready again", |s, _| ready(s)).await;
    assert_eq!(ids(&after), ids(&before), "no container was restarted");

    let mut gone = wanted;
    gone["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    gone["metadata"]["deletionGracePeriodSeconds"] = json!(5);
    agent.apply(&[gone]).await;
    agent.until("nothing is left of it", |_, terminated| terminated).await;
    assert!(!dir.path().join("pods").join(format!("uid-{node}")).exists(), "its volumes are gone");
    agent.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_a_crash_is_restarted_and_backed_off_and_liveness_kills() {
    let Some(engine) = Engine::start() else { return };
    let (dir, node) = (tempfile::tempdir().unwrap(), name("crash"));
    let agent = Agent::start(&engine, dir.path(), &node).await;
    let mut wanted = pod(
        &node,
        json!([
        {"name": "crash", "image": IMAGE, "imagePullPolicy": "Never", "command": ["/bin/sh", "-c", "busybox printf 'no disk' > /dev/termination-log; exit 3"]},
        {"name": "sick", "image": IMAGE, "imagePullPolicy": "Never", "command": ["/bin/sh", "-c", "busybox sleep 600"],
            "livenessProbe": {"periodSeconds": 1, "failureThreshold": 1, "exec": {"command": ["/bin/sh", "-c", "exit 1"]}}},
        {"name": "absent", "image": "raftsman.test/none:1", "imagePullPolicy": "Never"}]),
    );
    wanted["spec"]["volumes"] = json!([]);
    agent.apply(&[wanted]).await;
    let reason = |s: &PodStatus, at: usize| {
        let state = s.container_statuses.as_ref().and_then(|c| c.get(at)?.state.clone());
        state.and_then(|s| s.waiting).and_then(|w| w.reason).unwrap_or_default()
    };
    let status = agent
        .until("back-off, a restart by liveness, a missing image", |s, _| {
            let restarts = s.container_statuses.as_ref().map_or(0, |c| c[1].restart_count);
            reason(s, 0) == "CrashLoopBackOff" && restarts > 0 && reason(s, 2) == "ErrImageNeverPull"
        })
        .await;
    let crash = &status.container_statuses.as_ref().unwrap()[0];
    let ended = crash.last_state.clone().unwrap().terminated.unwrap();
    assert_eq!((ended.exit_code, ended.message.as_deref()), (3, Some("no disk")));
    // With its object gone the pod is gone.
    let update = Update { epoch: 1, revision: 100, reset: true, ..Update::default() };
    agent.mirror.apply(update).await.unwrap();
    agent.until("nothing is left of it", |_, terminated| terminated).await;
    agent.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_containers_are_measured_by_their_control_groups() {
    let Some(engine) = Engine::start() else { return };
    let (dir, node) = (tempfile::tempdir().unwrap(), name("measured"));
    let agent = Agent::start(&engine, dir.path(), &node).await;
    let mut wanted = pod(
        &node,
        json!([{"name": "busy", "image": IMAGE, "imagePullPolicy": "Never",
            "command": ["/bin/sh", "-c", "busybox dd if=/dev/zero of=/written bs=1024 count=64; while :; do :; done"],
            "resources": {"limits": {"memory": "64Mi"}},
            "readinessProbe": {"periodSeconds": 1, "exec": {"command": ["/bin/sh", "-c", "test -s /written"]}}}]),
    );
    wanted["spec"]["volumes"] = json!([]);
    agent.apply(&[wanted]).await;
    agent.until("it runs", |s, _| ready(s)).await;
    let docker = Docker::connect(&engine.host, &node).await.unwrap();
    let measured = docker.measure().await.unwrap();
    let names: Vec<_> = measured.iter().map(|held| (held.pod.as_str(), held.container.as_str())).collect();
    assert!(names.contains(&("p", "busy")) && names.contains(&("p", "POD")), "{names:?}");
    let busy = measured.iter().find(|held| held.container == "busy").unwrap();
    let usage = busy.usage.unwrap();
    assert!(usage.cpu_usage_ns > 0 && usage.memory_working_set_bytes > 0 && usage.processes > 0, "{usage:?}");
    assert_eq!(usage.memory_limit_bytes, 64 << 20);
    assert!(usage.filesystem_used_bytes >= 64 << 10, "{usage:?}");
    assert!(busy.started_ms > 0);
    agent.mirror.apply(Update { epoch: 1, revision: 100, reset: true, ..Update::default() }).await.unwrap();
    agent.until("nothing is left of it", |_, terminated| terminated).await;
    agent.end().await;
}

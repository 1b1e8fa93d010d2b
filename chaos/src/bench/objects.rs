//! Pods through the Kubernetes API: created, listed, watched by many, and what they weigh.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use futures_util::{AsyncBufReadExt, TryStreamExt};
use http::Request;
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::bench::figures::Latencies;
use crate::bench::start::restart;
use crate::bench::{Bench, probe, remove, runtime};
use crate::work::deployment::connect;
use crate::world::cluster::Cluster;

/// Pods that are made.
const PODS: usize = 10_000;
/// Clients that make them, each with a connection of its own.
const CREATORS: usize = 16;
/// Watchers of one ConfigMap's namespace.
const WATCHERS: usize = 1_000;
/// Changes that each of them sees.
const CHANGES: usize = 50;
/// Watchers that connect at the same time.
const CONNECTING: usize = 50;
/// All events arrive within this time.
const PATIENCE: Duration = Duration::from_secs(60);

/// A pod as a Deployment makes it, about as large.
pub(super) fn pod(name: &str, cpu: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": "default",
            "labels": { "app": "bench", "pod-template-hash": "7d4b8c9f5" },
            "annotations": { "example.com/checksum": "3b1f0c9e5d7a4c2b8e6f1a0d9c8b7a6f5e4d3c2b1a09f8e7d6c5b4a392817065" },
        },
        "spec": {
            "containers": [{
                "name": "app", "image": "registry.example.com/bench/app:1.0.0",
                "command": ["sleep", "1000000"],
                "env": [{ "name": "LEVEL", "value": "info" }, { "name": "REGION", "value": "eu-1" }],
                "ports": [{ "containerPort": 8080, "name": "http" }],
                "resources": { "requests": { "cpu": cpu, "memory": "16Mi" } },
            }],
            "terminationGracePeriodSeconds": 1,
        },
    })
}

async fn send(client: &kube::Client, request: Request<Body>) -> anyhow::Result<bytes::Bytes> {
    let response = client.send(request).await?;
    let code = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    ensure!(code.is_success(), "{code}: {}", String::from_utf8_lossy(&body));
    Ok(body)
}

/// Creates pods with several clients; how long each took.
pub(super) async fn create(cluster: &Cluster, count: usize, cpu: &'static str) -> anyhow::Result<Vec<Duration>> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut creators = JoinSet::new();
    for _ in 0..CREATORS {
        let client = connect(&cluster.kubeconfig(), None).await?;
        let next = Arc::clone(&next);
        creators.spawn(async move {
            let mut taken = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return anyhow::Ok(taken);
                }
                let body = serde_json::to_vec(&pod(&format!("bench-{number:05}"), cpu))?;
                let request =
                    Request::post("/api/v1/namespaces/default/pods").header("content-type", "application/json");
                let began = Instant::now();
                send(&client, request.body(Body::from(body))?).await?;
                taken.push(began.elapsed());
            }
        });
    }
    let mut all = Vec::new();
    for taken in creators.join_all().await {
        all.extend(taken?);
    }
    Ok(all)
}

/// Creates 10,000 pods, lists them, watches, restarts the server with them.
pub(super) fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let mut cluster = bench.servers("pods", 1, &["--controllers=-*"])?;
    let pids = cluster.server_pids();
    let runtime = runtime()?;
    let done = runtime.block_on(async {
        account(&cluster).await?;
        created(bench, &cluster, &pids).await?;
        listed(bench, &cluster, &pids).await?;
        watched(bench, &cluster, &pids).await
    });
    drop(runtime);
    if done.is_ok() {
        cluster.process("server-1")?.stop()?;
        let took = restart(&mut cluster)?;
        bench.row("10,000 pods", "start again to ready, ms", vec![took], Vec::new());
    }
    remove(&cluster)?;
    done
}

/// The account that pods run as, which no controller makes here.
async fn account(cluster: &Cluster) -> anyhow::Result<()> {
    let client = connect(&cluster.kubeconfig(), None).await?;
    let body = serde_json::to_vec(&json!({ "metadata": { "name": "default" } }))?;
    let request =
        Request::post("/api/v1/namespaces/default/serviceaccounts").header("content-type", "application/json");
    send(&client, request.body(Body::from(body))?).await.map(drop)
}

async fn created(bench: &mut Bench, cluster: &Cluster, pids: &[i32]) -> anyhow::Result<()> {
    let (cpu, began) = (probe::cpu(pids), Instant::now());
    let taken = Latencies::new(create(cluster, PODS, "10m").await?);
    let (elapsed, cpu) = (began.elapsed().as_secs_f64(), (probe::cpu(pids) - cpu).as_secs_f64());
    let rows = [
        ("created/s", PODS as f64 / elapsed),
        ("p99 ms", taken.percentile(99)),
        ("server cpu us/pod", cpu * 1e6 / PODS as f64),
        ("server memory MiB", probe::memory(pids)),
    ];
    for (what, figure) in rows {
        bench.row("create pods, 16 cl.", what, vec![figure], Vec::new());
    }
    Ok(())
}

async fn listed(bench: &mut Bench, cluster: &Cluster, pids: &[i32]) -> anyhow::Result<()> {
    let client = connect(&cluster.kubeconfig(), None).await?;
    let (mut wall, mut cpu_ms, mut size) = (Vec::new(), Vec::new(), 0);
    let before = probe::memory(pids);
    for _ in 0..bench.options.rounds {
        let (cpu, began) = (probe::cpu(pids), Instant::now());
        let body = send(&client, Request::get("/api/v1/namespaces/default/pods").body(Body::empty())?).await?;
        wall.push(began.elapsed().as_secs_f64() * 1000.0);
        cpu_ms.push((probe::cpu(pids) - cpu).as_secs_f64() * 1000.0);
        size = body.len();
    }
    bench.row("list 10,000 pods", "ms", wall, Vec::new());
    bench.row("list 10,000 pods", "server cpu ms", cpu_ms, Vec::new());
    bench.row("list 10,000 pods", "answer MiB", vec![size as f64 / f64::from(1 << 20)], Vec::new());
    bench.row("list 10,000 pods", "memory grew, MiB", vec![probe::memory(pids) - before], Vec::new());
    Ok(())
}

/// Counts events until every change has arrived.
async fn watcher(client: kube::Client, path: String, ready: Arc<AtomicUsize>) -> anyhow::Result<usize> {
    let response = client.send(Request::get(path).body(Body::empty())?).await?;
    ensure!(response.status().is_success(), "the watch is refused: {}", response.status());
    ready.fetch_add(1, Ordering::Relaxed);
    let lines = response.into_body().into_data_stream().map_err(std::io::Error::other).into_async_read().lines();
    futures_util::pin_mut!(lines);
    let mut seen = 0;
    while seen < CHANGES {
        let Some(line) = lines.try_next().await? else { bail!("the watch ended after {seen} events") };
        ensure!(!line.starts_with("{\"type\":\"ERROR\""), "{line}");
        seen += 1;
    }
    Ok(seen)
}

async fn watched(bench: &mut Bench, cluster: &Cluster, pids: &[i32]) -> anyhow::Result<()> {
    let writer = connect(&cluster.kubeconfig(), None).await?;
    let maps = "/api/v1/namespaces/default/configmaps";
    let map = |value: usize| json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "watched" }, "data": { "value": format!("{value:0512}") } });
    let post = Request::post(maps).header("content-type", "application/json");
    let made: Value =
        serde_json::from_slice(&send(&writer, post.body(Body::from(serde_json::to_vec(&map(0))?))?).await?)?;
    let revision = made["metadata"]["resourceVersion"].as_str().context("a resourceVersion")?;
    let path = format!("{maps}?watch=1&resourceVersion={revision}&fieldSelector=metadata.name=watched");
    let (ready, mut watchers) = (Arc::new(AtomicUsize::new(0)), JoinSet::new());
    for number in 0..WATCHERS {
        let client = connect(&cluster.kubeconfig(), None).await?;
        watchers.spawn(watcher(client, path.clone(), Arc::clone(&ready)));
        if number % CONNECTING == CONNECTING - 1 {
            until(&ready, number + 1).await?;
        }
    }
    let (cpu, began) = (probe::cpu(pids), Instant::now());
    let mut writes = Vec::new();
    for change in 1..=CHANGES {
        let put = Request::put(format!("{maps}/watched")).header("content-type", "application/json");
        let wrote = Instant::now();
        send(&writer, put.body(Body::from(serde_json::to_vec(&map(change))?))?).await?;
        writes.push(wrote.elapsed());
    }
    let mut seen = 0;
    let arrived = tokio::time::timeout(PATIENCE, watchers.join_all()).await.context("events are missing")?;
    for count in arrived {
        seen += count?;
    }
    let (elapsed, cpu) = (began.elapsed().as_secs_f64(), (probe::cpu(pids) - cpu).as_secs_f64());
    let rows = [
        ("events/s", seen as f64 / elapsed),
        ("server cpu us/event", cpu * 1e6 / seen as f64),
        ("a write meanwhile, p99 ms", Latencies::new(writes).percentile(99)),
        ("server memory MiB", probe::memory(pids)),
    ];
    for (what, figure) in rows {
        bench.row("watch, 1,000 watchers", what, vec![figure], Vec::new());
    }
    Ok(())
}

async fn until(ready: &AtomicUsize, wanted: usize) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    while ready.load(Ordering::Relaxed) < wanted {
        ensure!(Instant::now() < deadline, "only {} watchers connected", ready.load(Ordering::Relaxed));
        tick.tick().await;
    }
    Ok(())
}

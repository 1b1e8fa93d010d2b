//! The Deployment workload: an application that must be back to its size after every fault.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, ListParams, PostParams};
use serde_json::json;

/// Pods of the application.
pub(crate) const REPLICAS: u32 = 4;
/// The application's name, and the namespace it lies in.
pub(crate) const NAME: &str = "chaos-app";
const NAMESPACE: &str = "default";

/// Connects through one context of a kubeconfig.
pub(crate) async fn connect(kubeconfig: &std::path::Path, context: Option<&str>) -> anyhow::Result<kube::Client> {
    let kubeconfig = kube::config::Kubeconfig::read_from(kubeconfig)?;
    let options = kube::config::KubeConfigOptions { context: context.map(str::to_owned), ..Default::default() };
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await?;
    config.connect_timeout = Some(Duration::from_secs(2));
    config.read_timeout = Some(Duration::from_secs(5));
    Ok(kube::Client::try_from(config)?)
}

/// Makes the application.
pub(crate) async fn create(client: &kube::Client, image: &str, replicas: u32) -> anyhow::Result<()> {
    let labels = json!({ "app": NAME });
    let container = json!({
        "name": "app",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sleep", "1000000"],
        "resources": { "requests": { "cpu": "10m", "memory": "8Mi" } },
    });
    let object = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": NAME },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": { "containers": [container], "terminationGracePeriodSeconds": 1 },
            },
        },
    });
    let api: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    match api.create(&PostParams::default(), &serde_json::from_value(object)?).await {
        // It is there from an earlier run.
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        made => drop(made?),
    }
    Ok(())
}

/// Waits until a node is not ready.
///
/// # Errors
/// When it still is after `limit`.
pub(crate) async fn await_not_ready(client: &kube::Client, node: &str, limit: Duration) -> anyhow::Result<()> {
    let api: Api<Node> = Api::all(client.clone());
    let ready = |node: Node| {
        let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
        conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
    };
    polled(limit, || async { api.get(node).await.is_ok_and(|node| !ready(node)) })
        .await
        .with_context(|| format!("{node} is still ready after {limit:?}"))
}

/// Waits until the whole application is ready on other nodes than this one.
///
/// # Errors
/// When it is not after `limit`.
pub(crate) async fn await_elsewhere(client: &kube::Client, node: &str, limit: Duration) -> anyhow::Result<()> {
    let api: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let application = ListParams::default().labels(&format!("app={NAME}"));
    let ready = |pod: &&Pod| {
        let elsewhere = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).is_some_and(|on| on != node);
        let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        elsewhere && conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
    };
    let whole = |pods: Vec<Pod>| pods.iter().filter(ready).count() >= REPLICAS as usize;
    polled(limit, || async { api.list(&application).await.is_ok_and(|pods| whole(pods.items)) })
        .await
        .with_context(|| format!("the pods of {node} do not run elsewhere after {limit:?}"))
}

/// Asks again and again until it holds; None when it does not in time.
async fn polled<F: Future<Output = bool>>(limit: Duration, holds: impl Fn() -> F) -> Option<()> {
    let (began, mut tick) = (Instant::now(), tokio::time::interval(Duration::from_millis(50)));
    while began.elapsed() < limit {
        tick.tick().await;
        if holds().await {
            return Some(());
        }
    }
    None
}

/// Waits until the application has as many ready replicas as wanted.
pub(crate) async fn await_ready(client: &kube::Client, limit: Duration) -> anyhow::Result<Duration> {
    await_named(client, NAME, limit).await
}

/// Waits until as many replicas as wanted are ready, asking again and again; answers how long it took.
pub(crate) async fn await_named(client: &kube::Client, name: &str, limit: Duration) -> anyhow::Result<Duration> {
    let api: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    let began = Instant::now();
    let mut seen = "nothing answered".to_owned();
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    while began.elapsed() < limit {
        tick.tick().await;
        match api.get(name).await {
            Ok(deployment) => {
                let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
                let status = deployment.status.context("a Deployment without status")?;
                let ready = status.ready_replicas.unwrap_or(0);
                if ready == wanted && status.replicas == Some(wanted) {
                    return Ok(began.elapsed());
                }
                seen = format!("{ready} of {wanted} replicas are ready");
            }
            Err(error) => seen = error.to_string(),
        }
    }
    bail!("not converged after {limit:?}: {seen}")
}

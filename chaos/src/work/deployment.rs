//! The Deployment workload: an application that must be back to its size after every fault.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, PostParams};
use serde_json::json;

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

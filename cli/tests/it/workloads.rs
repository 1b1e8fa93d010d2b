//! Deployments through the API of the real binary: controllers, scheduler, subresources, with simulated containers.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use kube::Client;
use kube::api::{Api, DeleteParams, EvictParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::{Condition, await_condition};
use serde_json::json;

use crate::process::{PATIENCE, Server};

async fn until<K>(api: &Api<K>, name: &str, what: &str, condition: impl Condition<K>)
where
    K: Clone + std::fmt::Debug + Send + serde::de::DeserializeOwned + kube::Resource + 'static,
{
    let done = tokio::time::timeout(PATIENCE, await_condition(api.clone(), name, condition)).await;
    done.unwrap_or_else(|_| panic!("{what}")).expect("a watch");
}

fn serving(wanted: i32) -> impl Condition<Deployment> {
    move |object: Option<&Deployment>| {
        let status = object.and_then(|object| object.status.as_ref());
        status.is_some_and(|status| {
            status.available_replicas.unwrap_or(0) == wanted && status.updated_replicas.unwrap_or(0) == wanted
        })
    }
}

async fn deploy(client: &Client, namespace: &str) -> Api<Deployment> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let template = json!({
        "metadata": { "labels": { "app": "web" } },
        "spec": { "containers": [{ "name": "c", "image": "sim" }], "terminationGracePeriodSeconds": 1 },
    });
    let object = json!({
        "metadata": { "name": "web" },
        "spec": { "replicas": 2, "selector": { "matchLabels": { "app": "web" } }, "template": template },
    });
    let object = serde_json::from_value(object).expect("a Deployment");
    deployments.create(&PostParams::default(), &object).await.expect("created");
    until(&deployments, "web", "two pods serve", serving(2)).await;
    deployments
}

#[tokio::test]
async fn a_deployment_is_scaled_rolled_evicted_and_ends_with_its_namespace() {
    let mut server = Server::new("w");
    server.extra = ["--roles", "server,node", "--runtime", "sim"].map(str::to_owned).to_vec();
    server.start(None);
    let client = server.client().await;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let space = serde_json::from_value(json!({ "metadata": { "name": "shop" } })).expect("a Namespace");
    namespaces.create(&PostParams::default(), &space).await.expect("created");
    let deployments = deploy(&client, "shop").await;

    let services: Api<Service> = Api::namespaced(client.clone(), "shop");
    let service = json!({ "metadata": { "name": "web" },
        "spec": { "type": "NodePort", "selector": { "app": "web" }, "ports": [{ "port": 80 }] } });
    let service = serde_json::from_value(service).expect("a Service");
    let spec = services.create(&PostParams::default(), &service).await.expect("created").spec.expect("a spec");
    assert!(spec.cluster_ip.expect("given").starts_with("10.96."));
    assert!(spec.ports.expect("given")[0].node_port.is_some_and(|port| (30_000..=32_767).contains(&port)));

    let four = Patch::Merge(json!({ "spec": { "replicas": 4 } }));
    let scale = deployments.patch_scale("web", &PatchParams::default(), &four).await.expect("scaled");
    assert_eq!(scale.spec.and_then(|spec| spec.replicas), Some(4));
    until(&deployments, "web", "four pods serve", serving(4)).await;

    let image = json!({ "spec": { "template": { "spec": { "containers": [{ "name": "c", "image": "sim:2" }] } } } });
    let patched = deployments.patch("web", &PatchParams::default(), &Patch::Strategic(image)).await.expect("patched");
    let generation = patched.metadata.generation;
    let rolled = move |object: Option<&Deployment>| {
        let status = object.and_then(|object| object.status.as_ref());
        status.is_some_and(|status| status.observed_generation >= generation && status.replicas == Some(4))
            && serving(4).matches_object(object)
    };
    until(&deployments, "web", "four new pods serve", rolled).await;

    let pods: Api<Pod> = Api::namespaced(client.clone(), "shop");
    let listed = pods.list(&ListParams::default()).await.expect("a list");
    let newest =
        |pod: &&Pod| pod.spec.as_ref().is_some_and(|spec| spec.containers[0].image.as_deref() == Some("sim:2"));
    let name = listed.items.iter().find(newest).and_then(|pod| pod.metadata.name.clone()).expect("a new pod");
    pods.evict(&name, &EvictParams::default()).await.expect("evicted");
    until(&pods, &name, "the evicted pod is gone", |pod: Option<&Pod>| pod.is_none()).await;
    until(&deployments, "web", "it is replaced", serving(4)).await;

    namespaces.delete("shop", &DeleteParams::default()).await.expect("deleted");
    until(&namespaces, "shop", "the namespace is gone", |space: Option<&Namespace>| space.is_none()).await;
    assert!(pods.list(&ListParams::default()).await.expect("a list").items.is_empty());
}

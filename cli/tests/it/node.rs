//! A machine that is server and node: pods bound to it run, and what is said of them comes back.

use k8s_openapi::api::core::v1::{Event, Node, Pod, ServiceAccount};
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::process::{PATIENCE, Server};

/// Looks at a pod until it is as wanted.
async fn until(pods: &Api<Pod>, name: &str, what: &str, holds: impl Fn(Option<&Pod>) -> bool) {
    let mut last = None;
    let awaited = async {
        loop {
            last = pods.get_opt(name).await.expect("an answer");
            if holds(last.as_ref()) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    let done = tokio::time::timeout(PATIENCE, awaited).await;
    assert!(done.is_ok(), "{what}: {last:?}");
}

fn phase(pod: Option<&Pod>) -> Option<&str> {
    pod?.status.as_ref()?.phase.as_deref()
}

fn ready(pod: Option<&Pod>) -> Option<&str> {
    let conditions = pod?.status.as_ref()?.conditions.as_ref()?;
    Some(conditions.iter().find(|condition| condition.type_ == "Ready")?.status.as_str())
}

/// Waits for the account that pods run as, which a controller makes.
async fn accounts(client: Client) {
    let accounts: Api<ServiceAccount> = Api::namespaced(client, "default");
    let awaited = async {
        while accounts.get_opt("default").await.expect("an answer").is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, awaited).await.expect("the account default is made");
}

async fn pod_lives_and_ends(client: Client, node: &str, container: serde_json::Value) {
    let nodes: Api<Node> = Api::all(client.clone());
    let events: Api<Event> = Api::namespaced(client.clone(), "default");
    let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
    let pod = json!({ "metadata": { "name": "p" }, "spec": { "nodeName": node, "terminationGracePeriodSeconds": 3,
        "containers": [container] } });
    let pod = serde_json::from_value(pod).expect("a Pod");
    accounts(client).await;
    pods.create(&PostParams::default(), &pod).await.expect("created");
    until(&pods, "p", "it runs", |pod| phase(pod) == Some("Running")).await;
    let told = async {
        loop {
            let all = events.list(&ListParams::default()).await.expect("a list").items;
            if all.iter().any(|event| event.reason.as_deref() == Some("Started")) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, told).await.expect("people are told that its container started");
    // As the controller of silent nodes does; the node is not silent, and says what is true.
    let wrong =
        json!({ "status": { "conditions": [{ "type": "Ready", "status": "False", "reason": "NodeNotReady" }] } });
    let patched = pods.patch_status("p", &PatchParams::default(), &Patch::Strategic(wrong)).await.expect("patched");
    assert_eq!(ready(Some(&patched)), Some("False"));
    until(&pods, "p", "it is ready again", |pod| ready(pod) == Some("True")).await;
    let registered = nodes.get(node).await.expect("the node is there").status.expect("a status");
    assert!(registered.allocatable.expect("given").contains_key("cpu"));
    pods.delete("p", &DeleteParams::default()).await.expect("deleted");
    until(&pods, "p", "it is gone", |pod| pod.is_none()).await;
}

#[tokio::test]
async fn a_simulated_pod_runs_and_its_server_comes_back() {
    let mut server = Server::new("a");
    server.extra = ["--roles", "server,node", "--runtime", "sim"].map(str::to_owned).to_vec();
    server.start(None);
    pod_lives_and_ends(server.client().await, "a", json!({ "name": "c", "image": "sim" })).await;
    assert!(server.terminate(), "ended well");
    server.start(None);
    pod_lives_and_ends(server.client().await, "a", json!({ "name": "c", "image": "sim" })).await;
}

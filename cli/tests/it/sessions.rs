//! Many agents at one server: what each of them is told, counted from the journals that they keep of it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use control::cluster::join::{self, Admitted};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::runtime::wait::{await_condition, conditions};
use node::checkpoint::Checkpoint;
use node::config::{Config, Engine, Identity};
use node::mirror::Mirror;
use prost::Message;
use proto::agent::Object;
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::process::{PATIENCE, Server};

const NODES: usize = 12;
/// Changes of each node that are nothing to the others.
const LABELS: usize = 8;

fn name(number: usize) -> String {
    format!("sim-{number:02}")
}

async fn agent(token: &str, name: String, dir: &Path) -> Config {
    let admitted = join::ask(&token.parse().expect("a token"), &name).await.expect("admitted");
    let Admitted::Node(identity) = admitted else { panic!("the token makes nodes") };
    Config {
        data_dir: dir.join(&name),
        name,
        servers: identity.servers,
        identity: Identity { ca_pem: identity.authority_cert, cert_pem: identity.cert, key_pem: identity.key },
        engine: Engine::Sim,
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        labels: BTreeMap::new(),
    }
}

/// Starts agents in this process, which run until they are told to end.
async fn agents(server: &Server, dir: &Path, stop: &CancellationToken) -> JoinSet<()> {
    let token = server.ask_json(&["token", "create", "--role", "node"])["token"].as_str().expect("a token").to_owned();
    let mut tasks = JoinSet::new();
    for number in 0..NODES {
        let (config, stop) = (agent(&token, name(number), dir).await, stop.clone());
        tasks.spawn(async move { node::run::run(config, stop).await.expect("the agent runs") });
    }
    tasks
}

/// Waits until each node has its range, relabels it again and again, and has a pod run on it: whatever a session was to
/// be told of the labels came before the pod.
async fn busy(client: &Client) {
    let (nodes, pods): (Api<Node>, Api<Pod>) = (Api::all(client.clone()), Api::namespaced(client.clone(), "default"));
    let ranged = |node: Option<&Node>| node.and_then(|node| node.spec.as_ref()?.pod_cidr.as_ref()).is_some();
    for number in 0..NODES {
        await_condition(nodes.clone(), &name(number), ranged).await.expect("watched");
    }
    for label in 0..LABELS {
        for number in 0..NODES {
            let patch = json!({ "metadata": { "labels": { "turn": label.to_string() } } });
            nodes.patch(&name(number), &PatchParams::default(), &Patch::Merge(patch)).await.expect("patched");
        }
    }
    for number in 0..NODES {
        let pod = json!({ "metadata": { "name": name(number) },
            "spec": { "nodeName": name(number), "containers": [{ "name": "c", "image": "sim" }] } });
        let pod: Pod = serde_json::from_value(pod).expect("a Pod");
        // A controller makes the account that pods run as: before that they are refused.
        while pods.create(&PostParams::default(), &pod).await.is_err() {}
    }
    for number in 0..NODES {
        await_condition(pods.clone(), &name(number), conditions::is_pod_running()).await.expect("watched");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_agent_is_told_of_the_others_routes_and_of_nothing_else_that_they_do() {
    let mut server = Server::new("s");
    server.extra = ["--roles", "server"].map(str::to_owned).to_vec();
    server.start(None);
    let (dir, stop) = (tempfile::tempdir().expect("a directory"), CancellationToken::new());
    let mut running = agents(&server, dir.path(), &stop).await;
    let client = server.client().await;
    tokio::time::timeout(PATIENCE, busy(&client)).await.expect("every node has its range and runs its pod");
    stop.cancel();
    while let Some(ended) = running.join_next().await {
        ended.expect("the agent ended");
    }
    for number in 0..NODES {
        let (own, place) = (name(number), dir.path().join(name(number)));
        let mut others = 0;
        Checkpoint::open(&place, |update| {
            for object in update.upserts.iter().map(|bytes| Object::decode(bytes.clone()).expect("an Object")) {
                let named = object.reference.expect("named");
                others += usize::from(named.resource == "nodes" && named.name != own);
            }
        })
        .expect("a journal");
        // It has its address, then its range as well; a session that begins may be told of either twice.
        assert!(others <= 3 * NODES, "{own} was told of other nodes {others} times");
        let known: Vec<Node> = Mirror::open(&place).expect("a journal").list("nodes", None);
        let routes = known.iter().filter(|node| node.spec.as_ref().is_some_and(|spec| spec.pod_cidr.is_some()));
        assert_eq!(routes.count(), NODES, "{own} knows a route to each");
    }
}

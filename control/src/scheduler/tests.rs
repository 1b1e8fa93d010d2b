//! Pods, nodes, and where they end up.

use serde_json::{Value, json};

use crate::reconcile::stage::Stage;
use crate::registry::commit::Part;
use crate::registry::key::Key;

fn pod(stage: &mut Stage, name: &str, spec: Value) -> Key {
    let mut spec = spec;
    if spec["containers"].is_null() {
        spec["containers"] = json!([{ "name": "c", "image": "i" }]);
    }
    stage.create(json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "labels": { "app": "x" } }, "spec": spec }))
}

fn stage() -> Stage {
    let mut stage = Stage::new();
    stage.create(json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "default" } }));
    stage.node("n1");
    stage.node("n2");
    stage
}

/// The pod's node, or why it has none.
fn verdict(stage: &Stage, key: &Key) -> String {
    let pod = stage.world.get(key).expect("there");
    let why = crate::controllers::conditions::find(&pod.value, "PodScheduled");
    pod.node().map_or_else(|| why.map_or("-", |why| why["message"].as_str().unwrap_or("-")).to_owned(), str::to_owned)
}

#[test]
fn each_filter_says_why_not() {
    let mut stage = stage();
    let node = |name: &str| Key { kind: crate::kind::core("nodes"), namespace: String::new(), name: name.into() };
    stage.change(&node("n1"), Part::Main, |node| {
        node["spec"]["taints"] = json!([{ "key": "gpu", "value": "yes", "effect": "NoSchedule" }]);
    });
    stage.change(&node("n2"), Part::Main, |node| node["metadata"]["labels"]["disk"] = "ssd".into());
    let tolerant = json!([{ "key": "gpu", "operator": "Exists" }]);
    let asks = |cpu: &str| json!([{ "name": "c", "image": "i", "resources": { "requests": { "cpu": cpu } } }]);
    let port = json!([{ "name": "c", "image": "i", "ports": [{ "containerPort": 80, "hostPort": 80 }] }]);
    let table = [
        ("plain", json!({}), "n2"),
        ("tolerant", json!({ "tolerations": tolerant, "nodeSelector": { "kubernetes.io/hostname": "n1" } }), "n1"),
        (
            "big",
            json!({ "containers": asks("5"), "tolerations": tolerant }),
            "0/2 nodes are available: 2 Insufficient cpu.",
        ),
        ("mixed", json!({ "containers": asks("4"), "nodeSelector": { "disk": "ssd" } }), "n2"),
        (
            "full",
            json!({ "containers": asks("1") }),
            "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint {gpu: yes}.",
        ),
        (
            "web",
            json!({ "containers": port, "tolerations": tolerant, "nodeSelector": { "kubernetes.io/hostname": "n1" } }),
            "n1",
        ),
        (
            "web2",
            json!({ "containers": port, "tolerations": tolerant, "nodeSelector": { "kubernetes.io/hostname": "n1" } }),
            "0/2 nodes are available: 1 node(s) didn't have free ports for the requested pod ports, \
             1 node(s) didn't match Pod's node affinity/selector.",
        ),
        (
            "nowhere",
            json!({ "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{ "matchExpressions": [{ "key": "disk", "operator": "In", "values": ["tape"] }] }] } } } }),
            "0/2 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, \
             1 node(s) had untolerated taint {gpu: yes}.",
        ),
    ];
    for (name, spec, wanted) in table {
        let key = pod(&mut stage, name, spec);
        stage.rest();
        assert_eq!(verdict(&stage, &key), wanted, "{name}");
    }
    let told = stage.names("events", |event| event.value["reason"].as_str().unwrap_or_default().to_owned());
    assert_eq!(told.iter().filter(|line| line.ends_with("FailedScheduling")).count(), 4, "{told:?}");
}

#[test]
fn pods_wait_for_nodes_and_for_room() {
    let mut stage = Stage::new();
    stage.create(json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "default" } }));
    let waits = pod(&mut stage, "p", json!({}));
    stage.rest();
    assert_eq!(verdict(&stage, &waits), "0/0 nodes are available.");
    stage.node("n1");
    stage.rest();
    assert_eq!(verdict(&stage, &waits), "n1");
    let all = json!([{ "name": "c", "image": "i", "resources": { "requests": { "cpu": "4" } } }]);
    let first = pod(&mut stage, "first", json!({ "containers": all }));
    stage.rest();
    let second = pod(&mut stage, "second", json!({ "containers": all }));
    stage.rest();
    assert_eq!(verdict(&stage, &second), "0/1 nodes are available: 1 Insufficient cpu.");
    stage.delete(&first, Default::default());
    stage.settle();
    assert_eq!(verdict(&stage, &second), "n1");
}

#[test]
fn topology_spread_holds() {
    let mut stage = stage();
    let spread = json!({ "topologySpreadConstraints": [{ "maxSkew": 1, "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule", "labelSelector": { "matchLabels": { "app": "x" } } }] });
    let keys: Vec<Key> = (0..4).map(|at| pod(&mut stage, &format!("p{at}"), spread.clone())).collect();
    stage.rest();
    let mut nodes: Vec<String> = keys.iter().map(|key| verdict(&stage, key)).collect();
    nodes.sort();
    assert_eq!(nodes, ["n1", "n1", "n2", "n2"]);
}

#[test]
fn a_claim_gets_a_directory_on_the_node_of_its_pod() {
    let mut stage = stage();
    stage
        .create(json!({ "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "provisioner": "raftsman.io/local",
        "metadata": { "name": "local", "annotations": { "storageclass.kubernetes.io/is-default-class": "true" } } }));
    let claim = stage
        .create(json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": "data" },
        "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } } }));
    stage.rest();
    assert_eq!(stage.world.get(&claim).expect("there").value["status"]["phase"], "Pending", "nobody uses it yet");
    let volumes = json!([{ "name": "v", "persistentVolumeClaim": { "claimName": "data" } }]);
    let user = pod(&mut stage, "p", json!({ "volumes": volumes, "nodeSelector": { "kubernetes.io/hostname": "n2" } }));
    stage.settle();
    assert_eq!(stage.world.get(&claim).expect("there").value["status"]["phase"], "Bound");
    assert_eq!(
        stage.names("persistentvolumes", |volume| volume.value["status"]["phase"].as_str().unwrap_or("-").into()).len(),
        1
    );
    stage.delete(&user, Default::default());
    stage.settle();
    let back = pod(&mut stage, "q", json!({ "volumes": volumes }));
    stage.rest();
    assert_eq!(verdict(&stage, &back), "n2", "it goes where its volume is");
    stage.delete(&back, Default::default());
    stage.delete(&claim, Default::default());
    stage.settle();
    assert!(stage.names("persistentvolumes", |_| String::new()).is_empty(), "the volume goes with its claim");
}

#[test]
fn more_pods_than_one_plan_takes_are_placed_and_those_that_fit_nowhere_keep_none_waiting() {
    let mut stage = stage();
    (3..=12).for_each(|number| drop(stage.node(&format!("n{number}"))));
    for number in 0..super::BATCH + 5 {
        pod(&mut stage, &format!("p{number:04}"), json!({}));
    }
    let plan = stage.plan("scheduler", &super::everything());
    assert_eq!((plan.txns.len(), plan.wake_in), (super::BATCH, Some(super::AGAIN)));

    let mut stage = self::stage();
    for number in 0..super::BATCH + 5 {
        pod(&mut stage, &format!("p{number:04}"), json!({ "nodeSelector": { "disk": "tape" } }));
    }
    let last = pod(&mut stage, "q", json!({}));
    stage.rest();
    assert!(verdict(&stage, &last).starts_with('n'), "{}", verdict(&stage, &last));
}

//! Nodes that are cordoned, under pressure or tainted, and what becomes of their pods.

use serde_json::{Value, json};

use crate::reconcile::stage::Stage;
use crate::registry::commit::Part;
use crate::registry::key::Key;

fn stage() -> (Stage, Key) {
    let mut stage = Stage::new();
    stage.create(json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "default" } }));
    let node = stage.node("n1");
    (stage, node)
}

fn taints(stage: &Stage, node: &Key) -> Vec<String> {
    let all = stage.world.get(node).expect("there").value["spec"]["taints"].as_array().cloned().unwrap_or_default();
    let text = |taint: &Value, field: &str| taint[field].as_str().unwrap_or_default().to_owned();
    all.iter().map(|taint| format!("{}:{}", text(taint, "key"), text(taint, "effect"))).collect()
}

#[test]
fn nodes_have_the_taints_that_their_conditions_and_cordons_ask_for() {
    let (mut stage, node) = stage();
    stage.change(&node, Part::Main, |node| {
        node["spec"]["unschedulable"] = true.into();
        node["spec"]["taints"] = json!([{ "key": "gpu", "effect": "NoSchedule" }]);
    });
    stage.change(&node, Part::Status, |node| {
        node["status"]["conditions"] =
            json!([{ "type": "Ready", "status": "True" }, { "type": "DiskPressure", "status": "True" }]);
    });
    stage.rest();
    let wanted = [
        "gpu:NoSchedule",
        "node.kubernetes.io/disk-pressure:NoSchedule",
        "node.kubernetes.io/unschedulable:NoSchedule",
    ];
    assert_eq!(taints(&stage, &node), wanted);
    stage.change(&node, Part::Main, |node| drop(node["spec"].as_object_mut().map(|spec| spec.remove("unschedulable"))));
    stage.change(&node, Part::Status, |node| {
        node["status"]["conditions"] = json!([{ "type": "Ready", "status": "False" }]);
    });
    stage.rest();
    let wanted =
        ["gpu:NoSchedule", "node.kubernetes.io/not-ready:NoSchedule", "node.kubernetes.io/not-ready:NoExecute"];
    assert_eq!(taints(&stage, &node), wanted);
}

#[test]
fn pods_go_from_a_tainted_node_when_they_do_not_bear_it_or_no_longer() {
    let (mut stage, node) = stage();
    for (name, tolerations) in [
        ("bears", json!([{ "operator": "Exists" }])),
        ("bears-for-a-while", json!([{ "key": "down", "operator": "Exists", "tolerationSeconds": 60 }])),
        ("does-not", json!([])),
    ] {
        stage.create(json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name },
            "spec": { "containers": [{ "name": "c", "image": "i" }], "tolerations": tolerations } }));
    }
    stage.settle();
    let living = |stage: &Stage| stage.names("pods", |pod| pod.node().unwrap_or_default().to_owned());
    assert_eq!(living(&stage).len(), 3);
    stage.change(&node, Part::Main, |node| {
        node["spec"]["taints"] = json!([{ "key": "down", "effect": "NoExecute" }]);
    });
    stage.settle();
    assert_eq!(living(&stage), ["bears n1", "bears-for-a-while n1"]);
    let told = stage.names("events", |event| event.value["message"].as_str().unwrap_or_default().to_owned());
    assert!(told.iter().any(|line| line.ends_with("Marking for deletion Pod default/does-not")), "{told:?}");
    stage.pass(59);
    stage.settle();
    assert_eq!(living(&stage).len(), 2);
    stage.pass(1);
    stage.settle();
    assert_eq!(living(&stage), ["bears n1"]);
}

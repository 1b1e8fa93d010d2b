//! Deployments from the first pod to the last, with all other controllers and simulated agents.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::controllers::{Failover, owner};
use crate::reconcile::stage::Stage;
use crate::registry::commit::Part;
use crate::registry::key::Key;

fn deployment(replicas: i64, image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" },
        "spec": {
            "replicas": replicas, "selector": { "matchLabels": { "app": "web" } }, "progressDeadlineSeconds": 600,
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [{ "name": "c", "image": image }] },
            },
        },
    })
}

fn stage(replicas: i64) -> (Stage, Key) {
    let mut stage = Stage::new();
    stage.create(json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "default" } }));
    stage.node("n1");
    stage.node("n2");
    let key = stage.create(deployment(replicas, "one"));
    stage.settle();
    (stage, key)
}

fn status(stage: &Stage, key: &Key) -> (i64, i64, i64) {
    let status = &stage.world.get(key).expect("there").value["status"];
    let count = |field: &str| status[field].as_i64().unwrap_or(0);
    (count("replicas"), count("updatedReplicas"), count("availableReplicas"))
}

fn condition(stage: &Stage, key: &Key, kind: &str) -> String {
    let value = &stage.world.get(key).expect("there").value;
    let found = crate::controllers::conditions::find(value, kind).cloned().unwrap_or_default();
    format!("{} {}", found["status"].as_str().unwrap_or("-"), found["reason"].as_str().unwrap_or("-"))
}

fn sizes(stage: &Stage) -> Vec<i64> {
    let mut sizes: Vec<i64> =
        stage.world.list(owner::apps("replicasets"), "").map(|set| super::sets::replicas(set)).collect();
    sizes.sort_unstable();
    sizes
}

fn image(stage: &mut Stage, key: &Key, image: &str) {
    stage.change(key, Part::Main, |object| object["spec"]["template"]["spec"]["containers"][0]["image"] = image.into());
}

#[test]
fn pods_come_up_on_both_nodes_and_the_status_says_so() {
    let (stage, key) = stage(4);
    assert_eq!(status(&stage, &key), (4, 4, 4));
    assert_eq!(condition(&stage, &key, "Progressing"), "True NewReplicaSetAvailable");
    assert_eq!(condition(&stage, &key, "Available"), "True MinimumReplicasAvailable");
    let deployment = &stage.world.get(&key).expect("there").value;
    assert_eq!(deployment["metadata"]["generation"], 1, "what controllers note is no wish");
    let on = |node: &str| stage.world.pods_on(node).count();
    assert_eq!((on("n1"), on("n2")), (2, 2));
}

#[test]
fn a_new_template_replaces_all_pods_and_a_rollback_takes_the_old_set_again() {
    let (mut stage, key) = stage(3);
    let first = stage.names("replicasets", |_| String::new());
    image(&mut stage, &key, "two");
    stage.settle();
    assert_eq!((status(&stage, &key), sizes(&stage)), ((3, 3, 3), vec![0, 3]));
    image(&mut stage, &key, "one");
    stage.change(&key, Part::Main, |object| object["spec"]["template"]["metadata"]["creationTimestamp"] = Value::Null);
    stage.settle();
    assert_eq!((status(&stage, &key), sizes(&stage)), ((3, 3, 3), vec![0, 3]));
    let size = |set: &crate::reconcile::world::Item| super::sets::replicas(set).to_string();
    assert!(stage.names("replicasets", size).contains(&format!("{} 3", first[0])));
    assert_eq!(super::sets::revision(stage.world.get(&key).expect("there")), 3);
}

#[test]
fn a_broken_template_stops_the_rollout_and_the_deadline_says_so() {
    let (mut stage, key) = stage(4);
    image(&mut stage, &key, "broken");
    stage.settle();
    let (_, updated, available) = status(&stage, &key);
    assert_eq!((updated, available), (2, 3), "a quarter may be missing, a quarter more may come");
    stage.pass(601);
    stage.settle();
    assert_eq!(condition(&stage, &key, "Progressing"), "False ProgressDeadlineExceeded");
}

#[test]
fn paused_deployments_are_sized_but_not_rolled() {
    let (mut stage, key) = stage(2);
    stage.change(&key, Part::Main, |object| {
        object["spec"]["paused"] = true.into();
        object["spec"]["replicas"] = 5.into();
    });
    image(&mut stage, &key, "two");
    stage.settle();
    assert_eq!((status(&stage, &key), sizes(&stage)), ((5, 0, 5), vec![5]));
    stage.change(&key, Part::Main, |object| object["spec"]["paused"] = false.into());
    stage.settle();
    assert_eq!((status(&stage, &key), sizes(&stage)), ((5, 5, 5), vec![0, 5]));
}

#[test]
fn recreate_waits_for_the_last_old_pod() {
    let (mut stage, key) = stage(2);
    stage.change(&key, Part::Main, |object| object["spec"]["strategy"] = json!({ "type": "Recreate" }));
    stage.settle();
    image(&mut stage, &key, "two");
    stage.rest();
    assert_eq!(sizes(&stage), [0], "no new set while old pods end");
    stage.settle();
    assert_eq!((status(&stage, &key), sizes(&stage)), ((2, 2, 2), vec![0, 2]));
}

#[test]
fn deleting_it_deletes_everything_it_made() {
    let (mut stage, key) = stage(3);
    stage.delete(&key, Default::default());
    stage.settle();
    assert!(
        stage.names("replicasets", |_| String::new()).is_empty() && stage.names("pods", |_| String::new()).is_empty()
    );
}

/// As the API writes them into pods that say nothing; or of other seconds.
fn tolerations(seconds: i64) -> Value {
    let kinds = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];
    let toleration =
        |key| json!({ "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds });
    kinds.map(toleration).to_vec().into()
}

#[test]
fn pods_that_say_so_wait_for_their_silent_node() {
    for (seconds, failover) in [(120, Failover::Fast), (300, Failover::Kubernetes)] {
        let (mut stage, key) = stage(4);
        stage.settings.failover = failover;
        stage.change(&key, Part::Main, |object| {
            object["spec"]["template"]["spec"]["tolerations"] = tolerations(seconds)
        });
        stage.settle();
        stage.silent = vec!["n1".to_owned()];
        stage.settle();
        let on = |stage: &Stage, node: &str| stage.world.pods_on(node).filter(|pod| !pod.deleting()).count();
        assert_eq!((on(&stage, "n1"), on(&stage, "n2")), (2, 2), "{seconds}");
        stage.pass(seconds);
        stage.settle();
        assert_eq!((on(&stage, "n1"), on(&stage, "n2")), (0, 4), "{seconds}");
    }
}

#[test]
fn why_it_was_changed_is_noted_on_its_set_also_afterwards() {
    let (mut stage, key) = stage(1);
    let cause = "kubernetes.io/change-cause";
    stage.change(&key, Part::Main, |object| object["metadata"]["annotations"][cause] = "because".into());
    stage.settle();
    image(&mut stage, &key, "two");
    stage.change(&key, Part::Main, |object| object["metadata"]["annotations"][cause] = "better".into());
    stage.settle();
    let notes = |set: &crate::reconcile::world::Item| set.value["metadata"]["annotations"].clone();
    let mut causes: Vec<String> = stage
        .world
        .list(owner::apps("replicasets"), "")
        .map(|set| format!("{} {}", notes(set)[super::sets::REVISION], notes(set)[cause]))
        .collect();
    causes.sort();
    assert_eq!(causes, [r#""1" "because""#, r#""2" "better""#]);
}

#[test]
fn each_pod_is_told_of_once() {
    let (mut stage, key) = stage(2);
    stage.change(&key, Part::Main, |object| object["spec"]["replicas"] = 1.into());
    stage.settle();
    let told: Vec<(String, i64)> = stage
        .world
        .list(crate::kind::core("events"), "")
        .map(|event| {
            let text = |field: &str| event.value[field].as_str().unwrap_or_default().to_owned();
            (format!("{}: {}", text("reason"), text("message")), event.value["count"].as_i64().unwrap_or(0))
        })
        .collect();
    let count = |start: &str| told.iter().filter(|(line, _)| line.starts_with(start)).count();
    assert_eq!(count("SuccessfulCreate: Created pod: web-"), 2, "{told:?}");
    assert_eq!(count("SuccessfulDelete: Deleted pod: web-"), 1, "{told:?}");
    assert_eq!(count("Scheduled: Successfully assigned default/web-"), 2, "{told:?}");
    assert_eq!(count("ScalingReplicaSet: Scaled "), 2, "{told:?}");
    assert!(told.iter().all(|(_, count)| *count == 1), "{told:?}");
}

#[test]
fn pods_of_a_silent_node_are_replaced_and_a_brake_holds_when_all_are_silent() {
    let (mut stage, key) = stage(4);
    stage.change(&key, Part::Main, |object| object["spec"]["template"]["spec"]["tolerations"] = tolerations(300));
    stage.settle();
    stage.silent = vec!["n1".to_owned()];
    stage.settle();
    let living = stage.world.pods_on("n2").filter(|pod| crate::controllers::pod::active(pod)).count();
    assert_eq!((living, status(&stage, &key).2), (4, 4));
    stage.silent.push("n2".to_owned());
    stage.settle();
    let living = stage.world.pods_on("n2").filter(|pod| !pod.deleting()).count();
    assert_eq!(living, 4, "nothing is evicted when everything is silent");
    stage.silent.clear();
    stage.change(
        &Key { kind: crate::kind::core("nodes"), namespace: String::new(), name: "n1".into() },
        Part::Status,
        |node| {
            node["status"]["conditions"] = json!([{ "type": "Ready", "status": "True" }]);
        },
    );
    stage.settle();
    let node = stage.names("nodes", |node| node.value["spec"]["taints"].to_string());
    assert_eq!(node[0], "n1 null");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Whatever is changed, and however far controllers had come, everything comes to rest as wished.
    #[test]
    fn it_comes_to_rest(steps in proptest::collection::vec((0_u8..4, 0_i64..6, any::<bool>()), 1..6)) {
        let (mut stage, key) = stage(2);
        for (what, number, half) in steps {
            match what {
                0 => stage.change(&key, Part::Main, |object| object["spec"]["replicas"] = number.into()),
                1 => image(&mut stage, &key, &format!("v{number}")),
                2 => stage.change(&key, Part::Main, |object| {
                    object["spec"]["strategy"] = json!({ "rollingUpdate": { "maxSurge": number, "maxUnavailable": 1 } });
                }),
                _ => stage.agents(),
            }
            if half { stage.rest(); }
        }
        stage.settle();
        let wished = stage.world.get(&key).expect("there").value["spec"]["replicas"].as_i64().expect("given");
        prop_assert_eq!(status(&stage, &key), (wished, wished, wished));
        prop_assert_eq!(sizes(&stage).iter().sum::<i64>(), wished);
    }
}

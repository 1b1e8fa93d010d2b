//! Plugins on small worlds.

use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::authz::rbac;
use crate::kind;

#[derive(Default)]
pub(super) struct World {
    objects: BTreeMap<(String, String, String), Value>,
    index: Index,
}

impl World {
    pub(super) fn with(mut self, resource: &str, namespace: &str, name: &str, mut object: Value) -> World {
        object["metadata"]["name"] = name.into();
        self.index.put(resource, namespace, name, Some(object.clone()));
        self.objects.insert((resource.to_owned(), namespace.to_owned(), name.to_owned()), object);
        self
    }
}

impl Cluster for World {
    fn get(&self, kind: &'static Kind, namespace: &str, name: &str) -> Option<Value> {
        self.objects.get(&(kind.resource.to_owned(), namespace.to_owned(), name.to_owned())).cloned()
    }
    fn list(&self, kind: &'static Kind, namespace: &str) -> Vec<Value> {
        let here = |(resource, place, _): &(String, String, String)| {
            resource == kind.resource && (namespace.is_empty() || place == namespace)
        };
        self.objects.iter().filter(|(key, _)| here(key)).map(|(_, object)| object.clone()).collect()
    }
    fn index(&self) -> Arc<Index> {
        Arc::new(self.index.clone())
    }
    fn may(&self, user: &User, attributes: &Attributes) -> bool {
        rbac::decide(&self.index, user, attributes).allowed
    }
}

/// A namespace `ns` with the account `default`.
pub(super) fn world() -> World {
    World::default().with("namespaces", "", "ns", json!({})).with("serviceaccounts", "ns", "default", json!({}))
}

fn find(resource: &str) -> &'static Kind {
    kind::ALL.iter().find(|kind| kind.resource == resource).expect("a kind")
}

/// Both halves of a write, as the registry asks for them: the object, and the warnings.
pub(super) fn write(
    world: &World,
    user: &User,
    operation: Operation,
    (resource, subresource, name): (&str, &str, &str),
    (old, mut object): (Option<Value>, Value),
) -> Result<(Value, Vec<String>), String> {
    let kind = find(resource);
    let namespace = if kind.namespaced { "ns" } else { "" };
    let random = [0; 5];
    let request = Request { operation, kind, subresource, namespace, name, old: old.as_ref(), user, random };
    if operation != Operation::Delete {
        admit(&request, world, &mut object).map_err(|status| status.message)?;
    }
    let warnings = validate(&request, world, &object).map_err(|status| status.message)?;
    Ok((object, warnings))
}

pub(super) fn admin() -> User {
    User::from_certificate("admin", &["system:masters".to_owned()])
}

fn create(world: &World, resource: &str, object: Value) -> Result<Value, String> {
    write(world, &admin(), Operation::Create, (resource, "", ""), (None, object)).map(|(object, _)| object)
}

fn pod(spec: Value) -> Value {
    json!({ "metadata": { "name": "p", "namespace": "ns" }, "spec": spec })
}

#[test]
fn pods_get_an_account_its_token_a_priority_and_patience() {
    let spec = json!({ "containers": [{ "name": "c" }, { "name": "d",
        "volumeMounts": [{ "name": "own", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount" }] }] });
    let made = create(&world(), "pods", pod(spec)).expect("admitted");
    let spec = &made["spec"];
    assert_eq!((&spec["serviceAccountName"], &spec["serviceAccount"]), (&json!("default"), &json!("default")));
    let mount = json!({ "name": "kube-api-access-bbbbb", "readOnly": true,
        "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount" });
    assert_eq!(spec["containers"][0]["volumeMounts"], json!([mount]));
    assert_eq!(spec["containers"][1]["volumeMounts"].as_array().map(Vec::len), Some(1));
    assert_eq!(spec["volumes"][0]["name"], "kube-api-access-bbbbb");
    assert_eq!(spec["volumes"][0]["projected"]["sources"].as_array().map(Vec::len), Some(3));
    assert_eq!((&spec["priority"], &spec["preemptionPolicy"]), (&json!(0), &json!("PreemptLowerPriority")));
    assert_eq!(spec["tolerations"].as_array().map(Vec::len), Some(2));
    assert!(spec.get("initContainers").is_none(), "nothing is made up");
    let again = write(&world(), &admin(), Operation::Update, ("pods", "", "p"), (Some(made.clone()), made.clone()));
    assert_eq!(again.expect("admitted").0, made, "admission of what was admitted changes nothing");
}

#[test]
fn accounts_say_what_their_pods_get() {
    let account = json!({ "automountServiceAccountToken": false, "imagePullSecrets": [{ "name": "pull" }] });
    let world = world().with("serviceaccounts", "ns", "web", account);
    let made =
        create(&world, "pods", pod(json!({ "serviceAccountName": "web", "containers": [{}] }))).expect("admitted");
    assert!(made["spec"]["volumes"].is_null() && made["spec"]["imagePullSecrets"] == json!([{ "name": "pull" }]));
    let own = json!({ "serviceAccountName": "web", "automountServiceAccountToken": true, "containers": [{}],
        "imagePullSecrets": [{ "name": "mine" }] });
    let made = create(&world, "pods", pod(own)).expect("admitted");
    assert_eq!(made["spec"]["volumes"].as_array().map(Vec::len), Some(1));
    assert_eq!(made["spec"]["imagePullSecrets"], json!([{ "name": "mine" }]));
    assert_eq!(
        create(&world, "pods", pod(json!({ "serviceAccountName": "gone" }))),
        Err("pods \"p\" is forbidden: error looking up service account ns/gone: serviceaccount \"gone\" not found"
            .to_owned())
    );
}

#[test]
fn mirror_pods_have_no_secrets() {
    let mirror = |spec: Value| {
        let meta = json!({ "name": "p", "annotations": { "kubernetes.io/config.mirror": "a" } });
        create(&world(), "pods", json!({ "metadata": meta, "spec": spec }))
    };
    assert!(mirror(json!({})).expect("admitted")["spec"]["serviceAccountName"].is_null());
    for spec in [
        json!({ "serviceAccountName": "default" }),
        json!({ "volumes": [{ "secret": { "secretName": "s" } }] }),
        json!({ "volumes": [{ "projected": { "sources": [{ "serviceAccountToken": { "path": "t" } }] } }] }),
    ] {
        assert!(mirror(spec).is_err_and(|why| why.contains("a mirror pod may not")));
    }
}

#[test]
fn priorities_are_those_of_classes() {
    let refused = |spec: Value| create(&world(), "pods", pod(spec)).expect_err("refused");
    let critical = create(&world(), "pods", pod(json!({ "priorityClassName": "system-node-critical" })));
    assert_eq!(critical.expect("admitted")["spec"]["priority"], 2_000_001_000);
    assert!(refused(json!({ "priorityClassName": "gone" })).ends_with("no PriorityClass with name gone was found"));
    assert!(refused(json!({ "priority": 5 })).contains("the integer value of priority (5) must not be provided"));
    assert!(refused(json!({ "preemptionPolicy": "" })).contains("the string value of PreemptionPolicy () must not"));
    assert!(refused(json!({ "overhead": { "cpu": "1" } })).contains("Pod Overhead set without"));
    assert!(refused(json!({ "runtimeClassName": "x" })).ends_with("pod rejected: RuntimeClass \"x\" not found"));
}

#[test]
fn nothing_begins_where_nothing_may() {
    let world = world().with("namespaces", "", "ns", json!({ "status": { "phase": "Terminating" } }));
    assert_eq!(
        create(&world, "configmaps", json!({ "metadata": { "name": "c" } })),
        Err("configmaps \"c\" is forbidden: unable to create new content in namespace ns because it is being terminated".to_owned())
    );
    let gone = create(&World::default(), "configmaps", json!({}));
    assert_eq!(gone, Err("namespaces \"ns\" not found".to_owned()));
    let delete =
        |name: &str| write(&world, &admin(), Operation::Delete, ("namespaces", "", name), (Some(json!({})), json!({})));
    assert!(
        delete("default").is_err_and(|why| why.ends_with("this namespace may not be deleted")) && delete("ns").is_ok()
    );
}

#[test]
fn storage_is_protected_and_grows_only_where_it_can() {
    let class = |default: &str, born: &str, grows: bool| {
        json!({ "metadata": { "annotations": { "storageclass.kubernetes.io/is-default-class": default },
            "creationTimestamp": born }, "allowVolumeExpansion": grows })
    };
    let world = world()
        .with("storageclasses", "", "old", class("true", "2026-01-01T00:00:00Z", false))
        .with("storageclasses", "", "new", class("true", "2026-01-02T00:00:00Z", true))
        .with("storageclasses", "", "other", class("false", "2026-01-03T00:00:00Z", true));
    let made = create(&world, "persistentvolumeclaims", json!({ "spec": {} })).expect("admitted");
    assert_eq!(made["spec"]["storageClassName"], "new");
    assert_eq!(made["metadata"]["finalizers"], json!(["kubernetes.io/pvc-protection"]));
    let claim = |class: &str, size: &str, phase: &str| {
        json!({ "spec": { "storageClassName": class, "resources": { "requests": { "storage": size } } },
            "status": { "phase": phase } })
    };
    let grow = |class: &str, phase: &str| {
        let both = (Some(claim(class, "1Gi", phase)), claim(class, "2Gi", phase));
        write(&world, &admin(), Operation::Update, ("persistentvolumeclaims", "", "c"), both)
    };
    assert!(grow("new", "Bound").is_ok());
    assert!(grow("old", "Bound").is_err_and(|why| why.contains("only dynamically provisioned pvc can be resized")));
    assert!(grow("new", "Pending").is_err_and(|why| why.contains("only bound persistent volume claims")));
}

#[test]
fn nodes_begin_tainted_and_change_only_themselves() {
    let node = User::from_certificate("system:node:n1", &["system:nodes".to_owned()]);
    let made =
        write(&world(), &node, Operation::Create, ("nodes", "", ""), (None, json!({ "metadata": { "name": "n1" } })));
    assert_eq!(made.expect("admitted").0["spec"]["taints"][0]["key"], "node.kubernetes.io/not-ready");
    let change = |name: &str, new: Value| {
        let old = json!({ "metadata": { "name": name } });
        write(&world(), &node, Operation::Update, ("nodes", "", name), (Some(old), new)).map(|_| ())
    };
    assert_eq!(change("n1", json!({ "metadata": { "labels": { "a": "b" } } })), Ok(()));
    for (name, new, why) in [
        ("n2", json!({}), "is not allowed to modify node \"n2\""),
        ("n1", json!({ "spec": { "taints": [{}] } }), "modify taints"),
        ("n1", json!({ "metadata": { "ownerReferences": [{}] } }), "modify ownerReferences"),
        ("n1", json!({ "metadata": { "labels": { "node-restriction.kubernetes.io/x": "y" } } }), "modify labels"),
    ] {
        assert!(change(name, new).is_err_and(|text| text.contains(why)), "{why}");
    }
    let made = write(&world(), &node, Operation::Create, ("pods", "", ""), (None, pod(json!({ "nodeName": "n1" }))));
    assert!(made.is_err_and(|why| why.contains("can only create mirror pods")));
}

#[test]
fn pods_say_where_they_are() {
    let labels = json!({ "metadata": { "labels": { "topology.kubernetes.io/zone": "z", "other": "x" } } });
    let world = world().with("nodes", "", "n", labels);
    let both = (Some(pod(json!({}))), pod(json!({ "nodeName": "n" })));
    let bound = write(&world, &admin(), Operation::Update, ("pods", "binding", "p"), both).expect("admitted").0;
    assert_eq!(bound["metadata"]["labels"], json!({ "topology.kubernetes.io/zone": "z" }));
}

#[test]
fn nobody_grants_more_than_they_hold() {
    let reference =
        |kind: &str, name: &str| json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name });
    let rule = |resource: &str, verbs: &[&str]| {
        let group = if resource == "pods" { "" } else { "rbac.authorization.k8s.io" };
        json!({ "apiGroups": [group], "resources": [resource], "verbs": verbs })
    };
    let held = json!({ "rules": [rule("pods", &["get"])] });
    let subjects = json!([{ "kind": "User", "name": "alice" }]);
    let bound = json!({ "roleRef": reference("Role", "held"), "subjects": subjects });
    let base = || world().with("roles", "ns", "held", held.clone()).with("rolebindings", "ns", "b", bound.clone());
    let alice = User::from_certificate("alice", &[]);
    let make = |world: &World, resource: &str, object: Value| {
        write(world, &alice, Operation::Create, (resource, "", ""), (None, object)).map(|_| ())
    };
    let role = |verbs: &[&str]| json!({ "metadata": { "name": "x" }, "rules": [rule("pods", verbs)] });
    assert_eq!(make(&base(), "roles", role(&["get"])), Ok(()));
    let refused = make(&base(), "roles", role(&["get", "delete"])).expect_err("more");
    assert!(refused.starts_with("roles.rbac.authorization.k8s.io \"x\" is forbidden: user \"alice\""), "{refused}");
    assert!(refused.ends_with("\n{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"delete\"]}"), "{refused}");
    let binding =
        |name: &str| json!({ "metadata": { "name": "x" }, "roleRef": reference("Role", name), "subjects": subjects });
    assert_eq!(make(&base(), "rolebindings", binding("held")), Ok(()));
    assert_eq!(
        make(&base(), "rolebindings", binding("gone")),
        Err("roles.rbac.authorization.k8s.io \"gone\" not found".to_owned())
    );
    let more = base().with("roles", "ns", "more", json!({ "rules": [rule("pods", &["delete"])] }));
    assert!(make(&more, "rolebindings", binding("more")).is_err());
    let trusted = json!({ "rules": [rule("roles", &["escalate", "bind"])] });
    let trusted = more.with("roles", "ns", "held", trusted);
    assert_eq!(make(&trusted, "rolebindings", binding("more")), Ok(()));
    assert_eq!(make(&trusted, "roles", role(&["delete"])), Ok(()));
}

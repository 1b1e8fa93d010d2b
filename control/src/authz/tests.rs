//! Tables for the authorizer: who, what, and the answer.

use serde_json::{Value, json};

use super::*;
use crate::authz::{ResourceAttributes, refusal};

#[derive(Default)]
struct Fixture {
    cluster_roles: Vec<ClusterRole>,
    roles: Vec<Role>,
    cluster_role_bindings: Vec<ClusterRoleBinding>,
    role_bindings: Vec<RoleBinding>,
}

impl Source for Fixture {
    fn cluster_role(&self, name: &str) -> Option<ClusterRole> {
        self.cluster_roles.iter().find(|role| role.metadata.name.as_deref() == Some(name)).cloned()
    }
    fn role(&self, namespace: &str, name: &str) -> Option<Role> {
        let same = |role: &&Role| {
            role.metadata.name.as_deref() == Some(name) && role.metadata.namespace.as_deref() == Some(namespace)
        };
        self.roles.iter().find(same).cloned()
    }
    fn cluster_role_bindings(&self) -> Vec<ClusterRoleBinding> {
        self.cluster_role_bindings.clone()
    }
    fn role_bindings(&self, namespace: &str) -> Vec<RoleBinding> {
        let here = |binding: &&RoleBinding| binding.metadata.namespace.as_deref() == Some(namespace);
        self.role_bindings.iter().filter(here).cloned().collect()
    }
}

fn from<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn fixture() -> Fixture {
    let reference =
        |kind: &str, name: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name});
    Fixture {
        cluster_roles: vec![from(json!({"metadata": {"name": "info"}, "rules": [
            {"verbs": ["get"], "nonResourceURLs": ["/version", "/api/*"]},
            {"verbs": ["patch"], "apiGroups": ["apps"], "resources": ["*/scale"]}]}))],
        roles: vec![from(json!({"metadata": {"name": "reader", "namespace": "a"}, "rules": [
            {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]},
            {"verbs": ["*"], "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["one"]}]}))],
        cluster_role_bindings: vec![from(
            json!({"metadata": {"name": "all"}, "roleRef": reference("ClusterRole", "info"),
            "subjects": [{"kind": "Group", "name": "system:authenticated"}]}),
        )],
        role_bindings: vec![
            from(json!({"metadata": {"name": "r", "namespace": "a"}, "roleRef": reference("Role", "reader"),
                "subjects": [{"kind": "ServiceAccount", "name": "web"}]})),
            from(json!({"metadata": {"name": "lost", "namespace": "b"}, "roleRef": reference("ClusterRole", "gone"),
                "subjects": [{"kind": "User", "name": "alice"}]})),
        ],
    }
}

/// `verb group/resource[/subresource] namespace name`, or `verb /path`; `-` is empty.
fn attributes(text: &str) -> Attributes {
    let words: Vec<_> = text.split(' ').map(|word| if word == "-" { "" } else { word }).collect();
    let verb = words[0].to_owned();
    if words.len() == 2 {
        return Attributes { verb, path: words[1].to_owned(), resource: None };
    }
    let mut parts = words[1].splitn(3, '/').map(str::to_owned);
    let resource = ResourceAttributes {
        group: parts.next().unwrap(),
        resource: parts.next().unwrap(),
        subresource: parts.next().unwrap_or_default(),
        namespace: words[2].to_owned(),
        name: words[3].to_owned(),
    };
    Attributes { verb, resource: Some(resource), path: String::new() }
}

#[test]
fn rules_allow_only_what_they_say() {
    let web = User::service_account("a", "web", "u");
    for (request, allowed) in [
        ("get /pods a p", true),
        ("get /pods/log a p", false),
        ("list /pods a -", false),
        ("get /pods b p", false),
        ("get /pods - p", false),
        ("get extensions/pods a p", false),
        ("delete /configmaps a one", true),
        ("delete /configmaps a two", false),
        ("list /configmaps a -", false),
        ("patch apps/deployments/scale b d", true),
        ("patch apps/deployments b d", false),
        ("get /version", true),
        ("get /versions", false),
        ("get /api/v1", true),
        ("post /version", false),
    ] {
        assert_eq!(decide(&fixture(), &web, &attributes(request)).allowed, allowed, "{request}");
    }
}

#[test]
fn accounts_of_other_namespaces_and_users_with_an_accounts_name_are_refused() {
    let request = attributes("get /pods a p");
    for user in [User::service_account("b", "web", ""), User::from_certificate("web", &[]), User::anonymous()] {
        assert!(!decide(&fixture(), &user, &request).allowed, "{user:?}");
    }
}

#[test]
fn masters_pass_and_refusals_read_as_kubernetes_do() {
    let admin = User::from_certificate("admin", &[MASTERS.into()]);
    assert!(decide(&Fixture::default(), &admin, &attributes("delete /nodes - n")).allowed);
    let alice = User::from_certificate("alice", &[]);
    let text = |request: &str| {
        let attributes = attributes(request);
        refusal(&alice, &attributes, &decide(&fixture(), &alice, &attributes).reason)
    };
    assert_eq!(
        text("list /pods a -"),
        r#"User "alice" cannot list resource "pods" in API group "" in the namespace "a""#
    );
    assert_eq!(
        text("get /nodes/proxy - n"),
        r#"User "alice" cannot get resource "nodes/proxy" in API group "" at the cluster scope"#
    );
    assert_eq!(text("get /metrics"), r#"User "alice" cannot get path "/metrics""#);
    assert_eq!(
        text("get apps/deployments b d"),
        r#"User "alice" cannot get resource "deployments" in API group "apps" in the namespace "b": RBAC: clusterrole.rbac.authorization.k8s.io "gone" not found"#
    );
}

#[test]
fn granting_needs_what_is_granted() {
    let rule = |verbs: &[&str], resources: &[&str], names: &[&str]| -> PolicyRule {
        from(json!({"verbs": verbs, "apiGroups": [""], "resources": resources, "resourceNames": names}))
    };
    let held = [
        rule(&["get"], &["pods", "secrets"], &[]),
        rule(&["list"], &["pods"], &[]),
        rule(&["get"], &["nodes"], &["n"]),
    ];
    assert_eq!(uncovered(&held, &[rule(&["get", "list"], &["pods"], &[])]), []);
    assert_eq!(uncovered(&held, &[rule(&["get"], &["secrets"], &["x"])]), []);
    assert_eq!(uncovered(&held, &[rule(&["get"], &["nodes"], &["n"])]), []);
    for beyond in [
        rule(&["get"], &["nodes"], &[]),
        rule(&["get"], &["nodes"], &["m"]),
        rule(&["list"], &["secrets"], &[]),
        rule(&["*"], &["pods"], &[]),
        rule(&["get"], &["*"], &[]),
        rule(&["get"], &["pods/log"], &[]),
    ] {
        assert_eq!(uncovered(&held, std::slice::from_ref(&beyond)).len(), 1, "{beyond:?}");
    }
}

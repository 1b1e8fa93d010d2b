//! Tables for the authorizer: who, what, and the answer.

use serde_json::{Value, json};

use super::*;
use crate::authz::{ResourceAttributes, refusal};

fn fixture() -> Index {
    let mut index = Index::default();
    let reference =
        |kind: &str, name: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name});
    let mut put = |resource: &str, namespace: &str, name: &str, object: Value| {
        index.put(resource, namespace, name, Some(object));
    };
    put(
        "clusterroles",
        "",
        "info",
        json!({"rules": [
            {"verbs": ["get"], "nonResourceURLs": ["/version", "/api/*"]},
            {"verbs": ["patch"], "apiGroups": ["apps"], "resources": ["*/scale"]}]}),
    );
    put(
        "roles",
        "a",
        "reader",
        json!({"rules": [
            {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]},
            {"verbs": ["*"], "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["one"]}]}),
    );
    put(
        "clusterrolebindings",
        "",
        "all",
        json!({"roleRef": reference("ClusterRole", "info"),
            "subjects": [{"kind": "Group", "name": "system:authenticated"}]}),
    );
    put(
        "rolebindings",
        "a",
        "r",
        json!({"roleRef": reference("Role", "reader"), "subjects": [{"kind": "ServiceAccount", "name": "web"}]}),
    );
    put(
        "rolebindings",
        "b",
        "lost",
        json!({"roleRef": reference("ClusterRole", "gone"), "subjects": [{"kind": "User", "name": "alice"}]}),
    );
    index
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
        selected: Default::default(),
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
    let allowed = decide(&fixture(), &User::service_account("a", "web", "u"), &request);
    assert_eq!(allowed.reason, r#"RBAC: allowed by RoleBinding "r/a" of Role "reader" to ServiceAccount "web/a""#);
    for user in [User::service_account("b", "web", ""), User::from_certificate("web", &[]), User::anonymous()] {
        assert!(!decide(&fixture(), &user, &request).allowed, "{user:?}");
    }
}

#[test]
fn masters_pass_and_refusals_read_as_kubernetes_do() {
    let admin = User::from_certificate("admin", &[MASTERS.into()]);
    assert!(decide(&Index::default(), &admin, &attributes("delete /nodes - n")).allowed);
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

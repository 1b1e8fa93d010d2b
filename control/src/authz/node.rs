//! PURE: what a node's own credentials are good for: its pods and what those refer to.
//!
//! Source: k8s.io/kubernetes `plugin/pkg/auth/authorizer/node`.

use serde_json::Value;

use super::index::Index;
use super::{Attributes, Decision, ResourceAttributes, rbac};
use crate::identity::User;

/// The group of nodes.
pub const GROUP: &str = "system:nodes";
/// The role that says what nodes may do with kinds that are not divided among them.
const ROLE: &str = "system:node";

/// Where nodes and pods are looked up.
pub trait Graph {
    /// A pod.
    fn pod(&self, namespace: &str, name: &str) -> Option<Value>;
    /// The pods of a namespace that are bound to a node.
    fn pods_on(&self, node: &str, namespace: &str) -> Vec<Value>;
    /// A persistent volume claim.
    fn claim(&self, namespace: &str, name: &str) -> Option<Value>;
    /// A persistent volume.
    fn volume(&self, name: &str) -> Option<Value>;
}

/// The node that a user is.
pub fn node_of(user: &User) -> Option<&str> {
    user.name.strip_prefix("system:node:").filter(|_| user.is_in(GROUP))
}

/// Decides a request of a node; none when the user is no node. The reason of a refusal may be empty.
pub fn decide(index: &Index, graph: &dyn Graph, user: &User, attributes: &Attributes) -> Option<Decision> {
    let node = node_of(user)?;
    let answer = match &attributes.resource {
        _ if node.is_empty() => Err(format!("unknown node for user {:?}", user.name)),
        Some(wanted) => divided(graph, node, &attributes.verb, wanted).unwrap_or_else(|| by_role(index, attributes)),
        None => by_role(index, attributes),
    };
    let reason = answer.as_ref().err().cloned().unwrap_or_default();
    Some(Decision { allowed: answer.is_ok(), reason })
}

fn by_role(index: &Index, attributes: &Attributes) -> Result<(), String> {
    let rules = index.rules("", ROLE);
    let allows = rules.is_some_and(|rules| rules.iter().any(|rule| rbac::allows(rule, attributes)));
    if allows { Ok(()) } else { Err(String::new()) }
}

/// What holds of kinds of which each node has its part; none for others.
fn divided(graph: &dyn Graph, node: &str, verb: &str, wanted: &ResourceAttributes) -> Option<Result<(), String>> {
    let get_only = || {
        if verb != "get" {
            Err("can only get individual resources of this type".to_owned())
        } else if !wanted.subresource.is_empty() {
            Err("cannot get subresource".to_owned())
        } else {
            related(graph, node, wanted)
        }
    };
    let read_only = || {
        if !matches!(verb, "get" | "list" | "watch") {
            Err("can only read resources of this type".to_owned())
        } else if !wanted.subresource.is_empty() {
            Err("cannot read subresource".to_owned())
        } else if wanted.namespace.is_empty() {
            Err("can only read namespaced object of this type".to_owned())
        } else {
            related(graph, node, wanted)
        }
    };
    Some(match (wanted.group.as_str(), wanted.resource.as_str(), wanted.subresource.as_str()) {
        ("", "secrets" | "configmaps", _) => read_only(),
        ("", "persistentvolumeclaims" | "persistentvolumes", _) => get_only(),
        ("", "pods", _) => pods(graph, node, verb, wanted),
        ("", "nodes", "") if matches!(verb, "get" | "list" | "watch") => own_node(node, wanted),
        ("", "serviceaccounts", "token") if verb == "create" => related(graph, node, wanted),
        ("", "serviceaccounts", "") if verb == "get" => related(graph, node, wanted),
        ("", "serviceaccounts", _) => Err("can only create tokens for individual service accounts".to_owned()),
        ("coordination.k8s.io", "leases", _) => lease(node, verb, wanted),
        _ => return None,
    })
}

fn pods(graph: &dyn Graph, node: &str, verb: &str, wanted: &ResourceAttributes) -> Result<(), String> {
    match (wanted.subresource.as_str(), verb) {
        ("", "get") => related(graph, node, wanted),
        ("", "list" | "watch") if wanted.selected.get("spec.nodeName").is_some_and(|name| name == node) => Ok(()),
        ("", "list" | "watch") => Err("can only list/watch pods with spec.nodeName field selector".to_owned()),
        // Which pods is for the admission plugin NodeRestriction to say.
        ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => Ok(()),
        _ => Err(String::new()),
    }
}

fn own_node(node: &str, wanted: &ResourceAttributes) -> Result<(), String> {
    match wanted.name.as_str() {
        name if name == node => Ok(()),
        "" => Err(format!("node '{node}' cannot read all nodes, only its own Node object")),
        name => Err(format!("node '{node}' cannot read '{name}', only its own Node object")),
    }
}

fn lease(node: &str, verb: &str, wanted: &ResourceAttributes) -> Result<(), String> {
    if !matches!(verb, "get" | "create" | "update" | "patch" | "delete") {
        return Err("can only get, create, update, patch, or delete a node lease".to_owned());
    }
    if wanted.namespace != "kube-node-lease" {
        return Err("can only access leases in the \"kube-node-lease\" system namespace".to_owned());
    }
    // A creation does not say the name here.
    if verb != "create" && wanted.name != node {
        return Err("can only access node lease with the same name as the requesting node".to_owned());
    }
    Ok(())
}

/// Whether a pod of the node leads to the object.
fn related(graph: &dyn Graph, node: &str, wanted: &ResourceAttributes) -> Result<(), String> {
    let ResourceAttributes { resource, namespace, name, .. } = wanted;
    if name.is_empty() {
        return Err("No Object name found".to_owned());
    }
    let uses = |namespace: &str, leads: &dyn Fn(&Value) -> bool| graph.pods_on(node, namespace).iter().any(leads);
    let found = match resource.as_str() {
        "pods" => graph.pod(namespace, name).is_some_and(|pod| pod["spec"]["nodeName"] == node),
        "serviceaccounts" => uses(namespace, &|pod| pod["spec"]["serviceAccountName"] == name.as_str()),
        "persistentvolumes" => graph.volume(name).is_some_and(|volume| {
            let claim = &volume["spec"]["claimRef"];
            let text = |key: &str| claim[key].as_str().unwrap_or_default().to_owned();
            let bound = graph.claim(&text("namespace"), &text("name"));
            bound.is_some_and(|claim| claim["spec"]["volumeName"] == name.as_str())
                && uses(&text("namespace"), &|pod| refers(pod, "persistentvolumeclaims", &text("name")))
        }),
        resource => uses(namespace, &|pod| refers(pod, resource, name)),
    };
    let none = || format!("no relationship found between node '{node}' and this object");
    if found { Ok(()) } else { Err(none()) }
}

/// Whether a pod's spec names an object.
fn refers(pod: &Value, resource: &str, name: &str) -> bool {
    let namespace = pod["metadata"]["namespace"].as_str().unwrap_or_default();
    let references = crate::gateway::select::references(&pod["spec"], namespace);
    references.iter().any(|(held, _, named)| held == resource && named == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    struct World;

    impl Graph for World {
        fn pod(&self, namespace: &str, name: &str) -> Option<Value> {
            self.pods_on("n1", namespace).into_iter().find(|pod| pod["metadata"]["name"] == name)
        }
        fn pods_on(&self, node: &str, namespace: &str) -> Vec<Value> {
            let pod = json!({ "metadata": { "name": "p", "namespace": "ns" }, "spec": { "nodeName": "n1",
                "serviceAccountName": "web", "volumes": [{ "secret": { "secretName": "s" } },
                { "persistentVolumeClaim": { "claimName": "c" } }] } });
            if (node, namespace) == ("n1", "ns") { vec![pod] } else { vec![] }
        }
        fn claim(&self, _: &str, name: &str) -> Option<Value> {
            (name == "c").then(|| json!({ "spec": { "volumeName": "v" } }))
        }
        fn volume(&self, _: &str) -> Option<Value> {
            Some(json!({ "spec": { "claimRef": { "namespace": "ns", "name": "c" } } }))
        }
    }

    fn asked(node: &str, verb: &str, resource: &str, subresource: &str, name: &str) -> Result<(), String> {
        let namespaced = !matches!(resource, "nodes" | "persistentvolumes");
        let text = |text: &str| text.to_owned();
        let namespace = if namespaced { text("ns") } else { String::new() };
        let (resource, subresource, name) = (text(resource), text(subresource), text(name));
        let wanted = ResourceAttributes { resource, subresource, name, namespace, ..ResourceAttributes::default() };
        let attributes = Attributes { verb: text(verb), resource: Some(wanted), path: String::new() };
        let user = User::from_certificate(&format!("system:node:{node}"), &[GROUP.to_owned()]);
        let decision = decide(&Index::default(), &World, &user, &attributes).expect("a node");
        if decision.allowed { Ok(()) } else { Err(decision.reason) }
    }

    #[test]
    fn a_node_reads_what_its_pods_refer_to_and_nothing_else() {
        for (resource, name) in [
            ("pods", "p"),
            ("secrets", "s"),
            ("persistentvolumeclaims", "c"),
            ("persistentvolumes", "v"),
            ("serviceaccounts", "web"),
        ] {
            assert_eq!(asked("n1", "get", resource, "", name), Ok(()), "{resource}");
            let none = "no relationship found between node 'n2' and this object";
            assert_eq!(asked("n2", "get", resource, "", name), Err(none.to_owned()), "{resource}");
            assert!(asked("n1", "get", resource, "", "other").is_err(), "{resource}");
        }
        assert_eq!(asked("n1", "create", "serviceaccounts", "token", "web"), Ok(()));
        assert!(asked("n1", "update", "secrets", "", "s").is_err_and(|why| why.contains("only read")));
        assert!(asked("n1", "list", "pods", "", "").is_err_and(|why| why.contains("spec.nodeName")));
        assert_eq!(asked("n1", "get", "nodes", "", "n1"), Ok(()));
        assert!(asked("n1", "get", "nodes", "", "n2").is_err_and(|why| why.contains("only its own Node object")));
        assert!(asked("n1", "get", "configmaps", "", "any").is_err());
    }

    #[test]
    fn only_nodes_are_nodes() {
        let named = User::from_certificate("system:node:n1", &[]);
        assert!(node_of(&named).is_none());
    }
}

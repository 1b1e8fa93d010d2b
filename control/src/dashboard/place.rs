//! PURE: the dashboard's pages and what their addresses name.

use crate::api::path::{self, Query};
use crate::kind::{self, Kind};

/// Every page lies below it.
pub const PREFIX: &str = "/dashboard";

/// The kinds that are shown as workloads: API group and resource, where this server has them.
const WORKLOADS: &[(&str, &str)] = &[
    ("apps", "deployments"),
    ("apps", "statefulsets"),
    ("apps", "daemonsets"),
    ("apps", "replicasets"),
    ("batch", "cronjobs"),
    ("batch", "jobs"),
];

/// A page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Servers, nodes, what needs attention.
    Overview,
    /// What runs pods, and the services before them.
    Workloads,
    /// One of them.
    Workload {
        /// Its kind.
        kind: &'static Kind,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// All pods.
    Pods,
    /// One of them.
    Pod {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// All nodes.
    Nodes,
    /// One of them.
    Node {
        /// Its name.
        name: String,
    },
    /// All events.
    Events,
    /// Something new.
    Deploy,
}

/// What a page's query narrows it to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Empty: all namespaces.
    pub namespace: String,
    /// Whose log is shown; empty: the pod's first container.
    pub container: String,
    /// The log of the container before its last restart.
    pub previous: bool,
}

impl Scope {
    /// Reads a query.
    pub fn parse(query: &Query) -> Scope {
        Scope {
            namespace: query.text("namespace").to_owned(),
            container: query.text("container").to_owned(),
            previous: query.get("previous") == Some("1"),
        }
    }

    /// The query that says the same, with its question mark; empty when there is nothing to say.
    pub fn query(&self) -> String {
        let previous = if self.previous { "1" } else { "" };
        let words = [("namespace", self.namespace.as_str()), ("container", &self.container), ("previous", previous)];
        let words = words.iter().filter(|(_, value)| !value.is_empty());
        let pairs: Vec<String> = words.map(|(key, value)| format!("{key}={}", encode(value))).collect();
        if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
    }
}

impl Place {
    /// The page of a path below the prefix, e.g. `/pods/default/web`.
    pub fn parse(path: &str) -> Option<Place> {
        let parts: Vec<String> =
            path.split('/').filter(|part| !part.is_empty()).map(|part| path::decode(part, false)).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let own = |name: &&str| (*name).to_owned();
        Some(match parts.as_slice() {
            [] => Place::Overview,
            ["workloads"] => Place::Workloads,
            ["workloads", resource, namespace, name] => {
                let kind = workloads().find(|kind| kind.resource == *resource)?;
                Place::Workload { kind, namespace: own(namespace), name: own(name) }
            }
            ["pods"] => Place::Pods,
            ["pods", namespace, name] => Place::Pod { namespace: own(namespace), name: own(name) },
            ["nodes"] => Place::Nodes,
            ["nodes", name] => Place::Node { name: own(name) },
            ["events"] => Place::Events,
            ["deploy"] => Place::Deploy,
            _ => return None,
        })
    }

    /// The path below the prefix.
    pub fn tail(&self) -> String {
        match self {
            Place::Overview => String::new(),
            Place::Workloads => "/workloads".to_owned(),
            Place::Workload { kind, namespace, name } => {
                format!("/workloads/{}/{}/{}", kind.resource, encode(namespace), encode(name))
            }
            Place::Pods => "/pods".to_owned(),
            Place::Pod { namespace, name } => format!("/pods/{}/{}", encode(namespace), encode(name)),
            Place::Nodes => "/nodes".to_owned(),
            Place::Node { name } => format!("/nodes/{}", encode(name)),
            Place::Events => "/events".to_owned(),
            Place::Deploy => "/deploy".to_owned(),
        }
    }

    /// Where it is.
    pub fn href(&self) -> String {
        format!("{PREFIX}{}", self.tail())
    }

    /// Where its stream of changes is.
    pub fn live(&self) -> String {
        format!("{PREFIX}/live{}", self.tail())
    }

    /// Whether a namespace narrows it.
    pub fn has_scope(&self) -> bool {
        matches!(self, Place::Overview | Place::Workloads | Place::Pods | Place::Events)
    }

    /// The entry of the navigation that it belongs to.
    pub fn entry(&self) -> Place {
        match self {
            Place::Workload { .. } => Place::Workloads,
            Place::Pod { .. } => Place::Pods,
            Place::Node { .. } => Place::Nodes,
            other => other.clone(),
        }
    }
}

/// The kinds that are shown as workloads.
pub fn workloads() -> impl Iterator<Item = &'static Kind> {
    WORKLOADS.iter().filter_map(|(group, resource)| kind::find(group, "v1", resource))
}

/// Percent-encoding of everything but RFC 3986's unreserved letters.
pub fn encode(text: &str) -> String {
    let letter = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_name_pages_and_back() {
        let all = [
            "",
            "/workloads",
            "/workloads/deployments/default/web",
            "/pods",
            "/pods/a/b.c-1",
            "/nodes",
            "/nodes/n%3A1",
            "/events",
            "/deploy",
        ];
        for path in all {
            let place = Place::parse(path).unwrap_or_else(|| panic!("{path}"));
            assert_eq!(place.tail(), path);
            assert_eq!(place.href(), format!("/dashboard{path}"));
        }
        for path in ["/x", "/pods/a", "/workloads/secrets/a/b", "/workloads/deployments/a/b/c"] {
            assert_eq!(Place::parse(path), None, "{path}");
        }
        assert_eq!(Place::parse("/nodes/a%2Fb+c"), Some(Place::Node { name: "a/b+c".to_owned() }));
    }

    #[test]
    fn scopes_survive_their_query() {
        let scope = Scope { namespace: "a b&c".to_owned(), container: "x".to_owned(), previous: true };
        assert_eq!(scope.query(), "?namespace=a%20b%26c&container=x&previous=1");
        assert_eq!(Scope::parse(&Query::parse(&scope.query()[1..])), scope);
        assert_eq!(Scope::default().query(), "");
    }
}

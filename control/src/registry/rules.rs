//! What the registry must know of a kind beyond its schema: one row per deviation from the ordinary.
//!
//! Source: k8s.io/kubernetes `pkg/registry/*/*/strategy.go`.

use crate::kind::Kind;

/// How a kind's objects live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// `metadata.generation` counts changes of what is wished for.
    pub generation: bool,
    /// A field of the metadata whose changes count too.
    pub generation_counts: Option<&'static str>,
    /// `status` has its own endpoint: the main one neither sets nor changes it.
    pub status: bool,
    /// What `status` is in a new object, as JSON; empty for none.
    pub initial_status: &'static str,
    /// PUT without a resourceVersion overwrites.
    pub unconditional_update: bool,
    /// PUT creates what is absent.
    pub create_on_update: bool,
    /// DELETE answers with the object even when it is gone at once.
    pub answers_deleted: bool,
    /// Dependents stay when a deletion names no policy.
    pub orphans: bool,
    /// It holds other objects: `spec.finalizers` keep it until they are gone, and a label repeats its name.
    pub holds_objects: bool,
}

const PLAIN: Rules = Rules {
    generation: false,
    generation_counts: None,
    status: false,
    initial_status: "",
    unconditional_update: true,
    create_on_update: false,
    answers_deleted: false,
    orphans: false,
    holds_objects: false,
};
const SPEC: Rules = Rules { generation: true, ..PLAIN };
const WORKLOAD: Rules = Rules { status: true, initial_status: "{}", ..SPEC };
const STATUS: Rules = Rules { status: true, initial_status: "{}", ..PLAIN };
const VERSIONED: Rules = Rules { unconditional_update: false, ..PLAIN };
const UPSERT: Rules = Rules { create_on_update: true, ..PLAIN };
const KEPT: Rules = Rules { answers_deleted: true, ..PLAIN };

/// Sorted by group, then resource.
const TABLE: &[(&str, &str, Rules)] = &[
    ("", "endpoints", UPSERT),
    ("", "events", UPSERT),
    ("", "limitranges", UPSERT),
    ("", "namespaces", Rules { initial_status: r#"{"phase":"Active"}"#, holds_objects: true, ..STATUS }),
    ("", "nodes", Rules { status: true, ..PLAIN }),
    ("", "persistentvolumeclaims", Rules { initial_status: r#"{"phase":"Pending"}"#, answers_deleted: true, ..STATUS }),
    ("", "persistentvolumes", Rules { initial_status: r#"{"phase":"Pending"}"#, answers_deleted: true, ..STATUS }),
    ("", "pods", Rules { initial_status: r#"{"phase":"Pending"}"#, answers_deleted: true, ..WORKLOAD }),
    ("", "podtemplates", Rules { generation: true, answers_deleted: true, ..PLAIN }),
    ("", "replicationcontrollers", Rules { initial_status: r#"{"replicas":0}"#, orphans: true, ..WORKLOAD }),
    ("", "resourcequotas", Rules { answers_deleted: true, ..STATUS }),
    ("", "serviceaccounts", KEPT),
    (
        "",
        "services",
        Rules { initial_status: r#"{"loadBalancer":{}}"#, answers_deleted: true, create_on_update: true, ..STATUS },
    ),
    (
        "apps",
        "daemonsets",
        Rules {
            initial_status: r#"{"currentNumberScheduled":0,"numberMisscheduled":0,"desiredNumberScheduled":0,"numberReady":0}"#,
            ..WORKLOAD
        },
    ),
    ("apps", "deployments", Rules { generation_counts: Some("annotations"), ..WORKLOAD }),
    ("apps", "replicasets", Rules { initial_status: r#"{"replicas":0}"#, ..WORKLOAD }),
    ("apps", "statefulsets", Rules { initial_status: r#"{"replicas":0,"availableReplicas":0}"#, ..WORKLOAD }),
    ("coordination.k8s.io", "leases", Rules { create_on_update: true, ..VERSIONED }),
    ("discovery.k8s.io", "endpointslices", Rules { generation_counts: Some("labels"), ..SPEC }),
    ("events.k8s.io", "events", UPSERT),
    ("rbac.authorization.k8s.io", "clusterrolebindings", UPSERT),
    ("rbac.authorization.k8s.io", "clusterroles", UPSERT),
    ("rbac.authorization.k8s.io", "rolebindings", UPSERT),
    ("rbac.authorization.k8s.io", "roles", UPSERT),
    ("storage.k8s.io", "storageclasses", KEPT),
];

/// The rules of a kind.
pub fn of(kind: &Kind) -> Rules {
    TABLE
        .iter()
        .find(|(group, resource, _)| *group == kind.group && *resource == kind.resource)
        .map_or(PLAIN, |(_, _, rules)| *rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_and_hold_json() {
        assert!(TABLE.is_sorted_by(|a, b| (a.0, a.1) < (b.0, b.1)));
        for (_, resource, rules) in TABLE.iter().filter(|(_, _, rules)| !rules.initial_status.is_empty()) {
            assert!(serde_json::from_str::<serde_json::Value>(rules.initial_status).is_ok(), "{resource}");
        }
    }
}

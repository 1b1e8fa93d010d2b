//! The rows.

use k8s_openapi::api;
use schemars::JsonSchema;

use crate::kind::{Kind, Subresource};

/// Verbs of stored kinds, as discovery lists them.
pub(crate) const STORED: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
/// The same without the deletion of collections.
pub(crate) const ONE_BY_ONE: &[&str] = &["create", "delete", "get", "list", "patch", "update", "watch"];
const CHANGED: &[&str] = &["get", "patch", "update"];

const STATUS: Subresource = Subresource { name: "status", body: ("", "", ""), verbs: CHANGED };
const SCALE: Subresource = Subresource { name: "scale", body: ("autoscaling", "v1", "Scale"), verbs: CHANGED };
const WITH_STATUS: &[Subresource] = &[STATUS];
const SCALED: &[Subresource] = &[SCALE, STATUS];
const OF_PODS: &[Subresource] = &[
    Subresource { name: "binding", body: ("", "v1", "Binding"), verbs: &["create"] },
    Subresource { name: "ephemeralcontainers", body: ("", "", ""), verbs: CHANGED },
    Subresource { name: "eviction", body: ("policy", "v1", "Eviction"), verbs: &["create"] },
    Subresource { name: "log", body: ("", "", ""), verbs: &["get"] },
    Subresource { name: "resize", body: ("", "", ""), verbs: CHANGED },
    STATUS,
];
const OF_NODES: &[Subresource] = &[
    Subresource {
        name: "proxy",
        body: ("", "v1", "NodeProxyOptions"),
        verbs: &["create", "delete", "get", "patch", "update"],
    },
    STATUS,
];
const OF_NAMESPACES: &[Subresource] =
    &[Subresource { name: "finalize", body: ("", "", ""), verbs: &["update"] }, STATUS];
const OF_ACCOUNTS: &[Subresource] =
    &[Subresource { name: "token", body: ("authentication.k8s.io", "v1", "TokenRequest"), verbs: &["create"] }];

/// Where objects of a kind lie.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    Cluster,
    Namespaced,
    /// Only answered, never kept.
    Review,
    /// The same within a namespace.
    NamespacedReview,
}
use Scope::{Cluster, Namespaced, NamespacedReview, Review};

const fn row<T: JsonSchema>(
    (group, version, kind): (&'static str, &'static str, &'static str),
    (resource, singular): (&'static str, &'static str),
    (short_names, categories): (&'static [&'static str], &'static [&'static str]),
    scope: Scope,
    subresources: &'static [Subresource],
) -> Kind {
    Kind {
        group,
        version,
        kind,
        resource,
        singular,
        short_names,
        categories,
        namespaced: matches!(scope, Namespaced | NamespacedReview),
        stored: matches!(scope, Cluster | Namespaced),
        subresources,
        type_name: T::schema_name,
        schema: T::json_schema,
    }
}

const APPS: &str = "apps";
const AUTHN: &str = "authentication.k8s.io";
const AUTHZ: &str = "authorization.k8s.io";
const RBAC: &str = "rbac.authorization.k8s.io";
const NONE: &[&str] = &[];
const IN_ALL: &[&str] = &["all"];

use api::apps::v1 as apps;
use api::authentication::v1 as authn;
use api::authorization::v1 as authz;
use api::core::v1 as core;
use api::rbac::v1 as rbac;

/// Every kind that is served, by group and then by resource; the core group comes first.
pub static ALL: &[Kind] = &[
    row::<core::ConfigMap>(("", "v1", "ConfigMap"), ("configmaps", "configmap"), (&["cm"], NONE), Namespaced, &[]),
    row::<core::Endpoints>(("", "v1", "Endpoints"), ("endpoints", "endpoints"), (&["ep"], NONE), Namespaced, &[]),
    row::<core::Event>(("", "v1", "Event"), ("events", "event"), (&["ev"], NONE), Namespaced, &[]),
    row::<core::Namespace>(
        ("", "v1", "Namespace"),
        ("namespaces", "namespace"),
        (&["ns"], NONE),
        Cluster,
        OF_NAMESPACES,
    ),
    row::<core::Node>(("", "v1", "Node"), ("nodes", "node"), (&["no"], NONE), Cluster, OF_NODES),
    row::<core::PersistentVolumeClaim>(
        ("", "v1", "PersistentVolumeClaim"),
        ("persistentvolumeclaims", "persistentvolumeclaim"),
        (&["pvc"], NONE),
        Namespaced,
        WITH_STATUS,
    ),
    row::<core::PersistentVolume>(
        ("", "v1", "PersistentVolume"),
        ("persistentvolumes", "persistentvolume"),
        (&["pv"], NONE),
        Cluster,
        WITH_STATUS,
    ),
    row::<core::Pod>(("", "v1", "Pod"), ("pods", "pod"), (&["po"], IN_ALL), Namespaced, OF_PODS),
    row::<core::Secret>(("", "v1", "Secret"), ("secrets", "secret"), (NONE, NONE), Namespaced, &[]),
    row::<core::ServiceAccount>(
        ("", "v1", "ServiceAccount"),
        ("serviceaccounts", "serviceaccount"),
        (&["sa"], NONE),
        Namespaced,
        OF_ACCOUNTS,
    ),
    row::<core::Service>(("", "v1", "Service"), ("services", "service"), (&["svc"], IN_ALL), Namespaced, WITH_STATUS),
    row::<apps::ControllerRevision>(
        (APPS, "v1", "ControllerRevision"),
        ("controllerrevisions", "controllerrevision"),
        (NONE, NONE),
        Namespaced,
        &[],
    ),
    row::<apps::Deployment>(
        (APPS, "v1", "Deployment"),
        ("deployments", "deployment"),
        (&["deploy"], IN_ALL),
        Namespaced,
        SCALED,
    ),
    row::<apps::ReplicaSet>(
        (APPS, "v1", "ReplicaSet"),
        ("replicasets", "replicaset"),
        (&["rs"], IN_ALL),
        Namespaced,
        SCALED,
    ),
    row::<authn::SelfSubjectReview>(
        (AUTHN, "v1", "SelfSubjectReview"),
        ("selfsubjectreviews", "selfsubjectreview"),
        (NONE, NONE),
        Review,
        &[],
    ),
    row::<authn::TokenReview>((AUTHN, "v1", "TokenReview"), ("tokenreviews", "tokenreview"), (NONE, NONE), Review, &[]),
    row::<authz::LocalSubjectAccessReview>(
        (AUTHZ, "v1", "LocalSubjectAccessReview"),
        ("localsubjectaccessreviews", "localsubjectaccessreview"),
        (NONE, NONE),
        NamespacedReview,
        &[],
    ),
    row::<authz::SelfSubjectAccessReview>(
        (AUTHZ, "v1", "SelfSubjectAccessReview"),
        ("selfsubjectaccessreviews", "selfsubjectaccessreview"),
        (NONE, NONE),
        Review,
        &[],
    ),
    row::<authz::SelfSubjectRulesReview>(
        (AUTHZ, "v1", "SelfSubjectRulesReview"),
        ("selfsubjectrulesreviews", "selfsubjectrulesreview"),
        (NONE, NONE),
        Review,
        &[],
    ),
    row::<authz::SubjectAccessReview>(
        (AUTHZ, "v1", "SubjectAccessReview"),
        ("subjectaccessreviews", "subjectaccessreview"),
        (NONE, NONE),
        Review,
        &[],
    ),
    row::<api::coordination::v1::Lease>(
        ("coordination.k8s.io", "v1", "Lease"),
        ("leases", "lease"),
        (NONE, NONE),
        Namespaced,
        &[],
    ),
    row::<api::discovery::v1::EndpointSlice>(
        ("discovery.k8s.io", "v1", "EndpointSlice"),
        ("endpointslices", "endpointslice"),
        (NONE, NONE),
        Namespaced,
        &[],
    ),
    // The same objects as the core group's (`registry::event_view`).
    row::<api::events::v1::Event>(
        ("events.k8s.io", "v1", "Event"),
        ("events", "event"),
        (&["ev"], NONE),
        Namespaced,
        &[],
    ),
    row::<rbac::ClusterRoleBinding>(
        (RBAC, "v1", "ClusterRoleBinding"),
        ("clusterrolebindings", "clusterrolebinding"),
        (NONE, NONE),
        Cluster,
        &[],
    ),
    row::<rbac::ClusterRole>((RBAC, "v1", "ClusterRole"), ("clusterroles", "clusterrole"), (NONE, NONE), Cluster, &[]),
    row::<rbac::RoleBinding>(
        (RBAC, "v1", "RoleBinding"),
        ("rolebindings", "rolebinding"),
        (NONE, NONE),
        Namespaced,
        &[],
    ),
    row::<rbac::Role>((RBAC, "v1", "Role"), ("roles", "role"), (NONE, NONE), Namespaced, &[]),
    row::<api::storage::v1::StorageClass>(
        ("storage.k8s.io", "v1", "StorageClass"),
        ("storageclasses", "storageclass"),
        (&["sc"], NONE),
        Cluster,
        &[],
    ),
];

/// Bodies of subresources: they have types, but are no resources.
pub static BODIES: &[Kind] = &[
    row::<core::Binding>(("", "v1", "Binding"), ("bindings", "binding"), (NONE, NONE), NamespacedReview, &[]),
    row::<api::autoscaling::v1::Scale>(
        ("autoscaling", "v1", "Scale"),
        ("scales", "scale"),
        (NONE, NONE),
        NamespacedReview,
        &[],
    ),
    row::<authn::TokenRequest>(
        (AUTHN, "v1", "TokenRequest"),
        ("tokenrequests", "tokenrequest"),
        (NONE, NONE),
        NamespacedReview,
        &[],
    ),
    row::<api::policy::v1::Eviction>(
        ("policy", "v1", "Eviction"),
        ("evictions", "eviction"),
        (NONE, NONE),
        NamespacedReview,
        &[],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_and_unique() {
        assert!(ALL.is_sorted_by(
            |a, b| (a.group, a.resource) < (b.group, b.resource) || (a.group == b.group && a.singular < b.singular)
        ));
        let names: std::collections::BTreeSet<_> = ALL.iter().map(|kind| (kind.group, kind.resource)).collect();
        assert_eq!(names.len(), ALL.len());
    }
}

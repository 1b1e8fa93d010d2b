//! Nobody grants what they do not hold, by a role or by a binding, unless `escalate` or `bind` says so.
//!
//! Source: k8s.io/kubernetes `pkg/registry/rbac/{role,clusterrole,rolebinding,clusterrolebinding}/policybased`.

use k8s_openapi::api::rbac::v1::{PolicyRule, RoleRef};
use serde_json::Value;

use super::{Cluster, Operation, Request};
use crate::authz::escalation::confirm;
use crate::authz::rbac::referenced;
use crate::authz::{Attributes, ResourceAttributes};
use crate::identity::MASTERS;
use crate::kind;
use crate::status::Status;

const GROUP: &str = "rbac.authorization.k8s.io";

pub(super) fn admit(request: &Request<'_>, cluster: &dyn Cluster, object: &mut Value) -> Result<(), Status> {
    let written = request.operation != Operation::Delete && request.subresource.is_empty();
    if !written || request.kind.group != GROUP || request.user.is_in(MASTERS) {
        return Ok(());
    }
    match request.kind.resource {
        "roles" | "clusterroles" => role(request, cluster, object),
        "rolebindings" | "clusterrolebindings" => binding(request, cluster, object),
        _ => Ok(()),
    }
}

fn may(request: &Request<'_>, cluster: &dyn Cluster, verb: &str, resource: &str, name: &str) -> bool {
    let resource = ResourceAttributes {
        group: GROUP.to_owned(),
        resource: resource.to_owned(),
        namespace: request.namespace.to_owned(),
        name: name.to_owned(),
        ..ResourceAttributes::default()
    };
    cluster.may(request.user, &Attributes { verb: verb.to_owned(), resource: Some(resource), path: String::new() })
}

fn role(request: &Request<'_>, cluster: &dyn Cluster, role: &Value) -> Result<(), Status> {
    let same = |field: &str| request.old.is_some_and(|old| old[field] == role[field]);
    if same("rules") && same("aggregationRule")
        || may(request, cluster, "escalate", request.kind.resource, request.name)
    {
        return Ok(());
    }
    let rules: Vec<PolicyRule> = serde_json::from_value(role["rules"].clone()).unwrap_or_default();
    let index = cluster.index();
    confirm(&index, request.user, request.namespace, &rules).map_err(|why| request.forbid(role, &why))?;
    // An aggregation can gather anything.
    let gathers = role["aggregationRule"]["clusterRoleSelectors"].as_array().is_some_and(|all| !all.is_empty());
    let all = || Some(vec!["*".to_owned()]);
    let verbs = vec!["*".to_owned()];
    let everything = [
        PolicyRule { api_groups: all(), resources: all(), verbs: verbs.clone(), ..PolicyRule::default() },
        PolicyRule { non_resource_urls: all(), verbs, ..PolicyRule::default() },
    ];
    if gathers && confirm(&index, request.user, request.namespace, &everything).is_err() {
        return Err(request.forbid(role, "must have cluster-admin privileges to use the aggregationRule"));
    }
    Ok(())
}

fn binding(request: &Request<'_>, cluster: &dyn Cluster, binding: &Value) -> Result<(), Status> {
    let same = |field: &str| request.old.is_some_and(|old| old[field] == binding[field]);
    let Ok(named) = serde_json::from_value::<RoleRef>(binding["roleRef"].clone()) else { return Ok(()) };
    let resource = match named.kind.as_str() {
        "ClusterRole" => "clusterroles",
        "Role" => "roles",
        // The rules of bindings refuse it.
        _ => return Ok(()),
    };
    if same("roleRef") && same("subjects") || may(request, cluster, "bind", resource, &named.name) {
        return Ok(());
    }
    let index = cluster.index();
    let Some(rules) = referenced(&index, &named, request.namespace) else {
        let kind = kind::find(GROUP, "v1", resource).expect("a row of the table");
        return Err(Status::not_found(kind, &named.name));
    };
    confirm(&index, request.user, request.namespace, rules).map_err(|why| request.forbid(binding, &why))
}

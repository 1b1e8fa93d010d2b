//! `metrics.k8s.io`, and a node's own metrics below `nodes/NAME/proxy`: from what agents report, on every server.
//!
//! Source: k8s.io/metrics-server `pkg/api`, k8s.io/metrics `pkg/apis/metrics/v1beta1`.

mod object;

use std::collections::BTreeMap;

use http::Response;
use http::request::Parts;
use serde_json::{Value, json};

use crate::api::answer::{self, Body};
use crate::api::metrics::object::{Row, table};
use crate::api::negotiate::{Form, Offer};
use crate::api::options::ListOptions;
use crate::api::path::{Query, ResourcePath, Verb};
use crate::api::serve::{Api, Call, not_allowed, nowhere, represent};
use crate::gateway::usage::NodeUsed;
use crate::kind::{self, Kind};
use crate::registry::key;
use crate::registry::prepare::meta_str;
use crate::registry::shell::{Target, failed};
use crate::selector::{Fields, Labels};
use crate::status::Status;

/// The group.
pub(crate) const GROUP: &str = "metrics.k8s.io";
/// Its one version.
pub(crate) const VERSION: &str = "v1beta1";
/// Its resources: name, kind, whether they lie in namespaces.
pub(crate) const RESOURCES: [(&str, &str, bool); 2] = [("nodes", "NodeMetrics", false), ("pods", "PodMetrics", true)];
/// Prometheus' text format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Whom a request of the group is about: objects of this kind, one or those that are selected.
struct Asked<'a> {
    path: &'a ResourcePath,
    of: &'static Kind,
}

/// Answers a request below the group's path, by a user who may.
pub(crate) async fn answer(
    api: &Api,
    parts: &Parts,
    query: &Query,
    path: &ResourcePath,
) -> Result<Response<Body>, Status> {
    let row = RESOURCES.iter().find(|(resource, ..)| *resource == path.resource && path.version == VERSION);
    let &(resource, kind, namespaced) = row.ok_or_else(nowhere)?;
    let misplaced = namespaced && path.namespace.is_empty() && !path.name.is_empty();
    if misplaced || (!namespaced && !path.namespace.is_empty()) || !path.subresource.is_empty() {
        return Err(nowhere());
    }
    let asked = Asked { path, of: kind::core(resource) };
    api.registry.store().barrier().await.map_err(failed)?;
    let how = represent(parts, query, Offer::Any)?;
    let whole = |rows: &[Row], value: Value| {
        let value = if matches!(how.form, Form::Table(_)) { table(rows) } else { value };
        answer::value(200, &value, &how)
    };
    match crate::api::path::verb(parts.method.as_str(), path, query) {
        Some(Verb::Get) => {
            let rows = rows(api, &asked, &Labels::parse("")?, &Fields::parse(asked.of, "")?)?;
            let row = rows.first().ok_or_else(|| missing(&asked))?;
            Ok(whole(&rows, row.object(Some(kind))))
        }
        Some(Verb::List) => {
            let options = ListOptions::parse(query, false)?;
            let labels = Labels::parse(&options.label_selector)?;
            let rows = rows(api, &asked, &labels, &Fields::parse(asked.of, &options.field_selector)?)?;
            let items: Vec<Value> = rows.iter().map(|row| row.object(None)).collect();
            let api_version = format!("{GROUP}/{VERSION}");
            let list =
                json!({ "kind": format!("{kind}List"), "apiVersion": api_version, "metadata": {}, "items": items });
            Ok(whole(&rows, list))
        }
        _ => Err(not_allowed()),
    }
}

fn missing(asked: &Asked<'_>) -> Status {
    let (resource, name) = (asked.of.resource, asked.path.name.as_str());
    let mut status = Status::new(404, "NotFound", format!("{resource}.{GROUP} \"{name}\" not found"));
    status.details = json!({ "name": name, "group": GROUP, "kind": resource });
    status
}

/// Objects that are asked for and of which something was measured.
fn rows(api: &Api, asked: &Asked<'_>, labels: &Labels, fields: &Fields) -> Result<Vec<Row>, Status> {
    let (view, usage) = (api.registry.store().view(), api.gateway.usage());
    let mut objects = Vec::new();
    if asked.path.name.is_empty() {
        let prefix = key::prefix(asked.of, &asked.path.namespace);
        for kv in view.range(prefix.as_bytes(), &key::range_end(&prefix)) {
            objects.push(api.registry.open(&kv)?.value);
        }
    } else {
        let ResourcePath { namespace, name, .. } = asked.path;
        let target = Target { kind: asked.of, namespace, name, subresource: "" };
        objects.extend(api.registry.get(&view, target).ok().map(|stored| stored.value));
    }
    let taken = |object: &&Value| labels.matches(object["metadata"]["labels"].as_object()) && fields.matches(object);
    let of_node = asked.of.resource == "nodes";
    let row = |object: &Value| if of_node { node_row(object, &usage) } else { pod_row(object, &usage) };
    Ok(objects.iter().filter(taken).filter_map(row).collect())
}

fn node_row(object: &Value, usage: &BTreeMap<String, NodeUsed>) -> Option<Row> {
    let measured = usage.get(meta_str(object, "name")).filter(|measured| measured.window_ms > 0)?;
    Some(Row::new(object, measured, vec![(String::new(), measured.used)]))
}

fn pod_row(object: &Value, usage: &BTreeMap<String, NodeUsed>) -> Option<Row> {
    let measured = usage.get(object["spec"]["nodeName"].as_str()?).filter(|measured| measured.window_ms > 0)?;
    let pod = measured.pod(meta_str(object, "uid")).filter(|pod| !pod.containers.is_empty())?;
    let containers = pod.containers.iter().map(|(name, used)| (name.clone(), *used)).collect();
    Some(Row::new(object, measured, containers))
}

/// `GET /api/v1/nodes/NAME/proxy/…`: what the node itself shows at its metrics port.
pub(crate) async fn proxy(call: &Call<'_>) -> Result<Response<Body>, Status> {
    let registry = &call.api.registry;
    registry.store().barrier().await.map_err(failed)?;
    let target = Target { subresource: "", ..call.target() };
    registry.get(&registry.store().view(), target)?;
    match call.path.rest.as_str() {
        "/metrics/cadvisor" => {
            let name = &call.path.name;
            let silent = || Status::new(503, "ServiceUnavailable", format!("node {name:?} has not reported its usage"));
            let report = call.api.gateway.report(name).ok_or_else(silent)?;
            Ok(answer::whole(200, TEXT, proto::prometheus::cadvisor(&report)))
        }
        _ => Err(nowhere()),
    }
}

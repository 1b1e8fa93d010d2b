//! What is served below objects besides their status: scale, binding, eviction.
//!
//! Source: k8s.io/kubernetes `pkg/registry/{apps/*,core/pod,core/namespace}/storage`.

use http::Response;
use http::header::CONTENT_TYPE;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::api::answer::{self, Body};
use crate::api::negotiate::{self, Offer};
use crate::api::patch::applied;
use crate::api::path::Verb;
use crate::api::serve::{Call, not_allowed};
use crate::api::write::{encoding, in_namespace, manager, named_alike};
use crate::api::write_options::{self, WriteOptions};
use crate::decode;
use crate::fields::{self, Writer};
use crate::kind::{self, Kind};
use crate::patch::{self, PatchType};
use crate::registry::key;
use crate::registry::prepare::{meta_str, metadata};
use crate::registry::removal::{DeleteOptions, other_uid, rfc3339};
use crate::registry::shell::{By, failed};
use crate::scheduler;
use crate::status::{FieldError, FieldErrorKind, Status};

pub(crate) async fn answer(call: &Call<'_>) -> Result<Response<Body>, Status> {
    match (call.path.subresource.as_str(), call.verb) {
        ("proxy", Verb::Get) => crate::api::metrics::proxy(call).await,
        ("log", Verb::Get) => crate::api::log::log(call).await,
        ("scale", Verb::Get | Verb::Update | Verb::Patch) => scale(call).await,
        ("binding", Verb::Create) => bind(call).await,
        ("eviction", Verb::Create) => evict(call).await,
        ("token", Verb::Create) => crate::api::token::create(call).await,
        _ => Err(not_allowed()),
    }
}

/// The body as an object of the subresource's own kind, and what the request says of the write.
fn body(call: &Call<'_>, kind: &Kind, options: &str) -> Result<(Value, WriteOptions), Status> {
    let encoding = encoding(call)?;
    let options = WriteOptions::parse(call.query, options)?;
    let (mut object, _) = decode::object(kind, &call.body, encoding, options.unknown)?;
    in_namespace(&mut object, &call.path.namespace)?;
    Ok((object, options))
}

fn kind_of(api_version: &str, name: &str) -> &'static Kind {
    kind::named(api_version, name).expect("a row of the table")
}

/// A workload as its `Scale`.
fn scale_of(object: &Value) -> Value {
    let meta = &object["metadata"];
    let mut scale = json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": meta["name"], "namespace": meta["namespace"], "uid": meta["uid"],
            "resourceVersion": meta["resourceVersion"], "creationTimestamp": meta["creationTimestamp"],
        },
        "spec": {},
        "status": { "replicas": object["status"]["replicas"].as_i64().unwrap_or(0) },
    });
    let replicas = object["spec"]["replicas"].as_i64().unwrap_or(1);
    if replicas != 0 {
        scale["spec"]["replicas"] = replicas.into();
    }
    let selector = crate::selector::printed(&object["spec"]["selector"]);
    if !selector.is_empty() {
        scale["status"]["selector"] = selector.into();
    }
    scale
}

async fn scale(call: &Call<'_>) -> Result<Response<Body>, Status> {
    let how = call.representation(Offer::Plain)?;
    let registry = &call.api.registry;
    let mut target = call.target();
    target.subresource = "";
    if call.verb == Verb::Get {
        registry.store().barrier().await.map_err(failed)?;
        let object = registry.get(&registry.store().view(), target)?.shown();
        return Ok(answer::value(200, &scale_of(&object), &how));
    }
    let kind = kind_of("autoscaling/v1", "Scale");
    let scaler = Scaler::of(call, kind)?;
    let change = |mut object: Value| {
        let mut old = scale_of(&object);
        if let Some(list) = fields::scale::managers_of_scale(call.kind, &object) {
            metadata(&mut old).insert("managedFields".into(), list);
        }
        let wanted = scaler.wanted(call, kind, &old)?;
        let replicas = wanted["spec"]["replicas"].as_i64().unwrap_or(0);
        if replicas < 0 {
            let error = FieldError {
                kind: FieldErrorKind::Invalid,
                field: "spec.replicas".to_owned(),
                message: format!("Invalid value: {replicas}: must be greater than or equal to 0"),
            };
            return Err(Status::invalid("autoscaling", "Scale", meta_str(&object, "name"), &[error]));
        }
        let managers = fields::scale::managers_of_parent(call.kind, &object, &wanted);
        object["spec"]["replicas"] = replicas.into();
        let meta = metadata(&mut object);
        match managers {
            Some(list) => meta.insert("managedFields".into(), list),
            None => meta.remove("managedFields"),
        };
        match meta_str(&wanted, "resourceVersion") {
            version if version.is_empty() || scaler.patch.is_some() => meta.remove("resourceVersion"),
            version => meta.insert("resourceVersion".into(), version.into()),
        };
        Ok(object)
    };
    // The scale's managers have become the object's.
    let by = By { manager: "", dry_run: scaler.options.dry_run };
    let changed = registry.modify(target, by, change).await?;
    Ok(answer::value(200, &scale_of(&changed), &how))
}

/// Who scales, and how.
struct Scaler {
    /// A whole scale; null: a patch of one.
    given: Value,
    patch: Option<PatchType>,
    options: WriteOptions,
}

impl Scaler {
    fn of(call: &Call<'_>, kind: &Kind) -> Result<Scaler, Status> {
        if call.verb == Verb::Update {
            let (given, options) = body(call, kind, "UpdateOptions")?;
            named_alike(&given, &call.path.name)?;
            return Ok(Scaler { given, patch: None, options });
        }
        let patch = PatchType::parse(negotiate::media_type(call.header(CONTENT_TYPE)))?;
        let options = WriteOptions::of_patch(call.query, patch == PatchType::Apply)?;
        Ok(Scaler { given: Value::Null, patch: Some(patch), options })
    }

    fn wanted(&self, call: &Call<'_>, kind: &Kind, old: &Value) -> Result<Value, Status> {
        let mut wanted = match self.patch {
            None => self.given.clone(),
            Some(PatchType::Apply) => return Ok(applied(call, kind, Some(old), &self.options)?.0),
            Some(sort) => patch::patched(kind, sort, old, &call.body, self.options.unknown)?.0,
        };
        let (manager, now) = (manager(call, &self.options), rfc3339(Timestamp::now()));
        fields::update(kind, Some(old), &mut wanted, Writer { manager: &manager, subresource: "scale", now: &now });
        Ok(wanted)
    }
}

fn success() -> Value {
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201 })
}

/// A scheduler's decision; the first one holds.
async fn bind(call: &Call<'_>) -> Result<Response<Body>, Status> {
    let how = call.representation(Offer::Plain)?;
    let (binding, options) = body(call, kind_of("v1", "Binding"), "CreateOptions")?;
    let name = call.path.name.as_str();
    if meta_str(&binding, "name") != name {
        return Err(Status::bad_request("name in URL does not match name in Binding object"));
    }
    check_binding(&binding["target"])?;
    let target = call.target();
    let change = |object: Value| {
        let (wanted, held) = (meta_str(&binding, "uid"), meta_str(&object, "uid"));
        if !wanted.is_empty() && wanted != held {
            let place = key::object(target.kind, target.namespace, target.name);
            return Err(Status::conflict(target.kind, name, &other_uid(&place, wanted, held)));
        }
        match unbindable(&object) {
            Some(why) => {
                let mut status = Status::new(
                    409,
                    "Conflict",
                    format!("Operation cannot be fulfilled on pods/binding \"{name}\": {why}"),
                );
                status.details = json!({ "name": name, "kind": "pods/binding" });
                Err(status)
            }
            None => Ok(bound(&object, &binding)),
        }
    };
    // As in Kubernetes, nobody owns what a binding sets.
    call.api.registry.modify(target, By { manager: "", dry_run: options.dry_run }, change).await?;
    Ok(answer::value(201, &success(), &how))
}

/// Pods are bound to nodes alone (pkg/apis/core/validation `ValidatePodBinding`).
fn check_binding(target: &Value) -> Result<(), Status> {
    let mut errors = Vec::new();
    let kind = target["kind"].as_str().unwrap_or_default();
    if !matches!(kind, "" | "Node") {
        errors.push(format!("target.kind: Unsupported value: {kind:?}: supported values: \"Node\", \"<empty>\""));
    }
    if target["name"].as_str().is_none_or(str::is_empty) {
        errors.push("target.name: Required value".to_owned());
    }
    match errors.as_slice() {
        [] => Ok(()),
        [one] => Err(Status::new(500, "", one.clone())),
        more => Err(Status::new(500, "", format!("[{}]", more.join(", ")))),
    }
}

/// Why a pod gets no node now.
fn unbindable(pod: &Value) -> Option<String> {
    let name = meta_str(pod, "name");
    if !pod["metadata"]["deletionTimestamp"].is_null() {
        return Some(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    if let Some(held) = pod["spec"]["nodeName"].as_str().filter(|held| !held.is_empty()) {
        return Some(format!("pod {name} is already assigned to node {held:?}"));
    }
    let gated = pod["spec"]["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty());
    gated.then(|| format!("pod {name} has non-empty .spec.schedulingGates"))
}

/// The pod on its node, with what the binding says of it.
fn bound(pod: &Value, binding: &Value) -> Value {
    let node = binding["target"]["name"].as_str().unwrap_or_default();
    let mut pod = scheduler::bound(pod, node, Timestamp::now());
    for field in ["annotations", "labels"] {
        for (key, value) in binding["metadata"][field].as_object().into_iter().flatten() {
            pod["metadata"][field][key] = value.clone();
        }
    }
    match meta_str(binding, "resourceVersion") {
        "" => metadata(&mut pod).remove("resourceVersion"),
        version => metadata(&mut pod).insert("resourceVersion".into(), version.into()),
    };
    pod
}

/// A deletion that says why; budgets will have a word here.
async fn evict(call: &Call<'_>) -> Result<Response<Body>, Status> {
    let how = call.representation(Offer::Plain)?;
    let (eviction, asked) = body(call, kind_of("policy/v1", "Eviction"), "CreateOptions")?;
    if meta_str(&eviction, "name") != call.path.name {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    let mut options: DeleteOptions = write_options::of_value(&eviction["deleteOptions"])?;
    options.dry_run |= asked.dry_run;
    let registry = &call.api.registry;
    let mut target = call.target();
    let over = |object: &Value| {
        !object["metadata"]["deletionTimestamp"].is_null() || crate::controllers::pod::finished(object)
    };
    registry.store().barrier().await.map_err(failed)?;
    let pod = registry.get(&registry.store().view(), target)?;
    if !over(&pod.value) && !options.dry_run {
        target.subresource = "status";
        registry.modify(target, By::manager(""), |object| Ok(disrupted(object, Timestamp::now()))).await?;
    }
    target.subresource = "";
    registry.delete(target, &options).await?;
    Ok(answer::value(201, &success(), &how))
}

fn disrupted(mut pod: Value, now: Timestamp) -> Value {
    let mut all = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    all.retain(|condition| condition["type"] != "DisruptionTarget");
    all.push(json!({
        "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting", "lastProbeTime": null, "lastTransitionTime": rfc3339(now),
    }));
    pod["status"]["conditions"] = all.into();
    metadata(&mut pod).remove("resourceVersion");
    pod
}

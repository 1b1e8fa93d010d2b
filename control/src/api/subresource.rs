//! What is served below objects besides their status: scale, binding, eviction, finalize.
//!
//! Source: k8s.io/kubernetes `pkg/registry/{apps/*,core/pod,core/namespace}/storage`.

use http::Response;
use http::header::CONTENT_TYPE;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::api::answer::{self, Body};
use crate::api::negotiate::{self, Offer};
use crate::api::path::Verb;
use crate::api::serve::{Call, not_allowed};
use crate::api::write::{dry_run, encoding};
use crate::decode::{self, Encoding, FieldValidation};
use crate::kind;
use crate::patch::{self, PatchType};
use crate::registry::prepare::{meta_str, metadata};
use crate::registry::removal::{DeleteOptions, rfc3339};
use crate::registry::shell::failed;
use crate::scheduler;
use crate::status::Status;

pub(crate) async fn answer(call: &Call<'_>) -> Result<Response<Body>, Status> {
    match (call.path.subresource.as_str(), call.verb) {
        ("log", Verb::Get) => crate::api::log::log(call).await,
        ("scale", Verb::Get | Verb::Update | Verb::Patch) => scale(call).await,
        ("binding", Verb::Create) => bind(call).await,
        ("eviction", Verb::Create) => evict(call).await,
        ("finalize", Verb::Update) => finalize(call).await,
        ("token", Verb::Create) => crate::api::token::create(call).await,
        _ => Err(not_allowed()),
    }
}

/// The body as an object of the subresource's own kind.
fn body(call: &Call<'_>, api_version: &str, name: &str) -> Result<Value, Status> {
    let kind = kind::named(api_version, name).expect("a row of the table");
    Ok(decode::object(kind, &call.body, encoding(call)?, FieldValidation::Ignore)?.0)
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
    let kind = kind::named("autoscaling/v1", "Scale").expect("a row of the table");
    let given = if call.verb == Verb::Update { Some(body(call, "autoscaling/v1", "Scale")?) } else { None };
    let media_type = negotiate::media_type(call.header(CONTENT_TYPE));
    let change = |mut object: Value| {
        let wanted = match &given {
            Some(given) => given.clone(),
            None => {
                let next = patch::apply(kind, PatchType::parse(media_type)?, &scale_of(&object), &call.body)?;
                let bytes = serde_json::to_vec(&next).map_err(Status::internal)?;
                decode::object(kind, &bytes.into(), Encoding::Json, FieldValidation::Ignore)?.0
            }
        };
        let replicas = wanted["spec"]["replicas"].as_i64().unwrap_or(0);
        if replicas < 0 {
            let cause = format!("Invalid value: {replicas}: must be greater than or equal to 0");
            let name = meta_str(&object, "name");
            let text = format!("Scale.autoscaling \"{name}\" is invalid: spec.replicas: {cause}");
            let mut status = Status::new(422, "Invalid", text);
            let causes = json!([{ "reason": "FieldValueInvalid", "message": cause, "field": "spec.replicas" }]);
            status.details = json!({ "name": name, "group": "autoscaling", "kind": "Scale", "causes": causes });
            return Err(status);
        }
        object["spec"]["replicas"] = replicas.into();
        match meta_str(&wanted, "resourceVersion") {
            version if version.is_empty() || given.is_none() => metadata(&mut object).remove("resourceVersion"),
            version => metadata(&mut object).insert("resourceVersion".into(), version.into()),
        };
        Ok(object)
    };
    let changed = registry.modify(target, dry_run(call)?, change).await?;
    Ok(answer::value(200, &scale_of(&changed), &how))
}

fn success() -> Value {
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201 })
}

/// A scheduler's decision; the first one holds.
async fn bind(call: &Call<'_>) -> Result<Response<Body>, Status> {
    let how = call.representation(Offer::Plain)?;
    let binding = body(call, "v1", "Binding")?;
    let node = binding["target"]["name"].as_str().unwrap_or_default();
    if node.is_empty() {
        let text = format!("Binding \"{}\" is invalid: target.name: Required value", call.path.name);
        return Err(Status::new(422, "Invalid", text));
    }
    let uid = meta_str(&binding, "uid");
    let change = |object: Value| {
        let refused = |why: &str| Err(Status::conflict(&BINDING, &call.path.name, why));
        if !uid.is_empty() && uid != meta_str(&object, "uid") {
            return refused("the pod was deleted and then recreated");
        }
        if !object["metadata"]["deletionTimestamp"].is_null() {
            return refused(&format!("pod {} is being deleted, cannot be assigned to a host", call.path.name));
        }
        match object["spec"]["nodeName"].as_str().filter(|held| !held.is_empty()) {
            Some(held) => refused(&format!("pod {} is already assigned to node \"{held}\"", call.path.name)),
            None => Ok(scheduler::bound(&object, node, Timestamp::now())),
        }
    };
    call.api.registry.modify(call.target(), dry_run(call)?, change).await?;
    Ok(answer::value(201, &success(), &how))
}

/// How messages about bindings name the resource.
static BINDING: std::sync::LazyLock<&'static kind::Kind> =
    std::sync::LazyLock::new(|| kind::named("v1", "Binding").expect("a row of the table"));

/// A deletion that says why; budgets will have a word here.
async fn evict(call: &Call<'_>) -> Result<Response<Body>, Status> {
    let how = call.representation(Offer::Plain)?;
    let eviction = body(call, "policy/v1", "Eviction")?;
    let options = &eviction["deleteOptions"];
    let options = DeleteOptions {
        grace_seconds: options["gracePeriodSeconds"].as_i64(),
        uid: options["preconditions"]["uid"].as_str().map(str::to_owned),
        resource_version: options["preconditions"]["resourceVersion"].as_str().map(str::to_owned),
        propagation: None,
        dry_run: dry_run(call)? || options["dryRun"][0] == "All",
    };
    let registry = &call.api.registry;
    let mut target = call.target();
    let over = |object: &Value| {
        !object["metadata"]["deletionTimestamp"].is_null() || crate::controllers::pod::finished(object)
    };
    registry.store().barrier().await.map_err(failed)?;
    let pod = registry.get(&registry.store().view(), target)?;
    if !over(&pod.value) && !options.dry_run {
        target.subresource = "status";
        registry.modify(target, false, |object| Ok(disrupted(object, Timestamp::now()))).await?;
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

/// A namespace's own finalizers.
async fn finalize(call: &Call<'_>) -> Result<Response<Body>, Status> {
    let how = call.representation(Offer::Plain)?;
    let given = decode::object(call.kind, &call.body, encoding(call)?, FieldValidation::Ignore)?.0;
    let change = |mut object: Value| {
        object["spec"]["finalizers"] = given["spec"]["finalizers"].clone();
        if object["spec"]["finalizers"].is_null() {
            object["spec"] = json!({});
        }
        match meta_str(&given, "resourceVersion") {
            "" => metadata(&mut object).remove("resourceVersion"),
            version => metadata(&mut object).insert("resourceVersion".into(), version.into()),
        };
        Ok(object)
    };
    let changed = call.api.registry.modify(call.target(), dry_run(call)?, change).await?;
    Ok(answer::value(200, &changed, &how))
}

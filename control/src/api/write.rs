//! create, update, patch, delete, deletecollection.

use http::Response;
use http::header::CONTENT_TYPE;
use serde_json::{Value, json};

use crate::api::answer::{self, Body};
use crate::api::negotiate::{self, Offer};
use crate::api::options::ListOptions;
use crate::api::read::{Selection, one};
use crate::api::serve::Call;
use crate::decode::{self, Encoding, FieldValidation};
use crate::patch::{self, PatchType};
use crate::registry::prepare::{meta_str, metadata};
use crate::registry::removal::{DeleteOptions, Propagation};
use crate::registry::shell::{Deleted, Target, failed};
use crate::registry::{key, rules};
use crate::status::Status;
use crate::validate::field::Errors;
use crate::validate::root;

pub(crate) fn dry_run(call: &Call<'_>) -> Result<bool, Status> {
    match call.query.get("dryRun") {
        None => Ok(false),
        Some("All") => Ok(true),
        Some(other) => {
            Err(Status::bad_request(format!("dryRun: Unsupported value: \"{other}\": supported values: \"All\"")))
        }
    }
}

/// How the body is written; refuses what nobody here reads.
pub(crate) fn encoding(call: &Call<'_>) -> Result<Encoding, Status> {
    match negotiate::media_type(call.header(CONTENT_TYPE)) {
        "" | "application/json" => Ok(Encoding::Json),
        "application/yaml" | "application/x-yaml" | "text/yaml" => Ok(Encoding::Yaml),
        negotiate::PROTOBUF => Ok(Encoding::Protobuf),
        other => {
            let text = format!(
                "the body of the request was in an unknown format - accepted media types include: application/json, \
                 application/yaml, application/vnd.kubernetes.protobuf; got {other:?}"
            );
            Err(Status::new(415, "UnsupportedMediaType", text))
        }
    }
}

fn decoded(call: &Call<'_>) -> Result<(Value, Vec<String>), Status> {
    let unknown = FieldValidation::parse(call.query.text("fieldValidation"))?;
    let (mut object, warnings) = decode::object(call.kind, &call.body, encoding(call)?, unknown)?;
    let (given, wanted) = (meta_str(&object, "namespace").to_owned(), call.path.namespace.as_str());
    if !given.is_empty() && given != wanted {
        let text = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(Status::bad_request(text));
    }
    if call.kind.namespaced {
        metadata(&mut object).insert("namespace".to_owned(), wanted.into());
    }
    Ok((object, warnings))
}

pub(crate) async fn create(call: &Call<'_>) -> Result<Response<Body>, Status> {
    let how = call.representation(Offer::Any)?;
    let (object, warnings) = decoded(call)?;
    if !meta_str(&object, "resourceVersion").is_empty() {
        return Err(Status::bad_request("resourceVersion should not be set on objects to be created"));
    }
    let created = call.api.registry.create(call.target(), object, dry_run(call)?).await?;
    Ok(answer::warn(answer::value(201, &one(call, &how, created), &how), &warnings))
}

pub(crate) async fn update(call: &Call<'_>) -> Result<Response<Body>, Status> {
    let how = call.representation(Offer::Any)?;
    let (object, warnings) = decoded(call)?;
    let name = meta_str(&object, "name");
    if name != call.path.name {
        let text = format!("the name of the object ({name}) does not match the name on the URL ({})", call.path.name);
        return Err(Status::bad_request(text));
    }
    let rules = rules::of(call.kind);
    if meta_str(&object, "resourceVersion").is_empty() && !rules.unconditional_update {
        let mut errors = Errors::default();
        let version = root().child("metadata").child("resourceVersion");
        errors.invalid(&version, &0, "must be specified for an update");
        // Storage says it, which knows resources, not kinds.
        return Err(Status::invalid(call.kind.group, call.kind.resource, name, &errors.into_list()));
    }
    let (registry, dry) = (&call.api.registry, dry_run(call)?);
    let changed = match registry.modify(call.target(), dry, |_| Ok(object.clone())).await {
        Err(status) if status.code == 404 && rules.create_on_update && call.path.subresource.is_empty() => {
            let created = registry.create(call.target(), object, dry).await?;
            return Ok(answer::warn(answer::value(201, &one(call, &how, created), &how), &warnings));
        }
        changed => changed?,
    };
    Ok(answer::warn(answer::value(200, &one(call, &how, changed), &how), &warnings))
}

pub(crate) async fn patch(call: &Call<'_>) -> Result<Response<Body>, Status> {
    let how = call.representation(Offer::Any)?;
    let unknown = FieldValidation::parse(call.query.text("fieldValidation"))?;
    let kind = PatchType::parse(negotiate::media_type(call.header(CONTENT_TYPE)))?;
    let patched = |current: Value| {
        let next = patch::apply(call.kind, kind, &current, &call.body)?;
        let (name, held) = (meta_str(&next, "name"), meta_str(&current, "name"));
        if name != held {
            return Err(Status::bad_request(format!(
                "the name of the object ({name}) does not match the name on the URL ({held})"
            )));
        }
        let bytes = serde_json::to_vec(&next).map_err(Status::internal)?;
        let (mut next, _) = decode::object(call.kind, &bytes.into(), Encoding::Json, unknown)?;
        // A patch insists on a version only by naming one; else it applies to whatever is newest.
        if meta_str(&next, "resourceVersion") == meta_str(&current, "resourceVersion") {
            metadata(&mut next).remove("resourceVersion");
        }
        Ok(next)
    };
    let changed = call.api.registry.modify(call.target(), dry_run(call)?, patched).await?;
    Ok(answer::value(200, &one(call, &how, changed), &how))
}

fn delete_options(call: &Call<'_>) -> Result<DeleteOptions, Status> {
    let body = if call.body.is_empty() { json!({}) } else { decode::parse(&call.body, encoding(call)?)? };
    let word = |key: &str| body[key].as_str().or(call.query.get(key)).map(str::to_owned);
    let propagation = match word("propagationPolicy").as_deref() {
        Some("Background") => Some(Propagation::Background),
        Some("Foreground") => Some(Propagation::Foreground),
        Some("Orphan") => Some(Propagation::Orphan),
        None if body["orphanDependents"] == true => Some(Propagation::Orphan),
        None => None,
        Some(other) => return Err(Status::bad_request(format!("propagationPolicy: Unsupported value: \"{other}\""))),
    };
    let grace = body["gracePeriodSeconds"].as_i64().or_else(|| call.query.get("gracePeriodSeconds")?.parse().ok());
    let precondition = |key: &str| body["preconditions"][key].as_str().map(str::to_owned);
    Ok(DeleteOptions {
        grace_seconds: grace,
        propagation,
        uid: precondition("uid"),
        resource_version: precondition("resourceVersion"),
        dry_run: dry_run(call)? || body["dryRun"][0] == "All",
    })
}

pub(crate) async fn delete(call: &Call<'_>) -> Result<Response<Body>, Status> {
    let how = call.representation(Offer::Any)?;
    let options = delete_options(call)?;
    match call.api.registry.delete(call.target(), &options).await? {
        Deleted::Stays(object) => Ok(answer::value(200, &one(call, &how, object), &how)),
        Deleted::Gone(object) if rules::of(call.kind).answers_deleted => {
            Ok(answer::value(200, &one(call, &how, object), &how))
        }
        Deleted::Gone(object) => {
            let mut details = call.kind.details(&call.path.name);
            details["uid"] = object["metadata"]["uid"].clone();
            let status = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details });
            Ok(answer::value(200, &status, &how))
        }
    }
}

pub(crate) async fn delete_collection(call: &Call<'_>) -> Result<Response<Body>, Status> {
    let how = call.representation(Offer::Any)?;
    let list = ListOptions::parse(call.query, false)?;
    let selection = Selection::parse(call, &list)?;
    let options = delete_options(call)?;
    let registry = &call.api.registry;
    registry.store().barrier().await.map_err(failed)?;
    let view = registry.store().view();
    let prefix = key::prefix(call.kind, &call.path.namespace);
    let mut items = Vec::new();
    for kv in view.range(prefix.as_bytes(), &key::range_end(&prefix)) {
        let object = registry.open(&kv)?;
        if !selection.takes(&object.value) {
            continue;
        }
        let (namespace, name) = (meta_str(&object.value, "namespace"), meta_str(&object.value, "name"));
        let target = Target { kind: call.kind, namespace, name, subresource: "" };
        match registry.delete(target, &options).await {
            Ok(Deleted::Gone(object) | Deleted::Stays(object)) => items.push(object),
            // Somebody else deleted it meanwhile.
            Err(status) if status.code == 404 => {}
            Err(status) => return Err(status),
        }
    }
    let (kind, metadata) =
        (format!("{}List", call.kind.kind), json!({ "resourceVersion": view.revision().to_string() }));
    let list = json!({ "kind": kind, "apiVersion": call.kind.api_version(), "metadata": metadata, "items": items });
    Ok(answer::value(200, &list, &how))
}

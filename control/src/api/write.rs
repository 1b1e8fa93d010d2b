//! create, update, delete, deletecollection.

use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering::Relaxed;

use http::Response;
use http::header::{CONTENT_TYPE, USER_AGENT};
use serde_json::{Value, json};

use crate::api::answer::{self, Body};
use crate::api::list::many;
use crate::api::negotiate::{self, Offer, Representation};
use crate::api::options::{Continue, ListOptions};
use crate::api::read::one;
use crate::api::selection::Selection;
use crate::api::serve::Call;
use crate::api::write_options::{self, WriteOptions};
use crate::decode::{self, Encoding};
use crate::fields;
use crate::kind::Kind;
use crate::registry::prepare::{meta_str, metadata};
use crate::registry::removal::DeleteOptions;
use crate::registry::shell::{By, Deleted, Target, failed, same_identity};
use crate::registry::{key, rules};
use crate::status::{FieldError, FieldErrorKind, Status};
use crate::validate::warnings;

/// Who writes: whom the query names, else the client's program.
pub(crate) fn manager(call: &Call<'_>, options: &WriteOptions) -> String {
    match options.field_manager.as_str() {
        "" => fields::manager_of(call.header(USER_AGENT)),
        named => named.to_owned(),
    }
}

/// How the body is written; refuses what nobody here reads.
pub(crate) fn encoding(call: &Call<'_>) -> Result<Encoding, Status> {
    match negotiate::media_type(call.header(CONTENT_TYPE)).to_ascii_lowercase().as_str() {
        "" | "application/json" => Ok(Encoding::Json),
        "application/yaml" => Ok(Encoding::Yaml),
        negotiate::PROTOBUF => Ok(Encoding::Protobuf),
        _ => Err(Status::new(
            415,
            "UnsupportedMediaType",
            "the body of the request was in an unknown format - accepted media types include: application/json, \
             application/yaml, application/vnd.kubernetes.protobuf",
        )),
    }
}

/// The body as an object of the request's kind and namespace.
fn decoded(call: &Call<'_>, kind: &str) -> Result<(Value, Vec<String>, WriteOptions), Status> {
    let encoding = encoding(call)?;
    let options = WriteOptions::parse(call.query, kind)?;
    let (mut object, warnings) = decode::object(call.kind, &call.body, encoding, options.unknown)?;
    // The path of a namespace names itself as one.
    in_namespace(&mut object, if call.kind.namespaced { &call.path.namespace } else { "" })?;
    Ok((object, warnings, options))
}

/// An object lies where the request says; at the cluster scope, nowhere.
pub(crate) fn in_namespace(object: &mut Value, wanted: &str) -> Result<(), Status> {
    let given = meta_str(object, "namespace");
    if !given.is_empty() && !wanted.is_empty() && given != wanted {
        let text = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(Status::bad_request(text));
    }
    if wanted.is_empty() {
        metadata(object).remove("namespace");
    } else {
        metadata(object).insert("namespace".to_owned(), wanted.into());
    }
    Ok(())
}

pub(crate) async fn create(call: &Call<'_>) -> Result<Response<Body>, Status> {
    let how = call.representation(Offer::Any)?;
    let (object, warnings, options) = decoded(call, "CreateOptions")?;
    if !meta_str(&object, "resourceVersion").is_empty() {
        return Err(Status::new(500, "", "resourceVersion should not be set on objects to be created"));
    }
    let by = By { manager: &manager(call, &options), dry_run: options.dry_run };
    let created = call.api.registry.create(call.target(), object, by).await?;
    Ok(born(call, &how, created, warnings))
}

/// The answer with a new object, and what is said of it after what was said of the body.
pub(crate) fn born(call: &Call<'_>, how: &Representation, object: Value, mut said: Vec<String>) -> Response<Body> {
    said.extend(warnings::create(call.kind, &object));
    answer::warn(answer::value(201, &one(call, how, object), how), &said)
}

/// The same with an object's next version; `before` is the generation of the one it replaces.
pub(crate) fn changed_from(
    call: &Call<'_>,
    how: &Representation,
    before: i64,
    object: Value,
    mut said: Vec<String>,
) -> Response<Body> {
    if call.path.subresource.is_empty() {
        said.extend(warnings::update(call.kind, generation(&object) != before, &object));
    }
    answer::warn(answer::value(200, &one(call, how, object), how), &said)
}

pub(crate) fn generation(object: &Value) -> i64 {
    object["metadata"]["generation"].as_i64().unwrap_or(0)
}

/// Refuses a body that does not name what the path names.
pub(crate) fn named_alike(object: &Value, wanted: &str) -> Result<(), Status> {
    match meta_str(object, "name") {
        name if name == wanted => Ok(()),
        "" => Err(Status::bad_request(format!(
            "the name of the object ({wanted} based on URL) was undeterminable: name must be provided"
        ))),
        name => Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({wanted})"
        ))),
    }
}

/// Refuses a version that is none, or none where one is needed.
fn versioned(kind: &Kind, object: &Value) -> Result<(), Status> {
    let version = meta_str(object, "resourceVersion");
    if !version.is_empty() && version.parse::<u64>().is_err() {
        return Err(Status::new(500, "", format!("strconv.ParseUint: parsing {version:?}: invalid syntax")));
    }
    if matches!(version, "" | "0") && !rules::of(kind).unconditional_update {
        let error = FieldError {
            kind: FieldErrorKind::Invalid,
            field: "metadata.resourceVersion".to_owned(),
            message: "Invalid value: 0: must be specified for an update".to_owned(),
        };
        return Err(Status::invalid(kind.group, kind.resource, meta_str(object, "name"), &[error]));
    }
    Ok(())
}

pub(crate) async fn update(call: &Call<'_>) -> Result<Response<Body>, Status> {
    let how = call.representation(Offer::Any)?;
    let (object, warnings, options) = decoded(call, "UpdateOptions")?;
    named_alike(&object, &call.path.name)?;
    let (registry, by) = (&call.api.registry, By { manager: &manager(call, &options), dry_run: options.dry_run });
    let before = AtomicI64::new(0);
    let change = |current: Value| {
        before.store(generation(&current), Relaxed);
        versioned(call.kind, &object)?;
        same_identity(call.target(), &current, &object)?;
        Ok(object.clone())
    };
    let creates = rules::of(call.kind).create_on_update && call.path.subresource.is_empty();
    let changed = match registry.modify(call.target(), by, change).await {
        Err(status) if status.code == 404 && creates => {
            let created = registry.create(call.target(), object, by).await?;
            return Ok(born(call, &how, created, warnings));
        }
        changed => changed?,
    };
    Ok(changed_from(call, &how, before.into_inner(), changed, warnings))
}

fn delete_options(call: &Call<'_>) -> Result<DeleteOptions, Status> {
    let encoding = if call.body.is_empty() { Encoding::Json } else { encoding(call)? };
    write_options::delete_options(call.query, &call.body, encoding)
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
    let (_, start) = list.snapshot(selection.name().is_some())?;
    let prefix = key::prefix(call.kind, &call.path.namespace);
    let from = start.map_or_else(|| prefix.clone(), |start| format!("{prefix}{start}"));
    let limit = usize::try_from(list.limit).unwrap_or(usize::MAX);
    let (mut items, mut metadata) = (Vec::new(), json!({ "resourceVersion": view.revision().to_string() }));
    for kv in view.range(from.as_bytes(), &key::range_end(&prefix)) {
        let object = registry.open_as(call.kind, &kv)?;
        if !selection.takes(&object.value) {
            continue;
        }
        if limit > 0 && items.len() == limit {
            let start = String::from_utf8_lossy(&kv.key[prefix.len()..]).into_owned();
            metadata["continue"] = Continue { revision: view.revision(), start }.encode().into();
            break;
        }
        items.push(object);
    }
    for object in &items {
        let (namespace, name) = (meta_str(&object.value, "namespace"), meta_str(&object.value, "name"));
        let target = Target { kind: call.kind, namespace, name, subresource: "" };
        match registry.delete(target, &options).await {
            // Somebody else deleted it meanwhile.
            Err(status) if status.code != 404 => return Err(status),
            _ => {}
        }
    }
    // What is answered is what was there before.
    Ok(answer::value(200, &many(call, &how, items, &metadata), &how))
}

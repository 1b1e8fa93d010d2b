//! PATCH: a patch of any sort, or an applied configuration, makes the next version of an object.
//!
//! Source: k8s.io/apiserver `endpoints/handlers/patch.go`.

use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering::Relaxed;

use http::Response;
use http::header::CONTENT_TYPE;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::Value;

use crate::api::answer::Body;
use crate::api::negotiate::{self, Offer};
use crate::api::serve::Call;
use crate::api::write::{born, changed_from, generation, in_namespace, manager, named_alike};
use crate::api::write_options::WriteOptions;
use crate::decode::{self, FieldValidation, fit, yaml};
use crate::fields::{self, Writer};
use crate::kind::Kind;
use crate::patch::{self, PatchType};
use crate::registry::prepare::{meta_str, metadata};
use crate::registry::removal::rfc3339;
use crate::registry::shell::By;
use crate::status::Status;

pub(crate) async fn patch(call: &Call<'_>) -> Result<Response<Body>, Status> {
    let sort = PatchType::parse(negotiate::media_type(call.header(CONTENT_TYPE)))?;
    let how = call.representation(Offer::Any)?;
    let options = WriteOptions::of_patch(call.query, sort == PatchType::Apply)?;
    let (told, before) = (Mutex::new(Vec::new()), AtomicI64::new(0));
    let change = |current: Option<Value>| {
        before.store(current.as_ref().map_or(0, generation), Relaxed);
        let (next, warnings) = match (sort, &current) {
            (PatchType::Apply, _) => applied(call, call.kind, current.as_ref(), &options)?,
            (_, None) => return Err(Status::not_found(call.kind, &call.path.name)),
            (_, Some(current)) => patch::patched(call.kind, sort, current, &call.body, options.unknown)?,
        };
        *told.lock() = warnings;
        placed(call, next, current.as_ref())
    };
    let registry = &call.api.registry;
    let (created, object) = if sort == PatchType::Apply {
        // The configuration's own managed fields are in it.
        let by = By { manager: "", dry_run: options.dry_run };
        registry.upsert(call.target(), by, change).await?
    } else {
        let by = By { manager: &manager(call, &options), dry_run: options.dry_run };
        (false, registry.modify(call.target(), by, |current| change(Some(current))).await?)
    };
    let warnings = told.into_inner();
    Ok(if created {
        born(call, &how, object, warnings)
    } else {
        changed_from(call, &how, before.into_inner(), object, warnings)
    })
}

/// The object with a configuration applied; for scales, of another kind than the path's.
pub(crate) fn applied(
    call: &Call<'_>,
    kind: &Kind,
    current: Option<&Value>,
    options: &WriteOptions,
) -> Result<(Value, Vec<String>), Status> {
    let (node, repeated) =
        yaml::parse(&call.body).map_err(|why| Status::bad_request(format!("error decoding YAML: {why}")))?;
    let now = rfc3339(Timestamp::now());
    let by = Writer { manager: &options.field_manager, subresource: &call.path.subresource, now: &now };
    let next = fields::apply(kind, current, &fit::plain(node), options.force, by)?;
    if !repeated.is_empty() && options.unknown == FieldValidation::Strict {
        let all = repeated.join("\n  ");
        let text =
            format!("error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n  {all}");
        return Err(Status::bad_request(text));
    }
    let (next, _) = decode::patched(kind, &next)
        .map_err(|why| Status::new(500, "", format!("failed to convert new object to proper version: {why}")))?;
    Ok((next, if options.unknown == FieldValidation::Warn { repeated } else { Vec::new() }))
}

/// A patch may not move an object, and insists on a version only by naming one.
fn placed(call: &Call<'_>, mut next: Value, current: Option<&Value>) -> Result<Value, Status> {
    let uid = meta_str(&next, "uid");
    if current.is_none() && !uid.is_empty() {
        let why = format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
        return Err(Status::conflict(call.kind, &call.path.name, &why));
    }
    in_namespace(&mut next, if call.kind.namespaced { &call.path.namespace } else { "" })?;
    named_alike(&next, &call.path.name)?;
    let held = current.map(|current| meta_str(current, "resourceVersion")).unwrap_or_default();
    if meta_str(&next, "resourceVersion") == held {
        metadata(&mut next).remove("resourceVersion");
    }
    Ok(next)
}

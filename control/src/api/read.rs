//! get, and what single objects look like in answers.

use http::Response;
use jiff::Timestamp;
use serde_json::{Value, json};
use store::api::Revision;
use store::{Store, View};

use crate::api::answer::{self, Body};
use crate::api::compress::{self, Pipe};
use crate::api::negotiate::{Form, Format, Offer, Representation};
use crate::api::options;
use crate::api::serve::Call;
use crate::api::splice::{self, Part};
use crate::registry::shell::failed;
use crate::registry::{event_view, key};
use crate::status::Status;
use crate::table::{self, Include, Style};

/// A picture with everything acknowledged before the request, which must be no older than what the client has seen.
pub(crate) async fn fresh(store: &Store, seen: Option<Revision>) -> Result<View, Status> {
    let now = store.barrier().await.map_err(failed)?;
    match seen.filter(|seen| *seen > now) {
        Some(seen) => Err(too_large(seen, now)),
        None => Ok(store.view()),
    }
}

/// 504: no server has come so far; the client may ask again.
pub(crate) fn too_large(asked: Revision, now: Revision) -> Status {
    let text = format!("Timeout: Too large resource version: {asked}, current: {now}");
    let mut status = Status::new(504, "Timeout", text);
    let cause = json!({ "reason": "ResourceVersionTooLarge", "message": "Too large resource version" });
    status.details = json!({ "causes": [cause], "retryAfterSeconds": 1 });
    status
}

pub(crate) async fn get(call: &Call<'_>) -> Result<Response<Body>, Status> {
    let how = call.representation(Offer::Any)?;
    if let Form::MetadataList(_) = how.form {
        let name = call.kind.go_type(false);
        let text = format!("you requested PartialObjectMetadataList, but the requested object is not a list ({name})");
        return Err(Status::new(406, "NotAcceptable", text));
    }
    let registry = &call.api.registry;
    let view = fresh(registry.store(), options::revision(call.query.text("resourceVersion"))?).await?;
    let place = key::object(call.kind, &call.path.namespace, &call.path.name);
    let kv = view
        .get(place.as_bytes())
        .ok_or_else(|| Status::not_found(event_view::stored_as(call.kind), &call.path.name))?;
    let stored = registry.opened_as(call.kind, &kv)?;
    if how.format == Format::Json && !how.pretty {
        let mut out = Vec::with_capacity(stored.len() + 64);
        let written = match how.form {
            Form::Plain => splice::object(&stored, kv.mod_revision, Part::Whole, &mut out),
            Form::Metadata(version) => splice::partial(&stored, kv.mod_revision, version, &mut out),
            _ => None,
        };
        if written.is_some() {
            out.push(b'\n');
            return Ok(large(call, out));
        }
    }
    let mut object: Value = serde_json::from_slice(&stored).map_err(Status::internal)?;
    object["metadata"]["resourceVersion"] = kv.mod_revision.to_string().into();
    if let Form::Table(_) = how.form {
        Include::parse(call.query.text("includeObject"))?;
    }
    Ok(answer::value(200, &one(call, &how, object), &how))
}

/// JSON of any size, compressed when that is worth it.
fn large(call: &Call<'_>, text: Vec<u8>) -> Response<Body> {
    let mut pipe = Pipe::new(text.len() >= compress::LARGE && compress::wanted(&call.parts.headers));
    let mut response = answer::whole(200, "application/json", pipe.send(text, true));
    pipe.label(&mut response);
    response
}

/// An object in the form that was asked for.
pub(crate) fn one(call: &Call<'_>, how: &Representation, object: Value) -> Value {
    match how.form {
        Form::Plain | Form::Aggregated => object,
        Form::Metadata(version) | Form::MetadataList(version) => table::partial(&object, version),
        Form::Table(version) => {
            // Written already: a word that nobody knows does not undo it.
            let include = Include::parse(call.query.text("includeObject")).unwrap_or(Include::Metadata);
            Style { kind: call.kind, version, include }.table(&object, Timestamp::now())
        }
    }
}

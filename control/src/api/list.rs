//! list: a collection as one answer, written piece by piece from the picture of the store.

use bytes::Bytes;
use futures_util::stream;
use http::Response;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use jiff::Timestamp;
use serde_json::{Value, json};
use store::View;
use store::api::Revision;

use crate::api::answer::{self, Body};
use crate::api::compress::{self, Pipe};
use crate::api::negotiate::{Form, Format, Offer, Representation};
use crate::api::options::{Continue, ListOptions, Snapshot};
use crate::api::read::{fresh, too_large};
use crate::api::selection::{Rows, Selection};
use crate::api::serve::Call;
use crate::api::splice::{self, Part};
use crate::kind::Kind;
use crate::registry::shell::{Stored, failed};
use crate::status::Status;
use crate::table::{Include, Style};

/// Bytes that are made before they are sent, about: a list holds no more than this in memory.
const PIECE: usize = compress::LARGE;
/// What is said of a token whose picture is gone (k8s.io/apiserver `pkg/storage/etcd3/errors.go`).
const INCONSISTENT: &str = "The provided continue parameter is too old to display a consistent list result. You can start a new list \
    without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing \
    with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the \
    first chunk was returned and now may show up in the list.";
const TOO_OLD: &str = "The resourceVersion for the provided list is too old.";

pub(crate) async fn list(call: &Call<'_>) -> Result<Response<Body>, Status> {
    let how = call.representation(Offer::Any)?;
    if let Form::Metadata(_) = how.form {
        let name = call.kind.go_type(true);
        let text = format!("you requested PartialObjectMetadata, but the requested object is a list ({name})");
        return Err(Status::new(406, "NotAcceptable", text));
    }
    let options = ListOptions::parse(call.query, false)?;
    let selection = Selection::parse(call, &options)?;
    let (snapshot, start) = options.snapshot(selection.name().is_some())?;
    let Some(view) = picture(call, &snapshot).await? else { return expired(&how, start) };
    // Whoever takes anything that is there takes all of it.
    let limit = if options.resource_version == "0" { 0 } else { options.limit };
    let form = match how.form {
        Form::Table(version) => {
            let include = Include::parse(call.query.text("includeObject"))?;
            Items::Table(Style { kind: call.kind, version, include }, Timestamp::now())
        }
        Form::MetadataList(version) => Items::Metadata(version),
        _ => Items::Plain,
    };
    let rows = Rows::new(call, view, start.as_deref(), selection);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    respond(call, &how, List { rows, kind: call.kind, form, limit, taken: 0, stage: Stage::Head })
}

/// Objects that are in hand already, as a list.
pub(crate) fn many(call: &Call<'_>, how: &Representation, items: Vec<Stored>, metadata: &Value) -> Value {
    let items = items.into_iter().map(Stored::shown);
    let (kind, api_version) = match how.form {
        Form::Table(version) => {
            let include = Include::parse(call.query.text("includeObject")).unwrap_or(Include::Metadata);
            let (style, now) = (Style { kind: call.kind, version, include }, Timestamp::now());
            let rows: Vec<Value> = items.map(|item| style.row(&item, now)).collect();
            let api_version = format!("meta.k8s.io/{version}");
            return json!({
                "kind": "Table", "apiVersion": api_version, "metadata": metadata, "columnDefinitions": style.columns(), "rows": rows,
            });
        }
        Form::Metadata(version) | Form::MetadataList(version) => {
            ("PartialObjectMetadataList".to_owned(), format!("meta.k8s.io/{version}"))
        }
        Form::Plain | Form::Aggregated => (format!("{}List", call.kind.kind), call.kind.api_version()),
    };
    let shown = |item: Value| match how.form {
        Form::Metadata(version) | Form::MetadataList(version) => crate::table::partial(&item, version),
        _ => bare(item),
    };
    let items: Vec<Value> = items.map(shown).collect();
    json!({ "kind": kind, "apiVersion": api_version, "metadata": metadata, "items": items })
}

/// Items of a list do not repeat what the list says of them.
fn bare(mut item: Value) -> Value {
    if let Some(fields) = item.as_object_mut() {
        fields.retain(|key, _| key != "kind" && key != "apiVersion");
    }
    item
}

/// The picture that list options ask for; none when it is gone.
async fn picture(call: &Call<'_>, snapshot: &Snapshot) -> Result<Option<View>, Status> {
    let store = call.api.registry.store();
    match *snapshot {
        Snapshot::Any => Ok(Some(store.view())),
        Snapshot::Latest => fresh(store, None).await.map(Some),
        Snapshot::NotOlderThan(revision) => fresh(store, Some(revision)).await.map(Some),
        Snapshot::Exact(revision) => {
            if revision > store.revision() {
                let now = store.barrier().await.map_err(failed)?;
                if revision > now {
                    return Err(too_large(revision, now));
                }
            }
            match store.view_at(revision) {
                Ok(view) => Ok(Some(view)),
                Err(store::Error::Refused(refusal)) if refusal.message.contains("compacted") => Ok(None),
                Err(error) => Err(failed(error)),
            }
        }
    }
}

/// 410; a client that was reading pages may go on without the picture it began with.
fn expired(how: &Representation, start: Option<String>) -> Result<Response<Body>, Status> {
    let Some(start) = start else { return Err(Status::new(410, "Expired", TOO_OLD)) };
    let mut body = Status::new(410, "Expired", INCONSISTENT).to_json();
    body["metadata"]["continue"] = Continue { revision: -1, start }.encode().into();
    Ok(answer::value(410, &body, &Representation { form: Form::Plain, ..*how }))
}

fn respond(call: &Call<'_>, how: &Representation, mut list: List) -> Result<Response<Body>, Status> {
    let mut first = Vec::new();
    if how.format == Format::Yaml || how.pretty {
        list.fill(&mut first, usize::MAX)?;
        let value: Value = serde_json::from_slice(&first).map_err(Status::internal)?;
        return Ok(answer::value(200, &value, how));
    }
    list.fill(&mut first, PIECE)?;
    let done = list.stage == Stage::Done;
    let mut pipe = Pipe::new(first.len() >= compress::LARGE && compress::wanted(&call.parts.headers));
    let first = pipe.send(first, done);
    let mut response = answer::whole(200, "application/json", Bytes::new());
    pipe.label(&mut response);
    if done {
        return Ok(response.map(|_| http_body_util::Full::new(first).boxed_unsync()));
    }
    let pieces = stream::unfold((Some(first), list, pipe), |(first, mut list, mut pipe)| async move {
        if let Some(first) = first {
            return Some((Ok(Frame::data(first)), (None, list, pipe)));
        }
        if list.stage == Stage::Done {
            return None;
        }
        let mut piece = Vec::with_capacity(PIECE + PIECE / 8);
        if let Err(status) = list.fill(&mut piece, PIECE) {
            // The client sees a list that does not end.
            tracing::error!(error = %status, "a list breaks off");
            return None;
        }
        let done = list.stage == Stage::Done;
        Some((Ok(Frame::data(pipe.send(piece, done))), (None, list, pipe)))
    });
    Ok(response.map(|_| StreamBody::new(pieces).boxed_unsync()))
}

/// How the objects of a list are shown.
enum Items {
    Plain,
    Metadata(&'static str),
    Table(Style, Timestamp),
}

/// What has been written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Head,
    Items,
    Done,
}

/// A list on its way to the client.
struct List {
    rows: Rows,
    kind: &'static Kind,
    form: Items,
    /// At most so many items, 0 for all.
    limit: usize,
    taken: usize,
    stage: Stage,
}

impl List {
    /// Writes on until there are about so many bytes, or until the end.
    fn fill(&mut self, out: &mut Vec<u8>, enough: usize) -> Result<(), Status> {
        if self.stage == Stage::Head {
            self.head(out);
            self.stage = Stage::Items;
        }
        let (form, taken, limit) = (&self.form, &mut self.taken, self.limit);
        let end = self.rows.each(|stored, revision| {
            out.push(if *taken == 0 { b'[' } else { b',' });
            form.write(stored, revision, out)?;
            *taken += 1;
            Ok(out.len() < enough && *taken != limit)
        })?;
        if end || self.taken == self.limit {
            self.tail(out);
            self.stage = Stage::Done;
        }
        Ok(())
    }

    fn head(&self, out: &mut Vec<u8>) {
        let (kind, api_version, items) = match &self.form {
            Items::Plain => (format!("{}List", self.kind.kind), self.kind.api_version(), "items"),
            Items::Metadata(version) => {
                ("PartialObjectMetadataList".to_owned(), format!("meta.k8s.io/{version}"), "items")
            }
            Items::Table(style, _) => ("Table".to_owned(), format!("meta.k8s.io/{}", style.version), "rows"),
        };
        out.extend_from_slice(format!("{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\"").as_bytes());
        if self.limit == 0 {
            self.metadata(out);
        }
        if let Items::Table(style, _) = &self.form {
            out.extend_from_slice(format!(",\"columnDefinitions\":{}", style.columns()).as_bytes());
        }
        out.extend_from_slice(format!(",\"{items}\":").as_bytes());
    }

    fn tail(&self, out: &mut Vec<u8>) {
        let close = match &self.form {
            _ if self.taken > 0 => "]",
            Items::Table(style, _) => style.empty_rows(),
            _ => "[]",
        };
        out.extend_from_slice(close.as_bytes());
        // What follows a page is known only after it.
        if self.limit > 0 {
            self.metadata(out);
        }
        out.extend_from_slice(b"}\n");
    }

    fn metadata(&self, out: &mut Vec<u8>) {
        let mut metadata = json!({ "resourceVersion": self.rows.revision().to_string() });
        let rest = if self.limit > 0 && self.taken == self.limit { self.rows.rest() } else { None };
        if let Some((start, left)) = rest {
            metadata["continue"] = Continue { revision: self.rows.revision(), start }.encode().into();
            if let Some(left) = left {
                metadata["remainingItemCount"] = left.into();
            }
        }
        out.extend_from_slice(format!(",\"metadata\":{metadata}").as_bytes());
    }
}

impl Items {
    fn write(&self, stored: &[u8], revision: Revision, out: &mut Vec<u8>) -> Result<(), Status> {
        let spliced = match self {
            Items::Plain => splice::object(stored, revision, Part::Bare, out),
            Items::Metadata(version) => splice::partial(stored, revision, version, out),
            Items::Table(..) => None,
        };
        if spliced.is_some() {
            return Ok(());
        }
        let mut object: Value = serde_json::from_slice(stored).map_err(Status::internal)?;
        object["metadata"]["resourceVersion"] = revision.to_string().into();
        let shown = match self {
            Items::Plain => bare(object),
            Items::Metadata(version) => crate::table::partial(&object, version),
            Items::Table(style, now) => style.row(&object, *now),
        };
        serde_json::to_writer(out, &shown).map_err(Status::internal)
    }
}

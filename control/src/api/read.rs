//! get and list.

use http::Response;
use jiff::Timestamp;
use serde_json::{Value, json};
use store::View;

use crate::api::answer::{self, Body};
use crate::api::negotiate::{Form, Offer, Representation};
use crate::api::options::{Continue, ListOptions, Snapshot};
use crate::api::serve::Call;
use crate::registry::key;
use crate::registry::shell::{Stored, failed};
use crate::selector::{Fields, Labels};
use crate::status::Status;
use crate::table::{self, Include};

/// What of a collection is wanted.
pub(crate) struct Selection {
    pub(crate) labels: Labels,
    pub(crate) fields: Fields,
    plain: bool,
}

impl Selection {
    pub(crate) fn parse(call: &Call<'_>, options: &ListOptions) -> Result<Selection, Status> {
        Ok(Selection {
            labels: Labels::parse(&options.label_selector)?,
            fields: Fields::parse(call.kind, &options.field_selector)?,
            plain: options.label_selector.is_empty() && options.field_selector.is_empty(),
        })
    }

    pub(crate) fn takes(&self, object: &Value) -> bool {
        self.plain || (self.labels.matches(object["metadata"]["labels"].as_object()) && self.fields.matches(object))
    }
}

pub(crate) async fn get(call: &Call<'_>) -> Result<Response<Body>, Status> {
    let how = call.representation(Offer::Any)?;
    let registry = &call.api.registry;
    // Any resourceVersion asks for nothing newer than the latest, which is what is read.
    registry.store().barrier().await.map_err(failed)?;
    let object = registry.get(&registry.store().view(), call.target())?.shown();
    Ok(answer::value(200, &one(call, &how, object), &how))
}

/// An object in the form that was asked for.
pub(crate) fn one(call: &Call<'_>, how: &Representation, object: Value) -> Value {
    match how.form {
        Form::Plain => object,
        Form::Metadata(version) | Form::MetadataList(version) => table::partial(&object, version),
        Form::Table(_) => {
            let metadata = json!({ "resourceVersion": object["metadata"]["resourceVersion"] });
            let include = Include::parse(call.query.text("includeObject"));
            table::render(call.kind, &[object], &metadata, include, Timestamp::now())
        }
    }
}

/// The picture that list options ask for.
async fn picture(call: &Call<'_>, snapshot: Snapshot) -> Result<View, Status> {
    let store = call.api.registry.store();
    match snapshot {
        Snapshot::Any => Ok(store.view()),
        Snapshot::Latest => {
            store.barrier().await.map_err(failed)?;
            Ok(store.view())
        }
        Snapshot::NotOlderThan(revision) => {
            let now = store.barrier().await.map_err(failed)?;
            if revision > now {
                let text = format!("Too large resource version: {revision}, current: {now}");
                return Err(Status::new(504, "Timeout", format!("Timeout: {text}")));
            }
            Ok(store.view())
        }
        Snapshot::Exact(revision) => store.view_at(revision).map_err(failed),
    }
}

pub(crate) async fn list(call: &Call<'_>) -> Result<Response<Body>, Status> {
    let how = call.representation(Offer::Any)?;
    let options = ListOptions::parse(call.query, false)?;
    let selection = Selection::parse(call, &options)?;
    let (snapshot, start) = options.snapshot(selection.fields.name().is_some())?;
    let view = picture(call, snapshot).await?;
    let prefix = key::prefix(call.kind, &call.path.namespace);
    let end = key::range_end(&prefix);
    let from = start.map_or_else(|| prefix.clone(), |start| format!("{prefix}{start}"));
    let limit = usize::try_from(options.limit).unwrap_or(usize::MAX);
    let (mut items, mut cont, mut left) = (Vec::new(), String::new(), None);
    let mut rows = view.range(from.as_bytes(), &end);
    while let Some(kv) = rows.next() {
        if limit > 0 && items.len() == limit {
            let start = String::from_utf8_lossy(&kv.key[prefix.len()..]).into_owned();
            cont = Continue { revision: view.revision(), start }.encode();
            left = selection.plain.then(|| 1 + rows.count());
            break;
        }
        let object = call.api.registry.open(&kv)?;
        if selection.takes(&object.value) {
            items.push(object);
        }
    }
    let mut metadata = json!({ "resourceVersion": view.revision().to_string() });
    if !cont.is_empty() {
        metadata["continue"] = cont.into();
    }
    if let Some(left) = left {
        metadata["remainingItemCount"] = left.into();
    }
    Ok(answer::value(200, &many(call, &how, items, &metadata), &how))
}

pub(crate) fn many(call: &Call<'_>, how: &Representation, items: Vec<Stored>, metadata: &Value) -> Value {
    let items = items.into_iter().map(Stored::shown);
    match how.form {
        Form::Table(_) => {
            let include = Include::parse(call.query.text("includeObject"));
            table::render(call.kind, &items.collect::<Vec<_>>(), metadata, include, Timestamp::now())
        }
        Form::Metadata(version) | Form::MetadataList(version) => {
            let items: Vec<Value> = items.map(|item| table::partial(&item, version)).collect();
            let api_version = format!("meta.k8s.io/{version}");
            json!({ "kind": "PartialObjectMetadataList", "apiVersion": api_version, "metadata": metadata, "items": items })
        }
        Form::Plain => {
            // Items of a list do not repeat what the list says of them.
            let bare = items.map(|mut item| {
                if let Some(item) = item.as_object_mut() {
                    item.remove("kind");
                    item.remove("apiVersion");
                }
                item
            });
            let items: Vec<Value> = bare.collect();
            let kind = format!("{}List", call.kind.kind);
            json!({ "kind": kind, "apiVersion": call.kind.api_version(), "metadata": metadata, "items": items })
        }
    }
}

//! OpenAPI v3, one document per group and version, from the types and the table of kinds.
//!
//! Source: KEP-2896. Paths carry what clients look for: parameters, patch bodies, group-version-kinds.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::LazyLock;

use bytes::Bytes;
use http::Response;
use http::header::{CACHE_CONTROL, ETAG, HeaderValue, IF_NONE_MATCH, LOCATION, VARY};
use http::request::Parts;
use serde_json::{Map, Value, json};

use crate::api::answer::{self, Body};
use crate::api::discovery::VERSION;
use crate::api::path::Query;
use crate::kind::{ALL, Kind};
use crate::schema;

const PREFIX: &str = "#/components/schemas/";
const PATCHES: [&str; 3] =
    ["application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json"];

const JSON: &str = "application/json";

/// The description of one group and version.
struct Document {
    /// Below `/openapi/v3/`.
    place: String,
    text: Bytes,
    hash: String,
}

impl Document {
    fn url(&self) -> String {
        format!("/openapi/v3/{}?hash={}", self.place, self.hash)
    }
}

static DOCUMENTS: LazyLock<Vec<Document>> = LazyLock::new(|| {
    let mut places: Vec<String> = ALL.iter().map(place).collect();
    places.dedup();
    let document = |place: String| {
        let kinds: Vec<&Kind> = ALL.iter().filter(|kind| self::place(kind) == place).collect();
        let text = Bytes::from(serde_json::to_vec(&describe(&kinds)).expect("a value is JSON"));
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        Document { place, text, hash: format!("{:016X}", hasher.finish()) }
    };
    places.into_iter().map(document).collect()
});

fn place(kind: &Kind) -> String {
    if kind.group.is_empty() {
        format!("api/{}", kind.version)
    } else {
        format!("apis/{}/{}", kind.group, kind.version)
    }
}

/// The answer at a path below `/openapi/v3`.
pub(crate) fn answer(parts: &Parts, query: &Query, path: &str) -> Option<Response<Body>> {
    let rest = path.strip_prefix("/openapi/v3")?;
    if rest.is_empty() {
        let entry = |document: &Document| (document.place.clone(), json!({ "serverRelativeURL": document.url() }));
        let paths: Map<String, Value> = DOCUMENTS.iter().map(entry).collect();
        return Some(answer::whole(200, JSON, json!({ "paths": paths }).to_string()));
    }
    let wanted = rest.strip_prefix('/')?;
    let Some(document) = DOCUMENTS.iter().find(|document| document.place == wanted) else {
        return Some(answer::no_page());
    };
    let (hash, etag) = (query.text("hash"), format!("\"{}\"", document.hash));
    if !hash.is_empty() && hash != document.hash {
        let mut response = answer::whole(301, JSON, Bytes::new());
        response.headers_mut().insert(LOCATION, HeaderValue::from_str(&document.url()).ok()?);
        return Some(response);
    }
    let held = parts.headers.get(IF_NONE_MATCH).is_some_and(|tag| tag == etag.as_str());
    let (code, text) = if held { (304, Bytes::new()) } else { (200, document.text.clone()) };
    let mut response = answer::whole(code, JSON, text);
    let headers = response.headers_mut();
    headers.insert(ETAG, HeaderValue::from_str(&etag).ok()?);
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    if !hash.is_empty() {
        // What lies at an address with the right hash never changes.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    }
    Some(response)
}

fn describe(kinds: &[&Kind]) -> Value {
    let mut schemas = Map::new();
    let mut waiting: Vec<String> = kinds.iter().map(|kind| (kind.type_name)().into_owned()).collect();
    let mut seen: BTreeSet<String> = waiting.iter().cloned().collect();
    while let Some(name) = waiting.pop() {
        let Some(document) = schema::document(&name) else { continue };
        references(document, &mut |reference| {
            if seen.insert(reference.to_owned()) {
                waiting.push(reference.to_owned());
            }
        });
        schemas.insert(name, wrapped(document));
    }
    let mut paths = Map::new();
    for kind in kinds {
        schemas[(kind.type_name)().as_ref()]["x-kubernetes-group-version-kind"] = json!([gvk(kind)]);
        let base = if kind.namespaced {
            format!("/{}/namespaces/{{namespace}}", place(kind))
        } else {
            format!("/{}", place(kind))
        };
        let collection = format!("{base}/{}", kind.resource);
        let mut of_collection = json!({ "post": operation(kind, "post", false) });
        if kind.stored {
            of_collection["get"] = operation(kind, "list", false);
            of_collection["delete"] = operation(kind, "deletecollection", false);
            let mut one = Map::new();
            for (method, action) in [("get", "get"), ("put", "put"), ("patch", "patch"), ("delete", "delete")] {
                one.insert(method.to_owned(), operation(kind, action, true));
            }
            paths.insert(format!("{collection}/{{name}}"), one.into());
        }
        paths.insert(collection, of_collection);
    }
    json!({
        "openapi": "3.0.0", "info": { "title": "Kubernetes", "version": VERSION.2 },
        "paths": paths, "components": { "schemas": schemas },
    })
}

fn gvk(kind: &Kind) -> Value {
    json!({ "group": kind.group, "version": kind.version, "kind": kind.kind })
}

fn operation(kind: &Kind, action: &str, named: bool) -> Value {
    let own = json!({ "$ref": format!("{PREFIX}{}", (kind.type_name)()) });
    let parameter = |name: &str, place: &str| json!({ "name": name, "in": place, "required": place == "path", "schema": { "type": "string", "uniqueItems": true } });
    let mut parameters = Vec::new();
    if kind.namespaced {
        parameters.push(parameter("namespace", "path"));
    }
    if named {
        parameters.push(parameter("name", "path"));
    }
    let query: &[&str] = match action {
        "post" | "put" | "patch" => &["pretty", "dryRun", "fieldManager", "fieldValidation"],
        "list" => &["pretty", "labelSelector", "fieldSelector", "limit", "continue", "resourceVersion", "watch"],
        "delete" => &["pretty", "dryRun", "gracePeriodSeconds", "propagationPolicy"],
        _ => &["pretty"],
    };
    parameters.extend(query.iter().map(|name| parameter(name, "query")));
    let mut operation = json!({
        "parameters": parameters, "x-kubernetes-action": action, "x-kubernetes-group-version-kind": gvk(kind),
        "responses": { "200": { "description": "OK", "content": { "application/json": { "schema": own } } } },
    });
    match action {
        "post" | "put" => {
            operation["requestBody"] = json!({ "content": { "*/*": { "schema": own } }, "required": true })
        }
        "patch" => {
            let content: Map<String, Value> = PATCHES
                .iter()
                .map(|media_type| ((*media_type).to_owned(), json!({ "schema": { "type": "object" } })))
                .collect();
            operation["requestBody"] = json!({ "content": content, "required": true });
        }
        _ => {}
    }
    operation
}

fn references(value: &Value, found: &mut impl FnMut(&str)) {
    match value {
        Value::Object(object) => {
            if let Some(reference) = object.get("$ref").and_then(Value::as_str) {
                found(reference.trim_start_matches(PREFIX));
            }
            object.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

/// OpenAPI 3.0 knows nothing beside a reference: what stands there goes around it.
fn wrapped(value: &Value) -> Value {
    match value {
        Value::Object(object) if object.contains_key("$ref") && object.len() > 1 => {
            let mut rest: Map<String, Value> = object.clone();
            let reference = rest.remove("$ref");
            rest.insert("allOf".to_owned(), json!([{ "$ref": reference }]));
            rest.into()
        }
        Value::Object(object) => object.iter().map(|(key, value)| (key.clone(), wrapped(value))).collect(),
        Value::Array(items) => items.iter().map(wrapped).collect(),
        other => other.clone(),
    }
}

//! PURE: objects as `Table`s, with the columns that `kubectl get` shows.
//!
//! Source: k8s.io/kubernetes `pkg/printers/internalversion/printers.go`; KEP-0017.

mod cells;
mod columns;
mod duration;
mod network;
mod pod;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::kind::Kind;
use crate::registry::event_view;
use crate::schema;
use crate::status::Status;

/// How much of an object comes with its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Include {
    /// Nothing.
    None,
    /// Its metadata.
    Metadata,
    /// All of it.
    Object,
}

impl Include {
    /// Reads the query parameter `includeObject`; absent means the metadata.
    ///
    /// # Errors
    /// 400 for other words.
    pub fn parse(word: &str) -> Result<Include, Status> {
        match word {
            "None" => Ok(Include::None),
            "Object" => Ok(Include::Object),
            "" | "Metadata" => Ok(Include::Metadata),
            other => Err(Status::bad_request(format!(
                "Unable to convert to Table as requested: includeObject: Invalid value: {other:?}: must be 'Metadata', 'Object', \
                 'None', or empty"
            ))),
        }
    }
}

/// What a column is about.
#[derive(Clone, Copy)]
enum About {
    /// As the schema describes a field: the type without its domain, and the field.
    Field(&'static str, &'static str),
    /// In these words.
    Words(&'static str),
}

/// A column: its name, its type, and whether only `-o wide` shows it.
struct Column {
    name: &'static str,
    kind: &'static str,
    wide: bool,
    about: About,
    cell: fn(&Value, Timestamp) -> Value,
}

impl Column {
    const fn wide(mut self) -> Column {
        self.wide = true;
        self
    }

    const fn of_type(mut self, kind: &'static str) -> Column {
        self.kind = kind;
        self
    }

    fn definition(&self) -> Value {
        let description = match self.about {
            About::Words(words) => words.to_owned(),
            About::Field(holder, field) => {
                let domain = if holder.starts_with("pkg.") { "io.k8s.apimachinery" } else { "io.k8s.api" };
                let document = schema::document(&format!("{domain}.{holder}"));
                let text = document.and_then(|document| document["properties"][field]["description"].as_str());
                text.unwrap_or_default().to_owned()
            }
        };
        json!({
            "name": self.name, "type": self.kind, "format": if self.name == "Name" { "name" } else { "" },
            "description": description, "priority": i32::from(self.wide),
        })
    }
}

/// How the tables of one answer are made.
#[derive(Clone, Copy)]
pub struct Style {
    /// The kind of the objects.
    pub kind: &'static Kind,
    /// Of `meta.k8s.io`.
    pub version: &'static str,
    /// What comes with a row.
    pub include: Include,
}

impl Style {
    /// The definitions of the columns.
    pub fn columns(&self) -> Value {
        columns::of(self.kind).iter().map(Column::definition).collect()
    }

    /// The names of the columns.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        columns::of(self.kind).iter().map(|column| column.name)
    }

    /// The row of an object.
    pub fn row(&self, object: &Value, now: Timestamp) -> Value {
        // Columns know objects as they are stored.
        let stored = event_view::is_view(self.kind).then(|| event_view::to_stored(self.kind, object.clone()));
        let seen = stored.as_ref().unwrap_or(object);
        let cells: Vec<Value> = columns::of(self.kind).iter().map(|column| (column.cell)(seen, now)).collect();
        let with = match self.include {
            Include::None => Value::Null,
            Include::Metadata => partial(object, self.version),
            Include::Object => object.clone(),
        };
        let mut row = json!({ "cells": cells, "object": with });
        if let Some(condition) = (self.kind.resource == "pods").then(|| pod::completed(object)).flatten() {
            row["conditions"] = json!([condition]);
        }
        row
    }

    /// A table of one object.
    pub fn table(&self, object: &Value, now: Timestamp) -> Value {
        json!({
            "kind": "Table", "apiVersion": format!("meta.k8s.io/{}", self.version),
            "metadata": { "resourceVersion": object["metadata"]["resourceVersion"] },
            "columnDefinitions": self.columns(), "rows": [self.row(object, now)],
        })
    }

    /// Kinds without columns of their own have no rows, rather than an empty list of them.
    pub fn empty_rows(&self) -> &'static str {
        if columns::own(self.kind).is_some() { "[]" } else { "null" }
    }
}

/// An object's metadata alone.
pub fn partial(object: &Value, version: &str) -> Value {
    let api_version = format!("meta.k8s.io/{version}");
    json!({ "kind": "PartialObjectMetadata", "apiVersion": api_version, "metadata": object["metadata"] })
}

#[cfg(test)]
mod tests;

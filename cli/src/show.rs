//! What commands print of objects: tables as the server makes them, and documents.

use serde_json::Value;

use crate::access::Output;
use crate::exit::{Failure, say};

/// Which columns of a server's table are printed.
pub(crate) struct Columns {
    /// Those of low priority too.
    pub(crate) wide: bool,
    /// The objects' namespaces.
    pub(crate) namespaces: bool,
    /// Before each name, e.g. `pod/`.
    pub(crate) prefix: Option<String>,
}

impl Columns {
    fn cells(&self, table: &Value, row: &Value) -> Vec<String> {
        let definitions = table["columnDefinitions"].as_array();
        let shown = row["cells"].as_array().into_iter().flatten().enumerate().filter_map(|(at, cell)| {
            let priority = definitions.and_then(|all| all.get(at)).and_then(|column| column["priority"].as_i64());
            let text = cell.as_str().map_or_else(|| cell.to_string(), str::to_owned);
            let prefix = self.prefix.as_deref().filter(|_| at == 0).unwrap_or_default();
            (self.wide || priority.unwrap_or(0) == 0).then(|| format!("{prefix}{text}"))
        });
        let namespace = row["object"]["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
        self.namespaces.then_some(namespace).into_iter().chain(shown).collect()
    }

    fn head(&self, table: &Value) -> Vec<String> {
        let columns = table["columnDefinitions"].as_array().into_iter().flatten();
        let shown = columns.filter(|column| self.wide || column["priority"].as_i64().unwrap_or(0) == 0);
        let names = shown.map(|column| column["name"].as_str().unwrap_or_default().to_uppercase());
        self.namespaces.then(|| "NAMESPACE".to_owned()).into_iter().chain(names).collect()
    }
}

/// Prints rows in columns under a head.
pub(crate) fn lines(head: &[String], rows: impl Iterator<Item = Vec<String>>) -> Result<(), Failure> {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_header(head.to_vec());
    for row in rows {
        table.add_row(row);
    }
    let text: Vec<String> = table.lines().map(|line| line.trim().to_owned()).collect();
    say(&text.join("\n"))
}

/// Prints a server's table.
pub(crate) fn table(table: &Value, columns: &Columns) -> Result<(), Failure> {
    let rows = table["rows"].as_array().into_iter().flatten().map(|row| columns.cells(table, row));
    lines(&columns.head(table), rows)
}

/// Prints the rows of a watch event, which has no head to be in line with.
pub(crate) fn row(table: &Value, columns: &Columns) -> Result<(), Failure> {
    table["rows"].as_array().into_iter().flatten().try_for_each(|row| say(&columns.cells(table, row).join("   ")))
}

/// Prints objects as programs read them; lists count as their items for names.
pub(crate) fn documents(output: Output, documents: Vec<Value>) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::failed(error.to_string());
    let joined = match documents.len() {
        0 => return Ok(()),
        1 => documents.into_iter().next().unwrap_or_default(),
        _ => {
            let items: Vec<Value> = documents.into_iter().flat_map(items).collect();
            serde_json::json!({ "apiVersion": "v1", "kind": "List", "metadata": {}, "items": items })
        }
    };
    match output {
        Output::Json => say(&serde_json::to_string_pretty(&joined).map_err(|error| failed(&error))?),
        Output::Yaml => say(serde_saphyr::to_string(&joined).map_err(|error| failed(&error))?.trim_end()),
        Output::Name => items(joined).iter().try_for_each(|object| say(&name(object)?)),
        Output::Table | Output::Wide => Ok(()),
    }
}

fn items(document: Value) -> Vec<Value> {
    let kind = document["kind"].as_str().and_then(|kind| kind.strip_suffix("List")).map(str::to_owned);
    let version = document["apiVersion"].clone();
    match (document, kind) {
        (Value::Object(mut list), Some(kind)) => {
            let Some(Value::Array(mut items)) = list.remove("items") else { return Vec::new() };
            // Items of a list do not say what they are.
            for item in items.iter_mut().filter(|item| item["kind"].is_null()) {
                item["kind"] = kind.clone().into();
                item["apiVersion"] = version.clone();
            }
            items
        }
        (document, _) => vec![document],
    }
}

fn name(object: &Value) -> Result<String, Failure> {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let Some(name) = object["metadata"]["name"].as_str() else {
        // A backup is called what other commands call it.
        let called = object["file"].as_str().map(str::to_owned);
        return called
            .ok_or_else(|| Failure::usage("--output name: what is shown has no names; --output json shows all"));
    };
    let kind = word(&object["kind"]).to_lowercase();
    let group = word(&object["apiVersion"]).split_once('/').map(|(group, _)| format!(".{group}")).unwrap_or_default();
    Ok(format!("{kind}{group}/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tables_show_what_is_asked_for() {
        let table = json!({
            "columnDefinitions": [{ "name": "Name", "priority": 0 }, { "name": "IP", "priority": 1 }, { "name": "Age" }],
            "rows": [{ "cells": ["web", "10.0.0.1", 3], "object": { "metadata": { "namespace": "shop" } } }],
        });
        let shown = |columns: &Columns| (columns.head(&table), columns.cells(&table, &table["rows"][0]));
        let narrow = Columns { wide: false, namespaces: false, prefix: Some("pod/".to_owned()) };
        assert_eq!(shown(&narrow), (vec!["NAME".into(), "AGE".into()], vec!["pod/web".into(), "3".into()]));
        let wide = Columns { wide: true, namespaces: true, prefix: None };
        assert_eq!(shown(&wide).1, ["shop", "web", "10.0.0.1", "3"]);
    }

    #[test]
    fn items_of_lists_get_names() {
        let list =
            json!({ "kind": "DeploymentList", "apiVersion": "apps/v1", "items": [{ "metadata": { "name": "web" } }] });
        assert_eq!(items(list).iter().flat_map(name).collect::<Vec<_>>(), ["deployment.apps/web"]);
        assert_eq!(name(&json!({ "file": "place#id" })).expect("a backup's"), "place#id");
        assert!(name(&json!({ "leader": "a" })).is_err());
    }
}

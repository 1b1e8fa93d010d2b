//! PURE: objects as `Table`s, with the columns that `kubectl get` shows.
//!
//! Source: k8s.io/kubernetes `pkg/printers/internalversion/printers.go`; KEP-0017.

mod columns;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::kind::Kind;

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
    pub fn parse(word: &str) -> Include {
        match word {
            "None" => Include::None,
            "Object" => Include::Object,
            _ => Include::Metadata,
        }
    }
}

/// A column: its name, its type, and whether only `-o wide` shows it.
struct Column {
    name: &'static str,
    kind: &'static str,
    wide: bool,
    cell: fn(&Value, Timestamp) -> Value,
}

/// A table of objects. `metadata` is that of the list.
pub fn render(kind: &Kind, objects: &[Value], metadata: &Value, include: Include, now: Timestamp) -> Value {
    let columns = columns::of(kind);
    let definition = |column: &Column| {
        let format = if column.name == "Name" { "name" } else { "" };
        json!({
            "name": column.name, "type": column.kind, "format": format,
            "description": "", "priority": i32::from(column.wide),
        })
    };
    let row = |object: &Value| {
        let cells: Vec<Value> = columns.iter().map(|column| (column.cell)(object, now)).collect();
        let mut row = json!({ "cells": cells });
        match include {
            Include::None => {}
            Include::Metadata => row["object"] = partial(object, "v1"),
            Include::Object => row["object"] = object.clone(),
        }
        row
    };
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "columnDefinitions": columns.iter().map(definition).collect::<Vec<_>>(),
        "rows": objects.iter().map(row).collect::<Vec<_>>(),
    })
}

/// An object's metadata alone.
pub fn partial(object: &Value, version: &str) -> Value {
    let api_version = format!("meta.k8s.io/{version}");
    json!({ "kind": "PartialObjectMetadata", "apiVersion": api_version, "metadata": object["metadata"] })
}

/// The age of something, as short as people say it (k8s.io/apimachinery `util/duration`).
fn age(since: &Value, now: Timestamp) -> Value {
    let Some(since) = since.as_str().and_then(|since| since.parse::<Timestamp>().ok()) else {
        return "<unknown>".into();
    };
    let seconds = now.as_second() - since.as_second();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let pair = |big: i64, big_unit: &str, small: i64, small_unit: &str| {
        if small == 0 { format!("{big}{big_unit}") } else { format!("{big}{big_unit}{small}{small_unit}") }
    };
    match seconds {
        ..=-2 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        120..600 => pair(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => pair(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => pair(days, "d", hours % 24, "h"),
        691_200..63_072_000 => format!("{days}d"),
        _ => pair(days / 365, "y", days % 365, "d"),
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind;

    fn cells(resource: &str, object: Value) -> String {
        let now = "2026-01-01T01:00:00Z".parse().expect("a time");
        let table = render(kind::core(resource), &[object], &json!({}), Include::None, now);
        table["rows"][0]["cells"].to_string()
    }

    #[test]
    fn rows_are_what_kubectl_shows() {
        let metadata = json!({ "name": "a", "creationTimestamp": "2026-01-01T00:55:30Z" });
        assert_eq!(cells("configmaps", json!({ "metadata": metadata, "data": { "x": "1" } })), r#"["a",1,"4m30s"]"#);
        let pod = json!({
            "metadata": metadata,
            "spec": { "containers": [{ "name": "c" }, { "name": "d" }], "nodeName": "n" },
            "status": { "phase": "Running", "podIP": "10.0.0.1", "containerStatuses": [
                { "ready": true, "restartCount": 2, "state": { "running": {} } },
                { "ready": false, "restartCount": 1, "state": { "waiting": { "reason": "CrashLoopBackOff" } } }
            ] }
        });
        assert_eq!(cells("pods", pod), r#"["a","1/2","CrashLoopBackOff",3,"4m30s","10.0.0.1","n","<none>","<none>"]"#);
    }

    #[test]
    fn ages_are_short() {
        let now = "2026-01-01T00:00:00Z".parse().expect("a time");
        let ages = ["2025-12-31T23:58:01Z", "2025-12-31T20:30:00Z", "2025-12-29T22:00:00Z", "2023-12-31T00:00:00Z"];
        let said: Vec<Value> = ages.iter().map(|since| age(&(*since).into(), now)).collect();
        assert_eq!(said, ["119s", "3h30m", "2d2h", "2y2d"]);
    }
}

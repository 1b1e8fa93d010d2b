//! The facts about fields that the types of `k8s-openapi` lack, taken from the published OpenAPI description and from
//! Kubernetes' published Go modules.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use anyhow::Context;
use serde_json::Value;

use crate::golang::{self, Structs};
use crate::guess::guess;

/// One line per field with a fact, sorted: `TYPE FIELD FACT…`.
pub(crate) fn generate(swagger: &Path, api: &Path, apimachinery: &Path, out: &Path) -> anyhow::Result<()> {
    let structs = Structs::read(api, apimachinery)?;
    let text = std::fs::read(swagger).with_context(|| format!("{}: cannot be read", swagger.display()))?;
    let swagger: Value = serde_json::from_slice(&text).context("not JSON")?;
    let definitions = swagger["definitions"].as_object().context("no definitions")?;
    let mut lines = BTreeSet::new();
    for (name, definition) in definitions {
        let go = structs.fields(name);
        for (field, facts) in definition["properties"].as_object().into_iter().flatten() {
            let mut line = String::new();
            let word = |key: &str| facts[key].as_str().unwrap_or_default().to_owned();
            for strategy in word("x-kubernetes-patch-strategy").split(',').filter(|strategy| !strategy.is_empty()) {
                match strategy {
                    "merge" => write!(line, " merge:{}", word("x-kubernetes-patch-merge-key"))?,
                    other => write!(line, " {other}")?,
                }
            }
            let keys: Vec<&str> = facts["x-kubernetes-list-map-keys"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            match word("x-kubernetes-list-type").as_str() {
                "" => {}
                "map" => write!(line, " map:{}", keys.join(","))?,
                other => write!(line, " {other}")?,
            }
            if word("x-kubernetes-map-type") == "atomic" {
                line.push_str(" atomic");
            }
            if word("x-kubernetes-map-type") == "granular" {
                line.push_str(" granular");
            }
            match go.as_ref().map(|go| go.get(field)) {
                Some(Some((declared, kind))) => write_go(&mut line, facts, declared, kind)?,
                // What Go's sources do not say is never filled in.
                _ => line.push_str(" pointer"),
            }
            if !line.is_empty() {
                lines.insert(format!("{name} {field}{line}"));
            }
        }
        if definition["x-kubernetes-map-type"] == "atomic" {
            lines.insert(format!("{name} * atomic"));
        }
    }
    let text: String = lines.into_iter().map(|line| line + "\n").collect();
    std::fs::write(out, text).with_context(|| format!("{}: cannot be written", out.display()))?;
    let kinds = out.with_file_name("registered.txt");
    std::fs::write(&kinds, golang::registered(api)?).with_context(|| format!("{}: cannot be written", kinds.display()))
}

fn write_go(line: &mut String, facts: &Value, declared: &golang::Field, kind: &str) -> std::fmt::Result {
    if guess(facts) != kind {
        write!(line, " go:{kind}")?;
    }
    for (held, word) in [(declared.pointer, "pointer"), (declared.always, "always"), (declared.omit_zero, "omitzero")] {
        if held {
            write!(line, " {word}")?;
        }
    }
    match &declared.default {
        Some(value) if declared.pointer || !matches!(value.as_str(), "0" | "false" | "\"\"") => {
            write!(line, " default:{value}")
        }
        _ => Ok(()),
    }
}

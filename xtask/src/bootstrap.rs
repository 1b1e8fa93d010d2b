//! The roles and bindings that every fresh cluster has, from recorded objects, without what a server sets itself.

use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};

const FILES: [&str; 4] = ["clusterroles", "clusterrolebindings", "roles", "rolebindings"];

/// One JSON object per line.
pub(crate) fn generate(dir: &Path, out: &Path) -> anyhow::Result<()> {
    let mut lines = String::new();
    for file in FILES {
        let path = dir.join(format!("bootstrap-{file}.json"));
        let text = std::fs::read(&path).with_context(|| format!("{}: cannot be read", path.display()))?;
        let recorded: Value = serde_json::from_slice(&text).with_context(|| format!("{}: not JSON", path.display()))?;
        for item in recorded["items"].as_array().context("no items")? {
            let mut object = json!({ "apiVersion": item["apiVersion"], "kind": item["kind"] });
            for field in ["metadata", "rules", "aggregationRule", "roleRef", "subjects"] {
                if !item[field].is_null() {
                    object[field] = item[field].clone();
                }
            }
            lines.push_str(&object.to_string());
            lines.push('\n');
        }
    }
    std::fs::write(out, lines).with_context(|| format!("{}: cannot be written", out.display()))
}

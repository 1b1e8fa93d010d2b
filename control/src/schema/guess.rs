//! What Go most likely calls what a schema describes: only other names are worth a fact. `xtask`, which writes the facts,
//! reads this very file.

use serde_json::Value;

/// The type that Go would most likely use for what a schema describes.
pub(crate) fn guess(schema: &Value) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        let mut parts = reference.rsplit(['.', '/']);
        let (name, package) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        return format!("{package}.{name}");
    }
    match (schema["type"].as_str(), schema["format"].as_str()) {
        (Some("string"), Some("byte")) => "[]uint8".to_owned(),
        (Some("integer"), Some(size)) => size.to_owned(),
        (Some("number"), _) => "float64".to_owned(),
        (Some("boolean"), _) => "bool".to_owned(),
        (Some("array"), _) => format!("[]{}", guess(&schema["items"])),
        (Some("object"), _) => format!("map[string]{}", guess(&schema["additionalProperties"])),
        _ => "string".to_owned(),
    }
}

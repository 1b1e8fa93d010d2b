//! ConfigMaps and Secrets: keys, sizes, what types ask for, and what stays as it is once marked immutable.
//!
//! Source: k8s.io/kubernetes `pkg/apis/core/validation/validation.go`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::validate::field::Errors;
use crate::validate::read::{entries, flag, text};
use crate::validate::{LENIENT, Rules, names, root};

/// All values of an object together, bytes.
const BYTES_MAX: usize = 1 << 20;
/// The annotation that says whose token a Secret holds.
const ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";

/// Of ConfigMaps.
pub const CONFIG_MAP: Rules = Rules { create: config_map, update: config_map_update, ..LENIENT };
/// Of Secrets.
pub const SECRET: Rules = Rules { create: secret, update: secret_update, ..LENIENT };

fn config_map(map: &Value, errors: &mut Errors) {
    let mut bytes = 0;
    for field in ["data", "binaryData"] {
        for (key, value) in entries(map, field) {
            let place = root().child(field).key(key);
            errors.malformed(&place, key, &names::config_map_key(key));
            let value = value.as_str().unwrap_or_default();
            if field == "data" && map["binaryData"].get(key).is_some() {
                errors.invalid(&place, key, "duplicate of key present in binaryData");
            }
            bytes += if field == "data" { value.len() } else { decoded_len(value) };
        }
    }
    if bytes > BYTES_MAX {
        errors.too_long(&root(), BYTES_MAX);
    }
}

/// How many bytes a text in base64 stands for.
fn decoded_len(text: &str) -> usize {
    text.len() / 4 * 3 - text.bytes().rev().take_while(|byte| *byte == b'=').count().min(2)
}

fn kept(old: &Value, new: &Value, fields: &[&str], errors: &mut Errors) {
    if !flag(old, "immutable") {
        return;
    }
    let why = "field is immutable when `immutable` is set";
    if !flag(new, "immutable") {
        errors.forbidden(&root().child("immutable"), why);
    }
    for field in fields {
        if !entries(old, field).eq(entries(new, field)) {
            errors.forbidden(&root().child(field), why);
        }
    }
}

fn config_map_update(old: &Value, new: &Value, errors: &mut Errors) {
    kept(old, new, &["data", "binaryData"], errors);
    config_map(new, errors);
}

fn secret(secret: &Value, errors: &mut Errors) {
    let (data, mut bytes) = (root().child("data"), 0);
    for (key, value) in entries(secret, "data") {
        errors.malformed(&data.key(key), key, &names::config_map_key(key));
        bytes += decoded_len(value.as_str().unwrap_or_default());
    }
    if bytes > BYTES_MAX {
        errors.too_long(&data, BYTES_MAX);
    }
    let has = |key: &str| secret["data"].get(key).is_some();
    let required: &[&str] = match text(secret, "type") {
        "kubernetes.io/service-account-token" => {
            if text(&secret["metadata"]["annotations"], ACCOUNT_NAME).is_empty() {
                errors.required(&root().child("metadata").child("annotations").key(ACCOUNT_NAME), "");
            }
            &[]
        }
        "kubernetes.io/dockercfg" => return docker_config(secret, ".dockercfg", errors),
        "kubernetes.io/dockerconfigjson" => return docker_config(secret, ".dockerconfigjson", errors),
        // One of them is enough.
        "kubernetes.io/basic-auth" if !has("username") && !has("password") => &["username", "password"],
        "kubernetes.io/ssh-auth" if text(&secret["data"], "ssh-privatekey").is_empty() => &["ssh-privatekey"],
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        _ => &[],
    };
    for key in required.iter().filter(|key| **key == "ssh-privatekey" || !has(key)) {
        errors.required(&data.key(key), "");
    }
}

/// The file of a container engine's credentials must be a JSON object.
fn docker_config(secret: &Value, key: &str, errors: &mut Errors) {
    let place = root().child("data").key(key);
    let Some(value) = secret["data"].get(key).and_then(Value::as_str) else {
        errors.required(&place, "");
        return;
    };
    let bytes = STANDARD.decode(value).unwrap_or_default();
    if let Some(why) = not_an_object(&bytes) {
        errors.invalid(&place, "<secret contents redacted>", &why);
    }
}

/// Why bytes are no JSON object, in the words of Go's decoder for what it sees first.
fn not_an_object(bytes: &[u8]) -> Option<String> {
    let kind = match serde_json::from_slice::<Value>(bytes) {
        Ok(Value::Object(_) | Value::Null) => return None,
        Ok(Value::Array(_)) => "array",
        Ok(Value::String(_)) => "string",
        Ok(Value::Bool(_)) => "bool",
        Ok(Value::Number(_)) => "number",
        Err(error) if error.is_eof() => return Some("unexpected end of JSON input".to_owned()),
        Err(_) => {
            let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace()).copied().unwrap_or(b' ');
            if !matches!(first, b'{' | b'[' | b'"' | b't' | b'f' | b'n' | b'-' | b'0'..=b'9') {
                return Some(format!("invalid character '{}' looking for beginning of value", char::from(first)));
            }
            return Some("invalid JSON".to_owned());
        }
    };
    Some(format!("json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"))
}

fn secret_update(old: &Value, new: &Value, errors: &mut Errors) {
    if text(old, "type") != text(new, "type") {
        errors.invalid(&root().child("type"), text(new, "type"), "field is immutable");
    }
    kept(old, new, &["data"], errors);
    secret(new, errors);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::validate::field::said;

    #[test]
    fn types_ask_for_their_keys() {
        for (kind, data, wanted) in [
            ("kubernetes.io/tls", json!({ "tls.crt": "" }), vec!["data[tls.key]: Required value"]),
            ("kubernetes.io/ssh-auth", json!({ "ssh-privatekey": "" }), vec!["data[ssh-privatekey]: Required value"]),
            (
                "kubernetes.io/basic-auth",
                json!({}),
                vec!["data[username]: Required value", "data[password]: Required value"],
            ),
            ("kubernetes.io/basic-auth", json!({ "password": "" }), vec![]),
            (
                "kubernetes.io/dockercfg",
                json!({ ".dockercfg": "eA==" }),
                vec![
                    "data[.dockercfg]: Invalid value: \"<secret contents redacted>\": invalid character 'x' looking for \
                     beginning of value",
                ],
            ),
            ("kubernetes.io/dockerconfigjson", json!({ ".dockerconfigjson": "e30=" }), vec![]),
            ("Opaque", json!({}), vec![]),
        ] {
            assert_eq!(said(|errors| secret(&json!({ "type": kind, "data": data }), errors)), wanted, "{kind}");
        }
    }

    #[test]
    fn what_is_immutable_stays() {
        let old = json!({ "immutable": true, "data": { "a": "1" } });
        assert!(said(|errors| config_map_update(&old, &old, errors)).is_empty());
        let new = json!({ "data": { "a": "2" }, "binaryData": { "a": "" } });
        assert_eq!(said(|errors| config_map_update(&old, &new, errors)).len(), 4);
    }

    #[test]
    fn everything_together_has_a_limit() {
        let object = json!({ "data": { "a": "x".repeat(BYTES_MAX), "b": "y" } });
        assert_eq!(said(|errors| config_map(&object, errors)), [": Too long: may not be more than 1048576 bytes"]);
        assert_eq!((decoded_len("AAEC"), decoded_len("dQ=="), decoded_len("")), (3, 1, 0));
    }
}

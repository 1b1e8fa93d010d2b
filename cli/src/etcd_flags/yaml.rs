//! PURE: etcd's configuration file.
//!
//! Source: etcd `server/embed/config.go` (`Config`, `configJSON`, `securityConfig`). Keys are the flags' names, but for
//! those of TLS, which lie in two maps.

use serde_json::{Map, Value};

use super::parse::{Given, unknown};
use super::table::{self, Kind};

/// A map of a file whose keys are flags with something put before: its name, what is put before, and keys with names of
/// their own.
type Section = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const SECTIONS: [Section; 2] = [
    (
        "client-transport-security",
        "",
        &[
            ("allowed-cn", "client-cert-allowed-cn"),
            ("allowed-hostname", "client-cert-allowed-hostname"),
            ("crl-file", "client-crl-file"),
        ],
    ),
    (
        "peer-transport-security",
        "peer-",
        &[("allowed-cn", "peer-cert-allowed-cn"), ("allowed-hostname", "peer-cert-allowed-hostname")],
    ),
];

/// Takes what a file says.
///
/// # Errors
/// When it is no YAML, has an unknown key, or a wrong value.
pub(super) fn into(text: &str, given: &mut Given) -> Result<(), String> {
    if text.trim().is_empty() {
        return Ok(());
    }
    let file: Value = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    let Value::Object(file) = file else { return Err("a map of settings is wanted".to_owned()) };
    for (key, value) in &file {
        match (SECTIONS.iter().find(|(name, ..)| name == key), value) {
            (Some((_, prefix, renamed)), Value::Object(inner)) => section(key, inner, prefix, renamed, given)?,
            (_, Value::Null) => {}
            (Some(_), _) => return Err(format!("{key}: a map is wanted")),
            (None, _) => set(key, key, value, given)?,
        }
    }
    Ok(())
}

fn section(
    section: &str,
    inner: &Map<String, Value>,
    prefix: &str,
    renamed: &[(&str, &str)],
    given: &mut Given,
) -> Result<(), String> {
    for (key, value) in inner.iter().filter(|(_, value)| !value.is_null()) {
        let other = renamed.iter().find(|(name, _)| name == key).map(|(_, flag)| (*flag).to_owned());
        let name = other.unwrap_or_else(|| format!("{prefix}{key}"));
        set(&format!("{section}.{key}"), &name, value, given)?;
    }
    Ok(())
}

fn set(shown: &str, name: &str, value: &Value, given: &mut Given) -> Result<(), String> {
    let Some(flag) = table::find(name) else { return Err(unknown(shown, name)) };
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Bool(on) => on.to_string(),
        Value::Number(number) if flag.kind == Kind::Time => format!("{number}ns"),
        Value::Number(number) => number.to_string(),
        Value::Array(words) => {
            let words = words.iter().map(|word| word.as_str().ok_or_else(|| format!("{shown}: words are wanted")));
            words.collect::<Result<Vec<_>, _>>()?.join(",")
        }
        Value::Null | Value::Object(_) => return Err(format!("{shown}: a single value is wanted")),
    };
    given.set(flag, shown, &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Given, String> {
        let mut given = Given::default();
        into(text, &mut given).map(|()| given)
    }

    #[test]
    fn unknown_keys_and_wrong_values_are_refused() {
        assert!(read("nmae: a\n").is_err_and(|why| why.contains("is it name?")));
        assert!(read("name: {a: b}\n").is_err_and(|why| why.contains("a single value is wanted")));
        assert!(read("max-txn-ops: many\n").is_err_and(|why| why.contains("max-txn-ops: \"many\" is not")));
        assert!(read("- a\n").is_err_and(|why| why.contains("a map of settings")));
        assert!(read("").is_ok() && read("name:\n").is_ok_and(|given| !given.is_set("name")));
    }
}

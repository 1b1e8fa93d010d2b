//! PURE: bodies as objects: of the right shape, without what the schema does not know.
//!
//! Source: k8s.io/apimachinery `runtime/serializer/json`, `util/json`; sigs.k8s.io/json for the texts.

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::defaults;
use crate::kind::Kind;
use crate::schema::{self, Shape, Type, protobuf};
use crate::status::Status;

/// What becomes of fields that the schema does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldValidation {
    /// They are dropped.
    Ignore,
    /// They are dropped, and the client is told.
    Warn,
    /// The request is refused.
    Strict,
}

impl FieldValidation {
    /// Reads the query parameter; absent means `Warn`.
    ///
    /// # Errors
    /// 400 for other words.
    pub fn parse(word: &str) -> Result<FieldValidation, Status> {
        match word {
            "" | "Warn" => Ok(FieldValidation::Warn),
            "Ignore" => Ok(FieldValidation::Ignore),
            "Strict" => Ok(FieldValidation::Strict),
            other => Err(Status::bad_request(format!(
                "fieldValidation: Unsupported value: \"{other}\": supported values: \"Ignore\", \"Strict\", \"Warn\""
            ))),
        }
    }
}

/// An object of a kind from a body, with warnings about what was dropped.
///
/// # Errors
/// 400 for what cannot be read, is of another kind, or does not fit the schema.
pub fn object(
    kind: &Kind,
    body: &Bytes,
    encoding: Encoding,
    unknown: FieldValidation,
) -> Result<(Value, Vec<String>), Status> {
    let mut value = parse(body, encoding)?;
    let Value::Object(object) = &mut value else {
        return Err(Status::bad_request("the object provided is unrecognized (must be of type object)"));
    };
    let (api_version, name) = (kind.api_version(), kind.kind);
    for (field, wanted) in [("apiVersion", api_version.as_str()), ("kind", name)] {
        let given = object.entry(field).or_insert_with(|| wanted.into());
        if given != wanted {
            let given = given.as_str().unwrap_or_default();
            return Err(Status::bad_request(format!(
                "{name} in version \"{}\" cannot be handled as a {name}: the {field} in the data ({given}) does not match the expected {field} ({wanted})",
                kind.version
            )));
        }
    }
    let mut dropped = Vec::new();
    fit(schema::of(kind), object, "", &mut dropped).map_err(|why| {
        Status::bad_request(format!("{name} in version \"{}\" cannot be handled as a {name}: {why}", kind.version))
    })?;
    defaults::fill(kind, &mut value);
    let warnings: Vec<String> = dropped.into_iter().map(|path| format!("unknown field \"{path}\"")).collect();
    match unknown {
        FieldValidation::Strict if !warnings.is_empty() => Err(Status::bad_request(format!(
            "{name} in version \"{}\" cannot be handled as a {name}: strict decoding error: {}",
            kind.version,
            warnings.join(", ")
        ))),
        FieldValidation::Warn => Ok((value, warnings)),
        FieldValidation::Strict | FieldValidation::Ignore => Ok((value, Vec::new())),
    }
}

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// `application/json`
    Json,
    /// `application/yaml`, of which JSON is a part.
    Yaml,
    /// `application/vnd.kubernetes.protobuf`
    Protobuf,
}

/// A body as a value.
///
/// # Errors
/// 400 for what is not written as it says.
pub fn parse(body: &Bytes, encoding: Encoding) -> Result<Value, Status> {
    let wrong = |why: String| Status::bad_request(format!("the object provided is unrecognized: {why}"));
    match encoding {
        Encoding::Json => serde_json::from_slice(body).map_err(|error| wrong(error.to_string())),
        Encoding::Yaml => {
            let text = std::str::from_utf8(body).map_err(|error| wrong(error.to_string()))?;
            serde_saphyr::from_str(text).map_err(|error| wrong(error.to_string()))
        }
        Encoding::Protobuf => protobuf::decode(body, schema::type_name).map_err(|error| wrong(error.to_string())),
    }
}

/// Makes an object fit its type: unknown fields go, `null` means absent, anything else of a wrong shape is an error.
fn fit(kind: &Type, object: &mut Map<String, Value>, path: &str, dropped: &mut Vec<String>) -> Result<(), String> {
    object.retain(|_, value| !value.is_null());
    let unknown: Vec<String> = object.keys().filter(|name| !kind.fields.contains_key(*name)).cloned().collect();
    for name in unknown {
        object.remove(&name);
        dropped.push(join(path, &name));
    }
    for (name, value) in object.iter_mut() {
        fit_value(&kind.fields[name].shape, value, &join(path, name), dropped)?;
    }
    Ok(())
}

fn fit_value(shape: &Shape, value: &mut Value, path: &str, dropped: &mut Vec<String>) -> Result<(), String> {
    let wanted = match (shape, &mut *value) {
        (Shape::Any, _)
        | (Shape::Boolean, Value::Bool(_))
        | (Shape::Number, Value::Number(_))
        | (Shape::IntOrString, Value::String(_)) => return Ok(()),
        (Shape::String(format), Value::Number(number)) if format == "quantity" => {
            *value = number.to_string().into();
            return Ok(());
        }
        (Shape::String(_), Value::String(_)) => return Ok(()),
        (Shape::Integer | Shape::IntOrString, Value::Number(number)) if number.is_i64() || number.is_u64() => {
            return Ok(());
        }
        (Shape::Object(name), Value::Object(object)) => {
            return match schema::named(name) {
                Some(kind) => fit(kind, object, path, dropped),
                None => Ok(()),
            };
        }
        (Shape::List(item), Value::Array(items)) => {
            return items
                .iter_mut()
                .enumerate()
                .try_for_each(|(at, value)| fit_value(item, value, &format!("{path}[{at}]"), dropped));
        }
        (Shape::Map(inner), Value::Object(object)) => {
            let each = |(name, value): (&String, &mut Value)| fit_value(inner, value, &join(path, name), dropped);
            return object.iter_mut().filter(|(_, value)| !value.is_null()).try_for_each(each);
        }
        (Shape::String(_), _) => "string",
        (Shape::Integer, _) => "int32",
        (Shape::Number, _) => "float64",
        (Shape::Boolean, _) => "bool",
        (Shape::IntOrString, _) => "intstr.IntOrString",
        (Shape::List(_), _) => "list",
        (Shape::Object(_) | Shape::Map(_), _) => "map",
    };
    Err(format!("json: cannot unmarshal {} into Go struct field {path} of type {wanted}", sort(value)))
}

fn sort(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind;

    fn pod(body: &str, unknown: FieldValidation) -> Result<(Value, Vec<String>), Status> {
        object(kind::core("pods"), &Bytes::copy_from_slice(body.as_bytes()), Encoding::Yaml, unknown)
    }

    #[test]
    fn unknown_fields_are_dropped_told_or_refused() {
        let body = "{metadata: {name: a, colour: red}, spec: {containers: [{name: c, imag: x}]}}";
        let (value, warnings) = pod(body, FieldValidation::Warn).expect("reads");
        assert_eq!(warnings, ["unknown field \"metadata.colour\"", "unknown field \"spec.containers[0].imag\""]);
        assert_eq!(value["spec"]["containers"][0].to_string(), r#"{"name":"c"}"#);
        assert_eq!((value["apiVersion"].as_str(), value["kind"].as_str()), (Some("v1"), Some("Pod")));
        let refused = pod(body, FieldValidation::Strict).expect_err("refused").message;
        assert!(refused.contains("strict decoding error: unknown field \"metadata.colour\""), "{refused}");
    }

    #[test]
    fn shapes_must_fit() {
        let refused = pod("{spec: {containers: 3}}", FieldValidation::Warn).expect_err("refused").message;
        assert!(
            refused.contains("cannot unmarshal number into Go struct field spec.containers of type list"),
            "{refused}"
        );
        assert!(pod("{kind: Service}", FieldValidation::Warn).is_err());
        let (value, _) =
            pod("{spec: {nodeName: null, containers: [{resources: {limits: {cpu: 1}}}]}}", FieldValidation::Warn)
                .expect("reads");
        assert_eq!(value["spec"].to_string(), r#"{"containers":[{"resources":{"limits":{"cpu":"1"}}}]}"#);
    }
}

//! PURE: bodies as objects: of the right shape, without what the schema does not know.
//!
//! Source: k8s.io/apimachinery `runtime/serializer/json`, `util/json`; sigs.k8s.io/json for the texts.

pub mod base64;
pub mod fit;
pub mod json;
pub mod time;
mod typed;
pub mod yaml;

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::decode::json::Node;
use crate::decode::typed::TypeMeta;
use crate::defaults;
use crate::kind::Kind;
use crate::schema::{self, protobuf};
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
    /// Reads the query parameter; absent means `Warn`, `None` that there is no such word.
    pub fn parse(word: &str) -> Option<FieldValidation> {
        match word {
            "" | "Warn" => Some(FieldValidation::Warn),
            "Ignore" => Some(FieldValidation::Ignore),
            "Strict" => Some(FieldValidation::Strict),
            _ => None,
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
    let unrecognized = |why: &str| unrecognized(kind, why, body);
    if encoding == Encoding::Protobuf {
        return from_protobuf(kind, body);
    }
    let (node, repeated) = text(body, encoding).map_err(|why| unrecognized(&why))?;
    let meta = TypeMeta::of(&node).map_err(|why| unrecognized(&why))?;
    let given = meta.or(kind).map_err(|why| unrecognized(&why))?;
    let fields = match node {
        Node::Object(fields) => fields,
        _ => Vec::new(),
    };
    let wrong =
        |why: &str| Status::bad_request(format!("{} cannot be handled as a {}: {why}", given.said(), kind.kind));
    given.check_registered(kind).map_err(|why| wrong(&why))?;
    let (object, strict) = fit::object(&(kind.type_name)(), fields).map_err(|why| wrong(&why))?;
    given.check_version(kind)?;
    let object = completed(kind, object);
    match unknown {
        FieldValidation::Strict if !strict.is_empty() || !repeated.is_empty() => {
            let mut all = strict;
            if !repeated.is_empty() {
                all.insert(0, format!("yaml: unmarshal errors:\n  {}", repeated.join("\n  ")));
            }
            Err(wrong(&format!("strict decoding error: {}", all.join(", "))))
        }
        FieldValidation::Warn => Ok((object, repeated.into_iter().chain(strict).collect())),
        FieldValidation::Strict | FieldValidation::Ignore => Ok((object, Vec::new())),
    }
}

/// An object that a patch has made, read as a body of its kind, with what a strict reader would not take.
///
/// # Errors
/// What does not fit.
pub fn patched(kind: &Kind, object: &Value) -> Result<(Value, Vec<String>), String> {
    let node = json::parse(object.to_string().as_bytes())?;
    let given = TypeMeta::of(&node)?.or(kind)?;
    let fields = match node {
        Node::Object(fields) => fields,
        _ => Vec::new(),
    };
    if let Some(other) = given.served().filter(|other| *other != kind) {
        fit::object(&(other.type_name)(), fields.clone())?;
    }
    given.check_registered(kind)?;
    let (object, strict) = fit::object(&(kind.type_name)(), fields)?;
    Ok((completed(kind, object), strict))
}

fn from_protobuf(kind: &Kind, body: &Bytes) -> Result<(Value, Vec<String>), Status> {
    let wrong = |error: protobuf::Unreadable| unrecognized(kind, &error.to_string(), body);
    let envelope = protobuf::open(body).map_err(wrong)?;
    let meta = TypeMeta { api_version: envelope.api_version.clone(), kind: envelope.kind.clone() };
    let given = meta.or(kind).map_err(|why| unrecognized(kind, &why, body))?;
    let wrong =
        |why: &str| Status::bad_request(format!("{} cannot be handled as a {}: {why}", given.said(), kind.kind));
    given.check_registered(kind).map_err(|why| wrong(&why))?;
    let object = envelope.object(&(kind.type_name)()).map_err(|why| wrong(&why.to_string()))?;
    given.check_version(kind)?;
    Ok((completed(kind, object), Vec::new()))
}

/// An object as the rest of the server sees it.
fn completed(kind: &Kind, object: Map<String, Value>) -> Value {
    let mut object = Value::Object(object);
    object["apiVersion"] = kind.api_version().into();
    object["kind"] = kind.kind.into();
    defaults::fill(kind, &mut object);
    object
}

/// A body that is no object of any kind, with its first bytes (k8s.io/apiserver `handlers/rest.go`, `summarizeData`).
fn unrecognized(kind: &Kind, why: &str, body: &[u8]) -> Status {
    const SHOWN: usize = 30;
    let cut = &body[..body.len().min(SHOWN)];
    let shown = match body.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => String::from_utf8_lossy(cut).into_owned(),
        Some(_) => cut.iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    let more = if body.len() > SHOWN { " ..." } else { "" };
    Status::bad_request(format!(
        "the object provided is unrecognized (must be of type {}): {why} ({shown}{more})",
        kind.kind
    ))
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

/// A body as it is written.
///
/// # Errors
/// What is wrong with it.
pub fn node(body: &Bytes, encoding: Encoding) -> Result<Node, String> {
    if encoding == Encoding::Protobuf {
        let value = protobuf::decode(body, schema::type_name).map_err(|error| error.to_string())?;
        return json::parse(value.to_string().as_bytes());
    }
    Ok(text(body, encoding)?.0)
}

/// The same of JSON or YAML, with the keys that YAML repeats.
fn text(body: &[u8], encoding: Encoding) -> Result<(Node, Vec<String>), String> {
    if encoding == Encoding::Yaml {
        return yaml::parse(body);
    }
    let wrong = |why: String| format!("couldn't get version/kind; json parse error: {why}");
    Ok((json::parse(body).map_err(wrong)?, Vec::new()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind;

    fn read(
        name: &str,
        body: &str,
        encoding: Encoding,
        unknown: FieldValidation,
    ) -> Result<(Value, Vec<String>), String> {
        let kind = kind::ALL.iter().find(|kind| kind.kind == name).expect("a row of the table");
        object(kind, &Bytes::copy_from_slice(body.as_bytes()), encoding, unknown).map_err(|status| status.message)
    }

    fn refused(name: &str, body: &str) -> String {
        read(name, body, Encoding::Yaml, FieldValidation::Warn).expect_err(body)
    }

    #[test]
    fn unknown_fields_are_dropped_told_or_refused() {
        let body = r#"{"spec": {"containers": [{"name": "c", "imag": "x", "name": "c"}], "a": 1}, "metadata": {"name": "a", "colour": "red"}}"#;
        let told = [
            "unknown field \"spec.containers[0].imag\"",
            "duplicate field \"spec.containers[0].name\"",
            "unknown field \"spec.a\"",
            "unknown field \"metadata.colour\"",
        ];
        let (value, warnings) = read("Pod", body, Encoding::Json, FieldValidation::Warn).expect("reads");
        assert_eq!(warnings, told);
        assert_eq!(
            (&value["spec"]["containers"][0]["imag"], &value["metadata"]["colour"]),
            (&Value::Null, &Value::Null)
        );
        assert_eq!((value["apiVersion"].as_str(), value["kind"].as_str()), (Some("v1"), Some("Pod")));
        let strict = read("Pod", body, Encoding::Json, FieldValidation::Strict).expect_err("refused");
        let wanted =
            format!("Pod in version \"v1\" cannot be handled as a Pod: strict decoding error: {}", told.join(", "));
        assert_eq!(strict, wanted);
        assert_eq!(read("Pod", body, Encoding::Json, FieldValidation::Ignore).expect("reads").1, [""; 0]);
    }

    #[test]
    fn keys_that_yaml_repeats_have_a_line() {
        let body = "metadata:\n  name: x\ndata:\n  a: b\n  a: c\n";
        let (value, warnings) = read("ConfigMap", body, Encoding::Yaml, FieldValidation::Warn).expect("reads");
        assert_eq!(
            (&value["data"]["a"], warnings),
            (&Value::from("c"), vec!["line 5: key \"a\" already set in map".to_owned()])
        );
        let strict = read("ConfigMap", body, Encoding::Yaml, FieldValidation::Strict).expect_err("refused");
        let wanted = "strict decoding error: yaml: unmarshal errors:\n  line 5: key \"a\" already set in map";
        assert!(strict.ends_with(wanted), "{strict}");
    }

    #[test]
    fn what_does_not_fit_is_said_as_go_says_it() {
        let field = |sort: &str, place: &str, name: &str| {
            format!("json: cannot unmarshal {sort} into Go struct field {place} of type {name}")
        };
        for (name, body, wanted) in [
            ("Pod", "{spec: {containers: 3}}", field("number", "PodSpec.spec.containers", "[]v1.Container")),
            ("Pod", "{spec: {restartPolicy: {}}}", field("object", "PodSpec.spec.restartPolicy", "v1.RestartPolicy")),
            (
                "Pod",
                "{spec: {activeDeadlineSeconds: 1.5}}",
                field("number 1.5", "PodSpec.spec.activeDeadlineSeconds", "int64"),
            ),
            (
                "Deployment",
                "{spec: {replicas: 2147483648}}",
                field("number 2147483648", "DeploymentSpec.spec.replicas", "int32"),
            ),
            ("ConfigMap", "{metadata: {labels: {a: 7}}}", field("number", "ObjectMeta.metadata.labels", "string")),
            ("Secret", "{data: {a: 7}}", field("number", "Secret.data", "[]uint8")),
            ("Secret", "{data: {a: 'not base64!'}}", "illegal base64 data at input byte 3".to_owned()),
            (
                "Service",
                "{spec: {ports: [{targetPort: true}]}}",
                field("bool", "ServicePort.spec.ports.targetPort", "int32"),
            ),
            (
                "PersistentVolume",
                "{spec: {capacity: x}}",
                field("string", "PersistentVolumeSpec.spec.capacity", "v1.ResourceList"),
            ),
            ("Event", "{firstTimestamp: 5}", field("number", "Event.firstTimestamp", "string")),
        ] {
            let said = refused(name, body);
            assert!(said.ends_with(&format!(" cannot be handled as a {name}: {wanted}")), "{said}");
        }
    }

    #[test]
    fn bodies_must_be_what_the_request_says() {
        for (body, wanted) in [
            (
                "{kind: Bogus}",
                "Bogus in version \"v1\" cannot be handled as a ConfigMap: no kind \"Bogus\" is registered for version \"v1\" in scheme \"pkg/runtime/scheme.go:111\"",
            ),
            (
                "{apiVersion: v1, kind: List}",
                "List in version \"v1\" cannot be handled as a ConfigMap: converting (v1.List) to (core.ConfigMap): unknown conversion",
            ),
            (
                "{apiVersion: a/b/c}",
                "the object provided is unrecognized (must be of type ConfigMap): unexpected GroupVersion string: a/b/c ({apiVersion: a/b/c})",
            ),
            (
                "[]",
                r#"the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: json: cannot unmarshal array into Go value of type struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" } (5b5d)"#,
            ),
        ] {
            assert_eq!(refused("ConfigMap", body), wanted);
        }
        let older = refused("Deployment", "{apiVersion: extensions/v1beta1, kind: Deployment}");
        assert_eq!(
            older,
            "the API version in the data (extensions/v1beta1) does not match the expected API version (apps/v1)"
        );
        let empty = read("ConfigMap", "", Encoding::Json, FieldValidation::Warn).expect_err("refused");
        assert_eq!(
            empty,
            "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: unexpected end of JSON input (<empty>)"
        );
    }

    #[test]
    fn null_is_nothing_and_values_have_one_form() {
        let body = "{spec: {nodeName: null, containers: [{name: c, resources: {limits: {cpu: 0.5, memory: 1024Mi}}}]}}";
        let (value, _) = read("Pod", body, Encoding::Yaml, FieldValidation::Strict).expect("reads");
        assert_eq!(
            value["spec"]["containers"][0]["resources"]["limits"].to_string(),
            r#"{"cpu":"500m","memory":"1Gi"}"#
        );
        assert_eq!(value["spec"].get("nodeName"), None);
        let (secret, _) = read("Secret", "{data: {a: null}}", Encoding::Yaml, FieldValidation::Strict).expect("reads");
        assert_eq!(secret["data"].to_string(), r#"{"a":""}"#);
    }
}

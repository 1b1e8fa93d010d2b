//! `metav1.Status`: every error that leaves the API, with Kubernetes' reasons and messages.
//!
//! Source: k8s.io/apimachinery `api/errors/errors.go`, `util/validation/field/errors.go`.

use serde_json::{Value, json};

use crate::kind::Kind;

/// An error as the API answers it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Status {
    /// The HTTP status.
    pub code: u16,
    /// `NotFound`, `Conflict`, …; empty where Kubernetes has none.
    pub reason: &'static str,
    /// The text for people.
    pub message: String,
    /// The `details` object, `Null` when absent.
    pub details: Value,
}

/// One broken rule of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldError {
    /// Which sort: the `reason` of a cause.
    pub kind: FieldErrorKind,
    /// Path, e.g. `spec.containers[0].name`.
    pub field: String,
    /// The text after `<field>: `, e.g. `Required value: must be set`.
    pub message: String,
}

/// The reasons of causes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "Kubernetes' own names")]
pub enum FieldErrorKind {
    Required,
    Invalid,
    NotSupported,
    Duplicate,
    Forbidden,
    NotFound,
    TooLong,
    TooMany,
    TypeInvalid,
    Internal,
}

impl FieldErrorKind {
    fn reason(self) -> String {
        if self == FieldErrorKind::Internal { "InternalError".to_owned() } else { format!("FieldValue{self:?}") }
    }
}

impl Status {
    /// The bare form: code, reason, message, no details.
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Status { code, reason, message: message.into(), details: Value::Null }
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Status::new(400, "BadRequest", message)
    }

    /// 500.
    pub fn internal(message: impl std::fmt::Display) -> Self {
        let mut status = Status::new(500, "InternalError", format!("Internal error occurred: {message}"));
        status.details = json!({ "causes": [{ "message": message.to_string() }] });
        status
    }

    /// 404: `pods "x" not found`.
    pub fn not_found(kind: &Kind, name: &str) -> Self {
        Status {
            code: 404,
            reason: "NotFound",
            message: format!("{} \"{name}\" not found", kind.qualified_resource()),
            details: kind.details(name),
        }
    }

    /// 409: the name is taken.
    pub fn already_exists(kind: &Kind, name: &str) -> Self {
        Status {
            code: 409,
            reason: "AlreadyExists",
            message: format!("{} \"{name}\" already exists", kind.qualified_resource()),
            details: kind.details(name),
        }
    }

    /// 409: somebody else was faster.
    pub fn conflict(kind: &Kind, name: &str, why: &str) -> Self {
        Status {
            code: 409,
            reason: "Conflict",
            message: format!("Operation cannot be fulfilled on {} \"{name}\": {why}", kind.qualified_resource()),
            details: kind.details(name),
        }
    }

    /// 403.
    pub fn forbidden(kind: &Kind, name: &str, why: &str) -> Self {
        Status {
            code: 403,
            reason: "Forbidden",
            message: if name.is_empty() {
                format!("{} is forbidden: {why}", kind.qualified_resource())
            } else {
                format!("{} \"{name}\" is forbidden: {why}", kind.qualified_resource())
            },
            details: kind.details(name),
        }
    }

    /// 422: an object that breaks rules, or a name that may not be.
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Self {
        let mut texts: Vec<String> = Vec::new();
        for text in errors.iter().map(|error| format!("{}: {}", error.field, error.message)) {
            // A rule that is broken twice is a cause twice, but said once.
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        let texts = if let [one] = texts.as_slice() { one.clone() } else { format!("[{}]", texts.join(", ")) };
        let causes: Vec<Value> = errors
            .iter()
            .map(|error| json!({ "reason": error.kind.reason(), "message": error.message, "field": error.field }))
            .collect();
        let qualified = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
        let mut details = json!({ "causes": causes });
        for (key, value) in [("kind", kind), ("name", name), ("group", group)] {
            if !value.is_empty() {
                details[key] = value.into();
            }
        }
        Status { details, ..Status::new(422, "Invalid", format!("{qualified} \"{name}\" is invalid: {texts}")) }
    }

    /// The JSON body.
    pub fn to_json(&self) -> Value {
        let mut body = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        if !self.reason.is_empty() {
            body["reason"] = self.reason.into();
        }
        if !self.details.is_null() {
            body["details"] = self.details.clone();
        }
        body
    }
}

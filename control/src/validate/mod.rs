//! PURE: the rules that objects of each kind must keep, and what is said of one that breaks them.
//!
//! A row of `TABLE` per kind names what is checked beyond its metadata. Source: k8s.io/kubernetes `pkg/apis/*/validation`,
//! k8s.io/apimachinery `pkg/api/validation`; the texts are those that clients of a Kubernetes API server know.

pub mod field;

use serde_json::Value;

use crate::kind::Kind;
use crate::status::FieldError;
use crate::validate::field::{Errors, Path};

/// What is checked of a kind.
struct Rules {
    /// Of a new object.
    create: fn(&Value, &mut Errors),
    /// Of the next version of an object: the old one, the new one.
    update: fn(&Value, &Value, &mut Errors),
    /// The same through `/status`.
    status: fn(&Value, &Value, &mut Errors),
}

/// Sorted by group, then resource.
const TABLE: &[(&str, &str, Rules)] = &[];

fn of(kind: &Kind) -> Option<&'static Rules> {
    TABLE.iter().find(|row| (row.0, row.1) == (kind.group, kind.resource)).map(|row| &row.2)
}

/// The rules that a new object breaks, as it would be stored; `[]` when it may be.
pub fn create(kind: &Kind, object: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    if let Some(rules) = of(kind) {
        (rules.create)(object, &mut errors);
    }
    errors.into_list()
}

/// The rules that the next version of an object breaks, written through a subresource (empty: the object itself).
pub fn update(kind: &Kind, subresource: &str, old: &Value, new: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    if let Some(rules) = of(kind) {
        match subresource {
            "" => (rules.update)(old, new, &mut errors),
            "status" => (rules.status)(old, new, &mut errors),
            _ => {}
        }
    }
    errors.into_list()
}

/// The path of an object itself.
pub fn root() -> Path {
    Path::default()
}

//! PURE: the rules that objects of each kind must keep, and what is said of one that breaks them.
//!
//! A row of `TABLE` per kind names the rules that its own module holds, beyond those of all metadata. Objects are checked
//! after their defaults are filled (`defaults`): what those always fill is not asked for here. Source: k8s.io/kubernetes
//! `pkg/apis/*/validation`, k8s.io/apimachinery `pkg/api/validation`; the texts are those that clients of a Kubernetes API
//! server know.

pub mod field;
pub mod read;
pub mod show;

use serde_json::Value;

use crate::kind::Kind;
use crate::status::FieldError;
use crate::validate::field::{Errors, Path};

/// What is checked of a new object.
type Create = fn(&Value, &mut Errors);
/// What is checked of the next version of an object: the old one, the new one.
type Update = fn(&Value, &Value, &mut Errors);

/// The rules of a kind.
#[derive(Clone, Copy)]
pub struct Rules {
    /// Of a new object.
    pub create: Create,
    /// Of its next version.
    pub update: Update,
    /// Of its next version through `/status`.
    pub status: Update,
    /// The same through other subresources, by name.
    pub others: &'static [(&'static str, Update)],
}

/// Nothing beyond metadata is checked.
pub const LENIENT: Rules = Rules { create: |_, _| {}, update: |_, _, _| {}, status: |_, _, _| {}, others: &[] };

/// One line per kind; sorted by group, then resource.
#[rustfmt::skip]
const TABLE: &[(&str, &str, Rules)] = &[
];

fn of(kind: &Kind) -> Rules {
    TABLE.iter().find(|row| (row.0, row.1) == (kind.group, kind.resource)).map_or(LENIENT, |row| row.2)
}

/// The rules that a new object breaks, as it would be stored; `[]` when it may be.
pub fn create(kind: &Kind, object: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    (of(kind).create)(object, &mut errors);
    errors.into_list()
}

/// The rules that the next version of an object breaks, written through a subresource (empty: the object itself).
pub fn update(kind: &Kind, subresource: &str, old: &Value, new: &Value) -> Vec<FieldError> {
    let (mut errors, rules) = (Errors::default(), of(kind));
    match subresource {
        "" => (rules.update)(old, new, &mut errors),
        "status" => (rules.status)(old, new, &mut errors),
        other => {
            if let Some((_, check)) = rules.others.iter().find(|row| row.0 == other) {
                check(old, new, &mut errors);
            }
        }
    }
    errors.into_list()
}

/// The path of an object itself.
pub fn root() -> Path {
    Path::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted() {
        assert!(TABLE.is_sorted_by(|a, b| (a.0, a.1) < (b.0, b.1)));
    }
}

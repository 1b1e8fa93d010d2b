//! Where in an object a rule is broken, and how that is said.
//!
//! Source: k8s.io/apimachinery `pkg/util/validation/field`.

use std::fmt::{self, Write};

use crate::status::{FieldError, FieldErrorKind};
use crate::validate::show::{Show, quoted};

/// A path into an object, e.g. `spec.containers[0].name`; the default is the object itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path(String);

impl Path {
    /// A field below.
    pub fn child(&self, name: &str) -> Path {
        if self.0.is_empty() {
            return Path(name.to_owned());
        }
        let mut path = String::with_capacity(self.0.len() + 1 + name.len());
        path.push_str(&self.0);
        path.push('.');
        path.push_str(name);
        Path(path)
    }

    /// An item of the list that lies here.
    pub fn index(&self, at: usize) -> Path {
        let mut path = String::with_capacity(self.0.len() + 4);
        path.push_str(&self.0);
        // Writing to a String cannot fail.
        let _ = write!(path, "[{at}]");
        Path(path)
    }

    /// An entry of the map that lies here.
    pub fn key(&self, key: &str) -> Path {
        Path(format!("{}[{key}]", self.0))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Broken rules, in the order in which they were found.
#[derive(Debug, Default)]
pub struct Errors(Vec<FieldError>);

impl Errors {
    fn push(&mut self, kind: FieldErrorKind, field: &Path, message: String) {
        self.0.push(FieldError { kind, field: field.0.clone(), message });
    }

    /// Something must be there; `why` may be empty.
    pub fn required(&mut self, field: &Path, why: &str) {
        self.push(FieldErrorKind::Required, field, with("Required value".to_owned(), why));
    }

    /// A value that is not allowed.
    pub fn invalid(&mut self, field: &Path, value: &(impl Show + ?Sized), why: &str) {
        self.push(FieldErrorKind::Invalid, field, with(format!("Invalid value: {}", value.show()), why));
    }

    /// A value about which a check of its form has something to say: nothing, once or several times.
    pub fn malformed(&mut self, field: &Path, value: &(impl Show + ?Sized), messages: &[String]) {
        for message in messages {
            self.invalid(field, value, message);
        }
    }

    /// A word that is none of those supported.
    pub fn not_supported(&mut self, field: &Path, value: &(impl Show + ?Sized), supported: &[&str]) {
        let words: Vec<String> = supported.iter().map(|word| quoted(word)).collect();
        let text = format!("Unsupported value: {}: supported values: {}", value.show(), words.join(", "));
        self.push(FieldErrorKind::NotSupported, field, text);
    }

    /// A value that must be unique and is not.
    pub fn duplicate(&mut self, field: &Path, value: &(impl Show + ?Sized)) {
        self.push(FieldErrorKind::Duplicate, field, format!("Duplicate value: {}", value.show()));
    }

    /// The same, with what must be unique.
    pub fn duplicate_because(&mut self, field: &Path, value: &(impl Show + ?Sized), why: &str) {
        self.push(FieldErrorKind::Duplicate, field, with(format!("Duplicate value: {}", value.show()), why));
    }

    /// Something went wrong while looking.
    pub fn internal(&mut self, field: &Path, why: &str) {
        self.push(FieldErrorKind::Internal, field, with("Internal error".to_owned(), why));
    }

    /// A field that may not be set, or not changed.
    pub fn forbidden(&mut self, field: &Path, why: &str) {
        self.push(FieldErrorKind::Forbidden, field, with("Forbidden".to_owned(), why));
    }

    /// A reference that leads nowhere.
    pub fn not_found(&mut self, field: &Path, value: &(impl Show + ?Sized)) {
        self.not_found_among(field, value, "");
    }

    /// The same, with what it could have led to.
    pub fn not_found_among(&mut self, field: &Path, value: &(impl Show + ?Sized), why: &str) {
        self.push(FieldErrorKind::NotFound, field, with(format!("Not found: {}", value.show()), why));
    }

    /// More than `max` bytes.
    pub fn too_long(&mut self, field: &Path, max: usize) {
        self.push(FieldErrorKind::TooLong, field, format!("Too long: may not be more than {max} bytes"));
    }

    /// More than `max` items.
    pub fn too_many(&mut self, field: &Path, found: usize, max: usize) {
        let items = if max == 1 { "item" } else { "items" };
        self.push(FieldErrorKind::TooMany, field, format!("Too many: {found}: must have at most {max} {items}"));
    }

    /// Whether no rule is broken so far.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many rules are broken so far.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Forgets what was found so far: what follows says it all.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// All of them.
    pub fn into_list(self) -> Vec<FieldError> {
        self.0
    }
}

fn with(text: String, why: &str) -> String {
    if why.is_empty() { text } else { format!("{text}: {why}") }
}

/// What a check says, a line for each broken rule: for the tests of all kinds.
#[cfg(test)]
pub(crate) fn said(check: impl Fn(&mut Errors)) -> Vec<String> {
    let mut errors = Errors::default();
    check(&mut errors);
    errors.into_list().into_iter().map(|error| format!("{}: {}", error.field, error.message)).collect()
}

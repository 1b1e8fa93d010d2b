//! PURE: a body's fields as the fields of a type, as Go's decoder does it, and what it says of those that do not fit.
//!
//! The first value of a wrong type is what the client hears of, after everything was read; values that read themselves
//! (quantities, times) end the reading at once. Source: sigs.k8s.io/json, Go's `encoding/json/decode.go`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::decode::base64 as bytes;
use crate::decode::json::Node;
use crate::decode::time;
use crate::quantity::canonical as quantity;
use crate::schema::{self, Shape, Type, go};

/// Unknown and repeated fields that a client is told of at most.
const STRICT_MAX: usize = 100;

/// An object of a type, and what a strict reader would not take: unknown and repeated fields.
///
/// # Errors
/// What does not fit, as Go says it.
pub fn object(type_name: &str, fields: Vec<(String, Node)>) -> Result<(Map<String, Value>, Vec<String>), String> {
    let mut fitter = Fitter::default();
    let fitted = match schema::named(type_name) {
        Some(kind) => fitter.object(type_name, kind, fields)?,
        None => fields.into_iter().map(|(name, node)| (name, plain(node))).collect(),
    };
    match fitter.wrong {
        None => Ok((fitted, fitter.strict)),
        Some(wrong) => Err(wrong),
    }
}

/// A value as it is written.
pub fn plain(node: Node) -> Value {
    match node {
        Node::Null => Value::Null,
        Node::Bool(held) => held.into(),
        Node::Number(text) => serde_json::from_str(&text).unwrap_or(Value::Null),
        Node::Text(text) => text.into(),
        Node::List(items) => items.into_iter().map(plain).collect(),
        Node::Object(fields) => Value::Object(fields.into_iter().map(|(name, node)| (name, plain(node))).collect()),
    }
}

#[derive(Default)]
struct Fitter {
    /// The struct that is being read.
    owner: String,
    /// The fields that lead here from the whole object.
    path: String,
    /// The same with the places in lists.
    place: String,
    wrong: Option<String>,
    strict: Vec<String>,
}

impl Fitter {
    fn object(
        &mut self,
        name: &str,
        kind: &'static Type,
        fields: Vec<(String, Node)>,
    ) -> Result<Map<String, Value>, String> {
        let owner = std::mem::replace(&mut self.owner, name.rsplit('.').next().unwrap_or(name).to_owned());
        let (mut fitted, mut seen) = (Map::new(), Vec::new());
        for (name, node) in fields {
            let Some((known, field)) = kind.fields.get_key_value(&name) else {
                self.complain("unknown", &name);
                continue;
            };
            if seen.contains(&known) {
                self.complain("duplicate", &name);
            }
            seen.push(known);
            let (path, place) = (self.path.len(), self.place.len());
            join(&mut self.path, &name);
            join(&mut self.place, &name);
            let value = self.value(&field.shape, &field.facts.go.name, node)?;
            self.path.truncate(path);
            self.place.truncate(place);
            match (value, fitted.get_mut(&name)) {
                (Some(Value::Object(more)), Some(Value::Object(held))) => held.extend(more),
                (Some(value), _) => {
                    fitted.insert(name, value);
                }
                (None, _) => {}
            }
        }
        self.owner = owner;
        Ok(fitted)
    }

    /// None: nothing, or what does not fit.
    fn value(&mut self, shape: &Shape, name: &str, node: Node) -> Result<Option<Value>, String> {
        if node == Node::Null {
            return Ok(None);
        }
        Ok(Some(match (shape, node) {
            (Shape::Any, node) => plain(node),
            (Shape::Boolean, Node::Bool(held)) => held.into(),
            (Shape::Object(type_name), Node::Object(fields)) => match schema::named(type_name) {
                Some(kind) => self.object(type_name, kind, fields)?.into(),
                None => plain(Node::Object(fields)),
            },
            (Shape::List(item), Node::List(items)) => self.list(item, go::inner(name), items)?,
            (Shape::Map(inner), Node::Object(entries)) => self.map(inner, name, entries)?,
            (Shape::IntOrString, Node::Text(text)) => text.into(),
            (Shape::IntOrString, Node::Number(number)) => match number.parse::<i32>() {
                Ok(number) => number.into(),
                Err(_) => return Err(self.text(&format!("number {number}"), "int32")),
            },
            (Shape::IntOrString, node) => return Err(self.text(node.sort(), "int32")),
            (Shape::Integer, Node::Number(number)) => match integer(&number, name) {
                Some(number) => number.into(),
                None => return self.unfit(&format!("number {number}"), name),
            },
            (Shape::Number, Node::Number(number)) => plain(Node::Number(number)),
            (Shape::String(format), node) => return self.string(format, name, node),
            (_, node) => return self.unfit(node.sort(), name),
        }))
    }

    fn list(&mut self, item: &Shape, name: &str, items: Vec<Node>) -> Result<Value, String> {
        let place = self.place.len();
        let mut fitted = Vec::with_capacity(items.len());
        for (at, node) in items.into_iter().enumerate() {
            self.place.push_str(&format!("[{at}]"));
            fitted.push(self.value(item, name, node)?.unwrap_or_else(|| go::zero(item)));
            self.place.truncate(place);
        }
        Ok(fitted.into())
    }

    fn map(&mut self, inner: &Shape, name: &str, entries: Vec<(String, Node)>) -> Result<Value, String> {
        // Lists of resources are kept in thousandths.
        let inner_name = if name == "v1.ResourceList" { name } else { go::inner(name) };
        let place = self.place.len();
        let mut fitted = Map::new();
        for (key, node) in entries {
            if fitted.contains_key(&key) {
                self.complain("duplicate", &key);
            }
            join(&mut self.place, &key);
            let value = self.value(inner, inner_name, node)?.unwrap_or_else(|| go::zero(inner));
            self.place.truncate(place);
            fitted.insert(key, value);
        }
        Ok(fitted.into())
    }

    fn string(&mut self, format: &str, name: &str, node: Node) -> Result<Option<Value>, String> {
        Ok(Some(match (format, node) {
            ("quantity", node) => {
                let text = match &node {
                    Node::Text(text) | Node::Number(text) => text.trim(),
                    // No quantity, whatever is in it.
                    _ => "{}",
                };
                quantity::canonical(text, name == "v1.ResourceList")?.into()
            }
            ("date-time", Node::Text(text)) => time::canonical(&text, name.ends_with("MicroTime"))?.into(),
            ("date-time", node) => return Err(self.text(node.sort(), "string")),
            ("byte", Node::Text(text)) => match bytes::decode(&text) {
                Ok(bytes) => STANDARD.encode(bytes).into(),
                Err(at) => {
                    self.wrong.get_or_insert_with(|| format!("illegal base64 data at input byte {at}"));
                    return Ok(None);
                }
            },
            (_, Node::Text(text)) => text.into(),
            (_, node) => return self.unfit(node.sort(), name),
        }))
    }

    fn text(&self, sort: &str, name: &str) -> String {
        format!("json: cannot unmarshal {sort} into Go struct field {}.{} of type {name}", self.owner, self.path)
    }

    fn unfit(&mut self, sort: &str, name: &str) -> Result<Option<Value>, String> {
        if self.wrong.is_none() {
            self.wrong = Some(self.text(sort, name));
        }
        Ok(None)
    }

    fn complain(&mut self, what: &str, name: &str) {
        let mut place = self.place.clone();
        join(&mut place, name);
        let complaint = format!("{what} field {place:?}");
        if self.strict.len() < STRICT_MAX && !self.strict.contains(&complaint) {
            self.strict.push(complaint);
        }
    }
}

fn join(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(name);
}

fn integer(text: &str, name: &str) -> Option<i64> {
    let number: i64 = text.parse().ok()?;
    let fits = match name {
        "int32" => i32::try_from(number).is_ok(),
        "uint8" => u8::try_from(number).is_ok(),
        _ => true,
    };
    fits.then_some(number)
}

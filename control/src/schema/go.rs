//! How Go holds a field. It decides what an absent or empty value looks like once a server has read it, and what error
//! texts call it. Source: the struct tags of k8s.io/api, k8s.io/apimachinery; Go's `encoding/json`.

use serde_json::Value;

use crate::schema::Shape;

/// A field of a struct.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Go {
    /// The name of its type, e.g. `[]v1.Container`; pointers are not told.
    pub name: String,
    /// Behind a pointer: its zero is a value, and nothing stands for its absence.
    pub pointer: bool,
    /// Written although it is empty.
    pub always: bool,
    /// Left out when zero, also where it is a struct.
    pub omit_zero: bool,
    /// What it is when absent.
    pub default: Option<Value>,
}

impl Go {
    /// Takes a word of a line of facts; false when it is none of this sort.
    pub(super) fn word(&mut self, word: &str) -> bool {
        match word.split_once(':') {
            Some(("go", name)) => name.clone_into(&mut self.name),
            Some(("default", value)) => self.default = serde_json::from_str(value).ok(),
            _ => match word {
                "pointer" => self.pointer = true,
                "always" => self.always = true,
                "omitzero" => self.omit_zero = true,
                _ => return false,
            },
        }
        true
    }

    /// What is written of a field that is absent; none: nothing.
    pub fn absent(&self, shape: &Shape) -> Option<Value> {
        if self.default.is_some() {
            return self.default.clone();
        }
        let null = self.always.then_some(Value::Null);
        if self.pointer {
            return null;
        }
        match shape {
            Shape::Object(_) if !self.omit_zero => Some(Value::Object(serde_json::Map::new())),
            Shape::Any if !self.omit_zero => Some(Value::Null),
            Shape::IntOrString => Some(0.into()),
            Shape::String(format) => match format.as_str() {
                "date-time" if !self.omit_zero => Some(Value::Null),
                "quantity" => Some("0".into()),
                "byte" => null,
                _ => self.always.then(|| "".into()),
            },
            Shape::Integer | Shape::Number => self.always.then(|| 0.into()),
            Shape::Boolean => self.always.then(|| false.into()),
            Shape::List(_) | Shape::Map(_) | Shape::Object(_) | Shape::Any => null,
        }
    }

    /// Whether Go leaves the field out when it holds an empty list or map.
    pub fn drops(&self, shape: &Shape) -> bool {
        matches!(shape, Shape::List(_) | Shape::Map(_)) && !self.always && !self.pointer
    }

    /// Whether a value is what the field holds when nothing was said.
    pub fn is_empty(&self, shape: &Shape, value: &Value) -> bool {
        match value {
            Value::Null => true,
            _ if self.pointer || *shape == Shape::Any => false,
            Value::Bool(held) => !held,
            Value::Number(number) => number.as_f64() == Some(0.0),
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            // An empty struct is filled, an empty map is as good as none: what is written of either is told by `absent`.
            Value::Object(fields) => fields.is_empty(),
        }
    }
}

/// What Go holds in a list or map that has no name of its own.
pub fn inner(name: &str) -> &str {
    let rest = name.strip_prefix("[]").or_else(|| Some(name.strip_prefix("map[")?.split_once(']')?.1));
    rest.unwrap_or(name).trim_start_matches('*')
}

/// A value of a shape where `null` stands in a list or map.
pub fn zero(shape: &Shape) -> Value {
    match shape {
        Shape::Object(_) | Shape::Map(_) => Value::Object(serde_json::Map::new()),
        Shape::List(_) | Shape::Any => Value::Null,
        Shape::IntOrString | Shape::Integer | Shape::Number => 0.into(),
        Shape::Boolean => false.into(),
        Shape::String(format) if format == "quantity" => "0".into(),
        Shape::String(format) if format == "date-time" => Value::Null,
        Shape::String(_) => "".into(),
    }
}

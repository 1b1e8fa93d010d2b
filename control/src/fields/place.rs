//! What ownership sees of a type: what is owned as a whole, and what item by item.
//!
//! Source: k8s.io/kube-openapi `schemaconv`, sigs.k8s.io/structured-merge-diff `schema`.

use serde_json::Value;

use crate::schema::{Facts, Field, Shape, Type, named};

/// Where a value stands, as far as its type is concerned.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    /// A whole object.
    Root(&'static Type),
    /// A field, with what is known of it.
    Field(&'static Field),
    /// An item of a list or a map.
    Inside(&'static Shape),
}

/// How a value is owned.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Form {
    /// As a whole.
    Scalar,
    /// As a whole, though it has parts.
    AtomicMap,
    /// The same for a list.
    AtomicList,
    /// Field by field.
    Struct(&'static Type),
    /// Entry by entry.
    Map(Place),
    /// Item by item, told apart by value.
    Set(Place),
    /// Item by item, told apart by these fields.
    Keyed(&'static [String], Place),
}

/// Anything.
static ANY: Shape = Shape::Any;

impl Place {
    /// How a value here is owned; where the type allows anything, the value decides.
    pub(crate) fn form(self, value: &Value) -> Form {
        let (shape, facts) = match self {
            Place::Root(kind) => return Form::Struct(kind),
            Place::Field(field) => (&field.shape, Some(&field.facts)),
            Place::Inside(shape) => (shape, None),
        };
        let atomic = facts.is_some_and(|facts| facts.atomic);
        match shape {
            Shape::Object(name) => match named(name) {
                Some(kind) if atomic || (kind.atomic && !facts.is_some_and(|facts| facts.granular)) => Form::AtomicMap,
                Some(kind) => Form::Struct(kind),
                None => Form::AtomicMap,
            },
            Shape::Map(_) if atomic => Form::AtomicMap,
            Shape::Map(inner) => Form::Map(Place::Inside(inner)),
            Shape::List(item) => list(facts, item),
            // Nobody knows what its parts are.
            Shape::Any => match value {
                Value::Object(_) => Form::AtomicMap,
                Value::Array(_) => Form::AtomicList,
                _ => Form::Scalar,
            },
            Shape::String(_) | Shape::Integer | Shape::Number | Shape::Boolean | Shape::IntOrString => Form::Scalar,
        }
    }

    /// What the type says, whatever stands here.
    pub(crate) fn shape(self) -> Option<&'static Shape> {
        match self {
            Place::Root(_) => None,
            Place::Field(field) => Some(&field.shape),
            Place::Inside(shape) => Some(shape),
        }
    }

    /// The type of the objects here.
    pub(crate) fn kind(self) -> Option<&'static Type> {
        match (self, self.shape()) {
            (Place::Root(kind), _) => Some(kind),
            (_, Some(Shape::Object(name))) => named(name),
            _ => None,
        }
    }
}

fn list(facts: Option<&'static Facts>, item: &'static Shape) -> Form {
    let item = Place::Inside(item);
    match facts {
        Some(facts) if !facts.map_keys.is_empty() => Form::Keyed(&facts.map_keys, item),
        Some(Facts { set: true, .. }) => Form::Set(item),
        Some(Facts { atomic: true, .. }) | None => Form::AtomicList,
        // What strategic merge patches merge is not replaced here either.
        Some(Facts { merge: Some(key), .. }) if key.is_empty() => Form::Set(item),
        Some(Facts { merge: Some(key), .. }) => Form::Keyed(std::slice::from_ref(key), item),
        Some(_) => Form::AtomicList,
    }
}

/// A field of a type; what the type does not know may be anything.
pub(crate) fn below(kind: &'static Type, name: &str) -> Place {
    kind.fields.get(name).map_or(Place::Inside(&ANY), Place::Field)
}

/// Nothing, or as good as nothing.
pub(crate) fn vacant(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Object(fields)) => fields.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        Some(_) => false,
    }
}

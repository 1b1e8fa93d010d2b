//! What objects are made of: the types of `k8s-openapi`, with the facts about fields that they lack.
//!
//! `facts.txt` is made by `cargo run -p xtask -- schema`: per field its patch strategy and merge key, how a list is keyed,
//! what is atomic, and how Go holds it (`go`). The types come from the kinds of the table when first asked for.

pub mod go;
mod guess;
pub mod protobuf;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::DeleteOptions;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::Value;

use crate::kind::{self, ALL, BODIES, Kind};

/// Where references of generated schemas point.
const PREFIX: &str = "#/components/schemas/";

/// A type: an object with named fields.
#[derive(Debug, Default)]
pub struct Type {
    /// Its fields by name.
    pub fields: BTreeMap<String, Field>,
    /// Changes only as a whole when applied.
    pub atomic: bool,
}

/// A field of a type.
#[derive(Debug)]
pub struct Field {
    /// What it holds.
    pub shape: Shape,
    /// The facts about it.
    pub facts: Facts,
    /// An object without it is invalid.
    pub required: bool,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// Text; the format where it has one, e.g. `byte`, `date-time`.
    String(String),
    /// A whole number.
    Integer,
    /// Any number.
    Number,
    /// True or false.
    Boolean,
    /// Text or a whole number.
    IntOrString,
    /// Anything.
    Any,
    /// An object of a type.
    Object(String),
    /// A list of one shape.
    List(Box<Shape>),
    /// An object with free names.
    Map(Box<Shape>),
}

/// What OpenAPI's extensions say of a field.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Facts {
    /// Strategic merge patches merge the list, by this key; empty for lists of plain values.
    pub merge: Option<String>,
    /// Strategic merge patches drop keys that they do not retain.
    pub retain_keys: bool,
    /// Strategic merge patches replace the value.
    pub replace: bool,
    /// A list whose items are told apart by these fields.
    pub map_keys: Vec<String>,
    /// A list that holds each value once.
    pub set: bool,
    /// Changes only as a whole when applied.
    pub atomic: bool,
    /// Changes field by field when applied, although its type is atomic.
    pub granular: bool,
    /// How Go holds it.
    pub go: go::Go,
}

/// All types, by name, and their JSON schemas.
pub struct Types {
    types: BTreeMap<String, Type>,
    documents: BTreeMap<String, Value>,
}

static TYPES: LazyLock<Types> = LazyLock::new(Types::build);

/// The type of a kind's objects.
///
/// # Panics
/// Never: every row of the table brings its type.
pub fn of(kind: &Kind) -> &'static Type {
    named(&(kind.type_name)()).expect("the table's types are generated")
}

/// The name of the type of bodies with this `apiVersion` and `kind`.
pub fn type_name(api_version: &str, name: &str) -> Option<String> {
    match kind::named(api_version, name) {
        Some(kind) => Some((kind.type_name)().into_owned()),
        // Served in every group.
        None if name == "DeleteOptions" => Some(DeleteOptions::schema_name().into_owned()),
        None => None,
    }
}

/// A type by its name in OpenAPI documents.
pub fn named(name: &str) -> Option<&'static Type> {
    TYPES.types.get(name)
}

/// The JSON schema of a type, with the extensions of its fields; references point into `#/components/schemas/`.
pub fn document(name: &str) -> Option<&'static Value> {
    TYPES.documents.get(name)
}

/// An object of a kind as JSON in the order in which Go writes its fields, but for those of the object itself, which come
/// by name.
pub fn written(kind: &Kind, object: &Value) -> String {
    let Value::Object(fields) = object else { return object.to_string() };
    let of = named(&(kind.type_name)());
    members(fields.iter().map(|(name, value)| (name, shape_of(of, name), value)))
}

fn ordered(shape: Option<&Shape>, value: &Value) -> String {
    match (shape, value) {
        (Some(Shape::Object(name)), Value::Object(fields)) => {
            let (of, declared) = (named(name), protobuf::declared(name));
            let place = |field: &str| declared.iter().position(|name| *name == field).unwrap_or(usize::MAX);
            let mut all: Vec<(&String, &Value)> = fields.iter().collect();
            all.sort_by_key(|(field, _)| place(field));
            members(all.into_iter().map(|(name, value)| (name, shape_of(of, name), value)))
        }
        (Some(Shape::List(item)), Value::Array(items)) => {
            format!("[{}]", items.iter().map(|value| ordered(Some(item), value)).collect::<Vec<_>>().join(","))
        }
        (Some(Shape::Map(inner)), Value::Object(fields)) => {
            members(fields.iter().map(|(name, value)| (name, Some(&**inner), value)))
        }
        _ => value.to_string(),
    }
}

fn shape_of<'a>(of: Option<&'a Type>, field: &str) -> Option<&'a Shape> {
    of.and_then(|of| of.fields.get(field)).map(|field| &field.shape)
}

fn members<'a>(all: impl Iterator<Item = (&'a String, Option<&'a Shape>, &'a Value)>) -> String {
    let one = |(name, shape, value): (&String, Option<&Shape>, &Value)| {
        format!("{}:{}", Value::from(name.as_str()), ordered(shape, value))
    };
    format!("{{{}}}", all.map(one).collect::<Vec<_>>().join(","))
}

impl Types {
    fn build() -> Types {
        let mut settings = SchemaSettings::draft2020_12();
        settings.definitions_path = PREFIX.trim_start_matches('#').trim_end_matches('/').to_owned().into();
        settings.meta_schema = None;
        let mut generator = SchemaGenerator::new(settings);
        let mut documents: BTreeMap<String, Value> = BTreeMap::new();
        for kind in ALL.iter().chain(BODIES) {
            documents.insert((kind.type_name)().into_owned(), (kind.schema)(&mut generator).to_value());
        }
        generator.subschema_for::<DeleteOptions>();
        documents.extend(generator.take_definitions(true));
        let facts = facts();
        let types = documents.iter().map(|(name, document)| (name.clone(), parse(name, document, &facts))).collect();
        for (name, document) in &mut documents {
            extend(name, document, &facts);
        }
        Types { types, documents }
    }
}

/// Facts by type and field; the field `*` stands for the type itself.
type AllFacts = BTreeMap<(String, String), Facts>;

fn facts() -> AllFacts {
    let line = |line: &str| {
        let (name, rest) = line.split_once(' ')?;
        let (field, words) = rest.split_once(' ')?;
        Some(((name.to_owned(), field.to_owned()), parse_facts(words)))
    };
    include_str!("facts.txt").lines().filter_map(line).collect()
}

fn parse_facts(words: &str) -> Facts {
    let mut facts = Facts::default();
    for word in words.split_whitespace() {
        match word.split_once(':') {
            Some(("merge", key)) => facts.merge = Some(key.to_owned()),
            Some(("go" | "default", _)) => {
                facts.go.word(word);
            }
            Some(("map", keys)) => facts.map_keys = keys.split(',').map(str::to_owned).collect(),
            _ => match word {
                "retainKeys" => facts.retain_keys = true,
                "replace" => facts.replace = true,
                "set" => facts.set = true,
                "atomic" => facts.atomic = true,
                "granular" => facts.granular = true,
                other => {
                    facts.go.word(other);
                }
            },
        }
    }
    facts
}

fn parse(name: &str, document: &Value, facts: &AllFacts) -> Type {
    let of = |field: &str| facts.get(&(name.to_owned(), field.to_owned())).cloned().unwrap_or_default();
    let required =
        |field: &str| document["required"].as_array().is_some_and(|all| all.iter().any(|name| name == field));
    let fields = document["properties"].as_object().into_iter().flatten().map(|(field, schema)| {
        let mut facts = of(field);
        if facts.go.name.is_empty() {
            facts.go.name = guess::guess(schema);
        }
        (field.clone(), Field { shape: shape(schema), facts, required: required(field) })
    });
    Type { fields: fields.collect(), atomic: of("*").atomic }
}

fn shape(schema: &Value) -> Shape {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.trim_start_matches(PREFIX);
        return match name.rsplit('.').next() {
            Some("IntOrString") => Shape::IntOrString,
            Some("Quantity") => Shape::String("quantity".to_owned()),
            Some("Time" | "MicroTime") => Shape::String("date-time".to_owned()),
            Some("FieldsV1" | "RawExtension" | "JSON") => Shape::Any,
            _ => Shape::Object(name.to_owned()),
        };
    }
    match schema["type"].as_str() {
        Some("string") => Shape::String(schema["format"].as_str().unwrap_or_default().to_owned()),
        Some("integer") => Shape::Integer,
        Some("number") => Shape::Number,
        Some("boolean") => Shape::Boolean,
        Some("array") => Shape::List(Box::new(shape(&schema["items"]))),
        Some("object") if schema["additionalProperties"].is_object() => {
            Shape::Map(Box::new(shape(&schema["additionalProperties"])))
        }
        _ => Shape::Any,
    }
}

/// Writes the facts back as the extensions that clients look for.
fn extend(name: &str, document: &mut Value, facts: &AllFacts) {
    for (field, schema) in document["properties"].as_object_mut().into_iter().flatten() {
        let Some(facts) = facts.get(&(name.to_owned(), field.clone())) else { continue };
        let strategies: Vec<&str> =
            [(facts.merge.is_some(), "merge"), (facts.retain_keys, "retainKeys"), (facts.replace, "replace")]
                .iter()
                .filter_map(|(held, word)| held.then_some(*word))
                .collect();
        if !strategies.is_empty() {
            schema["x-kubernetes-patch-strategy"] = strategies.join(",").into();
        }
        if let Some(key) = facts.merge.as_ref().filter(|key| !key.is_empty()) {
            schema["x-kubernetes-patch-merge-key"] = key.clone().into();
        }
        if !facts.map_keys.is_empty() {
            schema["x-kubernetes-list-type"] = "map".into();
            schema["x-kubernetes-list-map-keys"] = facts.map_keys.clone().into();
        } else if facts.set || facts.atomic {
            let word = if facts.set { "set" } else { "atomic" };
            let list = schema["type"] == "array";
            schema[if list { "x-kubernetes-list-type" } else { "x-kubernetes-map-type" }] = word.into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_know_their_fields_and_how_lists_merge() {
        let pod = of(kind::core("pods"));
        let Shape::Object(spec) = &pod.fields["spec"].shape else { panic!("{:?}", pod.fields["spec"]) };
        let spec = named(spec).expect("held by pods");
        let containers = &spec.fields["containers"];
        assert_eq!(containers.shape, Shape::List(Box::new(Shape::Object("io.k8s.api.core.v1.Container".to_owned()))));
        assert_eq!((containers.facts.merge.as_deref(), containers.required), (Some("name"), true));
        assert!(spec.fields["volumes"].facts.retain_keys);
        let ports = &named("io.k8s.api.core.v1.Container").expect("held by pods").fields["ports"];
        assert_eq!(ports.facts.map_keys, ["containerPort", "protocol"]);
        let document = document("io.k8s.api.core.v1.PodSpec").expect("held by pods");
        assert_eq!(document["properties"]["containers"]["x-kubernetes-patch-merge-key"], "name");
    }

    #[test]
    fn every_reference_leads_somewhere() {
        for (name, held) in &TYPES.types {
            for (field, Field { shape, .. }) in &held.fields {
                let mut shape = shape;
                while let Shape::List(inner) | Shape::Map(inner) = shape {
                    shape = inner;
                }
                if let Shape::Object(target) = shape {
                    assert!(named(target).is_some(), "{name}.{field} leads to {target}");
                }
            }
        }
    }
}

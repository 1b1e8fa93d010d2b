//! What an object is before anybody has said anything.
//!
//! Kubernetes' objects are structs: some of their fields are there whatever a client says, and nobody owns those.
//! Source: the struct tags of k8s.io/api; sigs.k8s.io/structured-merge-diff `value/reflectcache.go`.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::{Map, Value};

use crate::kind::{ALL, BODIES, Kind};
use crate::schema::go::Go;
use crate::schema::{self, Shape, Type};

static EMPTY: LazyLock<HashMap<String, Value>> = LazyLock::new(|| {
    let one = |kind: &Kind| ((kind.type_name)().into_owned(), of_type(schema::of(kind)).into());
    ALL.iter().chain(BODIES).map(one).collect()
});

/// An object of a kind that nobody has written to.
pub(crate) fn of(kind: &Kind) -> &'static Value {
    static NOTHING: Value = Value::Null;
    EMPTY.get(&*(kind.type_name)()).unwrap_or(&NOTHING)
}

fn of_type(kind: &Type) -> Map<String, Value> {
    let mut object = Map::new();
    for (name, field) in &kind.fields {
        // Defaults are not filled in yet.
        let go = Go { default: None, ..field.facts.go.clone() };
        let Some(value) = go.absent(&field.shape) else { continue };
        let value = match (&field.shape, value) {
            (Shape::Object(inner), Value::Object(_)) => schema::named(inner).map(of_type).unwrap_or_default().into(),
            (_, value) => value,
        };
        object.insert(name.clone(), value);
    }
    object
}

/// What a key of an item is when the item does not say it.
pub(crate) fn of_key(kind: &Type, key: &str) -> Option<Value> {
    let field = kind.fields.get(key)?;
    field.facts.go.absent(&field.shape).filter(|value| !value.is_null())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind;
    use serde_json::json;

    #[test]
    fn structs_are_there_and_pointers_are_not() {
        let deployment = of(kind::find("apps", "v1", "deployments").expect("a row"));
        assert_eq!(deployment["spec"]["strategy"], json!({}));
        assert_eq!(deployment["spec"]["selector"], Value::Null);
        assert_eq!(deployment["spec"]["template"]["spec"]["containers"], Value::Null);
        assert!(deployment["spec"].get("replicas").is_none());
        assert!(of(kind::core("configmaps")).get("data").is_none());
    }
}

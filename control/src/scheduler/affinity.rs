//! PURE: node selectors and node affinity. Source: k8s.io/component-helpers `scheduling/corev1/nodeaffinity`.

use serde_json::Value;

use super::nodes::Node;

/// Whether any term of a `NodeSelector` takes a node; an empty term takes none.
pub(super) fn selected(selector: &Value, node: &Node) -> bool {
    selector["nodeSelectorTerms"].as_array().is_some_and(|terms| terms.iter().any(|term| takes(term, node)))
}

/// Whether all expressions of a term hold.
pub(super) fn takes(term: &Value, node: &Node) -> bool {
    let list = |field: &str| term[field].as_array().cloned().unwrap_or_default();
    let (expressions, fields) = (list("matchExpressions"), list("matchFields"));
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    expressions.iter().all(|expression| holds(expression, node.label(expression["key"].as_str().unwrap_or_default())))
        && fields.iter().all(|field| field["key"] == "metadata.name" && holds(field, Some(&node.name)))
}

fn holds(expression: &Value, value: Option<&str>) -> bool {
    let among =
        |value: &str| expression["values"].as_array().is_some_and(|values| values.iter().any(|held| held == value));
    let number = |value: &Value| value.as_str().and_then(|text| text.parse::<i64>().ok());
    let compared = |greater: bool| {
        let (held, bound) = (value.and_then(|value| value.parse::<i64>().ok()), number(&expression["values"][0]));
        held.zip(bound).is_some_and(|(held, bound)| if greater { held > bound } else { held < bound })
    };
    match expression["operator"].as_str() {
        Some("In") => value.is_some_and(among),
        Some("NotIn") => value.is_none_or(|value| !among(value)),
        Some("Exists") => value.is_some(),
        Some("DoesNotExist") => value.is_none(),
        Some("Gt") => compared(true),
        Some("Lt") => compared(false),
        _ => false,
    }
}

//! PURE: label and field selectors.
//!
//! Source: k8s.io/apimachinery `labels/selector.go`, `fields/selector.go`.

use serde_json::{Map, Value};

use crate::kind::Kind;
use crate::status::Status;

/// One requirement on labels.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

/// A label selector; the empty one matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(Vec<Requirement>);

impl Labels {
    /// Reads `a=b,c!=d,e in (f,g),h notin (i),j,!k`.
    ///
    /// # Errors
    /// 400 with what is wrong.
    pub fn parse(text: &str) -> Result<Labels, Status> {
        let wrong = |part: &str| {
            Status::bad_request(format!("unable to parse requirement: found '{part}', expected: a requirement"))
        };
        let mut requirements = Vec::new();
        for part in split(text) {
            let part = part.trim();
            if part.is_empty() {
                continue;
            }
            requirements.push(requirement(part).ok_or_else(|| wrong(part))?);
        }
        Ok(Labels(requirements))
    }

    /// Reads a `metav1.LabelSelector`; none for an absent one, which matches nothing.
    pub fn of(selector: &Value) -> Option<Labels> {
        let selector = selector.as_object()?;
        let plain = selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten();
        let plain =
            plain.map(|(key, value)| Requirement::In(key.clone(), vec![value.as_str().unwrap_or_default().to_owned()]));
        let expressions = selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten();
        let expressions = expressions.filter_map(|expression| {
            let key = expression["key"].as_str()?.to_owned();
            let values = expression["values"].as_array().into_iter().flatten();
            let values = values.filter_map(|value| value.as_str().map(str::to_owned)).collect();
            match expression["operator"].as_str()? {
                "In" => Some(Requirement::In(key, values)),
                "NotIn" => Some(Requirement::NotIn(key, values)),
                "Exists" => Some(Requirement::Exists(key)),
                "DoesNotExist" => Some(Requirement::Absent(key)),
                _ => None,
            }
        });
        Some(Labels(plain.chain(expressions).collect()))
    }

    /// Whether labels fulfil every requirement.
    pub fn matches(&self, labels: Option<&Map<String, Value>>) -> bool {
        let value = |key: &str| labels.and_then(|labels| labels.get(key)).and_then(Value::as_str);
        self.0.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => value(key).is_some_and(|held| values.iter().any(|value| value == held)),
            Requirement::NotIn(key, values) => value(key).is_none_or(|held| values.iter().all(|value| value != held)),
            Requirement::Exists(key) => value(key).is_some(),
            Requirement::Absent(key) => value(key).is_none(),
        })
    }
}

/// A `metav1.LabelSelector` as text, requirements in the order of their keys.
pub fn printed(selector: &Value) -> String {
    let Some(Labels(mut requirements)) = Labels::of(selector) else { return String::new() };
    let key = |requirement: &Requirement| match requirement {
        Requirement::In(key, _) | Requirement::NotIn(key, _) | Requirement::Exists(key) | Requirement::Absent(key) => {
            key.clone()
        }
    };
    requirements.sort_by_cached_key(key);
    let list = |values: &[String]| {
        let mut values = values.to_vec();
        values.sort();
        values.join(",")
    };
    let plain = selector["matchLabels"].as_object();
    let each = requirements.iter().map(|requirement| match requirement {
        Requirement::In(key, values) if plain.is_some_and(|plain| plain.contains_key(key)) => {
            format!("{key}={}", values.join(","))
        }
        Requirement::In(key, values) => format!("{key} in ({})", list(values)),
        Requirement::NotIn(key, values) => format!("{key} notin ({})", list(values)),
        Requirement::Exists(key) => key.clone(),
        Requirement::Absent(key) => format!("!{key}"),
    });
    each.collect::<Vec<_>>().join(",")
}

/// At commas outside of parentheses.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_u32, 0);
    for (at, letter) in text.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn requirement(part: &str) -> Option<Requirement> {
    let key = |text: &str| {
        let text = text.trim();
        let plain = text.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_./".contains(letter));
        (plain && !text.is_empty()).then(|| text.to_owned())
    };
    if let Some(absent) = part.strip_prefix('!') {
        return Some(Requirement::Absent(key(absent)?));
    }
    if let Some((name, values)) = part.split_once("!=") {
        return Some(Requirement::NotIn(key(name)?, vec![values.trim().to_owned()]));
    }
    if let Some((name, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Some(Requirement::In(key(name)?, vec![value.trim().to_owned()]));
    }
    if let Some((head, values)) = part.strip_suffix(')').and_then(|part| part.split_once('(')) {
        let values = values.split(',').map(|value| value.trim().to_owned()).collect();
        let (name, operator) = head.trim().split_once(char::is_whitespace)?;
        return match operator.trim() {
            "in" => Some(Requirement::In(key(name)?, values)),
            "notin" => Some(Requirement::NotIn(key(name)?, values)),
            _ => None,
        };
    }
    Some(Requirement::Exists(key(part)?))
}

/// Fields that a kind's objects can be selected by, besides name and namespace.
const FIELDS: &[(&str, &str, &[&str])] = &[
    (
        "",
        "events",
        &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
    ),
    ("", "namespaces", &["status.phase"]),
    ("", "nodes", &["spec.unschedulable"]),
    (
        "",
        "pods",
        &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
    ),
    ("", "secrets", &["type"]),
    ("", "services", &["spec.clusterIP", "spec.type"]),
    ("apps", "replicasets", &["status.replicas"]),
];

/// A field selector: path, wanted value, and whether it must differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(Vec<(String, String, bool)>);

impl Fields {
    /// Reads `metadata.name=a,status.phase!=b`.
    ///
    /// # Errors
    /// 400 for fields that the kind cannot be selected by.
    pub fn parse(kind: &Kind, text: &str) -> Result<Fields, Status> {
        let own = FIELDS.iter().find(|(group, resource, _)| *group == kind.group && *resource == kind.resource);
        let mut fields = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (path, value, differs) = if let Some((path, value)) = part.split_once("!=") {
                (path, value, true)
            } else if let Some((path, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
                (path, value, false)
            } else {
                return Err(Status::bad_request(format!("invalid selector: '{text}'; can't understand '{part}'")));
            };
            let common = path == "metadata.name" || (kind.namespaced && path == "metadata.namespace");
            if !common && !own.is_some_and(|(_, _, paths)| paths.contains(&path)) {
                return Err(Status::bad_request(format!("field label not supported: {path}")));
            }
            fields.push((path.to_owned(), value.to_owned(), differs));
        }
        Ok(Fields(fields))
    }

    /// Whether an object fulfils every requirement.
    pub fn matches(&self, object: &Value) -> bool {
        self.0.iter().all(|(path, wanted, differs)| (text(object, path) == *wanted) != *differs)
    }

    /// The one name that can match, if the selector fixes it.
    pub fn name(&self) -> Option<&str> {
        let fixed = self.0.iter().find(|(path, _, differs)| path == "metadata.name" && !differs);
        fixed.map(|(_, name, _)| name.as_str())
    }
}

fn text(object: &Value, path: &str) -> String {
    match path.split('.').fold(object, |value, part| &value[part]) {
        Value::String(text) => text.clone(),
        Value::Null if path.ends_with("unschedulable") || path.ends_with("hostNetwork") => "false".to_owned(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kind;

    #[test]
    fn labels_select() {
        let labels = json!({ "app": "web", "tier": "front" });
        let matches = |text: &str| Labels::parse(text).expect("reads").matches(labels.as_object());
        for text in
            ["", "app=web", "app==web,tier!=back", "app in (api, web)", "tier notin (back)", "app", "!gone", "gone!=x"]
        {
            assert!(matches(text), "{text}");
        }
        for text in ["app=api", "app in (api)", "tier notin (front)", "gone", "!app", "gone=x"] {
            assert!(!matches(text), "{text}");
        }
        assert!(Labels::parse("a b").is_err() && Labels::parse("=x").is_err());
    }

    #[test]
    fn fields_select_only_what_the_kind_offers() {
        let pod = json!({ "metadata": { "name": "p" }, "spec": { "nodeName": "n" }, "status": { "phase": "Running" } });
        let parse = |text: &str| Fields::parse(kind::core("pods"), text);
        assert!(parse("spec.nodeName=n,status.phase!=Failed").expect("reads").matches(&pod));
        assert!(!parse("spec.nodeName=").expect("reads").matches(&pod));
        assert_eq!(parse("metadata.name=p").expect("reads").name(), Some("p"));
        assert_eq!(parse("spec.image=x").expect_err("unknown").message, "field label not supported: spec.image");
    }
}

//! PURE: field selectors, and what each kind can be selected by.
//!
//! Source: k8s.io/apimachinery `pkg/fields/selector.go`, `pkg/runtime/conversion.go`; k8s.io/kubernetes
//! `pkg/apis/core/v1/conversion.go` and the strategies' `GetAttrs`.

use serde_json::Value;

use crate::kind::Kind;
use crate::status::Status;

/// Fields that objects of a kind with a list of its own can be selected by; every other kind by name and namespace.
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
            "metadata.namespace",
            "metadata.name",
        ],
    ),
    ("", "namespaces", &["status.phase", "metadata.name"]),
    ("", "nodes", &["metadata.name", "spec.unschedulable"]),
    (
        "",
        "pods",
        &[
            "metadata.name",
            "metadata.namespace",
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
        ],
    ),
    ("", "secrets", &["type", "metadata.namespace", "metadata.name"]),
    ("", "services", &["metadata.namespace", "metadata.name", "spec.clusterIP", "spec.type"]),
    (
        "events.k8s.io",
        "events",
        &[
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "regarding.apiVersion",
            "regarding.resourceVersion",
            "regarding.fieldPath",
            "reason",
            "reportingController",
            "type",
            "metadata.namespace",
            "metadata.name",
        ],
    ),
];

/// Names that a field had in the first versions of a kind.
const OLD_NAMES: &[(&str, &str, &str)] =
    &[("pods", "spec.host", "spec.nodeName"), ("namespaces", "name", "metadata.name")];

/// One requirement on a field.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    path: String,
    value: String,
    differs: bool,
}

/// A field selector; the empty one matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(Vec<Term>);

impl Fields {
    /// Reads `metadata.name=a,status.phase!=b`.
    ///
    /// # Errors
    /// 400 for fields that the kind cannot be selected by, and for what is no selector.
    pub fn parse(kind: &Kind, text: &str) -> Result<Fields, Status> {
        let mut parts = split(text);
        parts.sort_unstable();
        let parts = parts.into_iter().filter(|part| !part.is_empty());
        let terms = parts.map(|part| term(kind, text, part)).collect::<Result<_, _>>();
        terms.map(Fields).map_err(Status::bad_request)
    }

    /// Whether every object matches.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an object fulfils every requirement.
    pub fn matches(&self, object: &Value) -> bool {
        self.0.iter().all(|term| (field(object, &term.path) == term.value) != term.differs)
    }

    /// Whether an object fulfils every requirement, as far as its name and namespace tell; none: they do not.
    pub fn by_name(&self, namespace: &str, name: &str) -> Option<bool> {
        let mut sure = true;
        for term in &self.0 {
            let held = match term.path.as_str() {
                "metadata.name" => name,
                "metadata.namespace" => namespace,
                _ => {
                    sure = false;
                    continue;
                }
            };
            if (held == term.value) == term.differs {
                return Some(false);
            }
        }
        sure.then_some(true)
    }

    /// The one name that can match, if the selector fixes it.
    pub fn name(&self) -> Option<&str> {
        let fixed = self.0.iter().find(|term| term.path == "metadata.name" && !term.differs);
        fixed.map(|term| term.value.as_str())
    }
}

/// At commas that are not escaped.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut escaped) = (Vec::new(), 0, false);
    for (at, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn term(kind: &Kind, whole: &str, part: &str) -> Result<Term, String> {
    let at = part.find(['=', '!']);
    let at = at
        .and_then(|first| (first..part.len()).find(|at| part[*at..].starts_with("!=") || part[*at..].starts_with('=')));
    let Some(at) = at else { return Err(format!("invalid selector: '{whole}'; can't understand '{part}'")) };
    let (path, rest) = part.split_at(at);
    let differs = rest.starts_with('!');
    let value = ["!=", "==", "="].iter().find_map(|sign| rest.strip_prefix(sign)).unwrap_or_default();
    Ok(Term { path: known(kind, path)?, value: unescaped(value)?, differs })
}

/// A field that the kind can be selected by, under its present name.
fn known(kind: &Kind, path: &str) -> Result<String, String> {
    let own = FIELDS.iter().find(|(group, resource, _)| *group == kind.group && *resource == kind.resource);
    let Some((_, _, paths)) = own else {
        return if matches!(path, "metadata.name" | "metadata.namespace") {
            Ok(path.to_owned())
        } else {
            Err(format!("{path:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""))
        };
    };
    let old =
        OLD_NAMES.iter().find(|(resource, old, _)| kind.group.is_empty() && *resource == kind.resource && *old == path);
    match old {
        Some((_, _, new)) => Ok((*new).to_owned()),
        None if paths.contains(&path) => Ok(path.to_owned()),
        None => Err(format!("field label not supported: {path}")),
    }
}

fn unescaped(text: &str) -> Result<String, String> {
    let (mut value, mut letters) = (String::with_capacity(text.len()), text.chars());
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some(next @ ('\\' | ',' | '=')) => value.push(next),
                Some(next) => return Err(format!("invalid field selector: invalid escape sequence: \\{next}")),
                None => return Err("invalid field selector: invalid escape sequence: \\".to_owned()),
            },
            ',' | '=' => {
                return Err(format!("invalid field selector: unescaped character in value: {}", u32::from(letter)));
            }
            _ => value.push(letter),
        }
    }
    Ok(value)
}

/// What an object shows under a field; empty where it shows nothing.
fn field(object: &Value, path: &str) -> String {
    let at = |path: &str| path.split('.').fold(object, |value, part| &value[part]);
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    match path {
        "spec.hostNetwork" | "spec.unschedulable" => (at(path) == &Value::Bool(true)).to_string(),
        "status.podIP" => match &object["status"]["podIPs"][0]["ip"] {
            Value::Null => text(at(path)),
            first => text(first),
        },
        // Known, but never filled in.
        "status.podIPs" => String::new(),
        "source" => match object["source"]["component"].as_str() {
            Some(component) if !component.is_empty() => component.to_owned(),
            _ => text(&object["reportingComponent"]),
        },
        _ => text(at(path)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kind;

    fn refusal(resource: &str, text: &str) -> String {
        Fields::parse(kind::core(resource), text).expect_err(text).message
    }

    #[test]
    fn fields_select_only_what_the_kind_offers() {
        let pod = json!({ "metadata": { "name": "p" }, "spec": { "nodeName": "n" }, "status": { "phase": "Running" } });
        let takes = |text: &str| Fields::parse(kind::core("pods"), text).expect("reads").matches(&pod);
        assert!(takes("spec.nodeName=n,status.phase!=Failed") && takes("spec.host==n") && takes("status.podIPs!=x"));
        assert!(takes("spec.hostNetwork=false") && !takes("spec.nodeName=") && !takes("spec.hostNetwork=true"));
        let named = Fields::parse(kind::core("pods"), "metadata.name=p").expect("reads");
        assert_eq!(
            (named.name(), named.by_name("x", "p"), named.by_name("x", "q")),
            (Some("p"), Some(true), Some(false))
        );
        assert_eq!(refusal("pods", "spec.image=x"), "field label not supported: spec.image");
        assert_eq!(refusal("nodes", "metadata.namespace=x"), "field label not supported: metadata.namespace");
        let only = "\"spec.bogus\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"";
        assert_eq!(refusal("configmaps", "spec.bogus=x"), only);
    }

    #[test]
    fn values_are_escaped() {
        let named =
            |text: &str| Fields::parse(kind::core("configmaps"), text).map(|fields| fields.name().map(str::to_owned));
        assert_eq!(named("metadata.name=a\\,b"), Ok(Some("a,b".to_owned())));
        let refusal = |text| refusal("configmaps", text);
        assert_eq!(refusal("metadata.name"), "invalid selector: 'metadata.name'; can't understand 'metadata.name'");
        assert_eq!(refusal("metadata.name=a=b"), "invalid field selector: unescaped character in value: 61");
        assert_eq!(refusal("metadata.name=a\\b"), "invalid field selector: invalid escape sequence: \\b");
        assert_eq!(refusal("metadata.name=a\\"), "invalid field selector: invalid escape sequence: \\");
    }

    #[test]
    fn an_event_is_selected_by_who_reported_it() {
        let event = json!({ "reportingComponent": "k" });
        let takes = |text: &str| Fields::parse(kind::core("events"), text).expect("reads").matches(&event);
        assert!(takes("source=k") && takes("reportingComponent=k") && !takes("source!=k"));
    }
}

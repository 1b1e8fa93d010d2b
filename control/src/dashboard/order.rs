//! PURE: what a user asks for, as requests to the API; and what the API says against it.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::dashboard::place::encode;
use crate::kind::Kind;
use crate::registry::removal::rfc3339;
use crate::status::Status;

/// Names the dashboard among those who manage an object's fields.
const MANAGER: &str = "raftsman-dashboard";

/// A request to the API, made in the user's name.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// HTTP method.
    pub method: &'static str,
    /// Path and query.
    pub path: String,
    /// How the body is written.
    pub media_type: &'static str,
    /// Null: none.
    pub body: Value,
}

/// What the API said instead of doing it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub code: u16,
    /// The text for people.
    pub message: String,
    /// Resource that the message is about, as `details.kind` names it.
    pub about: String,
    /// Broken rules: field and text.
    pub causes: Vec<(String, String)>,
}

impl Refusal {
    /// Reads a `Status`.
    pub fn parse(status: &Value) -> Refusal {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let causes = status["details"]["causes"].as_array().into_iter().flatten();
        Refusal {
            code: status["code"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or(500),
            message: text(&status["message"]),
            about: text(&status["details"]["kind"]),
            causes: causes.map(|cause| (text(&cause["field"]), text(&cause["message"]))).collect(),
        }
    }
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Refusal {
        Refusal::parse(&status.to_json())
    }
}

/// Where a collection lies.
pub fn collection(kind: &Kind, namespace: &str) -> String {
    let root = if kind.group.is_empty() { "/api" } else { "/apis" };
    let namespace = if kind.namespaced { format!("/namespaces/{}", encode(namespace)) } else { String::new() };
    format!("{root}/{}{namespace}/{}", kind.api_version(), kind.resource)
}

/// Where an object lies.
pub fn object(kind: &Kind, namespace: &str, name: &str) -> String {
    format!("{}/{}", collection(kind, namespace), encode(name))
}

/// Sets how many there shall be.
pub fn scale(kind: &Kind, namespace: &str, name: &str, replicas: i32) -> Order {
    Order {
        method: "PATCH",
        path: format!("{}/scale", object(kind, namespace, name)),
        media_type: "application/merge-patch+json",
        body: json!({ "spec": { "replicas": replicas } }),
    }
}

/// Replaces every pod, as `kubectl rollout restart` does (kubectl `pkg/polymorphichelpers/objectrestarter.go`).
pub fn restart(kind: &Kind, namespace: &str, name: &str, now: Timestamp) -> Order {
    let annotations = json!({ "kubectl.kubernetes.io/restartedAt": rfc3339(now) });
    Order {
        method: "PATCH",
        path: object(kind, namespace, name),
        media_type: "application/strategic-merge-patch+json",
        body: json!({ "spec": { "template": { "metadata": { "annotations": annotations } } } }),
    }
}

/// Lets pods be placed on a node, or no more.
pub fn cordon(kind: &Kind, name: &str, unschedulable: bool) -> Order {
    let unschedulable = if unschedulable { json!(true) } else { Value::Null };
    Order {
        method: "PATCH",
        path: object(kind, "", name),
        media_type: "application/merge-patch+json",
        body: json!({ "spec": { "unschedulable": unschedulable } }),
    }
}

/// Deletes an object; what it owns goes with it.
pub fn delete(kind: &Kind, namespace: &str, name: &str) -> Order {
    Order {
        method: "DELETE",
        path: object(kind, namespace, name),
        media_type: "application/json",
        body: json!({ "kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background" }),
    }
}

/// Creates an object, or says whether it could be created.
pub fn create(kind: &Kind, namespace: &str, body: Value, dry_run: bool) -> Order {
    let dry_run = if dry_run { "&dryRun=All" } else { "" };
    Order {
        method: "POST",
        path: format!("{}?fieldManager={MANAGER}&fieldValidation=Strict{dry_run}", collection(kind, namespace)),
        media_type: "application/json",
        body,
    }
}

/// Makes an object be as described, whether or not it is there (server-side apply).
pub fn apply(kind: &Kind, namespace: &str, name: &str, body: Value) -> Order {
    Order {
        method: "PATCH",
        path: format!("{}?fieldManager={MANAGER}&force=true&fieldValidation=Strict", object(kind, namespace, name)),
        media_type: "application/apply-patch+yaml",
        body,
    }
}

/// Reads something.
pub fn read(path: String) -> Order {
    Order { method: "GET", path, media_type: "application/json", body: Value::Null }
}

/// Reads the end of a container's log.
pub fn log(namespace: &str, pod: &str, container: &str, previous: bool, lines: u32, bytes: u32) -> Order {
    let previous = if previous { "&previous=true" } else { "" };
    let pods = object(crate::kind::core("pods"), namespace, pod);
    let container = encode(container);
    read(format!("{pods}/log?container={container}&tailLines={lines}&limitBytes={bytes}{previous}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind;

    #[test]
    fn orders_are_what_kubectl_sends() {
        let kind = kind::find("apps", "v1", "deployments").expect("a row");
        let now = "2026-01-02T03:04:05Z".parse().expect("a time");
        let lines = [scale(kind, "a", "w", 3), restart(kind, "a", "w", now), delete(kind, "a", "w")]
            .map(|order| format!("{} {} {} {}", order.method, order.path, order.media_type, order.body));
        let place = "/apis/apps/v1/namespaces/a/deployments/w";
        assert_eq!(
            lines,
            [
                format!(r#"PATCH {place}/scale application/merge-patch+json {{"spec":{{"replicas":3}}}}"#),
                format!(
                    r#"PATCH {place} application/strategic-merge-patch+json {{"spec":{{"template":{{"metadata":{{"annotations":{{"kubectl.kubernetes.io/restartedAt":"2026-01-02T03:04:05Z"}}}}}}}}}}"#
                ),
                format!(
                    r#"DELETE {place} application/json {{"apiVersion":"v1","kind":"DeleteOptions","propagationPolicy":"Background"}}"#
                ),
            ]
        );
        assert_eq!(create(kind::core("nodes"), "", json!({}), true).path.split('?').next(), Some("/api/v1/nodes"));
    }

    #[test]
    fn refusals_keep_what_belongs_to_fields() {
        let kind = kind::core("pods");
        let refusal = Refusal::from(Status::not_found(kind, "x"));
        assert_eq!(
            (refusal.code, refusal.message.as_str(), refusal.about.as_str()),
            (404, "pods \"x\" not found", "pods")
        );
    }
}

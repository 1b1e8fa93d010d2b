//! What a deletion does to an object: nothing yet, a mark, or its end.
//!
//! Source: k8s.io/apiserver `registry/rest/delete.go`, `registry/generic/registry/store.go`.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::kind::Kind;
use crate::registry::prepare::{meta_str, metadata};
use crate::registry::rules::Rules;
use crate::status::Status;

/// Keeps an owner until its dependents are gone.
pub const FOREGROUND: &str = "foregroundDeletion";
/// Keeps an owner until its dependents have forgotten it.
pub const ORPHAN: &str = "orphan";
/// A pod's grace when it names none, in seconds.
const DEFAULT_GRACE: i64 = 30;

/// What becomes of dependents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "Kubernetes' own names")]
pub enum Propagation {
    Background,
    Foreground,
    Orphan,
}

/// `DeleteOptions`, checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Seconds; overrides the object's own.
    pub grace_seconds: Option<i64>,
    /// What becomes of dependents; the kind's default when absent.
    pub propagation: Option<Propagation>,
    /// Precondition.
    pub uid: Option<String>,
    /// Precondition.
    pub resource_version: Option<String>,
    /// Decide, answer, write nothing.
    pub dry_run: bool,
}

/// The verdict.
#[derive(Clone, Debug, PartialEq)]
pub enum Removal {
    /// The key goes.
    Remove,
    /// The object stays, changed.
    Mark(Value),
    /// The object stays as it is: what was asked for is already under way.
    Pending,
}

/// Whether the preconditions hold.
///
/// # Errors
/// 409, naming the kind instead of the resource, as Kubernetes does here.
pub fn check(kind: &Kind, object: &Value, revision: i64, options: &DeleteOptions) -> Result<(), Status> {
    let (name, uid, version) = (meta_str(object, "name"), meta_str(object, "uid"), revision.to_string());
    let broken = |what: &str, wanted: &str, got: &str, then: &str| {
        let kind = kind.kind;
        let mut status = Status::new(
            409,
            "Conflict",
            format!(
                "Operation cannot be fulfilled on {kind} \"{name}\": the {what} in the precondition ({wanted}) does not match \
                 the {what} in record ({got}). The object might have been {then}"
            ),
        );
        status.details = json!({ "name": name, "kind": kind });
        Err(status)
    };
    match (&options.uid, &options.resource_version) {
        (Some(wanted), _) if wanted != uid => broken("UID", wanted, uid, "deleted and then recreated"),
        (_, Some(wanted)) if *wanted != version => broken("ResourceVersion", wanted, &version, "modified"),
        _ => Ok(()),
    }
}

/// Decides a deletion asked for at `now`.
pub fn decide(kind: &Kind, rules: Rules, object: &Value, options: &DeleteOptions, now: Timestamp) -> Removal {
    let grace = grace(kind, object, options);
    let finalizers = finalizers(rules, object, options);
    let namespace_busy = holds_content(kind, object);
    let deleting = !object["metadata"]["deletionTimestamp"].is_null();
    if finalizers.is_empty() && grace == 0 && !namespace_busy {
        return Removal::Remove;
    }
    let mut next = object.clone();
    set_finalizers(&mut next, &finalizers);
    if deleting {
        shorten(&mut next, grace);
    } else {
        mark(kind, &mut next, grace, now);
    }
    if next == *object { Removal::Pending } else { Removal::Mark(next) }
}

/// What an object that goes at once is answered as: pods show that and how they went.
pub fn parting(kind: &Kind, object: &Value, now: Timestamp) -> Value {
    let mut last = object.clone();
    if (kind.group, kind.resource) == ("", "pods") && object["metadata"]["deletionTimestamp"].is_null() {
        mark(kind, &mut last, 0, now);
    }
    last
}

/// Whether an object that an update leaves like this has reached the end of its deletion.
pub fn finished(kind: &Kind, object: &Value) -> bool {
    let meta = &object["metadata"];
    !meta["deletionTimestamp"].is_null()
        && meta["finalizers"].as_array().is_none_or(Vec::is_empty)
        && meta["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0
        && !holds_content(kind, object)
}

/// Seconds until the end may come: only pods that run somewhere need any.
fn grace(kind: &Kind, object: &Value, options: &DeleteOptions) -> i64 {
    let over = matches!(object["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    let unscheduled = object["spec"]["nodeName"].as_str().unwrap_or_default().is_empty();
    if (kind.group, kind.resource) != ("", "pods") || unscheduled || over {
        return 0;
    }
    let own = object["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap_or(DEFAULT_GRACE);
    match options.grace_seconds.unwrap_or(own) {
        negative if negative < 0 => 1,
        seconds => seconds,
    }
}

fn finalizers(rules: Rules, object: &Value, options: &DeleteOptions) -> Vec<String> {
    let mut held: Vec<String> = object["metadata"]["finalizers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|finalizer| finalizer.as_str().map(str::to_owned))
        .collect();
    let decided = |held: &[String]| held.iter().any(|finalizer| finalizer == ORPHAN || finalizer == FOREGROUND);
    let wanted = match options.propagation {
        Some(Propagation::Orphan) => Some(ORPHAN),
        Some(Propagation::Foreground) => Some(FOREGROUND),
        Some(Propagation::Background) => None,
        None if decided(&held) => return held,
        None => rules.orphans.then_some(ORPHAN),
    };
    held.retain(|finalizer| wanted == Some(finalizer.as_str()) || !(finalizer == ORPHAN || finalizer == FOREGROUND));
    if let Some(wanted) = wanted.filter(|wanted| !held.iter().any(|finalizer| finalizer == wanted)) {
        held.push(wanted.to_owned());
    }
    held
}

/// Why an object is not the one that was meant, as Kubernetes' storage says it; `place`: its key.
pub fn other_uid(place: &str, wanted: &str, held: &str) -> String {
    format!(
        "StorageError: invalid object, Code: 4, Key: {place}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: \
         UID in precondition: {wanted}, UID in object meta: {held}"
    )
}

fn set_finalizers(object: &mut Value, finalizers: &[String]) {
    if finalizers.is_empty() {
        metadata(object).remove("finalizers");
    } else {
        metadata(object).insert("finalizers".into(), json!(finalizers));
    }
}

fn mark(kind: &Kind, object: &mut Value, grace: i64, now: Timestamp) {
    let end = now.saturating_add(SignedDuration::from_secs(grace)).unwrap_or(now);
    let is_namespace = (kind.group, kind.resource) == ("", "namespaces");
    let meta = metadata(object);
    meta.insert("deletionTimestamp".into(), rfc3339(end).into());
    if !is_namespace {
        meta.insert("deletionGracePeriodSeconds".into(), grace.into());
    }
    if let Some(generation) = meta.get("generation").and_then(Value::as_i64).filter(|generation| *generation > 0) {
        meta.insert("generation".into(), (generation + 1).into());
    }
    if is_namespace {
        object["status"]["phase"] = "Terminating".into();
    }
}

/// A second deletion may only bring the end nearer.
fn shorten(object: &mut Value, grace: i64) {
    let meta = metadata(object);
    let held = meta.get("deletionGracePeriodSeconds").and_then(Value::as_i64).unwrap_or(0);
    let end = meta.get("deletionTimestamp").and_then(Value::as_str).and_then(|end| end.parse::<Timestamp>().ok());
    if let Some(end) = end.filter(|_| grace < held) {
        let end = end.saturating_sub(SignedDuration::from_secs(held - grace)).unwrap_or(end);
        meta.insert("deletionTimestamp".into(), rfc3339(end).into());
        meta.insert("deletionGracePeriodSeconds".into(), grace.into());
    }
}

/// A namespace stays while its content is being removed: `spec.finalizers` say so.
fn holds_content(kind: &Kind, object: &Value) -> bool {
    (kind.group, kind.resource) == ("", "namespaces")
        && object["spec"]["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty())
}

/// `metav1.Time`: UTC, whole seconds.
pub fn rfc3339(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests;

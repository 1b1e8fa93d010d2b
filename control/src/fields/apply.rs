//! Server-side apply: what a manager wants is laid over the object, what it no longer wants goes, and what belongs to
//! others is not changed unless it is forced.
//!
//! Source: k8s.io/apimachinery `util/managedfields/internal/{structuredmerge,skipnonapplied,lastappliedmanager,conflict}.go`,
//! sigs.k8s.io/structured-merge-diff `merge/update.go`.

use serde_json::{Value, json};

use crate::fields::compare::compare;
use crate::fields::entry::{Entry, Managers, Operation};
use crate::fields::extract::{extract, with_named};
use crate::fields::merge::{merge, remove};
use crate::fields::reset::{self, Reset};
use crate::fields::set::Set;
use crate::fields::update::{Writer, changes, release, take};
use crate::fields::{last_applied, typed, zero};
use crate::kind::Kind;
use crate::schema::{self, Type};
use crate::status::Status;

/// Who is said to have written what was there before anybody's writes were tracked.
const BEFORE: &str = "before-first-apply";

/// The next version of an object, with its managed fields; `live` is none where nothing is there yet.
///
/// # Errors
/// 400 for a configuration of another kind, or with managed fields; 500 for one that does not fit its type; 409 when it
/// would change what others own.
pub fn apply(kind: &Kind, live: Option<&Value>, config: &Value, force: bool, by: Writer<'_>) -> Result<Value, Status> {
    fits(kind, config)?;
    let old = live.unwrap_or_else(|| zero::of(kind));
    let managers = Managers::stored(old);
    let mut attempt = once(kind, old, config, managers.clone(), force, by);
    if let (Err(Refused::Conflicts(found)), true) = (&attempt, by.manager == last_applied::MANAGER) {
        // What client-side apply owned goes over to the same tool without conflicts.
        if let Some(mine) = last_applied::owned(kind, old) {
            let left: Vec<Conflict> = found.iter().filter_map(|conflict| conflict.without(&mine)).collect();
            attempt = if left.is_empty() {
                once(kind, old, config, managers, true, by)
            } else {
                Err(Refused::Conflicts(left))
            };
        }
    }
    match attempt {
        Ok(mut next) => {
            if by.manager == last_applied::MANAGER {
                last_applied::renew(&mut next, config);
            }
            Ok(next)
        }
        Err(Refused::Conflicts(found)) => Err(conflict(&found)),
        Err(Refused::Other(why)) => Err(Status::new(500, "", why)),
    }
}

enum Refused {
    Conflicts(Vec<Conflict>),
    Other(String),
}

/// What would be taken from one manager.
struct Conflict {
    entry: Entry,
    fields: Set,
}

impl Conflict {
    fn without(&self, allowed: &Set) -> Option<Conflict> {
        let mut fields = self.fields.clone();
        fields.subtract(allowed);
        (!fields.is_empty()).then(|| Conflict { entry: self.entry.clone(), fields })
    }
}

/// Whether a configuration is one of the kind.
fn fits(kind: &Kind, config: &Value) -> Result<(), Status> {
    let word = |key: &str| config[key].as_str().unwrap_or_default();
    let given = (word("apiVersion"), word("kind"));
    if given != (kind.api_version().as_str(), kind.kind) {
        let shown = shown_kind(given.0, given.1);
        return Err(Status::bad_request(format!("invalid object type: {shown}")));
    }
    if config["metadata"]["managedFields"].is_array() {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    typed::check(schema::of(kind), config).map_err(|why| {
        let meta = |key: &str| config["metadata"][key].as_str().unwrap_or_default();
        let shown = shown_kind(given.0, given.1);
        let text =
            format!("failed to create typed patch object ({}/{}; {shown}): {why}", meta("namespace"), meta("name"));
        Status::new(500, "", text)
    })
}

/// `/v1, Kind=ConfigMap`, as Go shows a group, version and kind.
fn shown_kind(api_version: &str, kind: &str) -> String {
    match api_version.matches('/').count() {
        0 => format!("/{api_version}, Kind={kind}"),
        1 => format!("{api_version}, Kind={kind}"),
        _ => "/, Kind=".to_owned(),
    }
}

fn once(
    kind: &Kind,
    live: &Value,
    config: &Value,
    mut managers: Managers,
    force: bool,
    by: Writer<'_>,
) -> Result<Value, Refused> {
    let (reset, of) = (reset::of(kind, by.subresource), schema::of(kind));
    if managers.is_empty() {
        let delta = changes(kind, zero::of(kind), live, &reset).map_err(Refused::Other)?;
        managers = take(kind, managers, delta, Writer { manager: BEFORE, ..by });
    }
    let mut wanted = extract(of, config);
    reset.strip(&mut wanted);
    let mut own = by.entry(kind, Operation::Apply, wanted);
    let before = managers.0.iter().position(|entry| entry.same_writer(&own)).map(|at| managers.0.swap_remove(at));
    own.time = before.as_ref().and_then(|before| before.time.clone());
    let mut next = merge(of, live, config);
    if let Some(before) = before.filter(|before| before.api_version == own.api_version) {
        next = prune(of, &next, &before.fields, &managers, &own);
    }
    settle(kind, live, &next, &mut managers, &reset, force)?;
    if next == *live {
        next = live.clone();
    } else {
        own.time = Some(by.now.to_owned());
    }
    reset::strip_identity(&mut own.fields);
    managers.0.push(own);
    let metadata = next["metadata"].as_object_mut();
    if let Some(metadata) = metadata {
        metadata.remove("managedFields");
        if let Some(list) = managers.into_value() {
            metadata.insert("managedFields".to_owned(), list);
        }
    }
    Ok(next)
}

/// Takes what changes from the other managers, if that is forced or nothing is theirs.
fn settle(
    kind: &Kind,
    live: &Value,
    next: &Value,
    managers: &mut Managers,
    reset: &Reset,
    force: bool,
) -> Result<(), Refused> {
    let delta =
        changes(kind, live, next, reset).map_err(|why| Refused::Other(format!("failed to compare objects: {why}")))?;
    let mut taken = delta.modified;
    taken.add(&delta.added);
    let version = kind.api_version();
    let mut conflicts: Vec<Conflict> = managers
        .0
        .iter()
        .filter(|entry| entry.api_version == version)
        .map(|entry| Conflict { fields: entry.fields.common(&taken), entry: entry.clone() })
        .filter(|conflict| !conflict.fields.is_empty())
        .collect();
    if !force && !conflicts.is_empty() {
        conflicts.sort_by(|a, b| {
            let key = |entry: &Entry| (entry.manager.clone(), entry.operation, entry.api_version.clone());
            key(&a.entry).cmp(&key(&b.entry))
        });
        return Err(Refused::Conflicts(conflicts));
    }
    release(kind, managers, &delta.removed, &taken);
    Ok(())
}

/// Takes away what the manager applied last time and does not now, unless somebody else owns it.
fn prune(of: &'static Type, merged: &Value, last: &Set, others: &Managers, own: &Entry) -> Value {
    let all = |object: &Value| with_named(of, &extract(of, object));
    let last = with_named(of, last);
    let bare = remove(of, merged, &last);
    let everything = all(merged);
    // What others own comes back, and what the manager itself applies.
    let mut kept = all(&bare);
    let owners = others.0.iter().filter(|entry| entry.api_version == own.api_version).chain([own]);
    owners.for_each(|entry| kept.add(&with_named(of, &entry.fields)));
    let mut gone = everything.clone();
    gone.subtract(&kept);
    let pruned = remove(of, merged, &gone);
    // So does what was never the manager's.
    let mut gone = everything;
    gone.subtract(&all(&pruned));
    remove(of, merged, &gone.common(&last))
}

fn conflict(found: &[Conflict]) -> Status {
    let all: Vec<(String, Vec<String>)> =
        found.iter().map(|conflict| (conflict.entry.shown(), conflict.fields.paths())).collect();
    let count: usize = all.iter().map(|(_, paths)| paths.len()).sum();
    let causes: Vec<Value> = all
        .iter()
        .flat_map(|(manager, paths)| paths.iter().map(move |path| (manager, path)))
        .map(|(manager, path)| {
            json!({ "reason": "FieldManagerConflict", "message": format!("conflict with {manager}"), "field": path })
        })
        .collect();
    let text = match all.as_slice() {
        [(manager, paths)] if count == 1 => {
            format!("Apply failed with 1 conflict: conflict with {manager}: {}", paths[0])
        }
        all => {
            let lines: Vec<String> = all
                .iter()
                .flat_map(|(manager, paths)| {
                    let head = format!("conflicts with {manager}:");
                    std::iter::once(head).chain(paths.iter().map(|path| format!("- {path}")))
                })
                .collect();
            format!("Apply failed with {count} conflicts: {}", lines.join("\n"))
        }
    };
    let mut status = Status::new(409, "Conflict", text);
    status.details = json!({ "causes": causes });
    status
}

/// The difference between what was last applied by a client and what is there: what still is as it was applied.
pub(super) fn unchanged(of: &'static Type, applied: &Value, live: &Value) -> Result<Set, String> {
    typed::check(of, applied)?;
    let mut set = extract(of, applied);
    let delta = compare(of, applied, live, &[])?;
    for gone in [&delta.modified, &delta.added, &delta.removed] {
        set.subtract(gone);
    }
    Ok(set)
}

#[cfg(test)]
#[path = "apply/tests.rs"]
mod tests;

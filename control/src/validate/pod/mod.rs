//! Pods: new ones; `update`, `status`, `resize` hold what later versions may be. `spec` is shared with templates.

mod affinity;
mod annotations;
mod container;
mod env;
mod mount;
mod network;
mod probe;
mod profile;
mod projected;
mod remote;
mod resize;
mod resources;
mod security;
mod spec;
mod status;
mod template;
mod tolerations;
mod update;
mod volume;
mod windows;

#[cfg(test)]
mod tests;

pub use affinity::{label_name, node_selector};
pub use resources::quantity;
pub use template::template;

use serde_json::Value;

use crate::validate::Rules;
use crate::validate::field::{Errors, Path};
use crate::validate::read::{list, text};
use crate::validate::root;

/// Of pods.
pub const RULES: Rules = Rules {
    create,
    update: update::whole,
    status: status::update,
    others: &[("ephemeralcontainers", update::ephemeral_containers), ("resize", resize::update)],
};

/// What a spec belongs to.
#[derive(Clone, Copy)]
enum Owner<'a> {
    /// A pod of this name.
    Pod(&'a str),
    /// A template: some fields are filled only when a pod is made of it.
    Template,
}

fn create(pod: &Value, errors: &mut Errors) {
    whole(pod, errors);
    let (spec, path) = (&pod["spec"], root().child("spec"));
    if !list(spec, "ephemeralContainers").is_empty() {
        errors.forbidden(&path.child("ephemeralContainers"), "cannot be set on create");
    }
    if !text(spec, "nodeName").is_empty() && !list(spec, "schedulingGates").is_empty() {
        errors.forbidden(&path.child("nodeName"), "cannot be set until all schedulingGates have been cleared");
    }
    annotations::agree(&pod["metadata"], spec, &path, errors);
}

/// What every version of a pod must keep, beyond its metadata.
fn whole(pod: &Value, errors: &mut Errors) {
    let (metadata, spec, path) = (&pod["metadata"], &pod["spec"], root().child("spec"));
    annotations::check(metadata, spec, &root().child("metadata").child("annotations"), errors);
    spec::check(spec, Owner::Pod(text(metadata, "name")), &path, errors);
    if text(spec, "serviceAccountName").is_empty() {
        tokens_without_account(spec, &path, errors);
    }
    for field in ["containers", "initContainers"] {
        for (at, container) in list(spec, field).iter().enumerate() {
            container::image_is_trimmed(container, &path.child(field).index(at), errors);
        }
    }
}

fn tokens_without_account(spec: &Value, path: &Path, errors: &mut Errors) {
    for (at, volume) in list(spec, "volumes").iter().enumerate() {
        for (source_at, source) in list(&volume["projected"], "sources").iter().enumerate() {
            if !source["serviceAccountToken"].is_null() {
                let sources = path.child("volumes").index(at).child("projected").child("sources");
                let token = sources.index(source_at).child("serviceAccountToken");
                errors.forbidden(&token, "must not be specified when serviceAccountName is not set");
            }
        }
    }
}

/// Every container of a spec with its place: those that begin, the ordinary ones, those added for debugging.
pub(super) fn containers<'a>(spec: &'a Value, path: &'a Path) -> impl Iterator<Item = (&'a Value, Path)> {
    ["initContainers", "containers", "ephemeralContainers"].into_iter().flat_map(move |field| {
        list(spec, field).iter().enumerate().map(move |(at, container)| (container, path.child(field).index(at)))
    })
}

//! Templates that pods are made of.

use serde_json::Value;

use crate::validate::field::{Errors, Path};
use crate::validate::metadata;
use crate::validate::pod::{Owner, annotations, spec};
use crate::validate::read::list;

/// A `PodTemplateSpec`. Kubernetes names its labels and annotations as if they lay beside its spec.
pub fn template(template: &Value, path: &Path, errors: &mut Errors) {
    let (own, spec) = (&template["metadata"], &template["spec"]);
    metadata::labels(&own["labels"], &path.child("labels"), errors);
    metadata::annotations(&own["annotations"], &path.child("annotations"), errors);
    annotations::check(own, spec, &path.child("annotations"), errors);
    let place = path.child("spec");
    spec::check(spec, Owner::Template, &place, errors);
    annotations::agree(own, spec, &place, errors);
    if !list(spec, "ephemeralContainers").is_empty() {
        errors.forbidden(&place.child("ephemeralContainers"), "ephemeral containers not allowed in pod template");
    }
}

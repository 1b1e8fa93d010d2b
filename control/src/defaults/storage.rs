//! Volumes, claims and classes.

use crate::defaults::{Fields, below, default, default_absent};

pub(super) fn volume(fields: &mut Fields) {
    default(below(fields, "status"), "phase", "Pending");
    let spec = below(fields, "spec");
    default(spec, "persistentVolumeReclaimPolicy", "Retain");
    default_absent(spec, "volumeMode", "Filesystem");
}

pub(super) fn claim(fields: &mut Fields) {
    default(below(fields, "status"), "phase", "Pending");
}

pub(super) fn claim_spec(fields: &mut Fields) {
    default_absent(fields, "volumeMode", "Filesystem");
}

/// Its type is a word behind a pointer, and no type is the empty word.
pub(super) fn host_path(fields: &mut Fields) {
    default_absent(fields, "type", "");
}

pub(super) fn class(fields: &mut Fields) {
    default_absent(fields, "reclaimPolicy", "Delete");
    default_absent(fields, "volumeBindingMode", "Immediate");
}

//! Profiles that confine containers: seccomp and AppArmor.

use serde_json::Value;

use crate::validate::field::{Errors, Path};
use crate::validate::pod::volume::descends;
use crate::validate::read::{held, text};
use crate::validate::show::{As, PROFILE};

const TYPES: [&str; 3] = ["Localhost", "RuntimeDefault", "Unconfined"];
/// The longest path on Linux without its end. Units: bytes.
const PATH_MAX: usize = 4095;

/// `seccompProfile`
pub(super) fn seccomp(profile: &Value, path: &Path, errors: &mut Errors) {
    let (kind, place) = (text(profile, "type"), path.child("localhostProfile"));
    if kind.is_empty() {
        errors.required(&path.child("type"), "type is required when seccompProfile is set");
    } else if !TYPES.contains(&kind) {
        errors.not_supported(&path.child("type"), kind, &TYPES);
    }
    match held(profile, "localhostProfile") {
        None if kind == "Localhost" => errors.required(&place, "must be set when seccomp type is Localhost"),
        Some(own) if kind == "Localhost" => descends(own.as_str().unwrap_or_default(), &place, errors),
        Some(_) => errors.invalid(&place, &As(profile, &PROFILE), "can only be set when seccomp type is Localhost"),
        None => {}
    }
}

/// `appArmorProfile`
pub(super) fn app_armor(profile: &Value, path: &Path, errors: &mut Errors) {
    let (kind, place) = (text(profile, "type"), path.child("localhostProfile"));
    let (own, given) = (text(profile, "localhostProfile"), held(profile, "localhostProfile").is_some());
    match kind {
        "Localhost" => {
            if own.trim() != own {
                errors.invalid(&place, own, "must not be padded with whitespace");
            } else if own.is_empty() {
                errors.required(&place, "must be set when AppArmor type is Localhost");
            }
            if own.len() > PATH_MAX {
                errors.too_long(&place, PATH_MAX);
            }
        }
        "RuntimeDefault" | "Unconfined" if given => {
            errors.invalid(&place, own, "can only be set when AppArmor type is Localhost");
        }
        "RuntimeDefault" | "Unconfined" => {}
        "" => errors.required(&path.child("type"), "type is required when appArmorProfile is set"),
        other => errors.not_supported(&path.child("type"), other, &TYPES),
    }
}
